"""Hostile ONNX files: refused by a line that names the file, before ONNX Runtime sees them; honest ones pass."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from fercore import onnxfile
from fercore.errors import RunError
from fercore.labels import LABELS
from made_run import made_onnx

ROOT = Path(__file__).resolve().parent.parent
FACES = helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["N", 48, 48, 1])
ANSWER = helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["N", 7])
SAME = helper.make_node("Identity", ["faces"], ["answer"])


def model(
    nodes: Sequence[Any] = (SAME,),
    weights: Sequence[Any] = (),
    *,
    inputs: Sequence[Any] = (FACES,),
    outputs: Sequence[Any] = (ANSWER,),
    **fields: Any,
) -> onnx.ModelProto:
    graph = helper.make_graph(list(nodes), "odd", list(inputs), list(outputs), list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, **fields)


def refusal(file: onnx.ModelProto | bytes) -> str:
    data = file if isinstance(file, bytes) else file.SerializeToString()
    start = time.perf_counter()
    with pytest.raises(RunError) as caught:
        onnxfile.check(data, "model.onnx")
    assert time.perf_counter() - start < 10
    text = str(caught.value)
    assert text.startswith("model.onnx: ")
    assert text.isprintable()
    return text.removeprefix("model.onnx: ")


def tensor(name: str = "w", dims: Sequence[int] = (2,), kind: int = TensorProto.FLOAT, **fields: Any) -> TensorProto:
    return TensorProto(name=name, dims=dims, data_type=kind, **fields)


def external(tensor_: TensorProto) -> TensorProto:
    tensor_.data_location = TensorProto.EXTERNAL
    tensor_.external_data.add(key="location", value="../../etc/passwd")
    return tensor_


def test_files_of_the_project_pass() -> None:
    files = sorted((ROOT / "artifacts").rglob("*.onnx"))
    assert len(files) > 1
    for file in files:
        onnxfile.check(file.read_bytes(), str(file))
    onnxfile.check(made_onnx({"fer2013": LABELS}), "made")


@pytest.mark.parametrize(
    "weights",
    [
        numpy_helper.from_array(np.zeros((3, 0), np.float32), "w"),
        numpy_helper.from_array(np.array(5, np.int64), "w"),
        numpy_helper.from_array(np.ones((2, 3), np.float16), "w"),
        numpy_helper.from_array(np.ones((2, 3), np.int8), "w"),
        helper.make_tensor("w", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0]),
        helper.make_tensor("w", TensorProto.INT64, [3], [1, -2, 3]),
        helper.make_tensor("w", TensorProto.INT32, [1], [7]),
        helper.make_tensor("w", TensorProto.BOOL, [2], [True, False]),
        helper.make_tensor("w", TensorProto.STRING, [2], [b"", b"text"]),
        helper.make_tensor("w", TensorProto.FLOAT16, [2], [1.0, 2.0]),
        helper.make_tensor("w", TensorProto.INT4, [3], [1, 2, 3]),
        helper.make_tensor("w", TensorProto.DOUBLE, [1], [1.0]),
    ],
)
def test_every_honest_kind_of_tensor_passes(weights: TensorProto) -> None:
    constant = helper.make_node("Constant", [], ["c"], value=weights)
    file = model([SAME, constant], [weights])
    onnx.checker.check_model(file)
    onnxfile.check(file.SerializeToString(), "model.onnx")


@pytest.mark.parametrize(
    "file",
    [
        model(weights=[external(tensor())]),
        model(weights=[tensor(raw_data=bytes(8), data_location=TensorProto.EXTERNAL)]),
        model([SAME, helper.make_node("Constant", [], ["c"], value=external(tensor()))]),
        model([SAME, helper.make_node("Odd", [], ["c"], tensors=[tensor(raw_data=bytes(8)), external(tensor())])]),
    ],
)
def test_weights_in_another_file_are_refused_wherever_they_are_named(file: onnx.ModelProto) -> None:
    assert refusal(file) == "its weights lie in another file; export the network into one"


@pytest.mark.parametrize(
    ("dims", "fields", "told"),
    [
        ((1 << 40, 1 << 40), {}, "'w' has the shape 1099511627776 x 1099511627776, larger than a network"),
        ((8193, 8192), {}, "'w' has the shape 8193 x 8192, larger than"),
        ((-1, 4), {"raw_data": bytes(16)}, "'w' has the shape -1 x 4, larger than"),
        ((1,) * 17, {"raw_data": bytes(4)}, "'w' has the shape 1 x 1"),
        ((8192, 8192), {"raw_data": bytes(8)}, "tensor 'w' promises 67,108,864 numbers and holds 8 bytes"),
        ((2, 3), {"raw_data": bytes(23)}, "tensor 'w' promises 6 numbers and holds 23 bytes"),
        ((2, 3), {"raw_data": bytes(25)}, "tensor 'w' promises 6 numbers and holds 25 bytes"),
        ((1000,), {"float_data": [1.0]}, "tensor 'w' promises 1,000 numbers and holds 4 bytes"),
        ((1000,), {}, "tensor 'w' promises 1,000 numbers and holds 0 bytes"),
    ],
)
def test_tensors_that_promise_more_than_they_hold_are_refused(dims: tuple, fields: dict, told: str) -> None:
    for file in (
        model(weights=[tensor(dims=dims, **fields)]),
        model([SAME, helper.make_node("Constant", [], ["c"], value=tensor(dims=dims, **fields))]),
    ):
        assert refusal(file).startswith(told)


def test_huge_shapes_of_inputs_outputs_and_steps_are_refused() -> None:
    huge = helper.make_tensor_value_info("huge", TensorProto.FLOAT, ["N", 1 << 20, 1 << 20])
    for file in (model(inputs=[FACES, huge]), model(outputs=[huge])):
        assert refusal(file).startswith("'huge' has the shape 1048576 x 1048576, larger than")
    file = model()
    file.graph.value_info.append(huge)
    assert refusal(file).startswith("'huge' has the shape")


def test_programs_and_foreign_operators_are_refused() -> None:
    body = helper.make_graph([], "body", [], [])
    assert refusal(model([helper.make_node("Loop", ["faces"], ["answer"], body=body)])) == (
        "operator 'Loop' runs a program of its own; export the network without loops"
    )
    assert refusal(model([helper.make_node("Steal", ["faces"], ["answer"], domain="com.evil")])) == (
        "operator 'Steal' of 'com.evil' is not one of the ONNX standard; export without it"
    )
    function = helper.make_function("own", "f", ["x"], ["y"], [SAME], [helper.make_opsetid("", 17)])
    assert "operators or training steps of its own" in refusal(model(functions=[function]))
    assert "more than the 20,000 allowed" in refusal(model([SAME] * 20_001))


def test_sparse_weights_are_refused() -> None:
    values, places = tensor("v", (1,), raw_data=bytes(4)), tensor("i", (1,), TensorProto.INT64, raw_data=bytes(8))
    sparse = helper.make_sparse_tensor(values, places, [1 << 30])
    file = model([SAME, helper.make_node("Constant", [], ["c"], sparse_value=sparse)])
    assert refusal(file) == "it has sparse weights; export it with ordinary ones"
    file = model()
    file.graph.sparse_initializer.append(sparse)
    assert refusal(file) == "it has sparse weights; export it with ordinary ones"


def test_a_message_in_parts_that_a_parser_would_join_is_refused() -> None:
    graph = model().graph.SerializeToString()
    field = bytes([0x3A]) + _length(graph) + graph
    assert refusal(field + field).startswith("not an ONNX file (2 graphs in it)")
    part = tensor(dims=(1000,)).SerializeToString()
    joined = part + bytes([0x4A, 2]) + b"ab" + bytes([0x4A, 2]) + b"cd"
    file = model(weights=[TensorProto.FromString(joined)]).SerializeToString()
    assert refusal(file).startswith("tensor 'w' promises")  # onnx itself keeps the last part alone
    raw = model().SerializeToString()
    assert onnx.load_from_string(raw).graph.node


@pytest.mark.parametrize(
    "data",
    [b"", b"garbage", bytes(100), b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x3a" + b"\xff" * 30, b"\x3b"],
)
def test_what_is_no_onnx_file_is_refused(data: bytes) -> None:
    assert refusal(data).startswith("not an ONNX file (")


def test_files_made_to_waste_time_are_refused() -> None:
    for empty in (b"\x08\x00", b"\x3a\x00"):
        assert refusal(empty * 20_000_000).startswith("not an ONNX file (too many parts)")
    many = model(weights=[tensor(dims=(1,) * 300_000)])
    assert refusal(many).startswith("'w' has the shape 1 x 1 x 1")


def outcome(action: Callable[[], object]) -> Exception | None:
    """Return what an action raises."""
    try:
        action()
    except Exception as error:
        return error
    return None


def test_mutated_files_are_refused_or_harmless(capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever is changed in a file, it is refused in one line, or ONNX Runtime loads or refuses it and lives on."""
    data, rng = made_onnx({"fer2013": LABELS}), random.Random(1)
    opened = 0
    for _ in range(1500):
        odd = bytearray(data)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(odd))
            odd[at : at + rng.randint(0, 2)] = bytes(rng.randrange(256) for _ in range(rng.randint(0, 2)))
        refused = outcome(partial(onnxfile.check, bytes(odd), "model.onnx"))
        assert refused is None or (isinstance(refused, RunError) and str(refused).isprintable())
        if refused is None and opened < 150:
            opened += 1
            session = partial(onnxruntime.InferenceSession, bytes(odd), onnxfile.session_options(1))
            error = outcome(partial(session, providers=["CPUExecutionProvider"]))
            assert error is None or "ONNXRuntimeError" in str(error)
    assert opened == 150
    assert capfd.readouterr() == ("", "")


def _length(data: bytes) -> bytes:
    """Return the length of a part as a varint."""
    size, result = len(data), b""
    while size > 127:
        result, size = result + bytes([size & 127 | 128]), size >> 7
    return result + bytes([size])
