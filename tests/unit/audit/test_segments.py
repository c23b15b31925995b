"""Events divided by the cells of a feature."""

import numpy as np
from numpy.typing import NDArray

from millrace.core.audit.segments import NO_SEGMENT, Segments, find_segments
from millrace.core.profile import DIGITS, CategoryCells, NumericCells

CELLS = (
    NumericCells("age", (18.0, 30.0), 90.0, (0, 0, 5, 5, 0)),
    CategoryCells("region", ("eu", "us"), ("mars",), (0, 6, 3, 1, 0)),
    NumericCells("empty", (), None, (9, 1, 0)),
)


def found(feature: str) -> Segments:
    segments = find_segments(CELLS, feature)
    assert segments is not None
    return segments


def digits(*rows: str) -> NDArray[np.uint8]:
    return np.array([[DIGITS.index(character.encode()) for character in row] for row in rows], np.uint8)


def names(segments: Segments, *rows: str) -> list[str]:
    return [segments.names[number - 1] for number in segments.assign(digits(*rows)).tolist()]


def test_a_category_has_a_segment_a_value_and_one_for_the_rest() -> None:
    region = found("region")
    assert names(region, "010", "020", "030", "040", "000") == [
        "region=eu",
        "region=us",
        "region is another",
        "region is another",
        "region is null",
    ]


def test_a_number_has_a_segment_a_bin() -> None:
    age = found("age")
    assert names(age, "000", "100", "200", "300", "400") == [
        "age is null",
        "age<18",
        "age=18..30",
        "age=30..90",
        "age>90",
    ]
    assert names(found("empty"), "000", "001", "002") == ["empty is null", "empty<none", "empty>none"]


def test_bins_whose_edges_look_alike_stay_apart() -> None:
    cells = NumericCells("x", (1.0, 1.0 + 1e-9, 1.0 + 2e-9), 2.0, (0, 0, 1, 1, 1, 0))
    segments = find_segments([cells], "x")
    assert segments is not None
    assert len(set(segments.names)) == 6


def test_what_cannot_be_read_belongs_to_none() -> None:
    assert found("region").assign(np.array([[0, 255, 0], [0, 5, 0]], np.uint8)).tolist() == [NO_SEGMENT] * 2


def test_a_feature_that_is_not_profiled_divides_nothing() -> None:
    assert find_segments(CELLS, "colour") is None
