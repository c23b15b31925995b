"""Every example is what its folder says, for the JSON Schema and for the code that reads such records.

`valid`: both accept it. `invalid`: both refuse it; the file's name says which rule it breaks. `inconsistent`: its parts
contradict each other in a way that only code can say.
"""

import base64
import io
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import fastavro
import jsonschema
import numpy as np
import pytest

from docs.pages.schemas import WEATHER
from docs.pages.topic_files import SCHEMAS, Format, load_json, topic_files
from millrace.client.audits import read_alert, read_audit
from millrace.codec.dead_letters import read_dead_letter
from millrace.codec.evidence import Unjoined, read_evidence
from millrace.codec.json import JsonDecoder
from millrace.codec.limits import Limits
from millrace.codec.reading import read_label, read_prediction
from millrace.codec.schemas import LABEL_AVRO_SCHEMA, PREDICTION_AVRO_SCHEMA
from millrace.codec.shadows import read_shadow
from millrace.core.errors import InvalidRecordError, MillraceError, Reason, RequestError
from millrace.core.records import Coordinates, RecordBatch
from millrace.kafka.copies import read_copy
from millrace.kafka.history import HistoryRecord, verify
from millrace.kafka.receipts import read_receipt
from millrace.process.deployment import Deployment
from millrace.process.fleet import ASSIGNMENTS, HEARTBEATS, PROCESSES
from millrace.process.jobs import JOBS
from millrace.process.keys import KEYS
from millrace.process.retraining import read_loop_record
from millrace.serving.catalogue import AliasEntry, EvaluationEntry, LatencyEntry, VersionEntry, read_entry
from millrace.serving.transforms import TransformEntry
from millrace_auditor.logic.rollout_documents import read_rollout_record
from millrace_scorer.logic.lineup import Lineup

CONFLUENT_FRAME: Final = b"\x00" + (7).to_bytes(4, "big")
TOLERATED: Final = {
    "predictions/v1/examples/invalid/digest-not-sha256.json": "readers compare digests and do not take them apart",
    "models/v1/examples/invalid/version-text.json": "a digit in quotes is still that version",
}
"""Invalid examples that readers accept all the same, and why that does no harm."""


def read_features(document: Any) -> None:  # noqa: ANN401
    value = json.dumps(document).encode()
    one = np.zeros(1, np.int64)
    records = RecordBatch("weather.features", one.astype(np.int32), one, one, [None], [value], [None])
    decoded = JsonDecoder(WEATHER, limits=Limits()).decode(records)
    if decoded.rejections:
        raise decoded.rejections[0].error
    assert len(decoded.columns) == 1


def read_dead_letter_example(document: Mapping[str, Any]) -> None:
    read_dead_letter([(name, value.encode()) for name, value in document["headers"].items()])


def read_late_example(document: Mapping[str, Any]) -> None:
    source = document["headers"].get("millrace.late.source")
    if source is None:
        raise RequestError("this is no late record of ours")
    Coordinates.parse(source)


def read_history_example(document: Any) -> None:  # noqa: ANN401
    record = HistoryRecord.from_json(document)
    broken = verify([record]) if record.sequence == 1 else None
    if broken is not None:
        raise RequestError(broken.why)


def read_registry_entry(document: Mapping[str, Any]) -> None:
    kinds: dict[str, type[VersionEntry | AliasEntry | LatencyEntry | EvaluationEntry | TransformEntry]] = {
        "version": VersionEntry,
        "alias": AliasEntry,
        "latency": LatencyEntry,
        "evaluation": EvaluationEntry,
        "transform": TransformEntry,
    }
    if document["kind"] not in kinds:
        raise RequestError("no key of the registry promises this kind")
    read_entry(kinds[document["kind"]], document, key="an example")


def read_unjoined_example(document: Mapping[str, Any]) -> None:
    if not isinstance(document.get("event_id"), str):
        raise RequestError("it names no event")
    if document["reason"] not in set(Unjoined):
        raise RequestError("nobody sets records aside for this reason")


READERS: Final[Mapping[str, Callable[[Any], object]]] = {
    "features": read_features,
    "requests": read_features,
    "predictions": lambda document: read_prediction(json.dumps(document).encode()),
    "labels": lambda document: read_label(json.dumps(document).encode()),
    "dead-letters": read_dead_letter_example,
    "late": read_late_example,
    "models": read_registry_entry,
    "deployments": lambda document: Deployment.parse(document, subject="an example"),
    "nodes": lambda document: HEARTBEATS.read(document, subject="an example"),
    "assignments": lambda document: ASSIGNMENTS.read(document, subject="an example"),
    "processes": lambda document: PROCESSES.read(document, subject="an example"),
    "jobs": lambda document: JOBS.read(document, subject="an example"),
    "keys": lambda document: KEYS.read(document, subject="an example"),
    "history": read_history_example,
    "evidence": lambda document: read_evidence(json.dumps(document).encode()),
    "shadows": lambda document: read_shadow(json.dumps(document).encode()),
    "handovers": lambda document: Lineup.from_json(json.dumps(document).encode()),
    "rollouts": lambda document: read_rollout_record(json.dumps(document).encode()),
    "audits": lambda document: read_audit(json.dumps(document).encode()),
    "alerts": lambda document: read_alert(json.dumps(document).encode()),
    "copies": lambda document: read_copy(json.dumps(document).encode()),
    "receipts": lambda document: read_receipt(json.dumps(document).encode()),
    "unjoined": read_unjoined_example,
    "retrain-requests": lambda document: read_loop_record(json.dumps(document).encode(), subject="an example"),
}
"""The code that reads a subject's records, in the form that their examples have."""


def examples(kind: str) -> list[Any]:
    """Parameters: path of each example of this kind, named by where it lies in the folder of schemas."""
    paths = sorted(SCHEMAS.glob(f"*/v*/examples/{kind}/*.json"))
    return [pytest.param(path, id=path.relative_to(SCHEMAS).as_posix()) for path in paths]


def subject_of(path: Path) -> str:
    return path.relative_to(SCHEMAS).parts[0]


@cache
def validator(folder: Path) -> jsonschema.Draft202012Validator:
    schema = load_json(folder / "schema.json")
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", examples("valid"))
def test_valid_examples_are_accepted(path: Path) -> None:
    document = load_json(path)
    validator(path.parents[2]).validate(document)
    READERS[subject_of(path)](document)


@pytest.mark.parametrize("path", examples("invalid"))
def test_invalid_examples_are_refused(path: Path) -> None:
    document = load_json(path)
    assert not validator(path.parents[2]).is_valid(document)
    if path.relative_to(SCHEMAS).as_posix() in TOLERATED:
        READERS[subject_of(path)](document)
        return
    with pytest.raises(MillraceError):
        READERS[subject_of(path)](document)


@pytest.mark.parametrize("path", examples("inconsistent"))
def test_inconsistent_examples_are_refused_by_code_alone(path: Path) -> None:
    document = load_json(path)
    validator(path.parents[2]).validate(document)
    with pytest.raises(MillraceError):
        READERS[subject_of(path)](document)


@pytest.mark.parametrize("path", sorted((SCHEMAS / "features" / "v1" / "examples" / "invalid").glob("*.json")))
def test_a_feature_record_is_refused_for_the_reason_in_its_name(path: Path) -> None:
    with pytest.raises(InvalidRecordError) as refused:
        read_features(load_json(path))
    assert refused.value.reason is Reason(path.name.partition(".")[0])


def test_every_topic_has_schemas_and_both_kinds_of_examples() -> None:
    for topic in topic_files():
        assert (SCHEMAS / "topics" / f"{topic.subject}.yaml").exists()
        assert (topic.value.folder / "schema.json").exists()
        assert (topic.value.folder / "schema.avsc").exists() == (Format.AVRO in topic.value.formats), topic.subject
        assert list(topic.value.folder.glob("examples/valid/*.json")), topic.subject
        assert list(topic.value.folder.glob("examples/invalid/*.json")), topic.subject
        assert topic.subject in READERS


def test_the_newest_version_is_the_one_that_the_topic_names() -> None:
    for topic in topic_files():
        versions = sorted(int(path.name[1:]) for path in (SCHEMAS / topic.subject).glob("v*"))
        assert versions == list(range(1, topic.value.version + 1))


def test_history_examples_are_a_chain() -> None:
    folder = SCHEMAS / "history" / "v1" / "examples" / "valid"
    assert verify(HistoryRecord.from_json(load_json(path)) for path in sorted(folder.iterdir())) is None


def test_dead_letters_and_late_records_keep_bytes_in_base64() -> None:
    for subject in ("dead-letters", "late"):
        for path in (SCHEMAS / subject / "v1" / "examples" / "valid").iterdir():
            document = load_json(path)
            for field in ("key", "value"):
                assert document[field] is None or base64.b64decode(document[field], validate=True)


@pytest.mark.parametrize(
    ("subject", "schema"), [("predictions", PREDICTION_AVRO_SCHEMA), ("labels", LABEL_AVRO_SCHEMA)]
)
def test_the_avro_schema_that_is_registered_is_the_reviewed_one(subject: str, schema: str) -> None:
    assert json.loads(schema) == load_json(SCHEMAS / subject / "v1" / "schema.avsc")


@pytest.mark.parametrize("path", examples("valid"))
def test_what_json_says_avro_says_too(path: Path) -> None:
    avsc = path.parents[2] / "schema.avsc"
    if not avsc.exists():
        return
    schema = fastavro.parse_schema(load_json(avsc))
    document = load_json(path)
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, schema, document)
    readers: dict[str, Callable[[bytes], Mapping[str, Any]]] = {"predictions": read_prediction, "labels": read_label}
    if (read := readers.get(subject_of(path))) is not None:
        found = read(CONFLUENT_FRAME + stream.getvalue())
        known = {field["name"] for field in load_json(avsc)["fields"]}
        assert {name: found[name] for name in document if name in known} == {
            name: value for name, value in document.items() if name in known
        }
