"""Weights of a chain of convolutions, read back from the ONNX file of a run.

Batch normalisation comes out folded, as a kernel and a shift a layer, which is how a network can start from another run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ... import onnxfile
from ...errors import ConfigError

if TYPE_CHECKING:
    import onnx


@dataclasses.dataclass(frozen=True)
class Folded:
    """What an ONNX file holds of a network."""

    convolutions: list[tuple[np.ndarray, np.ndarray]]
    """A kernel, as Keras lays it out, and a shift (channels,) for each, from the picture on. Depthwise kernels are (rows,
    columns, channels, 1)."""
    heads: dict[str, tuple[np.ndarray, np.ndarray]]
    """Kernel (features, classes) and bias (classes,) by head."""


def read(file: Path, heads: Sequence[str]) -> Folded:
    """Read a file that ``fercore.training.export`` wrote.

    Raises:
        RunError: the file is hostile (see ``onnxfile``).
        ConfigError: it is not such a chain, or lacks a head.
    """
    import onnx
    from onnx import numpy_helper

    data = file.read_bytes()
    onnxfile.check(data, str(file))
    graph = onnx.load_from_string(data).graph
    if any(node.op_type == "DequantizeLinear" for node in graph.node):
        raise ConfigError(
            f"{file}: in eight bits, from which no training goes on; start from the run that it was made of"
        )
    values = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    try:
        chain = [_convolution(node, values, users) for node in graph.node if node.op_type == "Conv"]
        return Folded(chain, {head: _head(head, makers, values) for head in heads})
    except (KeyError, IndexError, ValueError) as error:
        raise ConfigError(f"{file}: not a chain of convolutions with heads {', '.join(heads)}: {error}") from error


def _constant(node: onnx.NodeProto, values: dict[str, np.ndarray]) -> np.ndarray:
    return next(values[name] for name in node.input if name in values).reshape(-1)


def _convolution(
    node: onnx.NodeProto, values: dict[str, np.ndarray], users: dict[str, list[onnx.NodeProto]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel and shift of a convolution, a scale and a shift right behind it worked in."""
    kernel = values[node.input[1]]
    scale = np.ones(len(kernel), np.float32)
    shift = values[node.input[2]] if len(node.input) > 2 else np.zeros(len(kernel), np.float32)
    following = users[node.output[0]]
    while len(following) == 1 and following[0].op_type in ("Mul", "Add"):
        amount = _constant(following[0], values)
        scale, shift = (scale * amount, shift * amount) if following[0].op_type == "Mul" else (scale, shift + amount)
        following = users[following[0].output[0]]
    groups = next((each.i for each in node.attribute if each.name == "group"), 1)
    order = (2, 3, 0, 1) if groups > 1 else (2, 3, 1, 0)
    return (kernel * scale[:, None, None, None]).transpose(order), shift


def _head(name: str, makers: dict[str, onnx.NodeProto], values: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel and bias of the dense layer that makes an output."""
    node = makers[name]
    while node.op_type in ("Identity", "Cast"):
        node = makers[node.input[0]]
    if node.op_type == "Gemm":
        return values[node.input[1]], values[node.input[2]]
    bias = _constant(node, values)
    product = next(makers[each] for each in node.input if each in makers)
    return values[product.input[1]], bias
