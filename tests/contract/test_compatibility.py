"""Version n of a schema reads what version n-1 wrote, in JSON and in Avro; tests show how it looks when it does not."""

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import fastavro
import jsonschema
import pytest

from docs.pages.topic_files import SCHEMAS, Compatibility, load_json, topic_files

LABEL = {"event_id": "a", "label": "yes", "label_time": 1, "revision": 0, "op": "upsert", "source": None, "weight": 1.0}


def unreadable_json(new: Mapping[str, Any], old_examples: Sequence[Any]) -> list[str]:
    """What the new JSON Schema has against examples of the version before it."""
    validator = jsonschema.Draft202012Validator(new)
    return [error.message for example in old_examples for error in validator.iter_errors(example)]


def unreadable_avro(new: Any, old: Any, old_examples: Sequence[Any]) -> list[str]:  # noqa: ANN401 -- Avro schemas
    """What the new Avro schema has against examples as the version before it writes them."""
    problems = []
    for example in old_examples:
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, old, example)
        stream.seek(0)
        try:
            fastavro.schemaless_reader(stream, old, new)
        except fastavro.read.SchemaResolutionError as error:
            problems.append(str(error))
    return problems


def versions(subject: str) -> list[Path]:
    return sorted((SCHEMAS / subject).glob("v*"), key=lambda path: int(path.name[1:]))


def valid_examples(folder: Path) -> list[Any]:
    return [load_json(path) for path in sorted(folder.glob("examples/valid/*.json"))]


@pytest.mark.parametrize(
    "subject", [topic.subject for topic in topic_files() if topic.compatibility is Compatibility.BACKWARD]
)
def test_each_version_reads_the_examples_of_the_one_before(subject: str) -> None:
    for old, new in pairwise(versions(subject)):
        assert unreadable_json(load_json(new / "schema.json"), valid_examples(old)) == []
        if (old / "schema.avsc").exists():
            schemas = load_json(new / "schema.avsc"), load_json(old / "schema.avsc")
            assert unreadable_avro(*schemas, valid_examples(old)) == []


def test_a_version_that_asks_for_more_is_found_out() -> None:
    old = load_json(SCHEMAS / "labels" / "v1" / "schema.json")
    new = {**old, "required": [*old["required"], "source"]}
    assert unreadable_json(new, [LABEL | {"source": "me"}]) == []
    without_source = {name: value for name, value in LABEL.items() if name != "source"}
    assert unreadable_json(new, [without_source]) == ["'source' is a required property"]


def test_a_field_without_a_default_is_found_out() -> None:
    old = load_json(SCHEMAS / "labels" / "v1" / "schema.avsc")
    defaulted = {**old, "fields": [*old["fields"], {"name": "segment", "type": "string", "default": "*"}]}
    demanded = {**old, "fields": [*old["fields"], {"name": "segment", "type": "string"}]}
    assert unreadable_avro(defaulted, old, [LABEL]) == []
    assert len(unreadable_avro(demanded, old, [LABEL])) == 1
