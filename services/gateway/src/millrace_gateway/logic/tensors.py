"""Tensors of the Open Inference Protocol, and how they become feature columns and come of outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.columns import FeatureColumns
from millrace.core.errors import InvalidRecordError, Reason, RequestError
from millrace.core.outputs import Outputs
from millrace.core.signature import DType, ModelInput, NotFinite, Signature
from millrace_gateway.logic.errors import TooLargeError

LABEL: Final = "label"
"""The output with the class, where the model's own output for it has no name."""


class Datatype(StrEnum):
    """Element types of the protocol that a signature can have."""

    FP32 = "FP32"
    FP64 = "FP64"
    INT32 = "INT32"
    INT64 = "INT64"
    BOOL = "BOOL"
    BYTES = "BYTES"

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The NumPy type; texts are held as Python objects."""
        return _NUMPY[self]


_DATATYPES: Final[Mapping[DType, Datatype]] = {
    DType.FLOAT32: Datatype.FP32,
    DType.FLOAT64: Datatype.FP64,
    DType.INT32: Datatype.INT32,
    DType.INT64: Datatype.INT64,
    DType.BOOL: Datatype.BOOL,
    DType.STRING: Datatype.BYTES,
}
_NUMPY: Final[Mapping[Datatype, np.dtype[np.generic]]] = {theirs: ours.numpy for ours, theirs in _DATATYPES.items()}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model, as metadata describe it; -1 is the number of rows."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """Named data of a request or an answer; `data` has the shape and the type that were declared."""

    name: str
    datatype: Datatype
    data: NDArray[np.generic]


def parse_datatype(text: str, *, name: str) -> Datatype:
    """Read a datatype of the protocol.

    Raises:
        RequestError: It is none, or none that a model of millrace can have.
    """
    try:
        return Datatype(text)
    except ValueError:
        known = ", ".join(Datatype)
        raise RequestError(f"tensor {name!r} has datatype {text[:32]!r}", remedy=f"datatypes are {known}") from None


def check_shape(shape: Sequence[int], *, name: str, elements: int) -> tuple[int, ...]:
    """A declared shape, before anything of its size is allocated.

    Raises:
        RequestError: It has no dimension, or one that is not a number of things.
        TooLargeError: It has more elements than a tensor may have.
    """
    if not shape or min(shape) < 0:
        raise RequestError(f"tensor {name!r} has shape {list(shape)[:8]}", remedy="sizes are 0 or more, rows first")
    if prod(shape) > elements:
        raise TooLargeError(
            f"tensor {name!r} has {prod(shape)} elements and this gateway takes {elements}",
            remedy="send fewer rows in a request, or raise MILLRACE_GATEWAY__LIMITS__ELEMENTS",
        )
    return tuple(shape)


def input_specs(signature: Signature) -> tuple[TensorSpec, ...]:
    """What a model takes."""
    return tuple(
        TensorSpec(each.name, _datatype(signature, each), (-1, *_row_shape(signature, each)))
        for each in signature.inputs
    )


def output_specs(signature: Signature) -> tuple[TensorSpec, ...]:
    """What a model answers: scores of every class and the class, or a value."""
    if not signature.classes:
        return (TensorSpec(signature.score_output, Datatype.FP32, (-1,)),)
    return (
        TensorSpec(signature.score_output, Datatype.FP32, (-1, len(signature.classes))),
        TensorSpec(signature.label_output or LABEL, Datatype.BYTES, (-1,)),
    )


def columns_of(signature: Signature, tensors: Sequence[Tensor]) -> FeatureColumns:
    """The rows that a request asks about.

    Raises:
        RequestError: The tensors are not the model's inputs.
        InvalidRecordError: A value is not finite where the signature does not allow it, exactly as in a topic.
    """
    given = {tensor.name: tensor for tensor in tensors}
    wanted = [each.name for each in signature.inputs]
    if len(given) != len(tensors) or set(given) != set(wanted):
        raise RequestError(
            f"the inputs are {_listed([tensor.name for tensor in tensors])} and the model takes {_listed(wanted)}",
            remedy="send each input of the model once; GET its metadata to see them",
        )
    arrays = tuple(_checked(signature, each, given[each.name]) for each in signature.inputs)
    rows = {len(array) for array in arrays}
    if len(rows) > 1 or rows == {0}:
        raise RequestError(
            f"the inputs have {_listed(sorted(map(str, rows)))} rows", remedy="send the same number in each, 1 or more"
        )
    return FeatureColumns(signature, arrays)


def answer_tensors(signature: Signature, outputs: Outputs, wanted: Sequence[str]) -> tuple[Tensor, ...]:
    """The outputs that were asked for, which `check_outputs` found to exist; all of them if none was named."""
    found = {signature.score_output: Tensor(signature.score_output, Datatype.FP32, outputs.scores)}
    if outputs.labels is not None:
        name = signature.label_output or LABEL
        found[name] = Tensor(name, Datatype.BYTES, np.array(signature.classes, np.object_)[outputs.labels])
    return tuple(found[name] for name in wanted or found)


def check_outputs(signature: Signature, wanted: Sequence[str]) -> None:
    """Refuse outputs that the model does not have.

    Raises:
        RequestError: The model has no such output.
    """
    if not wanted:
        return
    known = [spec.name for spec in output_specs(signature)]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise RequestError(f"the model has no output {unknown[0][:64]!r}", remedy=f"it has {_listed(known)}")


def _checked(signature: Signature, spec: ModelInput, tensor: Tensor) -> NDArray[np.generic]:
    datatype, shape = _datatype(signature, spec), _row_shape(signature, spec)
    if tensor.datatype is not datatype:
        raise RequestError(
            f"input {spec.name!r} is {tensor.datatype} and the model takes {datatype}", remedy=f"send {datatype}"
        )
    data = tensor.data
    if data.shape[1:] != shape and not (data.ndim == 1 and shape == (1,)):
        raise RequestError(
            f"input {spec.name!r} has shape {list(data.shape)[:8]} and the model takes {[-1, *shape]}",
            remedy="the first size is the number of rows",
        )
    data = data.reshape(len(data), *shape)
    if data.dtype.kind == "f" and signature.not_finite is NotFinite.REJECT and not np.isfinite(data).all():
        _refuse_not_finite(signature, spec, data)
    return data


def _refuse_not_finite(signature: Signature, spec: ModelInput, data: NDArray[np.generic]) -> None:
    """A feature that may be absent is so where all of it is NaN; any other NaN, and infinity, is nothing to score."""
    columns = data.reshape(len(data), len(spec.features), -1)
    may_be_absent = np.array([signature.feature(name).nullable for name in spec.features])
    absent = np.isnan(columns).all(axis=2) & may_be_absent
    bad = ~np.isfinite(columns).all(axis=2) & ~absent
    if bad.any():
        row, feature = np.argwhere(bad)[0].tolist()
        raise InvalidRecordError(Reason.NOT_FINITE, f"feature {spec.features[feature]!r} is not finite in row {row}")


def _datatype(signature: Signature, spec: ModelInput) -> Datatype:
    return _DATATYPES[signature.feature(spec.features[0]).dtype]


def _row_shape(signature: Signature, spec: ModelInput) -> tuple[int, ...]:
    return signature.feature(spec.features[0]).shape or (len(spec.features),)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name[:64] for name in names[:8]) or "none"


def concatenated(batches: Sequence[FeatureColumns]) -> FeatureColumns:
    """All rows of batches of one signature, in order; there is at least one batch."""
    if len(batches) == 1:
        return batches[0]
    tensors = zip(*(batch.tensors for batch in batches), strict=True)
    return FeatureColumns(batches[0].signature, tuple(map(np.concatenate, tensors)))
