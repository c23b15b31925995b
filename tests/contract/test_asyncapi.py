"""The AsyncAPI document is one: its structure, its references, and nothing left out.

The structure is checked against a schema of the part of the specification that is used here, because the official
schema comes in no package of this environment.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml

from docs.pages.topic_files import SCHEMAS, load_json, topic_files

SUBSET: Final = jsonschema.Draft202012Validator(load_json(Path(__file__).with_name("asyncapi_subset.json")))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text(encoding="utf-8"))
    return loaded


def dangling(document: Any, root: Any) -> Iterator[str]:  # noqa: ANN401 -- YAML
    """References of AsyncAPI that lead nowhere. Those inside a payload's own schema are that schema's business."""
    if isinstance(document, dict):
        if "schemaFormat" in document:
            return
        reference = document.get("$ref")
        if isinstance(reference, str) and not _leads_somewhere(reference, root):
            yield reference
        for value in document.values():
            yield from dangling(value, root)


def _leads_somewhere(reference: str, root: Any) -> bool:  # noqa: ANN401
    place = root
    for part in reference.removeprefix("#/").split("/"):
        if part not in place:
            return False
        place = place[part]
    return True


def test_the_structure_is_that_of_asyncapi(document: dict[str, Any]) -> None:
    assert [error.message for error in SUBSET.iter_errors(document)] == []


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    assert list(dangling(document, document)) == []


def test_every_topic_is_a_channel_with_a_message_per_format(document: dict[str, Any]) -> None:
    assert set(document["channels"]) == {topic.subject for topic in topic_files()}
    for topic in topic_files():
        messages = {f"{topic.subject}-{each}" for each in topic.value.formats}
        assert set(document["channels"][topic.subject]["messages"]) == messages
        assert messages <= set(document["components"]["messages"])


def test_every_schema_is_the_committed_one(document: dict[str, Any]) -> None:
    for topic in topic_files():
        if (found := document["components"]["schemas"].get(topic.subject)) is not None:
            assert found["schema"] == topic.value.json_schema


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("channels", "labels", "adress"), "x"),
        (("channels", "labels", "address"), "labels"),
        (("operations", "send-labels", "action"), "publish"),
        (("components", "messages", "labels-avro", "payload", "schemaFormat"), "avro"),
        (("asyncapi",), "2.6.0"),
    ],
)
def test_a_wrong_document_is_found_out(document: dict[str, Any], path: tuple[str, ...], value: str) -> None:
    wrong = copy.deepcopy(document)
    place = wrong
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    assert not SUBSET.is_valid(wrong)


def test_a_dangling_reference_is_found_out(document: dict[str, Any]) -> None:
    wrong = copy.deepcopy(document)
    del wrong["components"]["messages"]["labels-json"]
    assert list(dangling(wrong, wrong)) == ["#/components/messages/labels-json"]
