"""From a recipe's datasets to faces that are ready: near-duplicates set aside, boxes found, crops cut."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from .. import config, datasets, faces, runs
from ..datasets import crops as crop_cache
from ..datasets import duplicates, matching
from ..datasets.base import SPLITS, Dataset, require_usable
from ..datasets.crops import Crops, Progress
from ..errors import ConfigError, DataError
from .data import Faces, dataset_keys, join
from .recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A dataset that is ready: its usable rows, their crops, and what was found on the way."""

    dataset: Dataset
    crops: Crops
    rows: np.ndarray
    """(N,) which of ``crops`` each row of ``dataset`` has."""
    duplicates: dict[str, int]
    """Pairs of near-duplicates by the splits that they lie in, such as ``{"train-test": 12}``."""
    labelled: Crops | None = None
    """The faces of ``crops`` as the labelled boxes frame them, where a detector's boxes framed those: both are trained on,
    so that the network bears either."""
    dropped: frozenset[tuple[str, str]] = frozenset()
    """The faces that were left out as duplicates (see ``data.dataset_keys``)."""
    left_out: int = 0

    def select(self, mask: np.ndarray) -> Prepared:
        """Return the rows that a boolean mask (N,) keeps."""
        return dataclasses.replace(self, dataset=self.dataset.select(mask), rows=self.rows[mask])


Seen = Callable[[Dataset], None]
"""Called with each dataset as it is used, whose ``problems`` name every line and picture that is not."""


def prepare_all(
    recipe: Recipe, data: str | Path, *, progress: Progress | None = None, seen: Seen | None = None
) -> list[Prepared]:
    """Prepare every dataset of a recipe; a face that one of them leaves out as a duplicate, the others leave out as well.

    Args:
        recipe: names the datasets.
        data: the data folder, or the dataset's own.
        progress: wraps loops over pictures.
        seen: told about each dataset, with what of it cannot be used.

    Raises:
        FerError: a dataset that is missing or cannot be used (see ``prepare``).
    """
    parts = [prepare(name, data, recipe, progress=progress, seen=seen) for name in recipe.datasets]
    dropped = frozenset().union(*(part.dropped for part in parts))
    return [_checked(_without(part, dropped)) for part in parts]


def prepare(
    name: str, data: str | Path, recipe: Recipe, *, progress: Progress | None = None, seen: Seen | None = None
) -> Prepared:
    """Load a dataset, set near-duplicates aside, and cut its faces.

    Raises:
        FerError: it is missing, or has no usable face, or none of a class or of a split.
    """
    dataset = _limited(datasets.load(name, data), recipe.limit, recipe.seed)
    pairs = duplicates.find_near_duplicates(dataset, progress=progress)
    keep = np.ones(len(dataset), bool) if recipe.keep_duplicates else duplicates.drop_from_training(dataset, pairs)
    boxes = None
    if dataset.framing != "crop":
        boxes = matching.detected_boxes(dataset, faces.load_detector(), key=detector_key(), progress=progress)
    crops = crop_cache.load_crops(dataset, boxes=boxes, framing="detector", progress=progress)
    labelled = None
    if boxes is not None and np.isfinite(dataset.boxes()).all():
        labelled = crop_cache.load_crops(dataset, progress=progress)
    counted = pairs.groupby(["first_split", "second_split"]).size()
    keys = dataset_keys(dataset)
    rows = np.flatnonzero(keep & crops.usable)
    kept = dataclasses.replace(dataset.select(rows), problems=(*dataset.problems, *crops.problems))
    if seen:
        seen(kept)
    return _checked(
        Prepared(
            dataset=kept,
            crops=crops,
            rows=rows,
            labelled=labelled,
            duplicates={f"{first}-{second}": int(count) for (first, second), count in counted.items()},
            dropped=frozenset(keys[row] for row in np.flatnonzero(~keep)),
            left_out=int((~keep).sum()),
        )
    )


def detector_key() -> str:
    """Return a digest of the files of the detector that ``faces.load_detector`` uses."""
    place = Path(os.environ.get("FER_DETECTOR") or config.artifacts_dir() / "detector")
    files = sorted(path for path in place.iterdir() if path.is_file()) if place.is_dir() else [place]
    return hashlib.sha256(" ".join(runs.sha256(file) for file in files).encode()).hexdigest()


def check_same(parts: list[Prepared], run: runs.Run, what: str) -> None:
    """Raise ``DataError`` where a dataset is not as it was when a run was trained; ``what`` ends "is not the one that"."""
    for part in parts:
        if part.dataset.digest() != run.info["datasets"][part.dataset.name]["digest"]:
            raise DataError(f"{part.dataset.root}: dataset {part.dataset.name!r} is not the one that {what}")


def split_faces(parts: list[Prepared], name: str, recipe: Recipe) -> Faces:
    """Return the faces of one split of all datasets, joined."""
    chosen = []
    for part in parts:
        split = part.select((part.dataset.table["split"] == name).to_numpy())
        chosen.append((split.dataset, split.crops, split.rows))
    return join(
        chosen,
        class_weight=recipe.class_weight if name == "train" else 0.0,
        others=[part.labelled for part in parts],
    )


def _without(part: Prepared, dropped: frozenset[tuple[str, str]]) -> Prepared:
    """Return the part without the faces that another dataset left out."""
    mask = np.array([key not in dropped for key in dataset_keys(part.dataset)], bool)
    return dataclasses.replace(part.select(mask), left_out=part.left_out + int((~mask).sum()))


def _checked(part: Prepared) -> Prepared:
    """Refuse now what would stop the training, or the evaluation hours later."""
    dataset = require_usable(part.dataset)
    counts = dataset.counts()
    for name in SPLITS:
        if name not in counts:
            raise DataError(
                f"{dataset.root}: dataset {dataset.name!r} has no usable face in its {name} split; add some"
            )
    if dataset.split("test").table["group"].nunique() < 2:
        what = "a single photo or person in its test split, so no score of it has an interval"
        raise DataError(f"{dataset.root}: dataset {dataset.name!r} has {what}; add more pictures")
    if lacking := [label for label, count in counts["train"].items() if not count]:
        what = f"no usable face of class {', '.join(lacking)} in its train split"
        raise DataError(f"{dataset.root}: dataset {dataset.name!r} has {what}; add some or leave the class out")
    return part


def _limited(dataset: Dataset, limit: int, seed: int) -> Dataset:
    """Return at most ``limit`` faces a split, class by class in turn, so that a rehearsal sees every class."""
    if not limit:
        return dataset
    if limit < len(dataset.labels):
        raise ConfigError(
            f"limit: {limit} faces a split are fewer than the {len(dataset.labels)} classes of {dataset.name!r}"
        )
    frame = pd.DataFrame({column: dataset.table[column].to_numpy() for column in ("split", "label")})
    frame = frame.iloc[np.random.default_rng(seed).permutation(len(frame))]
    frame["turn"] = frame.groupby(["split", "label"]).cumcount()
    frame = frame.sort_values("turn", kind="stable").groupby("split", sort=False).head(limit)
    return dataset.select(np.sort(frame.index.to_numpy()))
