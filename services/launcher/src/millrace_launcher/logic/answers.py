"""The four questions that everybody asks of a model in production, answered with a deployment's own numbers.

How do you observe it? How do you know if it fails? Do you have a feedback loop? Is the load balanced?
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from statistics import fmean
from typing import Any, Final, TypeAlias

from millrace.core.control.fleet import Slot
from millrace_launcher.logic.series import EVERY
from millrace_launcher.logic.status import State, Status

EVEN: Final = 0.15
"""How far a process's share may be from an even one, as a part of that."""

_POINTS: Final = int(timedelta(minutes=1) / EVERY)
_FIGURES: Final = ("done_rate", "dead_letter_rate", "lag", "p99_ms")
_SCORER: Final = "scorer"
_BALANCED: Final = (_SCORER, "gateway")
_AUDITOR, _TRAINER = "auditor", "trainer"


class Light(StrEnum):
    """What an answer comes to."""

    GREEN = "green"
    YELLOW = "yellow"
    """Nothing is broken, and somebody should look."""
    RED = "red"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        question: The question.
        light: What the answer comes to.
        says: The answer, in one line.
        numbers: What it rests on, as it is now.
        evidence: Where to look further: topics, addresses, commands.
    """

    question: str
    light: Light
    says: str
    numbers: Mapping[str, Any]
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pace:
    """What a process did lately.

    Attributes:
        done_rate: Records, or requests, a second.
        dead_letter_rate: Records a second that it could not score.
        lag: Records that wait for it; None where it has no input.
        p99_ms: 99th percentile of the latency; None without records.
    """

    done_rate: float
    dead_letter_rate: float = 0.0
    lag: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """What is known of a deployment.

    Attributes:
        status: How it fares.
        paces: What its processes did lately, as far as they have told.
        slo_ms: The latency that it promises, in milliseconds.
        labels_topic: Where the truth comes from.
        window: The auditor's newest report, as its topic has it; None where there is none.
        alerts: The alerts that are open, in words.
        endpoints: Where each process serves its metrics, by slot.
    """

    status: Status
    paces: Mapping[Slot, Pace]
    slo_ms: float
    labels_topic: str
    window: Mapping[str, Any] | None = None
    alerts: Sequence[str] = ()
    endpoints: Mapping[Slot, str] = field(default_factory=dict)


Question: TypeAlias = Callable[[Findings], Answer]


def answer(findings: Findings) -> tuple[Answer, ...]:
    """The four answers, in the order of the questions."""
    return tuple(question(findings) for question in (_observed, _failing, _feedback, _balanced))


def _observed(found: Findings) -> Answer:
    scorers = _of(found, _SCORER)
    lags = [pace.lag for pace in scorers.values() if pace.lag is not None]
    latencies = [pace.p99_ms for pace in scorers.values() if pace.p99_ms is not None]
    numbers = {
        "records_per_sec": round(sum(pace.done_rate for pace in scorers.values()), 1),
        "lag_records": sum(lags) if lags else None,
        "p99_ms": round(max(latencies), 1) if latencies else None,
        "slo_ms": found.slo_ms,
        "measured": len(found.paces),
        "processes": len(found.endpoints),
    }
    if not found.endpoints:
        light, says = Light.RED, "nothing runs, so there is nothing to see"
    elif len(found.paces) < len(found.endpoints):
        light = Light.YELLOW
        says = f"{len(found.paces)} of {len(found.endpoints)} processes have told figures; the first come after 10 s"
    else:
        slow = f", p99 {numbers['p99_ms']:g} of {found.slo_ms:g} ms" if latencies else ""
        light = Light.GREEN
        says = f"{numbers['records_per_sec']:,.10g} records/s, {numbers['lag_records'] or 0:,.0f} waiting{slow}"
    name = found.status.name
    metrics = (f"{url}/metrics" for _, url in sorted(found.endpoints.items()))
    return Answer("How do you observe it?", light, says, numbers, (f"millrace watch {name}", *metrics))


def _failing(found: Findings) -> Answer:
    status = found.status
    crashes = sum(slot.assignment.crashes for slot in status.slots if slot.assignment is not None)
    dead = sum(pace.dead_letter_rate for pace in found.paces.values())
    numbers = {
        "ready": status.ready,
        "desired": status.desired,
        "crashes": crashes,
        "dead_letters_per_sec": round(dead, 3),
        "open_alerts": len(found.alerts),
    }
    if status.state is not State.READY:
        light, says = Light.RED, f"{status.ready} of {status.desired} processes are ready: {status.why or status.state}"
    elif found.alerts or dead:
        light = Light.YELLOW
        says = found.alerts[0] if found.alerts else f"{dead:.3g} records/s cannot be scored"
    else:
        light = Light.GREEN
        says = f"all {status.desired} processes are ready, no alert is open, every record is scored"
    name = status.name
    evidence = (f"millrace why {name}", f"{name}.dlq", "millrace.processes", "millrace.alerts")
    return Answer("How do you know if it fails?", light, says, numbers, evidence)


def _feedback(found: Findings) -> Answer:
    kinds = {slot.slot.kind for slot in found.status.slots if slot.state is State.READY}
    window = found.window or {}
    coverage = (window.get("coverage") or {}).get("overall")
    performance = {name: figure["value"] for name, figure in (window.get("performance") or {}).items()}
    numbers = {
        "auditor": _AUDITOR in kinds,
        "trainer": _TRAINER in kinds,
        "labelled": None if coverage is None else round(coverage, 3),
        "window_end": (window.get("window") or {}).get("end"),
        **performance,
    }
    name = found.status.name
    if _AUDITOR not in kinds:
        light = Light.YELLOW
        says = f"no: nobody compares with the truth; `millrace scale {name} auditors=1`, labels to {found.labels_topic}"
    elif not found.window:
        light, says = Light.YELLOW, f"an auditor waits for labels on {found.labels_topic}; no window is reported yet"
    elif _TRAINER not in kinds:
        light, says = Light.YELLOW, f"half of one: {_performance(performance)}, and no trainer answers retrain requests"
    else:
        light, says = Light.GREEN, f"yes: {_performance(performance)}, and a trainer answers retrain requests"
    evidence = (f"{name}.audits", found.labels_topic, "millrace.retrain-requests", f"millrace audit {name}")
    return Answer("Do you have a feedback loop?", light, says, numbers, evidence)


def _balanced(found: Findings) -> Answer:
    shares: dict[str, float] = {}
    for kind in _BALANCED:
        shares |= shares_of(_of(found, kind))
    running = [s.slot for s in found.status.slots if s.slot.kind in _BALANCED and s.state is State.READY]
    farthest = max((abs(share - 1) for share in shares.values()), default=0.0)
    numbers = {"shares": shares, "limit": EVEN}
    evidence = tuple(f"millrace.processes: {slot}" for slot in sorted(running))
    if not shares:
        light = Light.YELLOW if running else Light.RED
        says = "no process has told yet how much it does" if running else "nothing runs that could share a load"
    elif farthest <= EVEN:
        light, says = Light.GREEN, f"yes: {_shares(shares)} of an even share"
    else:
        light, says = Light.YELLOW, f"no: {_shares(shares)} of an even share; partitions and keys decide who gets what"
    return Answer("Is the load balanced?", light, says, numbers, evidence)


def pace_of(series: Mapping[str, Sequence[Any]]) -> Pace | None:
    """What a process did in the last minute.

    Args:
        series: Its figures, as `millrace_launcher.logic.series` has them.
    """
    last = {name: [each for each in series[name][-_POINTS:] if each is not None] for name in _FIGURES}
    if not last["done_rate"]:
        return None
    lag, p99 = last["lag"], last["p99_ms"]
    return Pace(
        done_rate=fmean(last["done_rate"]),
        dead_letter_rate=fmean(last["dead_letter_rate"]),
        lag=lag[-1] if lag else None,
        p99_ms=p99[-1] if p99 else None,
    )


def shares_of(paces: Mapping[Slot, Pace]) -> dict[str, float]:
    """What each process does, as a part of what it would do if all did the same; nothing where none does anything."""
    total = sum(pace.done_rate for pace in paces.values())
    if not total:
        return {}
    even = total / len(paces)
    return {str(slot): round(pace.done_rate / even, 3) for slot, pace in sorted(paces.items())}


def _of(found: Findings, kind: str) -> dict[Slot, Pace]:
    return {slot: pace for slot, pace in found.paces.items() if slot.kind == kind}


def _shares(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{slot} {share:.0%}" for slot, share in shares.items())


def _performance(figures: Mapping[str, float | None]) -> str:
    known = [f"{name} {value:.3g}" for name, value in figures.items() if value is not None]
    return ", ".join(known[:2]) or "drift is measured, labels are not there yet"
