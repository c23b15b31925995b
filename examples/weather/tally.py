"""What is known of predictions and truths while the story runs: counts, latencies, and the accuracy of both models.

No input or output. Predictions and truths may come in any order; accuracy is only claimed for days of which both are
known, and without a gap before them.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

YEAR: Final = 365
"""Days over which the rolling accuracy is taken."""

CHANGE: Final = 12_000
"""Near this day the world of the data changes. Used to sum up at the end; nothing in the loop knows it."""

_RECENT_SECS: Final = 3.0
_RECENT_LATENCIES: Final = 2_000
_LATEST: Final = 6


@dataclass(frozen=True, slots=True)
class Answer:
    """A prediction as it was received.

    Attributes:
        day: The day.
        label: What the model says.
        score: How sure it is, 0 to 1.
        version: The model's version.
        latency_ms: From the sending of the record to this reader, after the commit.
        at_secs: When it was received, seconds of a monotonic clock.
    """

    day: int
    label: str
    score: float
    version: int
    latency_ms: int
    at_secs: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Quantiles, milliseconds."""

    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, latencies_ms: "deque[int] | list[int]") -> "Latency | None":
        """The quantiles of some latencies, None of none."""
        if not latencies_ms:
            return None
        low, high = np.quantile(np.fromiter(latencies_ms, np.int64, len(latencies_ms)), (0.5, 0.99))
        return cls(float(low), float(high))


@dataclass(frozen=True, slots=True)
class Period:
    """The accuracy of some days.

    Attributes:
        first: The first day.
        end: The day after the last.
        judged: Days of which prediction and truth are known.
        right: Days on which the prediction was the truth.
    """

    first: int
    end: int
    judged: int
    right: int

    @property
    def accuracy(self) -> float:
        """Share of judged days that were right; NaN without any."""
        return self.right / self.judged if self.judged else float("nan")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a display shows.

    Attributes:
        first: The first day.
        end: The day after the last.
        sent: Records that were sent, the damaged ones included.
        predictions: Predictions that were received.
        dead_letters: Dead letters that were received, by reason.
        labels: Truths that were received.
        rate: Predictions a second, over the last few seconds.
        latency: Over the last predictions; None before the first.
        rolling: Accuracy of the year that ends with each judged day, from the first complete year on.
        frozen: The same of the first version, which another deployment keeps for ever.
        judged_to: The day after the last day without a gap before it.
        versions: The first day that each version predicted, by version.
        latest: The last predictions, newest first, with the truth or None.
    """

    first: int
    end: int
    sent: int
    predictions: int
    dead_letters: Mapping[str, int]
    labels: int
    rate: float
    latency: Latency | None
    rolling: NDArray[np.float64]
    frozen: NDArray[np.float64]
    judged_to: int
    versions: Mapping[int, int]
    latest: tuple[tuple[Answer, str | None], ...]

    @property
    def accuracy(self) -> float | None:
        """Accuracy of the latest complete year."""
        return float(self.rolling[-1]) if len(self.rolling) else None

    @property
    def frozen_accuracy(self) -> float | None:
        """Accuracy of the first version in its latest complete year."""
        return float(self.frozen[-1]) if len(self.frozen) else None


@dataclass(slots=True)
class Tally:
    """Adds up what the subscriptions bring. One thread.

    Attributes:
        first: The first day of the stream.
        end: The day after the last.
    """

    first: int
    end: int
    _said: dict[int, str] = field(default_factory=dict)
    _frozen_said: dict[int, str] = field(default_factory=dict)
    _versions: dict[int, int] = field(default_factory=dict)
    _truth: dict[int, str] = field(default_factory=dict)
    _predictions: int = 0
    _dead_letters: Counter[str] = field(default_factory=Counter)
    _latencies: list[int] = field(default_factory=list)
    _latest: deque[Answer] = field(default_factory=lambda: deque(maxlen=_LATEST))
    _arrivals: deque[float] = field(default_factory=deque)
    _right: NDArray[np.int8] = field(init=False)
    _frozen_right: NDArray[np.int8] = field(init=False)

    def __post_init__(self) -> None:
        self._right, self._frozen_right = (np.full(self.end - self.first, -1, np.int8) for _ in range(2))

    def add_answer(self, answer: Answer) -> None:
        """A prediction was received."""
        self._predictions += 1
        self._said[answer.day] = answer.label
        self._versions[answer.version] = min(answer.day, self._versions.get(answer.version, answer.day))
        self._latencies.append(answer.latency_ms)
        self._latest.appendleft(answer)
        self._arrivals.append(answer.at_secs)
        self._judge(answer.day)

    def add_frozen(self, day: int, label: str) -> None:
        """A prediction of the first version was received."""
        self._frozen_said[day] = label
        self._judge(day)

    def add_truth(self, day: int, label: str) -> None:
        """A truth was received."""
        self._truth[day] = label
        self._judge(day)

    def add_dead_letter(self, reason: str) -> None:
        """A dead letter was received."""
        self._dead_letters[reason] += 1

    @property
    def received(self) -> int:
        """Predictions and dead letters so far."""
        return self._predictions + self._dead_letters.total()

    @property
    def versions(self) -> Mapping[int, int]:
        """The first day that each version predicted, by version."""
        return dict(sorted(self._versions.items()))

    @property
    def is_level(self) -> bool:
        """Whether the first version has predicted as many days as the loop's."""
        return len(self._frozen_said) >= len(self._said)

    @property
    def labels(self) -> int:
        """Days whose truth is known."""
        return len(self._truth)

    @property
    def latency(self) -> Latency | None:
        """Over all predictions."""
        return Latency.of(self._latencies)

    def period(self, first: int, end: int) -> Period:
        """The accuracy of the days from `first` up to, without, `end`."""
        return self._period(self._right, first, end)

    def frozen_period(self, first: int, end: int) -> Period:
        """The same of the first version."""
        return self._period(self._frozen_right, first, end)

    def snapshot(self, *, sent: int, now_secs: float) -> Snapshot:
        """What is known now; `now_secs` is of the clock that answers were received by."""
        while self._arrivals and self._arrivals[0] < now_secs - _RECENT_SECS:
            self._arrivals.popleft()
        judged = known_prefix(self._right)
        return Snapshot(
            first=self.first,
            end=self.end,
            sent=sent,
            predictions=self._predictions,
            dead_letters=dict(self._dead_letters),
            labels=self.labels,
            rate=self._rate(now_secs),
            latency=Latency.of(self._latencies[-_RECENT_LATENCIES:]),
            rolling=rolling_accuracy(judged),
            frozen=rolling_accuracy(known_prefix(self._frozen_right)),
            judged_to=self.first + len(judged),
            versions=self.versions,
            latest=tuple((answer, self._truth.get(answer.day)) for answer in self._latest),
        )

    def _rate(self, now_secs: float) -> float:
        return len(self._arrivals) / max(0.5, now_secs - self._arrivals[0]) if self._arrivals else 0.0

    def _period(self, right: NDArray[np.int8], first: int, end: int) -> Period:
        part = right[max(first - self.first, 0) : max(end - self.first, 0)]
        return Period(max(first, self.first), min(end, self.end), int((part >= 0).sum()), int((part == 1).sum()))

    def _judge(self, day: int) -> None:
        truth = self._truth.get(day)
        for said, right in ((self._said, self._right), (self._frozen_said, self._frozen_right)):
            if truth is not None and day in said:
                right[day - self.first] = said[day] == truth


def known_prefix(right: NDArray[np.int8]) -> NDArray[np.int8]:
    """The days up to the first that is not judged (-1)."""
    unknown = np.flatnonzero(right < 0)
    return right[: unknown[0]] if len(unknown) else right


def rolling_accuracy(judged: NDArray[np.int8], *, window: int = YEAR) -> NDArray[np.float64]:
    """The accuracy of each window of consecutive days; element i is that of the window that starts at day i."""
    if len(judged) < window:
        return np.empty(0)
    sums = np.concatenate([[0], np.cumsum(judged, dtype=np.int64)])
    shares: NDArray[np.float64] = (sums[window:] - sums[:-window]) / window
    return shares
