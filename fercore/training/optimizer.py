"""How weights move: the learning rate of each step, a rate of their own for the heads, and moving averages."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from .recipe import Recipe


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Return the rate of a step (from 0) of so many."""
    peak = recipe.learning_rate
    if recipe.schedule == "constant":
        return peak
    rising = recipe.warmup * steps
    low = peak / 10 if recipe.schedule == "one_cycle" else 0.0
    if step < rising:
        return low + (peak - low) * min(1.0, (step + 1) / rising)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1.0, steps - rising)))


def ema_momentum(momentum: float, steps: int) -> float:
    """Return the momentum of the moving average in a training of so many steps.

    The average reaches back over about ``1 / (1 - momentum)`` steps: a fifth of the training at most, or a short one would
    end with weights near those that it began with.
    """
    return min(momentum, max(0.0, 1 - 5 / steps))


def make_optimizer(recipe: Recipe, heads: list[str], steps: int) -> keras.optimizers.Optimizer:
    """Return the recipe's optimiser for a training of so many steps."""
    options: dict[str, Any] = {"learning_rate": recipe.learning_rate}
    if recipe.weight_decay:
        options["weight_decay"] = recipe.weight_decay
    if recipe.ema:
        options |= {"use_ema": True, "ema_momentum": ema_momentum(recipe.ema, steps)}
    if recipe.optimizer == "sgd":
        options |= {"momentum": 0.9, "nesterov": True}
    optimizer = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}[recipe.optimizer](**options)
    if recipe.head_rate != 1 or keras.backend.backend() == "torch":
        optimizer = _refined(type(optimizer), heads, recipe.head_rate)(**options)
    if recipe.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "bn"])
    return optimizer


def _refined(
    base: type[keras.optimizers.Optimizer], heads: list[str], factor: float
) -> type[keras.optimizers.Optimizer]:
    """Return a kind of optimiser whose steps are ``factor`` times as long for the layers named after heads.

    Under PyTorch all variables move in a few calls, and so do their averages, which Keras updates one by one.
    """

    class HeadRate(base):
        def _factor(self, variable: Any) -> float:
            # TensorFlow passes its own variable, which has no path; the optimiser knows which of Keras's it is.
            path = self._trainable_variables[self._get_variable_index(variable)].path
            return factor if path.split("/")[0] in heads else 1.0

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            super().update_step(gradient, variable, learning_rate * self._factor(variable))

        def _parallel_update_step(self, grads: Sequence[Any], variables: Sequence[Any], learning_rate: Any) -> None:
            pairs = list(zip(grads, variables, strict=True))
            for own in dict.fromkeys((1.0, factor)):
                if chosen := [pair for pair in pairs if self._factor(pair[1]) == own]:
                    super()._parallel_update_step(*zip(*chosen, strict=True), learning_rate * own)

        def _update_model_variables_moving_average(self, variables: Sequence[Any]) -> None:
            if keras.backend.backend() != "torch":
                super()._update_model_variables_moving_average(variables)
                return
            import torch

            with torch.no_grad():
                known = [average is not None for average in self._model_variables_moving_average]
                values = [variable.value for variable, use in zip(variables, known, strict=True) if use]
                averages = [each.value for each in self._model_variables_moving_average if each is not None]
                momentum = (self.iterations.value != 0) * torch.tensor(self.ema_momentum, device=averages[0].device)
                torch._foreach_mul_(averages, momentum)
                torch._foreach_add_(averages, torch._foreach_mul(values, 1 - momentum))

    return HeadRate


class Statistics:
    """Moving averages of what batch normalisation knows of its inputs, kept beside those of the weights.

    Averaged weights behind the statistics of the latest ones answer badly as long as the learning rate is high: after three
    epochs of a MobileNet, 17% of FER2013's validation faces instead of 57%.
    """

    def __init__(self, model: keras.Model, recipe: Recipe, steps: int) -> None:
        """Start from the model's present statistics; without averages in the recipe there is nothing to keep."""
        self._left = 1 - ema_momentum(recipe.ema, steps) if recipe.ema else 0.0
        norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
        self.variables = [value for norm in norms for value in norm.non_trainable_variables] if recipe.ema else []
        self.averages = [keras.ops.convert_to_numpy(variable).copy() for variable in self.variables]

    def update(self) -> None:
        """Take in the statistics after a step."""
        for average, variable in zip(self.averages, self.variables, strict=True):
            average += self._left * (keras.ops.convert_to_numpy(variable) - average)


@contextlib.contextmanager
def averaged(
    trainer: keras.Model, optimizer: keras.optimizers.Optimizer, recipe: Recipe, statistics: Statistics
) -> Iterator[None]:
    """Inside the block, the model has the moving averages of its weights and statistics, if the recipe keeps any."""
    variables = [*(trainer.trainable_variables if recipe.ema else []), *statistics.variables]
    averages = [*(optimizer._model_variables_moving_average if recipe.ema else []), *statistics.averages]
    kept = [keras.ops.convert_to_numpy(variable).copy() for variable in variables]
    for variable, average in zip(variables, averages, strict=True):
        variable.assign(average)
    try:
        yield
    finally:
        for variable, value in zip(variables, kept, strict=True):
            variable.assign(value)
