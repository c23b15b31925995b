"""What the loop does when the store, the broker or another materializer get in its way."""

from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from materializer_world import Entry, Failure, Mark, MemoryLog, MemoryMember, MemoryTable, Told

from millrace.testing.clock import ManualClock
from millrace_materializer.logic.loop import Loop, LoopSettings


@dataclass
class World:
    log: MemoryLog
    clock: ManualClock = field(default_factory=ManualClock)
    table: MemoryTable = field(default_factory=MemoryTable)
    told: Told = field(default_factory=Told)

    def loop(self, *partitions: int, settings: LoopSettings | None = None) -> tuple[Loop, MemoryMember]:
        member = MemoryMember(self.log, set(partitions))
        return Loop(member, self.table, clock=self.clock, observer=self.told, settings=settings), member

    def append(self, *entries: Entry) -> None:
        self.log.entries[0] += entries


@pytest.fixture
def world() -> World:
    return World(MemoryLog(1))


def turns(loop: Loop, count: int = 3) -> None:
    for _ in range(count):
        loop.turn()


def test_a_new_table_is_filled_from_the_beginning(world: World) -> None:
    world.append((b"a", b"1"), (b"a", b"2"), (None, b"3"), (b"b", b"4"), (b"b", None))
    loop, _ = world.loop(0)
    turns(loop)
    assert world.table.values == {b"a": (1, b"2")}
    assert world.table.at == {0: 5}
    assert (world.told.consumed, world.told.unkeyed, world.told.is_working) == (5, 1, True)


def test_the_mark_at_the_end_of_a_transaction_does_not_keep_a_table_from_being_full(world: World) -> None:
    world.append((b"a", b"1"), Mark.END_OF_TRANSACTION)
    loop, _ = world.loop(0)
    turns(loop, 1)
    assert world.table.filling == 1
    turns(loop)
    assert world.table.filling == 0


def test_later_marks_are_not_written(world: World) -> None:
    loop, _ = world.loop(0)
    world.append((b"a", b"1"))
    turns(loop)
    world.append(Mark.END_OF_TRANSACTION, Mark.END_OF_TRANSACTION)
    turns(loop)
    assert world.table.at == {0: 1}


def test_whoever_follows_reads_on_from_where_the_table_is(world: World) -> None:
    first, _ = world.loop(0)
    world.append((b"a", b"1"))
    turns(first)
    world.append((b"a", b"2"))
    second, _ = world.loop(0)
    turns(second)
    assert world.table.values == {b"a": (1, b"2")}
    assert world.told.consumed == 2


def test_a_stale_owner_changes_nothing_and_catches_up(world: World) -> None:
    stale, _ = world.loop(0, settings=LoopSettings(batch_records=1))
    turns(stale)
    world.append((b"a", b"old"))
    owner, _ = world.loop(0)
    turns(owner)
    world.append((b"a", b"new"))
    turns(owner)
    turns(stale, 1)
    assert world.table.values == {b"a": (1, b"new")}
    assert world.told.moved_partitions == [0]
    world.append((b"a", b"newest"))
    turns(stale)
    assert world.table.values == {b"a": (2, b"newest")}


@pytest.mark.parametrize("failure", Failure)
def test_a_store_that_is_away_is_asked_again_with_growing_waits(world: World, failure: Failure) -> None:
    world.append((b"a", b"1"))
    loop, member = world.loop(0)
    turns(loop, 1)
    world.table.failures = [failure] * 3
    turns(loop, 5)
    assert (world.told.troubles, world.told.is_working) == (["the store is away, attempt 1"], False)
    assert member.waiting() == {0}
    for attempt in (2, 3):
        world.clock.advance(timedelta(seconds=10))
        turns(loop, 5)
        assert len(world.told.troubles) == attempt
    world.clock.advance(timedelta(seconds=10))
    turns(loop)
    assert (world.table.values, world.told.is_working) == ({b"a": (0, b"1")}, True)


def test_a_store_that_lost_everything_is_filled_again(world: World) -> None:
    world.append((b"a", b"1"), (b"b", b"2"))
    loop, _ = world.loop(0)
    turns(loop)
    world.table.lose_everything()
    world.append((b"b", b"3"))
    turns(loop)
    assert world.table.values == {b"a": (0, b"1"), b"b": (2, b"3")}
    assert world.table.filling == 0


def test_a_store_that_lost_everything_while_nothing_comes_is_filled_again_all_the_same(world: World) -> None:
    world.append((b"a", b"1"))
    loop, _ = world.loop(0)
    turns(loop)
    world.table.lose_everything()
    turns(loop)
    assert not world.table.at
    world.clock.advance(timedelta(seconds=1))
    turns(loop)
    assert (world.table.values, world.table.filling) == ({b"a": (0, b"1")}, 0)


def test_a_broker_that_is_away_costs_nothing(world: World) -> None:
    loop, member = world.loop(0)
    turns(loop)
    member.is_away = True
    turns(loop, 1)
    assert world.told.troubles == ["the broker is away"]
    member.is_away = False
    world.append((b"a", b"1"))
    turns(loop)
    assert (world.table.values, world.told.is_working) == ({b"a": (0, b"1")}, True)


def test_a_question_that_is_not_answered_costs_no_record(world: World) -> None:
    loop, member = world.loop(0)
    turns(loop)
    member.assign([0, 1])
    world.log.entries[1] = []
    world.append((b"a", b"1"))
    member.unanswered = 1
    turns(loop)
    assert (world.table.values, world.table.at) == ({b"a": (0, b"1")}, {0: 1, 1: 0})


def test_a_member_without_partitions_is_not_at_work(world: World) -> None:
    loop, _ = world.loop()
    turns(loop)
    assert not world.told.is_working
