"""A transform as a JSON document: the columns that come, the steps, and the columns that leave."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, Field, StringConstraints, ValidationError, model_validator

from millrace.process.document import read_document
from millrace.process.refusal import refusal
from millrace.transform.steps import AnyStep
from millrace.transform.steps.step import FROZEN, ColumnName
from millrace.transform.types import ColumnType

NAME: Final = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"


class Column(BaseModel):
    """One column of an input or an output."""

    model_config = FROZEN

    name: ColumnName
    """Its name."""
    type: ColumnType = ColumnType.FLOAT64
    """Its type."""
    nullable: bool = False
    """Whether a value may be missing; where not, a row without one is refused."""


class Transform(BaseModel):
    """What is done to rows, before a model or in place of one. The same live, in training, and over years of files."""

    model_config = FROZEN

    transform: Annotated[str, StringConstraints(pattern=NAME, max_length=100)]
    """Name of the transform."""
    description: str = ""
    """For people."""
    input: Annotated[tuple[Column, ...], Field(min_length=1)]
    """The columns that are read; others are not looked at."""
    steps: Annotated[tuple[AnyStep, ...], Field(max_length=500)] = ()
    """What is done, in this order."""
    output: Annotated[tuple[Column, ...], Field(min_length=1)] | None = None
    """The columns that leave, in this order; those that are there after the last step where absent."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a transform from a YAML or JSON file.

        Raises:
            RequestError: The file cannot be read or is no transform; names the file, the place and the remedy.
        """
        return cls.parse(read_document(path), subject=str(path))

    @classmethod
    def parse(cls, document: Mapping[str, Any], *, subject: str) -> Self:
        """Read a transform from a decoded document.

        Args:
            document: What a JSON or YAML parser returned.
            subject: Where it came from, for errors.

        Raises:
            RequestError: It is no transform; names the subject, the place, a step by its number, and the remedy.
        """
        try:
            return cls.model_validate_json(json.dumps(document, default=str), strict=True)
        except ValidationError as error:
            raise refusal(error, subject=subject, name=_place, remedy=_remedy(error)) from None

    def document(self) -> dict[str, Any]:
        """The document as JSON values, without what has its default. `parse` reads it back as an equal transform."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @property
    def is_stateful(self) -> bool:
        """Whether a row's fate depends on other rows; such a transform works on tables, not inside a scorer."""
        return any(step.is_stateful for step in self.steps)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for columns, where in ((self.input, "input"), (self.output or (), "output")):
            twice = [name for name, count in Counter(column.name for column in columns).items() if count > 1]
            if twice:
                raise ValueError(f"{where} names the column {twice[0]!r} twice")
        return self


def json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a transform's document."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Transform.model_json_schema()}


def _place(path: object) -> str:
    """`steps.0.clip.low`, as pydantic has it, in the words of the errors: `step 1 (clip), low`."""
    parts = [str(part) for part in path] if isinstance(path, list | tuple) else [str(path)]
    if len(parts) < 2 or parts[0] != "steps":
        return ".".join(parts)
    kind = f" ({parts[2]})" if len(parts) > 2 else ""
    inner = f", {'.'.join(parts[3:])}" if len(parts) > 3 else ""
    return f"step {int(parts[1]) + 1}{kind}{inner}"


def _remedy(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    if problem["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        kinds = problem.get("ctx", {}).get("expected_tags", "")
        return f"`step` is one of {kinds}" if kinds else "name the kind of the step: `step: clip`"
    return ""
