"""Whatever bytes a file has, the answer is yes or a refusal, never another error."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.serving.inspection import inspect
from millrace.serving.refusal import ModelRefusedError
from millrace.testing.models import linear_model, linear_signature

SIGNATURE = linear_signature()
MODEL = linear_model(np.ones(3, np.float32))
GOOD = MODEL.SerializeToString()
NEEDED = len(GOOD) - len(MODEL.opset_import[-1].SerializeToString()) - 2  # the last operator set is not used


@given(st.binary(max_size=200))
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(ModelRefusedError):
        inspect(data, SIGNATURE)


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_model_is_admitted_or_refused(damage: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for position, value in damage:
        data[position] = value
    with suppress(ModelRefusedError):
        inspect(bytes(data), SIGNATURE)


@given(st.integers(0, NEEDED - 1))
def test_a_truncated_model_is_refused(length: int) -> None:
    with pytest.raises(ModelRefusedError):
        inspect(GOOD[:length], SIGNATURE)
