"""The loop: read, keep the newest of each key, write it together with the offset.

The table itself says where reading goes on; the loop only remembers what the table said last. Whatever goes wrong ends
in the same way: forget it, ask the table again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from millrace.core.clock import Clock
from millrace.core.cost import backoff
from millrace.core.errors import TransientError
from millrace.core.records import RecordBatch
from millrace.store.online_table import Upsert
from millrace_materializer.logic.newest import Step, next_step
from millrace_materializer.logic.ports import Member, Observer, Table


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """How the loop goes about it.

    Attributes:
        batch_records: Most records of one round trip.
        idle: Longest wait for records; how soon a stop is noticed.
        check_every: How often the table is asked where it is when there is nothing to write: a store that lost its data
            would otherwise stay empty until a record comes.
        first_retry: Wait before a store that is away is asked again; doubles each time.
        longest_retry: Longest such wait. There is no last one: nothing else is left to do, and nothing is lost.
    """

    batch_records: int = 10_000
    idle: timedelta = timedelta(milliseconds=100)
    check_every: timedelta = timedelta(seconds=1)
    first_retry: timedelta = timedelta(milliseconds=100)
    longest_retry: timedelta = timedelta(seconds=5)


class Loop:
    """One materializer's loop. One thread."""

    def __init__(
        self, member: Member, table: Table, *, clock: Clock, observer: Observer, settings: LoopSettings | None = None
    ) -> None:
        self._member = member
        self._table = table
        self._settings = settings or LoopSettings()
        self._clock = clock
        self._observer = observer
        self._expected: dict[int, int] = {}  # where the table is, by partition, as far as it has said
        self._targets: dict[int, int] = {}  # where the partition ended when the table was asked
        self._checked_at = clock.monotonic()
        self._attempt = 0
        self._retry_at = 0.0

    def turn(self) -> None:
        """Read once and write what came. Blocks at most about `idle`, or for as long as one round trip takes.

        Raises:
            RequestError: The table is not this topic's, or the store would throw values away.
            FatalError: The broker or the store refuses this client. Nothing that was written is affected.
        """
        pause = timedelta(seconds=max(self._retry_at - self._clock.monotonic(), 0))
        idle = min(pause or self._settings.idle, self._settings.idle)
        try:
            # The question first: were it to fail after a read, what was read would be passed over.
            ends = self._member.ends() if self._member.waiting() and not pause else {}
            # Reading goes on while the store is away: the membership of the group depends on it.
            records = self._member.read(self._settings.batch_records, idle)
        except TransientError as error:
            self._observer.unreachable(str(error))
            return
        if pause:
            return
        try:
            self._write(records)
            self._check()
            self._place(ends)
        except TransientError as error:
            self._retreat(error)
            return
        self._attempt = 0
        self._observer.working(len(self._member.owned()))

    def _write(self, records: RecordBatch) -> None:
        steps = [step for step in self._steps(records) if step.consumed or self._fills(step.upsert)]
        if not steps:
            return
        self._checked_at = started = self._clock.monotonic()
        places = self._table.apply([step.upsert for step in steps])
        seconds = self._clock.monotonic() - started
        done = [step for step in steps if places[step.upsert.partition] == step.upsert.next_offset]
        self._expected.update({step.upsert.partition: step.upsert.next_offset for step in done})
        self._observer.written(
            consumed=sum(step.consumed for step in done),
            values=sum(len(step.upsert.records) - step.deleted for step in done),
            deleted=sum(step.deleted for step in done),
            unkeyed=sum(step.unkeyed for step in done),
            seconds=seconds,
        )
        self._forget([step.upsert.partition for step in steps if step not in done])

    def _check(self) -> None:
        """Now and then, while nothing is written: whether the table is still where it said."""
        delivering, now = self._member.reached().keys(), self._clock.monotonic()
        if not delivering or now - self._checked_at < self._settings.check_every.total_seconds():
            return
        self._checked_at = now
        places = self._table.places(delivering)
        self._forget([number for number, place in places.items() if place != self._expected[number]])

    def _forget(self, moved: Sequence[int]) -> None:
        """The table is elsewhere for these partitions: ask it where."""
        if moved:
            self._member.displace(moved)
            self._observer.moved(moved)

    def _steps(self, records: RecordBatch) -> Iterator[Step]:
        for partition, reached in self._member.reached().items():
            if reached > (expected := self._expected[partition]):
                yield next_step(records, partition, expected=expected, reached=reached)

    def _fills(self, upsert: Upsert) -> bool:
        """Whether it ends the filling of its partition, although it has no record: transactions end in marks."""
        return upsert.expected < self._targets[upsert.partition] <= upsert.next_offset

    def _place(self, ends: Mapping[int, tuple[int, int]]) -> None:
        """Ask the table where to begin with partitions that have no place."""
        bounds = {number: ends[number] for number in self._member.waiting() if number in ends}
        if not bounds:
            return
        places = self._table.open(bounds, partitions=len(ends))
        self._expected.update(places)
        self._targets.update({number: end for number, (_, end) in bounds.items()})
        self._member.place(places)

    def _retreat(self, error: TransientError) -> None:
        """Forget where the table is: what became of the writes that failed, only the table can say."""
        self._attempt += 1
        self._member.displace(self._member.owned())
        wait = backoff(self._attempt, first=self._settings.first_retry, longest=self._settings.longest_retry)
        self._retry_at = self._clock.monotonic() + wait.total_seconds()
        self._observer.away(str(error), attempt=self._attempt)
