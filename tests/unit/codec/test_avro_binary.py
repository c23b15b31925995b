import io

import numpy as np
from fastavro import schemaless_writer

from millrace.codec.avro_binary import encode_doubles, encode_longs, encode_text


def by_fastavro(kind: str, value: object) -> bytes:
    stream = io.BytesIO()
    schemaless_writer(stream, {"type": kind}, value)
    return stream.getvalue()


def test_longs_of_every_length() -> None:
    edges = [sign * (1 << bits) + near for bits in range(63) for sign in (1, -1) for near in (-1, 0, 1)]
    numbers = [*edges, 0, 2**63 - 1, -(2**63)]
    assert encode_longs(np.array(numbers)) == [by_fastavro("long", number) for number in numbers]


def test_longs_of_a_narrow_type_and_none_at_all() -> None:
    assert encode_longs(np.array([-(2**31), 2**31 - 1], np.int32)) == encode_longs(np.array([-(2**31), 2**31 - 1]))
    assert encode_longs(np.array([], np.int64)) == []


def test_doubles() -> None:
    numbers = [0.0, -0.0, 1.5, float("inf"), 5e-324]
    assert encode_doubles(np.array(numbers)) == [by_fastavro("double", number) for number in numbers]
    assert encode_doubles(np.array([[1, 2], [3, 4]], np.float32)[:, 1]) == [
        by_fastavro("double", n) for n in (2.0, 4.0)
    ]


def test_text() -> None:
    for text in ("", "größe", "x" * 100):
        assert encode_text(text) == by_fastavro("string", text)
