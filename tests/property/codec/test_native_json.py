"""Any bytes in: the native decoder makes the same columns, the same ids and the same reasons as the Python one."""

import json
import os
import struct
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.codec.json import JsonDecoder
from millrace.codec.limits import Limits
from millrace.codec.native_json import NativeJsonDecoder, native_json_decoder
from millrace.core.columns import Decoded
from millrace.core.signature import DType, ExtraFields, Feature, ModelInput, NotFinite, Signature, Task
from millrace.testing.records import record_batch
from tests.property.codec.every_kind import FEATURES, INPUTS

EXAMPLES: Final = int(os.environ.get("MILLRACE_FUZZ_EXAMPLES", "100"))
LIMITS: Final = Limits(record_bytes=600, depth=5)
GOOD: Final = (
    b'{"a":1.5,"b":null,"w":0.1,"n":-7,"l":9007199254740993,"f":true,"t":[[1,2],[3,4e-3]],"g":[1,2],"id":"x",'
    b'"z":{"y":["\\u00e9",-0,1E5]}}'
)
NUMBERS: Final = b"""
1e400 -1e400 1e39 3.4028235677973366e38 3.4028235677973362e38 -0 -0.0 -0e0 0e9 1E+5 1e-400 2.2250738585072011e-308
4.9e-324 2.4e-324 9007199254740993 9007199254740993.0 9007199254740992.5 16777217 16777219.0 0.1e1 123456789012345678
999999999999999999 1234567890123456789 9223372036854775807 9223372036854775808 -9223372036854775808 18446744073709551615
18446744073709551616 2147483648 -2147483648 1e0000000000000000001 1e99999999999999999999 1e-99999999999999999999
7.0064923216240853546186479164495807e-46 7.0064923216240853546186479164495806e-46 00 01 1. .1 +1 1e --1 NaN Infinity
-Infinity nan
""".split()
OTHERS: Final = b"""
true false null "1" [] [1] [1,2] [1,2,3,4] [[1,2],[3,4]] [[1,2],3,4] [[[1]]] {} {"a":1} "" "\\ud800" "\\udc00\\ud800"
"\\ud83d\\ude00" "\\q" "\\u12" "\x00" "\x7f" "\xff" "\xc3" "\xed\xa0\x80" \xef\xbb\xbf1 "a tru nul 1, 1}
""".split()
NASTY: Final = (*NUMBERS, b"1" * 400, b"0." + b"0" * 330 + b"1", *OTHERS, b"1 ", b" 1", b"1 1", b'"\x1f"', b"")
"""Values that have gone wrong somewhere; each takes the place of every field once."""


def signature(extra: ExtraFields, not_finite: NotFinite) -> Signature:
    return Signature(FEATURES, INPUTS, Task.REGRESSION, "y", extra_fields=extra, not_finite=not_finite)


def pair(extra: ExtraFields, not_finite: NotFinite) -> tuple[JsonDecoder, NativeJsonDecoder]:
    made = signature(extra, not_finite)
    python = JsonDecoder(made, limits=LIMITS, id_field="id")
    return python, NativeJsonDecoder(made, python, limits=LIMITS, id_field="id")


POLICIES: Final = [(extra, not_finite) for extra in ExtraFields for not_finite in NotFinite]
PAIRS: Final = [pair(*policy) for policy in POLICIES]


def told(decoded: Decoded) -> tuple[object, ...]:
    """Everything that a decoder says, to the bit."""
    return (
        [(tensor.dtype, tensor.shape, tensor.tobytes()) for tensor in decoded.columns.tensors],
        [tensor.flags.c_contiguous and tensor.flags.writeable for tensor in decoded.columns.tensors],
        (decoded.source.dtype, decoded.source.tolist(), decoded.rows.dtype, decoded.rows.tolist()),
        list(decoded.event_ids or [None] * len(decoded.source)),
        [(rejection.row, rejection.error.reason, rejection.error.detail) for rejection in decoded.rejections],
    )


def check(values: Iterable[bytes | None]) -> None:
    batch = record_batch(list(values))
    for python, native in PAIRS:
        assert told(native.decode(batch)) == told(python.decode(batch))


def replaced(name: str, value: bytes) -> bytes:
    """The good record with another value of one field."""
    fields = {**json.loads(GOOD), name: "PLACE"}
    return json.dumps(fields).encode().replace(b'"PLACE"', value)


@pytest.mark.parametrize("name", [*(feature.name for feature in FEATURES), "id", "z"])
def test_nasty_values_everywhere(name: str) -> None:
    check(replaced(name, value) for value in NASTY)
    for value in NASTY:
        check([replaced(name, value)])


def test_whole_records_cut_doubled_and_nested() -> None:
    check([None, b"", b" ", b"{}", b"{", b"[]", b"1", GOOD * 2, GOOD + b" ", b"\n" + GOOD, b"[" + GOOD + b"]"])
    check(GOOD[:end] for end in range(len(GOOD)))
    check(GOOD[:-1] + b',"a":2}' for _ in range(2))
    check(GOOD[:-1] + b',"y":1,"y":2}' for _ in range(2))
    check(replaced("z", b"[" * depth + b"]" * depth) for depth in range(1, 8))
    check([GOOD.replace(b'"a"', b'"\\u0061"'), GOOD.replace(b'"z"', b'"\xc3\xa9"'), GOOD + b" " * 600])


SYNTAX: Final = rb'{ } [ ] , : " \ \u d800 "a": "b": "t": "id": "z": "\u0061":'.split()
tokens = st.sampled_from([*SYNTAX, b" ", b"\t", b"\xff", b"\xc3\xa9", *NASTY]) | st.binary(max_size=3)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The good record with pieces replaced."""
    value = bytearray(GOOD)
    for _ in range(draw(st.integers(1, 3))):
        where = draw(st.integers(0, len(value)))
        value[where : draw(st.integers(where, min(len(value), where + 12)))] = draw(tokens)
    return bytes(value)


@given(st.lists(st.none() | damaged() | st.just(GOOD) | st.lists(tokens, max_size=12).map(b"".join), max_size=8))
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_bytes_fare_alike(values: list[bytes | None]) -> None:
    check(values)


def decimals() -> st.SearchStrategy[str]:
    """Numbers as writers write them: shortest, long, rounded to some places, between two floats, digit by digit."""
    doubles = st.floats(allow_nan=False, allow_infinity=False)
    middles = st.integers(0, 2**31 - 2**24).map(
        lambda bits: repr(sum(struct.unpack("<2f", struct.pack("<2I", bits, bits + 1))) / 2)
    )
    digits = st.text("0123456789", min_size=1, max_size=25)
    parts = st.tuples(st.sampled_from(["", "-"]), st.integers(0, 99).map(str), digits, st.integers(-330, 310))
    return st.one_of(
        doubles.map(repr),
        st.tuples(doubles, st.integers(0, 40)).map(lambda pair: f"{pair[0]:.{pair[1]}e}"),
        st.floats(-1e6, 1e6).map("{:.6f}".format),
        middles,
        st.integers(-(2**70), 2**70).map(str),
        parts.map(lambda p: f"{p[0]}{p[1]}.{p[2]}e{p[3]}"),
    )


@given(st.lists(st.tuples(decimals(), decimals()), min_size=1, max_size=20))
@settings(max_examples=EXAMPLES, deadline=None)
def test_every_decimal_is_rounded_alike(numbers: list[tuple[str, str]]) -> None:
    check(replaced("t", f"[{a},{b},{a},{b}]".encode()) for a, b in numbers)
    check(replaced("g", f"[{a},{b}]".encode()) for a, b in numbers)


def test_texts_as_features_are_read_in_python() -> None:
    made = Signature((Feature("s", DType.STRING),), (ModelInput("s", ("s",)),), Task.REGRESSION, "y")
    assert isinstance(native_json_decoder(made, limits=LIMITS), JsonDecoder)


def test_tensors_that_do_not_fit_are_refused() -> None:
    reader: Any = PAIRS[0][1]._reader
    with pytest.raises(ValueError, match="do not fit"):
        reader.read([b"{}"], [np.empty(4, np.uint8)])
