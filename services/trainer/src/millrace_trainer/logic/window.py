"""Which part of the past a candidate learns from, and which later part it is measured on."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from millrace.core.errors import RequestError
from millrace.process.retraining import RequestData, RequestTrigger


class Since(StrEnum):
    """Where the past begins."""

    REQUEST = "request"
    """Where the request says."""
    DEGRADED = "degraded"
    """With the first window in which the model was degraded: what came before is another world. Where the request
    names none, where it says."""


@dataclass(frozen=True, slots=True)
class WindowPolicy:
    """How much of the past to use.

    Attributes:
        since: Where it begins.
        history: No record is older than this, counted from the end of the request's data; None for no bound.
        holdout: Share of the labelled records, the latest, that the candidate is measured on.
        min_train: The fewest labelled records to learn from.
    """

    since: Since = Since.REQUEST
    history: timedelta | None = None
    holdout: float = 0.25
    min_train: int = 100


def training_window(data: RequestData, trigger: RequestTrigger, policy: WindowPolicy) -> tuple[datetime, datetime]:
    """From when to when, in event time, records are used for a request."""
    start = data.start
    if policy.since is Since.DEGRADED and trigger.windows:
        start = max(start, trigger.windows[0])
    if policy.history is not None:
        start = max(start, data.end - policy.history)
    return min(start, data.end), data.end


def split_time(times_ms: NDArray[np.int64], policy: WindowPolicy) -> int:
    """The event time, milliseconds since 1970, from which labelled records are held out.

    Every held-out record is later than every record that is learned from: records of one time are not divided.

    Raises:
        RequestError: There are too few records to learn from.
    """
    rank = int(len(times_ms) * (1 - policy.holdout))
    cut = int(np.partition(times_ms, rank)[rank]) if rank < len(times_ms) else 0
    before = int(np.sum(times_ms < cut))
    if before < policy.min_train:
        raise RequestError(
            f"{before} of {len(times_ms)} labelled records are early enough to learn from, {policy.min_train} needed",
            remedy="wait for more labels, or lower data.min_train_rows",
        )
    return cut
