import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from millrace.core.binning import Binner
from millrace.core.columns import FeatureColumns
from millrace.core.profile import DIGITS, CategoryCells, Cells, ReferenceProfile
from millrace.core.profiling import build_profile
from millrace.core.signature import DType, Feature, ModelInput, Signature, Task

FEATURES = (
    Feature("a", nullable=True),
    Feature("b", nullable=True),
    Feature("whole", DType.INT64),
    Feature("part", DType.INT64),
    Feature("text", DType.STRING),
    Feature("flag", DType.BOOL),
)
SIGNATURE = Signature(
    FEATURES,
    (
        ModelInput("floats", ("b", "a")),
        ModelInput("integers", ("whole", "part")),
        ModelInput("text", ("text",)),
        ModelInput("flag", ("flag",)),
    ),
    Task.REGRESSION,
    score_output="y",
)

floats = st.floats(width=32, allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, 1.0, -0.0])
integers = st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 2)
texts = st.text(max_size=2) | st.sampled_from([None, "x", "y"])
rows = st.lists(st.tuples(floats, floats, integers, integers, texts, st.booleans()), min_size=1, max_size=60)
Row = tuple[float, float, int, int, str | None, bool]


def columns(values: list[Row]) -> FeatureColumns:
    a, b, whole, part, text, flag = zip(*values, strict=True)
    objects = np.empty((len(values), 1), object)
    objects[:, 0] = text
    return FeatureColumns(
        SIGNATURE,
        (
            np.array([b, a], np.float32).T.copy(),
            np.array([whole, part], np.int64).T.copy(),
            objects,
            np.array(flag)[:, None],
        ),
    )


def plain_cell(cells: Cells, value: bool | float | str | None) -> int:
    """The definition, one value at a time."""
    if isinstance(cells, CategoryCells):
        return plain_category(cells, str(value).lower() if isinstance(value, bool) else value)
    assert not isinstance(value, str | None)
    if math.isnan(value):
        return 0
    if cells.upper is None or value < cells.lowers[0]:
        return 1
    if value > cells.upper:
        return len(cells.lowers) + 2
    return 1 + sum(value >= edge for edge in cells.lowers)


def plain_category(cells: CategoryCells, value: object) -> int:
    if value is None:
        return 0
    if value in cells.top:
        return 1 + cells.top.index(str(value))
    return len(cells.top) + (1 if value in cells.others else 2)


@given(reference=rows, current=rows)
def test_whole_columns_are_binned_as_single_values(reference: list[Row], current: list[Row]) -> None:
    profile = build_profile(columns(reference))
    expected = [
        bytes(DIGITS[plain_cell(cells, value)] for cells, value in zip(profile.cells, row, strict=True))
        for row in current
    ]
    assert Binner(profile, SIGNATURE).strings(columns(current)) == expected


@given(reference=rows)
def test_a_profile_does_not_depend_on_the_order_of_the_rows(reference: list[Row]) -> None:
    assert build_profile(columns(reference)) == build_profile(columns(reference[::-1]))


@given(reference=rows)
def test_a_profile_survives_its_json_form(reference: list[Row]) -> None:
    profile = build_profile(columns(reference))
    again = ReferenceProfile.from_json(profile.to_json())
    assert again.to_json() == profile.to_json()
    strings = Binner(profile, SIGNATURE).strings(columns(reference))
    assert Binner(again, SIGNATURE).strings(columns(reference)) == strings
