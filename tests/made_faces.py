"""Pictures that stand in for faces in tests of training: each class has a bright shape on a random background."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fercore.datasets.base import Dataset, face_table
from fercore.datasets.crops import Crops

SHAPES = ("square", "ring", "cross", "bar", "corner", "dots", "slash", "frame")


def picture(number: int, rng: np.random.Generator, side: int = 48) -> np.ndarray:
    """Return a picture (side, side) uint8 of class ``number``; no two backgrounds are alike."""
    coarse = rng.integers(0, 150, (6, 6)).astype(np.uint8)
    result = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_NEAREST)
    x, y = (int(value) for value in side // 2 + rng.integers(-2, 3, 2))
    r, thick, white = side // 5, max(2, side // 16), 255
    shape = SHAPES[number]
    if shape == "square":
        cv2.rectangle(result, (x - r, y - r), (x + r, y + r), white, -1)
    elif shape == "ring":
        cv2.circle(result, (x, y), r, white, thick)
    elif shape == "cross":
        cv2.line(result, (x - r, y), (x + r, y), white, thick)
        cv2.line(result, (x, y - r), (x, y + r), white, thick)
    elif shape == "bar":
        cv2.line(result, (x - r, y), (x + r, y), white, 2 * thick)
    elif shape == "corner":
        cv2.rectangle(result, (0, 0), (r, r), white, -1)
    elif shape == "dots":
        for side_x in (-r, r):
            cv2.circle(result, (x + side_x, y), thick, white, -1)
    elif shape == "slash":
        cv2.line(result, (x - r, y + r), (x + r, y - r), white, thick)
    else:
        cv2.rectangle(result, (1, 1), (side - 2, side - 2), white, thick)
    return result


def pictures(codes: Sequence[int] | np.ndarray, *, seed: int = 0, side: int = 48) -> np.ndarray:
    """Return pictures (N, side, side) uint8 of the given classes."""
    rng = np.random.default_rng(seed)
    return np.stack([picture(int(code), rng, side) for code in codes])


def make_folder(root: Path, labels: Sequence[str], per_class: int, *, seed: int = 0, side: int = 48) -> Path:
    """Write ``root/<label>/<n>.png`` and return ``root``."""
    rng = np.random.default_rng(seed)
    for number, label in enumerate(labels):
        folder = root / label
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(per_class):
            Image.fromarray(picture(number, rng, side)).save(folder / f"{index:03}.png")
    return root


def made_dataset(
    codes: Sequence[int],
    labels: Sequence[str],
    *,
    name: str = "made",
    root: str | Path = "made",
    numbers: Sequence[int] | None = None,
    split: str | Sequence[str] = "train",
    seed: int = 0,
    votes: np.ndarray | None = None,
) -> tuple[Dataset, Crops, np.ndarray]:
    """Return a dataset in memory, its crops, and the row of each face in them, as ``training.data.join`` takes them.

    ``numbers`` are the row numbers in the locators (``made.csv#7``), by default from 0.
    """
    numbers = range(len(codes)) if numbers is None else numbers
    locators = [f"made.csv#{number}" for number in numbers]
    pixels = pictures(codes, seed=seed) if len(codes) else np.zeros((0, 48, 48), np.uint8)
    by_locator = dict(zip(locators, pixels, strict=True))
    table = face_table(
        locators,
        [labels[code] for code in codes],
        group=locators,
        split=split if isinstance(split, str) else list(split),
    )
    dataset = Dataset(
        name=name,
        root=Path(root),
        labels=tuple(labels),
        framing="crop",
        table=table,
        open_image=by_locator.__getitem__,
        votes=votes,
    )
    crops = Crops(pixels=pixels, side=48.0, usable=np.ones(len(codes), bool))
    return dataset, crops, np.arange(len(codes))
