"""The runs that are shipped, as the recipes that made them: on a processor of two cores, and longer ones for a GPU.

On a processor, each is trained by a command of its own (``python -m fercore.training.shipped`` prints them, in order); on a
GPU, ``python -m fercore gpu`` trains all.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from . import models
from .recipe import Recipe

DATASETS = ("fer2013", "ferplus", "expw")
"""Whose labels all of them learn: a head each."""


@dataclasses.dataclass(frozen=True)
class Shipped:
    """One run: a network with its recipe, or an ensemble of others."""

    name: str
    model: str = ""
    """In ``models.MODELS``; empty for an ensemble."""
    members: tuple[str, ...] = ()
    """Names of the runs that an ensemble averages."""
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What its recipe sets differently from the model's own."""
    gpu: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What it sets differently once more on a GPU: larger batches at a higher rate, and more epochs."""
    step: bool = False
    """Made on the way to another run on a processor, and not shipped; a GPU gets there in one go."""

    def recipe(self, *, gpu: bool = False) -> Recipe:
        """Return the recipe of a network."""
        if not self.model:
            raise ConfigError(f"{self.name}: is an ensemble, which is not trained")
        changes = {**self.changes, **(self.gpu if gpu else {})}
        own = {**models.get(self.model).recipe, "model": self.model, "datasets": DATASETS}
        return Recipe.from_dict({**own, "shares": {"expw": 0.25}, "class_weight": 0.25, **changes})


MADE: tuple[Shipped, ...] = (
    Shipped(
        "transfer",
        model="transfer",
        changes={"epochs": 15, "size": 96, "resolutions": (64, 96, 96), "precision": "bfloat16", "options": {}},
        gpu={"epochs": 30, "batch_size": 256, "learning_rate": 0.06, "resolutions": (96,)},
    ),
    Shipped(
        "attention",
        model="attention",
        changes={"epochs": 16, "precision": "bfloat16"},
        gpu={"epochs": 60, "batch_size": 256, "learning_rate": 0.15},
    ),
    Shipped("ensemble", members=("transfer", "attention")),
    Shipped(
        "student",
        model="transfer",
        changes={
            "epochs": 12,
            "size": 112,
            "learning_rate": 0.01,
            "precision": "bfloat16",
            "teacher": "ensemble",
            "options": {"weights": "transfer"},
        },
        step=True,
    ),
    Shipped(
        "distilled",
        model="transfer",
        changes={
            "epochs": 12,
            "size": 112,
            "learning_rate": 0.015,
            "mixup": 0.2,
            "precision": "bfloat16",
            "teacher": "student",
            "options": {"weights": "student"},
        },
        gpu={
            "epochs": 30,
            "batch_size": 256,
            "learning_rate": 0.03,
            "teacher": "ensemble",
            "options": {"weights": "transfer"},
        },
    ),
    Shipped(
        "nano",
        model="attention",
        changes={
            "epochs": 16,
            "size": 64,
            "augment": "light",
            "precision": "bfloat16",
            "teacher": "student",
            "options": {"widths": [16, 32, 64, 96], "blocks": [1, 1, 2, 1], "dropout": 0.1},
        },
        gpu={"epochs": 60, "batch_size": 256, "learning_rate": 0.15, "teacher": "distilled"},
    ),
)
"""In the order in which they can be made: members before their ensemble, a teacher before its student.

``distilled`` is a student's student: it goes on from the first and learns from what that says of each face and its mirror
image (Furlanello et al., "Born-again neural networks", 2018). The first one's teacher was the plain average of the ensemble's
members, before their shares were fitted.
"""
SHIPPED: tuple[Shipped, ...] = tuple(each for each in MADE if not each.step)
"""Those that are in the repository, and that a GPU trains."""


def get(name: str) -> Shipped:
    """Return one of ``MADE``. Raises ``ConfigError`` with the known names."""
    for each in MADE:
        if each.name == name:
            return each
    raise ConfigError(f"{name!r} is not shipped; there are {', '.join(each.name for each in MADE)}")


def command(each: Shipped) -> str:
    """Return the command that makes a run on a processor."""
    out = f"--out artifacts/{each.name}"
    if each.members:
        return f"python -m fercore ensemble {' '.join(each.members)} {out}"
    recipe, plain = (
        each.recipe(),
        Recipe.from_dict({**models.get(each.model).recipe, "model": each.model, "datasets": DATASETS}),
    )
    changed = {key: value for key, value in recipe.to_dict().items() if value != plain.to_dict()[key]}
    settings = [
        f"--set '{key}={value if isinstance(value, str) else json.dumps(value)}'" for key, value in changed.items()
    ]
    sources = [f"--dataset {name}" for name in DATASETS]
    return " ".join(["python -m fercore train --model", each.model, *sources, out, *settings])


if __name__ == "__main__":
    print("\n".join(map(command, MADE)))  # noqa: T201
