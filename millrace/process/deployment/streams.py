"""Where a deployment reads and writes: its source, its sink, and the tables that enrich its records."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, Field, StringConstraints, model_validator

from millrace.process.deployment.names import Count, Topic
from millrace.process.settings import FROZEN


class RecordFormat(StrEnum):
    """How the values of the source's records are written, where no content-type header says otherwise."""

    JSON = "json"
    AVRO = "avro"
    """Confluent framing: a zero byte, the schema id in four bytes, the record."""
    ARROW = "arrow"
    """Arrow IPC, many rows in one record."""


class PredictionFormat(StrEnum):
    """How predictions are written."""

    JSON = "json"
    AVRO = "avro"
    """Confluent framing; needs `source.registry`."""


class Start(StrEnum):
    """Where a deployment that has never committed begins to read."""

    EARLIEST = "earliest"
    LATEST = "latest"


class Source(BaseModel):
    """The topic of features, and how its records are to be read."""

    model_config = FROZEN

    topic: Topic
    """An existing topic."""
    format: RecordFormat = RecordFormat.JSON
    """How values are written; a record's content-type header takes precedence."""
    id_field: Annotated[str, Field(min_length=1)] | None = None
    """Field that holds the record's own id. Without it the header `id` counts, else the record's coordinates."""
    schemas: Mapping[Annotated[int, Field(ge=0, lt=2**32)], Path] = {}
    """Avro schemas by id, as files beside this document, for a stream without a schema registry."""
    registry: Annotated[str, StringConstraints(pattern=r"^https?://")] | None = None
    """URL of the schema registry."""
    references: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Tensor features whose field is `blob:sha256:...`: the digest of a `.npy` file in the blob store (ADR 12)."""
    references_bytes: Count = 1_073_741_824
    """Most memory that the referenced tensors of one micro-batch may take; `batch.max_records` must keep within it."""
    start: Start = Start.EARLIEST
    """Where to begin when nothing was ever committed. `earliest`, because then no record goes unscored."""


class Sink(BaseModel):
    """Where predictions go, and the records that get none."""

    model_config = FROZEN

    predictions: Topic | None = None
    """Topic of predictions; `<deployment>.predictions` where absent."""
    dead_letters: Topic | None = None
    """Topic of records that cannot be scored; `<deployment>.dlq` where absent."""
    late: Topic | None = None
    """Topic of records that were shed; `<deployment>.late` where absent. Used only with `overload.shed_after_ms`."""
    format: PredictionFormat = PredictionFormat.JSON
    """How predictions are written."""


class Enrichment(BaseModel):
    """Features that come from the online store instead of the record: the newest record of a topic, by its key."""

    model_config = FROZEN

    table: Topic
    """Topic whose newest records a materializer keeps in the online store."""
    features: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    """Features of the model that are fields of these records. What a model version does not use is not fetched."""
    key_field: Annotated[str, Field(min_length=1)] | None = None
    """Field of the feature record that holds the key, a text or an integer feature; the record's own key if absent."""
    defaults: Mapping[str, bool | int | float | str | None] = {}
    """Values for features of which the table has none for the key, or none young enough; null for not a number. A
    feature without a default is required: a record without it is a dead letter."""
    max_age_secs: Count | None = None
    """Oldest value that counts, by its record's timestamp; any age where absent."""
    format: RecordFormat = RecordFormat.JSON
    """How the values of the table's topic are written: json or avro."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if unknown := self.defaults.keys() - set(self.features):
            raise ValueError(f"defaults has {min(unknown)!r}, which is not among the features")
        if self.format is RecordFormat.ARROW:
            raise ValueError("format arrow has many rows in one record, of which none is the newest of a key")
        return self
