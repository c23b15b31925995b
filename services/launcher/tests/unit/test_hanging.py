"""A daemon that hangs says so, and its heart stands still: then its node's lease ends what it does not tend."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import cast

import pytest

from millrace.core.control.fleet import Heartbeat, Inventory
from millrace.core.errors import FatalError
from millrace.process.health import Health
from millrace.telemetry.launcher import LAUNCHER, READY
from millrace.telemetry.metrics import Instruments
from millrace.testing.clock import ManualClock
from millrace.testing.waiting import eventually
from millrace_launcher.adapters.heart import Heart
from millrace_launcher.adapters.place import NodeFolder
from millrace_launcher.adapters.repeating import LONGEST_TURN, repeated
from millrace_launcher.adapters.reporting import Reporter
from millrace_launcher.adapters.telemetry import Telemetry


@dataclass
class Beats:
    """Takes heartbeats as a broker would."""

    heard: list[Heartbeat] = field(default_factory=list)

    def beat(self, heartbeat: Heartbeat) -> None:
        self.heard.append(heartbeat)


def test_a_thread_that_does_not_come_round_is_named() -> None:
    clock, begun, release = ManualClock(), Event(), Event()

    def hang() -> None:
        begun.set()
        release.wait()

    with repeated(hang, timedelta(0), clock, name="controller") as thread:
        try:
            assert begun.wait(10)
            clock.advance(LONGEST_TURN)
            assert thread.hangs() == ""
            clock.advance(timedelta(seconds=1))
            assert thread.hangs() == "the thread 'controller' has not come round for 61 s"
        finally:
            release.set()
        eventually(lambda: thread.hangs() == "", what="the thread to come round")


def test_what_ends_a_thread_is_raised_where_it_is_watched() -> None:
    def fail() -> None:
        raise FatalError("refused")

    with repeated(fail, timedelta(0), ManualClock(), name="heart") as thread:
        thread.thread.join()
        with pytest.raises(FatalError, match="refused"):
            thread.check()


def test_a_daemon_of_which_a_part_hangs_is_not_ready_and_then_not_live() -> None:
    clock = ManualClock()
    health, instruments = Health(clock=clock), Instruments(LAUNCHER, constants={"node": "a"})
    telemetry = Telemetry(instruments, health)
    telemetry.turn((), is_elected=True, is_heard=True, hanging="")
    assert (health.readiness.holds, health.liveness.holds) == (True, True)
    clock.advance(timedelta(seconds=61))
    telemetry.turn((), is_elected=True, is_heard=True, hanging="the thread 'controller' has not come round for 61 s")
    assert "controller" in health.readiness.reason
    assert not health.readiness.holds
    assert not health.liveness.holds
    assert f'{READY.name}{{node="a"}} 0.0' in instruments.exposition().decode()


def test_the_heart_of_a_daemon_that_hangs_stands_still(tmp_path: Path) -> None:
    clock, beats = ManualClock(), Beats()
    health = Health(clock=clock)
    folder = NodeFolder(tmp_path, "a")
    folder.path.mkdir(parents=True)
    heart = Heart(folder, cast("Reporter", beats), Inventory(1, 1), "", 1, timedelta(seconds=6), clock, health)
    heart.beat()
    assert (len(beats.heard), heart.is_heard, folder.lease.exists()) == (1, True, True)
    clock.advance(timedelta(seconds=61))
    heart.beat()
    assert (len(beats.heard), heart.is_heard) == (1, False)
    health.turn()
    heart.beat()
    assert (len(beats.heard), heart.is_heard) == (2, True)
