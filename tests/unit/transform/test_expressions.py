import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.transform.expressions import MAX_CHARACTERS, MAX_NODES, parse
from millrace.transform.frame import Frame
from millrace.transform.mistake import MistakeError

FRAME = Frame(
    {
        "a": pa.array([1.0, -2.0, None]),
        "i": pa.array([7, 8, 9]),
        "t": pa.array(["Berlin", "bonn ", None]),
        "ok": pa.array([True, False, None]),
        "two words": pa.array([1.0, 2.0, 3.0]),
    },
    np.arange(3),
)


def evaluate(text: str) -> list[Any]:
    values: list[Any] = parse(text)(FRAME).to_pylist()
    return values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("(a + 1) * 2", [4.0, -2.0, None]),
        ("i / 2", [3.5, 4.0, 4.5]),
        ("-i % 5", [3.0, 2.0, 1.0]),
        ("i ** 2", [49.0, 64.0, 81.0]),
        ("a > 0", [True, False, None]),
        ("0 < i <= 8", [True, True, False]),
        ("i == 8.0", [False, True, False]),
        ("ok and a > 0", [True, False, None]),
        ("ok or True", [True, True, True]),
        ("not ok", [False, True, None]),
        ("1 if ok else 0", [1.0, 0.0, None]),
        ("t if ok else 'none'", ["Berlin", "none", None]),
        ("t in ['Berlin', 'Paris']", [True, False, None]),
        ("i not in [7, 9]", [False, True, False]),
        ("is_null(a)", [False, False, True]),
        ("coalesce(a, i, 0)", [1.0, -2.0, 9.0]),
        ("max(a, 0)", [1.0, 0.0, None]),
        ("min(i, 8)", [7.0, 8.0, 8.0]),
        ("abs(a)", [1.0, 2.0, None]),
        ("upper(trim(t))", ["BERLIN", "BONN", None]),
        ("length(t)", [6.0, 5.0, None]),
        ("contains(t, 'on')", [False, True, None]),
        ("starts_with(t, 'B')", [True, False, None]),
        ("t < 'C'", [True, False, None]),
        ("column('two words') - 1", [0.0, 1.0, 2.0]),
    ],
)
def test_values(text: str, values: list[Any]) -> None:
    assert evaluate(text) == values


def test_what_has_no_value_is_not_finite() -> None:
    assert evaluate("1 / 0") == [math.inf] * 3
    assert all(map(math.isnan, evaluate("log(-1) + 0 * i")))


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "a.real",
        "[x for x in a]",
        "(lambda: 1)()",
        "f'{a}'",
        "a := 1",
        "a is None",
        "None",
        "1j",
        "abs(a, a)",
        "abs(*a)",
        "max(a)",
        "column(t)",
        "t in 'Berlin'",
        "t in [1, 'x']",
        "i in [True]",
        "a; i",
        "",
        "a[0]",
        "a & i",
        "a if",
    ],
)
def test_what_is_not_allowed_is_refused_when_it_is_read(text: str) -> None:
    with pytest.raises(MistakeError):
        parse(text)


@pytest.mark.parametrize(
    "text", ["t + 1", "not a", "a and ok", "a == t", "length(a)", "ok + 1", "unknown", "a if i else a"]
)
def test_types_that_do_not_agree_are_refused_without_a_row(text: str) -> None:
    nothing = Frame({name: column.slice(0, 0) for name, column in FRAME.items()}, np.arange(0))
    with pytest.raises(MistakeError):
        parse(text)(nothing)


@pytest.mark.parametrize(
    "text",
    ["a" * (MAX_CHARACTERS + 1), "+".join(["a"] * MAX_NODES), "(" * 300 + "a" + ")" * 300, "-" * 200 + "a", "\0"],
)
def test_an_expression_is_bounded(text: str) -> None:
    with pytest.raises(MistakeError):
        parse(text)
