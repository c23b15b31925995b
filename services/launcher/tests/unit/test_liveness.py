"""When a process is taken to hang."""

from datetime import timedelta

from millrace.core.control.fleet import Slot
from millrace_launcher.logic.liveness import Life, Vigil

SLOT = Slot("rain", "scorer", 0)
SILENT = Life(None, "it does not answer: ReadTimeout")


def test_one_that_says_so_hangs_at_once() -> None:
    vigil = Vigil(timedelta(seconds=30))
    stuck = Life(is_alive=False, why="the main loop has not turned for 61 s")
    assert vigil.hangs(SLOT, 1, stuck, 0.0) == "hung: the main loop has not turned for 61 s"


def test_one_that_falls_silent_hangs_after_a_while() -> None:
    vigil = Vigil(timedelta(seconds=30))
    vigil.lives(SLOT, 1, 100.0)
    assert vigil.hangs(SLOT, 1, SILENT, 130.0) == ""
    assert vigil.hangs(SLOT, 1, SILENT, 131.0) == "hung: it has not answered for 31 s"


def test_one_that_was_never_heard_is_still_starting() -> None:
    vigil = Vigil(timedelta(seconds=30))
    vigil.lives(SLOT, 1, 0.0)
    assert vigil.hangs(SLOT, 2, SILENT, 1_000.0) == "", "the next process of the slot"


def test_one_that_lives_and_is_not_ready_is_left_alone() -> None:
    vigil = Vigil(timedelta(seconds=30))
    vigil.lives(SLOT, 1, 0.0)
    assert vigil.hangs(SLOT, 1, Life(is_alive=True, why="live"), 100.0) == ""
    assert vigil.hangs(SLOT, 1, SILENT, 120.0) == "", "it was heard meanwhile"
