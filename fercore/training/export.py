"""From a trained network to ``model.onnx``: exported under TensorFlow, accepted only where ONNX Runtime agrees with Keras.

Whatever backend trained, ``export`` runs ``python -m fercore.training.export ORDER.json`` in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RunError

TOLERANCE = 1e-4
"""Largest difference of a logit between Keras and ONNX Runtime, relative to the largest logit where that is above 1."""
OPSET = 17


def export(
    file: Path,
    *,
    model: str,
    size: int,
    heads: Mapping[str, int],
    options: Mapping[str, Any],
    weights: Sequence[np.ndarray],
    faces: np.ndarray,
    consensus: Mapping[str, Any] | None = None,
) -> float:
    """Write an ONNX file and compare it with Keras.

    Args:
        file: where to.
        model: name in ``MODELS``.
        size: side of the input in pixels, fixed from here on.
        heads: classes by head.
        options: the model's keyword arguments.
        weights: as ``model.get_weights()`` gives them, float32.
        faces: (N, rows, columns, channels) real faces as network input, for the comparison.
        consensus: how the heads' answers become one more output; None for none (see ``consensus.attach``).

    Returns:
        The largest difference found.

    Raises:
        RunError: TensorFlow cannot export it, or ONNX Runtime disagrees by more than ``TOLERANCE``.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        np.savez(work / "weights.npz", *weights)
        np.save(work / "faces.npy", faces)
        task = {
            "file": str(file),
            "model": model,
            "size": size,
            "heads": dict(heads),
            "options": {**options, "weights": None} if "weights" in options else dict(options),
            "consensus": consensus,
        }
        (work / "order.json").write_text(json.dumps(task), encoding="utf-8")
        # A process of its own, so that any backend may train and TensorFlow's memory is given back.
        command = [sys.executable, "-m", "fercore.training.export", str(work / "order.json")]
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": path}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = (done.stderr.strip() or "no message").splitlines()
            raise RunError(f"{file.name}: export to ONNX failed: {lines[-1]}")
        with np.load(work / "expected.npz") as expected:
            return compare(file, faces, expected)


def compare(file: Path, faces: np.ndarray, expected: Mapping[str, np.ndarray]) -> float:
    """Return the largest difference between an ONNX file's outputs and expected ones, relative to logits above 1.

    Raises:
        RunError: it is above ``TOLERANCE``; the line names the output.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(names, {session.get_inputs()[0].name: faces}), strict=True))
    worst = 0.0
    for name in expected:
        if name not in found:
            raise RunError(f"{file.name}: the export has no output {name!r}")
        difference = float(np.abs(found[name] - expected[name]).max() / max(1.0, np.abs(expected[name]).max()))
        if not difference <= TOLERANCE:
            raise RunError(
                f"{file.name}: output {name!r} differs from Keras by {difference:.1e}, above {TOLERANCE:.0e}"
            )
        worst = max(worst, difference)
    return worst


def main(order_file: str) -> None:
    """Do what an order of ``export`` says: build, load the weights, export, and keep Keras's own answers beside it."""
    import keras

    from . import consensus, models

    order_path = Path(order_file)
    task = json.loads(order_path.read_text(encoding="utf-8"))
    options = dict(task["options"])
    model = models.get(task["model"]).build(task["heads"], size=task["size"], **options)
    with np.load(order_path.parent / "weights.npz") as arrays:
        model.set_weights([arrays[f"arr_{number}"] for number in range(len(arrays.files))])
    faces = np.load(order_path.parent / "faces.npy")
    inputs = keras.Input(faces.shape[1:], name="faces")
    outputs = model(inputs)
    if task["consensus"]:
        outputs = consensus.attach(outputs, task["consensus"])
    fixed = keras.Model(inputs, outputs)
    expected = {name: keras.ops.convert_to_numpy(values) for name, values in fixed(faces, training=False).items()}
    np.savez(order_path.parent / "expected.npz", **expected)
    fixed.export(task["file"], format="onnx", opset_version=OPSET, verbose=False)


if __name__ == "__main__":
    main(sys.argv[1])
