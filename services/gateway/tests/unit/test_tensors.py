"""Tensors of a request against a signature."""

from collections.abc import Sequence

import numpy as np
import pytest

from millrace.core.errors import InvalidRecordError, RequestError
from millrace.core.signature import Feature, ModelInput, Signature, Task
from millrace.testing.records import binary_signature
from millrace_gateway.logic.errors import TooLargeError
from millrace_gateway.logic.tensors import Datatype, Tensor, check_shape, columns_of, concatenated, input_specs

NULLABLE = Signature(
    (Feature("a"), Feature("b", nullable=True)),
    (ModelInput("x", ("a", "b")),),
    Task.BINARY,
    "scores",
    classes=("no", "yes"),
)


def tensor(values: Sequence[object], name: str = "x", datatype: Datatype = Datatype.FP32) -> Tensor:
    return Tensor(name, datatype, np.array(values, datatype.numpy))


def test_a_request_becomes_the_columns_that_a_topic_gives() -> None:
    columns = columns_of(NULLABLE, [tensor([[1, 2], [3, 4]])])
    assert columns.column("b").tolist() == [2, 4]


def test_nan_is_an_absent_value_only_where_the_feature_may_be_absent() -> None:
    assert np.isnan(columns_of(NULLABLE, [tensor([[1, np.nan]])]).column("b")).all()
    for bad in ([np.nan, 1], [1, np.inf], [-np.inf, np.nan]):
        with pytest.raises(InvalidRecordError, match="not finite in row 1"):
            columns_of(NULLABLE, [tensor([[1, 2], bad])])


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        [tensor([[1, 2]], name="y")],
        [tensor([[1, 2]]), tensor([[1, 2]])],
        [tensor([[1, 2, 3]])],
        [tensor([1, 2])],
        [tensor([[1, 2]], datatype=Datatype.FP64)],
        [Tensor("x", Datatype.FP32, np.empty((0, 2), np.float32))],
    ],
)
def test_what_are_not_the_models_inputs_is_refused(wrong: list[Tensor]) -> None:
    with pytest.raises(RequestError):
        columns_of(NULLABLE, wrong)


def test_inputs_of_different_lengths_are_refused() -> None:
    signature = binary_signature(Feature("a"), Feature("b", shape=(2,)))
    assert [spec.shape for spec in input_specs(signature)] == [(-1, 1), (-1, 2)]
    with pytest.raises(RequestError, match="2, 3 rows"):
        columns_of(signature, [tensor([1, 2, 3], name="a"), tensor([[1, 2], [3, 4]], name="b")])


def test_a_shape_is_checked_before_anything_is_allocated() -> None:
    assert check_shape([2, 3], name="x", elements=6) == (2, 3)
    with pytest.raises(TooLargeError):
        check_shape([10**15, 10**15], name="x", elements=6)
    for wrong in ([], [-1, 2]):
        with pytest.raises(RequestError):
            check_shape(wrong, name="x", elements=6)


def test_batches_are_put_together_in_order() -> None:
    one, two = (columns_of(NULLABLE, [tensor(each)]) for each in ([[1, 2]], [[3, 4], [5, 6]]))
    assert concatenated([one, two]).column("a").tolist() == [1, 3, 5]
    assert concatenated([one]) is one
