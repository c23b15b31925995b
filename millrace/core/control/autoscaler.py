"""How many scorers a deployment shall have: decided from what was observed of it, and from nothing else. Pure.

A step up answers a load that the scorers cannot take, or a latency above the goal. It is as large as the load asks for,
counts what will wait until the new scorers have started, and is followed by no other before it was judged: when the
scorers have worked for a moment and nothing is better, the step is undone and not repeated until the trouble is over.
A step down comes when for the whole cooldown fewer scorers would have done, and goes to the most that any moment of it
asked for.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from operator import attrgetter
from typing import Final

from millrace.core.control.demand import BUSY, RELAXED, START, Demand, demand_at, measured_capacity
from millrace.core.control.scaling import Decision, Hold, Observation, ScalePolicy, Step

SETTLE: Final = timedelta(seconds=6)
"""Scorers that have just started are judged after this time: partitions move, caches are cold."""

START_LIMIT: Final = timedelta(seconds=60)
"""Scorers that are not ready by then are given up: no node fits, or they crash."""

_LATE: Final = timedelta(seconds=5)
"""A goal that is missed for so long is no accident of a moment,"""
_LATE_POLLS: Final = 3
"""when it was looked at so often."""

_SOON: Final = 0.8
"""Share of the cooldown: what was asked for longer ago is soon forgotten, and a step down waits for that."""

_GAIN: Final = 1.1
"""A change by less is noise."""

_MS: Final = timedelta(milliseconds=1)


def decide_scale(policy: ScalePolicy, history: Sequence[Observation]) -> Decision:
    """How many scorers there shall be from now on.

    The same inputs give the same decision. The latest observation is taken to be of now.

    Args:
        policy: The settings.
        history: What was observed, oldest first, all of one topic; `memory` tells how far back it counts.
    """
    return _Turn(policy, history).decide() if history else Hold("nothing was observed yet")


def memory(policy: ScalePolicy) -> timedelta:
    """How far back observations count."""
    return 4 * policy.cooldown + START_LIMIT


@dataclass(frozen=True, slots=True)
class _Change:
    """The desired number was another one from an observation on, whoever changed it."""

    index: int
    before: int
    after: int


@dataclass(slots=True)
class _Turn:
    """One look at the history."""

    policy: ScalePolicy
    history: Sequence[Observation]
    now: Observation = field(init=False)
    demand: Demand = field(init=False)
    capacity: float | None = field(init=False)
    changes: list[_Change] = field(init=False)

    def __post_init__(self) -> None:
        self.now = self.history[-1]
        self.demand = self._demand(len(self.history) - 1)
        self.capacity = measured_capacity(self.history) or self._least_capacity()
        self.changes = [
            _Change(index, before.desired, after.desired)
            for index, (before, after) in enumerate(pairwise(self.history), start=1)
            if before.desired != after.desired
        ]

    def decide(self) -> Decision:
        within = min(max(self.now.desired, self.policy.min_replicas), self.policy.bound(self.demand.partitions))
        if within != self.now.desired:
            return Step(within, f"{self.now.desired} is outside of the bounds: {self._bounds()}")
        step_up = self._unjudged()
        if step_up is not None:
            return self._judge(step_up)
        return self._up() or self._down() or Hold(self._calm())

    # The latest step up

    def _unjudged(self) -> _Change | None:
        """The latest change, where it was one upwards of which it is not known yet whether it helped."""
        latest = self.changes[-1] if self.changes else None
        if latest is None or latest.after < latest.before or not latest.before:
            return None
        since = range(latest.index, len(self.history))
        ready = next((index for index in since if self._is_complete(index)), None)
        is_over = ready is not None and self._age(ready) >= SETTLE / 2 and self._has_helped(latest, ready)
        return None if is_over else latest

    def _judge(self, step: _Change) -> Decision:
        """What follows from a step up that has not helped so far."""
        complete = [index for index in range(step.index, len(self.history)) if self._is_complete(index)]
        if not complete:
            wanted = self._wanted_now(step.after, start=max(START - self._age(step.index), timedelta(0)))
            if wanted > step.after and self._age(step.index) < START:
                return Step(wanted, self._state())  # What was seen since shows that the step is too small.
            if self._age(step.index) < START_LIMIT:
                return Hold(f"{self.now.ready} of {self.now.desired} scorers are ready")
            back = max(step.before, self.now.ready)
            limit = START_LIMIT.total_seconds()
            return Step(back, f"only {self.now.ready} of {step.after} scorers became ready within {limit:.0f} s")
        if self._age(complete[0]) <= SETTLE:
            return Hold(f"{step.after} scorers have just become ready")
        return Step(step.before, f"{step.after} scorers did not help: {self._state()}")

    def _is_complete(self, index: int) -> bool:
        """Whether all scorers that can have work do it."""
        observed = self.history[index]
        return observed.ready >= self._working(observed.desired)

    def _has_helped(self, step: _Change, ready: int) -> bool:
        """Whether anything became better since the step was complete."""
        before, first = self._demand(step.index - 1), self._demand(ready)
        since = range(ready, len(self.history))
        was, latest = self.history[step.index - 1].latency, self.now.latency
        return (
            any(not self._is_late(index) for index in since)
            or self.demand.throughput > before.throughput * _GAIN
            or self.demand.lag * _GAIN < first.lag
            or (was is not None and latest is not None and latest * _GAIN < was)
        )

    # Steps

    def _up(self) -> Decision | None:
        current, bound = self.now.desired, self.policy.bound(self.demand.partitions)
        wanted = self._wanted_now(current)
        if wanted <= current and self._is_settled() and self._is_late_for_long():
            wanted = self._next(current)  # What one scorer does is known by and large; the goal is what counts.
        if wanted <= current or self._is_recovering():
            return None
        if current >= bound:
            return Hold(f"more would help, and the bound is reached ({self._bounds()}): {self._state()}")
        if self._was_undone():
            return Hold(f"more scorers did not help a moment ago: {self._state()}")
        return Step(min(wanted, bound), self._state())

    def _down(self) -> Decision | None:
        cooldown = self.policy.cooldown
        window = self._lately(cooldown)
        # Observations come at intervals: a window counts as whole when the one before it is there as well.
        if window[0] == 0 or not self._is_settled():
            return None
        if self._wanted(len(self.history) - 1, RELAXED) >= self.now.desired:
            return None
        asked = [(self._wanted(index, RELAXED), self._age(index)) for index in window]
        wanted = max(count for count, _ in asked)
        if wanted >= self.now.desired:
            return None
        if max(count for count, age in asked if age <= _SOON * cooldown) < wanted:
            return None  # One large step a moment later stops the scorers once, and many small ones many times.
        seconds = self.policy.cooldown.total_seconds()
        return Step(wanted, f"for {seconds:.0f} s no more than {wanted} would have been needed: {self._state()}")

    def _next(self, current: int) -> int:
        """One more; or two, where the first takes no load off the busiest scorer and the second does."""
        share, bound = self.demand.busiest_share, self.policy.bound(self.demand.partitions)
        is_one_useless = current and share(current + 1) == share(current) > share(current + 2)
        return current + 2 if is_one_useless and current + 2 <= bound else current + 1

    def _wanted_now(self, than: int, *, start: timedelta = START) -> int:
        """How many scorers the last two observations ask for: the larger number, where both ask for more `than`."""
        count = len(self.history)
        asked = [self._wanted(index, BUSY, start=start) for index in range(max(count - 2, 0), count)]
        return max(asked) if min(asked) > than else min(asked)

    def _wanted(self, index: int, busy: float, *, start: timedelta = START) -> int:
        """How many scorers an observation asks for; those that there are where it is not known what one does."""
        observed = self.history[index]
        demand = self._demand(index)
        if not observed.desired and demand.lag > self.policy.activation_lag_threshold:
            return max(1, self.policy.min_replicas)
        if not self.capacity:
            return observed.desired if demand.arrivals or demand.lag else self.policy.min_replicas
        return demand.replicas(self.capacity, self.policy, busy=busy, running=observed.ready, start=start)

    def _was_undone(self) -> bool:
        """Whether a step up was taken back sooner than after a cooldown, in trouble that has not ended since."""
        return any(
            self._is_late_since(later.index)
            for earlier, later in pairwise(self.changes)
            if earlier.before < earlier.after and later.after < later.before
            if self._age(earlier.index) - self._age(later.index) < self.policy.cooldown
        )

    # What is seen

    def _least_capacity(self) -> float | None:
        """What a scorer does at the least, where nothing better is known and a backlog says that it is at its limit."""
        if self.now.ready and self.demand.excess and self._is_late_for_long():
            return self.demand.throughput / self.now.ready
        return None

    def _is_late(self, index: int) -> bool:
        """Whether the goal is missed, or will be by what waits."""
        observed, demand = self.history[index], self._demand(index)
        is_slow = observed.latency is not None and observed.latency > self.policy.goal
        return is_slow or demand.excess > 0

    def _is_late_for_long(self) -> bool:
        lately = self._lately(_LATE)
        return len(lately) >= _LATE_POLLS and all(map(self._is_late, lately))

    def _is_settled(self) -> bool:
        """Whether the scorers have been the same for a while."""
        return self._has_been_so(SETTLE)

    def _is_recovering(self) -> bool:
        """Whether scorers are missing that may still come; those that stay away for long are counted on no more."""
        is_short = self.now.ready < self._working(self.now.desired)
        return is_short and not (self._age(0) >= START_LIMIT and self._has_been_so(START_LIMIT))

    def _has_been_so(self, window: timedelta) -> bool:
        same = (self.now.desired, self.now.ready)
        return all((found.desired, found.ready) == same for found in (self.history[at] for at in self._lately(window)))

    def _lately(self, window: timedelta) -> range:
        first = bisect_left(self.history, self.now.at_ms - window // _MS, key=attrgetter("at_ms"))
        return range(first, len(self.history))

    def _is_late_since(self, index: int) -> bool:
        """Whether no run of observations since then was in time."""
        late = [self._is_late(at) for at in range(index, len(self.history))]
        return all(any(late[at : at + _LATE_POLLS]) for at in range(max(len(late) - _LATE_POLLS + 1, 1)))

    def _demand(self, index: int) -> Demand:
        return demand_at(self.history, index, self.policy)

    def _age(self, index: int) -> timedelta:
        return (self.now.at_ms - self.history[index].at_ms) * _MS

    def _working(self, replicas: int) -> int:
        """How many of so many scorers can have work."""
        return min(replicas, self.demand.partitions)

    # In words

    def _calm(self) -> str:
        if self._is_recovering():
            return f"{self.now.ready} of {self.now.desired} scorers are ready"
        return self._state()

    def _bounds(self) -> str:
        partitions = "" if self.policy.allow_idle_consumers else f", {self.demand.partitions} partitions"
        return f"minReplicaCount {self.policy.min_replicas}, maxReplicaCount {self.policy.max_replicas}{partitions}"

    def _state(self) -> str:
        """The facts of a decision: latency, load, what waits and how long, what is left out."""
        goal = _words(self.policy.goal)
        latency = "nothing was scored" if self.now.latency is None else f"{_words(self.now.latency)}"
        parts = [
            f"p{self.policy.quantile * 100:g} latency {latency}, the goal {goal}",
            f"{self.demand.arrivals:.0f} records/s come",
        ]
        if self.capacity:
            parts.append(f"one scorer does {self.capacity:.0f}")
        if self.demand.excess:
            parts.append(f"{self.demand.lag} wait{self._drained()}")
        if self.demand.stuck:
            parts.append(f"left out, because nobody moves them: partitions {', '.join(map(str, self.demand.stuck))}")
        return "; ".join(parts)

    def _drained(self) -> str:
        """How long what waits will take the scorers that work now."""
        spare = (self.capacity or 0) * self.now.ready - self.demand.arrivals
        return f", drained in {self.demand.excess / spare:.0f} s" if spare > 0 else ", more than can be drained"


def _words(duration: timedelta) -> str:
    seconds = duration.total_seconds()
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
