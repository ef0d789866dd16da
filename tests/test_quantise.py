"""int8: nearly the same answers from a quarter of the bytes, in a file that serving accepts."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from fercore import onnxfile
from fercore.training.quantise import METHODS, quantise


def network(rng: np.random.Generator) -> bytes:
    """Return an ONNX file of two convolutions, an average and a last layer: (N, 1, 16, 16) to logits (N, 5)."""
    weights = {
        "k1": rng.normal(0, 0.5, (32, 1, 3, 3)),
        "b1": rng.normal(0, 0.1, 32),
        "k2": rng.normal(0, 0.1, (64, 32, 3, 3)),
        "b2": rng.normal(0, 0.1, 64),
        "last": rng.normal(0, 0.5, (64, 5)),
    }
    nodes = [
        helper.make_node("Conv", ["faces", "k1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "k2", "b2"], ["c2"], strides=[2, 2]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("MatMul", ["flat", "last"], ["logits"]),
    ]
    faces = helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["N", 1, 16, 16])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 5])
    initial = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "small", [faces], [logits], initial)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def run(model: bytes, faces: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, onnxfile.session_options(1), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"faces": faces})[0]


@pytest.mark.parametrize("method", METHODS)
def test_int8_gives_nearly_the_same_answers(method: str) -> None:
    rng = np.random.default_rng(4)
    model = network(rng)
    faces = rng.random((200, 1, 16, 16), dtype=np.float32)
    small = quantise(model, faces[:70], method=method)
    onnxfile.check(small, "int8")
    kinds = {tensor.data_type for tensor in onnx.load_from_string(small).graph.initializer if len(tensor.dims) == 4}
    assert kinds == {TensorProto.INT8}
    scales = [
        t for t in onnx.load_from_string(small).graph.initializer if t.name.startswith("k2") and "scale" in t.name
    ]
    assert [list(scale.dims) for scale in scales] == [[64]], "a scale for each channel"
    assert len(small) < len(model) * 0.5
    before, after = run(model, faces), run(small, faces)
    assert np.abs(before - after).max() < 0.1 * np.ptp(before)
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.995
