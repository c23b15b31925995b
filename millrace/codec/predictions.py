"""Predictions as bytes: what is known of the whole batch once, what differs between rows in columns.

An encoder makes one template of everything that the rows share, and fills it in C with a column for each thing that
they do not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import is_
from typing import Final, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from millrace.codec.avro_binary import encode_longs, encode_text
from millrace.codec.templates import (
    AvroDoubles,
    AvroLongs,
    AvroTexts,
    Choices,
    Column,
    Fill,
    JsonTexts,
    Template,
    fill,
    json_numbers,
)
from millrace.core.columns import Decoded
from millrace.core.outputs import Outputs
from millrace.core.records import RecordBatch
from millrace.core.signature import Signature

_AS_IT_IS: Final = Template((b"", b""))


@dataclass(frozen=True, slots=True)
class Identity:
    """What made a prediction.

    Attributes:
        deployment: Name of the deployment.
        model: Name of the model.
        version: Its version.
        digest: Digest of its bundle.
        transform: Fingerprint of the transform; `identity` where there is none.
    """

    deployment: str
    model: str
    version: int
    digest: str
    transform: str = "identity"


class PredictionEncoder(Protocol):
    """Makes predictions of scored rows. Compiled once per model version; safe to call from any thread."""

    def encode(
        self,
        records: RecordBatch,
        decoded: Decoded,
        outputs: Outputs,
        *,
        bins: Sequence[bytes] | None,
        scored_at_ms: int,
        degraded: bool = False,
    ) -> Sequence[bytes]:
        """The value of each row's prediction.

        A record without a timestamp is taken to have happened when it was scored.

        Args:
            records: The records as polled.
            decoded: Their rows.
            outputs: What the model answered for these rows.
            bins: Characters of each row's bins; None for a model without a reference profile, which writes none.
            scored_at_ms: The time now, milliseconds since 1970.
            degraded: Whether a cheaper variant took the place of the model.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Sources:
    """Where each row comes from, and what it is called."""

    topic: bytes
    partitions: NDArray[np.int64]
    offsets: NDArray[np.int64]
    rows: NDArray[np.intp] | None
    event_times: NDArray[np.int64]

    @classmethod
    def of(cls, records: RecordBatch, decoded: Decoded, scored_at_ms: int) -> "_Sources":
        times = records.timestamps_ms[decoded.source]
        return cls(
            records.topic.encode(),
            records.partitions[decoded.source].astype(np.int64),
            records.offsets[decoded.source],
            decoded.rows.astype(np.intp) if decoded.rows.any() else None,
            np.where(times < 0, scored_at_ms, times),
        )

    def suffixes(self, pattern: bytes) -> list[Column]:
        """The pattern with each row's number, and nothing for row 0; no column where every row is that."""
        if self.rows is None:
            return []
        return [Choices([b"", *map(pattern.__mod__, range(1, int(self.rows.max()) + 1))], self.rows)]

    def coordinates(self) -> tuple[Template, list[Column]]:
        """Each row's coordinates, as `Coordinates` writes them."""
        suffixes = self.suffixes(b".%d")
        return Template((self.topic + b"-", b"-", *(b"" for _ in suffixes), b"")), [
            self.partitions,
            self.offsets,
            *suffixes,
        ]

    def named(self, ids: Sequence[str | None] | None) -> tuple[Template, list[Column]]:
        """Each row's own id, or else its coordinates."""
        return self.coordinates() if ids is None else (_AS_IT_IS, [self.names(ids)])

    def names(self, ids: Sequence[str | None]) -> list[bytes]:
        """Each row's own id in UTF-8, or else its coordinates."""
        if None not in ids:
            return list(map(str.encode, ids))  # type: ignore[arg-type]
        absent = np.fromiter(map(is_, ids, repeat(None)), np.bool_, len(ids))
        named = np.fromiter(fill(*self.coordinates()), np.object_, len(ids))
        present = np.fromiter(ids, np.object_, len(ids))[~absent]
        named[~absent] = np.fromiter(map(str.encode, present), np.object_, len(present))
        return named.tolist()  # type: ignore[no-any-return]


class JsonOutputs:
    """What a model answered, as the member `outputs` of a JSON object.

    Attributes:
        template: The member, with a comma before it and a place for each column.
    """

    def __init__(self, signature: Signature) -> None:
        self._classes: Final = list(map(orjson.dumps, signature.classes))
        first, *others = (name + b":" for name in self._classes or [b""])
        scores = (b',"scores":{' + first, *(b"," + name for name in others), b"}}")
        self.template: Final = (
            Template((b',"outputs":{"label":', *scores)) if self._classes else Template((b',"outputs":{"value":', b"}"))
        )

    def columns(self, outputs: Outputs) -> list[Column]:
        """What to put into the template, row by row."""
        if outputs.labels is None:
            return [outputs.scores]
        return [Choices(self._classes, outputs.labels), *outputs.scores.T]


class JsonPredictionEncoder:
    """Predictions as JSON objects. See `PredictionEncoder`.

    Args:
        identity: What makes the predictions.
        signature: The model's.
        enriched: Features that did not come from the record; their values are written, since nobody could find them
            again.
        fill: Writes the objects.
    """

    def __init__(
        self, identity: Identity, signature: Signature, *, enriched: Sequence[str] = (), fill: Fill = fill
    ) -> None:
        self._enriched: Final = enriched
        self._fill: Final = fill
        self._model: Final = Template.text(
            b',"deployment":%b,"model":%b,"version":%d,"digest":%b,"transform":%b'
            % (
                orjson.dumps(identity.deployment),
                orjson.dumps(identity.model),
                identity.version,
                orjson.dumps(identity.digest),
                orjson.dumps(identity.transform),
            )
        )
        self._outputs: Final = JsonOutputs(signature)

    def encode(
        self,
        records: RecordBatch,
        decoded: Decoded,
        outputs: Outputs,
        *,
        bins: Sequence[bytes] | None,
        scored_at_ms: int,
        degraded: bool = False,
    ) -> Sequence[bytes]:
        """The value of each row's prediction."""
        if not len(outputs):
            return []
        template, columns = self.compose(
            records, decoded, outputs, bins=bins, scored_at_ms=scored_at_ms, degraded=degraded
        )
        return self._fill(template + Template.text(b"}"), columns)

    def compose(
        self,
        records: RecordBatch,
        decoded: Decoded,
        outputs: Outputs,
        *,
        bins: Sequence[bytes] | None,
        scored_at_ms: int,
        degraded: bool = False,
    ) -> tuple[Template, list[Column]]:
        """What the objects are made of, without the brace at their end; see `encode`. There is at least one row."""
        sources = _Sources.of(records, decoded, scored_at_ms)
        template, columns = _json_source(sources, decoded.event_ids)
        template += self._model + self._outputs.template
        columns += self._outputs.columns(outputs)
        if bins is None:
            template += Template.text(b',"bins":""')
        else:
            template += Template((b',"bins":"', b'"'))
            columns.append(bins)
        template += Template((b',"event_time":', b',"scored_at":%d' % scored_at_ms))
        columns.append(sources.event_times)
        if degraded:
            template += Template.text(b',"degraded":true')
        if self._enriched:
            first, *others = (orjson.dumps(name) + b":" for name in self._enriched)
            template += Template((b',"enriched":{' + first, *(b"," + name for name in others), b"}"))
            columns += (_json_values(decoded.columns.column(name)) for name in self._enriched)
        return template, columns


def _json_source(sources: _Sources, ids: Sequence[str | None] | None) -> tuple[Template, list[Column]]:
    """Template and columns of `event_id` and `source`."""
    suffixes = sources.suffixes(b',"row":%d')
    if ids is None:  # names of topics need no escapes
        name, columns = sources.coordinates()
        head = Template.text(b'{"event_id":"') + name + Template.text(b'"')
    else:
        texts = ids if None not in ids else list(map(bytes.decode, sources.names(ids)))
        head, columns = Template((b'{"event_id":', b"")), [JsonTexts(texts)]  # type: ignore[arg-type]
    place = (b',"source":{"topic":"' + sources.topic + b'","partition":', b',"offset":', *(b"" for _ in suffixes), b"}")
    return head + Template(place), [*columns, sources.partitions, sources.offsets, *suffixes]


def _json_values(column: NDArray[np.generic]) -> Column:
    """Each value of a scalar feature as JSON; null for NaN."""
    if column.dtype == np.float32:
        return column.astype(np.float32, copy=False)
    if column.dtype.kind == "O":
        return list(map(orjson.dumps, column.tolist()))
    return json_numbers(column)


_NULL: Final = b"\x00"
_PRESENT: Final = b"\x02"
_END_OF_BLOCKS: Final = b"\x00"


class AvroPredictionEncoder:
    """Predictions in Avro, framed as Confluent's serializers do. See `PredictionEncoder`.

    Args:
        identity: What makes the predictions.
        signature: The model's.
        schema_id: The id under which `PREDICTION_AVRO_SCHEMA` is registered.
        fill: Writes the records.
    """

    def __init__(self, identity: Identity, signature: Signature, *, schema_id: int, fill: Fill = fill) -> None:
        self._fill: Final = fill
        self._frame: Final = b"\x00" + schema_id.to_bytes(4, "big")
        static = map(encode_text, (identity.deployment, identity.model))
        version = encode_longs(np.array([identity.version]))[0]
        versioned = map(encode_text, (identity.digest, identity.transform))
        self._model: Final = b"".join((*static, version, *versioned))
        self._classes: Final = list(map(encode_text, signature.classes))
        self._outputs: Final = self._outputs_template(len(signature.classes))

    def encode(
        self,
        records: RecordBatch,
        decoded: Decoded,
        outputs: Outputs,
        *,
        bins: Sequence[bytes] | None,
        scored_at_ms: int,
        degraded: bool = False,
    ) -> Sequence[bytes]:
        """The value of each row's prediction."""
        if not len(outputs):
            return []
        sources = _Sources.of(records, decoded, scored_at_ms)
        tail = encode_longs(np.array([scored_at_ms]))[0] + (b"\x01" if degraded else b"\x00")
        template = (
            Template((self._frame, encode_text(records.topic), b"", b"", self._model))
            + self._outputs
            + Template((b"", b"", tail))
        )
        columns: list[Column] = [
            AvroTexts(*sources.named(decoded.event_ids)),
            AvroLongs(sources.partitions),
            AvroLongs(sources.offsets),
            AvroLongs(decoded.rows),
            *self._output_columns(outputs),
            Choices([b"\x00"], np.zeros(len(outputs), np.intp)) if bins is None else AvroTexts(_AS_IT_IS, [bins]),
            AvroLongs(sources.event_times),
        ]
        return self._fill(template, columns)

    def _outputs_template(self, classes: int) -> Template:
        if not classes:
            return Template((_NULL + _NULL + _PRESENT, b""))
        first, *others = self._classes
        count = encode_longs(np.array([classes]))[0]
        return Template((_PRESENT, _PRESENT + count + first, *others, _END_OF_BLOCKS + _NULL))

    def _output_columns(self, outputs: Outputs) -> list[Column]:
        if outputs.labels is None:
            return [AvroDoubles(outputs.scores)]
        return [Choices(self._classes, outputs.labels), *map(AvroDoubles, outputs.scores.T)]
