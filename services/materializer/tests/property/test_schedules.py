"""Whatever fails, and whoever believes to own what: a table holds exactly what its topic says up to its place."""

from dataclasses import dataclass, field
from datetime import timedelta

from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from materializer_world import Failure, Mark, MemoryLog, MemoryMember, MemoryTable, Told

from millrace.testing.clock import ManualClock
from millrace_materializer.logic.loop import Loop, LoopSettings

PARTITIONS = 2
WORKERS = st.integers(0, 1)
RECORDS = st.tuples(st.sampled_from([b"a", b"b", None]), st.sampled_from([b"v", None]))
NUMBERS = st.integers(0, PARTITIONS - 1)


@dataclass
class Worker:
    member: MemoryMember
    loop: Loop


@dataclass
class Schedule:
    """Two materializers of one topic."""

    log: MemoryLog = field(default_factory=lambda: MemoryLog(PARTITIONS))
    table: MemoryTable = field(default_factory=MemoryTable)
    clock: ManualClock = field(default_factory=ManualClock)
    told: Told = field(default_factory=Told)

    def worker(self) -> Worker:
        member = MemoryMember(self.log, set(range(PARTITIONS)))
        some = LoopSettings(batch_records=3)
        return Worker(member, Loop(member, self.table, clock=self.clock, observer=self.told, settings=some))


class Materializers(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = Schedule()
        self.workers = [self.world.worker(), self.world.worker()]
        self.saved = MemoryTable()

    @rule(partition=NUMBERS, records=st.lists(RECORDS, min_size=1, max_size=8))
    def append(self, partition: int, records: list[tuple[bytes | None, bytes | None]]) -> None:
        # A key lies in one partition, as Kafka's partitioner has it.
        placed = [(None if key is None else b"%b%d" % (key, partition), value) for key, value in records]
        self.world.log.entries[partition] += placed

    @rule(partition=NUMBERS)
    def end_transaction(self, partition: int) -> None:
        self.world.log.entries[partition].append(Mark.END_OF_TRANSACTION)

    @rule(worker=WORKERS, partitions=st.sets(NUMBERS))
    def assign(self, worker: int, partitions: set[int]) -> None:
        """Both own everything at first, and may own it again: one of them has not heard that it lost it."""
        self.workers[worker].member.assign(partitions)

    @rule(worker=WORKERS, turns=st.integers(1, 4))
    def work(self, worker: int, turns: int) -> None:
        for _ in range(turns):
            self.workers[worker].loop.turn()

    @rule(worker=WORKERS)
    def kill(self, worker: int) -> None:
        self.workers[worker] = self.world.worker()

    @rule(worker=WORKERS, questions=st.integers(1, 2))
    def leave_questions_unanswered(self, worker: int, questions: int) -> None:
        self.workers[worker].member.unanswered = questions

    @rule(failure=st.sampled_from(Failure))
    def fail_next(self, failure: Failure) -> None:
        self.world.table.failures.append(failure)

    @rule(seconds=st.integers(1, 6))
    def wait(self, seconds: int) -> None:
        self.world.clock.advance(timedelta(seconds=seconds))

    @rule()
    def save(self) -> None:
        self.saved = self.world.table.snapshot()

    @rule()
    def restart_the_store_from_what_it_saved(self) -> None:
        self.world.table.restore(self.saved)

    @precondition(lambda self: self.world.table.at)
    @rule()
    def restart_the_store_without_data(self) -> None:
        self.world.table.lose_everything()

    @invariant()
    def values_and_places_agree(self) -> None:
        held = {
            key: stored
            for partition, place in self.world.table.at.items()
            for key, stored in self.world.log.newest(partition, place).items()
        }
        assert self.world.table.values == held

    def teardown(self) -> None:
        """Once nothing fails any more, one materializer alone brings the table to the end."""
        self.world.table.failures.clear()
        survivor = self.world.worker()
        longest = max(map(len, self.world.log.entries.values()))
        for _ in range(longest + 3):
            survivor.loop.turn()
        note(f"places {self.world.table.at}")
        assert self.world.table.values == {
            key: stored
            for partition, entries in self.world.log.entries.items()
            for key, stored in self.world.log.newest(partition, len(entries)).items()
        }
        assert self.world.table.filling == 0


TestMaterializers = Materializers.TestCase
TestMaterializers.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
