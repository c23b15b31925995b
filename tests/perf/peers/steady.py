"""Everybody's latency at a steady rate, from the sending of a record to a committed read of what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from statistics import median
from typing import Final

from rich.table import Table

from millrace.core.errors import FatalError
from tests.perf.peers.peers import PEERS, Who
from tests.perf.peers.race import Paced, Race
from tests.perf.telling import console, emit

P99_AIM: Final = 2.0
"""Millrace's 99th percentile is at most so many times the relay's."""

_OURS: Final = (Who.NATIVE, Who.SCORER)


def measure(
    race: Race, present: Sequence[Who], rate: int, span: timedelta, *, linger_ms: int, repetitions: int
) -> frozenset[Who]:
    """Let everybody work at the rate for so long, in turns, and tell medians and the aim. Who failed.

    A round before those that count is for a broker that has just started, whose compilers the first one waits for.
    """
    found: dict[Who, list[Paced]] = {who: [] for who in present}
    for repetition in range(repetitions + 1):
        for who in list(found):
            console.print(f"{rate} records/s: {who}, {repetition} of {repetitions}", style="dim")
            try:
                paced = race.pace(who, rate, span, linger_ms=linger_ms)
            except FatalError as error:
                del found[who]
                emit("failed", who=who, rate=rate, why=str(error))
                continue
            if repetition:
                found[who].append(paced)
                emit("latency run", who=who, rate=rate, linger_ms=linger_ms, **asdict(paced))
    tell(found, rate, linger_ms)
    return frozenset(present) - set(found)


def tell(found: Mapping[Who, Sequence[Paced]], rate: int, linger_ms: int) -> None:
    """Medians of everybody, and whether the aim is met."""
    table = Table(
        "who", "p50 ms", "p99 ms", "p99.9 ms", "cores", "MiB", title=f"Latency at {rate:,} records/s, medians"
    )
    p99s: dict[Who, float] = {}
    for who, runs in found.items():
        p50, p99, p999 = (
            median(getattr(run.latency, name) for run in runs) for name in ("p50_ms", "p99_ms", "p999_ms")
        )
        cores, memory = median(run.cores for run in runs), median(run.memory_mib for run in runs)
        p99s[who] = p99
        emit(
            "latency",
            who=who,
            rate=rate,
            linger_ms=linger_ms,
            runs=len(runs),
            p50_ms=p50,
            p99_ms=p99,
            p999_ms=p999,
            cores=cores,
            memory_mib=memory,
        )
        table.add_row(PEERS[who].title, f"{p50:.1f}", f"{p99:.1f}", f"{p999:.1f}", f"{cores:.2f}", f"{memory:.0f}")
    console.print(table)
    for who in _OURS:
        if who in p99s and Who.RELAY in p99s:
            times = p99s[who] / p99s[Who.RELAY]
            emit(
                "aim",
                who=who,
                beside=Who.RELAY,
                linger_ms=linger_ms,
                p99=P99_AIM,
                found_p99=round(times, 2),
                met=times <= P99_AIM,
            )
