"""Which decoder reads a record: the stream's own, unless the record's content-type header says otherwise."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import repeat
from operator import is_
from typing import Final, assert_never

import numpy as np
from numpy.typing import NDArray

from millrace.codec.arrow import ArrowDecoder
from millrace.codec.avro import AvroDecoder
from millrace.codec.headers import HeaderColumn, header_columns
from millrace.codec.json import JsonDecoder
from millrace.codec.limits import Limits
from millrace.codec.rows import assemble, id_column, merged, no_rows, renumbered
from millrace.codec.schema_source import SchemaSource
from millrace.core.columns import Decoded, Decoder, Rejection
from millrace.core.errors import InvalidRecordError, Reason, RequestError
from millrace.core.records import RecordBatch
from millrace.core.signature import Signature
from millrace.process.deployment import RecordFormat

CONTENT_TYPE_HEADER: Final = "content-type"
ID_HEADER: Final = "id"

CONTENT_TYPES: Final[Mapping[str, RecordFormat]] = {
    "application/json": RecordFormat.JSON,
    "text/json": RecordFormat.JSON,
    "application/avro": RecordFormat.AVRO,
    "avro/binary": RecordFormat.AVRO,
    "application/vnd.apache.avro": RecordFormat.AVRO,
    "application/vnd.apache.arrow.stream": RecordFormat.ARROW,
    "application/vnd.apache.arrow.file": RecordFormat.ARROW,
}
"""The formats by media type. Parameters such as `charset` are ignored; JSON is UTF-8."""

_QUOTED: Final = 64  # longest piece of a header that a reason repeats


class StreamDecoder:
    """Decodes the records of one stream, whatever their formats. See `millrace.core.columns.Decoder`.

    The header `id` names a record, before any field; the rows of a record with many are `id`, `id.1`, `id.2`, ...
    Records without headers cost nothing extra.

    Args:
        signature: What the decoders read.
        default: The format of records without a content-type header.
        compiled: Makes the decoder of a format, on its first use; the default's at once.
    """

    def __init__(
        self, signature: Signature, default: RecordFormat, compiled: Callable[[RecordFormat], Decoder]
    ) -> None:
        self._signature: Final = signature
        self._default: Final = default
        self._compile: Final = compiled
        self._decoders: Final = {default: compiled(default)}

    def decode(self, records: RecordBatch) -> Decoded:
        """Decode every record or reject it with its own reason.

        Raises:
            TransientError: The schema registry cannot be reached; the same call may succeed later.
        """
        columns = header_columns(records.headers, (CONTENT_TYPE_HEADER, ID_HEADER))
        if columns is None:
            return self._decoders[self._default].decode(records)
        content_types, ids = columns
        decoded = self._decode_by_type(records, content_types)
        return decoded if all(map(_is_absent, set(ids))) else _named(decoded, ids)

    def _decode_by_type(self, records: RecordBatch, content_types: HeaderColumn) -> Decoded:
        formats = {content_type: self._format(content_type) for content_type in set(content_types)}
        kinds = set(formats.values())
        if len(kinds) == 1 and (only := kinds.pop()) is not None:
            return self._decode_as(only, records)
        of_record = np.fromiter(map(formats.__getitem__, content_types), np.object_, len(records))
        unknown = np.flatnonzero(_is_none(of_record)).tolist()
        parts = [_rejected(self._signature, {row: _unknown(content_types[row]) for row in unknown})]
        for kind in filter(None, kinds):
            rows = np.flatnonzero(of_record == kind)
            parts.append(renumbered(self._decode_as(kind, records.take(rows)), rows))
        return merged(self._signature, parts)

    def _format(self, content_type: bytes | None) -> RecordFormat | None:
        if not content_type:
            return self._default
        media_type = content_type.decode("ascii", errors="replace").partition(";")[0].strip().lower()
        return CONTENT_TYPES.get(media_type)

    def _decode_as(self, kind: RecordFormat, records: RecordBatch) -> Decoded:
        if kind not in self._decoders:
            try:
                self._decoders[kind] = self._compile(kind)
            except RequestError as error:
                refusal = InvalidRecordError(Reason.UNKNOWN_CONTENT_TYPE, f"the stream does not accept {kind}: {error}")
                return _rejected(self._signature, dict.fromkeys(range(len(records)), refusal))
        return self._decoders[kind].decode(records)


def _unknown(content_type: bytes) -> InvalidRecordError:
    text = content_type[:_QUOTED].decode("ascii", errors="replace")
    return InvalidRecordError(Reason.UNKNOWN_CONTENT_TYPE, f"{text!r} is none of {', '.join(CONTENT_TYPES)}")


def _rejected(signature: Signature, errors: Mapping[int, InvalidRecordError]) -> Decoded:
    rejections = [Rejection(row, error) for row, error in errors.items()]
    return assemble(signature, [no_rows(signature)], np.empty(0, np.intp), rejections)


def _named(decoded: Decoded, headers: HeaderColumn) -> Decoded:
    """The rows with the ids of the header; a record whose id is no text is rejected."""
    texts, errors = _texts(headers)
    rejected = {rejection.row for rejection in decoded.rejections}
    bad = errors.keys() - rejected
    if bad:
        kept = np.flatnonzero(~np.isin(decoded.source, list(bad)))
        rejections = (*decoded.rejections, *(Rejection(row, errors[row]) for row in bad))
        decoded = Decoded(
            decoded.columns.take(kept),
            decoded.source[kept],
            decoded.rows[kept],
            None if decoded.event_ids is None else id_column(decoded)[kept].tolist(),
            tuple(sorted(rejections, key=lambda rejection: rejection.row)),
        )
    named = texts[decoded.source]
    if decoded.rows.any():
        later = np.flatnonzero((decoded.rows > 0) & ~_is_none(named))
        named[later] = list(map("{}.{}".format, named[later], decoded.rows[later].tolist()))
    if decoded.event_ids is not None:
        named = np.where(_is_none(named), id_column(decoded), named)
    return replace(decoded, event_ids=named.tolist())


def _texts(headers: HeaderColumn) -> tuple[HeaderColumn, dict[int, InvalidRecordError]]:
    """The ids as texts, None where there is none; and the records whose id is no text."""
    texts = np.full(len(headers), None, np.object_)
    present = np.fromiter(map(bool, headers), np.bool_, len(headers))
    found = headers[present]
    try:
        texts[present] = np.fromiter(map(bytes.decode, found), np.object_, len(found))
    except UnicodeDecodeError:
        return _texts_one_by_one(headers)
    return texts, {}


def _texts_one_by_one(headers: HeaderColumn) -> tuple[HeaderColumn, dict[int, InvalidRecordError]]:
    texts = np.full(len(headers), None, np.object_)
    errors = {}
    for row, value in enumerate(headers):
        try:
            texts[row] = value.decode() if value else None
        except UnicodeDecodeError:
            errors[row] = InvalidRecordError(Reason.INVALID_UTF8, f"the header {ID_HEADER!r} is not UTF-8")
    return texts, errors


def _is_none(column: NDArray[np.object_]) -> NDArray[np.bool_]:
    return np.fromiter(map(is_, column, repeat(None)), np.bool_, len(column))


def _is_absent(value: bytes | None) -> bool:
    return not value


def stream_decoder(
    signature: Signature,
    default: RecordFormat,
    *,
    limits: Limits,
    id_field: str | None = None,
    schemas: SchemaSource | None = None,
    json: Callable[..., Decoder] = JsonDecoder,
    avro: Callable[..., Decoder] = AvroDecoder,
    arrow: Callable[..., Decoder] = ArrowDecoder,
) -> StreamDecoder:
    """The decoder of a stream.

    Args:
        signature: What to read.
        default: The format of records without a content-type header.
        limits: Bounds on one record.
        id_field: Name of a field with the record's own id; None for no such field.
        schemas: Knows the writers' schemas of Avro records; None for a stream that accepts none.
        json: Makes the decoder of JSON, with the arguments of `JsonDecoder`.
        avro: Makes the decoder of Avro, with the arguments of `AvroDecoder`.
        arrow: Makes the decoder of Arrow IPC, with the arguments of `ArrowDecoder`.

    Raises:
        RequestError: The signature cannot be read from the stream's default format.
    """

    def compiled(kind: RecordFormat) -> Decoder:
        match kind:
            case RecordFormat.JSON:
                return json(signature, limits=limits, id_field=id_field)
            case RecordFormat.AVRO:
                if schemas is None:
                    raise RequestError("no Avro schemas are known", remedy="name source.registry or source.schemas")
                return avro(signature, limits=limits, schemas=schemas, id_field=id_field)
            case RecordFormat.ARROW:
                return arrow(signature, limits=limits, id_field=id_field)
        assert_never(kind)

    return StreamDecoder(signature, default, compiled)
