"""Rollouts: which records a canary answers, and when two versions have been compared for long enough.

Both versions answer the same event, so a label makes a pair, and only the sign of the difference counts: +1 where the
challenger alone is right (for numbers: nearer), -1 where the champion alone is, 0 where they tie. The mean of these
signs is the gain. For classes it is the difference of accuracies.

The test bets against a hypothesis about the gain. With a stake `l` its capital is multiplied by `1 + l * (d - m)` at
every pair, where `d` is the sign and `m` the largest gain under the hypothesis. If the hypothesis holds, capital does
not grow on average, whatever came before, so the probability that it *ever* reaches `1/alpha` is at most `alpha`
(Ville's inequality). Looking after every pane, and stopping when one likes, costs nothing. Nobody knows the right
stake, so capital is spread over many of them, and the evidence is the average, which is capital again.

The bets are those of Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86
(2024), section 4. Evidence of this kind is surveyed by Ramdas, Grünwald, Vovk and Shafer, "Game-theoretic statistics
and safe anytime-valid inference", Statistical Science 38 (2023); bounds that hold at all times at once by Howard,
Ramdas, McAuliffe and Sekhon, Annals of Statistics 49 (2021). With a margin of 0 ties do not matter, and each stake is
the likelihood ratio of one alternative `(1 + l) / 2` against 1/2: a mixture of sequential sign tests.

Capital depends on counts alone: how pairs fell into panes, partitions and batches does not show, and counts add.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import repeat
from math import ceil, exp, log
from operator import is_
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.errors import RequestError
from millrace.core.records import RecordBatch

_STAKES: Final = np.array([0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 0.95])
"""Shares of the largest possible stake. Small ones find small gains in many pairs, large ones large gains in few."""

_LARGEST_LOG: Final = 700.0
"""Beyond it a double cannot hold the evidence."""

_HASHES: Final = 2**64


class RolloutMode(StrEnum):
    """How a challenger is tried."""

    NONE = "none"
    """It is not."""
    SHADOW = "shadow"
    """It scores what the champion scores; its answers go to `<deployment>.shadows`, and nobody is answered by it."""
    CANARY = "canary"
    """It answers a share of the keys; what the champion would have answered goes to `<deployment>.shadows`."""


@dataclass(frozen=True, slots=True)
class PairCounts:
    """What the labels of some events say about two versions. Counts add, and corrections subtract.

    Attributes:
        ties: Both right, both wrong, or equally far from the truth.
        champion: The champion alone was right, or nearer.
        challenger: The challenger alone was right, or nearer.
    """

    ties: int = 0
    champion: int = 0
    challenger: int = 0

    def __add__(self, other: "PairCounts") -> "PairCounts":
        return PairCounts(self.ties + other.ties, self.champion + other.champion, self.challenger + other.challenger)

    def to_json(self) -> bytes:
        """The counts as a JSON object; equal counts give equal bytes."""
        return b'{"challenger":%d,"champion":%d,"ties":%d}' % (self.challenger, self.champion, self.ties)

    @property
    def pairs(self) -> int:
        """How many events were compared."""
        return self.ties + self.champion + self.challenger

    @property
    def gain(self) -> float:
        """By how much the challenger is better: the mean sign; 0 without pairs.

        >>> PairCounts(ties=80, champion=5, challenger=15).gain
        0.1
        """
        return (self.challenger - self.champion) / self.pairs if self.pairs else 0.0


class Outcome(StrEnum):
    """What a comparison has come to."""

    CONTINUE = "continue"
    """Not enough is known."""
    PROMOTE = "promote"
    """The challenger is better by more than the margin."""
    ROLL_BACK = "roll_back"
    """The challenger is worse by more than what is tolerated."""
    UNDECIDED = "undecided"
    """As many pairs as were allowed show neither: the champion stays."""


@dataclass(frozen=True, slots=True)
class SequentialTest:
    """When a rollout ends.

    Attributes:
        alpha: The largest probability, over the whole rollout, of promoting a challenger whose gain is not above the
            margin; and of rolling back one that is not worse than tolerated.
        margin: The gain to be exceeded for a promotion. 0 means better; below 0, not worse by that much.
        tolerance: The loss to be exceeded for a rollback.
        min_pairs: No end before so many pairs: the first minutes are not the traffic of a day.
        max_pairs: The end, at so many pairs.

    Raises:
        RequestError: These bounds cannot be met.
    """

    alpha: float = 0.01
    margin: float = 0.0
    tolerance: float = 0.0
    min_pairs: int = 200
    max_pairs: int = 100_000

    def __post_init__(self) -> None:
        if not (0 < self.alpha < 1 and -1 < self.margin < 1 and 0 <= self.tolerance < 1):
            raise RequestError(
                f"no rollout can end with alpha {self.alpha}, margin {self.margin}, tolerance {self.tolerance}",
                remedy="alpha lies between 0 and 1, the margin between -1 and 1, the tolerance from 0 to below 1",
            )
        if not 0 < self.min_pairs <= self.max_pairs:
            raise RequestError(
                f"a rollout cannot end between {self.min_pairs} and {self.max_pairs} pairs",
                remedy="give max_pairs that is at least min_pairs, and both above 0",
            )

    @property
    def threshold(self) -> float:
        """The evidence at which one of both sides is believed."""
        return 1 / self.alpha

    def judge(self, counts: PairCounts) -> "Reading":
        """What the pairs so far say. Ask after each pane, in the order of event time, until it ends."""
        better = evidence(counts.challenger, counts.champion, counts.ties, margin=self.margin)
        worse = evidence(counts.champion, counts.challenger, counts.ties, margin=self.tolerance)
        return Reading(self._outcome(counts.pairs, better, worse), counts, better, worse)

    def _outcome(self, pairs: int, better: float, worse: float) -> Outcome:
        if pairs < self.min_pairs:
            return Outcome.CONTINUE
        # With a margin below 0 both can be shown: a little worse, and tolerably so.
        if better >= self.threshold:
            return Outcome.PROMOTE
        if worse >= self.threshold:
            return Outcome.ROLL_BACK
        return Outcome.UNDECIDED if pairs >= self.max_pairs else Outcome.CONTINUE


@dataclass(frozen=True, slots=True)
class Reading:
    """The state of a comparison.

    Attributes:
        outcome: What it has come to.
        counts: The pairs that it rests on.
        better: Evidence that the gain is above the margin; 1 is none.
        worse: Evidence that the loss is above what is tolerated.
    """

    outcome: Outcome
    counts: PairCounts
    better: float
    worse: float


def evidence(wins: int, losses: int, ties: int, *, margin: float = 0.0) -> float:
    """Average capital of bets that the mean sign is above `margin`.

    At most 1 on average when it is not, at any time at which one cares to look. 0 pairs are no evidence:

    >>> evidence(0, 0, 0)
    1.0
    >>> evidence(40, 10, 1000) > 100 > 1 > evidence(10, 40, 1000)
    True
    """
    stakes = _STAKES / (1 + margin)  # at most: a loss would cost more than there is beyond it
    logs = wins * np.log1p(stakes * (1 - margin)) + losses * np.log1p(-stakes * (1 + margin))
    logs += ties * np.log1p(-stakes * margin)
    largest = float(logs.max())
    return exp(min(largest + log(float(np.exp(logs - largest).mean())), _LARGEST_LOG))


def salt_of(*names: object) -> int:
    """A number that differs with the names, so that two canaries do not draw the same keys."""
    return zlib.crc32("/".join(map(str, names)).encode())


def draw(records: RecordBatch, *, share: float, salt: int) -> NDArray[np.bool_]:
    """Which records a canary answers: about `share` of all keys, always the same ones.

    A key is drawn or not wherever and whenever its records come; with a larger share it stays drawn. Records without a
    key are drawn by their coordinates. Nothing is kept, so every worker draws alike.

    Args:
        records: The records.
        share: Between 0 and 1.
        salt: Of this canary; see `salt_of`.
    """
    numbers = _mixed(_identities(records) ^ (np.uint64(salt) << np.uint64(32)))
    # Not `<=`: 2**64 itself is no uint64, and a share of 1 must draw everything.
    last = ceil(share * _HASHES) - 1
    return numbers <= np.uint64(last) if last >= 0 else np.zeros(len(records), np.bool_)


def _identities(records: RecordBatch) -> NDArray[np.uint64]:
    """A number for each record's key; for one without a key, for its coordinates."""
    keys = records.keys
    absent = np.fromiter(map(is_, keys, repeat(None)), np.bool_, len(keys))
    if not absent.any():
        return _checksums(keys)
    numbers = _mixed(records.offsets.astype(np.uint64) ^ (records.partitions.astype(np.uint64) << np.uint64(48)))
    present = np.fromiter(keys, np.object_, len(keys))[~absent]
    numbers[~absent] = _checksums(present.tolist())
    return numbers


def _checksums(keys: Sequence[bytes | None]) -> NDArray[np.uint64]:
    return np.fromiter(map(zlib.crc32, keys), np.uint64, len(keys))  # type: ignore[arg-type]


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Every bit of the input moves every bit of the output: the finalizer of MurmurHash3 (Appleby, 2011)."""
    mixed = (numbers ^ (numbers >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return np.asarray(mixed ^ (mixed >> np.uint64(33)))
