"""What the auditor makes of the answers to retrain requests: which loops have ended, and when it was that it heard."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from millrace.core.audit.windows import NO_TIME
from millrace.core.errors import RequestError
from millrace.process.retraining import (
    ENDS,
    LoopAnswer,
    Noted,
    Promoted,
    Requested,
    read_loop_record,
    write_loop_record,
)
from millrace_auditor.logic.judge import LoopEnd

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def read_answers(values: Iterable[bytes | None]) -> list[Requested | LoopAnswer]:
    """The records of loops. What is none is passed over: the trainer reports it."""
    records = []
    for value in values:
        try:
            records.append(read_loop_record(value, subject="a retrain request"))
        except RequestError:
            continue
    return records


def ends_heard(records: Sequence[Requested | LoopAnswer], at_ms: int) -> list[LoopEnd]:
    """The loops that end with these records, which are heard at this event time for the first time."""
    return [_end(record, at_ms) for record in records if isinstance(record, ENDS)]


def ends_noted(records: Sequence[Requested | LoopAnswer], deployment: str) -> list[LoopEnd]:
    """The ends of a deployment's loops in the whole log, each at the event time at which its auditor has noted it.

    An end that was never noted counts from before all time: no decision was made without it.
    """
    noted = {each.loop_id: each for each in records if isinstance(each, Noted) and each.deployment == deployment}
    asked = {each.loop_id for each in records if isinstance(each, Requested) and each.deployment == deployment}
    at_ms = {loop_id: (note.event_time - _EPOCH) // timedelta(milliseconds=1) for loop_id, note in noted.items()}
    return [
        _end(record, at_ms.get(record.loop_id, NO_TIME))
        for record in records
        if isinstance(record, ENDS) and record.loop_id in asked | noted.keys()
    ]


def note(end: LoopEnd, *, model: str, deployment: str) -> bytes:
    """The record that fixes when the end of a loop was heard."""
    record = Noted(
        loop_id=end.loop_id,
        model=model,
        version=end.version,
        deployment=deployment,
        event_time=_EPOCH + timedelta(milliseconds=end.at_ms),
        why="the loop has ended" if end.promoted is None else f"version {end.promoted} took over and is guarded now",
    )
    return write_loop_record(record)


def _end(record: LoopAnswer, at_ms: int) -> LoopEnd:
    promoted = record.candidate if isinstance(record, Promoted) else None
    return LoopEnd(at_ms, record.loop_id, record.version, promoted)
