"""A network that was trained, as one machine hands it to another.

A folder holds ``weights.npz``, ``history.csv``, and ``trained.json`` with the recipe, the history, and what was trained on.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..errors import RunError
from . import models
from .building import build, input_of
from .fit import write_history
from .recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network that was trained here or elsewhere."""

    name: str
    recipe: Recipe
    weights: list[np.ndarray]
    history: list[dict[str, float]]
    best_epoch: int
    temperatures: dict[str, float]
    made: dict[str, Any]
    pack: dict[str, Any]
    """Sha256 of the pack, and the digest of each dataset in it."""

    @classmethod
    def load(cls, folder: Path) -> Trained:
        """Read what ``save`` wrote. Raises ``RunError`` where it is not there or damaged."""
        try:
            facts = json.loads((folder / "trained.json").read_text(encoding="utf-8"))
            with np.load(folder / "weights.npz", allow_pickle=False) as arrays:
                weights = [arrays[f"arr_{number}"] for number in range(len(arrays.files))]
            return cls(name=folder.name, weights=weights, **{**facts, "recipe": Recipe.from_dict(facts["recipe"])})
        except FileNotFoundError as error:
            raise RunError(f"{folder}: no trained network; train it with gpu train") from error
        except (KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise RunError(f"{folder}: damaged ({type(error).__name__}); delete it and train it again") from error

    def save(self, folder: Path) -> None:
        """Write weights, history and facts, whole or not at all."""
        staging = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        np.savez(staging / "weights.npz", *self.weights)
        write_history(self.history, staging / "history.csv")
        facts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del facts["name"], facts["weights"]
        facts["recipe"] = self.recipe.to_dict()
        (staging / "trained.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
        staging.replace(folder)

    def model(self, classes: Mapping[str, int], policy: str) -> keras.Model:
        """Return the network with its weights."""
        model = bare(self.recipe, classes, policy)
        model.set_weights(self.weights)
        return model


def bare(recipe: Recipe, classes: Mapping[str, int], policy: str) -> keras.Model:
    """Build a recipe's network for weights that are given afterwards."""
    options = {**recipe.options, **({"weights": None} if models.get(recipe.model).adapts else {})}
    plain = recipe.replace(options=options)
    return build(models.get(recipe.model), input_of(recipe), classes, plain, policy)
