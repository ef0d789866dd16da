"""The one shape that every dataset takes: a table with a row a face, and pixels that open lazily.

Readers (``expw``, ``fer2013``, ...) turn a format into a ``Dataset``; everything after them (splits, duplicates, crops,
training, evaluation, the app) knows this shape alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import DataError

SPLITS: tuple[str, ...] = ("train", "validation", "test")
COLUMNS: tuple[str, ...] = ("image", "face_id", "left", "top", "width", "height", "label", "split", "group")


def face_table(
    image: list[str],
    label: list[str],
    *,
    group: list[str],
    split: list[str] | str = "",
    face_id: list[int] | int = 0,
    boxes: np.ndarray | None = None,
) -> pd.DataFrame:
    """Build the table of a ``Dataset`` from its columns (N); boxes (N, 4) are NaN where there are none."""
    count = len(image)
    sides = np.full((count, 4), np.nan) if boxes is None else np.asarray(boxes, np.float64).reshape(count, 4)
    return pd.DataFrame(
        {
            "image": pd.Series(image, dtype="str"),
            "face_id": pd.Series(face_id, index=range(count), dtype=np.int64),
            **{name: sides[:, column] for column, name in enumerate(("left", "top", "width", "height"))},
            "label": pd.Series(label, dtype="str"),
            "split": pd.Series(split, index=range(count), dtype="str"),
            "group": pd.Series(group, dtype="str"),
        },
        columns=list(COLUMNS),
    )


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing in a dataset that could not be used: where it stands and what is wrong."""

    kind: str
    """A short fixed name that is counted: ``malformed``, ``missing image``, ``unknown label``, ``empty box``, ..."""
    where: str
    """``file:line`` or the path of a picture."""
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.kind}: {self.what}"


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Faces of one source.

    ``table`` has a row a face with the columns of ``COLUMNS``:

    - ``image`` (str): locator of the picture below ``root`` (``images/angry_1.jpg``), or of the row of a table file
      (``fer2013.csv#123``);
    - ``face_id`` (int): which face of that picture;
    - ``left, top, width, height`` (float): the labelled box in pixels of the picture; NaN where the picture is the crop;
    - ``label`` (str): one of ``labels``;
    - ``split`` (str): ``train``, ``validation``, ``test``, or ``""`` where the source has no official split yet;
    - ``group`` (str): the photo, sequence or subject whose faces must stay in one split.
    """

    name: str
    root: Path
    labels: tuple[str, ...]
    framing: str
    """Which kind of box the table holds, a key of ``fercore.preprocess.FRAMINGS``: ``expw``, ``crop``, ..."""
    table: pd.DataFrame
    open_image: Callable[[str], np.ndarray]
    """Opens the picture of a locator: uint8, (H, W, 3) RGB or (H, W) grey."""
    problems: tuple[Problem, ...] = ()
    votes: np.ndarray | None = None
    """(N, K) float32 soft labels, rows summing to 1, in the order of ``table`` and ``labels``; None where there are none."""
    licence: str = ""
    source: str = ""
    """Citation of the dataset."""
    place: Callable[[str], Path] | None = None
    """Gives the file of a locator, where that is not simply the locator below ``root``."""

    def __len__(self) -> int:
        return len(self.table)

    @property
    def codes(self) -> np.ndarray:
        """(N,) int64 class numbers in the order of ``labels``."""
        return pd.Categorical(self.table["label"], categories=list(self.labels)).codes.astype(np.int64)

    def boxes(self) -> np.ndarray:
        """(N, 4) float32 left, top, width, height."""
        return self.table[["left", "top", "width", "height"]].to_numpy(np.float32)

    def select(self, mask: np.ndarray) -> Dataset:
        """Return the dataset with the rows that a boolean mask (N,) or an array of positions keeps, renumbered."""
        positions = np.flatnonzero(mask) if np.asarray(mask).dtype == bool else np.asarray(mask)
        return dataclasses.replace(
            self,
            table=self.table.iloc[positions].reset_index(drop=True),
            votes=None if self.votes is None else self.votes[positions],
        )

    def split(self, name: str) -> Dataset:
        """Return the rows of one split."""
        return self.select((self.table["split"] == name).to_numpy())

    def with_splits(self, split: np.ndarray) -> Dataset:
        """Return the dataset with another ``split`` column (N,)."""
        return dataclasses.replace(self, table=self.table.assign(split=split))

    def locators(self) -> list[str]:
        """Return ``image#face_id`` for each row, or ``image`` alone where a locator has its row number already."""
        return [
            image if "#" in image else f"{image}#{face}"
            for image, face in zip(self.table["image"], self.table["face_id"], strict=True)
        ]

    def file(self, image: str) -> Path:
        """Return where the picture of a locator lies; a row of a table has no file of that name."""
        return self.place(image) if self.place else self.root / image

    def images(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield ``(locator, positions, pixels)`` a picture at a time, so that a picture is decoded once for all its faces."""
        for image, positions in self.table.groupby("image", sort=False).indices.items():
            yield image, positions, self.open_image(image)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return faces per split and class: ``{"train": {"angry": 3995, ...}, ...}``; empty splits are left out."""
        result: dict[str, dict[str, int]] = {}
        for name in (*SPLITS, ""):
            rows = self.table.loc[self.table["split"] == name, "label"]
            if len(rows):
                result[name or "unsplit"] = {label: int((rows == label).sum()) for label in self.labels}
        return result

    def problem_counts(self) -> dict[str, int]:
        """Return how many problems of each kind the reader met."""
        return dict(Counter(problem.kind for problem in self.problems))

    def digest(self) -> str:
        """Return a sha256 over the table (locators, boxes, labels, splits): equal digests mean equal faces and splits."""
        lines = self.table[list(COLUMNS)].round(3).to_csv(index=False)
        return hashlib.sha256(lines.encode()).hexdigest()


def require_usable(dataset: Dataset, *, need_all_classes: bool = True) -> Dataset:
    """Return the dataset if training can use it.

    Raises:
        DataError: no face is left, or a class has none, with the first problem that the reader met.
    """
    first = f"; first problem: {dataset.problems[0]}" if dataset.problems else ""
    if not len(dataset):
        raise DataError(f"{dataset.root}: no usable face in dataset {dataset.name!r}{first}")
    if need_all_classes:
        present = set(dataset.table["label"])
        missing = [label for label in dataset.labels if label not in present]
        if missing:
            raise DataError(
                f"{dataset.root}: dataset {dataset.name!r} has no face of class {', '.join(missing)}; "
                f"add some or leave the class out{first}"
            )
    return dataset
