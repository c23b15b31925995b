"""Whatever the bytes, every record is a row or one rejection, and no record depends on its neighbours."""

import json
import struct
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.codec.json import JsonDecoder
from millrace.codec.limits import Limits
from millrace.core.columns import Decoded
from millrace.core.errors import Reason
from millrace.core.signature import DType, ExtraFields, Feature, ModelInput, NotFinite, Signature, Task
from millrace.testing.records import record_batch

LIMITS = Limits(record_bytes=400, depth=6)
DECODERS = {
    (extra, not_finite): JsonDecoder(
        Signature(
            (
                Feature("a"),
                Feature("b", nullable=True),
                Feature("n", DType.INT32),
                Feature("s", DType.STRING),
                Feature("t", shape=(2, 2)),
            ),
            (ModelInput("x", ("a", "b")), ModelInput("n", ("n",)), ModelInput("s", ("s",)), ModelInput("t", ("t",))),
            Task.REGRESSION,
            "y",
            extra_fields=extra,
            not_finite=not_finite,
        ),
        limits=LIMITS,
        id_field="id",
        nonce=nonce,
    )
    for nonce, (extra, not_finite) in enumerate(
        ((extra, not_finite) for extra in ExtraFields for not_finite in NotFinite), start=1
    )
}
decoders = st.sampled_from(list(DECODERS.values()))

numbers = st.floats(width=32) | st.integers(-(2**40), 2**40) | st.just(10**400) | st.floats()
scalars = numbers | st.booleans() | st.none() | st.text(max_size=8)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
)


def often(likely: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return likely | likely | likely | likely | anything


elements = st.lists(often(st.floats(width=32, allow_nan=False)), min_size=4, max_size=4)
documents = st.fixed_dictionaries(
    {
        "a": often(st.floats(width=32, allow_nan=False, allow_infinity=False)),
        "n": often(st.integers(-(2**31), 2**31 - 1)),
        "s": often(st.text(max_size=6)),
        "t": elements | elements.map(lambda flat: [flat[:2], flat[2:]]) | anything,
    },
    optional={
        "b": often(st.none() | st.floats(width=32)),
        "id": often(st.text(max_size=4) | st.integers()),
        "z": anything,
    },
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A document with a byte changed, cut, added, or a piece of it repeated."""
    value = bytearray(draw(encoded))
    where = draw(st.integers(0, len(value)))
    to = draw(st.integers(where, len(value)))
    value[where:to] = draw(
        st.sampled_from([b"", b",", b"}", b"{", b"[", b"]", b'"', b",1,", b"\xff", b"NaN"]) | st.binary(max_size=3)
    )
    return bytes(value)


encoded = st.builds(
    lambda document, ascii_only: json.dumps(document, ensure_ascii=ascii_only).encode(errors="surrogatepass"),
    documents,
    st.booleans(),
)
values = st.lists(st.none() | encoded | encoded | damaged() | st.binary(max_size=20), max_size=12)


def fates(decoded: Decoded, records: int) -> list[Reason | tuple[bytes | str | None, ...]]:
    """For each record its reason, or the bits of its row."""
    found: dict[int, Any] = {rejection.row: rejection.error.reason for rejection in decoded.rejections}
    ids = decoded.event_ids or [None] * len(decoded.source)
    for place, row in enumerate(decoded.source.tolist()):
        assert row not in found
        tensors = decoded.columns.tensors
        bits = (repr(t[place].tolist()) if t.dtype == object else t[place].tobytes() for t in tensors)
        found[row] = (ids[place], *bits)
    assert sorted(found) == list(range(records))
    return [found[row] for row in range(records)]


@given(decoders, values)
@settings(max_examples=400, deadline=None)
def test_a_record_fares_alike_alone_and_among_others(decoder: JsonDecoder, values: list[bytes | None]) -> None:
    together = fates(decoder.decode(record_batch(values)), len(values))
    alone = [fates(decoder.decode(record_batch([value])), 1)[0] for value in values]
    assert together == alone


@given(st.lists(damaged() | st.binary(max_size=20), max_size=6), st.integers(0, 6))
@settings(max_examples=200, deadline=None)
def test_neighbours_of_damage_are_untouched(hostile: list[bytes], place: int) -> None:
    decoder = DECODERS[ExtraFields.IGNORE, NotFinite.REJECT]
    good = b'{"a":1.5,"n":2,"s":"x","t":[1,2,3,4],"id":"me"}'
    mixed = [*hostile[:place], good, *hostile[place:]]
    fate = fates(decoder.decode(record_batch(mixed)), len(mixed))[min(place, len(hostile))]
    assert fate == (
        "me",
        struct.pack("<2f", 1.5, np.nan),
        struct.pack("<i", 2),
        "['x']",
        struct.pack("<4f", 1, 2, 3, 4),
    )


@given(
    st.lists(
        st.tuples(
            st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(-(2**31), 2**31 - 1), st.text()
        ),
        max_size=50,
    )
)
@settings(max_examples=100, deadline=None)
def test_what_was_written_is_read_to_the_bit(rows: list[tuple[float, int, str]]) -> None:
    decoder = DECODERS[ExtraFields.REJECT, NotFinite.REJECT]
    records = [json.dumps({"a": a, "n": n, "s": s, "t": [a, a, a, a]}).encode() for a, n, s in rows]
    kept = [index for index, record in enumerate(records) if len(record) <= LIMITS.record_bytes]
    decoded = decoder.decode(record_batch(records))
    assert decoded.source.tolist() == kept
    columns = decoded.columns
    assert columns.column("a").tobytes() == np.array([rows[i][0] for i in kept], np.float32).tobytes()
    assert columns.column("n").tolist() == [rows[i][1] for i in kept]
    assert columns.column("s").tolist() == [rows[i][2] for i in kept]
