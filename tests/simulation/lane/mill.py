"""A mill in memory: three workers with the real loop and the real lane rules, over an imaginary broker."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Protocol, TypeAlias, assert_never

import numpy as np
from memory_handovers import MemoryHandovers
from numpy.typing import NDArray

from millrace.core.batching import BatchPolicy, Costs
from millrace.core.cost import LatencyCurve
from millrace.core.errors import FatalError, TransientError
from millrace.core.lane import Delivery, Lane, Outcome
from millrace.core.records import OutputBatch, RecordBatch
from millrace.kafka.lane import LaneSpec
from millrace.kafka.lane.triage import Recovery, StepError
from millrace.testing.clock import ManualClock
from millrace.testing.memory import CrashedError, MemoryClient, MemoryLog, Point, memory_lane
from millrace_scorer.logic.handovers import Handovers
from millrace_scorer.logic.lineup import Lineup
from millrace_scorer.logic.loop import LoopSettings, ScoringLoop
from millrace_scorer.logic.ports import Scored, Scoring, Tally
from tests.simulation.lane.schedule import (
    SLOTS,
    Arrive,
    Event,
    Fate,
    Markers,
    NoScore,
    Pass,
    Roll,
    Settle,
    SlowModel,
    Start,
    Strike,
    Turns,
)

INPUT, OUTPUT = "sim.features", "sim.predictions"
HANDOVERS, SHADOWS = "sim.handovers", "sim.shadows"
PARTITIONS = 4
POLICY = BatchPolicy(
    slo=timedelta(milliseconds=300),
    max_records=5,
    max_wait=timedelta(0),
    transaction_records=12,
    transaction_age=timedelta(milliseconds=500),
)
PACE = 2
"""Points between two steps of a commit, until an event says otherwise."""

FROZEN_ROUNDS = 13
"""Seconds for which a frozen worker stays so: longer than its session and its transaction."""

MOST_ROUNDS = 500
"""Turns of every worker after which records that are not through count as lost."""


class BrokenPromiseError(AssertionError):
    """The output is not what was promised."""


@dataclass
class Echo:
    """A model whose answer is the record; slow, or out of order, when told to."""

    clock: ManualClock
    extra: timedelta = timedelta(0)
    fails: bool = False
    costs: Costs = field(default_factory=lambda: Costs(LatencyCurve(), LatencyCurve()))
    lineup: Lineup | None = None

    def score(self, records: RecordBatch, *, wall_ms: int) -> Scored:
        self.clock.advance(timedelta(milliseconds=1) + self.extra)
        self.extra = timedelta(0)
        if self.fails:
            self.fails = False
            raise TransientError("the schema registry is away")
        outputs = OutputBatch(OUTPUT, records.partitions, records.timestamps_ms, records.keys, records.values)
        return Scored((outputs,), Tally(consumed=len(records), predicted=len(records)))

    def current(self) -> Scoring:
        return self

    def variant(self) -> Scoring | None:
        return None


class Model(Scoring, Protocol):
    """What a worker scores with, and how it can be disturbed."""

    extra: timedelta
    fails: bool

    def current(self) -> Scoring: ...

    def variant(self) -> Scoring | None: ...


class Nobody:
    """Observes nothing."""

    def polled(self, records: int, *, backlog: int) -> None: ...

    def scored(self, scored: Scored, *, queued_seconds: float) -> None: ...

    def settled(
        self, outcome: Outcome, tally: Tally, *, seconds: float, latency_seconds: NDArray[np.float64]
    ) -> None: ...

    def unreachable(self, reason: str) -> None: ...

    def suspended(self, reason: str, *, attempt: int) -> None: ...

    def resumed(self) -> None: ...


class Loop(Protocol):
    """What drives a lane."""

    def turn(self) -> None: ...

    def finish(self) -> None: ...


OpenLoop: TypeAlias = Callable[[Lane, Model, ManualClock, MemoryLog], Loop]


def scoring_loop(lane: Lane, model: Model, clock: ManualClock, log: MemoryLog) -> Loop:
    """The scorer's own."""
    settings = LoopSettings(late_topic="sim.late")
    handovers = Handovers(MemoryHandovers(log, HANDOVERS), topic=HANDOVERS, deployment="sim")
    return ScoringLoop(lane, model, handovers, policy=POLICY, settings=settings, clock=clock, observer=Nobody())


class LateCommitter:
    """A loop that polls with outputs written and not committed, which a lane allows and the scorer's loop avoids."""

    def __init__(self, lane: Lane, model: Model, clock: ManualClock, _: MemoryLog) -> None:
        self._lane = lane
        self._model = model
        self._clock = clock
        self._turns = 0

    def turn(self) -> None:
        self._turns += 1
        with suppress(TransientError):
            self._write(self._lane.poll(5, timedelta(milliseconds=100)).records)
        if self._turns % 4 == 0:
            self.commit()

    def commit(self) -> None:
        self._lane.commit()

    def finish(self) -> None:
        self._lane.commit()

    def _write(self, records: RecordBatch) -> None:
        if not len(records):
            return
        try:
            scored = self._model.score(records, wall_ms=self._clock.wall_ms())
            self._lane.write(scored.outputs, records.next_offsets())
        except TransientError:
            self._lane.abort()  # or else a later record's offset would pass these records by


class EagerCommitter(LateCommitter):
    """Begins a commit whenever none is on its way, and hears of it as late as a lane allows."""

    def commit(self) -> None:
        self._lane.await_commit()
        self._lane.begin_commit()

    def finish(self) -> None:
        self.commit()
        self._lane.await_commit()


@dataclass(frozen=True)
class WorkerProcess:
    """One life of a worker."""

    lane: Lane
    model: Model
    loop: Loop


@dataclass(frozen=True, slots=True)
class Promise:
    """What is promised, and the lanes that are to keep it."""

    delivery: Delivery = Delivery.EXACTLY_ONCE
    lanes: Delivery = Delivery.EXACTLY_ONCE
    alternate: bool = True


class Mill:
    """The whole mill. Everything that happens is an event; nothing else is random.

    `stage` counts how often the aliases have moved. Subclasses have other models and other records.
    """

    def __init__(self, promise: Promise, open_loop: OpenLoop = scoring_loop) -> None:
        self._promise = promise
        self._open_loop = open_loop
        self.stage = 0
        self._clock = ManualClock()
        self._log = MemoryLog(self._clock)
        for topic in (INPUT, OUTPUT, HANDOVERS, SHADOWS):
            self._log.create_topic(topic, PARTITIONS)
        self._workers: dict[int, WorkerProcess] = {}
        self._clients: dict[int, MemoryClient] = {}
        self._paces = dict.fromkeys(range(SLOTS), PACE)
        self._struck: dict[tuple[int, Point], Fate] = {}
        self._busy: list[int] = []  # slots in the middle of something, the innermost last
        self._arrived = 0
        self._seen: dict[int, list[int]] = defaultdict(list)

    def run(self, schedule: Sequence[Event]) -> None:
        """Let it happen, then let the mill finish in peace.

        Raises:
            BrokenPromiseError: A record is missing, doubled, out of order, or was seen and vanished.
        """
        for event in schedule:
            self._apply(event)
            self._watch()
        self._finish()

    def make_model(self) -> Model:
        """What a worker scores with."""
        return Echo(self._clock)

    def write(self, number: int) -> bytes:
        """The value of a record."""
        return b"%d" % number

    def read(self, prediction: bytes) -> int:
        """The number of the record that a prediction is about."""
        return int(prediction)

    def _apply(self, event: Event) -> None:
        match event:
            case Arrive(records):
                self._arrive(records)
            case Turns(slot, count):
                for _ in range(count):
                    self._turn(slot)
            case Strike(slot, point, fate):
                self._struck[slot, point] = fate
            case Start(slot):
                self._start_or_end(slot)
            case SlowModel() | NoScore():
                self._disturb(event)
            case Settle(slot, pace):
                self._pace(slot, pace)
            case Markers():
                self._log.delays_markers = not self._log.delays_markers
                self._log.write_markers()
            case Pass(span):
                self._clock.advance(span)
            case Roll():
                self.stage += 1
            case _:
                assert_never(event)

    def _disturb(self, event: SlowModel | NoScore) -> None:
        worker = self._workers.get(event.slot)
        if worker is None:
            return
        if isinstance(event, SlowModel):
            worker.model.extra = event.span
        else:
            worker.model.fails = True

    def _pace(self, slot: int, pace: int) -> None:
        self._paces[slot] = pace
        if slot in self._clients:
            self._clients[slot].settler.pace = pace

    def _arrive(self, records: int) -> None:
        numbers = range(self._arrived, self._arrived + records)
        self._arrived += records
        stamps = np.full(records, self._clock.wall_ms(), np.int64)
        values: list[bytes | None] = list(map(self.write, numbers))
        partitions = np.array([number % PARTITIONS for number in numbers], np.int32)
        keys: list[bytes | None] = [b"%d" % number for number in numbers]
        self._log.append(OutputBatch(INPUT, partitions, stamps, keys, values))

    def _turn(self, slot: int) -> None:
        if slot in self._workers and slot not in self._busy:
            self._alive(slot, self._workers[slot].loop.turn)

    def _start_or_end(self, slot: int) -> None:
        if slot in self._workers:
            worker = self._workers[slot]
            self._alive(slot, worker.loop.finish)
            self._alive(slot, worker.lane.close)
            self._workers.pop(slot, None)
        else:
            self._alive(slot, lambda: self._start(slot))

    def _start(self, slot: int) -> None:
        pace = self._paces[slot]
        client = MemoryClient(self._log, self._clock, lambda point: self._interrupt(slot, point), pace=pace)
        self._clients[slot] = client
        spec = LaneSpec("sim", slot, INPUT, delivery=self._promise.lanes, alternate=self._promise.alternate)
        lane = memory_lane(client, spec)
        model = self.make_model()
        self._workers[slot] = WorkerProcess(lane, model, self._open_loop(lane, model, self._clock, self._log))

    def _alive(self, slot: int, act: Callable[[], None]) -> None:
        """Do something as the worker of this slot, which may be the end of it."""
        self._busy.append(slot)
        try:
            act()
        except (CrashedError, FatalError):
            self._end(slot)
        except TransientError:
            # Only opening a lane lets it through: whoever supervises the worker starts it again.
            self._end(slot)
        finally:
            self._busy.remove(slot)

    def _end(self, slot: int) -> None:
        self._workers.pop(slot, None)
        self._clients[slot].is_frozen = True  # for the group it is not dead, only silent

    def _interrupt(self, slot: int, point: Point) -> None:
        match self._struck.pop((slot, point), None):
            case None:
                return
            case Fate.CRASH:
                raise CrashedError(f"slot {slot} at {point.value}")
            case Fate.FREEZE:
                self._freeze(slot)
            case Fate.REFUSE:
                raise StepError(Recovery.ABORT, TransientError("refused"))
            case Fate.LOSE:
                raise StepError(Recovery.REBUILD, TransientError("no answer"))
            case Fate.AWAY:
                raise TransientError("the broker is away")

    def _freeze(self, slot: int) -> None:
        """The others go on until the frozen worker counts as gone; then it goes on where it stood."""
        frozen = self._clients[slot]
        frozen.is_frozen = True
        for _ in range(FROZEN_ROUNDS):
            self._clock.advance(timedelta(seconds=1))
            for other in range(SLOTS):
                self._turn(other)
        frozen.is_frozen = False

    def _watch(self) -> None:
        """What a reader of committed records has seen may only grow."""
        for partition in sorted(self._log.partitions(OUTPUT)):
            records = self._log.committed_records(partition)
            numbers = [self.read(record.value or b"-1") for record in records]
            before = self._seen[partition.partition]
            if numbers[: len(before)] != before:
                raise BrokenPromiseError(f"{partition} showed {before} and then {numbers}")
            self._seen[partition.partition] = numbers
        if self._promise.delivery is Delivery.EXACTLY_ONCE:
            self._check_order()

    def _check_order(self) -> None:
        for partition, numbers in self._seen.items():
            if any(later <= earlier for earlier, later in pairwise(numbers)):
                raise BrokenPromiseError(f"doubled or out of order in partition {partition}: {numbers}")

    def _finish(self) -> None:
        self._struck.clear()
        self._log.delays_markers = False
        self._log.write_markers()
        for _ in range(MOST_ROUNDS):
            for slot in range(SLOTS):
                if slot not in self._workers:
                    self._start_or_end(slot)
                self._turn(slot)
            self._clock.advance(timedelta(milliseconds=100))
            self._watch()
            if not self._missing():
                return
        raise BrokenPromiseError(f"lost: {sorted(self._missing())}")

    def _missing(self) -> set[int]:
        return set(range(self._arrived)) - {number for numbers in self._seen.values() for number in numbers}
