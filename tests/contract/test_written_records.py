"""What the code writes is what the schemas say."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import jsonschema
import numpy as np
import pytest

from docs.pages.topic_files import SCHEMAS, load_json
from millrace.codec.dead_letters import Circumstances, dead_letters
from millrace.codec.evidence import Span, pane_value
from millrace.codec.predictions import Identity, JsonPredictionEncoder
from millrace.codec.shadows import ShadowEncoder, read_shadow
from millrace.core.audit.decisions import RetrainReason, RetrainRequest, TrainingData, Trigger
from millrace.core.audit.pane import PaneKey
from millrace.core.audit.report import canonical_json
from millrace.core.columns import Decoded, FeatureColumns, Rejection
from millrace.core.errors import InvalidRecordError, Reason
from millrace.core.outputs import Outputs
from millrace.core.records import Headers, OutputBatch, RecordBatch
from millrace.core.rollout import PairCounts, RolloutMode, SequentialTest
from millrace.core.signature import Feature, ModelInput, Signature, Task
from millrace.process.retraining import read_loop_record, write_loop_record
from millrace_auditor.logic.rollout_documents import Decision, Pairing, decision_value
from millrace_scorer.logic.lineup import Lineup, Member, Trial, Worker
from millrace_scorer.logic.shedding import late_output, split_late

BINARY = Signature((Feature("x"),), (ModelInput("x", ("x",)),), Task.BINARY, "scores", classes=("no", "yes"))
VALUE = Signature((Feature("x"),), (ModelInput("x", ("x",)),), Task.REGRESSION, "y")
IDENTITY = Identity("rain", "weather", 3, "sha256:" + "0a" * 32)


def validator(subject: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(load_json(SCHEMAS / subject / "v1" / "schema.json"))


def records(count: int, headers: Headers | None = None) -> RecordBatch:
    numbers = np.arange(count, dtype=np.int64)
    return RecordBatch(
        "weather.features",
        np.full(count, 3, np.int32),
        numbers + 1042,
        numbers + 1_767_225_600_000,
        [b"bellevue"] * count,
        [b"{}"] * count,
        [headers] * count,
    )


def headers_of(output: OutputBatch, row: int) -> dict[str, str]:
    assert output.headers is not None
    return {name: (value or b"").decode() for name, value in output.headers[row] or ()}


def written(subject_output: OutputBatch, row: int) -> dict[str, Any]:
    """A record as examples write it down, without its bytes."""
    return {"key": None, "value": None, "headers": headers_of(subject_output, row)}


@pytest.mark.parametrize(
    ("signature", "outputs"),
    [
        (BINARY, Outputs(np.array([[0.25, 0.75], [1.0, 0.0]], np.float32), np.array([1, 0], np.intp))),
        (VALUE, Outputs(np.array([-1.5, 1e-30], np.float32), None)),
    ],
)
@pytest.mark.parametrize("bins", [None, [b"2", b"z"]])
@pytest.mark.parametrize("degraded", [False, True])
@pytest.mark.parametrize("ids", [None, ["día ☂", None]])
def test_predictions(
    signature: Signature,
    outputs: Outputs,
    bins: list[bytes] | None,
    degraded: bool,
    ids: list[str | None] | None,
) -> None:
    columns = FeatureColumns(signature, (np.zeros((2, 1), np.float32),))
    decoded = Decoded(columns, np.array([0, 0], np.intp), np.array([0, 1], np.int32), ids)
    encoder = JsonPredictionEncoder(IDENTITY, signature)
    values = encoder.encode(records(1), decoded, outputs, bins=bins, scored_at_ms=1_767_225_600_042, degraded=degraded)
    for value in values:
        validator("predictions").validate(json.loads(value))


@pytest.mark.parametrize("reason", Reason)
def test_dead_letters(reason: Reason) -> None:
    output = dead_letters(
        records(2, headers=[("id", b"day-1042")]),
        [Rejection(1, InvalidRecordError(reason, "what is wrong " * 100))],
        topic="rain.dlq",
        stage="decode",
        circumstances=Circumstances("rain", "weather/3", "scorer-rain"),
        failed_at_ms=1_767_225_600_042,
    )
    validator("dead-letters").validate(written(output, 0))


@pytest.mark.parametrize("log_evidence", [11.775, float("-inf"), 1e4])
def test_retrain_requests(log_evidence: float) -> None:
    request = RetrainRequest(
        model="weather",
        version=3,
        reason=RetrainReason.PERFORMANCE,
        trigger=Trigger("error_rate", 0.2, 0.43, log_evidence, 1e4, (0, 7_776_000_000)),
        alert_ids=("0d9bb7a5-1f2c-5c56-8a5e-0b1d5a1f1c11",),
        data=TrainingData(0, 1_000_000, labelled=10, coverage=0.5, by_score_bin=(0.5, None)),
        at_ms=1_000_000,
        expires_ms=2_000_000,
        policy_id="policy",
    )
    # The auditor adds whose predictions it audited, and the report that decided.
    value = canonical_json({**request.to_dict(), "deployment": "rain", "report_id": "1e0b1c3a"})
    validator("retrain-requests").validate(json.loads(value))
    read = read_loop_record(value, subject="the test")
    assert json.loads(write_loop_record(read))["trigger"]["windows"] == [
        "1970-01-01T00:00:00Z",
        "1970-04-01T00:00:00Z",
    ]
    assert read_loop_record(write_loop_record(read), subject="the test") == read


def test_late_records() -> None:
    _, late = split_late(records(2), wall_ms=1_767_225_700_000, shed_after=timedelta(seconds=60))
    output = late_output(late, topic="rain.late")
    assert len(output) == 2
    validator("late").validate(written(output, 1))


@pytest.mark.parametrize("mode", [RolloutMode.SHADOW, RolloutMode.CANARY])
@pytest.mark.parametrize(
    ("signature", "outputs"),
    [
        (BINARY, Outputs(np.array([[0.25, 0.75], [1.0, 0.0]], np.float32), np.array([1, 0], np.intp))),
        (VALUE, Outputs(np.array([-1.5, 1e-30], np.float32), None)),
    ],
)
def test_shadows(signature: Signature, outputs: Outputs, mode: RolloutMode) -> None:
    columns = FeatureColumns(signature, (np.zeros((2, 1), np.float32),))
    decoded = Decoded(columns, np.array([0, 0], np.intp), np.array([0, 1], np.int32), ["día ☂", None])
    answering = replace(IDENTITY, version=4, digest="sha256:" + "0b" * 32)
    encoder = ShadowEncoder(IDENTITY, answering, signature, mode)
    values = encoder.encode(records(1), decoded, outputs, outputs, bins=None, scored_at_ms=1_767_225_600_042)
    for value in values:
        validator("shadows").validate(json.loads(value))
        assert read_shadow(value)["beside"]["outputs"] == read_shadow(value)["outputs"]


@pytest.mark.parametrize("trial", [None, Trial(Member(4, "sha256:" + "0b" * 32), RolloutMode.CANARY, 0.1)])
@pytest.mark.parametrize("by", [None, Worker("a", "rain/scorer/0", 1_767_225_590_000, "5f2d1c0a5f2d1c0a")])
def test_handovers(trial: Trial | None, by: Worker | None) -> None:
    lineup = Lineup("weather", Member(3, IDENTITY.digest), trial, by)
    value = lineup.to_json(deployment="rain", first=records(1).coordinates(0), at_ms=1_767_225_600_042)
    validator("handovers").validate(json.loads(value))
    assert Lineup.from_json(value) == lineup


@pytest.mark.parametrize("counts", [PairCounts(352, 5, 43), PairCounts(0, 0, 1_000_000), PairCounts(1_000, 0, 0)])
def test_rollouts(counts: PairCounts) -> None:
    test = SequentialTest(max_pairs=1_000)
    decision = Decision("weather", Pairing(3, 4), test.judge(counts), test.threshold, 1_767_229_200_000)
    validator("rollouts").validate(json.loads(decision_value(decision)))
    key = PaneKey(version=4, segment=3, start_ms=1_767_225_600_000)
    validator("rollouts").validate(json.loads(pane_value("weather", key, 0, Span(0, 200), counts)))
