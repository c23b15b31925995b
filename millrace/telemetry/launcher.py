"""The metrics of a launcher: the whole list."""

from typing import Final

from millrace.core.control.fleet import ProcessState
from millrace.telemetry.metrics import Kind, Label, MetricSpec, Unit, build_info

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

LAUNCHER: Final = (PROCESSES, CRASHES, CONTROLLER, HEARD, READY, BUILD)
"""Every metric of a launcher; the others in its exposition are prometheus-client's own."""
