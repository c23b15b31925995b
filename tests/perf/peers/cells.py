"""What is scored with what: the cells of the bench's matrix, each a model, its records, and a number of partitions."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from millrace.core.columns import FeatureColumns
from millrace.core.errors import RequestError
from millrace.core.records import OutputBatch
from millrace.core.signature import Feature, ModelInput, Signature, Task
from millrace.kafka.writing import Writer
from millrace.process.settings import KafkaSettings
from millrace.serving.bundle import Bundle
from millrace.serving.onnx import OnnxRuntime
from millrace.testing.models import bundle_of, make_model
from tests.perf import workload
from tests.perf.batch import make_trees

_AT_ONCE_BYTES: Final = 16_000_000
_INPUT: Final = "features"
_OUTPUT: Final = "scores"
_STAGES: Final = ((3, 64), (4, 128), (6, 256), (3, 512))
"""Blocks of each stage of a ResNet50, and their channels inside."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the matrix, and how much of it there is to score.

    Attributes:
        make: Writes its bundle into a folder, under a name, for so many features.
        shape: Shape of its one feature; empty for a model of single numbers.
        share: How many of a peer's records it gets, by which transactions are shorter, too.
        distinct: Distinct records.
        digits: Decimals of a number.
    """

    make: Callable[[Path, str, int], Bundle]
    shape: tuple[int, ...] = ()
    share: float = 1
    distinct: int = 5_000
    digits: int = 4


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        model: Name of its model.
        features: Numbers of a record; 1 for a model whose feature is a tensor.
        partitions: Of both topics. More than one are shared by two processes of each peer.
    """

    model: str
    features: int
    partitions: int

    @classmethod
    def named(cls, name: str) -> "Cell":
        """The cell of a name such as `linear-30`, `resnet50`, or `trees-4/8` for eight partitions.

        Raises:
            RequestError: There is no such model.
        """
        what, _, partitions = name.partition("/")
        model, _, features = what.partition("-")
        if model not in MODELS or bool(features) is bool(MODELS[model].shape):
            raise RequestError(f"there is no cell {name!r}", remedy=f"name one of {', '.join(MATRIX)}")
        return cls(model, int(features or 1), int(partitions or 1))

    def __str__(self) -> str:
        what = self.model if MODELS[self.model].shape else f"{self.model}-{self.features}"
        return what if self.partitions == 1 else f"{what}/{self.partitions}"

    @property
    def workers(self) -> int:
        """Processes of each peer."""
        return 1 if self.partitions == 1 else 2

    def bundle(self, folder: Path, name: str) -> Bundle:
        """The model, always the same."""
        return MODELS[self.model].make(folder, name, self.features)

    def records(self, count: int) -> int:
        """How many records it gets where the plain cell gets so many."""
        share = MODELS[self.model].share * min(1, 30 / self.features)
        return max(2, int(count * share))

    @cached_property
    def rows(self) -> NDArray[np.float64]:
        """The numbers of each distinct record."""
        model = MODELS[self.model]
        shape = (model.distinct, *(model.shape or (self.features,)))
        return np.random.default_rng(11).normal(size=shape).round(model.digits)

    @cached_property
    def values(self) -> Sequence[bytes]:
        """The distinct records as JSON."""
        if MODELS[self.model].shape:
            documents: Sequence[Mapping[str, Any]] = [{"image": row.tolist()} for row in self.rows]
        else:
            names = workload.feature_names(self.features)
            documents = [dict(zip(names, row.tolist(), strict=True)) for row in self.rows]
        return [json.dumps(document, separators=(",", ":")).encode() for document in documents]

    def fill(self, kafka: KafkaSettings, topic: str, records: int) -> None:
        """Write so many records, with keys that tell which they are, to the partitions in turns."""
        at_once = max(1, _AT_ONCE_BYTES // len(self.values[0]))
        with Writer(kafka) as writer:
            for start in range(0, records, at_once):
                numbers = np.arange(start, min(records, start + at_once))
                values = [self.values[number % len(self.values)] for number in numbers.tolist()]
                keys = list(map(b"%d".__mod__, numbers.tolist()))
                partitions = (numbers % self.partitions).astype(np.int32)
                writer.write(OutputBatch(topic, partitions, np.zeros(len(keys), np.int64), keys, values, None))
            writer.flush()


def _linear(folder: Path, name: str, features: int) -> Bundle:
    return workload.bundle(folder, name, features=features)


def _trees(folder: Path, name: str, features: int) -> Bundle:
    return make_trees(folder, workload.feature_names(features), name=name)


def _perceptron(folder: Path, name: str, features: int) -> Bundle:
    """Two hidden layers of 64 and 32."""
    names = workload.feature_names(features)
    signature = Signature(tuple(map(Feature, names)), (ModelInput(_INPUT, names),), Task.BINARY, _OUTPUT, None, _NO_YES)
    layers = _Layers(_INPUT)
    for size_in, size in ((features, 64), (64, 32)):
        layers.dense(size_in, size)
        layers.add("Relu")
    layers.dense(32, 1)
    return _bundle(folder, name, layers.model("Sigmoid", [None, features], 1), signature)


def _digits(folder: Path, name: str, _features: int) -> Bundle:
    """Crayfish's feed-forward net: three hidden layers of 32 on images of 28 x 28."""
    layers = _Layers(_INPUT)
    layers.add("Flatten", axis=1)
    for size_in in (784, 32, 32):
        layers.dense(size_in, 32)
        layers.add("Relu")
    layers.dense(32, 10)
    return _bundle(folder, name, layers.model("Softmax", [None, 28, 28], 10, axis=1), _of_images((28, 28), 10))


def _resnet(folder: Path, name: str, _features: int) -> Bundle:
    """ResNet50 with random weights; its normalizations are part of them."""
    layers = _Layers(_INPUT)
    layers.convolution(3, 64, size=7, stride=2)
    layers.add("Relu")
    layers.add("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, (blocks, inside) in enumerate(_STAGES):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            before = layers.last
            for size_in, size_out, size, step in (
                (channels, inside, 1, 1),
                (inside, inside, 3, stride),
                (inside, 4 * inside, 1, 1),
            ):
                layers.convolution(size_in, size_out, size=size, stride=step)
                if size_out == inside:
                    layers.add("Relu")
            after, layers.last = layers.last, before
            if not block:
                layers.convolution(channels, 4 * inside, size=1, stride=stride)
            layers.add("Add", after)
            layers.add("Relu")
            channels = 4 * inside
    layers.add("GlobalAveragePool")
    layers.add("Flatten", axis=1)
    layers.dense(channels, 1000)
    model = layers.model("Softmax", [None, 3, 224, 224], 1000, axis=1)
    return _bundle(folder, name, model, _of_images((3, 224, 224), 1000), reference=2)


class _Layers:
    """A chain of operators with seeded weights."""

    def __init__(self, first: str) -> None:
        self.last = first
        self._random = np.random.default_rng(3)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def add(self, operator: str, *others: str, **attributes: Any) -> None:  # noqa: ANN401 - as onnx.helper takes them
        """Let an operator follow, which may have other inputs."""
        name = f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, [self.last, *others], [name], **attributes))
        self.last = name

    def dense(self, size_in: int, size: int) -> None:
        """Let a dense layer follow."""
        self.add("Gemm", self._weight(size_in, (size_in, size)), self._weight(size, (size,)))

    def convolution(self, size_in: int, size_out: int, *, size: int, stride: int) -> None:
        """Let a convolution follow that keeps the image's size, but for its stride."""
        weight = self._weight(size_in * size * size, (size_out, size_in, size, size))
        self.add("Conv", weight, kernel_shape=[size, size], strides=[stride, stride], pads=[size // 2] * 4)

    def model(self, last: str, shape: Sequence[int | None], classes: int, **attributes: Any) -> onnx.ModelProto:  # noqa: ANN401 - as above
        """The model, with an operator that makes scores at its end."""
        self.add(last, **attributes)
        self._nodes[-1].output[0] = _OUTPUT
        return make_model(
            self._nodes,
            inputs=[helper.make_tensor_value_info(_INPUT, TensorProto.FLOAT, shape)],
            outputs=[helper.make_tensor_value_info(_OUTPUT, TensorProto.FLOAT, [None, classes])],
            weights=self._weights,
        )

    def _weight(self, fan_in: int, shape: Sequence[int]) -> str:
        name = f"weight_{len(self._weights)}"
        values = self._random.normal(0, fan_in**-0.5, size=shape).astype(np.float32)
        self._weights.append(numpy_helper.from_array(values, name))
        return name


_NO_YES: Final = ("no", "yes")


def _of_images(shape: tuple[int, ...], classes: int) -> Signature:
    names = tuple(f"c{number}" for number in range(classes))
    feature = Feature("image", shape=shape)
    return Signature((feature,), (ModelInput(_INPUT, ("image",)),), Task.MULTICLASS, _OUTPUT, None, names)


def _bundle(folder: Path, name: str, model: onnx.ModelProto, signature: Signature, *, reference: int = 2_000) -> Bundle:
    shape = signature.features[0].shape or (len(signature.features),)
    rows = np.random.default_rng(4).normal(size=(reference, *shape)).astype(np.float32)
    columns, written = FeatureColumns(signature, (rows,)), model.SerializeToString()
    return bundle_of(folder, written, columns, name=name, outputs=OnnxRuntime(written, signature).infer(columns))


MODELS: Final[Mapping[str, Model]] = {
    "linear": Model(_linear),
    "trees": Model(_trees),
    "mlp": Model(_perceptron),
    "ffnn": Model(_digits, shape=(28, 28), share=0.05, distinct=300),
    "resnet50": Model(_resnet, shape=(3, 224, 224), share=0.0001, distinct=4, digits=2),
}

MATRIX: Final = (
    *(f"{model}-{features}" for model in ("linear", "trees", "mlp") for features in (4, 30, 300)),
    *("linear-30/8", "trees-30/8", "ffnn", "resnet50"),
)
"""The cells that are measured when nobody names others."""
