"""Estimators to ONNX by the converters that their makers or the ONNX project keep. Each is an optional extra.

Converters print, warn and raise megabytes; here they are silent, and an error is one line.
"""

import contextlib
import io
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import onnx

from millrace.core.errors import RequestError
from millrace.core.signature import DType, ModelInput, Signature


@dataclass(frozen=True, slots=True)
class Converted:
    """An ONNX model and the names of its inputs and outputs.

    Attributes:
        model: The serialised model.
        inputs: Names of its inputs, in the order of the sample's inputs.
        score_output: See `millrace.core.signature.Signature`.
        label_output: Output with the class; None where the model has none.
        packages: Distributions that took part in making it.
    """

    model: bytes
    inputs: tuple[str, ...]
    score_output: str
    label_output: str | None
    packages: tuple[str, ...]


def family(estimator: object) -> str:
    """Which converter takes this estimator: the top-level package of its class or of the nearest base class.

    Raises:
        RequestError: None does.
    """
    packages = [cls.__module__.partition(".")[0] for cls in type(estimator).__mro__]
    for package in packages:
        if package in _CONVERTERS:
            return package
    known = ", ".join(sorted(set(_CONVERTERS)))
    raise RequestError(
        f"no converter takes a {type(estimator).__module__}.{type(estimator).__qualname__}",
        remedy=f"converters exist for {known}; a plain function is served by the runtime `python`",
    )


def convert(estimator: object, inputs: Signature) -> Converted:
    """Convert a fitted estimator.

    Args:
        estimator: What `fit` returned, or a model of PyTorch or Keras.
        inputs: Names and types of its inputs; the outputs of this signature are not read.

    Raises:
        RequestError: The converter is not installed, or it refuses the estimator.
    """
    name = family(estimator)
    try:
        with _silence():
            return _CONVERTERS[name](estimator, inputs)
    except ImportError as error:
        raise RequestError(
            f"the converter for {name} is not installed: {error}", remedy=f"install millrace[{name}]"
        ) from None
    except RequestError:
        raise
    except Exception as error:  # noqa: BLE001 - converters raise whatever they like
        raise RequestError(
            f"the converter for {name} refuses {type(estimator).__name__}: {_one_line(error)}",
            remedy="convert it yourself and export the ONNX model",
        ) from None


def _sklearn(estimator: Any, inputs: Signature) -> Converted:  # noqa: ANN401 - untyped library
    skl2onnx = import_module("skl2onnx")
    classifies = hasattr(estimator, "classes_")
    if classifies and not hasattr(estimator, "predict_proba"):
        raise RequestError(
            f"{type(estimator).__name__} gives no probabilities",
            remedy="wrap it in sklearn.calibration.CalibratedClassifierCV",
        )
    options = {id(estimator): {"zipmap": False}} if classifies else None
    model = skl2onnx.to_onnx(estimator, initial_types=_initial_types("skl2onnx", inputs), options=options)
    return _read_names(model, ("scikit-learn", "skl2onnx"), classifies=classifies)


def _lightgbm(estimator: Any, inputs: Signature) -> Converted:  # noqa: ANN401 - untyped library
    tools = import_module("onnxmltools")
    types = _initial_types("onnxmltools.convert.common", inputs)
    model = tools.convert_lightgbm(estimator, initial_types=types, zipmap=False)
    return _read_names(model, ("lightgbm", "onnxmltools"), classifies=len(model.graph.output) > 1)


def _xgboost(estimator: Any, inputs: Signature) -> Converted:  # noqa: ANN401 - untyped library
    tools = import_module("onnxmltools")
    types = _initial_types("onnxmltools.convert.common", inputs)
    model = tools.convert_xgboost(estimator, initial_types=types)
    return _read_names(model, ("xgboost", "onnxmltools"), classifies=len(model.graph.output) > 1)


def _torch(module: Any, inputs: Signature) -> Converted:  # noqa: ANN401 - untyped library
    torch = import_module("torch")
    example = torch.zeros((2, *_row_shape(inputs)), dtype=getattr(torch, str(inputs.features[0].dtype)))
    was_training = module.training
    module.eval()
    try:
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            input_names=[inputs.inputs[0].name],
            output_names=["scores"],
            dynamic_shapes=({0: torch.export.Dim("rows")},),
            verbose=False,
        )
    finally:
        module.train(was_training)
    return _read_names(program.model_proto, ("torch", "onnxscript"))


def _keras(model: Any, inputs: Signature) -> Converted:  # noqa: ANN401 - untyped library
    keras = import_module("keras")
    spec = keras.InputSpec(shape=(None, *_row_shape(inputs)), dtype=str(inputs.features[0].dtype))
    with tempfile.TemporaryDirectory(prefix="millrace-keras-") as folder:
        path = Path(folder, "model.onnx")
        model.export(path, format="onnx", input_signature=[spec], verbose=False)
        return _read_names(onnx.load_model(path), ("keras", "tf2onnx"))


def _onnx(model: onnx.ModelProto, inputs: Signature) -> Converted:
    found = _read_names(model, (), classifies=_answers_label_and_scores(model))
    if len(found.inputs) > 1:
        expected = sorted(each.name for each in inputs.inputs)
        if sorted(found.inputs) != expected:
            raise RequestError(
                f"the ONNX model has the inputs {sorted(found.inputs)}, the sample {expected}",
                remedy="name the columns of the sample as the inputs of the model",
            )
        return replace(found, inputs=tuple(each.name for each in inputs.inputs))
    return found


def _answers_label_and_scores(model: onnx.ModelProto) -> bool:
    """Whether the outputs are those of the usual converters' classifiers: a class for each row, then its scores."""
    types = [value.type.tensor_type.elem_type for value in model.graph.output]
    return len(types) == 2 and types[0] in _LABEL_TYPES and types[1] in _SCORE_TYPES


def _read_names(model: onnx.ModelProto, packages: tuple[str, ...], *, classifies: bool = False) -> Converted:
    """Names as the graph has them; a classifier of the converters answers with its label first."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(value.name for value in model.graph.input if value.name not in weights)
    outputs = [value.name for value in model.graph.output]
    label, score = (outputs[0], outputs[1]) if classifies else (None, outputs[0])
    return Converted(model.SerializeToString(), inputs, score, label, packages)


_LABEL_TYPES: Final = (onnx.TensorProto.INT64, onnx.TensorProto.STRING)
_SCORE_TYPES: Final = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)

_CONVERTERS: Final[Mapping[str, Callable[[Any, Signature], Converted]]] = {
    "sklearn": _sklearn,
    "lightgbm": _lightgbm,
    "xgboost": _xgboost,
    "torch": _torch,
    "keras": _keras,
    "onnx": _onnx,
}


def _initial_types(module: str, inputs: Signature) -> list[tuple[str, Any]]:
    """The inputs as skl2onnx and onnxmltools want them; each has tensor types of its own."""
    types = import_module(f"{module}.data_types" if module.endswith("common") else f"{module}.common.data_types")
    kinds = {
        DType.FLOAT32: types.FloatTensorType,
        DType.FLOAT64: types.DoubleTensorType,
        DType.INT32: types.Int32TensorType,
        DType.INT64: types.Int64TensorType,
        DType.BOOL: types.BooleanTensorType,
        DType.STRING: types.StringTensorType,
    }
    return [
        (each.name, kinds[inputs.feature(each.features[0]).dtype]([None, *_row(inputs, each)]))
        for each in inputs.inputs
    ]


def _row(inputs: Signature, tensor: ModelInput) -> tuple[int, ...]:
    return inputs.feature(tensor.features[0]).shape or (len(tensor.features),)


def _row_shape(inputs: Signature) -> tuple[int, ...]:
    if len(inputs.inputs) != 1:
        raise RequestError(
            f"the sample makes {len(inputs.inputs)} inputs; this converter takes models of one",
            remedy="give features of one type, or convert the model yourself and export the ONNX model",
        )
    return _row(inputs, inputs.inputs[0])


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error)[:2000].split())}"[:300]
