"""An auditor on the real broker: predictions and labels in, reports, alerts and requests out."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audit_stream import HEALTHY, STARTED_MS, Audited, Event, MakeAudited, events
from scorer_stream import Stream

from millrace.client.labels import Label, LabelOperation, send_labels
from millrace.core.audit.report import iso
from millrace.core.errors import RequestError
from millrace.core.records import Coordinates
from millrace.process.retraining import Refused
from millrace.testing.waiting import eventually


def finish(a: Audited, after: int) -> None:
    """Let event time pass on every partition, so that every window before is mature."""
    a.predict([Event(after + 300 + partition, 0.9, "yes") for partition in range(a.partitions)])


def window(number: int) -> str:
    return iso(STARTED_MS + number * 60_000)


def test_labels_after_and_before_their_predictions_count_in_the_window_of_the_event(audited: MakeAudited) -> None:
    # No window matures by these predictions alone: labels that are written after that would amend it.
    a = audited(partitions=2, label_horizon_secs=240)
    made = events(1, 0, 180)
    with a.running():
        a.label(made[60:120])
        a.predict(made)
        a.label(made[:60] + made[120:])
        finish(a, 180)
        reports = {report["window"]["start"]: report for report in a.wait_for("mature", 3)}
    for number in range(3):
        inside, report = made[number * 60 : number * 60 + 60], reports[window(number)]
        right = sum(event.predicted == event.truth for event in inside)
        assert report["counts"]["predictions"] == report["counts"]["labelled"] == 60
        assert report["performance"]["accuracy"]["value"] == pytest.approx(right / 60)
        assert report["inputs"] == {a.topic("predictions"): {str(p): [number * 30, number * 30 + 30] for p in (0, 1)}}


def test_labels_twice_corrected_taken_back_late_unknown_and_never(audited: MakeAudited) -> None:
    a = audited(correction_horizon_secs=60, orphan_ttl_secs=60)
    made = [Event(number, 0.9, "yes") for number in range(60)]
    with a.running():
        a.predict(made)
        a.label(made[:50])
        a.label(made[:5])  # twice
        a.label([Event(number, 0.9, "no") for number in range(5, 8)], revision=1)
        a.label(made[8:10], revision=1, operation=LabelOperation.RETRACT)
        a.label(made[50:52], delay_ms=61_000)  # past their horizon
        a.label([Event(52, 0.9, "perhaps")])
        a.label([Event(90, 0.9, "yes")])  # an event that was never scored
        eventually(lambda: len(a.records(a.topic("unjoined"))) >= 2, within=timedelta(seconds=120), what="late labels")
        finish(a, 60)
        [report] = [r for r in a.wait_for("mature", 1) if r["window"]["start"] == window(0)]
        eventually(lambda: len(a.records(a.topic("unjoined"))) == 3, within=timedelta(seconds=120), what="the orphan")
        aside = {(each["reason"], each["event_id"]) for each in a.documents(a.topic("unjoined"))}
    counts = report["counts"]
    assert counts["labelled"] == 48
    assert (counts["duplicates"], counts["corrections"], counts["late"]) == (5, 5, 2)
    assert (counts["unknown_labels"], counts["expired_unlabelled"]) == (1, 11)
    assert report["performance"]["accuracy"]["value"] == pytest.approx(45 / 48)
    place = Coordinates(a.topic("features"), 0, 50)
    assert ("late_label", str(place)) in aside
    assert ("orphan", str(Coordinates(a.topic("features"), 0, 90))) in aside


def test_a_correction_of_a_mature_window_amends_its_report(audited: MakeAudited) -> None:
    a = audited(correction_horizon_secs=3600)
    made = [Event(number, 0.9, "yes") for number in range(60)]
    with a.running():
        a.predict(made)
        a.label(made)
        finish(a, 60)
        [mature] = a.wait_for("mature", 1)
        a.label([Event(number, 0.9, "no") for number in range(6)], revision=1)
        [amended] = a.wait_for("amended", 1)
    assert mature["performance"]["accuracy"]["value"] == 1.0
    assert amended["performance"]["accuracy"]["value"] == pytest.approx(0.9)
    assert (mature["revision"], amended["revision"]) == (1, 2)
    assert mature["id"] != amended["id"]


def test_segments_add_up_and_versions_are_never_mixed(audited: MakeAudited, tmp_path: Path) -> None:
    a = audited(segment_by="b")
    a.push(tmp_path / "cheaper", rows=10_000)
    made = events(11, 0, 60)
    cheaper = [replace(event, number=event.number, version=2) for event in events(12, 60, 60, errors=0.5)]
    moved = [replace(event, number=event.number - 60) for event in cheaper]  # the same events, scored again
    with a.running():
        a.predict(made)
        a.predict(moved)
        a.label(made)
        finish(a, 60)
        eventually(lambda: len(a.wholes("mature")) == 2, within=timedelta(seconds=120), what="a report of each version")
        reports = a.reports("mature")
    for version, predicted in ((1, made), (2, moved)):
        [whole] = [each for each in reports if (each["version"], each["segment"]) == (version, "*")]
        parts = [each for each in reports if each["version"] == version and each["segment"] != "*"]
        right = sum(event.predicted == truth.truth for event, truth in zip(predicted, made, strict=True))
        assert whole["performance"]["accuracy"]["value"] == pytest.approx(right / 60)
        assert len(parts) == len({event.bins[1] for event in predicted})
        assert all(each["segment"].startswith("b=") for each in parts)
        for name in ("predictions", "labelled"):
            assert whole["counts"][name] == sum(each["counts"][name] for each in parts) == 60


def test_segments_need_a_feature_of_the_model(audited: MakeAudited) -> None:
    a = audited(segment_by="colour")
    with pytest.raises(RequestError, match="no feature 'colour'"), a.running():
        pass


@contextmanager
def running_until_killed(a: Audited, document: Path, log: Path) -> Iterator[None]:
    environment = {
        **os.environ,
        "MILLRACE_KAFKA__BOOTSTRAP": a.broker.bootstrap,
        "MILLRACE_HOME": str(a.settings.home),
    }
    command = [sys.executable, "-m", "millrace_auditor", "--file", str(document)]
    with log.open("ab") as output, subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process:
        try:
            yield
        finally:
            process.kill()


def wait_for_evidence(a: Audited, predictions: int) -> None:
    """Until every prediction so far has been counted."""

    def counted() -> int:
        try:
            documents = a.documents(a.topic("evidence"))
        except RequestError:  # the auditor has not made the topic yet
            return 0
        newest = {(d["start_ms"], d["partition"]): d["offsets"][1] for d in documents if "offsets" in d}
        after = dict.fromkeys(range(a.partitions), 0)
        for (_, partition), offset in newest.items():
            after[partition] = max(after[partition], offset)
        return sum(after.values())

    eventually(lambda: counted() == predictions, within=timedelta(seconds=120), what=f"evidence of {predictions}")


def test_bar_4_kill_9_partitions_order_and_replay_on_the_real_broker(audited: MakeAudited, tmp_path: Path) -> None:
    """Killed three times in mid-window; then once calmly in another order over other partitions; then once more whole.

    Evidence of one log is equal to the byte. Under another order or other partitions all but `inputs` is, because
    `inputs` says where records lay.
    """
    killed = audited(partitions=2, label_horizon_secs=400)  # the labels are a part of the events, and more, behind
    calm = audited(partitions=8, model=killed.model, label_horizon_secs=400)
    replayed = audited(partitions=2, model=killed.model, label_horizon_secs=400, labels=killed.topic("labels"))
    replayed.sink = {"predictions": killed.topic("predictions")}
    document = killed.write_document(tmp_path)
    made = events(2, 0, 300) + events(3, 300, 180, errors=0.6)
    parts = [made[start : start + 160] for start in range(0, 480, 160)]
    for number, part in enumerate(parts):
        with running_until_killed(killed, document, tmp_path / "log"):
            killed.predict(part)
            if number:
                killed.label(parts[number - 1])
            wait_for_evidence(killed, sum(map(len, parts[: number + 1])))
    killed.label(parts[-1])
    order = np.random.default_rng(4).permutation(480)
    shuffled = [made[int(row)] for row in order[np.argsort(order // 5, kind="stable")]]  # by less than out-of-orderness
    calm.predict(shuffled, source=killed)
    calm.label(shuffled, source=killed)
    for a in (killed, calm):
        finish(a, 480 + 400)
    for a in (killed, calm, replayed):
        with a.running():
            a.wait_for("mature", 8)
    reports = killed.newest("mature")
    assert replayed.newest("mature") == reports
    assert [without_inputs(value) for value in calm.newest("mature").values()] == [
        without_inputs(value) for value in reports.values()
    ]
    assert len(killed.reports("mature")) == len(reports) == 8
    requests = {a.name: [each["id"] for each in a.requests() if each["deployment"] == a.name] for a in (killed, calm)}
    assert len(requests[killed.name]) == 1
    assert requests[calm.name] == requests[killed.name]
    assert [each["id"] for each in killed.requests()] == requests[killed.name] * 3  # of each deployment


def without_inputs(value: bytes) -> dict[str, Any]:
    return {name: each for name, each in json.loads(value).items() if name != "inputs"}


def test_a_drifted_feature_raises_an_alert_that_names_it(audited: MakeAudited) -> None:
    a = audited()
    with a.running():
        healthy = events(3, 0, 180)
        drifted = events(4, 180, 180, bins=(HEALTHY, "789ab", HEALTHY))
        a.predict(healthy + drifted)
        a.label(healthy + drifted)
        finish(a, 360)
        a.wait_for("mature", 6)
        alerts = a.alerts()
    [raised] = [alert for alert in alerts if alert["signal"] == "drift" and alert["state"] == "raised"]
    assert raised["feature"] == "b"
    assert raised["windows"] >= [window(3)]
    assert a.requests() == []


def test_errors_ask_for_retraining_once_and_broken_data_blocks_it(audited: MakeAudited) -> None:
    worse, broken = audited(), audited()
    for a, bins in ((worse, (HEALTHY,) * 3), (broken, (HEALTHY, "000002", HEALTHY))):
        # The first windows are what it learns the baseline from: the bundle has none.
        a.predict(made := events(5, 0, 420) + events(6, 420, 420, errors=0.6, bins=bins))
        a.label(made)
        finish(a, 840)
        with a.running():
            a.wait_for("mature", 14)
    [request] = worse.requests()
    assert request["reason"] == "performance"
    assert request["trigger"]["baseline"] < request["trigger"]["observed"]
    assert broken.requests() == []
    quality = [alert for alert in broken.alerts() if alert["signal"] == "quality"]
    assert {alert["feature"] for alert in quality} == {"b"}


def test_an_answer_is_heard_once_and_lets_the_next_request_be_made(audited: MakeAudited) -> None:
    a = audited(cooldown_secs=60)
    a.predict(made := events(5, 0, 420) + events(6, 420, 420, errors=0.6))
    a.label(made)
    finish(a, 840)
    with a.running():
        a.wait_for("mature", 14)
    [request] = a.requests()
    assert request["data"]["label_snapshot_offsets"] == {a.topic("labels"): {"0": 840}}
    refused = Refused(loop_id=request["loop_id"], model=a.model, version=1, at=datetime.now(UTC), why="worse")
    a.answer(refused)
    a.answer(refused.model_copy(update={"loop_id": "of somebody else"}))
    with a.running():
        eventually(lambda: a.steps()[-1] == "noted", within=timedelta(seconds=120), what="the note")
    a.predict(more := events(7, 1200, 420, errors=0.6))
    a.label(more)
    finish(a, 1620)
    with a.running():
        a.wait_for("mature", 22)
    assert a.steps() == ["requested", "refused", "refused", "noted", "requested"]
    noted = a.requests()[3]
    assert (noted["loop_id"], noted["deployment"]) == (request["loop_id"], a.name)
    assert noted["event_time"] >= request["not_before"]


def test_bar_13_windows_close_when_the_producer_stops(audited: MakeAudited) -> None:
    a = audited(partitions=2, idle_after_secs=1, out_of_orderness_secs=0, label_horizon_secs=0)
    with a.running():
        a.predict([event for event in events(7, 0, 59) if event.number % 2 == 0])  # nothing in the other partition
        a.wait_for("closed", 1)


def test_partitions_that_change_hands_are_counted_once(audited: MakeAudited) -> None:
    a = audited(partitions=4)
    made = events(8, 0, 240)
    with a.running(slot=0):
        a.predict(made[:120])
        a.label(made[:60])
        wait_for_evidence(a, 120)
        with a.running(slot=1):
            a.predict(made[120:180])
            a.label(made[60:180])
            wait_for_evidence(a, 180)
    with a.running(slot=1):
        a.predict(made[180:])
        a.label(made[180:])
        finish(a, 240)
        reports = {report["window"]["start"]: report for report in a.wait_for("mature", 4)}
    for number in range(4):
        inside, report = made[number * 60 : number * 60 + 60], reports[window(number)]
        right = sum(event.predicted == event.truth for event in inside)
        assert report["counts"]["predictions"] == report["counts"]["labelled"] == 60
        assert report["counts"]["duplicates"] == 0
        assert report["performance"]["accuracy"]["value"] == pytest.approx(right / 60)


def test_what_a_scorer_wrote_is_audited_by_the_bundle_alone(audited: MakeAudited) -> None:
    a = audited()
    scored = Stream(a.broker, a.settings, a.name)
    values = np.random.default_rng(9).normal(size=(400, 3))
    values[:, 1] += 3  # the reference has no such feature b
    rows: list[bytes | None] = [json.dumps(dict(zip("abc", row, strict=True))).encode() for row in values.tolist()]
    with scored.running(), a.running():
        scored.send(rows, at_ms=STARTED_MS)
        scored.wait_for(400)
        truth = [Label(each["event_id"], each["outputs"]["label"], STARTED_MS + 1) for each in scored.predictions()]
        send_labels(a.broker.kafka, a.name, truth)
        scored.send(rows[:1], at_ms=STARTED_MS + 300_000)
        [report] = a.wait_for("mature", 1)
    assert report["counts"]["predictions"] == report["counts"]["labelled"] == 400
    assert report["counts"]["unreadable_bins"] == 0
    assert report["performance"]["accuracy"]["value"] == 1.0
    assert report["drift"][0]["feature"] == "b"
