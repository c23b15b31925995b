"""When a process is taken to hang."""

from datetime import timedelta

from millrace.core.control.fleet import Slot
from millrace_launcher.logic.liveness import LOOKS, Life, Vigil

SLOT = Slot("rain", "scorer", 0)
SILENT = Life(None, "it does not answer: ReadTimeout")


def test_one_that_says_so_hangs_at_once() -> None:
    vigil = Vigil(timedelta(seconds=30))
    stuck = Life(is_alive=False, why="the main loop has not turned for 61 s")
    assert vigil.hangs(SLOT, 1, stuck, 0.0) == "hung: the main loop has not turned for 61 s"


def look_again_and_again(vigil: Vigil, looks: int, *, every: float) -> str:
    """What is said at the last of so many looks at a process that lived at 100 s and says nothing since."""
    vigil.lives(SLOT, 1, 100.0)
    return [vigil.hangs(SLOT, 1, SILENT, 100.0 + every * look) for look in range(1, looks + 1)][-1]


def test_one_that_falls_silent_hangs_after_a_while() -> None:
    assert look_again_and_again(Vigil(timedelta(seconds=30)), 60, every=0.5) == ""
    assert look_again_and_again(Vigil(timedelta(seconds=30)), 61, every=0.5) == "hung: it has not answered for 30 s"


def test_time_in_which_the_watcher_itself_starved_counts_for_one_look() -> None:
    vigil = Vigil(timedelta(seconds=30))
    assert look_again_and_again(vigil, LOOKS, every=60.0) == "", "five minutes by the clock, and five looks"
    assert look_again_and_again(vigil, LOOKS + 1, every=60.0) == "hung: it has not answered for 36 s"


def test_one_that_was_never_heard_is_still_starting() -> None:
    vigil = Vigil(timedelta(seconds=30))
    vigil.lives(SLOT, 1, 0.0)
    assert vigil.hangs(SLOT, 2, SILENT, 1_000.0) == "", "the next process of the slot"


def test_one_that_lives_and_is_not_ready_is_left_alone() -> None:
    vigil = Vigil(timedelta(seconds=30))
    vigil.lives(SLOT, 1, 0.0)
    assert vigil.hangs(SLOT, 1, Life(is_alive=True, why="live"), 100.0) == ""
    assert vigil.hangs(SLOT, 1, SILENT, 120.0) == "", "it was heard meanwhile"
