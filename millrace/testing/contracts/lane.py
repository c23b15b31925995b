"""What every lane does, whatever it is connected to.

Subclass `LaneContract`, `GroupLaneContract` where workers own partitions, or `TransactionalLaneContract` where they
deliver exactly once, with a fixture `world`::

    class TestMemoryLane(TransactionalLaneContract):
        @pytest.fixture
        def world(self) -> LaneWorld: ...
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Final, Protocol

import numpy as np
import pytest

from millrace.core.errors import RequestError
from millrace.core.lane import Delivery, Discard, Lane, Outcome, Polled, Settled
from millrace.core.records import Headers, OutputBatch, RecordBatch
from millrace.testing.waiting import eventually

PARTITIONS: Final = 4
"""Partitions of the world's topics."""

WAIT: Final = timedelta(seconds=0.2)
"""One poll's wait. Short, because assignments take several polls."""

LIMIT: Final = timedelta(seconds=30)
"""When a condition that takes an assignment is given up."""

BASE_MS: Final = 1_700_000_000_000
"""Timestamp of the first input record; each further one is a millisecond later."""


@dataclass(frozen=True, slots=True)
class Written:
    """A record that a reader of committed records found."""

    partition: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers | None = None


class LaneWorld(Protocol):
    """A broker, real or imaginary, with an input and an output topic of `PARTITIONS` partitions, for one test."""

    @property
    def delivery(self) -> Delivery:
        """The mode of the lanes that `open` makes."""
        ...

    @property
    def output_topic(self) -> str:
        """Where lanes write."""
        ...

    def open(self, slot: int = 0) -> Lane:
        """A lane of the world's one deployment. The world closes it after the test."""
        ...

    def produce(self, records: Sequence[Written]) -> None:
        """Append to the input topic."""
        ...

    def outputs(self) -> Sequence[Written]:
        """All committed records of the output topic, each partition in its order."""
        ...


def numbered(count: int, *, start: int = 0, partitions: int = 1) -> list[Written]:
    """Input records with their numbers as values, dealt over the first partitions."""
    return [
        Written(n % partitions, BASE_MS + n, b"key-%d" % (n % partitions), b"%d" % n)
        for n in range(start, start + count)
    ]


def outputs_of(world: LaneWorld, records: RecordBatch) -> OutputBatch:
    """The outputs of the identity model: each record once more."""
    return OutputBatch(
        world.output_topic,
        records.partitions,
        records.timestamps_ms,
        records.keys,
        records.values,
        records.headers if any(records.headers) else None,
    )


class Worker:
    """A caller that keeps the lane's rules, one call at a time, so that tests can stop it anywhere."""

    def __init__(self, world: LaneWorld, slot: int = 0) -> None:
        self.world = world
        self.lane = world.open(slot)
        self.held: list[RecordBatch] = []
        self.discards: list[Discard] = []

    def poll(self, limit: int = 1_000, timeout: timedelta = WAIT) -> Polled:
        """Poll and obey."""
        polled = self.lane.poll(limit, timeout)
        if polled.discard:
            self.discards.append(polled.discard)
            gone = [partition.partition for partition in polled.discard.partitions]
            kept = [batch.take(np.flatnonzero(~np.isin(batch.partitions, gone))) for batch in self.held]
            self.held = [] if polled.discard.everything else [batch for batch in kept if len(batch)]
        if len(polled.records):
            self.held.append(polled.records)
        return polled

    def hold(self, count: int = 1, limit: int = 1_000) -> list[bytes]:
        """Poll until at least `count` records are held; their values, sorted."""

        def enough() -> bool:
            self.poll(limit)
            return sum(map(len, self.held)) >= count

        eventually(enough, within=LIMIT, what=f"{count} records")
        return self.values

    def write(self) -> None:
        """Write what is held."""
        for batch in self.held:
            self.lane.write([outputs_of(self.world, batch)], batch.next_offsets())
        self.held = []

    def turn(self, limit: int = 1_000) -> int:
        """Poll, write, commit; how many records were committed."""
        self.poll(limit)
        count = sum(map(len, self.held))
        self.write()
        return count if self.lane.commit() is Outcome.COMMITTED else 0

    def through(self, limit: int) -> list[bytes]:
        """Hold, write and commit; the values that are committed, sorted.

        A broker that is busy may refuse to settle records of a share group: these come again.
        """
        while True:
            values = self.hold(limit=limit)
            self.write()
            if self.lane.commit() is Outcome.COMMITTED:
                return values
            assert self.world.delivery is Delivery.SHARED, "nobody else was there, and the commit was aborted"

    @property
    def values(self) -> list[bytes]:
        """Values of the records that are held, sorted."""
        return sorted(value or b"" for batch in self.held for value in batch.values)


def finish(world: LaneWorld, count: int, *workers: Worker) -> None:
    """Let the workers take turns until the first `count` numbered records are through.

    None may be there twice, but in a share group, and there only after an abort.
    """

    def through() -> bool:
        return sum(worker.turn() for worker in workers) == 0 and len(set(values_of(world.outputs()))) >= count

    eventually(through, within=LIMIT, what=f"{count} outputs")
    written = values_of(world.outputs())
    may_repeat = world.delivery is Delivery.SHARED and any(worker.lane.stats().aborts for worker in workers)
    assert (sorted(set(written)) if may_repeat else written) == values_of(numbered(count))


def values_of(written: Sequence[Written]) -> list[bytes]:
    """Their values, sorted."""
    return sorted(record.value or b"" for record in written)


class LaneContract:
    """The suite. A subclass gives the world."""

    def test_delivers_and_writes_columns_as_they_are(self, world: LaneWorld) -> None:
        produced = [
            Written(0, BASE_MS, b"k", b"v"),
            Written(1, BASE_MS + 5, None, b""),
            Written(2, BASE_MS + 6, b"k", b"v", [("reason", b"because")]),
            Written(3, BASE_MS + 7, b"gone", None, [("trace", b"\x00\xff"), ("empty", None)]),
        ]
        world.produce(produced)
        worker = Worker(world)
        eventually(lambda: worker.turn() == 0 and len(world.outputs()) == len(produced), within=LIMIT)
        assert sorted(world.outputs(), key=lambda record: record.partition) == produced

    def test_never_delivers_more_than_the_limit(self, world: LaneWorld) -> None:
        world.produce(numbered(50))
        worker = Worker(world)
        done = 0
        while done < 50:
            assert len(worker.poll(7).records) <= 7
            held = sum(map(len, worker.held))
            worker.write()
            done += held if worker.lane.commit() is Outcome.COMMITTED else 0
        assert done == 50

    def test_committing_nothing_succeeds(self, world: LaneWorld) -> None:
        lane = world.open()
        assert lane.commit() is Outcome.COMMITTED
        assert lane.stats().commits == 0

    def test_records_without_outputs_are_done_as_well(self, world: LaneWorld) -> None:
        world.produce(numbered(8))
        first = Worker(world)
        done = 0
        while done < 8:
            first.hold()
            held, first.held = first.held, []
            for batch in held:
                first.lane.write([], batch.next_offsets())
            if first.lane.commit() is Outcome.COMMITTED:
                done += sum(map(len, held))
        first.lane.close()
        world.produce(numbered(4))
        finish(world, 4, Worker(world))

    def test_a_successor_gets_what_was_not_committed_and_nothing_else(self, world: LaneWorld) -> None:
        world.produce(numbered(40))
        first = Worker(world)
        eventually(lambda: first.turn(limit=5), within=LIMIT)
        first.hold(limit=5)
        first.lane.close()
        finish(world, 40, Worker(world))

    def test_an_abort_brings_again_what_was_polled(self, world: LaneWorld) -> None:
        world.produce(numbered(20))
        worker = Worker(world)
        worker.hold()
        worker.lane.abort()
        assert worker.lane.commit() is Outcome.COMMITTED, "nothing is written after an abort"
        finish(world, 20, worker)
        assert worker.discards == [Discard(everything=True)]

    def test_an_abort_brings_again_what_was_written(self, world: LaneWorld) -> None:
        world.produce(numbered(20))
        worker = Worker(world)
        aborted = worker.hold()
        worker.write()
        worker.lane.abort()
        assert worker.hold()
        assert worker.discards == [Discard(everything=True)]
        eventually(lambda: worker.turn() == 0 and len(set(values_of(world.outputs()))) == 20, within=LIMIT)
        again = [] if world.delivery is Delivery.EXACTLY_ONCE else aborted
        assert set(values_of(world.outputs())) == set(values_of(numbered(20)))
        assert len(world.outputs()) <= 20 + len(again)

    def test_an_abort_leaves_alone_what_was_committed_before(self, world: LaneWorld) -> None:
        world.produce(numbered(40))
        worker = Worker(world)
        for _ in range(3):  # the broker may still be writing the markers of one commit when the next one is aborted
            committed = worker.through(limit=5)
            worker.lane.abort()
            assert not set(worker.hold(limit=5)) & set(committed)
            worker.lane.abort()
        finish(world, 40, worker)

    def test_nothing_is_delivered_while_paused_and_nothing_is_lost_by_it(self, world: LaneWorld) -> None:
        world.produce(numbered(20))
        worker = Worker(world)
        worker.hold(limit=4)
        worker.lane.pause()
        assert [len(worker.poll().records) for _ in range(3)] == [0, 0, 0]
        worker.write()
        worker.lane.commit()
        worker.lane.resume()
        finish(world, 20, worker)

    def test_a_lane_that_is_paused_before_its_first_record_loses_none(self, world: LaneWorld) -> None:
        world.produce(numbered(20))
        worker = Worker(world)
        worker.lane.pause()
        assert [len(worker.poll().records) for _ in range(4)] == [0, 0, 0, 0]
        worker.lane.resume()
        finish(world, 20, worker)

    def test_an_abort_while_paused_is_obeyed_after_it(self, world: LaneWorld) -> None:
        world.produce(numbered(20))
        worker = Worker(world)
        worker.hold()
        worker.lane.pause()
        worker.lane.abort()
        assert len(worker.poll().records) == 0
        worker.lane.resume()
        finish(world, 20, worker)

    def test_two_workers_miss_nothing_and_repeat_nothing(self, world: LaneWorld) -> None:
        world.produce(numbered(400, partitions=PARTITIONS))
        first = Worker(world, 0)
        eventually(lambda: first.turn(limit=20), within=LIMIT)
        finish(world, 400, first, Worker(world, 1))

    def test_what_became_of_a_commit_is_told_once_and_before_the_next_one_begins(self, world: LaneWorld) -> None:
        world.produce(numbered(5))
        worker = Worker(world)
        assert worker.lane.poll_commit() is None
        assert worker.lane.await_commit().outcome is Outcome.COMMITTED, "none was begun"
        worker.hold(5)
        worker.write()
        worker.lane.begin_commit()
        with pytest.raises(RequestError, match="await_commit"):
            worker.lane.begin_commit()
        with pytest.raises(RequestError, match="await_commit"):
            worker.lane.commit()

        def ask() -> Settled | None:
            worker.poll()
            return worker.lane.poll_commit()

        settled = eventually(ask, within=LIMIT, what="the outcome")
        assert settled is not None
        assert settled.outcome is Outcome.COMMITTED or world.delivery is Delivery.SHARED
        assert timedelta(0) <= settled.took <= LIMIT
        assert worker.lane.poll_commit() is None
        finish(world, 5, worker)

    def test_counts_what_it_does(self, world: LaneWorld) -> None:
        world.produce(numbered(20))
        worker = Worker(world)
        worker.through(limit=20)
        assert worker.lane.stats().commits == 1
        assert worker.lane.stats().producers_rebuilt == 0

    def test_may_be_closed_twice(self, world: LaneWorld) -> None:
        lane = world.open()
        lane.poll(1, timedelta(0))
        lane.close()
        lane.close()


class GroupLaneContract(LaneContract):
    """What lanes do whose workers own partitions."""

    def test_knows_its_assignment_and_its_lag(self, world: LaneWorld) -> None:
        world.produce(numbered(20, partitions=PARTITIONS))
        worker = Worker(world)
        worker.hold(20)
        assert worker.lane.stats().assigned == PARTITIONS
        assert worker.lane.stats().lag_records == 20
        worker.write()
        worker.lane.commit()
        assert worker.lane.stats().lag_records == 0

    def test_keeps_the_order_of_each_partition(self, world: LaneWorld) -> None:
        world.produce(numbered(200, partitions=PARTITIONS))
        worker = Worker(world)
        eventually(lambda: worker.turn(limit=30) == 0 and len(world.outputs()) == 200, within=LIMIT)
        by_partition: dict[int, list[int]] = defaultdict(list)
        for record in world.outputs():
            by_partition[record.partition].append(record.timestamp_ms)
        assert all(before < after for stamps in by_partition.values() for before, after in pairwise(stamps))

    def test_what_is_written_is_settled_before_its_partition_is_given_away(self, world: LaneWorld) -> None:
        world.produce(numbered(40, partitions=PARTITIONS))
        first = Worker(world, 0)
        first.hold(40)
        first.write()  # what is written stays open across the revoke that follows
        second = Worker(world, 1)
        self.share(first, second)
        assert first.lane.commit() is Outcome.COMMITTED
        assert second.values == [], "what the first worker wrote came again"
        world.produce(numbered(40, start=40, partitions=PARTITIONS))
        finish(world, 80, first, second)
        assert any(discard.partitions for discard in first.discards)

    def test_writing_for_a_partition_that_was_given_away_is_refused(self, world: LaneWorld) -> None:
        world.produce(numbered(40, partitions=PARTITIONS))
        first = Worker(world, 0)
        first.hold(40)
        stale = RecordBatch.concat(first.held)
        self.share(first, Worker(world, 1))
        with pytest.raises(RequestError, match="given away"):
            first.lane.write([outputs_of(world, stale)], stale.next_offsets())

    def share(self, first: Worker, second: Worker) -> None:
        """Let both poll until each owns half."""

        def shared() -> bool:
            first.poll()
            second.poll()
            return first.lane.stats().assigned == second.lane.stats().assigned == PARTITIONS // 2

        eventually(shared, within=LIMIT, what="half of the partitions for each")


class TransactionalLaneContract(GroupLaneContract):
    """What lanes do whose outputs and offsets are one transaction; with several producers, beside the next one."""

    def test_polling_and_writing_go_on_while_a_commit_is_on_its_way(self, world: LaneWorld) -> None:
        world.produce(numbered(200, partitions=PARTITIONS))
        worker = Worker(world)

        def turn() -> int:
            worker.poll(limit=30)
            count = sum(map(len, worker.held))
            worker.write()  # those before may be on their way, and are not overtaken
            assert worker.lane.await_commit().outcome is Outcome.COMMITTED
            worker.lane.begin_commit()
            return count

        eventually(lambda: turn() == 0 and len(world.outputs()) == 200, within=LIMIT)
        assert values_of(world.outputs()) == values_of(numbered(200))
        by_partition: dict[int, list[int]] = defaultdict(list)
        for record in world.outputs():
            by_partition[record.partition].append(record.timestamp_ms)
        assert all(before < after for stamps in by_partition.values() for before, after in pairwise(stamps))

    def test_an_abort_leaves_alone_the_commit_on_its_way(self, world: LaneWorld) -> None:
        world.produce(numbered(40))
        worker = Worker(world)
        begun = worker.hold(limit=5)
        worker.write()
        worker.lane.begin_commit()
        worker.hold(limit=5)
        worker.write()
        worker.lane.abort()
        settled = worker.lane.poll_commit()
        assert settled is not None, "an abort waits for the commit on its way"
        assert settled.outcome is Outcome.COMMITTED
        assert not set(worker.hold(limit=5)) & set(begun)
        assert worker.discards == [Discard(everything=True)]
        finish(world, 40, worker)

    def test_what_is_on_its_way_when_a_lane_is_closed_is_there_once_in_the_end(self, world: LaneWorld) -> None:
        world.produce(numbered(40))
        first = Worker(world)
        first.hold(limit=5)
        first.write()
        first.lane.begin_commit()
        first.hold(limit=5)
        first.write()
        first.lane.close()
        finish(world, 40, Worker(world))

    def test_a_commit_on_its_way_ends_before_a_partition_is_given_away(self, world: LaneWorld) -> None:
        world.produce(numbered(40, partitions=PARTITIONS))
        first = Worker(world, 0)
        first.hold(40)
        first.write()
        first.lane.begin_commit()
        world.produce(numbered(40, start=40, partitions=PARTITIONS))
        first.hold(40)
        first.write()  # stands on the commit that is on its way
        second = Worker(world, 1)
        self.share(first, second)
        settled = first.lane.poll_commit()
        assert settled is not None, "partitions were given away, and nobody knows what became of the commit"
        if settled.outcome is Outcome.COMMITTED and first.lane.stats().aborts == 0:
            assert second.values == [], "what the first worker wrote came again"
        world.produce(numbered(40, start=80, partitions=PARTITIONS))
        finish(world, 120, first, second)
