"""A deployment and a model agree about the transform, or are told what is wrong with both fingerprints."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from millrace.core.errors import RequestError
from millrace.process.deployment import Deployment
from millrace.serving.agreement import check_transform
from millrace.serving.catalogue import VersionEntry
from millrace.serving.transforms import TransformEntry, add_transform
from millrace.transform import Program, Transform

AT = datetime(2026, 11, 23, tzinfo=UTC)
WINDOW = {
    "step": "window",
    "key": ["k"],
    "time": "t",
    "size_secs": 60,
    "aggregates": [{"into": "n", "function": "count"}],
}


def entry(program: Program, table: dict[str, Any]) -> TransformEntry:
    made, _ = add_transform(table, program, AT)
    table[made.key] = made.model_dump(mode="json")
    return made


def clip(low: float, name: str = "weather") -> Program:
    document = {"transform": name, "input": [{"name": "x"}], "steps": [{"step": "clip", "columns": ["x"], "low": low}]}
    return Program.of(Transform.parse(document, subject="t"))


def version(fingerprint: str | None) -> VersionEntry:
    digest = "sha256:" + "0" * 64
    return VersionEntry.model_validate(
        {
            "name": "rain",
            "version": 4,
            "digest": digest,
            "runtime": "onnx",
            "task": "binary",
            "features": 1,
            "profile": digest,
            "transform": fingerprint,
            "bytes": 1,
            "created_at": AT,
            "pushed_at": AT,
        },
        strict=False,
    )


def deployment(transform: str | None) -> Deployment:
    document = {"deployment": "rain", "source": {"topic": "weather.features"}, "model": "rain"}
    return Deployment.parse({**document, **({"transform": transform} if transform else {})}, subject="rain")


def test_the_models_own_transform_agrees_by_version_and_by_name() -> None:
    table: dict[str, Any] = {}
    first, second = entry(clip(0), table), entry(clip(1), table)
    for wanted in (None, "weather/1", "weather"):
        check_transform(table, deployment(wanted), version(first.fingerprint))
    check_transform(table, deployment("weather"), version(second.fingerprint))


@pytest.mark.parametrize("wanted", ["weather/2", "other"])
def test_another_transform_is_refused_with_both_fingerprints(wanted: str) -> None:
    table: dict[str, Any] = {}
    own = entry(clip(0), table)
    others = {"weather/2": entry(clip(1), table), "other": entry(clip(0, "other"), table)}
    with pytest.raises(RequestError) as caught:
        check_transform(table, deployment(wanted), version(own.fingerprint))
    assert others[wanted].fingerprint in caught.value.message
    assert f"rain/4 was trained with weather/1 ({own.fingerprint})" in caught.value.message
    assert wanted in caught.value.remedy


def test_a_model_without_a_transform_and_one_that_is_not_registered_are_told_so() -> None:
    table: dict[str, Any] = {}
    entry(clip(0), table)
    with pytest.raises(RequestError, match="rain/4 was trained with none"):
        check_transform(table, deployment("weather"), version(None))
    unknown = "sha256:" + "f" * 64
    with pytest.raises(RequestError, match=f"rain/4 was trained with {re.escape(unknown)}"):
        check_transform(table, deployment("weather"), version(unknown))
    with pytest.raises(RequestError, match="there is no transform 'sun'"):
        check_transform(table, deployment("sun"), version(None))


def test_a_transform_with_windows_is_no_scorers() -> None:
    table: dict[str, Any] = {}
    columns = [{"name": "k", "type": "string"}, {"name": "t", "type": "timestamp"}]
    windows = Transform.parse({"transform": "hourly", "input": columns, "steps": [WINDOW]}, subject="t")
    made = entry(Program.of(windows), table)
    with pytest.raises(RequestError, match=r"step 1 \(window\).*let a topology write"):
        check_transform(table, deployment("hourly"), version(made.fingerprint))
