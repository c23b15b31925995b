"""Every figure at full size: one JSON line each, progress on stderr."""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import numpy as np
import structlog
from sea_runs import run_frozen, run_unattended
from sea_stream import Sea

from millrace.core.audit.windows import Stage
from millrace.process.settings import Settings
from millrace.testing.broker import BorrowedBroker, Broker, temporary_broker
from tests.audit_figures.inputs import delay_windows, null_alarms_per_1000
from tests.audit_figures.joining import count_stream, join_stream
from tests.audit_figures.labels import delay_events, delayed_accuracy, null_alarm_share, windows_to_request
from tests.audit_figures.throughput import measure_throughput

Figures = dict[str, object]
_LONG = timedelta(minutes=5)


def bar_7() -> Figures:
    return {"null_alarms_per_1000_windows": null_alarms_per_1000(60), "bar": 1.0}


def bar_8() -> Figures:
    small, medium, large = (delay_windows(shift, 100) for shift in (0.1, 0.2, 2.0))
    return {
        "median_windows": {"0.1": small[0], "0.2": medium[0], "2.0": large[0]},
        "named_first": {"0.1": small[1], "0.2": medium[1], "2.0": large[1]},
        "bars": {"0.1": 12, "0.2": 3, "2.0": 1},
    }


def bar_9() -> Figures:
    return {"null_streams_with_alarm": null_alarm_share(500), "bar": 0.04}


def bar_10() -> Figures:
    return {"mean_labelled_events": {rate: delay_events(rate, 200) for rate in (0.15, 0.20, 0.30)}, "bar": 950}


def bar_11() -> Figures:
    flipped = [windows_to_request(seed, flipped=0.4) for seed in range(20)]
    clean = [windows_to_request(seed, flipped=0.0) for seed in range(20)]
    return {"mature_windows_to_request": flipped, "requests_in_clean_runs": sum(c is not None for c in clean)}


def bar_12() -> Figures:
    found = [report for seed in range(5) for report in delayed_accuracy(seed)]
    mature = [(value, truth, n) for stage, _, value, truth, n in found if stage is Stage.MATURE]
    early = [value - truth for stage, _, value, truth, n in found if stage is Stage.CLOSED and n]
    worst = max(abs(value - truth) / np.sqrt(truth * (1 - truth) / n) for value, truth, n in mature)
    return {"worst_mature_error_in_se": worst, "mean_error_when_closed": float(np.mean(early)), "bar_se": 3}


def bar_14() -> Figures:
    memory = join_stream(1000, 10_000, timedelta(minutes=5))
    horizons = {n: memory.rss_bytes[len(memory.rss_bytes) * 3 * n // 10 :] for n in (1, 2)}
    return {
        "predictions": 10_000_000,
        "rss_max_mb": max(horizons[1]) / 1e6,
        # A dictionary makes room for its deleted entries once, in the second horizon; after that nothing moves.
        "rss_spread_after_horizons": {n: max(rss) / min(rss) - 1 for n, rss in horizons.items()},
        "events_held": max(memory.events),
        "join_records_per_cpu_second": memory.records / memory.cpu_seconds,
        "bar": "plus or minus 5 %",
    }


def join_speed() -> Figures:
    memory = join_stream(100, 10_000, timedelta(seconds=50), labelled=1.0)
    return {"records": memory.records, "records_per_cpu_second": memory.records / memory.cpu_seconds, "aim": 500_000}


def partition_speed() -> Figures:
    return {"records_per_cpu_second": count_stream(60, 10_000, features=30), "features": 30, "bar": 35_000}


def bar_15(count: int = 500_000) -> Figures:
    with _broker() as broker, tempfile.TemporaryDirectory(prefix="millrace-figures-") as folder:
        found = measure_throughput(broker, Path(folder), count)
    return {**asdict(found), "share_of_plain": found.share, "bar": 35_000, "aim_share": 0.5}


def bar_6() -> Figures:
    with _sea(2_500) as stream:
        return {**asdict(run_frozen(stream, 5, within=_LONG)), "windows_each": 5, "bar_se": 3}


def bar_18() -> Figures:
    with _sea(5_000, cooldown_secs=10_000) as stream:
        found = run_unattended(stream, within=_LONG)
    return {**asdict(found), "signals": sorted(found.signals), "regained": min(found.after) / min(found.before)}


@contextmanager
def _sea(window_events: int, **audit: object) -> Iterator[Sea]:
    with _broker() as broker, tempfile.TemporaryDirectory(prefix="millrace-figures-") as folder:
        stream = Sea(broker, Settings(home=Path(folder) / "home"), f"sea-{os.getpid()}", window_events, dict(audit))
        stream.push(Path(folder) / "frozen")
        yield stream


@contextmanager
def _broker() -> Iterator[Broker]:
    """A broker of its own, or the one that the environment names."""
    if bootstrap := os.environ.get("MILLRACE_TEST_BOOTSTRAP"):
        yield BorrowedBroker(bootstrap)
        return
    with temporary_broker() as broker:
        yield broker


def figures() -> Iterator[Callable[[], Figures]]:
    yield from (bar_7, bar_8, bar_9, bar_10, bar_11, bar_12, join_speed, partition_speed, bar_14, bar_15, bar_6, bar_18)


def main(wanted: list[str]) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # figures alone are on stdout
    for figure in figures():
        if wanted and figure.__name__ not in wanted:
            continue
        print(f"{figure.__name__} ...", file=sys.stderr, flush=True)  # noqa: T201 - a report is what this program is for
        started = time.perf_counter()
        line = {"figure": figure.__name__, **figure(), "seconds": round(time.perf_counter() - started, 1)}
        print(json.dumps(line), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
