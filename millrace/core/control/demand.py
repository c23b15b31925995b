"""How many scorers a stream needs, from what comes, what waits and what one scorer does. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from math import ceil
from operator import sub
from statistics import median
from typing import Final

from millrace.core.control.scaling import Observation, ScalePolicy

DRAIN: Final = timedelta(seconds=4)
"""A backlog is to be gone so long after the scorers that it needs are ready."""

START: Final = timedelta(seconds=5)
"""A scorer is taken to need so long from the decision to its first record; what comes meanwhile waits."""

BUSY: Final = 0.8
"""Share of its time that a scorer may be busy: beyond it, waiting times grow faster than the load."""

RELAXED: Final = 0.65
"""The same share when fewer scorers are considered, so that noise does not bring them back at once."""

_RATE_WINDOW_MS: Final = 1_000
_STUCK_MS: Final = 10_000
_SAMPLES: Final = 5


@dataclass(frozen=True, slots=True)
class Demand:
    """What a stream asked for at one moment.

    Attributes:
        arrivals: Records that come, a second.
        throughput: Records that are done, a second.
        lag: Records that wait, those of stuck partitions left out.
        excess: Of these, what is more than the latency goal allows to wait.
        partitions: How many the topic has.
        stuck: Partitions whose lag is left out.
    """

    arrivals: float
    throughput: float
    lag: int
    excess: float
    partitions: int
    stuck: tuple[int, ...] = ()

    def busiest_share(self, replicas: int) -> float:
        """The share of the load that comes to the scorer with the most partitions.

        >>> [Demand(0, 0, 0, 0, partitions=4).busiest_share(n) for n in (1, 2, 3, 4, 5)]
        [1.0, 0.5, 0.5, 0.25, 0.25]
        """
        return ceil(self.partitions / replicas) / self.partitions

    def replicas(
        self, capacity: float, policy: ScalePolicy, *, busy: float, running: int, start: timedelta = START
    ) -> int:
        """The fewest scorers that take what comes and drain what waits.

        Args:
            capacity: Records a second of one scorer.
            policy: The bounds.
            busy: Share of its time that a scorer may be busy.
            running: Scorers that work now; until others have started, these alone do.
            start: How long that takes.
        """
        bound = policy.bound(self.partitions)
        if self.arrivals == 0 and self.lag <= policy.activation_lag_threshold:
            return policy.min_replicas
        by_threshold = ceil(self.lag / policy.lag_threshold) if policy.lag_threshold else 0
        least = min(max(policy.min_replicas, by_threshold, 1), bound)
        at_start = self._at_start(capacity, running, start) if self.excess else 0.0
        for count in range(least, bound + 1):
            waiting = at_start if count > running else self.excess
            load = max(self.arrivals / busy, self.arrivals + waiting / DRAIN.total_seconds())
            if self.busiest_share(count) * load <= capacity:
                return count
        return bound

    def _at_start(self, capacity: float, running: int, start: timedelta) -> float:
        """What will wait when further scorers have started."""
        growth = self.arrivals - running * capacity
        return max(0.0, self.excess + growth * start.total_seconds())


def demand_at(history: Sequence[Observation], index: int, policy: ScalePolicy) -> Demand:
    """What the stream asked for at one of the observations, from it and those shortly before.

    Args:
        history: Observations, oldest first, of one topic.
        index: Which of them, counted from 0.
        policy: The goal.
    """
    latest = history[index]
    first = _since(history, index, _RATE_WINDOW_MS)
    seconds = (latest.at_ms - first.at_ms) / 1000
    stuck = _stuck(history, index) if policy.exclude_persistent_lag else ()
    lags = latest.lags
    lag = sum(lags) - sum(lags[number] for number in stuck)
    arrivals = throughput = 0.0
    if seconds:
        arrivals = (sum(latest.ends) - sum(first.ends)) / seconds
        throughput = max(0.0, (sum(latest.committed) - sum(first.committed)) / seconds)
    # A record may be on its way for as long as the goal allows.
    excess = max(0.0, lag - max(arrivals, throughput) * policy.goal.total_seconds())
    return Demand(arrivals, throughput, lag, excess, len(latest.ends), stuck)


def measured_capacity(history: Sequence[Observation]) -> float | None:
    """Records a second that one scorer did lately while it always had work; the learned curve where none had.

    A scorer that had nothing to do for a moment shows what came, and not what it can do. So a pair of observations
    counts only when all that was done between them had been waiting at the first one, in every partition that moved.
    """
    triples = zip(history[-1::-1], history[-2::-1], history[-3::-1], strict=False)
    newest_first = (_saturated(*reversed(triple)) for triple in triples)
    samples = list(islice((sample for sample in newest_first if sample is not None), _SAMPLES))
    return median(samples) if samples else history[-1].capacity


def _saturated(earlier: Observation, before: Observation, after: Observation) -> float | None:
    """What a scorer did between the last two; None where one may have had nothing to do, or partitions moved."""
    if not earlier.ready == before.ready == after.ready or not after.ready:
        return None
    total = sum(after.committed) - sum(before.committed)
    if not 0 < total <= before.lag:
        return None
    done = map(sub, after.committed, before.committed)
    if any(moved > lag or not lag for moved, lag in zip(done, before.lags, strict=True)):
        return None
    return total / ((after.at_ms - before.at_ms) / 1000) / after.ready


def _stuck(history: Sequence[Observation], index: int) -> tuple[int, ...]:
    """Partitions with records that nobody has moved for a while: more scorers would not move them either."""
    latest, first = history[index], _since(history, index, _STUCK_MS)
    if latest.at_ms - first.at_ms < _STUCK_MS:
        return ()
    return tuple(
        number
        for number, lag in enumerate(latest.lags)
        if lag and latest.committed[number] == first.committed[number] and first.lags[number]
    )


def _since(history: Sequence[Observation], index: int, window_ms: int) -> Observation:
    """The latest observation that is at least so much older than another one, or else the oldest."""
    latest = history[index]
    for earlier in range(index, -1, -1):
        if latest.at_ms - history[earlier].at_ms >= window_ms:
            return history[earlier]
    return history[0]
