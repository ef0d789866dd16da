"""Convolutional features of a face read as a sequence by a bidirectional LSTM.

After Febriana et al., "Facial expression recognition using bidirectional LSTM - CNN", Procedia Computer Science 2023. The rows
of the last feature map are the steps of the sequence: the LSTM reads the face from the brow to the chin and back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
from keras import layers


def build(
    size: int,
    heads: Mapping[str, int],
    *,
    filters: Sequence[int] = (32, 64, 128),
    step: int = 64,
    units: int = 128,
    dropout: float = 0.4,
) -> keras.Model:
    """Build the network.

    Args:
        size: side of the input in pixels; a multiple of 2 to the number of convolutions.
        heads: classes by head.
        filters: of the convolutions, each followed by pooling.
        step: channels that each place of a row keeps for the LSTM.
        units: of the LSTM, each way.
        dropout: around the LSTM.

    Returns:
        A model with outputs ``{head: logits}`` and ``features``, both directions of the LSTM side by side.
    """
    inputs = keras.Input((size, size, 1), name="faces")
    x = inputs
    for number, width in enumerate(filters, 1):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"conv_{number}")(x)
        x = layers.BatchNormalization(name=f"conv_{number}_bn")(x)
        x = layers.ReLU(name=f"conv_{number}_relu")(x)
        x = layers.MaxPooling2D(name=f"pool_{number}")(x)
    x = layers.Conv2D(step, 1, activation="relu", name="narrow")(x)
    rows, columns = x.shape[1:3]
    x = layers.Reshape((rows, columns * step), name="rows")(x)
    x = layers.Dropout(dropout, name="dropout_rows")(x)
    x = layers.Bidirectional(layers.LSTM(units, name="lstm"), name="bilstm")(x)
    features = layers.Activation("linear", name="features")(x)
    x = layers.Dropout(dropout, name="dropout_features")(features)
    outputs = {head: layers.Dense(classes, dtype="float32", name=head)(x) for head, classes in heads.items()}
    return keras.Model(inputs, {**outputs, "features": features}, name="bilstm_cnn")
