"""The metrics of a gateway: the whole list."""

from typing import Final

from millrace.telemetry.inference import INFERENCE
from millrace.telemetry.metrics import Kind, MetricSpec, Unit, build_info, provider_keys_age
from millrace.telemetry.streams import STREAMS

READY: Final = MetricSpec("gateway", "ready", Unit.STATE, Kind.GAUGE, "Whether the gateway answers requests.")
BUILD: Final = build_info("gateway")
PROVIDER_KEYS_AGE: Final = provider_keys_age("gateway")

GATEWAY: Final = (READY, PROVIDER_KEYS_AGE, BUILD, *INFERENCE, *STREAMS)
"""Every metric of a gateway process; the others in its exposition are prometheus-client's own."""
