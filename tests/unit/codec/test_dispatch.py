import json

import pyarrow as pa
import pytest

from millrace.codec.dispatch import StreamDecoder, stream_decoder
from millrace.codec.limits import Limits
from millrace.codec.schema_source import GivenSchemas
from millrace.core.columns import Decoded
from millrace.core.errors import Reason, RequestError
from millrace.core.records import Headers
from millrace.core.signature import Feature
from millrace.process.deployment import RecordFormat
from millrace.testing.records import binary_signature, record_batch

SIGNATURE = binary_signature(Feature("a"))
JSON: Headers = [("content-type", b"application/json; charset=utf-8")]


def decode(*records: tuple[bytes | None, Headers | None], id_field: str | None = None) -> Decoded:
    decoder = stream_decoder(SIGNATURE, RecordFormat.JSON, limits=Limits(), id_field=id_field)
    values, headers = zip(*records, strict=True)
    return decoder.decode(record_batch(list(values), headers=list(headers)))


def reasons(decoded: Decoded) -> dict[int, Reason]:
    return {rejection.row: rejection.error.reason for rejection in decoded.rejections}


def test_without_headers_the_streams_format_counts() -> None:
    decoded = decode((b'{"a":1}', None), (b'{"a":2}', []))
    assert decoded.columns.column("a").tolist() == [1, 2]
    assert decoded.event_ids is None


def test_with_other_headers_too() -> None:
    decoded = decode((b'{"a":1}', [("trace", b"x")]), (b'{"a":2}', None), (b'{"a":3}', [("content-type", None)]))
    assert decoded.columns.column("a").tolist() == [1, 2, 3]
    assert decoded.event_ids is None


def test_an_unknown_content_type_is_a_reason_of_its_own() -> None:
    decoded = decode(
        (b'{"a":1}', [("content-type", b"text/plain")]),
        (b'{"a":2}', JSON),
        (b"{", None),
        (b'{"a":3}', [("content-type", b"\xff")]),
        (b'{"a":4}', [("content-type", b"APPLICATION/JSON")]),
    )
    assert decoded.columns.column("a").tolist() == [2, 4]
    assert decoded.source.tolist() == [1, 4]
    assert reasons(decoded) == {
        0: Reason.UNKNOWN_CONTENT_TYPE,
        2: Reason.TRUNCATED,
        3: Reason.UNKNOWN_CONTENT_TYPE,
    }


def test_only_unknown_content_types() -> None:
    decoded = decode((b'{"a":1}', [("content-type", b"text/plain")]))
    assert len(decoded.columns) == 0
    assert reasons(decoded) == {0: Reason.UNKNOWN_CONTENT_TYPE}


def test_the_last_of_two_headers_counts() -> None:
    decoded = decode((b'{"a":1}', [("content-type", b"text/plain"), *JSON, ("id", b"first"), ("id", b"last")]))
    assert decoded.event_ids == ["last"]


def test_header_ids_go_before_field_ids() -> None:
    decoded = decode(
        (b'{"a":1,"id":"f0"}', [("id", b"h0")]),
        (b'{"a":1,"id":"f1"}', None),
        (b'{"a":1}', [("id", "größe".encode())]),
        (b'{"a":1}', [("id", b"")]),
        (b"{", [("id", b"h4")]),
        (b'{"a":1,"id":"f5"}', [("id", None)]),
        id_field="id",
    )
    assert decoded.event_ids == ["h0", "f1", "größe", None, "f5"]
    assert decoded.source.tolist() == [0, 1, 2, 3, 5]


def test_an_id_header_that_is_no_text_spoils_its_record_only() -> None:
    decoded = decode(
        (b'{"a":1}', [("id", b"h0")]),
        (b'{"a":2}', [("id", b"\xff")]),
        (b"{", [("id", b"\xff")]),
        (b'{"a":4,"id":"f3"}', None),
        id_field="id",
    )
    assert decoded.event_ids == ["h0", "f3"]
    assert decoded.columns.column("a").tolist() == [1, 4]
    assert reasons(decoded) == {1: Reason.INVALID_UTF8, 2: Reason.TRUNCATED}


def test_a_format_that_cannot_be_compiled_rejects_its_records() -> None:
    working = stream_decoder(SIGNATURE, RecordFormat.JSON, limits=Limits())

    def compiled(found: RecordFormat) -> StreamDecoder:
        if found is RecordFormat.JSON:
            return working
        raise RequestError("no schemas are given", remedy="give some")

    decoder = StreamDecoder(SIGNATURE, RecordFormat.JSON, compiled)
    headers = [None, [("content-type", b"application/avro")]]
    decoded = decoder.decode(record_batch([b'{"a":1}', b""], headers=headers))
    assert decoded.columns.column("a").tolist() == [1]
    assert reasons(decoded) == {1: Reason.UNKNOWN_CONTENT_TYPE}


def test_formats_mix_and_rows_keep_the_order_of_their_records() -> None:
    schema = {"type": "record", "name": "Row", "fields": [{"name": "a", "type": "int"}]}
    schemas = GivenSchemas({7: json.dumps(schema)})
    sink = pa.BufferOutputStream()
    table = pa.table({"a": [3.0, 4.0, 5.0], "id": ["x", None, None]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    arrow = sink.getvalue().to_pybytes()
    arrow_type = ("content-type", b"application/vnd.apache.arrow.stream")
    decoder = stream_decoder(SIGNATURE, RecordFormat.AVRO, limits=Limits(), id_field="id", schemas=schemas)
    records = record_batch(
        [b"\x00\x00\x00\x00\x07\x02", b'{"a":2,"id":"j"}', arrow, arrow, b"", b"\x00\x00\x00\x00\x07\x0c"],
        headers=[None, JSON, [arrow_type], [arrow_type, ("id", b"h")], JSON, [("id", b"k")]],
    )
    decoded = decoder.decode(records)
    assert decoded.columns.column("a").tolist() == [1, 2, 3, 4, 5, 3, 4, 5, 6]
    assert decoded.source.tolist() == [0, 1, 2, 2, 2, 3, 3, 3, 5]
    assert decoded.rows.tolist() == [0, 0, 0, 1, 2, 0, 1, 2, 0]
    assert decoded.event_ids == [None, "j", "x", None, None, "h", "h.1", "h.2", "k"]
    assert reasons(decoded) == {4: Reason.EMPTY}


def test_avro_needs_schemas() -> None:
    with pytest.raises(RequestError, match="no Avro schemas are known"):
        stream_decoder(SIGNATURE, RecordFormat.AVRO, limits=Limits())
    decoded = decode((b"\x00\x00\x00\x00\x07\x02", [("content-type", b"application/avro")]), (b'{"a":2}', None))
    assert reasons(decoded) == {0: Reason.UNKNOWN_CONTENT_TYPE}


def test_the_default_format_is_compiled_at_once() -> None:
    with pytest.raises(RequestError, match="rename"):
        stream_decoder(binary_signature(Feature('"')), RecordFormat.JSON, limits=Limits())
