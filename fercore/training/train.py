"""From a recipe to a trained network: load, crop, fit; ``finish`` makes the run of it."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import keras

from .. import runs
from ..datasets.crops import Progress
from ..errors import ConfigError
from . import distil, models
from .building import adapt, build, input_of, policy_of
from .data import Faces, Feed, batches
from .describe import made
from .finish import finish
from .fit import Report, checkpoint_file, fit
from .prepare import Prepared, Seen, prepare_all, split_faces
from .recipe import Recipe


def train(
    recipe: Recipe,
    *,
    data: str | Path,
    out: str | Path,
    resume: bool = False,
    overwrite: bool = False,
    report: Report | None = None,
    progress: Progress | None = None,
    extra: Mapping[str, bytes] | None = None,
    seen: Seen | None = None,
) -> runs.Run:
    """Train by a recipe and write the run.

    Args:
        recipe: what to do.
        data: the data folder, or the dataset's own.
        out: the run's folder. A hidden folder beside it holds the checkpoint until the run is whole.
        resume: go on from that checkpoint, if there is one.
        overwrite: replace a run that stands there.
        report: told about every epoch (see ``fit``).
        progress: wraps loops over pictures.
        extra: further files of the run by name, such as the search that found the recipe.
        seen: told about each dataset before the first epoch, with what of it cannot be used.

    Raises:
        FerError: a dataset that cannot be used, a checkpoint of another recipe, an export that disagrees.
    """
    target = Path(out)
    runs.check_place(target, overwrite=overwrite)
    started = time.monotonic()
    if recipe.teacher:
        runs.Run.load(recipe.teacher)  # refused now rather than after the faces are cut
    entry, spec = models.get(recipe.model), input_of(recipe)
    parts = prepare_all(recipe, data, progress=progress, seen=seen)
    classes = {part.dataset.name: len(part.dataset.labels) for part in parts}
    learn, check, feed = lessons(parts, recipe, progress)
    keras.utils.set_random_seed(recipe.seed)
    policy = policy_of(recipe)
    model = build(entry, spec, classes, recipe, policy)
    work = target.parent / f".{target.name}.training"
    if not (resume and checkpoint_file(work).is_file()):
        adapt(model, recipe, learn)
    state = fit(
        model,
        learn,
        check,
        recipe,
        spec,
        folder=work,
        fingerprint=fingerprint(recipe, parts),
        resume=resume,
        report=report,
        feed=feed,
    )
    if policy != "float32":
        # What is measured, and calibrated, is the network that will be exported.
        trained, model = model, build(entry, spec, classes, recipe, "float32")
        model.set_weights(trained.get_weights())
    run = finish(
        model,
        recipe,
        parts,
        state,
        target,
        made=made(),
        check=check,
        overwrite=overwrite,
        progress=progress,
        extra=extra,
        started=started,
    )
    shutil.rmtree(work, ignore_errors=True)
    return run


def lessons(parts: list[Prepared], recipe: Recipe, progress: Progress | None = None) -> tuple[Faces, Faces, Feed]:
    """Return the faces to learn from, those of validation, and what makes batches, with a teacher's answers if there is one."""
    learn, check = (split_faces(parts, name, recipe) for name in ("train", "validation"))
    if not recipe.teacher:
        return learn, check, batches
    teacher = runs.Run.load(recipe.teacher)
    distil.check(teacher, {part.dataset.name: part.dataset.labels for part in parts})
    if not recipe.consistent:
        return distil.taught(learn, teacher, recipe.distil, progress=progress), check, batches
    if input_of(recipe).features:
        raise ConfigError(f"consistent: model {recipe.model!r} is shown features, which a teacher of pixels cannot see")
    heads = {part.dataset.name: len(part.dataset.labels) for part in parts}
    return learn, check, distil.following(batches, distil.teaching(teacher, heads), recipe.distil)


def fingerprint(recipe: Recipe, parts: list[Prepared]) -> str:
    """Return a digest of a recipe and of the faces it is about."""
    text = json.dumps([recipe.to_dict(), [part.dataset.digest() for part in parts]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
