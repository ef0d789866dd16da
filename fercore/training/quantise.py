"""A network in eight bits: static quantisation, a scale a channel, with the ranges of activations taken from training faces.

Weights and activations become uint8, between QuantizeLinear and DequantizeLinear (QDQ), which ONNX Runtime fuses into integer
operators. Both ends stay in float32: the first convolutions, in which an error is carried furthest, which hold few weights and
are no slower so; and what comes after the last one, which takes no time and needs more than 256 steps. Weights are unsigned:
processors without VNNI add products with signed ones in sixteen bits, which overflow; that cost a MobileNet one point of
accuracy on FER2013 and two on FER+, and would give other answers on other machines.

Nothing is trained; the run that is made is calibrated and evaluated anew, as it will serve.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import runs
from ..cards import model_card
from ..datasets.crops import Progress
from ..errors import ConfigError
from ..inference import Network
from .data import Faces
from .describe import packages
from .finish import evaluated, fitted_heads, npz, parquet
from .prepare import check_same, prepare_all, split_faces
from .recipe import Recipe

if TYPE_CHECKING:
    import onnx

RANGES = 256
"""Training faces that the ranges of activations are taken from."""
PORTION = 32
"""Faces at a time for that."""
KINDS = ("Conv", "Clip", "Relu", "Add", "Mul", "Pad", "MaxPool")
"""Operators that work in eight bits, where a convolution comes after them."""
EARLY = 0.025
"""Share of all convolutions' weights up to which the first ones do not."""
COPIED = ("history.csv", "dataset.json", "study.json")


@dataclasses.dataclass(frozen=True)
class Cost:
    """What eight bits cost on the validation faces that a head knows."""

    faces: int
    before: float
    """Accuracy in percent, in float32."""
    after: float
    same: float
    """Percent of the faces that get the same label."""

    @property
    def points(self) -> float:
        """Points of accuracy lost; below zero where some were won."""
        return self.before - self.after


def in_eight_bits(
    run: runs.Run,
    *,
    data: str | Path,
    out: str | Path,
    most: float,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> tuple[runs.Run, dict[str, Cost]]:
    """Quantise a run's network, calibrate and evaluate it, and write it as a run of its own.

    Args:
        run: a network that was trained here, in float32.
        data: the data folder, with the datasets that it was trained on.
        out: the new run's folder.
        most: points of accuracy that it may cost on validation, all heads' faces together.
        overwrite: replace a run that stands there.
        progress: wraps loops over pictures.

    Returns:
        The new run, and the cost on validation by head.

    Raises:
        FerError: the run is no such network, its datasets are not there or not the same, or it costs more.
    """
    target = Path(out)
    runs.check_place(target, overwrite=overwrite)
    if run.kind != "network" or "recipe" not in run.info:
        raise ConfigError(f"run {run.name}: is no network that was trained here")
    if "quantised" in run.info:
        raise ConfigError(f"run {run.name}: is in eight bits already")
    if run.input.features:
        raise ConfigError(
            f"run {run.name}: sees {run.input.features} features; only networks that see pixels gain by it"
        )
    recipe = Recipe.from_dict(run.info["recipe"])
    parts = prepare_all(recipe, data, progress=progress)
    check_same(parts, run, f"run {run.name} was trained on")
    learn, check = (split_faces(parts, split, recipe) for split in ("train", "validation"))
    heads = {part.dataset.name: part.dataset.labels for part in parts}
    kept = ("schema", "files", "metrics", "seconds_in_all", "export")
    info: dict[str, Any] = {name: value for name, value in run.info.items() if name not in kept}
    chosen = np.linspace(0, len(learn) - 1, min(RANGES, len(learn))).astype(int)
    network = quantised(run.file("model.onnx").read_bytes(), learn.inputs(chosen, run.input))
    files: dict[str, Any] = {name: run.file(name) for name in COPIED if name in run.info["files"]}
    files["model.onnx"] = network
    with tempfile.TemporaryDirectory() as folder:
        draft = runs.write(Path(folder) / target.name, info, files)
        pictures = check.pictures(range(len(check)), run.input.size)
        before, after = (Network(each).answers(pictures, list(run.heads)) for each in (run, draft))
        costs = {name: cost(before[name], after[name], check, name) for name in heads}
        refuse(costs, most, run.name)
        info |= {
            "created": time.strftime("%Y-%m-%d"),
            "model": {**run.info["model"], "summary": f"{run.info['model']['summary']}, in eight bits"},
            "heads": {name: head.to_dict() for name, head in fitted_heads(heads, after, check).items()},
            "quantised": {
                "from": run.name,
                "network": run.network_hash,
                "validation": {name: dataclasses.asdict(each) for name, each in costs.items()},
            },
            "packages": packages(),
        }
        draft = runs.write(Path(folder) / target.name, info, files, overwrite=True)
        measured, tables, averages = evaluated(draft, parts, progress)
    info |= {"metrics": measured}
    files |= {"predictions.parquet": parquet(tables), "averages.npz": npz(averages)}
    files["README.md"] = model_card(target.name, info).encode()
    return runs.write(target, info, files, overwrite=overwrite), costs


def cost(before: np.ndarray, after: np.ndarray, check: Faces, head: str) -> Cost:
    """Return what two networks' logits (N, K) of the validation faces say of the cost."""
    known = check.weights[head] > 0
    codes = check.targets[head][known].argmax(axis=1)
    first, second = (logits[known].argmax(axis=1) for logits in (before, after))
    right = [100 * float((each == codes).mean()) for each in (first, second)]
    return Cost(int(known.sum()), *right, same=100 * float((first == second).mean()))


def refuse(costs: Mapping[str, Cost], most: float, name: str) -> None:
    """Raise ``ConfigError`` where all heads' faces together lose more than ``most`` points of accuracy."""
    faces = sum(each.faces for each in costs.values())
    lost = sum(each.points * each.faces for each in costs.values()) / faces
    if lost > most:
        raise ConfigError(
            f"run {name}: eight bits cost {lost:.2f} points of accuracy on {faces:,} labels of validation, above the {most:g} "
            "that are allowed; keep it as it is, or allow more with --most"
        )


def quantised(model: bytes, faces: np.ndarray) -> bytes:
    """Return an ONNX file in eight bits.

    Args:
        model: the ONNX file in float32.
        faces: (N, size, size, 1) float32 network input, from which the ranges are taken; ``PORTION`` of them at a time, a
            rest that is smaller is left out.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name = onnx.load_from_string(model).graph.input[0].name
    size = min(PORTION, len(faces))

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            starts = range(0, len(faces) - size + 1, size)
            self.portions: Iterator[np.ndarray] = (faces[start : start + size] for start in starts)

        def get_next(self) -> dict[str, np.ndarray] | None:
            portion = next(self.portions, None)
            return None if portion is None else {name: portion}

    with tempfile.TemporaryDirectory() as folder:
        given, prepared, result = (Path(folder, f"{step}.onnx") for step in ("given", "prepared", "result"))
        given.write_bytes(model)
        quant_pre_process(str(given), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(result),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(KINDS),
            nodes_to_exclude=_ends(onnx.load(prepared).graph),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QUInt8,
        )
        return result.read_bytes()


def _ends(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the first convolutions and of nodes from which none is reached, save activations right behind one."""
    sizes = {each.name: math.prod(each.dims) for each in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    waiting = [node for node in graph.node if node.op_type == "Conv"]
    shares = np.cumsum([sizes[node.input[1]] for node in waiting]) / sum(sizes[node.input[1]] for node in waiting)
    first = [node.name for node, share in zip(waiting, shares, strict=True) if share <= EARLY]
    behind = {
        node.name for node in graph.node if node.op_type in ("Clip", "Relu") and _is_conv(makers.get(node.input[0]))
    }
    before = {node.name for node in waiting}
    while waiting:
        for name in waiting.pop().input:
            if name in makers and makers[name].name not in before:
                before.add(makers[name].name)
                waiting.append(makers[name])
    return first + [node.name for node in graph.node if node.op_type in KINDS and node.name not in before | behind]


def _is_conv(node: onnx.NodeProto | None) -> bool:
    return node is not None and node.op_type == "Conv"
