"""How the story speaks: a live table on a terminal, a plain line every few seconds elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from examples.weather.loop import Happening, Loop
from examples.weather.tally import Snapshot
from examples.weather.view import line, panel
from millrace.core.clock import Clock

OnStep: TypeAlias = Callable[[str, int, int | None], None]
"""Told of a step's progress: a word about what goes on, how much is done, and of how much if that is known."""

OnSnapshot: TypeAlias = Callable[[Snapshot, Loop], None]

_LINE_EVERY_SECS: Final = 5.0
_TITLE_WIDTH: Final = 34


class Display(Protocol):
    """Where the story is told."""

    def say(self, what: RenderableType) -> None:
        """Print something that stays."""
        ...

    def step(self, title: str) -> AbstractContextManager[OnStep]:
        """Show that something is being done until the block ends, and how long it took."""
        ...

    def live(self) -> AbstractContextManager[OnSnapshot]:
        """Show snapshots, each in the place of the one before, until the block ends."""
        ...


@dataclass(frozen=True, slots=True)
class TerminalDisplay:
    """Progress bars and a live table."""

    console: Console
    clock: Clock

    def say(self, what: RenderableType) -> None:
        """Print something that stays."""
        self.console.print(what)

    @contextmanager
    def step(self, title: str) -> Iterator[OnStep]:
        """Show a spinner, and a bar once the amount of work is known; leave a line with the time it took."""
        started = self.clock.monotonic()
        columns = (
            SpinnerColumn(style="cyan"),
            TextColumn("{task.description}"),
            BarColumn(24),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(title.ljust(_TITLE_WIDTH), total=None, note="")
            yield lambda note, done, total: bar.update(task, completed=done, total=total, note=note)
        took = self.clock.monotonic() - started
        self.console.print(
            Text.assemble(("✓ ", "green3"), title.ljust(_TITLE_WIDTH), (f"{took:6.1f} s", "bright_black"))
        )

    @contextmanager
    def live(self) -> Iterator[OnSnapshot]:
        """Show the live table; the last one stays."""
        with Live(console=self.console, auto_refresh=False) as live:
            yield lambda snapshot, loop: live.update(panel(snapshot, loop), refresh=True)


@dataclass(frozen=True, slots=True)
class PlainDisplay:
    """Plain lines, for a pipe or a log."""

    console: Console
    clock: Clock

    def say(self, what: RenderableType) -> None:
        """Print something."""
        self.console.print(what)

    @contextmanager
    def step(self, title: str) -> Iterator[OnStep]:
        """A line when it begins, where it takes long, and a line when it is done."""
        started, stages = self.clock.monotonic(), set[str]()

        def report(note: str, _done: int, total: int | None) -> None:
            said = f"{note} ({total})" if total else note
            if said not in stages:
                stages.add(said)
                self.console.print(f"{title}: {said} ...")

        yield report
        self.console.print(f"{title}: done in {self.clock.monotonic() - started:.1f} s")

    @contextmanager
    def live(self) -> Iterator[OnSnapshot]:
        """A line every few seconds and one at the end, and what the loop does as it happens."""
        waiting: list[Snapshot] = []
        told: list[Happening] = []
        due = [self.clock.monotonic() + _LINE_EVERY_SECS]

        def update(snapshot: Snapshot, loop: Loop) -> None:
            waiting[:] = [snapshot]
            for happening in [each for each in loop.happenings if each not in told]:
                told.append(happening)
                self.console.print(f"day {happening.day:6,} | {happening.who}: {happening.what}", soft_wrap=True)
            if self.clock.monotonic() >= due[0]:
                due[0] += _LINE_EVERY_SECS
                show()

        def show() -> None:
            while waiting:
                self.console.print(line(waiting.pop()), soft_wrap=True)

        yield update
        show()


def open_display(console: Console, clock: Clock) -> Display:
    """The display for this console."""
    return TerminalDisplay(console, clock) if console.is_terminal else PlainDisplay(console, clock)
