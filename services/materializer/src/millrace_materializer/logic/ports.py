"""What the loop needs from the outside."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from millrace.core.records import RecordBatch
from millrace.store.online_table import Upsert


class Member(Protocol):
    """A member of a consumer group that is told where to read. See `millrace.kafka.member.Member`."""

    def ends(self) -> Mapping[int, tuple[int, int]]:
        """First offset and end of every partition of the topic."""
        ...

    def owned(self) -> frozenset[int]:
        """The partitions that are this member's."""
        ...

    def waiting(self) -> frozenset[int]:
        """Those of them that have no place."""
        ...

    def place(self, offsets: Mapping[int, int]) -> None:
        """Deliver from these offsets on."""
        ...

    def displace(self, partitions: Collection[int]) -> None:
        """Deliver nothing of these until they have a place again."""
        ...

    def reached(self) -> Mapping[int, int]:
        """By partition that delivers, the offset before which everything was delivered."""
        ...

    def read(self, limit: int, timeout: timedelta) -> RecordBatch:
        """Records of the partitions that deliver."""
        ...


class Table(Protocol):
    """The table of the topic. See `millrace.store.online_table.OnlineTable`."""

    def open(self, bounds: Mapping[int, tuple[int, int]], *, partitions: int) -> Mapping[int, int]:
        """Up to where the table holds each of these partitions."""
        ...

    def places(self, partitions: Collection[int]) -> Mapping[int, int | None]:
        """Up to where the table holds these partitions, None where it does not know them."""
        ...

    def apply(self, upserts: Sequence[Upsert]) -> Mapping[int, int | None]:
        """Move partitions forward; where each is now."""
        ...


class Observer(Protocol):
    """Is told what happened, for telemetry. Must be quick and must not raise."""

    def written(self, *, consumed: int, values: int, deleted: int, unkeyed: int, seconds: float) -> None:
        """A round trip moved the table past so many records."""
        ...

    def moved(self, partitions: Collection[int]) -> None:
        """The table was elsewhere for these partitions, which are read again from where it is."""
        ...

    def away(self, reason: str, *, attempt: int) -> None:
        """The online store cannot be written; it will be tried again."""
        ...

    def unreachable(self, reason: str) -> None:
        """The broker does not answer; it will be asked again."""
        ...

    def working(self, owned: int) -> None:
        """Everything answers, and so many partitions are ours."""
        ...
