"""What happened when, in event time: alerts, requests for better versions, and which version was in force."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from millrace.client.audits import AuditAlert
from millrace.client.report.material import Material
from millrace.client.report.model import Happening, Mark, Table
from millrace.client.report.words import listed, moment, number
from millrace.process.retraining import Failed, LoopAnswer, Noted, Proposed, Refused, Rejected, Requested

_ALERTS: Final = {
    "raised": Happening.RAISED,
    "escalated": Happening.ESCALATED,
    "cleared": Happening.CLEARED,
}


def marks_of(material: Material) -> tuple[Mark, ...]:
    """Everything to mark, oldest first; what is alike and happened at once is one mark."""
    together: defaultdict[tuple[datetime, Happening], list[str]] = defaultdict(list)
    for at, happening, text in (*_alerts(material), *_loops(material), *_versions(material)):
        together[at, happening].append(text)
    return tuple(
        Mark(at, happening, _joined(texts))
        for (at, happening), texts in sorted(together.items(), key=lambda item: item[0][0])
    )


def alert_table(material: Material) -> Table:
    """Every change of an alert, newest first."""
    rows = [
        (
            moment(_decided_at(alert, material), material.hop),
            alert.state,
            alert.signal.replace("_", " "),
            f"{alert.model}/{alert.version}",
            about(alert),
            number(alert.effect),
            number(alert.log_evidence),
            alert.note,
        )
        for alert in reversed(material.alerts)
    ]
    columns = ("event time", "state", "signal", "version", "about", "effect", "ln evidence", "note")
    return Table(columns, tuple(rows), frozenset({"effect", "ln evidence"}))


def about(alert: AuditAlert) -> str:
    """The feature, or the metric where it is about none."""
    return alert.feature if alert.feature not in {"", "*"} else alert.metric.replace("_", " ") or alert.signal


def _alerts(material: Material) -> Iterator[tuple[datetime, Happening, str]]:
    for alert in material.alerts:
        yield _decided_at(alert, material), _ALERTS[alert.state], about(alert)


def _loops(material: Material) -> Iterator[tuple[datetime, Happening, str]]:
    """An answer knows only the clock's time. It stands where the auditor heard of it, or else at its request."""
    asked = {record.loop_id: record.data.end for record in material.loops if isinstance(record, Requested)}
    heard = {record.loop_id: record.event_time for record in material.loops if isinstance(record, Noted)}
    for record in material.loops:
        at = asked.get(record.loop_id)
        if at is None:
            continue
        if isinstance(record, Requested):
            yield at, Happening.REQUESTED, record.reason.value
        else:
            yield from _answer(record, heard.get(record.loop_id, at))


def _answer(record: LoopAnswer, at: datetime) -> Iterator[tuple[datetime, Happening, str]]:
    if isinstance(record, Refused | Rejected | Failed):
        yield at, Happening.REFUSED, record.type.split(".")[1]
    elif isinstance(record, Proposed):
        yield at, Happening.PROPOSED, f"v{record.candidate}"


def _versions(material: Material) -> Iterator[tuple[datetime, Happening, str]]:
    """Which version predicts is taken from the predictions: it is also true where a person has promoted one."""
    seen: set[int] = set()
    for era in material.eras:
        if seen:
            yield era.start, Happening.ROLLED_BACK if era.version in seen else Happening.PROMOTED, f"v{era.version}"
        seen.add(era.version)


def _decided_at(alert: AuditAlert, material: Material) -> datetime:
    """The end of the window that decided."""
    return alert.windows[0] + material.size if alert.windows else material.made_at


def _joined(texts: list[str]) -> str:
    names = list(dict.fromkeys(texts))
    return names[0] if len(names) == 1 else f"{names[0]} +{len(names) - 1}"


def outside(marks: tuple[Mark, ...], material: Material) -> str:
    """Says which marks lie outside the windows that are drawn, and therefore are not; empty where all are drawn."""
    if not material.audits:
        return ""
    first, last = material.leading[0].window.start, material.leading[-1].window.end
    beyond = sorted({mark.happening.value for mark in marks if not first <= mark.at <= last})
    said = f"Outside the time that is drawn, and therefore only in the tables below: {listed(beyond, most=8)}."
    return said if beyond else ""
