"""Any folder of class-named folders, with or without ``train/``, ``val/`` and ``test/`` above them.

    my_faces/angry/1.jpg            my_faces/train/anger/1.jpg
    my_faces/happiness/2.png        my_faces/test/happy/2.png

Classes are named after their folders; synonyms of the known ones (anger, happiness, surprised, ...) mean the same class.
Pictures are taken to be the face already (framing ``crop``) where the median of their shorter sides is at most
``CROP_SIDE`` pixels, and photos in which a detector has to find the face (framing ``detector``) otherwise.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from ..errors import DataError, ImageError
from ..images import load_image
from ..labels import FERPLUS_LABELS, canonical, ordered
from .base import Dataset, Problem, face_table
from .files import folders, has_pictures, header_size, pictures, places

WANTED = "two or more class-named folders of pictures, or train/<class>/, val/<class>/ and test/<class>/"
SOURCE = "a folder of your own"
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
CROP_SIDE = 128
"""Largest median shorter side in pixels of pictures that count as cut-out faces."""


def find(data: Path) -> Path | None:
    """Return the folder if it holds class folders, or the ``folder`` in it that does; None where neither does."""
    for place in places(data, "folder"):
        if len({label for _, label, _ in _class_folders(place)}) >= 2:
            return place
    return None


def read(root: Path) -> Dataset:
    """Read class-named folders; the pictures are not opened, but for the sizes of up to 100 (see ``framing`` above).

    Raises:
        DataError: fewer than two classes.
    """
    return read_tree(root)


def read_tree(root: Path) -> Dataset:
    """Read a tree of class-named folders, each picture its own group; the readers of CK+ and FER2013 build on it."""
    classes = _class_folders(root)
    labels = ordered(label for _, label, _ in classes)
    if len(labels) < 2:
        found = f"found only {labels[0]!r}" if labels else "found none"
        raise DataError(f"{root}: needs {WANTED}; {found}")
    images: list[str] = []
    names: list[str] = []
    splits: list[str] = []
    for path, label, split in classes:
        below = path.relative_to(root).as_posix()
        found = pictures(path)
        images += [f"{below}/{name}" for name in found]
        names += [label] * len(found)
        splits += [split] * len(found)
    return Dataset(
        name="folder",
        root=root,
        labels=labels,
        framing=_framing(root, images),
        table=face_table(images, names, group=images, split=splits),
        open_image=functools.partial(open_below, root),
        problems=_loose(root, classes),
        source=SOURCE,
    )


def open_below(root: Path, locator: str) -> np.ndarray:
    """Open the picture of a locator below a folder: uint8, (H, W, 3) RGB.

    Raises:
        ImageError: the file is gone, lies outside the folder, or is no picture.
    """
    path = root / locator
    if ".." in Path(locator).parts or not path.is_file():
        raise ImageError(f"{path}: the picture is not there; was it moved after the dataset was read?")
    return load_image(path)


def _class_folders(root: Path) -> list[tuple[Path, str, str]]:
    """Return path, class and split of each class folder; below split folders where there are any.

    A folder counts if a picture lies in it, or if it is empty but named after a known class: that class is then missed by
    name, rather than silently left out.
    """
    split_folders = [
        (path, SPLIT_FOLDERS[path.name.lower()]) for path in folders(root) if path.name.lower() in SPLIT_FOLDERS
    ]
    found = [(path, canonical(path.name), split) for parent, split in split_folders for path in folders(parent)]
    if not any(has_pictures(path) for path, _, _ in found):
        found = [(path, canonical(path.name), "") for path in folders(root)]
    filled = [entry for entry in found if has_pictures(entry[0])]
    return [entry for entry in found if entry in filled or (filled and entry[1] in FERPLUS_LABELS)]


def _loose(root: Path, classes: list[tuple[Path, str, str]]) -> tuple[Problem, ...]:
    """Return a problem for each picture that lies beside the class folders instead of in one."""
    return tuple(
        Problem("no class", str(parent / name), "lies beside the class folders, not in one")
        for parent in sorted({root, *(path.parent for path, _, _ in classes)})
        for name in pictures(parent)
    )


def _framing(root: Path, images: list[str]) -> str:
    """Return ``crop`` or ``detector`` by the sizes of up to 100 pictures."""
    sides = [min(header_size(root / image)) for image in images[:: -(-len(images) // 100) or 1]]
    return "crop" if np.median([side for side in sides if side] or [0]) <= CROP_SIDE else "detector"
