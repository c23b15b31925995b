"""The end of the story: what the numbers were, what happened, and what to try next."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from examples.weather.bars import FEATURE
from examples.weather.recount import Recount
from examples.weather.story import Outcome
from examples.weather.tally import Period

_QUIET: Final = "bright_black"


def summary(outcome: Outcome) -> RenderableType:
    """The numbers, the dead letters and the story in words."""
    return Group(
        Text(),
        _verdict(outcome.recount, "with the loop"),
        _verdict(outcome.frozen_recount, "version 1 for ever"),
        Text(),
        _numbers(outcome),
        Text(),
        _accuracies(outcome),
        Text(),
        _bars(outcome),
        Text(),
        _letters(outcome),
        Text(),
        Text("What happened", style="bold"),
        *map(Text, in_words(outcome)),
    )


def in_words(outcome: Outcome) -> Iterator[str]:
    """What happened, as paragraphs of one line."""
    loop, (before, after, settled) = outcome.loop, outcome.periods
    frozen = outcome.frozen_periods
    yield (
        f"Up to day {before.end - 1:,} the first model was right on {before.accuracy:.0%} of the days. Then the world "
        f"changed, and from day {after.first:,} on it was right on {frozen[1].accuracy:.0%}; whoever always says “dry” "
        f"would have been right on {outcome.dry_after:.0%}."
    )
    named, asked = loop.first_named(FEATURE), loop.first_request
    if named is not None:
        yield (
            f"The auditor saw it in the measurements: the alert of day {named:,} names {_and(loop.named_on(named))}. "
            "That alone asks for nothing, for a model may well stand a drift: visibility had drifted for years by "
            "then, and nothing had become worse."
        )
    if asked is not None:
        yield (
            f"The labels showed the harm. On day {asked:,}, when errors had doubled in a whole year, the auditor asked "
            "for a better version and said from when on the old one had failed."
        )
    for found, promoted in loop.promotions:
        day, test = outcome.last.versions.get(promoted.candidate), found.evaluation
        yield (
            f"The trainer learned from the first {found.dataset.train} days of the bad year. On the {test.rows} days "
            f"after those, which neither model had seen, its candidate was right on {test.candidate.value:.0%} and the "
            f"champion on {test.champion.value:.0%} (p = {test.p_value:.1g}); so it became version {promoted.candidate}"
            + (f", and answers since day {day:,}." if day else ".")
        )
    if settled.judged:
        yield (
            f"From day {settled.first:,} on the loop was right on {settled.accuracy:.0%} of the days, the first model "
            f"on {frozen[2].accuracy:.0%}. Nobody touched anything."
        )


def next_steps(home: Path, page: Path, outcome: Outcome, *, kept: bool = False) -> RenderableType:
    """Commands that work on what the story left behind.

    Args:
        home: The story's folder.
        page: The auditor's report.
        outcome: How it ended.
        kept: Whether the launcher runs on.
    """
    source = outcome.letters[0].source.topic_partition if outcome.letters else "weather.features-0"
    commands = {
        f"python -m webbrowser {page}": "the auditor's report, with pictures, in a browser",
        f"export MILLRACE_HOME={home}": "what the story left is there",
        **({} if kept else {"millrace up": "its broker with all records, and the launcher with all deployments"}),
        "millrace ui": "the address of the launcher's pages",
        "millrace dlq show rain": "the dead letters, byte for byte",
        f"millrace explain {source}-17 --deployment rain": "score one record again, compare to the last bit",
        "millrace audit rain": "what the auditor reported, window by window",
        "millrace model list": "the versions, and who pushed them",
        "millrace down": "stop it all; the records stay",
    }
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    for command, remark in commands.items():
        grid.add_row(Text(f"  {command}", style="cyan"), Text(remark, style=_QUIET))
    return Group(Text(), Text("Next (in this environment: source .venv/bin/activate)", style="bold"), grid)


def _verdict(counted: Recount, whose: str) -> Text:
    mark = ("✓ ", "bold green3") if counted.agrees else ("✗ ", "bold red1")
    return Text.assemble(
        mark,
        (f"{counted.records:,} records in", "bold"),
        (f" = {counted.predictions:,} predictions + {counted.dead_letters:,} dead letters", "bold"),
        f" · {counted.lost} lost · {counted.duplicated} duplicated",
        *([f" · {counted.strangers} of unknown records"] if counted.strangers else []),
        (f"   ({whose})", _QUIET),
    )


def _numbers(outcome: Outcome) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=_QUIET)
    grid.add_column(justify="right")
    grid.add_column(style=_QUIET)
    rate = outcome.recount.records / outcome.seconds
    grid.add_row("throughput", f"{rate:,.0f}/s", f"{outcome.seconds:.0f} s; the stream waits for the loop")
    if outcome.latency is not None:
        grid.add_row("latency p50", f"{outcome.latency.p50_ms:.0f} ms", "from a record's sending to a committed read")
        grid.add_row("latency p99", f"{outcome.latency.p99_ms:.0f} ms", "")
    return grid


def _accuracies(outcome: Outcome) -> Table:
    """The loop beside the first model, which another deployment keeps for ever."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=_QUIET)
    for name in ("accuracy", "with the loop", "version 1 for ever", ""):
        table.add_column(name, justify="right" if name.startswith(("with", "version")) else "left", no_wrap=True)
    for title, loop, frozen in zip(
        ("before the change", "since the change", "settled"), outcome.periods, outcome.frozen_periods, strict=True
    ):
        table.add_row(title, Text(_share(loop), style="bold"), _share(frozen), Text(_days(loop), style=_QUIET))
    return table


def _bars(outcome: Outcome) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=_QUIET)
    for name in ("", "what the loop had to reach", "what it did"):
        table.add_column(name, min_width=1, no_wrap=name != "what it did")
    for bar in outcome.bars:
        mark = Text("✓", style="bold green3") if bar.is_met else Text("✗", style="bold red1")
        table.add_row(mark, bar.what, Text(bar.found, style="bold"))
    return table


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _share(period: Period) -> str:
    return f"{period.accuracy:.3f}" if period.judged else "–"


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
