import json
from dataclasses import replace

import numpy as np
import pytest

from millrace.codec.json import JsonDecoder
from millrace.codec.limits import Limits
from millrace.core.columns import Decoded
from millrace.core.errors import Reason, RequestError
from millrace.core.signature import DType, ExtraFields, Feature, ModelInput, NotFinite, Signature, Task
from millrace.testing.records import binary_signature, record_batch

LIMITS = Limits(record_bytes=2000, depth=8)
NUMBERS = Signature(
    (Feature("a"), Feature("b")), (ModelInput("x", ("a", "b")),), Task.BINARY, "scores", classes=("no", "yes")
)
KINDS = binary_signature(
    Feature("wide", DType.FLOAT64),
    Feature("small", DType.INT32),
    Feature("big", DType.INT64),
    Feature("flag", DType.BOOL),
    Feature("town", DType.STRING),
    Feature("maybe", nullable=True),
    Feature("row", shape=(3,)),
    Feature("grid", DType.INT32, shape=(2, 2)),
    Feature("gap", DType.FLOAT64, shape=(2,), nullable=True),
)
GOOD = {
    "wide": 0.1,
    "small": -5,
    "big": 2**62,
    "flag": True,
    "town": "Bellevue",
    "maybe": 1.5,
    "row": [1, 2.5, 3],
    "grid": [1, 2, 3, 4],
    "gap": [1, 2],
}


def decode(
    *values: bytes | None, signature: Signature = NUMBERS, limits: Limits = LIMITS, id_field: str | None = None
) -> Decoded:
    return JsonDecoder(signature, limits=limits, id_field=id_field).decode(record_batch(values))


def reasons(decoded: Decoded) -> dict[int, Reason]:
    return {rejection.row: rejection.error.reason for rejection in decoded.rejections}


def test_stacks_scalar_features_in_the_order_of_the_input() -> None:
    decoded = decode(b'{"b": 2, "a": 1}', b' {"a":3.5,"b":-4e0,"c":null} ')
    (tensor,) = decoded.columns.tensors
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    assert tensor.tolist() == [[1, 2], [3.5, -4]]
    assert decoded.source.tolist() == [0, 1]
    assert decoded.rows.tolist() == [0, 0]
    assert decoded.event_ids is None
    assert decoded.rejections == ()


def test_an_empty_batch_has_no_rows_but_the_right_types() -> None:
    decoded = decode(signature=KINDS)
    assert [(t.shape, t.dtype) for t in decoded.columns.tensors] == [
        ((0, *(f.shape or (1,))), f.dtype.numpy) for f in KINDS.features
    ]


def test_reads_every_kind_of_feature() -> None:
    nested = GOOD | {"grid": [[1, 2], [3, 4]], "gap": None, "maybe": None}
    absent = {name: value for name, value in GOOD.items() if name not in {"gap", "maybe"}}
    decoded = decode(*(json.dumps(record).encode() for record in (GOOD, nested, absent)), signature=KINDS)
    assert reasons(decoded) == {}
    columns = decoded.columns
    assert columns.column("wide").tolist() == [0.1] * 3
    assert columns.column("small").tolist() == [-5] * 3
    assert columns.column("big").tolist() == [2**62] * 3
    assert columns.column("flag").tolist() == [True] * 3
    assert columns.column("town").tolist() == ["Bellevue"] * 3
    assert columns.column("row").tolist() == [[1, 2.5, 3]] * 3
    assert columns.column("grid").tolist() == [[[1, 2], [3, 4]]] * 3
    np.testing.assert_array_equal(columns.column("maybe"), np.array([1.5, np.nan, np.nan], np.float32))
    np.testing.assert_array_equal(columns.column("gap"), [[1, 2], [np.nan, np.nan], [np.nan, np.nan]])
    for tensor, feature in zip(columns.tensors, KINDS.features, strict=True):
        assert tensor.dtype == feature.dtype.numpy
        assert tensor.shape == (3, *(feature.shape or (1,)))


DAMAGE = [
    (None, Reason.TOMBSTONE),
    (b"", Reason.EMPTY),
    (b" \n\t", Reason.EMPTY),
    (b'{"a":1,"b":2,"c":"' + b"x" * 2000 + b'"}', Reason.OVERSIZED),
    (b'{"a":1,"b":2,"c":"\xff"}', Reason.INVALID_UTF8),
    (b"\xfe\xff\x00{", Reason.INVALID_UTF8),
    (b'{"a":1,"b":2', Reason.TRUNCATED),
    (b'{"a":1,"b":2,"c":"\xe2\x82', Reason.TRUNCATED),
    (b'{"a":1,"b":2}}', Reason.MALFORMED),
    (b'{"a":1,"b":2}{"a":1,"b":2}', Reason.MALFORMED),
    (b'{"a":1,"b":2},{"a":1,"b":2}', Reason.MALFORMED),
    (b'{"a":1 "b":2}', Reason.MALFORMED),
    (b'{"a":1,"b":02}', Reason.MALFORMED),
    (b'{"a":1,"b":2,"c":"\x01"}', Reason.MALFORMED),
    (b'\xef\xbb\xbf{"a":1,"b":2}', Reason.MALFORMED),
    (b"hello", Reason.MALFORMED),
    (b"[1,2]", Reason.MALFORMED),
    (b"17", Reason.MALFORMED),
    (b"null", Reason.MALFORMED),
    (b"[" * 1000, Reason.TOO_DEEP),
    (b'{"a":1,"b":2,"c":' + b"[" * 8 + b"]" * 8 + b"}", Reason.TOO_DEEP),
    (b'{"a":1}', Reason.MISSING_FIELD),
    (b'{"a":1,"b":null}', Reason.MISSING_FIELD),
    (b"{}", Reason.MISSING_FIELD),
    (b'{"a":1,"b":true}', Reason.WRONG_TYPE),
    (b'{"a":1,"b":"2"}', Reason.WRONG_TYPE),
    (b'{"a":1,"b":[2]}', Reason.WRONG_TYPE),
    (b'{"a":1,"b":{}}', Reason.WRONG_TYPE),
    (b'{"a":1,"b":NaN}', Reason.NOT_FINITE),
    (b'{"a":1,"b":Infinity}', Reason.NOT_FINITE),
    (b'{"a":1,"b":-Infinity}', Reason.NOT_FINITE),
    (b'{"a":1,"b":1e999}', Reason.NOT_FINITE),
    (b'{"a":1,"b":-1e39}', Reason.NOT_FINITE),
    (b'{"a":1,"b":' + b"9" * 400 + b"}", Reason.NOT_FINITE),
    (b'{"a":1,"b":2,"c":NaN}', Reason.NOT_FINITE),
]


@pytest.mark.parametrize(("value", "reason"), DAMAGE)
def test_every_damage_has_its_own_reason_and_leaves_its_neighbours_alone(value: bytes | None, reason: Reason) -> None:
    decoded = decode(b'{"a":1,"b":2}', value, b'{"a":3,"b":4}')
    assert reasons(decoded) == {1: reason}
    assert decoded.columns.tensors[0].tolist() == [[1, 2], [3, 4]]
    assert decoded.source.tolist() == [0, 2]


def test_all_damage_at_once() -> None:
    values = [value for value, _ in DAMAGE for _ in range(3)]
    values[40:40] = [b'{"a":1,"b":2}'] * 500
    decoded = decode(*values)
    assert len(decoded.columns) == 500
    assert set(reasons(decoded).values()) == {reason for _, reason in DAMAGE}
    assert [r.row for r in decoded.rejections] == sorted({*range(len(values))} - {*decoded.source.tolist()})


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("small", 2**31, Reason.NOT_FINITE),
        ("small", 1.5, Reason.WRONG_TYPE),
        ("small", 1.0, Reason.WRONG_TYPE),
        ("small", True, Reason.WRONG_TYPE),
        ("big", 2**63, Reason.NOT_FINITE),
        ("big", 10**4000, Reason.NOT_FINITE),
        ("flag", 1, Reason.WRONG_TYPE),
        ("flag", "true", Reason.WRONG_TYPE),
        ("town", 3, Reason.WRONG_TYPE),
        ("town", None, Reason.MISSING_FIELD),
        ("row", 1, Reason.WRONG_TYPE),
        ("row", [1, 2], Reason.WRONG_SHAPE),
        ("row", [1, 2, 3, 4], Reason.WRONG_SHAPE),
        ("row", [[1], [2], [3]], Reason.WRONG_SHAPE),
        ("row", [1, 2, "3"], Reason.WRONG_TYPE),
        ("row", [1, 2, None], Reason.WRONG_TYPE),
        ("grid", [], Reason.WRONG_SHAPE),
        ("grid", [[1, 2, 3], [4]], Reason.WRONG_SHAPE),
        ("grid", [[1, 2], 3, 4], Reason.WRONG_SHAPE),
        ("grid", [1, 2, 3, [4]], Reason.WRONG_SHAPE),
        ("grid", [[[1], [2]], [[3], [4]]], Reason.WRONG_SHAPE),
        ("gap", [1, None], Reason.WRONG_TYPE),
        ("gap", [1, 1e999], Reason.NOT_FINITE),
    ],
)
def test_kinds_of_features_refuse_what_they_are_not(field: str, value: object, reason: Reason) -> None:
    good = json.dumps(GOOD).encode()
    bad = GOOD | {field: "PLACE"}
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else json.dumps(value)
    spoiled = json.dumps(bad).replace('"PLACE"', text).encode()
    decoded = decode(good, spoiled, good, signature=KINDS, limits=Limits())
    assert reasons(decoded) == {1: reason}
    assert len(decoded.columns) == 2


def test_extra_fields_are_a_policy() -> None:
    strict = replace(NUMBERS, extra_fields=ExtraFields.REJECT)
    values = (b'{"a":1,"b":2,"c":3}', b'{"a":1,"b":2}', b'{"a":1,"b":2,"id":"x"}')
    assert reasons(decode(*values)) == {}
    assert reasons(decode(*values, signature=strict)) == {0: Reason.EXTRA_FIELD, 2: Reason.EXTRA_FIELD}
    assert reasons(decode(*values, signature=strict, id_field="id")) == {0: Reason.EXTRA_FIELD}


def test_numbers_that_are_not_finite_are_a_policy() -> None:
    values = (b'{"a":1,"b":NaN}', b'{"a":-Infinity,"b":1e999}', b'{"a":1e39,"b":-1e39}', b'{"a":1,"b":2,"c":NaN}')
    decoded = decode(*values, signature=replace(NUMBERS, not_finite=NotFinite.ALLOW))
    assert reasons(decoded) == {}
    expected = np.array([[1, np.nan], [-np.inf, np.inf], [np.inf, -np.inf], [1, 2]], np.float32)
    np.testing.assert_array_equal(decoded.columns.tensors[0], expected)


def test_allowing_infinity_allows_nothing_else() -> None:
    allow = replace(NUMBERS, not_finite=NotFinite.ALLOW)
    decoded = decode(b'{"a":NaN,"b":true}', b'{"a":NaN', b'{"a":NaN}', b'{"a":1,"b":2,"c":"\\ud800"}', signature=allow)
    assert [r.error.reason for r in decoded.rejections] == [
        Reason.WRONG_TYPE,
        Reason.TRUNCATED,
        Reason.MISSING_FIELD,
        Reason.MALFORMED,
    ]


def test_every_cut_of_a_record_is_truncated() -> None:
    whole = b'{"a": -1.5e-3, "b": 20, "c": ["\\u00e9\\n", true, false, null, {"d": 0.1E+5}, "\xe2\x82\xac"]}'
    assert reasons(decode(whole)) == {}
    decoded = decode(*(whole[:end] for end in range(1, len(whole))))
    assert len(decoded.columns) == 0
    assert set(reasons(decoded).values()) == {Reason.TRUNCATED}


@pytest.mark.parametrize(
    "values",
    [
        (b'{"a":1,"b":2,"c":[1', b'2],"a":3,"b":4}'),
        (b'{"a":1,"b":2,"c":"', b'","a":3,"b":4}'),
        (b'{"a":1,"b":2},{"a":3,"b":4}', b""),
        (b'{"a":1,"b":2},{"a":3,"b":4}', b" "),
        (b'{"a":1,"b":2},4611686018427387904,{"a":1,"b":2}', b'{"a":1,"b":2}'),
        (b'{"a":1,"b":2}],[', b'{"a":1,"b":2}'),
        (b'{"a":1,"b":2', b"}"),
        (b'{"a":1,"b":2', b',"c":3}'),
        (b'{"a":1,"b":', b"2}"),
        (b"4611686018427387904", b'{"a":1,"b":2}'),
    ],
)
def test_records_never_merge_split_or_shift(values: tuple[bytes, bytes]) -> None:
    good = b'{"a":7,"b":8}'
    alone = [len(decode(value).columns) for value in values]
    decoded = decode(good, *values, good)
    assert decoded.source.tolist() == [0, *(row + 1 for row, accepted in enumerate(alone) if accepted), 3]
    assert len(decoded.rejections) == alone.count(0)
    assert decoded.columns.tensors[0][[0, -1]].tolist() == [[7, 8], [7, 8]]


def test_a_record_that_knows_the_separator_is_what_the_nonce_must_prevent() -> None:
    """The check is real: with a guessed nonce the damage is done, which is why nobody may guess it."""
    decoder = JsonDecoder(NUMBERS, limits=LIMITS, nonce=42)
    hostile = record_batch([b'{"a":1,"b":2},42,{"a":3,"b":4}'])
    assert len(decoder.decode(hostile).columns) == 0  # one record: the count of elements is wrong
    pair = record_batch([b'{"a":1,"b":2},42,{"a":3,"b":4},42,{"a":5,"b":', b"6}"])
    assert len(decoder.decode(pair).columns) == 0  # the cut number leaves a bare separator where a record must be


def test_ids_come_from_the_id_field() -> None:
    values = [b'{"a":1,"b":2,"id":"x"}', b'{"a":1,"b":2,"id":17}', b'{"a":1,"b":2}', b'{"a":1,"b":2,"id":""}']
    assert decode(*values, id_field="id").event_ids == ["x", "17", None, None]
    assert decode(values[0], id_field="id").event_ids == ["x"]
    assert decode(values[1], id_field="id").event_ids == ["17"]
    assert decode(values[2], id_field="id").event_ids is None
    assert decode(*values).event_ids is None


@pytest.mark.parametrize("bad", [b"1.5", b"true", b"[1]"])
def test_an_id_is_a_text_or_an_integer(bad: bytes) -> None:
    decoded = decode(b'{"a":1,"b":2,"id":%b}' % bad, b'{"a":1,"b":2,"id":"x"}', id_field="id")
    assert reasons(decoded) == {0: Reason.WRONG_TYPE}
    assert decoded.event_ids == ["x"]


def test_ids_stay_with_their_rows_when_the_batch_is_cut() -> None:
    values = [b'{"a":1,"b":2,"id":%d}' % row if row % 40 else b"{" for row in range(400)]
    decoded = decode(*values, id_field="id")
    assert decoded.event_ids == [str(row) for row in decoded.source.tolist()]
    assert len(decoded.rejections) == 10


def test_an_id_that_is_a_feature_is_refused() -> None:
    with pytest.raises(RequestError, match="'a' is a feature"):
        JsonDecoder(NUMBERS, limits=LIMITS, id_field="a")


def test_a_name_that_json_cannot_spell_here_is_refused() -> None:
    with pytest.raises(RequestError, match="rename the feature"):
        JsonDecoder(binary_signature(Feature('a"b')), limits=LIMITS)


@pytest.mark.parametrize("name", ["with space", "größe", "class", "f0", "event_id", "", "a.b", "a/b"])
def test_names_need_not_be_identifiers(name: str) -> None:
    decoded = decode(json.dumps({name: 4}).encode(), signature=binary_signature(Feature(name)))
    assert decoded.columns.column(name).tolist() == [4]
