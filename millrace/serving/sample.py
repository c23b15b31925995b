"""The signature that a sample of feature rows implies."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from millrace.core.columns import FeatureColumns
from millrace.core.errors import RequestError
from millrace.core.signature import DType, Feature, ModelInput, Signature, Task
from millrace.serving.rows import columns_from_values

Sample: TypeAlias = Mapping[str, Sequence[Any] | NDArray[Any]] | NDArray[Any] | pa.Table
"""Feature rows: a dict of columns, an Arrow table, or a matrix whose columns are named apart."""

STACKED: Final = "features"
"""Name of the input that stacks all features of a numeric sample."""

_KINDS: Final = {"f": DType.FLOAT32, "i": DType.INT64, "u": DType.INT64, "b": DType.BOOL}


def read_sample(sample: Sample, feature_names: Sequence[str] | None = None) -> FeatureColumns:
    """Make columns of a sample. Their signature names no outputs yet: it is that of a regression.

    Scalar numbers are stacked as float32 into one input, as estimators want them. As soon as one column holds texts,
    every feature is an input of its own type; a column of arrays is always an input of its own. A float feature that is
    NaN or None somewhere in the sample may be absent in records.

    Raises:
        RequestError: The sample has no rows, or a column holds something else than numbers, booleans or texts.
    """
    arrays = {name: _array(name, values) for name, values in named_columns(sample, feature_names).items()}
    if not arrays or not len(next(iter(arrays.values()))):
        raise RequestError("the sample has no rows", remedy="give feature rows, best the validation rows")
    stacked = all(values.dtype.kind in _KINDS and values.ndim == 1 for values in arrays.values())
    features = tuple(_feature(name, values, stacked=stacked) for name, values in arrays.items())
    names = tuple(arrays)
    inputs = (ModelInput(STACKED, names),) if stacked else tuple(ModelInput(name, (name,)) for name in names)
    signature = Signature(features, inputs, Task.REGRESSION, score_output="scores")
    return columns_from_values(signature, arrays)


def named_columns(sample: Sample, names: Sequence[str] | None) -> Mapping[str, Any]:
    """The values of each column; `names` are those of a matrix, by default `f0`, `f1`, ...

    Raises:
        RequestError: It is no matrix of rows and columns, or has another number of columns than names.
    """
    if isinstance(sample, pa.Table):
        return {name: _from_arrow(sample.column(name)) for name in sample.column_names}
    if isinstance(sample, Mapping):
        return sample
    if sample.ndim != 2:
        raise RequestError(
            f"the sample has {sample.ndim} dimensions",
            remedy="give a matrix of rows and features, or a dict of columns",
        )
    names = names or [f"f{position}" for position in range(sample.shape[1])]
    if len(names) != sample.shape[1]:
        raise RequestError(
            f"{len(names)} feature names for {sample.shape[1]} columns", remedy="name every column of the sample"
        )
    return dict(zip(names, sample.T, strict=True))


def _from_arrow(column: pa.ChunkedArray) -> Any:  # noqa: ANN401 - pyarrow is untyped
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        return column.to_pylist()
    return column.to_numpy()


def _array(name: str, values: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind == "O" and not any(isinstance(value, str) for value in array.flat):
        array = array.astype(np.float64)  # None becomes NaN
    if array.dtype.kind in {"U", "O"} and array.ndim == 1:
        return array.astype(object)
    if array.dtype.kind not in _KINDS or not array.ndim:
        raise RequestError(
            f"column {name!r} of the sample has the type {array.dtype}", remedy="give numbers, booleans or texts"
        )
    return array


def _feature(name: str, values: NDArray[Any], *, stacked: bool) -> Feature:
    dtype = DType.FLOAT32 if stacked else _KINDS.get(values.dtype.kind, DType.STRING)
    nullable = values.dtype.kind == "f" and bool(np.isnan(values).any())
    return Feature(name, dtype, values.shape[1:], nullable)
