"""The section about retraining: every request for a better version, and what came of it."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, assert_never

from millrace.client.report.material import Material
from millrace.client.report.model import Section, Table
from millrace.client.report.words import count, moment, number
from millrace.process.retraining import (
    Accepted,
    Completed,
    Failed,
    Interval,
    LoopAnswer,
    Noted,
    Promoted,
    Proposed,
    Refused,
    Rejected,
    Requested,
)

_COLUMNS: Final = ("loop", "version", "asked for", "accepted", "result", "outcome", "in force from")


def loops_section(material: Material) -> Section:
    """One row a loop, newest first."""
    loops = _by_loop(material.loops)
    if not loops:
        model = material.audits[-1].model if material.audits else "MODEL"
        missing = (
            "Nobody has asked for a better version. The auditor does when performance on mature windows falls; "
            f"a person does with millrace retrain {model}."
        )
        return Section("retraining", "Retraining", missing=missing)
    promoted = sum(any(isinstance(record, Promoted) for record in loop) for loop in loops.values())
    text = (
        f"{count(len(loops), 'request')} for a better version, {promoted:,} with a promotion. Requests, and since when "
        "a version is in force, are in event time; answers are in the time of the clock.",
    )
    rows = tuple(_row(loop, material) for loop in reversed(loops.values()))
    return Section("retraining", "Retraining", text, table=Table(_COLUMNS, rows))


def _by_loop(records: Iterable[Requested | LoopAnswer]) -> dict[str, list[Requested | LoopAnswer]]:
    """The records of each loop but for notes; of one whose request is not among them there is nothing to say."""
    loops: dict[str, list[Requested | LoopAnswer]] = {}
    for record in records:
        if isinstance(record, Requested):
            loops.setdefault(record.loop_id, []).append(record)
        elif record.loop_id in loops and not isinstance(record, Noted):
            loops[record.loop_id].append(record)
    return loops


def _row(loop: Sequence[Requested | LoopAnswer], material: Material) -> tuple[str, ...]:
    request = loop[0]
    accepted = next((moment(record.at) for record in loop if isinstance(record, Accepted)), "–")
    result = next((_result(record) for record in loop if isinstance(record, Completed)), "–")
    outcome = _outcome(loop[-1])
    candidate = next((record.candidate for record in loop if isinstance(record, Completed | Promoted)), None)
    from_when = "–" if candidate is None else _in_force(material, candidate)
    asked = _asked(request) if isinstance(request, Requested) else "–"
    return request.loop_id[:8], f"v{request.version}", asked, accepted, result, outcome, from_when


def _asked(request: Requested) -> str:
    trigger, asked = request.trigger, f"{moment(request.data.end)}: {request.reason.value}"
    if trigger.observed is None or trigger.baseline is None:
        return asked
    signal = trigger.signal.replace("_", " ")
    return f"{asked}, {signal} {number(trigger.observed)} against {number(trigger.baseline)}"


def _result(record: Completed) -> str:
    tested = record.evaluation
    return (
        f"{tested.metric} {_interval(tested.candidate)} against {_interval(tested.champion)} on {tested.rows:,} later "
        f"records, p = {tested.p_value:.2g}; learned from {record.dataset.train:,}"
    )


def _interval(measured: Interval) -> str:
    return f"{number(measured.value)} ({number(measured.lower)} to {number(measured.upper)})"


def _outcome(last: Requested | LoopAnswer) -> str:
    match last:
        case Promoted():
            return f"v{last.candidate} promoted {moment(last.at)}: {last.why}"
        case Proposed():
            return f"v{last.candidate} proposed {moment(last.at)}: {last.why}. A person decides: millrace model promote"
        case Refused() | Failed() | Rejected():
            return f"{last.type.split('.')[1]} {moment(last.at)}: {last.why}"
        case Completed():
            return f"{last.verdict.value} decided: {last.why}"
        case Accepted():
            return "at work"
        case Requested() | Noted():
            return "not answered yet: is the trainer running?"
        case _:
            assert_never(last)


def _in_force(material: Material, version: int) -> str:
    starts: list[datetime] = [era.start for era in material.eras if era.version == version]
    return moment(starts[0], material.hop) if starts else "–"
