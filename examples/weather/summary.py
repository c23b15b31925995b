"""The end of the story: what the numbers were, what happened, and what to try next."""

from collections import Counter
from pathlib import Path
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from examples.weather.recount import Recount
from examples.weather.story import Outcome
from examples.weather.tally import Period

_QUIET: Final = "bright_black"


def summary(outcome: Outcome) -> RenderableType:
    """The numbers, the dead letters and the story in words."""
    return Group(
        Text(),
        _verdict(outcome.recount),
        Text(),
        _numbers(outcome),
        Text(),
        _letters(outcome),
        Text(),
        Text("What happened", style="bold"),
        *map(Text, in_words(outcome)),
    )


def in_words(outcome: Outcome) -> list[str]:
    """What happened, as paragraphs of one line."""
    before, after, fall = outcome.before, outcome.after, outcome.last.fall
    said = [
        f"Up to day {before.end - 1:,} the model was right on {before.accuracy:.0%} of the days, "
        f"from day {after.first:,} on only on {after.accuracy:.0%}; "
        f"whoever always says “dry” would have been right on {outcome.dry_after:.0%} of them."
    ]
    if fall is not None:
        said.append(
            f"The labels showed it on day {fall.day:,}: right on {fall.after:.1%} of the year that ended there, where "
            f"{fall.before:.1%} had been usual and chance hardly ever takes a year below {fall.bound:.1%}."
        )
    said.append(
        "No part failed: every record was scored, or set aside with its reason, once. The world has changed and the "
        "model has not; only the truth, a day late, could tell."
    )
    return said


def next_steps(home: Path, outcome: Outcome) -> RenderableType:
    """Commands that work on what the story left behind."""
    source = outcome.letters[0].source.topic_partition if outcome.letters else "weather.features-0"
    commands = {
        f"export MILLRACE_HOME={home}": "what the story left is there",
        "millrace up": "its broker, with all records",
        "millrace dlq show rain": "the dead letters, byte for byte",
        f"millrace explain {source}-17 --deployment rain": "score one record again, compare to the last bit",
        "millrace model list": "what was pushed",
        "millrace down": "",
    }
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    for command, remark in commands.items():
        grid.add_row(Text(f"  {command}", style="cyan"), Text(remark, style=_QUIET))
    return Group(Text(), Text("Next (in this environment: source .venv/bin/activate)", style="bold"), grid)


def _verdict(counted: Recount) -> Text:
    mark = ("✓ ", "bold green3") if counted.agrees else ("✗ ", "bold red1")
    return Text.assemble(
        mark,
        (f"{counted.records:,} records in", "bold"),
        (f" = {counted.predictions:,} predictions + {counted.dead_letters:,} dead letters", "bold"),
        f" · {counted.lost} lost · {counted.duplicated} duplicated",
        *([f" · {counted.strangers} of unknown records"] if counted.strangers else []),
        ("   (all topics read back)", _QUIET),
    )


def _numbers(outcome: Outcome) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=_QUIET)
    grid.add_column(justify="right")
    grid.add_column(style=_QUIET)
    rate = outcome.recount.records / outcome.seconds
    grid.add_row("throughput", f"{rate:,.0f}/s", f"{outcome.seconds:.0f} s; the pace of the replay, not a limit")
    if outcome.latency is not None:
        grid.add_row("latency p50", f"{outcome.latency.p50_ms:.0f} ms", "from a record's timestamp to a committed read")
        grid.add_row("latency p99", f"{outcome.latency.p99_ms:.0f} ms", "")
    grid.add_row("accuracy", _share(outcome.before), _days(outcome.before))
    grid.add_row("", _share(outcome.after), _days(outcome.after))
    return grid


def _share(period: Period) -> str:
    return f"{period.accuracy:.2f}" if period.judged else "–"


def _days(period: Period) -> str:
    return f"days {period.first:,} to {period.end - 1:,}, {period.judged:,} labels"


def _letters(outcome: Outcome) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=_QUIET)
    for name in ("dead letters", "", "for example"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    counts = Counter(letter.reason for letter in outcome.letters)
    examples = {letter.reason: letter for letter in reversed(outcome.letters)}
    for reason, count in sorted(counts.items()):
        table.add_row(
            Text(reason, style="yellow"), str(count), f"{examples[reason].source}: {examples[reason].message}"
        )
    return table
