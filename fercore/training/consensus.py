"""One answer over several heads: the weighted average of what each calibrated head says about the seven basic expressions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..calibration import softmax
from ..labels import LABELS

NAME = "consensus"
LEAST = 1e-7
"""Probability below which the logarithm is not taken."""


def settings(
    heads: Mapping[str, tuple[str, ...]], temperatures: Mapping[str, float], weights: Mapping[str, float] | None = None
) -> dict[str, Any] | None:
    """Return how heads join, as JSON values; None where fewer than two heads know all seven basic expressions.

    Args:
        heads: labels by head.
        temperatures: by head, fitted on validation.
        weights: by head; equal ones if left out.
    """
    able = [name for name, labels in heads.items() if set(LABELS) <= set(labels)]
    if len(able) < 2:
        return None
    total = sum(weights[name] for name in able) if weights else len(able)
    return {
        "labels": list(LABELS),
        "parts": [
            {
                "head": name,
                "columns": [heads[name].index(label) for label in LABELS],
                "temperature": temperatures[name],
                "weight": (weights[name] if weights else 1) / total,
            }
            for name in able
        ],
    }


def attach(outputs: Mapping[str, Any], how: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Keras model's outputs with one more, ``consensus``: the logarithm of the average probabilities."""
    from keras import ops

    average = 0.0
    for part in how["parts"]:
        # A product with a constant, since the columns differ from head to head and gathering exports less well.
        chosen = np.zeros((outputs[part["head"]].shape[-1], len(how["labels"])), np.float32)
        chosen[part["columns"], range(len(how["labels"]))] = 1
        logits = ops.matmul(outputs[part["head"]], chosen)
        average = average + part["weight"] * ops.softmax(logits / part["temperature"], axis=-1)
    return {**outputs, NAME: ops.log(ops.maximum(average, LEAST))}


def logits(heads: Mapping[str, np.ndarray], how: Mapping[str, Any]) -> np.ndarray:
    """Return what ``attach``'s output gives for the heads' logits (N, K each): (N, 7) float32."""
    average = sum(
        part["weight"] * softmax(heads[part["head"]][:, part["columns"]], part["temperature"]) for part in how["parts"]
    )
    return np.log(np.maximum(average, LEAST)).astype(np.float32)
