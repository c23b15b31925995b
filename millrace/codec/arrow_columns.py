"""Columns of an Arrow table as elements of features."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from numpy.typing import NDArray

from millrace.core.errors import InvalidRecordError, Reason
from millrace.core.signature import DType, Feature, NotFinite, Signature

_FLOATS: Final = frozenset({DType.FLOAT32, DType.FLOAT64})


def is_readable(kind: pa.DataType, feature: Feature) -> bool:
    """Whether a column of this type can be read as the feature.

    Integers are read as any number that holds them, floats as floats, in the range of the feature's type. Types whose
    values may share memory (views, runs) are not read: a small buffer could stand for any amount of text.
    """
    depth = 0
    while is_list(kind) and depth < len(feature.shape):
        kind, depth = kind.value_type, depth + 1
    if depth not in {len(feature.shape), min(1, len(feature.shape))}:
        return False
    if pt.is_dictionary(kind):
        kind = kind.value_type
    match feature.dtype:
        case DType.BOOL:
            return bool(pt.is_boolean(kind))
        case DType.STRING:
            return bool(pt.is_string(kind) or pt.is_large_string(kind))
        case DType.INT32 | DType.INT64:
            return bool(pt.is_integer(kind))
        case _:
            return bool(pt.is_integer(kind) or pt.is_floating(kind))


def is_list(kind: pa.DataType) -> bool:
    """Whether a column of this type is read as lists."""
    return bool(pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind))


def is_id(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold ids."""
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_integer(kind))


def read_column(column: pa.Array, feature: Feature, not_finite: NotFinite) -> NDArray[Any]:
    """The elements of the feature in its type: shape (rows, elements).

    Args:
        column: A validated array of a type that `is_readable`.
        feature: What it is read as.
        not_finite: Policy for NaN and infinity.

    Raises:
        InvalidRecordError: A value is missing, has another shape, or is beyond the feature's type.
    """
    if not column.null_count:
        return _elements(column, feature, not_finite)
    if not feature.nullable:
        raise InvalidRecordError(
            Reason.MISSING_FIELD, f"field {feature.name!r} is null in {column.null_count} of {len(column)} rows"
        )
    made = np.full((len(column), feature.elements), np.nan, feature.dtype.numpy)
    made[column.is_valid().to_numpy(zero_copy_only=False)] = _elements(column.drop_null(), feature, not_finite)
    return made


def check_columns(schema: pa.Schema, signature: Signature) -> None:
    """Check that a table of this schema has the signature's features, in types that can be read.

    Raises:
        InvalidRecordError: A column is missing or of another type.
    """
    for feature in signature.features:
        if feature.name in schema.names:
            kind = schema.field(feature.name).type
            if not is_readable(kind, feature):
                raise InvalidRecordError(
                    Reason.WRONG_TYPE, f"column {feature.name!r} is {kind} and cannot be read as {feature.dtype}"
                )
        elif not feature.nullable:
            raise InvalidRecordError(Reason.MISSING_FIELD, f"there is no column {feature.name!r}")


def read_tensors(table: pa.Table, signature: Signature) -> tuple[NDArray[np.generic], ...]:
    """The model's input tensors, from a table whose columns were checked.

    Raises:
        InvalidRecordError: A value is missing, has another shape, or is beyond its feature's type.
    """
    tensors: list[NDArray[np.generic]] = []
    for spec in signature.inputs:
        first = signature.feature(spec.features[0])
        columns = [_feature_column(table, signature.feature(name), signature.not_finite) for name in spec.features]
        joined = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)
        tensors.append(np.ascontiguousarray(joined).reshape(len(table), *(first.shape or (len(columns),))))
    return tuple(tensors)


def whole_column(table: pa.Table, name: str) -> pa.Array:
    """A column of the table in one piece; batches may each bring a dictionary of their own."""
    column = table.column(name).unify_dictionaries()
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _feature_column(table: pa.Table, feature: Feature, not_finite: NotFinite) -> NDArray[np.generic]:
    if feature.name not in table.column_names:
        return np.full((len(table), feature.elements), np.nan, feature.dtype.numpy)
    return read_column(whole_column(table, feature.name), feature, not_finite)


def read_ids(column: pa.Array) -> Sequence[str | None]:
    """Ids as texts; an empty text is no id."""
    ids = column.cast(pa.large_string()).to_numpy(zero_copy_only=False)
    ids[ids == ""] = None
    return ids.tolist()  # type: ignore[no-any-return]


def _elements(column: pa.Array, feature: Feature, not_finite: NotFinite) -> NDArray[Any]:
    rows = len(column)
    column = _flatten(column, feature)
    if column.null_count:
        raise InvalidRecordError(Reason.WRONG_TYPE, f"field {feature.name!r} has null among its elements")
    if feature.dtype is DType.STRING:
        return _texts(column, feature).reshape(rows, 1)
    if pt.is_dictionary(column.type):
        column = column.dictionary_decode()
        _check_dictionary(column.null_count, feature)
    found = column.to_numpy(zero_copy_only=False)
    return _narrow(found, feature, not_finite).reshape(rows, feature.elements)


def _flatten(column: pa.Array, feature: Feature) -> pa.Array:
    depth = _depth(column.type)
    for size in feature.shape if depth == len(feature.shape) else (feature.elements,):
        lengths = {column.type.list_size} if pt.is_fixed_size_list(column.type) else _lengths(column)
        if lengths - {size}:
            raise InvalidRecordError(
                Reason.WRONG_SHAPE,
                f"field {feature.name!r} of shape {feature.shape} has {min(lengths - {size})} elements",
            )
        if column.null_count:
            raise InvalidRecordError(Reason.WRONG_TYPE, f"field {feature.name!r} has null among its elements")
        column = column.flatten()
    return column


def _lengths(column: pa.Array) -> set[int]:
    if pt.is_fixed_size_list(column.type):
        return {column.type.list_size}
    return set(np.unique(column.value_lengths().drop_null().to_numpy()).tolist())


def _texts(column: pa.Array, feature: Feature) -> NDArray[np.object_]:
    if not pt.is_dictionary(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False), np.object_)
    # Rows share the texts of the dictionary; decoded by Arrow, each would be written out again.
    texts = np.asarray(column.dictionary.to_numpy(zero_copy_only=False), np.object_)
    found: NDArray[np.object_] = texts[column.indices.to_numpy()]
    _check_dictionary(int(None in texts and None in found), feature)
    return found


def _check_dictionary(nulls: int, feature: Feature) -> None:
    if nulls:
        raise InvalidRecordError(Reason.MISSING_FIELD, f"field {feature.name!r} points to null in its dictionary")


def _narrow(found: NDArray[Any], feature: Feature, not_finite: NotFinite) -> NDArray[Any]:
    if feature.dtype is DType.BOOL:
        return found
    if feature.dtype in _FLOATS:
        # Through a double, as integers of the other formats go, so that all give equal bits.
        with np.errstate(over="ignore", invalid="ignore"):  # a signalling NaN is a NaN like others
            same = found.dtype == feature.dtype.numpy
            made = found if same else found.astype(np.float64).astype(feature.dtype.numpy)
        beyond = not_finite is NotFinite.REJECT and not np.isfinite(made).all()
    else:
        made = found.astype(feature.dtype.numpy)
        beyond = bool((made != found).any())
    if beyond:
        raise InvalidRecordError(
            Reason.NOT_FINITE, f"field {feature.name!r} has values that are not finite or beyond {feature.dtype}"
        )
    return made


def _depth(kind: pa.DataType) -> int:
    return 1 + _depth(kind.value_type) if is_list(kind) else 0
