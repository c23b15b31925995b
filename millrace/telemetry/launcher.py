"""The metrics of a launcher: the whole list."""

from enum import StrEnum
from typing import Final

from millrace.core.control.fleet import ProcessState
from millrace.telemetry.metrics import Kind, Label, MetricSpec, Unit, build_info, provider_keys_age

PROCESSES: Final = MetricSpec(
    "launcher",
    "",
    Unit.PROCESSES,
    Kind.GAUGE,
    "Slots of this node, by the state of their latest process.",
    (Label("state", tuple(ProcessState)),),
)
CRASHES: Final = MetricSpec(
    "launcher",
    "crashed",
    Unit.PROCESSES,
    Kind.COUNTER,
    "Processes of this node that ended and nobody had asked them to.",
)
CONTROLLER: Final = MetricSpec(
    "launcher", "controller", Unit.STATE, Kind.GAUGE, "Whether this daemon decides which process runs where."
)
HEARD: Final = MetricSpec(
    "launcher", "heard", Unit.STATE, Kind.GAUGE, "Whether this node's last heartbeat was acknowledged."
)
READY: Final = MetricSpec("launcher", "ready", Unit.STATE, Kind.GAUGE, "Whether this daemon does its work.")
BUILD: Final = build_info("launcher")
PROVIDER_KEYS_AGE: Final = provider_keys_age("launcher")


class Refusal(StrEnum):
    """Why a caller of the REST API was not let in."""

    KEY = "key"
    """It showed no key, or one that does not hold."""
    ROLE = "role"
    """Its role does not allow what it wanted."""
    OFTEN = "often"
    """It showed wrong keys again and again."""


REQUESTS_REFUSED: Final = MetricSpec(
    "launcher",
    "refused",
    Unit.REQUESTS,
    Kind.COUNTER,
    "Requests to the REST API that were not let in, by reason.",
    (Label("reason", tuple(Refusal)),),
)

LAUNCHER: Final = (PROCESSES, CRASHES, CONTROLLER, HEARD, READY, REQUESTS_REFUSED, PROVIDER_KEYS_AGE, BUILD)
"""Every metric of a launcher; the others in its exposition are prometheus-client's own."""
