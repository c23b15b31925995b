"""A deployment as a queueing model: records come at random, scorers work them off, the real autoscaler decides.

Each partition is a queue in the order of its offsets. A scorer works on its partitions alike and no faster than its
cost curve says; it needs seconds to start, and each change of their number stops all of them for a moment, as a
rebalance does. The autoscaler sees what it would see of a broker: offsets and latencies, with noise.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from math import ceil
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from millrace.core.control.autoscaler import memory
from millrace.core.control.scaling import Decision, Observation, ScalePolicy, Step

Decide: TypeAlias = Callable[[ScalePolicy, Sequence[Observation]], Decision]

TICK_MS: Final = 200
GOAL: Final = timedelta(milliseconds=500)
COOLDOWN: Final = timedelta(seconds=30)
CALM_MS: Final = 40_000
_LATENCY_TICKS: Final = 3_000 // TICK_MS


@dataclass(frozen=True, slots=True)
class Surge:
    """What comes, and what works it off.

    Attributes:
        base: Records a second before and after.
        factor: How many times as many come during the surge.
        seconds: How long.
        partitions: Of the topic.
        capacity: Records a second of one scorer.
        contention: Share of its capacity that a scorer keeps for each further one beside it.
        ceiling: Records a second of all scorers together, as a store behind them may allow; None without one.
        first: Scorers at the beginning.
        is_learned: Whether the cost curve is known from the beginning.
        curve_error: What the curve says, as a multiple of the truth.
        stuck: A partition that nobody can move, or None.
    """

    base: float
    factor: float
    seconds: float
    partitions: int = 12
    capacity: float = 200.0
    contention: float = 1.0
    ceiling: float | None = None
    first: int = 1
    is_learned: bool = True
    curve_error: float = 1.0
    stuck: int | None = None

    def rate(self, at_ms: int) -> float:
        """Records a second at a moment."""
        is_on = CALM_MS <= at_ms < CALM_MS + self.seconds * 1000
        return self.base * (self.factor if is_on else 1.0)

    @property
    def enough(self) -> int:
        """Scorers that take what comes outside of the surge, busy for half of the time, and one for chance."""
        return ceil(self.base / (self.capacity / 2)) + 1


def draw(seed: int) -> Surge:
    """A surge that some number of scorers can take, of any size."""
    rng = random.Random(seed)
    capacity = rng.choice([40.0, 150.0, 600.0, 2_000.0])
    first = rng.randint(1, 2)
    base = capacity * first * rng.uniform(0.25, 0.6)
    factor = rng.uniform(1.2, 5.0)
    needed = int(base * factor / (0.55 * capacity)) + 3
    return Surge(
        base=base,
        factor=factor,
        seconds=rng.uniform(60, 90),
        partitions=rng.choice([max(needed, 6), 2 * needed, 24]),
        capacity=capacity,
        contention=rng.uniform(0.97, 1.0),
        first=first,
        is_learned=rng.random() < 0.6,
        curve_error=rng.uniform(0.8, 1.25),
    )


@dataclass(slots=True)
class Told:
    """What happened.

    Attributes:
        late_ms: Moments in which what was committed was above the goal, milliseconds since the beginning.
        counts: The desired number of scorers, from each moment on.
        steps: The decisions that changed it.
        most: The most scorers that there ever were.
        end_ms: The end.
    """

    late_ms: list[int] = field(default_factory=list)
    counts: list[tuple[int, int]] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    most: int = 0
    end_ms: int = 0

    @property
    def late_secs(self) -> float:
        """For how long the goal was missed in all."""
        return len(self.late_ms) * TICK_MS / 1000

    @property
    def reversals(self) -> int:
        """How often, from the surge on, a change went the other way than the one before it."""
        before = [count for at, count in self.counts if at <= CALM_MS]
        numbers = [before[-1], *(count for at, count in self.counts if at > CALM_MS)]
        ways = [later > earlier for earlier, later in pairwise(numbers)]
        return sum(way is not last for last, way in pairwise(ways))


@dataclass
class River:
    """The model, tick by tick."""

    surge: Surge
    policy: ScalePolicy
    seed: int
    now: int = 0
    desired: int = 0
    ready: int = 0
    pause_until: int = 0
    starting: list[int] = field(default_factory=list)
    """When scorers that have been started will be ready."""
    told: Told = field(default_factory=Told)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.ends = np.zeros(self.surge.partitions)
        self.committed = np.zeros(self.surge.partitions)
        self.is_live = np.arange(self.surge.partitions) != (-1 if self.surge.stuck is None else self.surge.stuck)
        self.arrived: deque[NDArray[np.float64]] = deque(maxlen=600)
        self.delays: deque[float] = deque(maxlen=_LATENCY_TICKS)
        self.desired = self.ready = self.surge.first
        self.told.counts.append((0, self.desired))

    def run(self, decide: Decide, *, until_ms: int) -> Told:
        """Let time pass, with a decision at each polling interval."""
        history: list[Observation] = []
        poll_ms = self.policy.polling_interval // timedelta(milliseconds=1)
        kept_ms = memory(self.policy) // timedelta(milliseconds=1)
        while self.now < until_ms:
            self.tick()
            if self.now % poll_ms == 0:
                history.append(self.observe())
                history = [found for found in history if found.at_ms >= self.now - kept_ms]
                decision = decide(self.policy, history)
                if isinstance(decision, Step):
                    self.scale(decision)
        self.told.end_ms = self.now
        return self.told

    def tick(self) -> None:
        """Records come, scorers start, records are worked off."""
        self.now += TICK_MS
        rate = self.surge.rate(self.now) / self.surge.partitions * TICK_MS / 1000
        self.ends += self.rng.poisson(rate, self.surge.partitions)
        self.arrived.append(self.ends.copy())
        started = [at for at in self.starting if at <= self.now]
        if started:
            self.starting = [at for at in self.starting if at > self.now]
            self.ready += len(started)
            self.rebalance()
        if self.now >= self.pause_until:
            self.work()
        self.told.most = max(self.told.most, self.ready + len(self.starting))
        self.note()

    def work(self) -> None:
        """Each scorer takes from its partitions what it can do in a tick, in proportion to what waits there."""
        if not self.ready:
            return
        speed = self.surge.capacity * self.surge.contention ** (self.ready - 1)
        budget = min(speed, (self.surge.ceiling or np.inf) / self.ready) * TICK_MS / 1000
        owners = np.arange(self.surge.partitions) % self.ready
        lags = np.where(self.is_live, self.ends - self.committed, 0.0)
        waiting = np.bincount(owners, lags, self.ready)
        can_do = budget * self.rng.uniform(0.9, 1.1, self.ready)
        done = np.minimum(1.0, can_do / np.maximum(waiting, 1e-9))
        self.committed += lags * done[owners]

    def note(self) -> None:
        """How late the worst partition's newest committed record is."""
        floor = np.where(self.is_live, self.committed + 0.5, np.inf)
        back = next((back for back, ends in enumerate(reversed(self.arrived)) if (ends <= floor).all()), None)
        delay = (len(self.arrived) if back is None else back) * TICK_MS / 1000
        self.delays.append(delay)
        if delay > self.policy.goal.total_seconds():
            self.told.late_ms.append(self.now)

    def observe(self) -> Observation:
        """What the autoscaler is shown."""
        base = float(self.rng.uniform(0.03, 0.12))
        # A broker that pauses, a garbage collection: now and then a quantile is far off for one poll.
        spike = float(self.rng.uniform(0.3, 1.5)) if self.rng.random() < 0.02 else 0.0
        is_known = self.surge.is_learned or self.now > 2 * CALM_MS
        return Observation(
            at_ms=self.now,
            desired=self.desired,
            ready=self.ready,
            committed=tuple(map(int, self.committed)),
            ends=tuple(map(int, self.ends)),
            latency=timedelta(seconds=max(self.delays) + base + spike),
            capacity=self.surge.capacity * self.surge.curve_error if is_known else None,
        )

    def scale(self, step: Step) -> None:
        """Start or stop scorers."""
        self.told.steps.append(step)
        self.told.counts.append((self.now, step.replicas))
        here = self.ready + len(self.starting)
        for _ in range(step.replicas - here):
            self.starting.append(self.now + int(self.rng.integers(2_000, 5_000)))
        if step.replicas < here:
            self.starting = self.starting[: max(step.replicas - self.ready, 0)]
            if step.replicas < self.ready:
                self.ready = step.replicas
                self.rebalance()
        self.desired = step.replicas

    def rebalance(self) -> None:
        self.pause_until = self.now + int(self.rng.integers(200, 800))


def policy_for(surge: Surge, *, goal: timedelta = GOAL) -> ScalePolicy:
    """Settings that leave a surge room."""
    return ScalePolicy(
        goal=goal, max_replicas=surge.partitions, polling_interval=timedelta(seconds=1), cooldown=COOLDOWN
    )


def flow(surge: Surge, decide: Decide, *, seed: int, policy: ScalePolicy | None = None) -> Told:
    """One surge from calm to calm."""
    used = policy or policy_for(surge)
    end = CALM_MS + surge.seconds * 1000 + 2.5 * (COOLDOWN / timedelta(milliseconds=1))
    return River(surge, used, seed).run(decide, until_ms=int(end) // TICK_MS * TICK_MS)
