import asyncio
from datetime import timedelta

import pytest

from millrace.process.lifecycle import Shutdown
from millrace.testing.clock import ManualClock
from millrace_gateway.adapters.patience import Patience


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def shutdown(clock: ManualClock) -> Shutdown:
    return Shutdown(clock=clock, drain=timedelta(seconds=8))


@pytest.fixture
def patience(clock: ManualClock, shutdown: Shutdown) -> Patience:
    return Patience(shutdown, clock, most=timedelta(seconds=6))


def test_it_lasts_from_the_first_question_on(clock: ManualClock, shutdown: Shutdown, patience: Patience) -> None:
    clock.advance(timedelta(minutes=1))
    shutdown.request()
    assert not patience.is_over()
    clock.advance(timedelta(seconds=5.9))
    assert not patience.is_over()
    clock.advance(timedelta(seconds=0.1))
    assert patience.is_over()


def test_a_second_wish_ends_it(shutdown: Shutdown, patience: Patience) -> None:
    shutdown.request()
    assert not patience.is_over()
    shutdown.request()
    assert patience.is_over()


def test_it_is_over_when_the_time_to_stop_is(clock: ManualClock, shutdown: Shutdown, patience: Patience) -> None:
    shutdown.request()
    clock.advance(timedelta(seconds=7))
    assert not patience.is_over()
    clock.advance(timedelta(seconds=1))
    assert patience.is_over()


def test_work_is_waited_for_and_left_at_work_when_patience_is_over(shutdown: Shutdown, patience: Patience) -> None:
    async def wait() -> None:
        done = asyncio.create_task(asyncio.sleep(0))
        assert await patience.covers(done)
        endless = asyncio.create_task(asyncio.Event().wait())
        shutdown.request()
        shutdown.request()
        assert not await patience.covers(endless)
        assert not endless.done()
        endless.cancel()

    asyncio.run(wait())


def test_what_fails_is_raised(patience: Patience) -> None:
    async def fail() -> None:
        raise ValueError("broken")

    async def wait() -> None:
        await patience.covers(asyncio.create_task(fail()))

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(wait())
