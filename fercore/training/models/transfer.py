"""A MobileNet that already knows faces, fine-tuned on expressions.

The start is a MobileNet v1 trained on the identities of VGGFace2 (A. V. Savchenko; ``artifacts/pretrained/``), whose batch
normalisation comes folded into its convolutions. ``adapt`` puts real batch normalisation back before fine-tuning.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
from keras import layers

from ...config import artifacts_dir
from ...errors import ConfigError
from ...runs import Run
from ..layers import with_fast_layers
from . import folded

FACES = "pretrained/face-mobilenet.npz"
BLOCKS = 13
MEAN = 115.0
"""What is taken off each pixel before it comes here (the model's ``InputSpec``)."""


def build(
    size: int,
    heads: Mapping[str, int],
    *,
    weights: str | None = "faces",
    dropout: float = 0.2,
    frozen: int = 0,
) -> keras.Model:
    """Build the network.

    Args:
        size: side of the input in pixels; any other size of at least 32 can be fed as well (it averages over space).
        heads: classes by head.
        weights: ``faces`` for the shipped face-identity weights, None for random ones, a local ``.h5`` file of
            ``keras.applications.MobileNet`` without its top (ImageNet), or a run of this network, by name or folder, to go on
            from, and from those of its heads that have as many classes. The head of a folder of one's own starts anew: its
            classes may be others.
        dropout: before the heads.
        frozen: so many of the 13 blocks, counted from the picture, keep their weights; the first three see edges and
            shading, which faces share, and take a third of the time of a step.

    Raises:
        ConfigError: the weights file is missing or of another network, or ``frozen`` is not 0 to 13.
    """
    if not (isinstance(frozen, int) and 0 <= frozen <= BLOCKS):
        raise ConfigError(f"frozen: {frozen!r} is not a number of blocks from 0 to {BLOCKS}")
    # The size stays open so that training can show smaller faces first.
    body = with_fast_layers(
        keras.applications.MobileNet(input_shape=(None, None, 1), include_top=False, pooling="avg", weights=None)
    )
    if weights == "faces":
        _load_faces(body, artifacts_dir() / FACES)
    elif weights is not None and Path(weights).suffix == ".h5":
        _load_imagenet(body, Path(weights))
    trained = None
    if _is_run(weights):
        run = Run.load(weights)
        shared = [
            head
            for head, classes in heads.items()
            if head != "folder" and head in run.heads and len(run.heads[head].labels) == classes
        ]
        trained = folded.read(run.file("model.onnx"), shared)
        _load_folded(body, trained.convolutions, str(weights))
    if frozen:
        last = body.get_layer(f"conv_pw_{frozen}_relu")
        for layer in body.layers[: body.layers.index(last) + 1]:
            layer.trainable = False
    inputs = keras.Input((None, None, 1), name="faces")
    features = layers.Activation("linear", name="features")(body(inputs))
    x = layers.Dropout(dropout, name="dropout")(features)
    outputs = {head: layers.Dense(classes, dtype="float32", name=head)(x) for head, classes in heads.items()}
    model = keras.Model(inputs, {**outputs, "features": features}, name="transfer")
    for head, values in (trained.heads if trained else {}).items():
        model.get_layer(head).set_weights(values)
    return model


def _is_run(weights: str | None) -> bool:
    return weights not in (None, "faces") and Path(weights).suffix != ".h5"


def _load_faces(body: keras.Model, file: Path) -> None:
    """Fill the body with folded weights; grey faces stand for three equal channels, so their kernels are summed."""
    if not file.is_file():
        raise ConfigError(f"{file}: missing; make it with conversion/face_mobilenet.py (see conversion/README.md)")
    with np.load(file, allow_pickle=False) as arrays:
        for layer in body.layers:
            if f"{layer.name}/kernel" not in arrays:
                continue
            kernel = arrays[f"{layer.name}/kernel"]
            kernel = kernel.sum(axis=2, keepdims=True) if layer.name == "conv1" else kernel
            _fill(body, layer, kernel, arrays[f"{layer.name}/shift"])


def _load_folded(body: keras.Model, convolutions: list[tuple[np.ndarray, np.ndarray]], name: str) -> None:
    """Fill the body with the folded weights of a run."""
    own = [layer for layer in body.layers if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D)]
    if [kernel.shape for kernel, _ in convolutions] != [tuple(layer.kernel.shape) for layer in own]:
        raise ConfigError(f"weights: run {name!r} is of another network than transfer's MobileNet")
    for layer, (kernel, shift) in zip(own, convolutions, strict=True):
        _fill(body, layer, kernel, shift)


def _fill(body: keras.Model, layer: keras.layers.Layer, kernel: np.ndarray, shift: np.ndarray) -> None:
    """Set a convolution, and its batch normalisation so that it only adds the shift."""
    layer.set_weights([kernel])
    norm = body.get_layer(f"{layer.name}_bn")
    one = np.ones_like(shift)
    norm.set_weights([one, shift, 0 * one, one - norm.epsilon])


def _load_imagenet(body: keras.Model, file: Path) -> None:
    """Fill the body with a ``keras.applications`` file for colour pictures, its first kernels summed over the channels.

    That network expects pixels from -1 to 1, which is ours divided by 127.5 and moved a little: both go into its first layer.
    """
    if not file.is_file():
        raise ConfigError(f"{file}: no such weights file; give a MobileNet .h5 of keras.applications without its top")
    colour = keras.applications.MobileNet(input_shape=(128, 128, 3), include_top=False, pooling="avg", weights=None)
    try:
        colour.load_weights(file)
    except (OSError, ValueError, KeyError) as error:
        line = str(error).strip().splitlines()[0]
        raise ConfigError(f"{file}: not the weights of keras.applications.MobileNet without its top: {line}") from error
    for layer in body.layers:
        values = colour.get_layer(layer.name).get_weights() if layer.weights else []
        if layer.name == "conv1":
            values = [values[0].sum(axis=2, keepdims=True) / 127.5]
        elif layer.name == "conv1_bn":
            moved = body.get_layer("conv1").get_weights()[0].sum(axis=(0, 1, 2)) * (MEAN - 127.5)
            values[2] = values[2] - moved
        if values:
            layer.set_weights(values)


def adapt(model: keras.Model, faces: np.ndarray, *, batch: int = 32) -> None:
    """Put real batch normalisation back, without changing what the network answers.

    Each normalisation gets the mean and variance that its input has over some faces, and a scale and shift that undo them.
    Without this, training would start from variances of 1 that have nothing to do with the layers they stand behind.

    Args:
        model: as ``build`` returns it.
        faces: (N, size, size, 1) network input; a few hundred will do.
        batch: faces at a time.
    """
    body = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    norms = [layer for layer in body.layers if isinstance(layer, layers.BatchNormalization)]
    probe = keras.Model(body.input, [norm.input for norm in norms])
    counts = np.zeros(len(norms))
    sums = [0.0] * len(norms)
    squares = [0.0] * len(norms)
    for start in range(0, len(faces), batch):
        for number, values in enumerate(probe(faces[start : start + batch], training=False)):
            flat = keras.ops.convert_to_numpy(values).astype(np.float64).reshape(-1, values.shape[-1])
            counts[number] += len(flat)
            sums[number] = sums[number] + flat.sum(0)
            squares[number] = squares[number] + (flat**2).sum(0)
    for norm, count, total, square in zip(norms, counts, sums, squares, strict=True):
        new_mean = total / count
        new_variance = np.maximum(square / count - new_mean**2, 1e-6)
        gamma, beta, mean, variance = (np.asarray(value, np.float64) for value in norm.get_weights())
        scale = gamma / np.sqrt(variance + norm.epsilon)
        shift = beta - mean * scale
        new_gamma = scale * np.sqrt(new_variance + norm.epsilon)
        norm.set_weights([new_gamma, shift + new_mean * scale, new_mean, new_variance])
