"""What the story looks like: a snapshot as a panel, or as one plain line."""

from itertools import groupby
from operator import itemgetter
from typing import Final

import numpy as np
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from examples.weather.chart import area_chart, resample
from examples.weather.tally import YEAR, Snapshot

WIDTH: Final = 96
_CHART_WIDTH: Final = 84
_CHART_HEIGHT: Final = 6
_LOW, _HIGH = 0.3, 0.9
_GOOD, _BAD, _QUIET, _ACCENT = "sea_green3", "indian_red1", "bright_black", "cyan"


def panel(snapshot: Snapshot) -> RenderableType:
    """The live table."""
    top = Table.grid(padding=(0, 2))
    top.add_column(no_wrap=True)
    top.add_column(no_wrap=True)
    top.add_row(_facts(snapshot), _latest(snapshot))
    body = Group(top, Text(), *_chart(snapshot), Text(), _days(snapshot))
    return Panel(
        body,
        title="[bold]millrace[/] · does it rain at Bellevue, Nebraska?",
        subtitle="weather.features → [cyan]scorer[/] → rain.predictions",
        border_style=_QUIET,
        padding=(1, 2),
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
    if snapshot.accuracy is not None:
        parts.append(f"accuracy of the last year {snapshot.accuracy:.2f}")
    if snapshot.fall is not None:
        parts.append(f"fell on day {snapshot.fall.day:,}")
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
    facts.add_row("accuracy", _accuracy(snapshot), "last 365 days")
    return facts


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.0f}"


def _accuracy(snapshot: Snapshot) -> Text:
    if snapshot.accuracy is None:
        return Text("–", style=_QUIET)
    return Text(f"{snapshot.accuracy:.2f}", style=f"bold {_GOOD if snapshot.fall is None else _BAD}")


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


def _chart(snapshot: Snapshot) -> list[Text]:
    days = np.full(snapshot.end - snapshot.first, np.nan)
    days[YEAR - 1 : YEAR - 1 + len(snapshot.rolling)] = snapshot.rolling
    values = resample(days, _CHART_WIDTH)
    bound = snapshot.fall.bound if snapshot.fall else -np.inf
    colours = [_BAD if value < bound else _GOOD for value in values.tolist()]
    texts = [Text("accuracy of the last 365 days", style=_QUIET)]
    for number, row in enumerate(area_chart(values, height=_CHART_HEIGHT, low=_LOW, high=_HIGH)):
        tick = _HIGH - (_HIGH - _LOW) * (number + 1) / _CHART_HEIGHT  # the lower edge of the row
        text = Text(f"{tick:.1f} ▏", style=_QUIET)
        for colour, cells in groupby(zip(row, colours, strict=True), key=itemgetter(1)):
            text.append("".join(map(itemgetter(0), cells)), style=colour)
        texts.append(text)
    return [*texts, _axis(snapshot)]


def _axis(snapshot: Snapshot) -> Text:
    first, last = f"day {snapshot.first:,}", f"{snapshot.end - 1:,}"
    axis = first + last.rjust(_CHART_WIDTH - len(first))
    text = Text("     " + axis, style=_QUIET)
    if snapshot.fall is not None:
        days = snapshot.end - snapshot.first
        at = (snapshot.fall.day - snapshot.first) * _CHART_WIDTH // days
        mark = f"▲ it fell: day {snapshot.fall.day:,}"
        at = min(at, _CHART_WIDTH - len(mark) - len(last) - 1)
        text = Text("     " + axis[:at], style=_QUIET)
        text.append(mark, style=f"bold {_BAD}")
        text.append(axis[at + len(mark) :])
    return text


def _days(snapshot: Snapshot) -> Table:
    row = Table.grid(padding=(0, 1))
    done = max(0, snapshot.judged_to - snapshot.first)
    bar = ProgressBar(
        total=snapshot.end - snapshot.first,
        completed=done,
        width=_CHART_WIDTH - 12,
        complete_style=_ACCENT,
        finished_style=_ACCENT,
    )
    row.add_row(Text("days judged", style=_QUIET), bar, Text(f"{done:,}", style=_QUIET))
    return row
