"""The JSON Schemas of the fleet's topics, from the values that their records hold."""

import re
from collections.abc import Mapping
from typing import Any, Final

from docs.pages.schemas import text, without_titles
from millrace.core.feature_schema import DIALECT
from millrace.process.fleet import ASSIGNMENTS, HEARTBEATS, PROCESSES, FleetRecord
from millrace.process.jobs import JOBS
from millrace.process.keys import KEYS

_ATTRIBUTE: Final = re.compile(r"^    (?P<name>\w+): (?P<text>.+(?:\n {8}.+)*)", re.MULTILINE)


def nodes_schema() -> str:
    """JSON Schema of what nodes say about themselves."""
    return _schema(HEARTBEATS, "nodes", "Heartbeat of a node")


def assignments_schema() -> str:
    """JSON Schema of the controller's decisions."""
    return _schema(ASSIGNMENTS, "assignments", "Decision about a slot")


def processes_schema() -> str:
    """JSON Schema of what nodes say about processes."""
    return _schema(PROCESSES, "processes", "State of a process")


def keys_schema() -> str:
    """JSON Schema of what is known of a key."""
    return _schema(KEYS, "keys", "API key")


def jobs_schema() -> str:
    """JSON Schema of what somebody launched."""
    return _schema(JOBS, "jobs", "Job")


def _schema(record: FleetRecord[Any], subject: str, title: str) -> str:
    head = {"$schema": DIALECT, "$id": f"urn:millrace:{subject}:1"}
    return text({**head, **_described(without_titles(record.adapter.json_schema())), "title": title})


def _described(schema: Any) -> Any:  # noqa: ANN401 -- JSON
    """With the lines of a docstring's list of attributes as the descriptions of the fields that they are about."""
    match schema:
        case {"description": str(words), "properties": dict(properties), **rest}:
            meanings = {found["name"]: " ".join(found["text"].split()) for found in _ATTRIBUTE.finditer(words)}
            return {
                "description": words.partition("\n")[0],
                **{name: _described(inner) for name, inner in rest.items()},
                "properties": {name: _field(inner, meanings.get(name)) for name, inner in properties.items()},
            }
        case dict():
            return {name: _described(inner) for name, inner in schema.items()}
        case list():
            return list(map(_described, schema))
        case _:
            return schema


def _field(schema: Mapping[str, Any], meaning: str | None) -> Mapping[str, Any]:
    return schema if meaning is None else {"description": meaning, **schema}
