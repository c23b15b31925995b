"""Models that pass every look at the file, and what they do to the guarded child."""

import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from millrace.core.columns import FeatureColumns
from millrace.core.errors import RequestError
from millrace.serving.admission import TrialBounds, admit, sniff_file
from millrace.serving.bundle import Bundle
from millrace.serving.refusal import ModelRefusedError, Refusal
from millrace.testing.models import INPUT, SCORES, bundle_of, linear_bundle, linear_signature, make_model

SIGNATURE = linear_signature()
REFERENCE = FeatureColumns(SIGNATURE, (np.random.default_rng(3).normal(size=(64, 3)).astype(np.float32),))
BOUNDS = TrialBounds(cpu=timedelta(seconds=5), wall=timedelta(seconds=60))


def model_of(*nodes: onnx.NodeProto, weights: Mapping[str, object] | None = None, **parts: object) -> onnx.ModelProto:
    return make_model(
        nodes,
        inputs=[helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, 3])],
        outputs=[helper.make_tensor_value_info(SCORES, TensorProto.FLOAT, [None, None])],
        weights=[numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()],
        **parts,
    )


def bundle(tmp_path: Path, model: onnx.ModelProto) -> Bundle:
    return bundle_of(tmp_path / "bundle", model.SerializeToString(), REFERENCE)


def refused(bundle: Bundle, bounds: TrialBounds = BOUNDS) -> ModelRefusedError:
    with pytest.raises(ModelRefusedError) as caught:
        admit(bundle, bounds)
    return caught.value


def test_a_good_model_is_admitted_and_answers_alike_in_every_batch(tmp_path: Path) -> None:
    found = admit(linear_bundle(tmp_path / "bundle"))
    assert found is not None
    assert found.holds
    assert found.batch_sizes == (1, 2, 7, 64, 1000)


def test_a_model_whose_answer_depends_on_the_batch_is_admitted_and_marked(tmp_path: Path) -> None:
    mean = helper.make_node("ReduceMean", [INPUT], ["mean"], keepdims=1)  # over all rows
    sums = helper.make_node("ReduceSum", [INPUT, "axis"], ["sums"], keepdims=1)
    shifted = helper.make_node("Add", ["mean", "sums"], ["shifted"])
    score = helper.make_node("Sigmoid", ["shifted"], [SCORES])
    found = admit(bundle(tmp_path, model_of(mean, sums, shifted, score, weights={"axis": np.array([1])})))
    assert found is not None
    assert not found.holds
    assert 64 in found.differing


def endless_loop() -> onnx.ModelProto:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["condition"], ["go_on"]),
            helper.make_node("Sin", ["before"], ["after"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, [None, None]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, [None, None]),
        ],
    )
    return model_of(
        helper.make_node("ReduceMax", [INPUT, "axis"], ["first"], keepdims=1),
        helper.make_node("Loop", ["turns", "true", "first"], [SCORES], body=body),
        weights={"axis": np.array([1]), "turns": np.array(2**62), "true": np.ones((), np.bool_)},
    )


def test_a_model_that_never_ends_is_stopped_by_the_processor_time(tmp_path: Path) -> None:
    bounds = TrialBounds(cpu=timedelta(seconds=3), wall=timedelta(seconds=60))
    error = refused(bundle(tmp_path, endless_loop()), bounds)
    assert error.refusal is Refusal.TOO_SLOW


def test_a_model_that_never_ends_is_stopped_by_the_clock(tmp_path: Path) -> None:
    bounds = TrialBounds(wall=timedelta(seconds=3))
    error = refused(bundle(tmp_path, endless_loop()), bounds)
    assert error.refusal is Refusal.TOO_SLOW
    assert "0:00:03" in error.detail


def test_a_model_that_asks_for_a_terabyte_is_contained(tmp_path: Path) -> None:
    huge = helper.make_node("ConstantOfShape", ["shape"], ["huge"])
    total = helper.make_node("ReduceMean", ["huge"], ["mean"], keepdims=0)
    score = helper.make_node("Add", [INPUT, "mean"], [SCORES])
    error = refused(bundle(tmp_path, model_of(huge, total, score, weights={"shape": np.array([2**38])})))
    assert error.refusal in {Refusal.UNLOADABLE, Refusal.CANNOT_SCORE, Refusal.TOO_MUCH_MEMORY}


def test_a_model_without_finite_scores_is_refused(tmp_path: Path) -> None:
    score = helper.make_node("Div", ["sums", "zero"], [SCORES])
    sums = helper.make_node("ReduceMax", [INPUT, "axis"], ["sums"], keepdims=1)
    weights = {"axis": np.array([1]), "zero": np.array(0, np.float32)}
    error = refused(bundle(tmp_path, model_of(sums, score, weights=weights)))
    assert error.refusal is Refusal.CANNOT_SCORE
    assert "not finite" in error.detail


def test_a_model_that_answers_in_another_shape_is_refused(tmp_path: Path) -> None:
    error = refused(bundle(tmp_path, model_of(helper.make_node("Sigmoid", [INPUT], [SCORES]))))
    assert error.refusal is Refusal.SIGNATURE_MISMATCH
    assert "shape" in error.detail


def test_a_model_that_refuses_its_sample_is_refused(tmp_path: Path) -> None:
    reshape = helper.make_node("Reshape", [INPUT, "shape"], [SCORES])
    error = refused(bundle(tmp_path, model_of(reshape, weights={"shape": np.array([5, 5])})))
    assert error.refusal is Refusal.CANNOT_SCORE


def test_a_model_of_a_later_onnx_is_refused(tmp_path: Path) -> None:
    model = model_of(helper.make_node("Sigmoid", [INPUT], [SCORES]))
    model.opset_import[0].version = 99
    error = refused(bundle(tmp_path, model))
    assert error.refusal in {Refusal.UNLOADABLE, Refusal.INVALID_GRAPH}


def test_what_the_first_bytes_show_needs_no_child(tmp_path: Path) -> None:
    error = refused(bundle_of(tmp_path / "bundle", b"\x80\x04\x95", REFERENCE))
    assert error.refusal is Refusal.PICKLE


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 32)  # sparse: takes no room
    with pytest.raises(ModelRefusedError, match="more than 2147483647 bytes"):
        sniff_file(path)


def test_a_broken_bundle_is_the_caller_s_to_correct(tmp_path: Path) -> None:
    good = linear_bundle(tmp_path / "bundle")
    (good.directory / "manifest.json").write_text("{}")
    with pytest.raises(RequestError, match=r"manifest\.json: .*is missing"):
        admit(good)


CONFINED = """
import json, os, socket, sys
from millrace.serving.guard import confine
confine(memory_bytes=3 << 30, cpu_seconds=20)
found = {}
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5)
    found["network"] = "open"
except OSError as error:
    found["network"] = "closed"
try:
    bytearray(4 << 30)
    found["memory"] = "unbounded"
except MemoryError:
    found["memory"] = "bounded"
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    with open(sys.argv[2], "wb") as file:
        file.write(b"x")
    found["files"] = "grow"
except OSError:
    found["files"] = "fixed"
found["environment"] = sorted(os.environ)
print(json.dumps(found))
"""


def test_the_child_has_given_up_its_rights(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-I", "-c", CONFINED, str(server.getsockname()[1]), str(tmp_path / "file")]
        done = subprocess.run(command, capture_output=True, check=True, timeout=60, env={})
    found = json.loads(done.stdout)
    assert found["memory"] == "bounded"
    assert found["files"] == "fixed"
    if _can_give_up_the_network():
        assert found["network"] == "closed"


def _can_give_up_the_network() -> bool:
    """Some containers forbid it; the kernel's own tool knows."""
    return subprocess.run(["unshare", "--user", "--net", "true"], capture_output=True, check=False).returncode == 0
