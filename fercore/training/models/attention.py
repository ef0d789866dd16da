"""A residual CNN with channel attention, trained from nothing: it shows what a network that knows faces already brings.

Residual blocks after He et al. (2016), each with squeeze-and-excitation (Hu et al. 2018): a small network looks at the average
of every channel over the face and says how much each channel counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers

from ...errors import ConfigError
from ..layers import BatchNormalization, Conv2D


def build(
    size: int,
    heads: Mapping[str, int],
    *,
    widths: Sequence[int] = (32, 64, 128, 192),
    blocks: Sequence[int] = (1, 2, 2, 1),
    reduction: int = 8,
    dropout: float = 0.3,
) -> keras.Model:
    """Build the network.

    Args:
        size: side of the input in pixels.
        heads: classes by head.
        widths: channels of each stage; each but the first halves the sides, as the first convolution does.
        blocks: residual blocks of each stage.
        reduction: channels for each hidden unit of the attention; 0 for no attention.
        dropout: before the heads.

    Raises:
        ConfigError: not as many ``blocks`` as ``widths``.
    """
    if len(widths) != len(blocks):
        raise ConfigError(f"blocks: expected {len(widths)} numbers, one for each of widths, got {list(blocks)}")
    inputs = keras.Input((size, size, 1), name="faces")
    x = _normalised(inputs, widths[0], 3, 2, "stem")
    x = layers.ReLU(name="stem_relu")(x)
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True), 1):
        for number in range(1, count + 1):
            stride = 2 if number == 1 and stage > 1 else 1
            x = _block(x, width, stride, reduction, f"stage_{stage}_block_{number}")
    features = layers.GlobalAveragePooling2D(name="features")(x)
    x = layers.Dropout(dropout, name="dropout")(features)
    outputs = {head: layers.Dense(classes, dtype="float32", name=head)(x) for head, classes in heads.items()}
    return keras.Model(inputs, {**outputs, "features": features}, name="attention")


def _normalised(x: Any, width: int, kernel: int, stride: int, name: str) -> Any:
    x = Conv2D(width, kernel, stride, padding="same", use_bias=False, name=name)(x)
    return BatchNormalization(name=f"{name}_bn")(x)


def _block(x: Any, width: int, stride: int, reduction: int, name: str) -> Any:
    """Two convolutions and the attention, added to what came in."""
    y = _normalised(x, width, 3, stride, f"{name}_1")
    y = layers.ReLU(name=f"{name}_1_relu")(y)
    y = _normalised(y, width, 3, 1, f"{name}_2")
    if reduction:
        y = _attend(y, reduction, f"{name}_attention")
    if stride > 1 or x.shape[-1] != width:
        x = _normalised(x, width, 1, stride, f"{name}_shortcut")
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_sum")([x, y]))


def _attend(x: Any, reduction: int, name: str) -> Any:
    """Scale each channel by a weight from 0 to 1 (squeeze and excitation)."""
    width = x.shape[-1]
    weights = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
    weights = layers.Conv2D(max(8, width // reduction), 1, activation="relu", name=f"{name}_hidden")(weights)
    weights = layers.Conv2D(width, 1, activation="sigmoid", name=f"{name}_weights")(weights)
    return layers.Multiply(name=name)([x, weights])
