"""The one frozen configuration of a training: what was asked, kept in the run, enough to do it again."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from ..config import Config
from ..errors import ConfigError

OPTIMIZERS = ("adam", "sgd")
SCHEDULES = ("constant", "cosine", "one_cycle")
PRECISIONS = ("auto", "float32", "bfloat16")
RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 1_000_000),
    "batch_size": (1, 65_536),
    "learning_rate": (1e-9, 1e3),
    "warmup": (0, 1),
    "head_rate": (0, 1e3),
    "weight_decay": (0, 1),
    "label_smoothing": (0, 0.99),
    "class_weight": (0, 2),
    "ema": (0, 0.999999),
    "mixup": (0, 100),
    "cutmix": (0, 100),
    "patience": (0, 1_000_000),
    "distil": (0, 1),
    "limit": (0, 2**31),
    "seed": (0, 2**32 - 1),
}
"""Least and greatest value of each number of a recipe."""
SIDES = (8, 512)
"""Least and greatest side in pixels of the network's input and of the faces shown."""
_KINDS: dict[str, tuple[Any, str]] = {
    "str": (str, "text"),
    "bool": (bool, "true or false"),
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "tuple": (tuple, "a list"),
    "dict": (dict, "an object of names and values"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation(Config):
    """How far a training face is changed at random; every amount is drawn anew for each face and epoch.

    Zero everywhere means none.
    """

    flip: bool = False
    rotate: float = 0.0
    """Degrees to either side."""
    scale: float = 0.0
    """Share by which the face square grows or shrinks."""
    shift: float = 0.0
    """Share of the square by which it moves, each way."""
    gamma: float = 0.0
    """The exponent is ``exp(u)``, u uniform in plus or minus this."""
    contrast: float = 0.0
    brightness: float = 0.0
    """Share of the grey range."""
    downscale: float = 0.0
    """Chance that the face is made small (down to 24 px) and large again."""
    erase: float = 0.0
    """Chance that a rectangle of 2 to 20% is covered with noise (random erasing, Zhong et al. 2020)."""


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(),
    "light": Augmentation(flip=True, rotate=10, scale=0.1, shift=0.05),
    "strong": Augmentation(
        flip=True,
        rotate=20,
        scale=0.15,
        shift=0.08,
        gamma=0.4,
        contrast=0.3,
        brightness=0.1,
        downscale=0.2,
        erase=0.35,
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe(Config):
    """Everything that decides a training. Defaults are the report's: Adam, batches of 64, no augmentation."""

    model: str
    datasets: tuple[str, ...]
    """Label sources; each becomes a head. Faces that two of them share are trained on once."""
    epochs: int = 10
    batch_size: int = 64
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    """The highest rate of the schedule."""
    schedule: str = "constant"
    warmup: float = 0.1
    """Share of the steps in which the rate rises (``cosine``: from 0; ``one_cycle``: from a tenth)."""
    head_rate: float = 1.0
    """The heads' rate over the body's."""
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    class_weight: float = 0.0
    """Faces of a class of n count n^-class_weight, scaled to 1 on average: 0 for none, 1 for balanced classes."""
    ema: float = 0.0
    """Momentum of the moving average of the weights that is validated and kept; 0 for none."""
    mixup: float = 0.0
    """Parameter of the Beta distribution of mixup (Zhang et al. 2018); 0 for none."""
    cutmix: float = 0.0
    """Parameter of the Beta distribution of CutMix (Yun et al. 2019); 0 for none. With both, each batch gets one of the two."""
    augment: str = "none"
    size: int = 0
    """Side in pixels of the network's input; 0 for the model's own."""
    resolutions: tuple[int, ...] = ()
    """Side in pixels of the faces shown, stage by stage in equal shares of the epochs; empty for the model's own."""
    shares: dict[str, float] = dataclasses.field(default_factory=dict)
    """Share of each batch that a dataset's own faces fill; the others share the rest by their size."""
    patience: int = 0
    """Stop after so many epochs without a better validation; 0 for never."""
    keep_duplicates: bool = False
    """Train on faces that stand, nearly the same, in validation or test too."""
    teacher: str = ""
    """A run, by name or folder, that says of each face what it thinks (see ``distil``); empty for none."""
    distil: float = 0.5
    """Share of a face's weight that the teacher gets, where there is one; the rest is for the labels."""
    consistent: bool = False
    """Ask the teacher about every batch as it is shown, changed and mixed, instead of once about each face as it is."""
    limit: int = 0
    """Faces of each split and dataset that are used, for a rehearsal; 0 for all."""
    seed: int = 0
    precision: str = "auto"
    """Of the arithmetic: ``auto`` is bfloat16 where there is a GPU, else float32. Weights are float32 always."""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Keyword arguments of the model, such as ``{"dropout": 0.5}``."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            kind, words = _KINDS[str(field.type).partition("[")[0]]
            value = getattr(self, field.name)
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                raise ConfigError(f"{field.name}: expected {words}, got {value!r}")
        for name, known in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
            ("augment", AUGMENTATIONS),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name}: {getattr(self, name)!r} is none of {', '.join(known)}")
        for name, (low, high) in RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name}: {getattr(self, name)} is outside {low:g} to {high:g}")
        if not self.datasets or not all(isinstance(name, str) for name in self.datasets):
            raise ConfigError(f"datasets: name at least one, each as text; got {list(self.datasets)}")
        if len(set(self.datasets)) < len(self.datasets):
            raise ConfigError(f"datasets: one stands there twice in {', '.join(self.datasets)}")
        if self.size and not SIDES[0] <= self.size <= SIDES[1]:
            raise ConfigError(
                f"size: expected {SIDES[0]} to {SIDES[1]} pixels, or 0 for the model's own; got {self.size}"
            )
        if not all(_is_number(side, int) and SIDES[0] <= side <= SIDES[1] for side in self.resolutions):
            raise ConfigError(
                f"resolutions: expected sides of {SIDES[0]} to {SIDES[1]} pixels, got {list(self.resolutions)}"
            )
        self._check_shares()
        try:
            object.__setattr__(self, "options", json.loads(json.dumps(self.options)))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"options: expected JSON values ({error}); got {self.options!r}") from error

    def _check_shares(self) -> None:
        if unknown := set(self.shares) - set(self.datasets):
            raise ConfigError(f"shares: {', '.join(sorted(unknown))} is not among the datasets")
        if not all(_is_number(share, (int, float)) and 0 < share <= 1 for share in self.shares.values()):
            raise ConfigError(f"shares: each must be above 0 and at most 1, got {self.shares}")
        total = math.fsum(self.shares.values())
        if total > 1 + 1e-9:
            raise ConfigError(f"shares: they sum to {total:g}, above 1")
        rest = len(self.shares) < len(self.datasets)
        if self.shares and sum(self.share_widths().values()) > self.batch_size - rest:
            what = "the datasets without a share" if rest else "each dataset"
            raise ConfigError(f"shares: {self.shares} leave no place for {what} in batches of {self.batch_size}")

    def share_widths(self) -> dict[str, int]:
        """Return how many faces of each batch come from each dataset that has a share: one at least."""
        return {name: max(1, round(share * self.batch_size)) for name, share in self.shares.items()}

    def resolution(self, epoch: int, own: int) -> int:
        """Return the side in pixels of the faces of an epoch (from 0); ``own`` is the model's."""
        if not self.resolutions:
            return own
        return self.resolutions[min(epoch * len(self.resolutions) // self.epochs, len(self.resolutions) - 1)]


def _is_number(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
