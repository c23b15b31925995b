"""What the story looks like: a snapshot as a panel, or as one plain line."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from examples.weather.chart import area_chart, resample
from examples.weather.loop import Kind, Loop
from examples.weather.tally import YEAR, Snapshot

WIDTH: Final = 96
_CHART_WIDTH: Final = 84
_CHART_HEIGHT: Final = 4
_HAPPENINGS: Final = 7
_LOW, _HIGH = 0.5, 0.9
_GOOD, _BAD, _QUIET, _ACCENT = "sea_green3", "indian_red1", "bright_black", "cyan"
_MARKS: Final = {Kind.ALERT: ("!", "yellow"), Kind.REQUEST: ("?", _BAD), Kind.PROMOTION: ("★", _GOOD)}
"""What is marked below the chart; of several on one spot the last one here is seen."""


def panel(snapshot: Snapshot, loop: Loop) -> RenderableType:
    """The live table."""
    top = Table.grid(padding=(0, 2))
    top.add_column(no_wrap=True)
    top.add_column(no_wrap=True)
    top.add_row(_facts(snapshot), _latest(snapshot))
    body = Group(top, Text(), *_charts(snapshot, loop), Text(), *_happenings(loop), Text(), _days(snapshot, loop))
    return Panel(
        body,
        title="[bold]millrace[/] · does it rain at Bellevue, Nebraska?",
        subtitle="scorer → predictions → [cyan]auditor[/] → retrain request → [cyan]trainer[/] → version → scorer",
        border_style=_QUIET,
        padding=(0, 2),
        width=WIDTH,
    )


def line(snapshot: Snapshot) -> str:
    """The same in one line."""
    parts = [
        f"day {snapshot.judged_to:6,}",
        f"records {snapshot.sent:6,}",
        f"predictions {snapshot.predictions:6,}",
        f"dead letters {sum(snapshot.dead_letters.values())}",
        f"{snapshot.rate:3.0f}/s",
    ]
    if snapshot.latency is not None:
        parts.append(f"p50 {snapshot.latency.p50_ms:.0f} ms, p99 {snapshot.latency.p99_ms:.0f} ms")
    if snapshot.accuracy is not None and snapshot.frozen_accuracy is not None:
        parts.append(f"accuracy of the last year {snapshot.accuracy:.2f}, version 1 {snapshot.frozen_accuracy:.2f}")
    return " | ".join(parts)


def _facts(snapshot: Snapshot) -> Table:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style=_QUIET)
    facts.add_column(justify="right", min_width=8)
    facts.add_column(style=_QUIET)
    facts.add_row("records in", f"{snapshot.sent:,}")
    facts.add_row("predictions", Text(f"{snapshot.predictions:,}", style="bold"))
    facts.add_row("dead letters", Text(f"{sum(snapshot.dead_letters.values())}", style="yellow"))
    facts.add_row("throughput", f"{snapshot.rate:,.0f}", "a second")
    low, high = (snapshot.latency.p50_ms, snapshot.latency.p99_ms) if snapshot.latency else (np.nan, np.nan)
    facts.add_row("latency p50", _number(low), "ms, committed")
    facts.add_row("latency p99", _number(high), "ms")
    facts.add_row("accuracy", _accuracy(snapshot.accuracy, _GOOD), "last 365 days")
    facts.add_row("version 1", _accuracy(snapshot.frozen_accuracy, _BAD), "kept for ever")
    return facts


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.0f}"


def _accuracy(value: float | None, colour: str) -> Text:
    return Text("–", style=_QUIET) if value is None else Text(f"{value:.2f}", style=f"bold {colour}")


def _latest(snapshot: Snapshot) -> Table:
    table = Table(box=None, padding=(0, 1), header_style=_QUIET)
    for name, justify in (("day", "right"), ("says", "left"), ("how sure", "left"), ("", "right"), ("truth", "left")):
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=True)
    for answer, truth in sorted(snapshot.latest, key=lambda pair: -pair[0].day):
        bar = ProgressBar(total=1, completed=answer.score, width=10, complete_style=_ACCENT, finished_style=_ACCENT)
        colour = "blue" if answer.label == "rain" else "yellow"
        table.add_row(
            f"{answer.day:,}", Text(answer.label, colour), bar, f"{answer.score:.2f}", _verdict(answer.label, truth)
        )
    return table


def _verdict(said: str, truth: str | None) -> Text:
    match truth:
        case None:
            return Text("tomorrow", style=_QUIET)
        case _ if truth == said:
            return Text(f"{truth} ✓", style=_GOOD)
        case _:
            return Text(f"{truth} ✗", style=_BAD)


def _charts(snapshot: Snapshot, loop: Loop) -> Iterator[Text]:
    version = max(snapshot.versions, default=1)
    yield from _chart(snapshot, snapshot.rolling, f"accuracy of a year, with the loop: version {version}", _GOOD)
    yield _marks(snapshot, loop)
    yield from _chart(snapshot, snapshot.frozen, "the same without it: version 1", _BAD)
    first, last = f"day {snapshot.first:,}", f"{snapshot.end - 1:,}"
    yield Text("     " + first + last.rjust(_CHART_WIDTH - len(first)), style=_QUIET)


def _chart(snapshot: Snapshot, rolling: NDArray[np.float64], title: str, colour: str) -> Iterator[Text]:
    days = np.full(snapshot.end - snapshot.first, np.nan)
    days[YEAR - 1 : YEAR - 1 + len(rolling)] = rolling
    yield Text(title, style=_QUIET)
    rows = area_chart(resample(days, _CHART_WIDTH), height=_CHART_HEIGHT, low=_LOW, high=_HIGH)
    for number, row in enumerate(rows):
        tick = _HIGH - (_HIGH - _LOW) * (number + 1) / _CHART_HEIGHT  # the lower edge of the row
        yield Text.assemble((f"{tick:.1f} ▏", _QUIET), (row, colour))


def _marks(snapshot: Snapshot, loop: Loop) -> Text:
    """A mark on every day on which the loop did something."""
    cells = [(" ", _QUIET)] * _CHART_WIDTH
    for kind, mark in _MARKS.items():
        for happening in loop.happenings:
            if happening.kind is kind:
                share = (happening.day - snapshot.first) / (snapshot.end - snapshot.first)
                cells[min(int(share * _CHART_WIDTH), _CHART_WIDTH - 1)] = mark
    return Text.assemble("     ", *cells)


def _happenings(loop: Loop) -> Iterator[Text]:
    """What the loop has done; as many lines however few there are, so that the table does not grow."""
    shown = loop.news(_HAPPENINGS)
    for happening in shown:
        mark, colour = _MARKS.get(happening.kind, ("·", _QUIET))
        text = Text.assemble(
            (f"{mark} ", f"bold {colour}"), (f"day {happening.day:6,}  {happening.who:8}", _QUIET), happening.what
        )
        text.truncate(_CHART_WIDTH + 5, overflow="ellipsis")
        yield text
    yield from [Text()] * (_HAPPENINGS - len(shown))


def _days(snapshot: Snapshot, loop: Loop) -> Table:
    row = Table.grid(padding=(0, 1))
    done = max(0, snapshot.judged_to - snapshot.first)
    waits = "the stream waits for the trainer" if loop.is_asking else f"audited to day {loop.audited:,}"
    bar = ProgressBar(
        total=snapshot.end - snapshot.first,
        completed=done,
        width=_CHART_WIDTH - 48,
        complete_style=_ACCENT,
        finished_style=_ACCENT,
    )
    row.add_row(Text("days judged", style=_QUIET), bar, Text(f"{done:6,}", style=_QUIET), Text(waits, style="yellow"))
    return row
