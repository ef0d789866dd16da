"""From a recipe to a network that is ready to be trained."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from .. import preprocess
from . import models
from .data import Faces
from .recipe import Recipe

ADAPT_FACES = 256


def input_of(recipe: Recipe) -> preprocess.InputSpec:
    """Return what a recipe's network takes."""
    own = models.get(recipe.model).input
    return own.replace(size=recipe.size) if recipe.size else own


def build(
    entry: models.Model, spec: preprocess.InputSpec, classes: Mapping[str, int], recipe: Recipe, policy: str
) -> keras.Model:
    """Build the recipe's network under a precision policy, and leave the policy as it was."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return entry.build(classes, size=spec.size, **recipe.options)
    finally:
        keras.config.set_dtype_policy(before)


def policy_of(recipe: Recipe) -> str:
    """Return the Keras precision policy that a recipe means on this machine."""
    half = has_gpu() if recipe.precision == "auto" else recipe.precision == "bfloat16"
    return "mixed_bfloat16" if half else "float32"


def has_gpu() -> bool:
    """Tell whether the Keras backend sees a GPU."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return torch.cuda.is_available()
    if backend == "tensorflow":
        import tensorflow

        return bool(tensorflow.config.list_physical_devices("GPU"))
    import jax

    return jax.default_backend() == "gpu"


def adapt(model: keras.Model, recipe: Recipe, faces: Faces) -> None:
    """Prepare pre-trained weights with some of the faces, where the recipe's network asks for that."""
    entry = models.get(recipe.model)
    if entry.adapts:
        chosen = np.random.default_rng(recipe.seed).permutation(len(faces))[:ADAPT_FACES]
        entry.adapt(model, faces.inputs(chosen, input_of(recipe)))
