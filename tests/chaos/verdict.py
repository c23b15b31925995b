"""What a reader of committed predictions must find: each input once, in the order of its partition. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(slots=True)
class Seen:
    """What a reader saw: the source offsets of the predictions of each partition, in the order of reading."""

    offsets: dict[int, list[int]] = field(default_factory=dict)

    def add(self, partition: int, source_offset: int) -> None:
        """The next prediction of a partition."""
        self.offsets.setdefault(partition, []).append(source_offset)

    @property
    def count(self) -> int:
        """How many predictions."""
        return sum(map(len, self.offsets.values()))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with what a reader saw: nothing, if all is 0."""

    lost: int
    duplicated: int
    out_of_order: int

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.duplicated or self.out_of_order)


def judge(seen: Mapping[int, Sequence[int]], expected: Mapping[int, Sequence[int]]) -> Verdict:
    """Compare what was seen of each partition with the offsets of its inputs, which ascend.

    >>> judge({0: [0, 1, 1, 4, 3]}, {0: [0, 1, 2, 3, 4]})
    Verdict(lost=1, duplicated=1, out_of_order=1)
    """
    lost = duplicated = out_of_order = 0
    for partition in seen.keys() | expected.keys():
        found, wanted = seen.get(partition, ()), expected.get(partition, ())
        lost += len(set(wanted) - set(found))
        duplicated += len(found) - len(set(found))
        first = list(dict.fromkeys(found))
        out_of_order += sum(later < earlier for earlier, later in pairwise(first))
    return Verdict(lost, duplicated, out_of_order)
