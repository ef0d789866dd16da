"""CK+ (extended Cohn-Kanade) as the 48x48 crops that many papers use: ``CK+48/<class>/S010_004_00000017.png``.

The name holds subject, sequence and frame. The last three frames of each sequence are there and look alike, and so do the
sequences of one subject: splits go by subject. There is no neutral, and contempt comes last.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from ..labels import FERPLUS_LABELS, ordered
from .base import Dataset, Problem
from .files import folders, pictures, places
from .folder import read_tree

WANTED = "CK+48/<class>/ with pictures called S010_004_00000017.png"
LICENCE = "CK+ was released for research; the terms of the Affect Analysis Group, Pittsburgh, apply"
SOURCE = (
    "P. Lucey, J. F. Cohn, T. Kanade, J. Saragih, Z. Ambadar, I. Matthews: The Extended Cohn-Kanade Dataset (CK+), "
    "CVPR Workshops 2010"
)
_NAME = re.compile(r"(S\d+)_(\d+)_(\d+)\.\w+", re.IGNORECASE)


def parse_name(name: str) -> tuple[str, str, int] | None:
    """Return subject, sequence and frame of a file name, such as ``("S010", "004", 17)``; None for any other name."""
    match = _NAME.fullmatch(name)
    return (match[1].upper(), match[2], int(match[3])) if match else None


def find(data: Path) -> Path | None:
    """Return the folder of the class folders: ``data`` itself, its ``CK+48``, or those of its ``ckplus``; else None."""
    for place in places(data, "CK+48", "ckplus", "ck+", "ck"):
        for root in places(place, "CK+48"):
            if any(parse_name(name) for folder in folders(root) for name in pictures(folder)):
                return root
    return None


def read(root: Path) -> Dataset:
    """Read the crops from the folder of the class folders; ``labels`` are the classes that are there.

    Raises:
        DataError: fewer than two classes.
    """
    tree = read_tree(root)
    problems = list(tree.problems)
    groups: list[str] = []
    keep: list[bool] = []
    for image, label in zip(tree.table["image"], tree.table["label"], strict=True):
        parsed = parse_name(image.rpartition("/")[2])
        if parsed is None:
            problems.append(Problem("malformed", str(root / image), "the name is not SUBJECT_SEQUENCE_FRAME"))
        elif label not in FERPLUS_LABELS:
            problems.append(Problem("unknown label", str(root / image), f"{label!r} is no class of CK+"))
        groups.append(parsed[0] if parsed else "")
        keep.append(parsed is not None and label in FERPLUS_LABELS)
    table = tree.table.assign(group=groups, split="")[keep].reset_index(drop=True)
    return dataclasses.replace(
        tree,
        name="ckplus",
        labels=ordered(label for label in tree.labels if label in FERPLUS_LABELS),
        framing="crop",
        table=table,
        problems=tuple(problems),
        licence=LICENCE,
        source=SOURCE,
    )
