"""What can be said about a model file without running it.

`sniff` looks at the first bytes, before anything is parsed. `inspect` reads the parsed graph: nothing from outside the
file, only standard operators, and exactly the inputs and outputs of the signature. It is called in the guarded child,
since a parser is a place of attack as well.
"""

from collections.abc import Iterator
from typing import Final

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, ValueInfoProto

from millrace.core.signature import DType, ModelInput, Signature, Task
from millrace.serving.refusal import ModelRefusedError, Refusal

STANDARD_DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml"})

CONTRIBUTED_OPERATORS: Final = frozenset(
    {
        *("Attention", "BiasGelu", "EmbedLayerNormalization", "FastGelu", "FusedMatMul", "Gelu", "MatMulNBits"),
        *("MultiHeadAttention", "QAttention", "QuickGelu", "SkipLayerNormalization", "DynamicQuantizeMatMul"),
    }
)
"""Operators of the domain `com.microsoft` that optimised transformers use; they compute, and do nothing else."""

_SUBGRAPH_DEPTH: Final = 8
_ELEMENT_TYPES: Final = {
    DType.FLOAT32: TensorProto.FLOAT,
    DType.FLOAT64: TensorProto.DOUBLE,
    DType.INT32: TensorProto.INT32,
    DType.INT64: TensorProto.INT64,
    DType.BOOL: TensorProto.BOOL,
    DType.STRING: TensorProto.STRING,
}
_SCORE_TYPES: Final = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16}
_LABEL_TYPES: Final = {TensorProto.INT64, TensorProto.INT32, TensorProto.STRING, TensorProto.BOOL}

_MAGIC: Final = (
    (b"PK\x03\x04", Refusal.WEIGHTS_ONLY, "a ZIP archive, as PyTorch, Keras and NumPy write for weights"),
    (b"\x89HDF\r\n\x1a\n", Refusal.WEIGHTS_ONLY, "an HDF5 file, as Keras writes for weights"),
    (b"GGUF", Refusal.WEIGHTS_ONLY, "a GGUF file, which holds the weights of a language model"),
    (b"\x93NUMPY", Refusal.WEIGHTS_ONLY, "a NumPy array"),
    (b"\x1f\x8b", Refusal.NOT_ONNX, "a gzip file"),
    (b"x\x9c", Refusal.PICKLE, "a zlib stream, as joblib writes for compressed pickles"),
    (b"tree\n", Refusal.NOT_ONNX, "a LightGBM text model"),
    (b"{", Refusal.NOT_ONNX, "a JSON or UBJSON document, as XGBoost writes for models"),
)
HEAD_BYTES: Final = 16
"""How many first bytes `sniff` looks at."""


def sniff(head: bytes) -> None:
    """Refuse by the first bytes of a file what is known not to be ONNX.

    Raises:
        ModelRefusedError: `empty`, `pickle`, `weights_only` or `not_onnx`.
    """
    if not head:
        raise ModelRefusedError(Refusal.EMPTY, "the file has no bytes")
    for magic, refusal, words in _MAGIC:
        if head.startswith(magic):
            raise ModelRefusedError(refusal, f"the file is {words}")
    if head[0] == 0x80 and len(head) > 1 and head[1] <= 5:
        raise ModelRefusedError(Refusal.PICKLE, "the file is a pickle, which was not opened")
    if head[4:9] == b"\0\0\0\0{":  # eight bytes of length, little-endian and never that large, then a JSON header
        raise ModelRefusedError(Refusal.WEIGHTS_ONLY, "the file is in the safetensors format")


def inspect(data: bytes, signature: Signature) -> None:
    """Parse a model and compare it with the policy and its signature.

    Raises:
        ModelRefusedError: It is not admitted.
    """
    sniff(data[:HEAD_BYTES])
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ModelRefusedError(Refusal.NOT_ONNX, f"the file cannot be parsed: {_one_line(error)}") from None
    _check_parts(model)
    for graph in _graphs(model.graph):
        _check_graph(graph)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        raise ModelRefusedError(Refusal.INVALID_GRAPH, _one_line(error)) from None
    _check_inputs(model.graph, signature)
    _check_outputs(model.graph, signature)


def _check_parts(model: ModelProto) -> None:
    if not model.HasField("graph") or not model.opset_import:
        raise ModelRefusedError(Refusal.NOT_ONNX, "the file has no graph or no operator set")
    if not model.graph.node:
        raise ModelRefusedError(Refusal.WEIGHTS_ONLY, "the graph has no operators")
    if model.functions:
        raise ModelRefusedError(Refusal.LOCAL_FUNCTION, f"the model defines the function {model.functions[0].name!r}")
    if model.training_info:
        raise ModelRefusedError(Refusal.INVALID_GRAPH, "the model holds training steps")


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph and all graphs inside its operators, without recursion."""
    waiting = [(graph, 0)]
    while waiting:
        current, depth = waiting.pop()
        if depth > _SUBGRAPH_DEPTH:
            raise ModelRefusedError(Refusal.INVALID_GRAPH, f"graphs are nested more than {_SUBGRAPH_DEPTH} deep")
        yield current
        waiting.extend((inner, depth + 1) for node in current.node for inner in _inner_graphs(node))


def _inner_graphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _check_graph(graph: GraphProto) -> None:
    for node in graph.node:
        _check_operator(node)
        for attribute in node.attribute:
            for tensor in _attribute_tensors(attribute):
                _check_tensor(tensor)
    for tensor in graph.initializer:
        _check_tensor(tensor)
    for sparse in graph.sparse_initializer:
        for tensor in _sparse_tensors(sparse):
            _check_tensor(tensor)


def _check_operator(node: NodeProto) -> None:
    if node.domain in STANDARD_DOMAINS:
        return
    if node.domain == "com.microsoft" and node.op_type in CONTRIBUTED_OPERATORS:
        return
    raise ModelRefusedError(Refusal.CUSTOM_OPERATOR, f"the operator {node.op_type!r} of the domain {node.domain!r}")


def _attribute_tensors(attribute: AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    if attribute.HasField("sparse_tensor"):
        yield from _sparse_tensors(attribute.sparse_tensor)
    for sparse in attribute.sparse_tensors:
        yield from _sparse_tensors(sparse)


def _sparse_tensors(sparse: SparseTensorProto) -> tuple[TensorProto, TensorProto]:
    return sparse.values, sparse.indices


def _check_tensor(tensor: TensorProto) -> None:
    # Files beside the model, files anywhere, and addresses in memory all come as external data.
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        where = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        raise ModelRefusedError(Refusal.EXTERNAL_DATA, f"the tensor {tensor.name!r} is kept in {where[:80]!r}")


def _check_inputs(graph: GraphProto, signature: Signature) -> None:
    weights = {tensor.name for tensor in graph.initializer}
    found = {value.name: value for value in graph.input if value.name not in weights}
    expected = {tensor.name for tensor in signature.inputs}
    if set(found) != expected:
        raise ModelRefusedError(
            Refusal.SIGNATURE_MISMATCH, f"the model has the inputs {sorted(found)}, its signature {sorted(expected)}"
        )
    for tensor in signature.inputs:
        _check_input(found[tensor.name], tensor, signature)


def _check_input(value: ValueInfoProto, tensor: ModelInput, signature: Signature) -> None:
    feature = signature.feature(tensor.features[0])
    if value.type.tensor_type.elem_type != _ELEMENT_TYPES[feature.dtype]:
        raise ModelRefusedError(
            Refusal.SIGNATURE_MISMATCH,
            f"input {value.name!r} has the type {_type_name(value)}, its signature {feature.dtype}",
        )
    _check_shape(value, feature.shape or (len(tensor.features),))


def _check_outputs(graph: GraphProto, signature: Signature) -> None:
    found = {value.name: value for value in graph.output}
    for name, types in ((signature.score_output, _SCORE_TYPES), (signature.label_output, _LABEL_TYPES)):
        if name is None:
            continue
        if name not in found:
            raise ModelRefusedError(
                Refusal.SIGNATURE_MISMATCH, f"the model has the outputs {sorted(found)}, its signature {name!r}"
            )
        if found[name].type.tensor_type.elem_type not in types:
            raise ModelRefusedError(
                Refusal.SIGNATURE_MISMATCH,
                f"output {name!r} has the type {_type_name(found[name])}",
                remedy="export raw tensors: with skl2onnx, options={'zipmap': False}",
            )
    scores = found[signature.score_output]
    if signature.task is Task.MULTICLASS:
        _check_shape(scores, (len(signature.classes),))
    elif len(scores.type.tensor_type.shape.dim) > 1:
        _check_width(scores, signature)


def _check_width(scores: ValueInfoProto, signature: Signature) -> None:
    """One score a row for binary and regression, or for binary one a class."""
    widths = {1, 2} if signature.task is Task.BINARY else {1}
    dimension = scores.type.tensor_type.shape.dim[1]
    if dimension.HasField("dim_value") and dimension.dim_value not in widths:
        raise ModelRefusedError(
            Refusal.SIGNATURE_MISMATCH, f"output {scores.name!r} has {dimension.dim_value} values a row"
        )


def _check_shape(value: ValueInfoProto, row: tuple[int, ...]) -> None:
    """A dimension without a number fits every size; the first one must have none."""
    if not value.type.tensor_type.HasField("shape"):
        return
    dimensions = [each.dim_value if each.HasField("dim_value") else None for each in value.type.tensor_type.shape.dim]
    fits = len(dimensions) == len(row) + 1 and all(
        found in {None, size} for found, size in zip(dimensions[1:], row, strict=True)
    )
    if not fits:
        raise ModelRefusedError(
            Refusal.SIGNATURE_MISMATCH, f"{value.name!r} has rows of shape {dimensions[1:]}, its signature {list(row)}"
        )
    if dimensions[0] is not None:
        raise ModelRefusedError(Refusal.FIXED_BATCH, f"{value.name!r} always has {dimensions[0]} rows")


def _type_name(value: ValueInfoProto) -> str:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return str(kind or "nothing").removesuffix("_type")
    number = value.type.tensor_type.elem_type
    return TensorProto.DataType.Name(number).lower() if number in TensorProto.DataType.values() else str(number)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
