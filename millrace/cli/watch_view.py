"""The live picture of a predictions topic: what is counted, and how it looks."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from millrace.cli.output import ACCENT, listing
from millrace.client import Link, Prediction

_LATENCIES: Final = 10_000
_RATE_SPAN: Final = timedelta(seconds=5)


@dataclass(slots=True)
class WatchView:
    """What was seen so far. Times are seconds of a monotonic clock, given by the caller.

    Attributes:
        topic: The topic that is watched.
        rows: How many predictions are shown.
        started: When watching began.
        total: Predictions so far.
        invalid: Records so far that were none.
        link: Whether the broker answers.
        labels: How often each class was predicted.
        versions: How often each model version answered.
    """

    topic: str
    rows: int
    started: float
    total: int = 0
    invalid: int = 0
    link: Link = Link.UP
    labels: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    _latest: deque[Prediction] = field(default_factory=deque)
    _latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))
    _arrivals: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, predictions: Sequence[Prediction], now: float) -> None:
        """Count predictions that arrived at `now`."""
        self.total += len(predictions)
        self.labels.update(p.label for p in predictions if p.label is not None)
        self.versions.update(f"{p.model}/{p.version}" for p in predictions)
        self._latest.extend(predictions)
        while len(self._latest) > self.rows:
            self._latest.popleft()
        self._latencies.extend(p.latency / timedelta(milliseconds=1) for p in predictions)
        self._arrivals.append((now, len(predictions)))
        while self._arrivals and self._arrivals[0][0] < now - _RATE_SPAN.total_seconds():
            self._arrivals.popleft()

    def rate(self, now: float) -> float:
        """Predictions a second, over the last seconds."""
        span = min(_RATE_SPAN.total_seconds(), max(now - self.started, 0.2))
        return sum(count for _, count in self._arrivals) / span

    def latency_ms(self, quantile: float) -> float | None:
        """A quantile of the latest latencies, from record timestamp to scoring, in milliseconds."""
        return float(np.quantile(self._latencies, quantile)) if self._latencies else None

    def render(self, now: float) -> RenderableType:
        """The picture at `now`."""
        parts: list[RenderableType] = [self._head(now), Text()]
        if self._latest:
            parts.append(listing(_COLUMNS, [_row(p) for p in self._latest], numbers=_NUMBERS, whole=_WHOLE))
        else:
            parts.append(Text("waiting for predictions … (Ctrl-C ends)", style="dim"))
        return Group(*parts)

    def _head(self, now: float) -> RenderableType:
        p50, p99 = self.latency_ms(0.5), self.latency_ms(0.99)
        pieces: list[tuple[str, str]] = [
            (self.topic, f"bold {ACCENT}"),
            (f"   {self.total:,}", "bold"),
            (" predictions", "dim"),
            (f"   {self.rate(now):,.0f}", "bold"),
            ("/s", "dim"),
        ]
        if p50 is not None and p99 is not None:
            pieces += [("   p50 ", "dim"), (milliseconds(p50), "bold"), ("  p99 ", "dim"), (milliseconds(p99), "bold")]
        if self.link is Link.AWAY:
            pieces.append(("   the broker is away", "bold red"))
        if self.invalid:
            pieces.append((f"   {self.invalid} unreadable", "bold red"))
        shares = [f"{label} {count / self.total:.0%}" for label, count in self.labels.most_common(4)]
        models = [name for name, _ in self.versions.most_common(3)]
        second = "   ".join((*shares, *models))
        return Group(
            Text.assemble(*pieces, no_wrap=True, overflow="ellipsis"),
            Text(second, style="dim", no_wrap=True, overflow="ellipsis"),
        )


_COLUMNS: Final = ("event", "key", "answer", "score", "model", "latency")
_NUMBERS: Final = ("score", "latency")
_WHOLE: Final = ("answer", "score", "latency")


def _row(prediction: Prediction) -> list[str | Text]:
    key = "" if prediction.key is None else prediction.key.decode("utf-8", "backslashreplace")
    model = Text(f"{prediction.model}/{prediction.version}", style="dim")
    if prediction.degraded:
        model.append(" degraded", style="yellow")
    latency = prediction.latency / timedelta(milliseconds=1)
    return [prediction.event_id, key, *answer(prediction), model, milliseconds(latency)]


def answer(prediction: Prediction) -> tuple[Text, str]:
    """What was predicted, and how surely."""
    if prediction.label is None:
        return Text("" if prediction.value is None else f"{prediction.value:.6g}", style="bold"), ""
    score = prediction.scores.get(prediction.label)
    return Text(prediction.label, style="bold"), "" if score is None else f"{score:.3f}"


def milliseconds(value: float) -> str:
    """A latency in the unit that keeps it short."""
    if abs(value) < 10_000:
        return f"{value:.0f} ms"
    return f"{value / 1000:.0f} s" if abs(value) < 600_000 else f"{value / 3_600_000:,.1f} h"
