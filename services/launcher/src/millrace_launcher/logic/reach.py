"""Whether a latency goal can be reached at all, from what was learned about the model."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from millrace.core.batching import Costs
from millrace.core.cost import LatencyCurve
from millrace.process.deployment import Deployment

_MEDIAN: Final = 0.5
"""A goal that half of all records miss is out of reach; what misses it now and then is load, or another machine."""


def out_of_reach(deployment: Deployment, curves: Mapping[str, Mapping[str, Any]]) -> str:
    """Why no batch size can meet the deployment's goal, in one line; empty where one may.

    Args:
        deployment: What is promised.
        curves: What micro-batches of the model cost, by device, as scorers stored it.
    """
    alone = {device: learned for device, curve in curves.items() if (learned := _one_record(curve))}
    if not alone:
        return ""
    device = min(alone, key=lambda name: alone[name])
    goal, needed = deployment.slo.latency, alone[device]
    if needed <= goal:
        return ""
    millisecond = timedelta(milliseconds=1)
    return (
        f"the goal slo.latency_ms {goal / millisecond:g} is out of reach: one record alone takes "
        f"{needed / millisecond:.1f} ms on {device} from decoding to commit, as was learned "
        "(raise the goal, or deploy a cheaper model)"
    )


def _one_record(curve: Mapping[str, Any]) -> timedelta:
    score, commit = (LatencyCurve.from_dict(curve.get(part, {}), quantile=_MEDIAN) for part in ("score", "commit"))
    return Costs(score, commit).predict(1)
