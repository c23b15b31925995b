"""Any columns in: the native module writes the same bytes as Python does."""

import os
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.codec.native_fill import native_fill
from millrace.codec.predictions import AvroPredictionEncoder, Identity, JsonPredictionEncoder
from millrace.codec.shadows import ShadowEncoder
from millrace.codec.templates import AvroDoubles, AvroLongs, AvroTexts, Choices, Column, JsonTexts, Template, fill
from millrace.core.columns import Decoded, FeatureColumns
from millrace.core.outputs import Outputs
from millrace.core.rollout import RolloutMode
from millrace.core.signature import Feature, ModelInput, Signature, Task
from millrace.testing.records import record_batch

EXAMPLES: Final = int(os.environ.get("MILLRACE_FUZZ_EXAMPLES", "100"))
WHOLE: Final = [0, 1, -1, 9, 10, -(2**63), 2**63 - 1, *(sign * 10**power for power in range(19) for sign in (1, -1))]
PIECES: Final = st.sampled_from([b"", b"%", b"%d", b"%%b", b'{"a":', b"}", "größe".encode()]) | st.binary(max_size=5)
TEXTS: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@st.composite
def columns(draw: st.DrawFn, rows: int) -> Column:  # noqa: PLR0911 - one per kind
    """A column of this many rows."""

    def of(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=rows, max_size=rows))

    match draw(st.integers(0, 7)):
        case 0:
            return np.array(of(st.sampled_from(WHOLE) | st.integers(-(2**63), 2**63 - 1)), np.int64)
        case 1:
            return np.array(of(st.integers(0, 2**32 - 1)), np.uint32).view(np.float32)
        case 2:
            texts = draw(st.lists(PIECES, min_size=1, max_size=3))
            return Choices(texts, np.array(of(st.integers(0, len(texts) - 1)), np.intp))
        case 3:
            return JsonTexts(of(TEXTS))
        case 4:
            return AvroLongs(np.array(of(st.sampled_from(WHOLE) | st.integers(-(2**63), 2**63 - 1)), np.int64))
        case 5:
            return AvroDoubles(np.array(of(st.floats()), np.float64))
        case 6:
            texts = of(st.binary(max_size=3) | st.integers(60, 140).map(bytes))
            return AvroTexts(Template((b"", draw(PIECES), b"")), [np.arange(rows), texts])
    return of(PIECES)


@st.composite
def tables(draw: st.DrawFn) -> tuple[Template, list[Column]]:
    """A template, and the columns that it asks for."""
    rows = draw(st.integers(1, 5))
    found = draw(st.lists(columns(rows), min_size=1, max_size=5))
    pieces = draw(st.lists(PIECES, min_size=len(found) + 1, max_size=len(found) + 1))
    return Template(tuple(pieces)), found


@given(tables())
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_columns_are_written_alike(table: tuple[Template, list[Column]]) -> None:
    assert list(native_fill(*table)) == fill(*table)


def test_every_kind_of_float_is_written_alike() -> None:
    random = np.random.default_rng(5).integers(0, 2**32, 200_000, np.uint32).view(np.float32)
    probabilities = np.random.default_rng(6).random(50_000, np.float32)
    powers = np.array([float(f"1e{power}") for power in range(-45, 39)], np.float32)
    edges = np.array([0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 2**-149, 2**-126, 3.4028235e38, 16777216], np.float32)
    near = np.concatenate([np.nextafter(powers, np.float32(0)), powers, np.nextafter(powers, np.float32(np.inf))])
    floats = np.concatenate(
        [random, probabilities, near, -near, edges, np.arange(2**24 - 50, 2**24 + 50, dtype=np.float32)]
    )
    template = Template((b"", b""))
    assert list(native_fill(template, [floats])) == fill(template, [floats])
    assert list(native_fill(template, [floats[::-3]])) == fill(template, [floats[::-3]])


def test_every_character_is_escaped_alike() -> None:
    texts = JsonTexts([f"a{chr(code)}b" for code in (*range(0x300), 0x2028, 0x2029, 0xFFFD, 0x1F600, 0x10FFFF)])
    template = Template((b"", b""))
    assert list(native_fill(template, [texts])) == fill(template, [texts])


@st.composite
def scored(draw: st.DrawFn) -> tuple[Signature, Decoded, Outputs, list[bytes] | None]:
    """Rows of a model with classes or without, and what it answered."""
    count = draw(st.integers(1, 6))
    classes = tuple(draw(st.lists(TEXTS, min_size=2, max_size=4, unique=True) | st.just([])))
    task = Task.MULTICLASS if classes else Task.REGRESSION
    signature = Signature((Feature("a"),), (ModelInput("a", ("a",)),), task, "y", classes=classes)
    floats = st.floats(width=32)
    tensor = np.array(draw(st.lists(floats, min_size=count, max_size=count)), np.float32)[:, None]
    ids = draw(st.none() | st.lists(st.none() | TEXTS, min_size=count, max_size=count))
    numbers = draw(st.just([0] * count) | st.lists(st.integers(0, 12), min_size=count, max_size=count))
    columns = FeatureColumns(signature, (tensor,))
    decoded = Decoded(columns, np.sort(np.arange(count) % 4), np.array(numbers, np.int32), ids)
    shape = (count, len(classes)) if classes else (count,)
    scores = np.array(draw(st.lists(floats, min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))), np.float32)
    labels = (
        np.array(draw(st.lists(st.integers(0, len(classes) - 1), min_size=count, max_size=count))) if classes else None
    )
    bins = draw(st.none() | st.lists(st.text("0az", max_size=3).map(str.encode), min_size=count, max_size=count))
    return signature, decoded, Outputs(scores.reshape(shape), labels), bins


@given(scored(), st.booleans(), st.booleans())
@settings(max_examples=EXAMPLES, deadline=None)
def test_predictions_are_the_same_to_the_byte(
    case: tuple[Signature, Decoded, Outputs, list[bytes] | None], is_degraded: bool, is_enriched: bool
) -> None:
    signature, decoded, outputs, bins = case
    identity = Identity("50 %d", 'a "model"', 3, "sha256:00ff")
    batch = record_batch([b""] * 4, topic="weather.features", partition=7, first_offset=2**40)
    enriched = ["a"] if is_enriched else []
    told: dict[str, Any] = {"bins": bins, "scored_at_ms": 1_700_000_000_000}
    written = [
        (
            JsonPredictionEncoder(identity, signature, enriched=enriched, fill=each).encode(
                batch, decoded, outputs, **told, degraded=is_degraded
            ),
            AvroPredictionEncoder(identity, signature, schema_id=7, fill=each).encode(
                batch, decoded, outputs, **told, degraded=is_degraded
            ),
            ShadowEncoder(identity, identity, signature, RolloutMode.SHADOW, enriched=enriched, fill=each).encode(
                batch, decoded, outputs, outputs, **told
            ),
        )
        for each in (fill, native_fill)
    ]
    assert list(map(list, written[0])) == list(map(list, written[1]))


def test_texts_are_a_sequence() -> None:
    texts = native_fill(Template((b"<", b">")), [np.arange(5)])
    expected = [b"<%d>" % number for number in range(5)]
    assert (len(texts), list(texts), texts[1], texts[-1]) == (5, expected, expected[1], expected[-1])
    assert list(texts[1:4]) == expected[1:4]
    assert list(texts[::-2]) == expected[::-2]
    assert list(texts[:0]) == []
    with pytest.raises(IndexError, match="no row 5 of 5"):
        texts[5]


@pytest.mark.parametrize(
    ("pieces", "columns"),
    [
        ((b"", b"", b""), [np.arange(2)]),
        ((b"", b"", b""), [np.arange(2), np.arange(3)]),
        ((b"", b""), [Choices([b"a"], np.array([0, 1]))]),
        ((b"", b""), [Choices([b"a"], np.array([0, -1]))]),
        ((), [np.arange(2)]),
    ],
    ids=["too few columns", "unequal columns", "no such choice", "a negative choice", "no pieces"],
)
def test_what_does_not_fit_is_refused(pieces: tuple[bytes, ...], columns: list[Column]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        native_fill(Template(pieces), columns)
