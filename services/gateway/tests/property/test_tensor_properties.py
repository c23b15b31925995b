"""What is asked survives: as bytes on the wire, and as a record in the log."""

from contextlib import suppress

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from millrace.codec.json import JsonDecoder
from millrace.codec.limits import Limits
from millrace.core.columns import FeatureColumns
from millrace.core.errors import RequestError
from millrace.core.signature import DType, Feature, ModelInput, NotFinite, Signature, Task
from millrace.testing.records import record_batch
from millrace_gateway.logic.feature_records import FeatureRecordEncoder
from millrace_gateway.logic.tensor_bytes import from_bytes, to_bytes
from millrace_gateway.logic.tensors import Datatype, Tensor


@given(
    st.sampled_from([Datatype.FP32, Datatype.FP64, Datatype.INT32, Datatype.INT64, Datatype.BOOL]).flatmap(
        lambda kind: st.tuples(st.just(kind), arrays.arrays(kind.numpy, arrays.array_shapes(max_dims=3, max_side=4)))
    )
)
def test_numbers_survive_as_bytes(case: tuple[Datatype, NDArray[np.generic]]) -> None:
    kind, data = case
    content = to_bytes(Tensor("x", kind, data))
    assert from_bytes(memoryview(content), kind, data.shape, name="x").tobytes() == data.tobytes()


@given(st.lists(st.text(), max_size=5))
def test_texts_survive_as_bytes(texts: list[str]) -> None:
    data = np.array(texts, np.object_)
    content = to_bytes(Tensor("x", Datatype.BYTES, data))
    assert from_bytes(memoryview(content), Datatype.BYTES, data.shape, name="x").tolist() == texts


@given(st.binary(max_size=40), st.integers(0, 5), st.sampled_from(Datatype))
def test_any_bytes_are_a_tensor_or_refused(content: bytes, count: int, kind: Datatype) -> None:
    with suppress(RequestError):
        assert from_bytes(memoryview(content), kind, (count,), name="x").shape == (count,)


def signature_of(not_finite: NotFinite) -> Signature:
    features = (
        Feature("single"),
        Feature("double", DType.FLOAT64, nullable=True),
        Feature("whole", DType.INT64),
        Feature("flag", DType.BOOL),
        Feature("text", DType.STRING),
        Feature("tensor", shape=(2, 2)),
    )
    inputs = tuple(ModelInput(feature.name, (feature.name,)) for feature in features)
    return Signature(features, inputs, Task.BINARY, "scores", classes=("no", "yes"), not_finite=not_finite)


def rows(signature: Signature, count: int, draw: st.DataObject) -> FeatureColumns:
    """Any rows that a gateway lets through."""
    is_any = signature.not_finite is NotFinite.ALLOW
    single = st.floats(width=32, allow_nan=is_any, allow_infinity=is_any)
    double = st.floats(allow_infinity=is_any)
    elements = {"single": single, "double": double, "tensor": single}
    tensors = []
    for feature in signature.features:
        shape = (count, *(feature.shape or (1,)))
        if feature.dtype is DType.STRING:
            texts = draw.draw(st.lists(st.text(), min_size=count, max_size=count))
            tensors.append(np.array(texts, np.object_).reshape(shape))
        else:
            tensors.append(draw.draw(arrays.arrays(feature.dtype.numpy, shape, elements=elements.get(feature.name))))
    return FeatureColumns(signature, tuple(tensors))


@given(st.sampled_from(NotFinite), st.integers(1, 3), st.data())
def test_a_request_that_became_records_is_read_back_to_the_bit(
    not_finite: NotFinite, count: int, data: st.DataObject
) -> None:
    signature = signature_of(not_finite)
    columns = rows(signature, count, data)
    decoded = JsonDecoder(signature, limits=Limits()).decode(
        record_batch(FeatureRecordEncoder(signature).encode(columns))
    )
    assert decoded.rejections == ()
    for feature in signature.features:
        asked, read = columns.column(feature.name), decoded.columns.column(feature.name)
        np.testing.assert_array_equal(asked, read)
        if asked.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(asked[~np.isnan(asked)]), np.signbit(read[~np.isnan(read)]))
