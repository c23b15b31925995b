"""The topic files `schemas/topics/*.yaml`, and the schemas and examples that belong to them."""

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field

ROOT: Final = Path(__file__).resolve().parents[2]
SCHEMAS: Final = ROOT / "schemas"


class Cleanup(StrEnum):
    """What becomes of old records."""

    COMPACT = "compact"
    DELETE = "delete"
    KEEP = "keep"


class Compatibility(StrEnum):
    """What a new version of a schema must be able to do."""

    BACKWARD = "backward"
    """Read every valid example of the version before it."""
    SIGNATURE = "signature"
    """Follow from a model's signature; a model that does not fit its stream is refused when it is deployed."""


class Format(StrEnum):
    """How a value may be written."""

    JSON = "json"
    AVRO = "avro"
    ARROW = "arrow"
    ORIGINAL = "original"
    """As the record that it came from."""


class Key(BaseModel):
    """What the key is: `bytes` that millrace passes on, or `text` that it writes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: str | None = None
    text: str | None = None

    @property
    def meaning(self) -> str:
        """What the key stands for."""
        return self.bytes or self.text or ""


class Value(BaseModel):
    """What the value is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: str
    version: Annotated[int, Field(ge=1)]
    formats: Annotated[tuple[Format, ...], Field(min_length=1)]
    rule: str = ""

    @property
    def folder(self) -> Path:
        """Where its schemas and examples lie."""
        return SCHEMAS / self.subject / f"v{self.version}"

    @property
    def json_schema(self) -> dict[str, Any]:
        """Its JSON Schema."""
        schema: dict[str, Any] = load_json(self.folder / "schema.json")
        return schema


class TopicFile(BaseModel):
    """One reviewed file per topic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: Annotated[str, Field(pattern=r"^(<stream>|<deployment>|millrace)\.[a-z-]+$")]
    title: str
    summary: str
    key: Key
    value: Value
    headers: Mapping[str, str] = {}
    partitions: str | int
    cleanup: Cleanup | str
    written_by: Annotated[tuple[str, ...], Field(min_length=1)]
    read_by: Annotated[tuple[str, ...], Field(min_length=1)]
    compatibility: Compatibility

    @property
    def subject(self) -> str:
        """The name of its schemas' folder, and of this file."""
        return self.value.subject


ORDER: Final = (
    "features",
    "requests",
    "predictions",
    "labels",
    "dead-letters",
    "late",
    "evidence",
    "shadows",
    "handovers",
    "rollouts",
    "unjoined",
    "audits",
    "alerts",
    "models",
    "deployments",
    "jobs",
    "nodes",
    "assignments",
    "processes",
    "retrain-requests",
    "history",
)
"""As a newcomer wants to read them."""


def topic_files() -> list[TopicFile]:
    """Every topic, in reading order; files that `ORDER` does not know come last."""
    paths = sorted((SCHEMAS / "topics").glob("*.yaml"), key=lambda path: _rank(path.stem))
    return [TopicFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))) for path in paths]


def load_json(path: Path) -> Any:  # noqa: ANN401 -- JSON
    """The document in a file."""
    return json.loads(path.read_text(encoding="utf-8"))


def _rank(subject: str) -> tuple[int, str]:
    return (ORDER.index(subject) if subject in ORDER else len(ORDER), subject)
