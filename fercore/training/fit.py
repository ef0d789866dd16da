"""The training loop: any Keras backend, a checkpoint an epoch, and a resumed run that ends like an undisturbed one.

Whatever an epoch does follows from the recipe's seed and the number of the epoch: the order of the faces, their changes, the
dropout masks. A checkpoint holds the weights, the optimiser's state, the best weights so far and the history; it is written
beside its place and moved there when whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import keras
import numpy as np

from .. import features
from ..errors import ConfigError, RunError
from ..preprocess import InputSpec
from .building import has_gpu
from .data import Faces, Feed, ahead, batches, order
from .optimizer import Statistics, averaged, learning_rate, make_optimizer
from .recipe import Recipe


class Diverged(ConfigError):
    """A loss that is no longer a number: this recipe cannot be trained."""


Report = Callable[[dict[str, Any]], None]
"""Called with a row of the history after each epoch, and with ``{"epoch", "step", "steps", "loss"}`` in between."""


BATCHES = {False: 128, True: 512}
"""Faces that a network answers at once outside of training, without and with a GPU."""
SLICE = 2048
"""Faces whose input is made at a time: 100 MiB at 112 pixels. Whole batches, so that slices change no answer."""


@dataclasses.dataclass
class State:
    """Where a training stands between two epochs."""

    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    best: list[np.ndarray] = dataclasses.field(default_factory=list)
    best_epoch: int = 0

    @property
    def epoch(self) -> int:
        """Epochs that are done."""
        return len(self.history)


def fit(
    model: keras.Model,
    train: Faces,
    validation: Faces,
    recipe: Recipe,
    spec: InputSpec,
    *,
    folder: Path,
    fingerprint: str,
    resume: bool = False,
    report: Report | None = None,
    feed: Feed | None = None,
) -> State:
    """Train a model and leave it with its best weights.

    Args:
        model: outputs ``{head: logits, "features": ...}``, a head for each of the faces' targets.
        train: faces to learn from.
        validation: faces that choose the best epoch: the mean over the heads of their accuracy.
        recipe: how.
        spec: the model's input.
        folder: where the checkpoint and ``history.csv`` go.
        fingerprint: of recipe and data; a checkpoint of another one is refused.
        resume: go on from the checkpoint, if there is one.
        report: told about progress.
        feed: gives the batches of an epoch; None for ``data.batches``.

    Returns:
        The history, a row an epoch: ``loss`` and ``accuracy`` of the faces as they were shown (changed, and weighted as in
        the loss; the mean over the heads), the last ``learning_rate``, ``val_loss`` and ``val_accuracy``, ``seconds``.

    Raises:
        RunError: the checkpoint is of another recipe or data, or damaged.
        ConfigError: the loss is no longer a number, or the model cannot see faces of the recipe's resolutions.
    """
    own = model.inputs[0].shape[1]
    if own is not None and set(recipe.resolutions) - {own}:
        raise ConfigError(f"resolutions: model {recipe.model!r} sees {own} pixels only, not {list(recipe.resolutions)}")
    heads = list(train.targets)
    steps = len(order(train, recipe, 0))
    trainer = keras.Model(model.input, {head: model.output[head] for head in heads})
    optimizer = make_optimizer(recipe, heads, steps * recipe.epochs)
    trainer.compile(
        optimizer=optimizer,
        loss={head: keras.losses.CategoricalCrossentropy(from_logits=True) for head in heads},
        weighted_metrics={head: [keras.metrics.CategoricalAccuracy(name="accuracy")] for head in heads},
        jit_compile=False,
    )
    optimizer.build(trainer.trainable_variables)
    statistics = Statistics(model, recipe, steps * recipe.epochs)
    state = State()
    checked = validation.pictures(range(len(validation)), spec.size)
    checkpoint = checkpoint_file(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if resume and checkpoint.is_file():
        state = _load(checkpoint, model, optimizer, statistics, fingerprint)
    while state.epoch < recipe.epochs and not _stalled(state, recipe):
        epoch = state.epoch
        started = time.monotonic()
        _reseed(model, recipe.seed, epoch)
        shown = dataclasses.replace(spec, size=recipe.resolution(epoch, spec.size))
        loss = 0.0
        right, seen = (dict.fromkeys(heads, 0.0) for _ in range(2))
        for step, (x, y, weight) in enumerate(ahead((feed or batches)(train, recipe, shown, epoch))):
            optimizer.learning_rate = learning_rate(recipe, epoch * steps + step, recipe.epochs * steps)
            measured = trainer.train_on_batch(x, y, sample_weight=weight, return_dict=True)
            statistics.update()
            loss += float(measured["loss"])
            for head in heads:
                amount = float(weight[head].sum())
                seen[head] += amount
                right[head] += amount * float(measured[f"{head}_accuracy" if len(heads) > 1 else "accuracy"])
            if not math.isfinite(loss):
                raise Diverged(_diverged(recipe, epoch, f"step {step + 1} of {steps}"))
            if report and step % 10 == 0:
                report({"epoch": epoch + 1, "step": step + 1, "steps": steps, "loss": loss / (step + 1)})
        accuracy = float(np.mean([right[head] / max(seen[head], 1e-9) for head in heads]))
        row = {"epoch": epoch + 1, "loss": loss / steps, "accuracy": accuracy}
        row["learning_rate"] = float(optimizer.learning_rate)
        with averaged(trainer, optimizer, recipe, statistics):
            row |= _validate(trainer, spec, validation, checked)
            if not math.isfinite(row["val_loss"]):
                raise Diverged(_diverged(recipe, epoch, "validation"))
            if row["val_accuracy"] > max((old["val_accuracy"] for old in state.history), default=-1.0):
                state.best = [np.array(value) for value in model.get_weights()]
                state.best_epoch = epoch + 1
        row["seconds"] = time.monotonic() - started
        state.history.append(row)
        _save(checkpoint, model, optimizer, statistics, state, fingerprint)
        write_history(state.history, folder / "history.csv")
        if report:
            report(row)
    write_history(state.history, folder / "history.csv")
    model.set_weights(state.best)
    return state


def write_history(history: list[dict[str, float]], file: Path) -> None:
    """Write the rows as CSV, whole or not at all."""
    columns = list(history[0])
    lines = [",".join(columns), *(",".join(repr(row[column]) for column in columns) for row in history)]
    with _staged(file) as stream:
        stream.write(("\n".join(lines) + "\n").encode())


def checkpoint_file(folder: Path) -> Path:
    """Return where ``fit`` keeps its checkpoint."""
    return folder / "checkpoint.npz"


def _diverged(recipe: Recipe, epoch: int, where: str) -> str:
    rate = f"lower learning_rate, which is {recipe.learning_rate:g}"
    return f"epoch {epoch + 1}, {where}: the loss is no longer a number; {rate}"


@contextlib.contextmanager
def _staged(file: Path) -> Iterator[BinaryIO]:
    """Open a file beside ``file`` for writing, and move it there when whole; nothing is left of it otherwise."""
    staged = file.with_suffix(".part")
    try:
        with staged.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        staged.replace(file)
    finally:
        staged.unlink(missing_ok=True)


def _stalled(state: State, recipe: Recipe) -> bool:
    return bool(recipe.patience) and state.epoch - state.best_epoch >= recipe.patience


def _reseed(model: keras.Model, seed: int, epoch: int) -> None:
    """Set every source of chance inside the model from seed and epoch, so that dropout is the same after a resume."""
    mixed = (seed * 100_003 + epoch) % 2**31
    keras.utils.set_random_seed(mixed)
    for number, layer in enumerate(model._flatten_layers()):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign(np.array([mixed, number], dtype="uint32"))


def answers_of(
    model: keras.Model, pictures: np.ndarray, spec: InputSpec, heads: Iterable[str]
) -> dict[str, np.ndarray]:
    """Return the logits (N, K) of a model's heads for pictures (N, size, size) uint8, ``SLICE`` of them as input at a time."""
    parts: dict[str, list[np.ndarray]] = {head: [] for head in heads}
    for start in range(0, len(pictures), SLICE):
        inputs = features.network_input(pictures[start : start + SLICE], spec)
        answers = model.predict(inputs, batch_size=BATCHES[has_gpu()], verbose=0)
        for head, found in parts.items():
            found.append(answers[head])
    return {head: np.concatenate(found) for head, found in parts.items()}


def _validate(trainer: keras.Model, spec: InputSpec, validation: Faces, pictures: np.ndarray) -> dict[str, float]:
    """Return loss and accuracy on validation, whose faces are these pictures, a head and as the mean over heads."""
    answers = answers_of(trainer, pictures, spec, validation.targets)
    losses, accuracies, row = [], [], {}
    for head, logits in answers.items():
        known = validation.weights[head] > 0
        logits = logits[known].astype(np.float64)
        targets = validation.targets[head][known]
        top = logits.max(axis=1, keepdims=True)
        log_probs = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
        losses.append(float(-(targets * log_probs).sum(axis=1).mean()))
        accuracies.append(float((logits.argmax(1) == targets.argmax(1)).mean()))
        if len(answers) > 1:
            row |= {f"val_loss_{head}": losses[-1], f"val_accuracy_{head}": accuracies[-1]}
    return {"val_loss": float(np.mean(losses)), "val_accuracy": float(np.mean(accuracies)), **row}


def _save(
    file: Path,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    statistics: Statistics,
    state: State,
    fingerprint: str,
) -> None:
    arrays = {f"weight_{number}": value for number, value in enumerate(model.get_weights())}
    arrays |= {
        f"optimizer_{number}": keras.ops.convert_to_numpy(variable)
        for number, variable in enumerate(optimizer.variables)
    }
    arrays |= {f"statistic_{number}": value for number, value in enumerate(statistics.averages)}
    arrays |= {f"best_{number}": value for number, value in enumerate(state.best)}
    facts = {"fingerprint": fingerprint, "best_epoch": state.best_epoch, "history": state.history}
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    with _staged(file) as stream:
        np.savez(stream, **arrays)


def _load(
    file: Path, model: keras.Model, optimizer: keras.optimizers.Optimizer, statistics: Statistics, fingerprint: str
) -> State:
    mend = f"train without --resume, or delete {file.parent}"
    try:
        with np.load(file, allow_pickle=False) as arrays:
            facts = json.loads(arrays["facts"].tobytes())
            if facts["fingerprint"] != fingerprint:
                raise RunError(f"{file}: made with another recipe or other data; {mend}")
            count = len(model.get_weights())
            weights, best = ([arrays[f"{name}_{number}"] for number in range(count)] for name in ("weight", "best"))
            slots = [arrays[f"optimizer_{number}"] for number in range(len(optimizer.variables))]
            averages = [arrays[f"statistic_{number}"] for number in range(len(statistics.variables))]
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{file}: damaged, or of another version ({type(error).__name__}); {mend}") from error
    model.set_weights(weights)
    for variable, value in zip(optimizer.variables, slots, strict=True):
        variable.assign(value)
    statistics.averages = averages
    return State(history=facts["history"], best=best, best_epoch=facts["best_epoch"])
