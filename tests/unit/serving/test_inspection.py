"""Files that must not get in, each refused with its own reason before anything of it is run."""

import io
import pickle
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from millrace.core.errors import RequestError
from millrace.core.signature import DType, Feature, ModelInput, Signature, Task
from millrace.serving.inspection import inspect
from millrace.serving.refusal import ModelRefusedError, Refusal
from millrace.testing.models import INPUT, SCORES, linear_model, linear_signature, make_model

SIGNATURE = linear_signature()
GOOD = linear_model(np.array([1, -1, 0.5], np.float32))
HOSTILE: dict[str, tuple[Refusal, Callable[[], bytes]]] = {}


def hostile(refusal: Refusal) -> Callable[[Callable[[], bytes | onnx.ModelProto]], None]:
    def register(make: Callable[[], bytes | onnx.ModelProto]) -> None:
        def data() -> bytes:
            made = make()
            return made if isinstance(made, bytes) else bytes(made.SerializeToString())

        HOSTILE[make.__name__] = (refusal, data)

    return register


def good() -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(GOOD)
    return model


def floats(name: str, *shape: int | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


@hostile(Refusal.EMPTY)
def no_bytes() -> bytes:
    return b""


@hostile(Refusal.NOT_ONNX)
def random_bytes() -> bytes:
    return np.random.default_rng(7).bytes(4096)


@hostile(Refusal.NOT_ONNX)
def truncated() -> bytes:
    return GOOD.SerializeToString()[:-7]


@hostile(Refusal.NOT_ONNX)
def text() -> bytes:
    return b"<model>no</model>"


@hostile(Refusal.NOT_ONNX)
def xgboost_json() -> bytes:
    return b'{"learner":{}}'


@hostile(Refusal.NOT_ONNX)
def lightgbm_text() -> bytes:
    return b"tree\nversion=v4\n"


@hostile(Refusal.NOT_ONNX)
def gzip_file() -> bytes:
    return b"\x1f\x8b\x08\x00" + bytes(20)


@hostile(Refusal.PICKLE)
def pickle_file() -> bytes:
    return pickle.dumps({"weights": [1, 2, 3]})


@hostile(Refusal.PICKLE)
def joblib_file() -> bytes:
    return zlib.compress(pickle.dumps([1.0]))


@hostile(Refusal.WEIGHTS_ONLY)
def pytorch_state_dict() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    return data.getvalue()


@hostile(Refusal.WEIGHTS_ONLY)
def safetensors() -> bytes:
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    return len(header).to_bytes(8, "little") + header + bytes(4)


@hostile(Refusal.WEIGHTS_ONLY)
def keras_h5() -> bytes:
    return b"\x89HDF\r\n\x1a\n" + bytes(64)


@hostile(Refusal.WEIGHTS_ONLY)
def gguf() -> bytes:
    return b"GGUF" + bytes(64)


@hostile(Refusal.WEIGHTS_ONLY)
def onnx_without_operators() -> onnx.ModelProto:
    return make_model([], inputs=[], outputs=[], weights=list(GOOD.graph.initializer))


def external(location: str) -> TensorProto:
    tensor = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[3, 1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def with_weights(tensor: TensorProto) -> onnx.ModelProto:
    model = good()
    del model.graph.initializer[:]
    model.graph.initializer.append(tensor)
    return model


@hostile(Refusal.EXTERNAL_DATA)
def external_data_beside_the_model() -> onnx.ModelProto:
    return with_weights(external("weights.bin"))


@hostile(Refusal.EXTERNAL_DATA)
def external_data_anywhere() -> onnx.ModelProto:
    return with_weights(external("../../../../etc/passwd"))


@hostile(Refusal.EXTERNAL_DATA)
def external_data_at_an_address_in_memory() -> onnx.ModelProto:
    return with_weights(external("*/_ORT_MEM_ADDR_/*"))


@hostile(Refusal.EXTERNAL_DATA)
def external_data_without_saying_so() -> onnx.ModelProto:
    tensor = numpy_helper.from_array(np.zeros((3, 1), np.float32), "weights")
    tensor.external_data.add(key="location", value="elsewhere")
    return with_weights(tensor)


@hostile(Refusal.EXTERNAL_DATA)
def external_data_in_an_attribute() -> onnx.ModelProto:
    model = good()
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=external("secret")))
    return model


def inside(graph: onnx.GraphProto) -> onnx.ModelProto:
    model = good()
    model.graph.initializer.append(numpy_helper.from_array(np.array([True]), "condition"))
    model.graph.node.append(helper.make_node("If", ["condition"], ["out"], then_branch=graph, else_branch=graph))
    return model


@hostile(Refusal.EXTERNAL_DATA)
def external_data_in_a_subgraph() -> onnx.ModelProto:
    node = helper.make_node("Identity", ["weights"], ["inner"])
    return inside(helper.make_graph([node], "branch", [], [floats("inner", 3, 1)], [external("secret")]))


@hostile(Refusal.EXTERNAL_DATA)
def external_data_in_a_sparse_tensor() -> onnx.ModelProto:
    model = good()
    values = external("secret")
    indices = numpy_helper.from_array(np.array([0], np.int64), "indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3, 1]))
    return model


@hostile(Refusal.CUSTOM_OPERATOR)
def custom_operator() -> onnx.ModelProto:
    model = good()
    model.graph.node.append(helper.make_node("PyOp", [SCORES], ["x"], domain="ai.onnx.contrib"))
    model.opset_import.append(helper.make_opsetid("ai.onnx.contrib", 1))
    return model


@hostile(Refusal.CUSTOM_OPERATOR)
def unlisted_contributed_operator() -> onnx.ModelProto:
    model = good()
    model.graph.node.append(helper.make_node("Tokenizer", [SCORES], ["x"], domain="com.microsoft"))
    return model


@hostile(Refusal.CUSTOM_OPERATOR)
def custom_operator_in_a_subgraph() -> onnx.ModelProto:
    node = helper.make_node("Anything", [], ["inner"], domain="evil")
    return inside(helper.make_graph([node], "branch", [], [floats("inner", 3, 1)]))


@hostile(Refusal.LOCAL_FUNCTION)
def local_function() -> onnx.ModelProto:
    node = helper.make_node("Identity", ["a"], ["b"])
    function = helper.make_function("ai.onnx", "Sigmoid", ["a"], ["b"], [node], [helper.make_opsetid("", 18)])
    model = good()
    model.functions.append(function)
    return model


@hostile(Refusal.INVALID_GRAPH)
def cyclic() -> onnx.ModelProto:
    model = good()
    model.graph.node[0].input[0] = "loop"
    model.graph.node.append(helper.make_node("Identity", [SCORES], ["loop"]))
    return model


@hostile(Refusal.INVALID_GRAPH)
def unknown_operator() -> onnx.ModelProto:
    model = good()
    model.graph.node[1].op_type = "NoSuchOperator"
    return model


@hostile(Refusal.INVALID_GRAPH)
def nested_too_deep() -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Identity", [INPUT], ["inner"])], "leaf", [], [floats("inner", None, 3)]
    )
    for _ in range(12):
        node = helper.make_node("If", ["condition"], ["inner"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([node], "branch", [], [floats("inner", None, 3)])
        graph = helper.make_graph([helper.make_node("If", ["condition"], ["inner"], then_branch=graph)], "b", [], [])
    return inside(graph)


@hostile(Refusal.SIGNATURE_MISMATCH)
def other_input_name() -> onnx.ModelProto:
    model = good()
    model.graph.input[0].name = "X"
    model.graph.node[0].input[0] = "X"
    return model


@hostile(Refusal.SIGNATURE_MISMATCH)
def other_input_type() -> onnx.ModelProto:
    model = good()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    return model


@hostile(Refusal.SIGNATURE_MISMATCH)
def other_number_of_features() -> onnx.ModelProto:
    return linear_model(np.ones(4, np.float32))


@hostile(Refusal.SIGNATURE_MISMATCH)
def other_output_name() -> onnx.ModelProto:
    model = good()
    model.graph.output[0].name = model.graph.node[1].output[0] = "probability"
    return model


@hostile(Refusal.SIGNATURE_MISMATCH)
def integer_scores() -> onnx.ModelProto:
    model = good()
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    return model


@hostile(Refusal.SIGNATURE_MISMATCH)
def too_many_scores() -> onnx.ModelProto:
    model = good()
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 5
    return model


@hostile(Refusal.SIGNATURE_MISMATCH)
def zip_map_output() -> onnx.ModelProto:
    model = good()
    maps = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    model.graph.output[0].type.CopyFrom(helper.make_sequence_type_proto(maps))
    return model


@hostile(Refusal.FIXED_BATCH)
def one_row_only() -> onnx.ModelProto:
    model = good()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    return model


@pytest.mark.parametrize("name", HOSTILE)
def test_is_refused_with_its_reason(name: str) -> None:
    refusal, make = HOSTILE[name]
    with pytest.raises(ModelRefusedError) as caught:
        inspect(make(), SIGNATURE)
    assert caught.value.refusal is refusal, caught.value
    assert caught.value.remedy
    assert len(str(caught.value)) < 600


def test_a_good_model_is_admitted() -> None:
    inspect(GOOD.SerializeToString(), SIGNATURE)


def test_an_operator_of_optimised_transformers_is_admitted() -> None:
    model = good()
    model.graph.node.append(helper.make_node("Gelu", [SCORES], ["x"], domain="com.microsoft"))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    inspect(model.SerializeToString(), SIGNATURE)


def test_every_kind_of_input_is_compared() -> None:
    signature = Signature(
        (Feature("city", DType.STRING), Feature("image", shape=(2, 3))),
        (ModelInput("city", ("city",)), ModelInput("image", ("image",))),
        Task.REGRESSION,
        score_output="y",
    )
    model = make_model(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("ReduceMean", ["flat"], ["y"], keepdims=1),
            helper.make_node("Identity", ["city"], ["unused"]),
        ],
        inputs=[
            helper.make_tensor_value_info("city", TensorProto.STRING, ["rows", 1]),
            floats("image", None, 2, 3),
        ],
        outputs=[floats("y", None, 1)],
    )
    inspect(model.SerializeToString(), signature)


def test_a_refusal_is_what_a_caller_may_correct() -> None:
    with pytest.raises(RequestError, match=r"the model is refused, pickle: .*export the estimator itself"):
        inspect(pickle.dumps({}), SIGNATURE)
