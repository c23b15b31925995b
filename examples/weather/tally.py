"""What is known while the story runs: counts, latencies, accuracy, and the day on which it fell.

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

STANDARD_ERRORS: Final = 4.5
"""How much worse a year must be. Of 1,000 simulated streams of 14,159 independent days, right on 80 % of them, 7 had
such a year by chance."""

CHANGE: Final = 12_000
"""Near this day the world of the data changes. Used to sum up at the end, never to find the fall."""

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
        latency_ms: From the record's timestamp to this reader, after the commit.
        at_secs: When it was received, seconds of a monotonic clock.
    """

    day: int
    label: str
    score: float
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
class Fall:
    """The first year that is worse than chance allows.

    Attributes:
        day: Its last day: the day on which it could be known.
        before: Accuracy of all days before that year.
        after: Accuracy of that year.
        bound: The accuracy below which a year counts as worse.
    """

    day: int
    before: float
    after: float
    bound: float


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
        judged_to: The day after the last day without a gap before it.
        fall: The first year that is worse than chance allows.
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
    judged_to: int
    fall: Fall | None
    latest: tuple[tuple[Answer, str | None], ...]

    @property
    def accuracy(self) -> float | None:
        """Accuracy of the latest complete year."""
        return float(self.rolling[-1]) if len(self.rolling) else None


@dataclass(slots=True)
class Tally:
    """Adds up what the subscriptions bring. One thread.

    Attributes:
        first: The first day of the stream.
        end: The day after the last.
    """

    first: int
    end: int
    _answers: dict[int, Answer] = field(default_factory=dict)
    _truth: dict[int, str] = field(default_factory=dict)
    _predictions: int = 0
    _dead_letters: Counter[str] = field(default_factory=Counter)
    _latencies: list[int] = field(default_factory=list)
    _latest: deque[Answer] = field(default_factory=lambda: deque(maxlen=_LATEST))
    _arrivals: deque[float] = field(default_factory=deque)
    _right: NDArray[np.int8] = field(init=False)

    def __post_init__(self) -> None:
        self._right = np.full(self.end - self.first, -1, np.int8)

    def add_answer(self, answer: Answer) -> None:
        """A prediction was received."""
        self._predictions += 1
        self._answers[answer.day] = answer
        self._latencies.append(answer.latency_ms)
        self._latest.appendleft(answer)
        self._arrivals.append(answer.at_secs)
        self._judge(answer.day)

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
    def labels(self) -> int:
        """Days whose truth is known."""
        return len(self._truth)

    @property
    def latency(self) -> Latency | None:
        """Over all predictions."""
        return Latency.of(self._latencies)

    def period(self, first: int, end: int) -> Period:
        """The accuracy of the days from `first` up to, without, `end`."""
        part = self._right[max(first - self.first, 0) : max(end - self.first, 0)]
        return Period(max(first, self.first), min(end, self.end), int((part >= 0).sum()), int((part == 1).sum()))

    def snapshot(self, *, sent: int, now_secs: float) -> Snapshot:
        """What is known now; `now_secs` is of the clock that answers were received by."""
        while self._arrivals and self._arrivals[0] < now_secs - _RECENT_SECS:
            self._arrivals.popleft()
        judged = known_prefix(self._right)
        rolling = rolling_accuracy(judged)
        return Snapshot(
            first=self.first,
            end=self.end,
            sent=sent,
            predictions=self._predictions,
            dead_letters=dict(self._dead_letters),
            labels=self.labels,
            rate=self._rate(now_secs),
            latency=Latency.of(self._latencies[-_RECENT_LATENCIES:]),
            rolling=rolling,
            judged_to=self.first + len(judged),
            fall=find_fall(judged, first=self.first),
            latest=tuple((answer, self._truth.get(answer.day)) for answer in self._latest),
        )

    def _rate(self, now_secs: float) -> float:
        return len(self._arrivals) / max(0.5, now_secs - self._arrivals[0]) if self._arrivals else 0.0

    def _judge(self, day: int) -> None:
        answer, truth = self._answers.get(day), self._truth.get(day)
        if answer is not None and truth is not None:
            self._right[day - self.first] = answer.label == truth


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


def find_fall(judged: NDArray[np.int8], *, first: int, window: int = YEAR) -> Fall | None:
    """The first window that is worse than all days before it by more than `STANDARD_ERRORS`.

    A window is compared with at least one window's worth of days before it. The standard error is that of the
    difference of two shares of w and n independent days with the probability p: sqrt(p(1-p)(1/w + 1/n)).

    Args:
        judged: 1 for each day that was right and 0 for each that was not.
        first: The number of the first of these days.
        window: Days of a window.
    """
    rolling = rolling_accuracy(judged, window=window)
    if len(rolling) <= window:
        return None
    starts = np.arange(window, len(rolling))
    before = np.cumsum(judged, dtype=np.int64)[starts - 1] / starts
    bounds = before - STANDARD_ERRORS * np.sqrt(before * (1 - before) * (1 / window + 1 / starts))
    worse = np.flatnonzero(rolling[starts] < bounds)
    if not len(worse):
        return None
    at = int(worse[0])
    start = int(starts[at])
    return Fall(first + start + window - 1, float(before[at]), float(rolling[start]), float(bounds[at]))
