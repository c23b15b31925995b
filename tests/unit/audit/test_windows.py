"""Windows, stages and watermarks; bar 13: what is idle holds nothing back."""

from datetime import timedelta

import numpy as np
import pytest

from millrace.core.audit.windows import NO_TIME, Stage, Watermarks, Window, WindowSpec
from millrace.core.errors import RequestError

SPEC = WindowSpec(
    label_horizon=timedelta(seconds=60),
    size=timedelta(seconds=30),
    hop=timedelta(seconds=10),
    pane=timedelta(seconds=5),
    correction_horizon=timedelta(seconds=60),
    out_of_orderness=timedelta(seconds=2),
    idle_after=timedelta(seconds=20),
)


def test_panes_cover_all_time_and_windows_are_sums_of_panes() -> None:
    times = np.arange(-40_000, 40_000, 777)
    starts = SPEC.pane_starts(times)
    assert ((starts <= times) & (times < starts + SPEC.pane_ms) & (starts % SPEC.pane_ms == 0)).all()
    for start in starts.tolist():
        windows = SPEC.windows_of(start)
        assert len(windows) == 3
        assert all(start in SPEC.panes_of(window) for window in windows)


def test_panes_must_divide_windows() -> None:
    with pytest.raises(RequestError, match="do not divide"):
        WindowSpec(label_horizon=timedelta(0), size=timedelta(seconds=30), pane=timedelta(seconds=7))


def test_a_window_passes_through_its_stages() -> None:
    window = Window(0, 30_000)
    stages = [SPEC.stage(window, watermark) for watermark in (NO_TIME, 29_999, 30_000, 89_999, 90_000, 150_001)]
    assert stages == [
        Stage.PROVISIONAL,
        Stage.PROVISIONAL,
        Stage.CLOSED,
        Stage.CLOSED,
        Stage.MATURE,
        Stage.EVICTED,
    ]


def test_the_slowest_partition_holds_the_watermark() -> None:
    watermarks = Watermarks.of(SPEC, {0: 0, 1: 0}).observe({0: 100_000}, now_ms=1000)
    assert watermarks.current_ms == NO_TIME
    watermarks = watermarks.observe({1: 50_000}, now_ms=2000)
    assert watermarks.current_ms == 48_000


def test_bar_13_an_idle_partition_holds_nothing_back_and_the_watermark_never_goes_back() -> None:
    watermarks = Watermarks.of(SPEC, {0: 0, 1: 0}).observe({0: 100_000}, now_ms=15_000)
    assert watermarks.advance(now_ms=19_999).current_ms == NO_TIME
    watermarks = watermarks.advance(now_ms=20_000)
    assert watermarks.current_ms == 98_000
    assert watermarks.observe({1: 10_000}, now_ms=21_000).current_ms == 98_000


def test_bar_13_a_stopped_producer_closes_its_windows_within_the_time_out_and_a_tick() -> None:
    """The last event is in the middle of a window; the wall clock goes on in ticks of a second."""
    wall_of_last, last_event, tick = 1_000_000, 500_000_000, 1000
    watermarks = Watermarks.of(SPEC, {0: 0, 1: 0}).observe({0: last_event, 1: last_event - 3000}, wall_of_last)
    window = SPEC.windows_of(int(SPEC.pane_starts(np.array([last_event]))[0]))[0]
    due = wall_of_last + max(window.end_ms - last_event + 2000, 20_000)
    closed_at = next(
        now
        for now in range(wall_of_last, due + 10 * tick, tick)
        if SPEC.stage(window, watermarks.advance(now).current_ms) is Stage.CLOSED
    )
    assert closed_at <= due + tick


def test_an_input_without_any_record_has_no_watermark() -> None:
    assert Watermarks.of(SPEC, {0: 0}).advance(now_ms=10**9).current_ms == NO_TIME


def test_a_rebalance_forgets_what_went_and_waits_for_what_came() -> None:
    watermarks = Watermarks.of(SPEC, {0: 0, 1: 0}).observe({0: 100_000, 1: 30_000}, now_ms=1000)
    assert watermarks.current_ms == 28_000
    alone = watermarks.reassign({0}, now_ms=2000).advance(now_ms=2000)
    assert alone.current_ms == 98_000
    assert watermarks.reassign({0, 2}, now_ms=2000).advance(now_ms=2000).current_ms == 28_000
