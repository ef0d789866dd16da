"""The runs that are shipped, as the recipes that made them: on a processor of two cores, or on a GPU.

On a processor, each is trained by a command of its own (``python -m fercore.training.shipped`` prints them, in order); on a
GPU, ``python -m fercore gpu`` trains all of its list.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ConfigError
from . import models
from .recipe import Recipe

DATASETS = ("fer2013", "ferplus", "expw")
"""Whose labels all of them learn: a head each."""


@dataclasses.dataclass(frozen=True)
class Shipped:
    """One run: a network with its recipe, an ensemble of others, or another in eight bits."""

    name: str
    model: str = ""
    """In ``models.MODELS``; empty where nothing is trained."""
    members: tuple[str, ...] = ()
    """Names of the runs that an ensemble averages."""
    source: str = ""
    """Name of the run that this one is in eight bits."""
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What its recipe sets differently from the model's own."""
    step: bool = False
    """Made on the way to another run, and not shipped."""

    def recipe(self) -> Recipe:
        """Return the recipe of a network that is trained."""
        if not self.model:
            raise ConfigError(f"{self.name}: is made of other runs, not trained")
        own = {**models.get(self.model).recipe, "model": self.model, "datasets": DATASETS}
        return Recipe.from_dict({**own, "shares": {"expw": 0.25}, "class_weight": 0.25, **self.changes})


LARGE: Mapping[str, Any] = {"batch_size": 512}
"""What a GPU needs to be busy."""
PROCESSOR: tuple[Shipped, ...] = (
    Shipped(
        "transfer",
        model="transfer",
        changes={"epochs": 15, "size": 96, "resolutions": (64, 96, 96), "precision": "bfloat16", "options": {}},
    ),
    Shipped("attention", model="attention", changes={"epochs": 16, "precision": "bfloat16"}),
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
    ),
    Shipped("distilled-int8", source="distilled"),
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
    ),
)
"""Made on a processor, in the order in which they can be: members before their ensemble, a teacher before its student.

``distilled`` is a student's student: it goes on from the first and learns from what that says of each face and its mirror
image (Furlanello et al., "Born-again neural networks", 2018). The first one's teacher was the plain average of the ensemble's
members, before their shares were fitted.
"""
GPU: tuple[Shipped, ...] = (
    Shipped(
        "middle",
        model="transfer",
        changes={**LARGE, "epochs": 16, "size": 112, "learning_rate": 0.08, "mixup": 0.2, "options": {}},
        step=True,
    ),
    Shipped(
        "high",
        model="transfer",
        changes={
            **LARGE,
            "epochs": 13,
            "size": 128,
            "learning_rate": 0.08,
            "mixup": 0.4,
            "cutmix": 1.0,
            "options": {},
        },
        step=True,
    ),
    Shipped(
        "wide",
        model="attention",
        changes={
            **LARGE,
            "epochs": 19,
            "size": 64,
            "learning_rate": 0.2,
            "mixup": 0.4,
            "options": {"widths": [64, 128, 256, 512], "blocks": [2, 2, 2, 2]},
        },
        step=True,
    ),
    Shipped("panel", members=("middle", "high", "wide"), step=True),
    Shipped(
        "distilled",
        model="transfer",
        changes={
            **LARGE,
            "epochs": 42,
            "size": 112,
            "learning_rate": 0.04,
            "mixup": 0.3,
            "teacher": "panel",
            "distil": 0.7,
            "consistent": True,
            "options": {"weights": "middle"},
        },
    ),
)
"""Made on a GPU, in order: three teachers of different kinds, and a student of all three."""


def get(name: str, made: Sequence[Shipped] = PROCESSOR) -> Shipped:
    """Return one of those made on a processor, or of ``GPU``. Raises ``ConfigError`` with the known names."""
    for each in made:
        if each.name == name:
            return each
    raise ConfigError(f"{name!r} is not made here; there are {', '.join(each.name for each in made)}")


def command(each: Shipped) -> str:
    """Return the command that makes a run on a processor."""
    out = f"--out artifacts/{each.name}"
    if each.members:
        return f"python -m fercore ensemble {' '.join(each.members)} {out}"
    if each.source:
        return f"python -m fercore quantise {each.source} {out}"
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
    print("\n".join(map(command, PROCESSOR)))  # noqa: T201
