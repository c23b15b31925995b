"""Who works on which split, what is done, and when to give up: a value with methods, without clock or processes."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from millrace.core.errors import FatalError
from millrace_batch.logic.splits import Done, Split

MOST_DEATHS = 3
"""A split that this many workers died of kills whoever takes it; a fourth would die, too."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all splits that are done."""

    splits: int = 0
    read: int = 0
    scored: int = 0
    filtered: int = 0
    refused: int = 0
    bytes: int = 0

    def __add__(self, done: Done) -> "Totals":
        return Totals(
            self.splits + 1,
            self.read + done.read,
            self.scored + done.scored,
            self.filtered + done.filtered,
            self.refused + done.refused,
            self.bytes + done.bytes,
        )


class Ledger:
    """Hands out splits and takes in what became of them. Holds no more splits than there are workers.

    Args:
        plan: All splits, in any order; read on as workers ask.
        earlier: What an earlier run finished, by the split's id. It counts when the plan comes to it: what became of a
            file that was changed meanwhile does not.
    """

    def __init__(self, plan: Iterator[Split], earlier: Mapping[str, Done]) -> None:
        self._plan = plan
        self._earlier = earlier
        self._again: deque[Split] = deque()
        self._deaths: Counter[str] = Counter()
        self._at_work: dict[int, Split] = {}
        self.finished: list[Done] = []
        self.totals = Totals()

    def next_for(self, worker: int) -> Split | None:
        """The next split for a worker that has none; None when there is nothing left to hand out."""
        split = self._again.popleft() if self._again else self._from_plan()
        if split is not None:
            self._at_work[worker] = split
        return split

    def done(self, worker: int, done: Done) -> None:
        """A worker finished its split."""
        del self._at_work[worker]
        self._finish(done)

    def died(self, worker: int) -> Split | None:
        """A worker is gone; the split that it had, which another one gets. None where it had none.

        Raises:
            FatalError: Too many workers died of the same split.
        """
        split = self._at_work.pop(worker, None)
        if split is None:
            return None
        self._deaths[split.id] += 1
        if self._deaths[split.id] >= MOST_DEATHS:
            raise FatalError(
                f"{MOST_DEATHS} workers died of {split.path} from row {split.first_row} on",
                remedy="if the system's log says that memory ran out: use fewer workers, or a smaller --split-rows",
            )
        self._again.append(split)
        return split

    def _from_plan(self) -> Split | None:
        for split in self._plan:
            done = self._earlier.get(split.id)
            if done is None:
                return split
            self._finish(done)
        return None

    def _finish(self, done: Done) -> None:
        self.finished.append(done)
        self.totals += done
