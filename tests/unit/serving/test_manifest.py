import json
from pathlib import Path
from typing import Any

import pytest

from millrace.core.errors import RequestError
from millrace.core.signature import DType, ExtraFields, Feature, ModelInput, NotFinite, Signature, Task
from millrace.process.retraining import OffsetRange
from millrace.serving.manifest import Manifest, SignatureDocument, TrainingSource
from millrace.testing.models import linear_bundle

SIGNATURE = Signature(
    features=(
        Feature("city", DType.STRING),
        Feature("image", shape=(2, 3)),
        Feature("x", DType.FLOAT64, nullable=True),
    ),
    inputs=(ModelInput("a", ("city",)), ModelInput("b", ("image",)), ModelInput("c", ("x",))),
    task=Task.MULTICLASS,
    score_output="scores",
    label_output="label",
    classes=("red", "green", "blue"),
    not_finite=NotFinite.ALLOW,
    extra_fields=ExtraFields.REJECT,
)


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(linear_bundle(tmp_path / "bundle").manifest.to_json())
    return document


def test_a_signature_survives_its_document() -> None:
    document = SignatureDocument.of(SIGNATURE)
    assert SignatureDocument.model_validate_json(document.model_dump_json()).signature() == SIGNATURE


def test_a_manifest_survives_its_form(document: dict[str, Any]) -> None:
    manifest = Manifest.from_json(json.dumps(document).encode(), subject="test")
    with_source = manifest.model_copy(
        update={
            "training": TrainingSource(
                topics=(OffsetRange(topic="t", partition=0, first_offset=1, next_offset=9),), files=("a.csv",), rows=8
            )
        }
    )
    assert Manifest.from_json(with_source.to_json(), subject="test") == with_source


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Weather"}, "name: should match"),
        ({"name": "../weather"}, "name: should match"),
        ({"format": 2}, "format"),
        ({"pickle": "x"}, "pickle: no such setting"),
        ({"runtime": "pickle"}, "runtime"),
        ({"runtime": "python"}, "a python model names its function"),
        ({"function": "os:system"}, "a python model names its function"),
        ({"runtime": "python", "function": "os.system('x')"}, "function: should match"),
        ({"profile": "sha256:0"}, "profile"),
        ({"created_at": "2026-01-01T00:00:00"}, "created_at"),
        ({"training": {"rows": "many"}}, r"training\.rows"),
        (
            {"training": {"topics": [{"topic": "t", "partition": 0, "first_offset": 5, "next_offset": 4}]}},
            "next_offset is before",
        ),
    ],
)
def test_a_wrong_manifest_is_refused_where_it_is_wrong(
    document: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(RequestError, match=words):
        Manifest.from_json(json.dumps({**document, **changes}).encode(), subject="test")


def test_a_signature_that_contradicts_itself_is_refused(document: dict[str, Any]) -> None:
    document["signature"]["classes"] = ["only one"]
    with pytest.raises(RequestError, match="a binary model has 1 classes"):
        Manifest.from_json(json.dumps(document).encode(), subject="test")


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"{", b"[" * 100_000])
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(RequestError, match="test"):
        Manifest.from_json(data, subject="test")
