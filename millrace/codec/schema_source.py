"""Where Avro schemas come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self

from millrace.core.errors import RequestError


class SchemaSource(Protocol):
    """Knows schemas by their ids. A schema never changes once it has an id."""

    def schema(self, schema_id: int) -> str | None:
        """The text of the schema, or None where there is none.

        Called from the scoring path, once per id and batch until it answers with a schema; may block.

        Raises:
            TransientError: The registry cannot be reached.
        """
        ...


@dataclass(frozen=True, slots=True)
class GivenSchemas:
    """Schemas that a deployment brings with it, for streams without a registry."""

    texts: Mapping[int, str]

    @classmethod
    def read(cls, files: Mapping[int, Path]) -> Self:
        """Read the schemas from files.

        Raises:
            RequestError: A file cannot be read.
        """
        texts = {}
        for schema_id, path in files.items():
            try:
                texts[schema_id] = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise RequestError(
                    f"schema {schema_id} cannot be read from {path}: {error}",
                    remedy="correct the path in source.schemas",
                ) from error
        return cls(texts)

    def schema(self, schema_id: int) -> str | None:
        """The text of the schema, or None where it was not given."""
        return self.texts.get(schema_id)


@dataclass(frozen=True, slots=True)
class FirstOf:
    """Several sources, asked in order."""

    sources: tuple[SchemaSource, ...]

    def schema(self, schema_id: int) -> str | None:
        """The first answer that is a schema."""
        return next((text for source in self.sources if (text := source.schema(schema_id)) is not None), None)


NO_SCHEMAS: Final = GivenSchemas({})
"""Knows no schema."""
