"""What a model accepts and what it answers.

A signature is part of a model bundle. The decoders are compiled from it, admission checks the ONNX file against it, and
the schema of a stream is derived from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import prod
from typing import Final

import numpy as np

from millrace.core.errors import RequestError

_READING: Final = ("features", "inputs", "not_finite", "extra_fields")
"""The parts of a signature that say how records become rows."""


class DType(StrEnum):
    """Element type of a feature or a tensor."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"
    INT32 = "int32"
    INT64 = "int64"
    BOOL = "bool"
    STRING = "string"

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The NumPy type; strings are held as Python objects."""
        return NUMPY_TYPES[self]


NUMPY_TYPES: Final[Mapping[DType, np.dtype[np.generic]]] = {
    DType.FLOAT32: np.dtype(np.float32),
    DType.FLOAT64: np.dtype(np.float64),
    DType.INT32: np.dtype(np.int32),
    DType.INT64: np.dtype(np.int64),
    DType.BOOL: np.dtype(np.bool_),
    DType.STRING: np.dtype(np.object_),
}


class Task(StrEnum):
    """What the model's outputs mean, and so how it is audited."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


class NotFinite(StrEnum):
    """What to do with NaN and infinity in a float feature."""

    REJECT = "reject"
    ALLOW = "allow"


class ExtraFields(StrEnum):
    """What to do with fields that the signature does not name."""

    IGNORE = "ignore"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Feature:
    """One named field of a feature record.

    Attributes:
        name: The field's name in the record.
        dtype: Type of its elements.
        shape: () for one value; (k,) or (k, l, ...) for a tensor, written in records as a flat or nested array.
        nullable: Whether the field may be absent or null; a float feature is then NaN. Only floats can be nullable.
    """

    name: str
    dtype: DType = DType.FLOAT32
    shape: tuple[int, ...] = ()
    nullable: bool = False

    def __post_init__(self) -> None:
        if self.nullable and self.dtype not in {DType.FLOAT32, DType.FLOAT64}:
            raise RequestError(
                f"feature {self.name!r} is {self.dtype} and nullable", remedy="only float features can be nullable"
            )
        if self.dtype is DType.STRING and self.shape:
            raise RequestError(f"feature {self.name!r} is a tensor of strings", remedy="strings are single values")
        if any(size < 1 for size in self.shape):
            raise RequestError(f"feature {self.name!r} has shape {self.shape}", remedy="every size must be 1 or more")

    @property
    def elements(self) -> int:
        """How many values one record carries for this feature."""
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Memory of one row's values."""
        return self.elements * self.dtype.numpy.itemsize


@dataclass(frozen=True, slots=True)
class ModelInput:
    """One input tensor of the model, and the features it is made of.

    Either several scalar features of one type, stacked in this order to shape (n, k), or one tensor feature of shape
    (n, *shape), or one scalar feature.
    """

    name: str
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model accepts and answers.

    Attributes:
        features: In the order in which records, profiles and `bins` list them.
        inputs: The model's input tensors; every feature belongs to exactly one.
        task: What the outputs mean.
        classes: Names of the classes in the order of the scores; empty for regression.
        label_output: The model's output with the class, or None where the class is the one with the highest score.
        score_output: The model's output with scores of shape (n, classes), or (n,) or (n, 1) with the score of the
            second of two classes, or the predicted value for regression.
        not_finite: Policy for NaN and infinity.
        extra_fields: Policy for fields that no feature names.
    """

    features: tuple[Feature, ...]
    inputs: tuple[ModelInput, ...]
    task: Task
    score_output: str
    label_output: str | None = None
    classes: tuple[str, ...] = ()
    not_finite: NotFinite = NotFinite.REJECT
    extra_fields: ExtraFields = ExtraFields.IGNORE
    _by_name: Mapping[str, Feature] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {feature.name: feature for feature in self.features}
        if not self.features:
            raise RequestError("the signature names no feature", remedy="name at least one")
        if len(by_name) != len(self.features):
            raise RequestError("two features of the signature have one name", remedy="rename one")
        used = [name for tensor in self.inputs for name in tensor.features]
        if sorted(used) != sorted(by_name):
            raise RequestError(
                f"the inputs use the features {sorted(used)} but the signature has {sorted(by_name)}",
                remedy="every feature must belong to exactly one input",
            )
        for tensor in self.inputs:
            members = [by_name[name] for name in tensor.features]
            if len(members) > 1 and (any(m.shape for m in members) or len({m.dtype for m in members}) > 1):
                raise RequestError(
                    f"input {tensor.name!r} stacks features of different types or with shapes",
                    remedy="stack scalar features of one type, or give a tensor feature an input of its own",
                )
        expected = {Task.BINARY: 2, Task.REGRESSION: 0}.get(self.task)
        if (expected is not None and len(self.classes) != expected) or (
            self.task is Task.MULTICLASS and len(self.classes) < 2
        ):
            raise RequestError(
                f"a {self.task} model has {len(self.classes)} classes in its signature",
                remedy="binary has 2, multiclass 2 or more, regression none",
            )
        object.__setattr__(self, "_by_name", by_name)

    @property
    def row_bytes(self) -> int:
        """Memory of one row's values."""
        return sum(feature.size_bytes for feature in self.features)

    def feature(self, name: str) -> Feature:
        """The feature of this name; KeyError where there is none."""
        return self._by_name[name]


def read_alike(ours: Signature, theirs: Signature) -> bool:
    """Whether rows that were decoded for one model are rows of the other."""
    return all(getattr(ours, part) == getattr(theirs, part) for part in _READING)
