"""Datasets of labelled faces: one reader a format, all with the same table (see ``base``).

from fercore import datasets
faces = datasets.load("expw", "/data")          # or "/data/expw"
faces.split("train").counts()
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable
from pathlib import Path

from ..config import data_dir
from ..errors import ConfigError, DataError
from . import ckplus, expw, fer2013, ferplus, folder, jaffe
from .base import COLUMNS, SPLITS, Dataset, Problem, require_usable
from .duplicates import count_pairs, drop_from_training, find_near_duplicates
from .files import damaged
from .splits import complete_splits, k_folds_by_group, split_by_group

__all__ = [
    "COLUMNS",
    "READERS",
    "SPLITS",
    "Dataset",
    "Problem",
    "Reader",
    "complete_splits",
    "count_pairs",
    "damaged",
    "drop_from_training",
    "find_datasets",
    "find_near_duplicates",
    "k_folds_by_group",
    "load",
    "require_usable",
    "split_by_group",
]


@dataclasses.dataclass(frozen=True)
class Reader:
    """What a format needs: where its files are, and how they become a table."""

    find: Callable[[Path], Path | None]
    """Gives what ``read`` takes, for the dataset's own folder or one that holds it; None where it is not there."""
    read: Callable[[Path], Dataset]
    wanted: str
    """The files that it looks for, in words."""


READERS: dict[str, Reader] = {
    module.__name__.rpartition(".")[2]: Reader(module.find, module.read, module.WANTED)
    for module in (expw, fer2013, ferplus, ckplus, jaffe, folder)
}
"""The readers by the name of their dataset."""

FRAMINGS_WITHOUT_BOX: tuple[str, ...] = ("crop", "detector")
"""Framings of a picture without a labelled box: it is the face already, or a detector finds the face."""


def load(
    name: str,
    data: str | os.PathLike[str] | None = None,
    *,
    strict: bool = True,
    framing: str | None = None,
    seed: int = 0,
) -> Dataset:
    """Read a dataset; every face is in a split, official splits are kept (see ``splits``).

    Args:
        name: a key of ``READERS``.
        data: the dataset's own folder or file, or a folder that holds it; else ``$FER_DATA``, else ``./data``.
        strict: refuse a dataset in which a class has no face at all (as for training).
        framing: ``crop`` or ``detector``, for pictures without labelled boxes, where the reader's choice is wrong.
        seed: of the splits that are not official.

    Raises:
        DataError: an unknown name, a folder that is not there or holds no such dataset, or nothing usable in it.
    """
    if name not in READERS:
        near = difflib.get_close_matches(str(name).lower(), READERS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "known:"
        raise DataError(f"unknown dataset {name!r}; {hint} ({', '.join(READERS)})")
    place = data_dir(data)
    if not place.exists():
        raise DataError(f"{place}: no such folder; give the data folder with --data or FER_DATA")
    reader = READERS[name]
    found = reader.find(place)
    if found is None:
        others = find_datasets(place)
        there = f"; found there: {', '.join(others)}" if others else ""
        raise DataError(f"{place}: no dataset {name!r} here; it needs {reader.wanted}{there}")
    dataset = require_usable(reader.read(found), need_all_classes=strict)
    if framing is not None:
        if framing not in FRAMINGS_WITHOUT_BOX or dataset.table["left"].notna().any():
            raise ConfigError(
                f"framing {framing!r} does not fit dataset {name!r}; "
                f"{' or '.join(FRAMINGS_WITHOUT_BOX)} for pictures without boxes, none for others"
            )
        dataset = dataclasses.replace(dataset, framing=framing)
    return complete_splits(dataset, seed=seed)


def find_datasets(data: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the names of the datasets that lie in a folder; ``folder`` only where nothing else does."""
    place = data_dir(data)
    found = [name for name, reader in READERS.items() if name != "folder" and reader.find(place) is not None]
    return found or (["folder"] if folder.find(place) is not None else [])
