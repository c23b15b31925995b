"""The loop over the in-memory log: the rules of the real lanes, a manual clock, and a model that fails when told to."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import pytest
from memory_handovers import MemoryHandovers
from numpy.typing import NDArray

from millrace.core.batching import BatchPolicy, Costs
from millrace.core.cost import LatencyCurve
from millrace.core.errors import FatalError, TransientError
from millrace.core.lane import Discard, Lane, Outcome
from millrace.core.records import OutputBatch, RecordBatch
from millrace.kafka.lane import LaneSpec
from millrace.kafka.lane.triage import Recovery, StepError
from millrace.testing.clock import ManualClock
from millrace.testing.memory import MemoryClient, MemoryLog, Point, memory_lane
from millrace_scorer.logic.handovers import Handovers
from millrace_scorer.logic.lineup import Lineup, Member
from millrace_scorer.logic.loop import LoopSettings, ScoringLoop
from millrace_scorer.logic.ports import Scored, Scoring, Tally

HANDOVERS = "d.handovers"
FIRST = Lineup("m", Member(1, "sha256:1"))
SPEC = LaneSpec(deployment="d", slot=0, topic="in")
POLICY = BatchPolicy(
    slo=timedelta(milliseconds=500),
    max_records=10,
    max_wait=timedelta(0),
    transaction_records=40,
    transaction_age=timedelta(seconds=1),
)


@dataclass
class Echo:
    """Scores a record as itself; raises what is planned instead."""

    clock: ManualClock
    failures: list[Exception] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    costs: Costs = field(default_factory=lambda: Costs(LatencyCurve(), LatencyCurve()))
    lineup: Lineup | None = FIRST
    leaves_out: bool = False

    def score(self, records: RecordBatch, *, wall_ms: int) -> Scored:
        self.clock.advance(timedelta(milliseconds=1))
        if self.failures:
            raise self.failures.pop(0)
        self.sizes.append(len(records))
        if self.leaves_out:
            return Scored((), Tally(consumed=len(records), left_out=len(records)))
        output = OutputBatch("out", records.partitions, records.timestamps_ms, records.keys, records.values)
        return Scored((output,), Tally(consumed=len(records), predicted=len(records)))


@dataclass
class OneModel:
    scoring: Echo

    def current(self) -> Scoring:
        return self.scoring

    def variant(self) -> Scoring | None:
        return None


@dataclass
class Notes:
    """What the loop reported, in words."""

    said: list[str] = field(default_factory=list)
    readable: int = 0
    slowest: float = 0.0
    longest_backlog: int = 0

    def polled(self, records: int, *, backlog: int) -> None:
        self.longest_backlog = max(self.longest_backlog, backlog)

    def scored(self, scored: Scored, *, queued_seconds: float) -> None:
        """Not interesting here."""

    def settled(self, outcome: Outcome, tally: Tally, *, seconds: float, latency_seconds: NDArray[np.float64]) -> None:
        self.said.append(outcome.value)
        assert len(latency_seconds) == (tally.consumed if outcome is Outcome.COMMITTED else 0)
        self.readable += tally.predicted if outcome is Outcome.COMMITTED else 0
        self.slowest = max([self.slowest, *latency_seconds.tolist()])

    def unreachable(self, reason: str) -> None:
        self.said.append("unreachable")

    def suspended(self, reason: str, *, attempt: int) -> None:
        self.said.append(f"suspended {attempt}")

    def resumed(self) -> None:
        self.said.append("resumed")


@dataclass
class World:
    clock: ManualClock
    log: MemoryLog
    client: MemoryClient
    lane: Lane
    echo: Echo
    notes: Notes
    loop: ScoringLoop
    trouble: dict[Point, Exception] = field(default_factory=dict)

    def send(self, count: int) -> None:
        sent = len(self.log.topic_records("in"))
        values = [str(sent + i).encode() for i in range(count)]
        stamps = np.full(count, self.clock.wall_ms(), np.int64)
        self.log.append(OutputBatch("in", np.zeros(count, np.int32), stamps, values, values))

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.loop.turn()

    @property
    def written(self) -> list[int]:
        return [int(record.value or b"") for record in self.log.topic_records("out")]


@contextmanager
def a_world(*, backlog_bytes: int = 64 * 1024 * 1024, pace: int = 0) -> Iterator[World]:
    clock = ManualClock()
    log = MemoryLog(clock)
    log.create_topic("in", 1)
    log.create_topic("out", 1)
    log.create_topic(HANDOVERS, 1)
    trouble: dict[Point, Exception] = {}

    def interrupt(point: Point) -> None:
        if point in trouble:
            raise trouble.pop(point)

    client = MemoryClient(log, clock, interrupt, pace=pace)
    lane = memory_lane(client, SPEC)
    echo, notes = Echo(clock), Notes()
    settings = LoopSettings(late_topic="late", backlog_bytes=backlog_bytes, retry_for=timedelta(seconds=30))
    handovers = Handovers(MemoryHandovers(log, HANDOVERS), topic=HANDOVERS, deployment="d")
    loop = ScoringLoop(lane, OneModel(echo), handovers, policy=POLICY, settings=settings, clock=clock, observer=notes)
    made = World(clock, log, client, lane, echo, notes, loop, trouble)
    yield made
    lane.close()


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as made:
        yield made


def test_what_is_polled_is_scored_written_and_committed(world: World) -> None:
    world.send(5)
    world.turns(4)
    assert world.written == list(range(5))
    assert world.notes.said == ["committed"]


def test_what_a_filter_leaves_out_is_committed_though_nothing_is_written(world: World) -> None:
    world.echo.leaves_out = True
    world.send(5)
    world.turns(3)
    assert (world.written, world.notes.said) == ([], ["committed"])
    assert world.log.committed(SPEC.group, next(iter(world.log.partitions("in")))) == 5


def test_whole_batches_share_a_transaction_and_the_rest_gets_its_own(world: World) -> None:
    world.send(35)
    world.turns(8)
    assert world.written == list(range(35))
    assert world.echo.sizes == [10, 10, 10, 5]
    assert world.notes.said == ["committed", "committed"]


def test_a_transaction_is_committed_when_it_is_full(world: World) -> None:
    world.send(100)
    world.turns(30)
    assert world.written == list(range(100))
    assert world.notes.said.count("committed") >= 3


def test_a_transient_failure_pauses_and_the_same_records_are_tried_again(world: World) -> None:
    world.echo.failures = [TransientError("registry away"), TransientError("registry away")]
    world.send(5)
    world.turns(20)
    assert world.written == list(range(5))
    assert world.notes.said == ["suspended 1", "suspended 2", "committed", "resumed"]


def test_what_was_written_before_a_transient_failure_is_committed_at_once(world: World) -> None:
    world.send(30)
    world.turns(2)  # polled, and the first batch scored
    world.echo.failures = [TransientError("registry away")]
    world.turns(1)
    assert world.written == list(range(10))
    world.turns(20)
    assert world.written == list(range(30))


def test_a_transient_failure_that_lasts_too_long_is_fatal_and_loses_nothing(world: World) -> None:
    world.echo.failures = [TransientError("registry away", remedy="start it")] * 100
    world.send(5)
    with pytest.raises(FatalError, match=r"registry away \(start it\)"):
        world.turns(10_000)
    assert world.written == []
    assert world.log.committed(SPEC.group, next(iter(world.log.partitions("in")))) is None


@pytest.mark.parametrize("point", [Point.SEND, Point.FLUSH, Point.SEND_OFFSETS, Point.COMMIT])
@pytest.mark.parametrize("recovery", [Recovery.ABORT, Recovery.REBUILD])
def test_a_refused_transaction_is_scored_again_and_read_once(world: World, point: Point, recovery: Recovery) -> None:
    world.send(25)
    world.trouble[point] = StepError(recovery, TransientError("refused"))
    world.turns(30)
    assert world.written == list(range(25))
    assert "aborted" in world.notes.said
    assert world.notes.readable == 25


def test_finishing_commits_what_is_written_and_leaves_the_rest_for_the_next_worker(world: World) -> None:
    world.send(30)
    world.turns(2)
    world.loop.finish()
    assert world.written == list(range(10))


def test_a_broker_that_is_away_is_asked_again(world: World) -> None:
    world.trouble[Point.READ] = TransientError("no broker")
    world.send(3)
    world.turns(5)
    assert world.notes.said == ["unreachable", "committed"]
    assert world.written == [0, 1, 2]


def test_large_records_are_polled_in_smaller_numbers() -> None:
    with a_world(backlog_bytes=1_000_000) as world:
        stamps = np.full(200, world.clock.wall_ms(), np.int64)
        value = b"x" * 100_000
        world.log.append(OutputBatch("in", np.zeros(200, np.int32), stamps, [None] * 200, [value] * 200))
        world.turns(200)
        assert world.notes.readable == 200
        assert world.notes.longest_backlog <= 15


class TestACommitOnItsWay:
    """Commits take no step by themselves here: they end when somebody waits for them, or where a test says so."""

    @pytest.fixture
    def world(self) -> Iterator[World]:
        with a_world(pace=1_000_000) as made:
            yield made

    def test_scoring_goes_on_meanwhile(self, world: World) -> None:
        world.send(60)
        world.turns(7)
        assert sum(world.echo.sizes) == 50, "a full transaction, and a part of the next one"
        assert world.notes.said == []

    def test_a_full_transaction_waits_for_it(self, world: World) -> None:
        world.send(80)
        world.turns(9)
        assert (sum(world.echo.sizes), world.notes.said) == (70, [])
        world.turns(1)
        assert (sum(world.echo.sizes), world.notes.said) == (80, ["committed"])
        assert world.written == list(range(40))

    def test_what_is_written_has_its_turn_before_a_wait_for_more_records(self, world: World) -> None:
        world.send(5)
        world.turns(2)
        world.send(5)
        world.turns(2)
        assert (world.echo.sizes, world.notes.said) == ([5, 5], [])
        world.turns(1)
        assert world.notes.said == ["committed"]
        assert world.written == list(range(5))

    @pytest.mark.parametrize("point", [Point.SEND_OFFSETS, Point.COMMIT])
    @pytest.mark.parametrize("recovery", [Recovery.ABORT, Recovery.REBUILD])
    def test_a_refused_one_takes_what_stands_on_it_with_it(
        self, world: World, point: Point, recovery: Recovery
    ) -> None:
        world.send(60)
        world.turns(7)
        world.trouble[point] = StepError(recovery, TransientError("refused"))
        world.turns(30)
        world.loop.finish()
        assert world.notes.said[:2] == ["aborted", "aborted"]
        assert world.written == list(range(60))
        assert world.notes.readable == 60

    def test_finishing_waits_for_it_and_for_what_stands_on_it(self, world: World) -> None:
        world.send(60)
        world.turns(7)
        world.loop.finish()
        assert world.written == list(range(50))
        assert world.notes.said == ["committed", "committed"]

    def test_a_transient_failure_settles_both(self, world: World) -> None:
        world.send(60)
        world.turns(7)
        world.echo.failures = [TransientError("registry away")]
        world.turns(1)
        assert world.notes.said == ["committed", "committed", "suspended 1"]
        assert world.written == list(range(50))

    def test_latency_ends_with_the_answer_and_not_when_it_is_heard(self, world: World) -> None:
        world.send(5)
        world.turns(2)
        world.client.settler.take()
        world.client.settler.take()
        world.clock.advance(timedelta(seconds=5))
        world.turns(1)
        assert world.notes.said == ["committed"]
        assert world.notes.slowest < 1

    def test_its_records_count_as_held(self) -> None:
        with a_world(pace=1_000_000, backlog_bytes=1_000_000) as world:
            stamps = np.full(200, world.clock.wall_ms(), np.int64)
            world.log.append(OutputBatch("in", np.zeros(200, np.int32), stamps, [None] * 200, [b"x" * 100_000] * 200))
            world.turns(200)
            assert world.notes.readable + world.notes.longest_backlog >= 190
            assert world.notes.longest_backlog <= 15


class TestHandovers:
    """The first offset of each version, in the transaction of its first record."""

    @staticmethod
    def written(world: World) -> list[tuple[int, int]]:
        documents = [json.loads(record.value or b"") for record in world.log.topic_records(HANDOVERS)]
        return [(document["first_offset"], document["champion"]["version"]) for document in documents]

    def test_one_record_says_where_a_version_begins(self, world: World) -> None:
        world.send(35)
        world.turns(20)
        world.echo.lineup = Lineup("m", Member(2, "sha256:2"))
        world.send(35)
        world.turns(20)
        assert self.written(world) == [(0, 1), (35, 2)]

    def test_a_transaction_that_is_refused_takes_its_handover_back(self, world: World) -> None:
        world.send(5)
        world.trouble[Point.COMMIT] = StepError(Recovery.ABORT, TransientError("refused"))
        world.turns(20)
        assert self.written(world) == [(0, 1)]
        assert "aborted" in world.notes.said

    def test_the_next_worker_writes_nothing_twice(self, world: World) -> None:
        world.send(5)
        world.turns(10)
        world.loop._handovers.forget(Discard(everything=True))
        world.send(5)
        world.turns(10)
        assert self.written(world) == [(0, 1)]

    def test_a_stand_in_changes_nothing(self, world: World) -> None:
        world.send(5)
        world.turns(10)
        world.echo.lineup = None
        world.send(5)
        world.turns(10)
        assert self.written(world) == [(0, 1)]
