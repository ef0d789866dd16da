"""A convolutional network with dense layers over handcrafted features that keep their places on the face.

After Gautam and Seeja, "Facial Emotion Recognition using Handcrafted features and CNN", Procedia Computer Science 2023, which
gives HOG or SIFT features to such a network. ``hog-cnn`` and ``sift-cnn`` are this one with either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
from keras import layers

from ... import features as handcrafted
from ...preprocess import InputSpec


def build(
    size: int,
    heads: Mapping[str, int],
    *,
    features: str = "hog",
    filters: Sequence[int] = (96, 128),
    units: Sequence[int] = (256, 128),
    dropout: float = 0.4,
) -> keras.Model:
    """Build the network.

    Args:
        size: side in pixels of the face that the features are taken from.
        heads: classes by head.
        features: ``hog`` or ``sift``.
        filters: of the convolutions.
        units: of the hidden dense layers.
        dropout: before each dense layer.

    Returns:
        A model with outputs ``{head: logits}`` and ``features``, the last hidden layer.

    Raises:
        ConfigError: unknown features.
    """
    shape = handcrafted.input_shape(InputSpec(size=size, features=features))
    inputs = keras.Input(shape, name="faces")
    x = inputs
    for number, width in enumerate(filters, 1):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"conv_{number}")(x)
        x = layers.BatchNormalization(name=f"conv_{number}_bn")(x)
        x = layers.ReLU(name=f"conv_{number}_relu")(x)
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Flatten(name="flatten")(x)
    for number, width in enumerate(units, 1):
        x = layers.Dropout(dropout, name=f"dropout_{number}")(x)
        x = layers.Dense(width, activation="relu", name=f"dense_{number}")(x)
    known = layers.Activation("linear", name="features")(x)
    x = layers.Dropout(dropout, name="dropout_features")(known)
    outputs = {head: layers.Dense(classes, dtype="float32", name=head)(x) for head, classes in heads.items()}
    return keras.Model(inputs, {**outputs, "features": known}, name=f"{features}_cnn")
