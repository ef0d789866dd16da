"""The search space of each network: what ``tune`` may change, and how far.

A name is a field of the recipe, or ``options.NAME`` for one of the network's own. Ranges are wide enough to hold what the
literature uses, and narrow enough that no exported file grows beyond what a run may weigh.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..errors import ConfigError
from ..study import Dimension
from .recipe import AUGMENTATIONS, Recipe

COMMON: dict[str, Dimension] = {
    "batch_size": Dimension(choices=(32, 64, 128)),
    "weight_decay": Dimension(low=1e-6, high=1e-2, log=True),
    "label_smoothing": Dimension(low=0.0, high=0.2),
    "augment": Dimension(choices=tuple(AUGMENTATIONS)),
}
"""Of every network, beside its learning rate."""
ADAM = Dimension(low=2e-4, high=5e-3, log=True)
SGD = Dimension(low=5e-3, high=0.2, log=True)

SPACES: dict[str, dict[str, Dimension]] = {
    # The first dense layer holds 144 x filters x units weights: at most 0.94 million parameters in all, 3.8 MB in float32.
    "report-cnn": {
        "options.dropout": Dimension(low=0.0, high=0.5),
        "options.filters": Dimension(choices=([16, 32], [32, 32], [32, 48], [48, 48])),
        "options.units": Dimension(choices=([64, 128], [96, 256], [128, 128], [128, 256])),
    },
    "transfer": {
        "head_rate": Dimension(low=1.0, high=10.0, log=True),
        "class_weight": Dimension(low=0.0, high=1.0),
        "options.frozen": Dimension(choices=(0, 3, 6)),
    },
    "attention": {"class_weight": Dimension(low=0.0, high=1.0)},
}
"""What is searched of a network by name beside its learning rate and ``COMMON``."""


def space_for(recipe: Recipe, fixed: Collection[str] = ()) -> dict[str, Dimension]:
    """Return what a search may change in a recipe.

    Args:
        recipe: of the trials.
        fixed: names that keep the recipe's value; ``options`` fixes all of the network's own.

    Raises:
        ConfigError: everything is fixed.
    """
    rate = SGD if recipe.optimizer == "sgd" else ADAM
    whole = {"learning_rate": rate, **COMMON, **SPACES.get(recipe.model, {})}
    space = {name: of for name, of in whole.items() if name not in fixed and name.partition(".")[0] not in fixed}
    if not space:
        raise ConfigError(f"--set fixes all of {', '.join(whole)}: nothing is left to search")
    return space


def apply(recipe: Recipe, params: Mapping[str, Any]) -> Recipe:
    """Return the recipe with a trial's parameters in place of its own."""
    options = {name.removeprefix("options."): value for name, value in params.items() if name.startswith("options.")}
    fields = {name: value for name, value in params.items() if not name.startswith("options.")}
    return recipe.replace(**fields, options={**recipe.options, **options})
