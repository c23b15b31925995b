"""The job `evidence` beside the auditor's join: the same keys, the same bytes."""

import uuid
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from audit_stream import Audited, events
from flink_jobs import Flink

from millrace.client.labels import LabelOperation
from millrace.core.errors import RequestError
from millrace.process.settings import Settings
from millrace.testing.broker import Broker
from millrace.testing.waiting import eventually


def evidence(audited: Audited, topic: str) -> dict[bytes, bytes]:
    """The newest value of each key."""
    try:
        records = audited.records(topic)
    except RequestError:  # nobody has made the topic yet
        return {}
    return {key or b"": value or b"" for key, value in zip(records.keys, records.values, strict=True)}


def panes(found: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {key: value for key, value in found.items() if not key.startswith(b"progress/")}


def test_s24_flink_leaves_the_evidence_of_the_auditors_join(
    broker: Broker, settings: Settings, flink: Flink, tmp_path: Path
) -> None:
    name = f"e-{uuid.uuid4().hex[:10]}"
    a = Audited(broker, settings, name, 2, {"segment_by": "a", "correction_horizon_secs": 600})
    a.push(tmp_path / "first", rows=20_000)
    a.push(tmp_path / "second", rows=10_000)
    made = [replace(event, version=1 + (event.number >= 300)) for event in events(7, 0, 600)]
    a.predict(made)
    a.predict(made[40:60])  # told twice
    a.label(made[:500], delay_ms=5_000)
    a.label(made[100:140], delay_ms=6_000)  # told twice, at another time
    a.label([replace(event, truth="no") for event in made[200:260]], delay_ms=90_000, revision=1)  # corrected
    a.label(made[260:280], delay_ms=20_000, revision=2, operation=LabelOperation.RETRACT)
    a.label(made[500:550], delay_ms=3_600_000)  # an hour is too late
    a.label(events(8, 100_000, 5))  # of events that nobody has predicted
    flink.run("evidence", "--file", str(a.write_document(tmp_path)), "--to", a.topic("by-flink"), "--parallelism", "2")
    ours = evidence(a, a.topic("by-flink"))
    assert len(panes(ours)) > 20
    with a.running():
        eventually(
            lambda: panes(evidence(a, a.topic("evidence"))) == panes(ours),
            within=timedelta(minutes=5),
            what="the auditor has the same evidence",
        )
    assert {key for key in ours if key.startswith(b"progress/")} == {b"progress/0", b"progress/1"}
