"""Consumer groups in memory: who is a member, who reads what, what is committed."""

from collections.abc import Callable, Set
from dataclasses import dataclass
from datetime import timedelta
from itertools import count

from millrace.core.clock import Clock
from millrace.core.records import NextOffset, TopicPartition


@dataclass(slots=True)
class _Member:
    is_frozen: Callable[[], bool]
    seen: float


class MemoryGroup:
    """One group. A partition goes to its new reader only when the old one has given it up or is gone (KIP-848).

    Every change of membership deals the partitions anew, so that far more of them move than in a sticky assignment.

    Args:
        name: Of the group.
        clock: Whose time counts.
        session_timeout: After this a frozen member is removed.
    """

    def __init__(self, name: str, clock: Clock, session_timeout: timedelta) -> None:
        self.name = name
        self._clock = clock
        self._session_timeout = session_timeout.total_seconds()
        self._numbers = count()
        self._members: dict[str, _Member] = {}  # in the order of joining
        self._readers: dict[TopicPartition, str] = {}  # who reads it now
        self._targets: dict[TopicPartition, str] = {}  # who shall read it
        self._partitions: list[TopicPartition] = []
        self._committed: dict[TopicPartition, tuple[int, NextOffset]] = {}

    def join(self, partitions: Set[TopicPartition], is_frozen: Callable[[], bool]) -> str:
        """Become a member that reads a topic with these partitions, and get a name.

        Args:
            partitions: Of the topic.
            is_frozen: Says when the member sends no heartbeats.
        """
        self._expire()
        member = f"{self.name}-{next(self._numbers)}"
        self._partitions = sorted(partitions)
        self._members[member] = _Member(is_frozen, self._clock.monotonic())
        self._deal()
        return member

    def leave(self, member: str) -> None:
        """Stop being a member, at once."""
        self._remove(member)

    def has(self, member: str) -> bool:
        """Whether it is a member still."""
        self._expire()
        return member in self._members

    def to_revoke(self, member: str) -> frozenset[TopicPartition]:
        """What the member reads and has to give up."""
        return frozenset(p for p, reader in self._readers.items() if reader == member != self._targets.get(p))

    def revoke(self, member: str) -> None:
        """The member has given up what it had to."""
        for partition in self.to_revoke(member):
            del self._readers[partition]

    def assign(self, member: str) -> frozenset[TopicPartition]:
        """Give the member what it shall read and nobody reads."""
        free = frozenset(p for p, target in self._targets.items() if target == member and p not in self._readers)
        self._readers.update(dict.fromkeys(free, member))
        return free

    def commit(self, partition: TopicPartition, sequence: int, next_offset: NextOffset) -> None:
        """Take a committed offset, unless one that was sent later is known already."""
        if sequence > self._committed.get(partition, (0, 0))[0]:
            self._committed[partition] = (sequence, next_offset)

    def committed(self, partition: TopicPartition) -> NextOffset | None:
        """What was committed last."""
        return self._committed[partition][1] if partition in self._committed else None

    def _expire(self) -> None:
        now = self._clock.monotonic()
        for name, member in list(self._members.items()):
            if not member.is_frozen():
                member.seen = now
            elif now - member.seen > self._session_timeout:
                self._remove(name)

    def _remove(self, member: str) -> None:
        if self._members.pop(member, None) is not None:
            self._readers = {p: reader for p, reader in self._readers.items() if reader != member}
            self._deal()

    def _deal(self) -> None:
        names = list(self._members)
        self._targets = {p: names[n % len(names)] for n, p in enumerate(self._partitions)} if names else {}
