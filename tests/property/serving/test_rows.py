import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from millrace.core.signature import DType, Feature, ModelInput, Signature, Task
from millrace.serving.rows import columns_from_json, columns_from_values, columns_to_json

SIGNATURE = Signature(
    (
        Feature("x", nullable=True),
        Feature("n", DType.INT64),
        Feature("text", DType.STRING),
        Feature("flag", DType.BOOL),
        Feature("tensor", DType.FLOAT64, shape=(2, 2)),
    ),
    tuple(ModelInput(name, (name,)) for name in ("x", "n", "text", "flag", "tensor")),
    Task.REGRESSION,
    score_output="y",
)

tensors = st.lists(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2), min_size=2, max_size=2
)
rows = st.lists(
    st.tuples(
        st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
        st.integers(-(2**63), 2**63 - 1),
        st.text(),
        st.booleans(),
        tensors,
    ),
    min_size=1,
    max_size=10,
)


@given(rows)
def test_rows_survive_their_json_form_to_the_bit(values: list[tuple[object, ...]]) -> None:
    names = [feature.name for feature in SIGNATURE.features]
    columns = columns_from_values(SIGNATURE, dict(zip(names, zip(*values, strict=True), strict=True)))
    again = columns_from_json(SIGNATURE, columns_to_json(columns), subject="test")
    for left, right in zip(columns.tensors, again.tensors, strict=True):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
