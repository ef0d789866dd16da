"""What a run says of itself: its layers, its datasets, average faces, and the versions of what made it."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from .. import preprocess

if TYPE_CHECKING:  # so that another machine can say what it has without what reads datasets
    import pandas as pd

    from .prepare import Prepared

LEAST_FACES = 20
"""Faces that an average picture must be made of to be shipped."""
AVERAGE_SIZE = 48
PACKAGES = ("keras", "tensorflow", "torch", "jax", "numpy", "onnxruntime", "opencv-python-headless", "tf2onnx")


def layer_table(model: keras.Model, example: np.ndarray) -> list[dict[str, Any]]:
    """Return the layers in order, those of a nested body too: name, type, output shape and parameters.

    The shapes are those of one real face (``example``: (1, size, size, 1)), since a network may leave its size open.
    """
    shapes = _shapes(model, example)
    return [
        {
            "name": layer.name,
            "type": type(layer).__name__,
            "output": shapes.get(layer.name, []),
            "parameters": int(layer.count_params()),
        }
        for layer in _in_order(model)
    ]


def _in_order(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield the layers from the input on, a nested model's in its place."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _in_order(layer)
        else:
            yield layer


def _shapes(model: keras.Model, example: np.ndarray) -> dict[str, list[int]]:
    """Return the output shape of each layer by name, without the batch."""
    found = {}
    for level in [model, *(layer for layer in model.layers if isinstance(layer, keras.Model))]:
        names = [layer.name for layer in level.layers if not isinstance(layer, keras.Model)]
        sized = keras.Input(example.shape[1:])
        probe = keras.Model(level.input, [level.get_layer(name).output for name in names])
        found |= dict(zip(names, ([*x.shape[1:]] for x in probe(sized)), strict=True))
    return found


def average_faces(part: Prepared, predictions: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the mean face of each class and confusion cell of at least ``LEAST_FACES`` faces, so that no one is shown.

    Keys: ``DATASET/class/LABEL`` over all splits and ``DATASET/cell/TRUE/PREDICTED`` over the test split; float16 (48, 48),
    from 0 (black) to 255.
    """
    name = part.dataset.name
    middle = part.crops.pixels.shape[1] / 2
    square = (middle, middle, part.crops.side)

    def mean(positions: list[int]) -> np.ndarray:
        total = np.zeros((AVERAGE_SIZE, AVERAGE_SIZE))
        for position in positions:
            total += preprocess.cut(part.crops.pixels[part.rows[position]], square, AVERAGE_SIZE)
        return (total / len(positions)).astype(np.float16)

    pictures = {}
    for label, positions in part.dataset.table.groupby("label").indices.items():
        if len(positions) >= LEAST_FACES:
            pictures[f"{name}/class/{label}"] = mean(positions.tolist())
    where = {locator: position for position, locator in enumerate(part.dataset.locators())}
    for (label, prediction), rows in predictions.groupby(["label", "prediction"]):
        if len(rows) >= LEAST_FACES:
            pictures[f"{name}/cell/{label}/{prediction}"] = mean([where[locator] for locator in rows["locator"]])
    return pictures


def facts(part: Prepared) -> dict[str, Any]:
    """Return what ``run.json`` says of one dataset."""
    dataset = part.dataset
    return {"digest": dataset.digest(), "licence": dataset.licence, "source": dataset.source, "faces": len(dataset)}


def describe(part: Prepared) -> dict[str, Any]:
    """Return what ``dataset.json`` says of one dataset."""
    dataset = part.dataset
    per_photo = dataset.table.groupby("image").size().value_counts().sort_index()
    sizes = np.sqrt(dataset.boxes()[:, 2] * dataset.boxes()[:, 3])
    sizes = sizes[np.isfinite(sizes)]
    counts, edges = np.histogram(sizes, bins=20) if len(sizes) else ([], [])
    return {
        "source": dataset.source,
        "licence": dataset.licence,
        "labels": list(dataset.labels),
        "counts": dataset.counts(),
        "photos": int(dataset.table["image"].nunique()),
        "faces_per_photo": {str(faces): int(photos) for faces, photos in per_photo.items()},
        "face_sizes": {"edges": [float(edge) for edge in edges], "counts": [int(count) for count in counts]},
        "duplicates": {**part.duplicates, "left_out": part.left_out},
        "problems": dataset.problem_counts(),
    }


def made() -> dict[str, Any]:
    """Return what a run says of the machine that trained it."""
    return {
        "packages": packages(),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "backend": keras.backend.backend(),
    }


def packages() -> dict[str, str]:
    """Return the versions of the packages that matter for a training, as far as they are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
