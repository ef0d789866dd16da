"""Runs of networks that were trained on another machine (see ``remote``)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .. import runs
from ..datasets.crops import Progress
from ..errors import DataError
from . import pack
from .finish import finish
from .fit import State
from .prepare import prepare_all, split_faces
from .shipped import GPU
from .trained import Trained


def finish_all(
    file: Path,
    trained: Path,
    out: Path,
    *,
    data: Path,
    overwrite: bool = False,
    tell: Callable[[str], None] = print,
    progress: Progress | None = None,
) -> list[runs.Run]:
    """Make the runs that are shipped of what ``train_all`` left: calibrated, exported under TensorFlow, evaluated here.

    Args:
        file: the pack.
        trained: the folder that ``train_all`` wrote.
        out: the folder of runs.
        data: the data folder, with the datasets that were packed.
        overwrite: replace runs that stand there; without it, they are left as they are.
        tell: told about progress.
        progress: wraps loops over pictures.

    Raises:
        FerError: something is missing or damaged, or the datasets are not those of the pack.
    """
    digest = pack.sha256(file)
    shipped = [each for each in GPU if not each.step]
    waiting = [Trained.load(trained / each.name) for each in shipped]
    for one in waiting:
        if one.pack["sha256"] != digest:
            raise DataError(f"{file}: not the pack from which {one.name} was trained")
    parts = prepare_all(waiting[0].recipe, data, progress=progress)
    for part in parts:
        if part.dataset.digest() != waiting[0].pack["digests"].get(part.dataset.name):
            raise DataError(f"{data}: dataset {part.dataset.name!r} is not the one that was packed")
    classes = {part.dataset.name: len(part.dataset.labels) for part in parts}
    by_name = {one.name: one for one in waiting}
    made_runs = []
    for each in shipped:
        target = out / each.name
        if target.exists() and not overwrite:
            tell(f"{target}: is there already")
            continue
        tell(f"{each.name}: calibrated, exported, evaluated")
        one = by_name[each.name]
        run = finish(
            one.model(classes, "float32"),
            one.recipe,
            parts,
            State(one.history, one.weights, one.best_epoch),
            target,
            made=one.made,
            check=split_faces(parts, "validation", one.recipe),
            overwrite=overwrite,
            progress=progress,
        )
        made_runs.append(run)
    return made_runs
