import io
from datetime import UTC, datetime

import fastavro
import numpy as np
import pyarrow as pa
import pytest

from millrace.client.encoding import ArrowEncoder, AvroEncoder, JsonEncoder, keys_of, timestamps_of
from millrace.client.sources import Chunk
from millrace.core.errors import RequestError

SCHEMA = {"type": "record", "name": "Row", "fields": [{"name": "wind", "type": "double"}]}


def chunk(*rows: dict[str, object]) -> Chunk:
    return Chunk(first=1, done=0, total=None, rows=rows)


def test_json_is_compact_and_texts_stay_as_they_are() -> None:
    rows = chunk({"a": 1, "b": [1.5, None]}, {"at": datetime(2026, 1, 2, tzinfo=UTC), "n": np.float32(0.5)})
    assert JsonEncoder().encode(rows, "x") == [b'{"a":1,"b":[1.5,null]}', b'{"at":"2026-01-02T00:00:00+00:00","n":0.5}']
    texts = [b'{ "a" : 1 }', b"damaged"]
    assert JsonEncoder().encode(Chunk(first=1, done=0, total=None, texts=texts), "x") == texts


def test_a_value_without_json_form_is_refused() -> None:
    with pytest.raises(RequestError, match="a value has no JSON form"):
        JsonEncoder().encode(chunk({"a": b"bytes"}), "x")


def test_avro_is_framed_with_the_schema_id() -> None:
    [value] = AvroEncoder(SCHEMA, 7).encode(chunk({"wind": 1.5}), "x")
    assert value[:5] == b"\0\0\0\0\7"
    assert fastavro.schemaless_reader(io.BytesIO(value[5:]), SCHEMA, None) == {"wind": 1.5}


def test_a_row_that_does_not_fit_the_schema_is_named() -> None:
    with pytest.raises(RequestError, match="x: row 2 does not fit the Avro schema"):
        AvroEncoder(SCHEMA, 7).encode(chunk({"wind": 1.5}, {"wind": "strong"}), "x")


def test_arrow_puts_many_rows_into_a_record() -> None:
    rows: list[dict[str, object]] = [{"wind": float(number)} for number in range(5)]
    values = ArrowEncoder(rows_per_record=2).encode(chunk(*rows), "x")
    tables = [pa.ipc.open_stream(value).read_all() for value in values]
    assert [table.num_rows for table in tables] == [2, 2, 1]
    assert pa.concat_tables(tables).to_pylist() == rows
    assert ArrowEncoder().headers == (("content-type", b"application/vnd.apache.arrow.stream"),)


def test_rows_of_different_types_do_not_fit_into_columns() -> None:
    with pytest.raises(RequestError, match="rows do not fit into columns"):
        ArrowEncoder().encode(chunk({"wind": 1.5}, {"wind": "strong"}), "x")


def test_keys_are_texts_numbers_or_nothing() -> None:
    rows = [{"k": key} for key in ("omaha", 7, 1.5, b"\xff", None)]
    assert keys_of(rows, "k", "x", 1) == [b"omaha", b"7", b"1.5", b"\xff", None]
    with pytest.raises(RequestError, match="the key field 'k' holds a list"):
        keys_of([{"k": []}], "k", "x", 1)


def test_a_missing_field_is_named_with_its_row_and_those_there_are() -> None:
    with pytest.raises(RequestError, match="x: row 12 has no field 'key'") as refused:
        keys_of([{"a": 1, "b": 2}], "key", "x", 12)
    assert refused.value.remedy == "its fields are a, b"


def test_timestamps_are_milliseconds_times_or_texts() -> None:
    expected = 1_767_225_600_000
    times: list[object] = [expected, float(expected), datetime(2026, 1, 1, tzinfo=UTC)]
    times += ["2026-01-01", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00"]
    assert timestamps_of([{"t": time} for time in times], "t", "x", 1) == [expected] * 6


@pytest.mark.parametrize("wrong", ["yesterday", True, None, -5, [1]])
def test_what_is_no_time_is_refused(wrong: object) -> None:
    with pytest.raises(RequestError, match="the timestamp field 't' holds no time"):
        timestamps_of([{"t": wrong}], "t", "x", 1)
