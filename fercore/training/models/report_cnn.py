"""The report's CNN: 48x48x1, two convolutions, three dense layers; 2,513,543 parameters with seven classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
from keras import layers


def build(
    size: int,
    heads: Mapping[str, int],
    *,
    filters: Sequence[int] = (32, 64),
    units: Sequence[int] = (256, 512),
    dropout: float = 0.0,
) -> keras.Model:
    """Build the network.

    Args:
        size: side of the input in pixels (the report's: 48).
        heads: classes by head.
        filters: of the two convolutions.
        units: of the two hidden dense layers.
        dropout: before each dense layer; the report's network has none.

    Returns:
        A model with outputs ``{head: logits}`` and ``features``, the last hidden layer.
    """
    inputs = keras.Input((size, size, 1), name="faces")
    x = inputs
    for number, width in enumerate(filters, 1):
        x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv_{number}")(x)
        x = layers.MaxPooling2D(name=f"pool_{number}")(x)
    x = layers.Flatten(name="flatten")(x)
    for number, width in enumerate(units, 1):
        if dropout:
            x = layers.Dropout(dropout, name=f"dropout_{number}")(x)
        x = layers.Dense(width, activation="relu", name=f"dense_{number}")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout_features")(x)
    features = layers.Activation("linear", name="features")(x)
    outputs = {head: layers.Dense(classes, dtype="float32", name=head)(features) for head, classes in heads.items()}
    return keras.Model(inputs, {**outputs, "features": features}, name="report_cnn")
