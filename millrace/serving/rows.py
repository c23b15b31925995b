"""Feature columns from and to plain values: the sample rows of a bundle, and what users hand to `export`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millrace.core.columns import FeatureColumns
from millrace.core.errors import RequestError
from millrace.core.signature import DType, Feature, Signature


def columns_from_values(signature: Signature, values: Mapping[str, Sequence[Any] | NDArray[Any]]) -> FeatureColumns:
    """Make columns of one sequence of values per feature; None stands for NaN in a float feature.

    Raises:
        RequestError: A feature is missing, or its values do not fit its type and shape.
    """
    lengths = {len(values[name]) for name in values}
    if len(lengths) != 1:
        raise RequestError("the features have different numbers of rows", remedy="give every feature the same rows")
    rows = lengths.pop()
    arrays = {feature.name: _array(feature, values, rows) for feature in signature.features}
    tensors = []
    for tensor in signature.inputs:
        if signature.feature(tensor.features[0]).shape:
            tensors.append(arrays[tensor.features[0]])
        else:
            tensors.append(np.ascontiguousarray(np.stack([arrays[name] for name in tensor.features], axis=1)))
    return FeatureColumns(signature, tuple(tensors))


def columns_to_json(columns: FeatureColumns) -> bytes:
    """One JSON array per feature; NaN and infinity are null."""
    document = {feature.name: _plain(feature, columns.column(feature.name)) for feature in columns.signature.features}
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def columns_from_json(signature: Signature, data: bytes, *, subject: str) -> FeatureColumns:
    """Read what `columns_to_json` wrote.

    Raises:
        RequestError: The document does not fit the signature; names the subject.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{subject} is not JSON: {error}", remedy="export the model again") from None
    if not isinstance(document, dict) or not all(isinstance(column, list) for column in document.values()):
        raise RequestError(f"{subject} is not an object of arrays", remedy="export the model again")
    return columns_from_values(signature, document)


def _array(feature: Feature, values: Mapping[str, Sequence[Any] | NDArray[Any]], rows: int) -> NDArray[Any]:
    if feature.name not in values:
        raise RequestError(f"the rows have no feature {feature.name!r}", remedy="give all features of the signature")
    try:
        if feature.dtype is DType.STRING:
            array = np.empty(rows, object)
            array[:] = values[feature.name]
        else:
            array = np.asarray(values[feature.name], dtype=feature.dtype.numpy)
    except (ValueError, TypeError, OverflowError) as error:
        raise RequestError(
            f"the values of feature {feature.name!r} are not {feature.dtype}: {error}", remedy="convert them first"
        ) from None
    if array.shape != (rows, *feature.shape):
        raise RequestError(
            f"feature {feature.name!r} has values of shape {array.shape[1:]} instead of {feature.shape}",
            remedy="give every row the same shape",
        )
    return array


def _plain(feature: Feature, column: NDArray[Any]) -> list[Any]:
    if feature.dtype in {DType.FLOAT32, DType.FLOAT64}:
        finite = np.isfinite(column)
        column = column.astype(object)
        column[~finite] = None
    plain: list[Any] = column.tolist()
    return plain
