"""Where Prometheus finds the metrics of the fleet: targets in the form of its HTTP service discovery.

Processes serve their metrics to their own machine alone. Each daemon hands on those of its processes, on its REST API
and to whoever shows a key; so a target's address is a daemon's, and a parameter says which process is meant.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from millrace.core.control.fleet import Heartbeat, Process, ProcessState, Slot, Standing
from millrace_launcher.logic.standing import Heard, standing

TargetGroup: TypeAlias = dict[str, Any]
"""`targets` and `labels`, as Prometheus wants to read them."""

METRICS_PATH: Final = "/v1/metrics"
LABELS: Final = ("node", "kind", "deployment", "slot")
"""What every series of a process says beside its own labels; of a daemon the first two."""
LAUNCHER: Final = "launcher"
"""The `kind` of the daemons themselves."""


def target_groups(
    heartbeats: Mapping[str, Heard], processes: Iterable[Process], *, kinds: Collection[str]
) -> list[TargetGroup]:
    """A group for each daemon and for each process, by name. What ended is none; what hangs is one, and is down.

    Args:
        heartbeats: What each node said last.
        processes: What the nodes say that they run.
        kinds: The kinds of process that serve metrics.
    """
    nodes = {name: heard.heartbeat for name, heard in heartbeats.items() if standing(heard) is not Standing.LOST}
    running = sorted(
        (each for each in processes if each.slot.kind in kinds and each.url and each.state is not ProcessState.ENDED),
        key=lambda each: each.key,
    )
    daemons = (_group(nodes[name], {"kind": LAUNCHER}) for name in sorted(nodes))
    return [*daemons, *(_process_group(nodes[each.node], each.slot) for each in running if each.node in nodes)]


def _process_group(node: Heartbeat, slot: Slot) -> TargetGroup:
    labels = {"kind": slot.kind, "deployment": slot.deployment, "slot": str(slot)}
    return _group(node, {**labels, "__param_slot": str(slot)})


def _group(node: Heartbeat, labels: Mapping[str, str]) -> TargetGroup:
    address = urlsplit(node.url)
    place = {"__scheme__": address.scheme, "__metrics_path__": address.path.rstrip("/") + METRICS_PATH}
    return {"targets": [address.netloc], "labels": {"node": node.node, **labels, **place}}
