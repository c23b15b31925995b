"""Predictions as bytes: what is known of the whole batch once, what differs between rows in columns.

An encoder makes one template of everything that the rows share, and fills it in C with a column for each thing that
they do not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import is_
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from millrace.codec.avro_binary import encode_doubles, encode_longs, encode_text
from millrace.core.columns import Decoded
from millrace.core.outputs import Outputs
from millrace.core.records import RecordBatch
from millrace.core.signature import Signature

Column: TypeAlias = Iterable[Any]


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
    ) -> list[bytes]:
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

    partitions: list[int]
    offsets: list[int]
    rows: NDArray[np.int32] | None
    event_times: NDArray[np.int64]

    @classmethod
    def of(cls, records: RecordBatch, decoded: Decoded, scored_at_ms: int) -> "_Sources":
        times = records.timestamps_ms[decoded.source]
        return cls(
            records.partitions[decoded.source].tolist(),
            records.offsets[decoded.source].tolist(),
            decoded.rows if decoded.rows.any() else None,
            np.where(times < 0, scored_at_ms, times),
        )

    def suffixes(self, template: bytes) -> Column:
        """The template with each row's number, and nothing for row 0."""
        if self.rows is None:
            return repeat(b"", len(self.offsets))
        table = [b"", *map(template.__mod__, range(1, int(self.rows.max()) + 1))]
        return map(table.__getitem__, self.rows.tolist())

    def coordinates(self, topic: bytes) -> Column:
        """Each row's coordinates, as `Coordinates` writes them."""
        columns = (self.partitions, self.offsets, self.suffixes(b".%d"))
        return map((_literal(topic) + b"-%d-%d%b").__mod__, zip(*columns, strict=False))

    def names(self, topic: bytes, ids: Sequence[str | None] | None) -> list[bytes]:
        """Each row's own id in UTF-8, or else its coordinates."""
        if ids is None:
            return list(self.coordinates(topic))
        if None not in ids:
            return list(map(str.encode, ids))  # type: ignore[arg-type]
        absent = np.fromiter(map(is_, ids, repeat(None)), np.bool_, len(ids))
        named = np.fromiter(self.coordinates(topic), np.object_, len(ids))
        present = np.fromiter(ids, np.object_, len(ids))[~absent]
        named[~absent] = np.fromiter(map(str.encode, present), np.object_, len(present))
        return named.tolist()  # type: ignore[no-any-return]


class JsonOutputs:
    """What a model answered, as the member `outputs` of a JSON object.

    Attributes:
        template: The member, with a comma before it and a place for each column.
    """

    def __init__(self, signature: Signature) -> None:
        self._classes: Final = list(map(_json, signature.classes))
        scores = b",".join(_literal(name) + b":%b" for name in self._classes)
        self.template: Final = (
            b',"outputs":{"label":%b,"scores":{' + scores + b"}}" if self._classes else b',"outputs":{"value":%b}'
        )

    def columns(self, outputs: Outputs) -> list[Column]:
        """What to put into the template, row by row."""
        if outputs.labels is None:
            return [_json_numbers(outputs.scores)]
        labels = map(self._classes.__getitem__, outputs.labels.tolist())
        return [labels, *map(_json_numbers, outputs.scores.T)]


class JsonPredictionEncoder:
    """Predictions as JSON objects. See `PredictionEncoder`.

    Args:
        identity: What makes the predictions.
        signature: The model's.
        enriched: Features that did not come from the record; their values are written, since nobody could find them
            again.
    """

    def __init__(self, identity: Identity, signature: Signature, *, enriched: Sequence[str] = ()) -> None:
        self._enriched: Final = enriched
        self._model: Final = _literal(
            b',"deployment":%b,"model":%b,"version":%d,"digest":%b,"transform":%b'
            % (
                _json(identity.deployment),
                _json(identity.model),
                identity.version,
                _json(identity.digest),
                _json(identity.transform),
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
    ) -> list[bytes]:
        """The value of each row's prediction."""
        if not len(outputs):
            return []
        sources = _Sources.of(records, decoded, scored_at_ms)
        head, columns = _json_source(records.topic.encode(), sources, decoded.event_ids)
        template = head + self._model + self._outputs.template + b',"bins":"%b","event_time":%d'
        template += b',"scored_at":%d' % scored_at_ms + (b',"degraded":true' if degraded else b"")
        columns += self._outputs.columns(outputs)
        columns += [repeat(b"", len(outputs)) if bins is None else bins, sources.event_times.tolist()]
        if self._enriched:
            members = (_literal(_json(name)) + b":%b" for name in self._enriched)
            template += b',"enriched":{' + b",".join(members) + b"}"
            columns += (_json_values(decoded.columns.column(name)) for name in self._enriched)
        return list(map((template + b"}").__mod__, zip(*columns, strict=True)))


def _json_source(topic: bytes, sources: _Sources, ids: Sequence[str | None] | None) -> tuple[bytes, list[Column]]:
    """Template and columns of `event_id` and `source`."""
    head = b',"source":{"topic":"' + _literal(topic) + b'","partition":%d,"offset":%d'
    place: list[Column] = [sources.partitions, sources.offsets]
    if ids is None and sources.rows is None:  # the usual case, without a column of ids
        return b'{"event_id":"' + _literal(topic) + b'-%d-%d"' + head + b"}", [*place, *place]
    names = map(bytes.decode, sources.names(topic, ids))
    return b'{"event_id":%b' + head + b"%b}", [map(orjson.dumps, names), *place, sources.suffixes(b',"row":%d')]


def _json_numbers(column: NDArray[np.float32]) -> list[bytes]:
    """The shortest decimal of each number that reads back as the same float."""
    return orjson.dumps(np.ascontiguousarray(column), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def _json_values(column: NDArray[np.generic]) -> list[bytes]:
    """Each value of a scalar feature as JSON; null for NaN."""
    if column.dtype.kind == "O":
        return list(map(orjson.dumps, column.tolist()))
    return orjson.dumps(np.ascontiguousarray(column), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def _json(text: str) -> bytes:
    return orjson.dumps(text)


def _literal(text: bytes) -> bytes:
    """The text as a template that gives it back."""
    return text.replace(b"%", b"%%")


_NULL: Final = b"\x00"
_PRESENT: Final = b"\x02"
_END_OF_BLOCKS: Final = b"\x00"


class AvroPredictionEncoder:
    """Predictions in Avro, framed as Confluent's serializers do. See `PredictionEncoder`.

    Args:
        identity: What makes the predictions.
        signature: The model's.
        schema_id: The id under which `PREDICTION_AVRO_SCHEMA` is registered.
    """

    def __init__(self, identity: Identity, signature: Signature, *, schema_id: int) -> None:
        self._frame: Final = _literal(b"\x00" + schema_id.to_bytes(4, "big"))
        static = map(encode_text, (identity.deployment, identity.model))
        version = encode_longs(np.array([identity.version]))[0]
        versioned = map(encode_text, (identity.digest, identity.transform))
        self._model: Final = _literal(b"".join((*static, version, *versioned)))
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
    ) -> list[bytes]:
        """The value of each row's prediction."""
        if not len(outputs):
            return []
        sources = _Sources.of(records, decoded, scored_at_ms)
        names = sources.names(records.topic.encode(), decoded.event_ids)
        binned = list(repeat(b"", len(outputs))) if bins is None else bins
        source = b"%b%b" + _literal(encode_text(records.topic)) + b"%b%b%b"
        tail = _literal(encode_longs(np.array([scored_at_ms]))[0]) + (b"\x01" if degraded else b"\x00")
        template = self._frame + source + self._model + self._outputs + b"%b%b%b" + tail
        columns: list[Column] = [
            *(_lengths(names), names),
            encode_longs(np.array(sources.partitions)),
            encode_longs(np.array(sources.offsets)),
            encode_longs(decoded.rows.astype(np.int64)),
            *self._output_columns(outputs),
            *(_lengths(binned), binned),
            encode_longs(sources.event_times),
        ]
        return list(map(template.__mod__, zip(*columns, strict=True)))

    def _outputs_template(self, classes: int) -> bytes:
        if not classes:
            return _NULL + _NULL + _PRESENT + b"%b"
        scores = b"".join(_literal(name) + b"%b" for name in self._classes)
        count = _literal(encode_longs(np.array([classes]))[0])
        return _PRESENT + b"%b" + _PRESENT + count + scores + _END_OF_BLOCKS + _NULL

    def _output_columns(self, outputs: Outputs) -> list[Column]:
        if outputs.labels is None:
            return [encode_doubles(outputs.scores)]
        labels = map(self._classes.__getitem__, outputs.labels.tolist())
        return [labels, *map(encode_doubles, outputs.scores.T)]


def _lengths(texts: Sequence[bytes]) -> list[bytes]:
    return encode_longs(np.fromiter(map(len, texts), np.int64, len(texts)))
