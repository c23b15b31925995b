"""From what nodes, the broker and the registry say about a deployment to what its autoscaler goes by."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final, TypeAlias

from millrace.core.control.fleet import Fleet, Latencies, ProcessState, Slot
from millrace.core.control.scaling import Observation
from millrace.core.cost import LatencyCurve
from millrace.process.deployment import Deployment
from millrace.telemetry.scorer import END_TO_END_LATENCY, LATENCY_BUCKETS

SCORER: Final = "scorer"

Counts: TypeAlias = Mapping[tuple[Slot, int], tuple[int, ...]]
"""Cumulative counts of latencies, by slot and launch."""

_BUCKET: Final = re.compile(rf"^{END_TO_END_LATENCY.name}_bucket\{{.*\}} (\S+)$", re.MULTILINE)
_TYPICAL: Final = 0.5
"""What a scorer does in a second follows from what micro-batches usually cost, and not from the slowest of them."""


def latency_counts(exposition: str) -> tuple[int, ...]:
    """The latency histogram in what a scorer says on `/metrics`; empty where it says none."""
    return tuple(int(float(count)) for count in _BUCKET.findall(exposition))


def counts_of(latencies: Iterable[Latencies], deployment: str) -> Counts:
    """What the nodes say of one deployment's scorers."""
    return {(found.slot, found.launch): found.counts for found in latencies if found.slot.deployment == deployment}


def latency_between(before: Counts, after: Counts, quantile: float) -> timedelta | None:
    """The quantile of the latencies of what became readable in between; None where nothing did.

    Linear inside a bucket, as Prometheus has it; what is beyond the last bound counts as that.
    """
    bounds = (*LATENCY_BUCKETS, LATENCY_BUCKETS[-1])
    nothing = (0,) * len(bounds)
    grown = [
        map(int.__sub__, counts, before.get(key, nothing))
        for key, counts in after.items()
        if len(counts) == len(bounds)
    ]
    cumulative = [max(sum(each), 0) for each in zip(*grown, strict=True)]
    if not cumulative or not cumulative[-1]:
        return None
    wanted = quantile * cumulative[-1]
    edges = pairwise(zip((0.0, *bounds), (0, *cumulative), strict=True))
    for (low, below), (high, held) in edges:
        if held >= wanted:
            return timedelta(seconds=low + (high - low) * (wanted - below) / max(held - below, 1))
    return timedelta(seconds=bounds[-1])


def capacity_of(deployment: Deployment, curves: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Records a second of one scorer with full micro-batches, as the cost curve of its device predicts.

    Args:
        deployment: Whose scorer.
        curves: The curves of its model version, by device, as the registry keeps them.

    Returns:
        None where nothing was learned yet. Of several devices that may be meant, the slowest counts.
    """
    devices = [str(device) for device in deployment.runtime.providers if device in curves] or list(curves)
    found = [speed for device in devices if (speed := _speed(curves[device], deployment.batch.max_records))]
    return min(found, default=None)


def observe(
    deployment: Deployment,
    fleet: Fleet,
    *,
    committed: Sequence[int],
    ends: Sequence[int],
    latency: timedelta | None,
    capacity: float | None,
    at_ms: int,
) -> Observation:
    """What there is to be known about a deployment at a moment."""
    ready = sum(
        process is not None and process.state is ProcessState.READY
        for process in (
            fleet.process(assignment)
            for slot, assignment in fleet.assignments.items()
            if (slot.deployment, slot.kind) == (deployment.deployment, SCORER)
            and assignment.occupies
            and not fleet.is_lost(assignment.node)
        )
    )
    return Observation(at_ms, deployment.scale.scorers, ready, tuple(committed), tuple(ends), latency, capacity)


def _speed(curve: Mapping[str, Any], records: int) -> float | None:
    costs = (LatencyCurve.from_dict(curve.get(part, {}), quantile=_TYPICAL) for part in ("score", "commit"))
    seconds = sum((cost.predict(records) for cost in costs), timedelta(0)).total_seconds()
    return records / seconds if seconds else None
