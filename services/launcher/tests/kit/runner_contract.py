"""What the launcher counts on in whatever runs processes: a suite that every runner passes."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self, TypeAlias

import pytest

from millrace.core.control.fleet import Slot
from millrace.core.errors import RequestError
from millrace.testing.waiting import eventually
from millrace_launcher.logic.ports import Launch, Runner, Running

SLOT, OTHER = Slot("rain", "scorer", 1), Slot("rain", "scorer", 2)
MEMORY_BYTES: Final = 256 << 20
PATIENCE: Final = timedelta(seconds=60)
PROGRAMS: Final = {
    # It waits for the signal and handles none: one that came just before a pause would be missed.
    "waits": (
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [15]); print('up', flush=True)\n"
        "signal.sigwait([15]); print('drained', flush=True)"
    ),
    "fails": "import sys; sys.exit('no such model')",
}

Program: TypeAlias = Callable[[str], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Bench:
    """A runner, and how its programs are called."""

    runner: Runner
    program: Program

    def start(self, what: str, *, number: int = 1, slot: Slot = SLOT) -> None:
        """Start a program."""
        environment = {"PATH": os.environ["PATH"]}
        self.runner.start(Launch(slot, number, self.program(what), environment, 0.5, MEMORY_BYTES))

    def await_line(self, line: str) -> None:
        """Wait until the program has said this."""
        eventually(lambda: line in self.runner.log(SLOT, lines=100), within=PATIENCE, what=f"the line {line!r}")

    def await_end(self) -> Running:
        """Wait until the program is over."""
        eventually(lambda: self.only().has_ended, within=PATIENCE, what="the end of the process")
        return self.only()

    @contextmanager
    def closing(self) -> Iterator[Self]:
        """End everything that runs when the block does."""
        try:
            yield self
        finally:
            for running in self.runner.processes():
                self.runner.kill(running.slot)
            over = "the end of all processes"
            eventually(lambda: all(each.has_ended for each in self.runner.processes()), within=PATIENCE, what=over)
            self.runner.close()

    def only(self) -> Running:
        """The only process."""
        [found] = self.runner.processes()
        return found


def python_program(what: str) -> tuple[str, ...]:
    """The command of a program, for runners of real processes."""
    return (sys.executable, "-u", "-c", PROGRAMS[what])


class RunnerContract:
    """The suite. A subclass gives the fixture `bench`."""

    def test_a_slot_has_one_process_and_slots_do_not_meet(self, bench: Bench) -> None:
        assert list(bench.runner.processes()) == []
        bench.start("waits")
        bench.await_line("up")
        found = bench.only()
        assert (found.slot, found.launch, found.has_ended, found.is_draining, found.why) == (SLOT, 1, False, False, "")
        with pytest.raises(RequestError, match="rain/scorer/1 runs already"):
            bench.start("waits", number=2)
        bench.start("waits", slot=OTHER)
        assert {each.slot for each in bench.runner.processes()} == {SLOT, OTHER}

    def test_draining_lets_it_end_by_itself(self, bench: Bench) -> None:
        bench.start("waits")
        bench.await_line("up")
        bench.runner.drain(SLOT)
        ended = bench.await_end()
        assert (ended.exit_code, ended.is_draining) == (0, True)
        assert list(bench.runner.log(SLOT, lines=9)) == ["up", "drained"]

    def test_an_end_by_itself_has_a_reason_and_does_not_change(self, bench: Bench) -> None:
        bench.start("fails")
        ended = bench.await_end()
        assert (ended.exit_code, ended.is_draining, ended.why) == (1, False, "exit code 1: no such model")
        assert ended.ended_ms is not None
        bench.runner.drain(SLOT)
        bench.runner.kill(SLOT)
        assert bench.only() == ended

    def test_a_kill_was_asked_for_unless_there_is_a_reason(self, bench: Bench) -> None:
        bench.start("waits")
        bench.await_line("up")
        bench.runner.kill(SLOT)
        assert bench.await_end().is_draining
        bench.start("waits", number=2)
        eventually(lambda: bench.only().launch == 2, within=PATIENCE, what="the second process")
        eventually(lambda: list(bench.runner.log(SLOT, lines=9)).count("up") == 2, within=PATIENCE, what="its words")
        bench.runner.kill(SLOT, why="hung: it has not answered for 31 s")
        ended = bench.await_end()
        assert (ended.is_draining, ended.why) == (False, "hung: it has not answered for 31 s")

    def test_what_is_forgotten_is_not_mentioned_and_its_words_stay(self, bench: Bench) -> None:
        bench.start("waits")
        bench.await_line("up")
        bench.runner.forget(SLOT)
        assert bench.only().slot == SLOT, "it runs"
        bench.runner.drain(SLOT)
        bench.await_end()
        bench.runner.forget(SLOT)
        assert list(bench.runner.processes()) == []
        assert "drained" in list(bench.runner.log(SLOT, lines=9))
        bench.start("fails", number=2)
        eventually(bench.runner.processes, within=PATIENCE, what="the next one")
        assert bench.only().launch == 2

    def test_nothing_happens_to_nothing(self, bench: Bench) -> None:
        for act in (bench.runner.drain, bench.runner.kill, bench.runner.forget):
            act(SLOT)
        assert list(bench.runner.log(SLOT, lines=9)) == []
