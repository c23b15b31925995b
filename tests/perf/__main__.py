"""The benchmark: one run, one workload, one machine. Figures: JSON lines on stdout. Progress and a table: stderr."""

import argparse
import os
import platform
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from millrace.kafka.lane import native_library
from millrace.process.settings import KafkaSettings, Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.testing.broker import temporary_broker
from tests.perf import beside, latency, throughput, workload
from tests.perf.contestants import Contestant, Stage
from tests.perf.telling import console, emit
from tests.perf.throughput import Throughput

TRANSACTIONS: Final = (20_000, 1_000)
RATES: Final = (2_000, 5_000)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure everything that was asked for."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="millrace-perf-") as folder, _kafka() as kafka:
        stage = _stage(kafka, Path(folder))
        emit("machine", cpus=os.cpu_count(), load=round(os.getloadavg()[0], 1), python=platform.python_version())
        runs = options.repetitions if options.only in {None, "throughput"} else 0
        rates = options.rates if options.only in {None, "latency"} else ()
        steps = runs * len(options.transactions) * len(options.who) + len(rates) + (options.only in {None, "beside"})
        with _progress(steps) as step:
            results = _throughput(stage, options, runs, step)
            latencies = {}
            for rate in rates:
                step(f"latency at {rate} records/s")
                latencies[rate] = latency.measure(stage, rate, timedelta(seconds=options.seconds))
                emit("latency", rate=rate, **asdict(latencies[rate]))
            if options.only in {None, "beside"}:
                step("latency beside a batch job")
                found = beside.measure(stage, options.rates[0], timedelta(seconds=options.seconds))
                emit("beside a batch job", rate=options.rates[0], **asdict(found))
    if results:
        console.print(_throughput_table(results))
    if latencies:
        console.print(_latency_table(latencies))


def _throughput(
    stage: Stage, options: argparse.Namespace, runs: int, step: "Step"
) -> dict[tuple[Contestant, int], Throughput]:
    if not runs:
        return {}
    found: dict[tuple[Contestant, int], list[Throughput]] = {}
    for repetition in range(runs):  # interleaved, so that a busy minute of the machine falls on everybody
        for size in options.transactions:
            for who in options.who:
                step(f"{who}, {size} a transaction, {repetition + 1} of {runs}")
                run = throughput.measure(stage, who, options.records, transaction_records=size)
                found.setdefault((who, size), []).append(run)
    results = {key: _median(values) for key, values in found.items()}
    for (who, size), result in results.items():
        emit("throughput", who=who, transaction_records=size, runs=runs, **asdict(result))
    return results


def _median(values: Sequence[Throughput]) -> Throughput:
    return Throughput(
        round(median(value.records_per_sec for value in values)),
        round(median(value.cpu_secs_per_million for value in values), 2),
    )


@contextmanager
def _kafka() -> Iterator[KafkaSettings]:
    if bootstrap := os.environ.get("MILLRACE_TEST_BOOTSTRAP"):
        yield KafkaSettings(bootstrap=bootstrap)
        return
    with temporary_broker() as broker:
        yield broker.kafka


def _stage(kafka: KafkaSettings, folder: Path) -> Stage:
    name = f"perf-{uuid.uuid4().hex[:8]}"
    bundle = workload.bundle(folder / "bundle", name)
    home = folder / "home"
    with Registry(kafka, Shelf.of(Settings(home=home)), who="perf") as registry:
        registry.push(bundle.directory)
        registry.push(workload.bundle(folder / "challenger", name, seed=8).directory)
    return Stage(kafka, home, folder, name, bundle.directory / "model.onnx")


class Step:
    """Shows what is going on."""

    def __init__(self, progress: Progress, steps: int) -> None:
        self._progress = progress
        self._task = progress.add_task("preparing", total=steps)
        self._begun = 0

    def __call__(self, what: str) -> None:
        """The next step begins."""
        self._progress.update(self._task, description=what, completed=self._begun)
        self._begun += 1
        if not console.is_terminal:
            console.print(what)

    def end(self) -> None:
        """All steps are done."""
        self._progress.update(self._task, description="done", completed=self._begun)


@contextmanager
def _progress(steps: int) -> Iterator[Step]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        step = Step(progress, steps)
        yield step
        step.end()


def _throughput_table(results: dict[tuple[Contestant, int], Throughput]) -> Table:
    table = Table("transaction", "who", "records/s", "CPU s / million", title="Throughput, medians")
    for (who, size), result in sorted(results.items(), key=lambda item: (-item[0][1], item[0][0])):
        table.add_row(f"{size:,}", who.value, f"{result.records_per_sec:,.0f}", f"{result.cpu_secs_per_million:.2f}")
    return table


def _latency_table(results: dict[int, latency.Latency]) -> Table:
    table = Table("records/s", "p50 ms", "p99 ms", "p99.9 ms", title="Scorer: record timestamp to committed read")
    for rate, result in results.items():
        table.add_row(f"{rate:,}", f"{result.p50_ms:.1f}", f"{result.p99_ms:.1f}", f"{result.p999_ms:.1f}")
    return table


def _present() -> Sequence[Contestant]:
    """Everybody who can be measured here."""
    return [who for who in Contestant if who is not Contestant.NATIVE or native_library() is not None]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.perf",
        description="Measures the scorer beside a plain loop and a relay, on a broker of its own or, if set, the one "
        "at MILLRACE_TEST_BOOTSTRAP. Takes about ten minutes.",
    )
    parser.add_argument("--records", type=int, default=300_000, help="records of each run (default 300000)")
    parser.add_argument("--repetitions", type=int, default=3, help="runs of each throughput figure (default 3)")
    parser.add_argument("--seconds", type=float, default=20, help="length of each latency figure (default 20)")
    parser.add_argument("--who", type=Contestant, nargs="+", default=_present(), help="whose throughput is measured")
    parser.add_argument("--only", choices=("throughput", "latency", "beside"), help="leave the others out")
    parser.add_argument("--transactions", type=int, nargs="+", default=TRANSACTIONS, metavar="RECORDS")
    parser.add_argument("--rates", type=int, nargs="+", default=RATES, metavar="RECORDS_PER_SEC")
    return parser


if __name__ == "__main__":
    main()
