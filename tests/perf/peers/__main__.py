"""Millrace beside its peers, in one run: one JSON line for each and for each aim on stdout, a table on stderr.

Everybody reads the same records from a topic of its own and writes predictions that are compared with ONNX Runtime's.
Where there is a JVM, its first pass is told as cold and its last as warm. With `--rate`, latency is measured instead.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Final

from rich.table import Table

from millrace.core.errors import FatalError, RequestError
from millrace.kafka.broker import LocalBroker
from millrace.kafka.lane import native_library
from millrace.process.settings import KafkaSettings, Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.testing.broker import temporary_broker
from tests.perf.contestants import Stage
from tests.perf.peers import steady
from tests.perf.peers.cells import MATRIX, Cell
from tests.perf.peers.peers import AS_IT_COMES, OWN, PEERS, Command, Who, may_score, ready
from tests.perf.peers.race import Race, Run
from tests.perf.telling import console, emit
from tests.perf.throughput import Throughput


@dataclass(frozen=True, slots=True)
class Aim:
    """What the native lane is to reach beside another.

    Attributes:
        beside: The other.
        rate: Its records a second are at least so many times the other's.
        cpu: Its CPU seconds are at most so many times the other's; None where only the rate is an aim.
        transaction_records: Records of the transactions that this is about.
    """

    beside: Who
    rate: float
    cpu: float | None = None
    transaction_records: int = 20_000


AIMS: Final = (
    Aim(Who.RELAY, 0.75, 1.8),
    Aim(Who.RELAY, 0.7, transaction_records=1_000),
    Aim(Who.JAVA, 1.6, 0.6),
    Aim(Who.JAVA_WHOLE, 1.6, 0.6),
    Aim(Who.QUIX, 12),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure everybody who was asked for and can be had."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.rate is not None and options.cells != [Cell.named("linear-30")]:
        parser.error("records that are sent at a rate are those of linear-30")
    emit("machine", cpus=os.cpu_count(), load=round(os.getloadavg()[0], 1), python=platform.python_version())
    with tempfile.TemporaryDirectory(prefix="millrace-peers-") as name:
        folder = Path(name)
        commands = _ready(options.who, folder)
        with _kafka(folder) as kafka:
            end = time.monotonic() + options.minutes * 60
            failed = [_measure(cell, commands, options, kafka=kafka, folder=folder, end=end) for cell in options.cells]
    if any(failed):
        sys.exit(1)


def _measure(
    cell: Cell,
    commands: Mapping[Who, Command],
    options: argparse.Namespace,
    *,
    kafka: KafkaSettings,
    folder: Path,
    end: float,
) -> bool:
    """Measure those who know such records; whether one failed."""
    if time.monotonic() > end:
        console.print(f"the time is over before {cell}", style="yellow")
        return False
    present = [who for who in options.who if (who in OWN or who in commands) and may_score(who, cell)]
    stage = _stage(kafka, folder, cell)
    if options.rate is not None:
        race = Race(stage, commands, cell, transaction_records=options.transactions[0])
        failures = steady.measure(
            race,
            [who for who in present if who in AS_IT_COMES],
            options.rate,
            timedelta(seconds=options.seconds),
            linger_ms=options.linger_ms,
            repetitions=options.repetitions,
        )
        return bool(failures)
    failed: set[Who] = set()
    for size in options.transactions:
        race = Race(stage, commands, cell, transaction_records=size)
        runs, gave_up = _runs(race, present, f"{cell}, {size} a transaction", end, options.repetitions)
        _tell(cell, size, runs)
        failed |= gave_up
    return bool(failed)


def _runs(
    race: Race, present: Sequence[Who], what: str, end: float, repetitions: int
) -> tuple[dict[Who, list[Run]], frozenset[Who]]:
    """The runs of those who came through all of theirs, and who did not. Interleaved: a busy minute falls on everybody.

    None begins after the end of the time that there is.
    """
    runs: dict[Who, list[Run]] = {who: [] for who in present}
    for repetition in range(repetitions):
        for who in list(runs):
            if time.monotonic() > end:
                console.print(f"the time is over before repetition {repetition + 1} of {who}", style="yellow")
                break
            console.print(f"{what}: {who}, {repetition + 1} of {repetitions}", style="dim")
            try:
                runs[who].append(race.run(who))
            except FatalError as error:
                del runs[who]
                emit("failed", who=who, cell=what, why=str(error))
            else:
                emit("run", who=who, cell=what, **asdict(runs[who][-1]))
    failed = frozenset(present) - set(runs)
    return {who: found for who, found in runs.items() if found}, failed


def _ready(wanted: Sequence[Who], folder: Path) -> dict[Who, Command]:
    commands = {}
    for who in wanted:
        if who in OWN:
            continue
        try:
            commands[who] = ready(who, folder)
        except RequestError as error:
            emit("left out", who=who, why=str(error))
    return commands


def _tell(cell: Cell, size: int, runs: Mapping[Who, Sequence[Run]]) -> None:
    title = f"Peers, {cell}, {size:,} records a transaction, medians"
    table = Table("who", "delivery", "pass", "records/s", "CPU s / million", "MiB", title=title)
    warm: dict[Who, Throughput] = {}
    for who, found in runs.items():
        passes = [_median(each) for each in zip(*(run.passes for run in found), strict=True)]
        warm[who] = passes[-1]
        told = {"cold": passes[0], "warm": passes[-1]} if len(passes) > 1 else {"warm": passes[0]}
        worst = max((run.difference for run in found if run.difference is not None), default=None)
        memory = round(median(run.memory_mib for run in found))
        about = {"who": who, "cell": str(cell), "transaction_records": size, "memory_mib": memory}
        for heat, result in told.items():
            emit("peer", **about, heat=heat, runs=len(found), largest_difference=worst, **asdict(result))
            rate, cpu = f"{result.records_per_sec:,.0f}", f"{result.cpu_secs_per_million:.2f}"
            table.add_row(PEERS[who].title, PEERS[who].delivery, heat, rate, cpu, f"{memory:,}")
    console.print(table)
    for aim in AIMS:
        if aim.transaction_records == size and Who.NATIVE in warm and aim.beside in warm:
            _tell_aim(aim, warm[Who.NATIVE], warm[aim.beside], cell)


def _tell_aim(aim: Aim, ours: Throughput, theirs: Throughput, cell: Cell) -> None:
    rate = ours.records_per_sec / theirs.records_per_sec
    cpu = ours.cpu_secs_per_million / theirs.cpu_secs_per_million
    met = rate >= aim.rate and (aim.cpu is None or cpu <= aim.cpu)
    emit("aim", **asdict(aim), cell=str(cell), found_rate=round(rate, 2), found_cpu=round(cpu, 2), met=met)


def _median(values: Sequence[Throughput]) -> Throughput:
    return Throughput(
        round(median(value.records_per_sec for value in values)),
        round(median(value.cpu_secs_per_million for value in values), 2),
    )


@contextmanager
def _kafka(folder: Path) -> Iterator[KafkaSettings]:
    if bootstrap := os.environ.get("MILLRACE_TEST_BOOTSTRAP"):
        yield KafkaSettings(bootstrap=bootstrap)
        return
    with temporary_broker(LocalBroker(folder / "broker")) as broker:  # with all of Java's compilers: peaks are measured
        yield broker.kafka


def _stage(kafka: KafkaSettings, folder: Path, cell: Cell) -> Stage:
    name, home = f"perf-{uuid.uuid4().hex[:8]}", folder / "home"
    bundle = cell.bundle(folder / name, name)
    with Registry(kafka, Shelf.of(Settings(home=home)), who="perf") as registry:
        registry.push(bundle.directory)
    return Stage(kafka, home, folder, bundle.manifest.name, bundle.directory / "model.onnx")


def _cell(name: str) -> Cell:
    try:
        return Cell.named(name)
    except RequestError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.perf.peers", description=__doc__)
    present = [who for who in Who if who is not Who.NATIVE or native_library() is not None]
    parser.add_argument("--who", type=Who, nargs="+", default=present, help="who takes part (default everybody)")
    parser.add_argument(
        "--cells",
        type=_cell,
        nargs="+",
        default=[Cell.named("linear-30")],
        metavar="CELL",
        help=f"what is scored (default linear-30): {', '.join(MATRIX)}",
    )
    parser.add_argument(
        "--matrix", dest="cells", action="store_const", const=list(map(Cell.named, MATRIX)), help="all of these cells"
    )
    parser.add_argument("--repetitions", type=int, default=2, help="interleaved runs of each (default 2)")
    parser.add_argument("--minutes", type=float, default=8, help="no run begins later than this (default 8)")
    parser.add_argument(
        "--transactions", type=int, nargs="+", default=[20_000], metavar="RECORDS", help="sizes, one after the other"
    )
    parser.add_argument("--rate", type=int, metavar="RECORDS_PER_SEC", help="measure latency at this rate instead")
    parser.add_argument("--seconds", type=float, default=10, help="of each run at a rate (default 10)")
    parser.add_argument(
        "--linger-ms", type=int, default=1, help="how long a transaction at a rate collects records (default 1)"
    )
    return parser


if __name__ == "__main__":
    main()
