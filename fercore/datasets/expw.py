"""Expression in-the-Wild (ExpW): photos from the web with a labelled box a face, in its official layout.

``label.lst`` has a face a line, eight fields: image name, face number, top, left, right, bottom, confidence of the box and
label (0 angry, 1 disgust, 2 fear, 3 happy, 4 sad, 5 surprise, 6 neutral). It lies beside the photos or in ``label/``; the
photos lie in ``images/``, ``Images/`` or ``image/origin/``. The locator is ``images/NAME`` whichever it is, so that the
predictions of a run find their photos in every copy.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..images import load_image
from ..labels import LABELS
from .base import Dataset, Problem, face_table
from .files import picture_sizes, places

WANTED = "label.lst (or label/label.lst) and the photos in images/, Images/ or image/origin/"
LICENCE = "ExpW was released for research; the photos belong to their owners"
SOURCE = (
    "Z. Zhang, P. Luo, C. C. Loy, X. Tang: From Facial Expression Recognition to Interpersonal Relation Prediction, "
    "International Journal of Computer Vision 126, 2018"
)
LABEL_FILES = ("label.lst", "label/label.lst")
IMAGE_FOLDERS = ("images", "Images", "image/origin", "origin")


def find(data: Path) -> Path | None:
    """Return the folder of the dataset: ``data`` itself or its ``expw`` folder; None where there is no ``label.lst``."""
    if data.name == "label.lst" and data.is_file():
        return data.parent.parent if data.parent.name == "label" else data.parent
    for place in places(data, "expw"):
        if any((place / name).is_file() for name in LABEL_FILES):
            return place
    return None


def read(root: Path) -> Dataset:
    """Read the dataset from its folder; the photos are not opened, but for their sizes (headers, once, then cached).

    A box that is partly outside its photo is kept as it is labelled; one that is wholly outside cannot be used. Of lines with
    the same photo and face number the first counts.

    Raises:
        DataError: the label file or the folder of photos is not there.
    """
    label_file = next((root / name for name in LABEL_FILES if (root / name).is_file()), None)
    photos = next((root / name for name in IMAGE_FOLDERS if (root / name).is_dir()), None)
    if label_file is None or photos is None:
        lacking = "label.lst" if label_file is None else "the folder of photos (images/)"
        raise DataError(f"{root}: ExpW lacks {lacking}; it needs {WANTED}")
    problems: list[Problem] = []
    faces = list(_faces(label_file, problems))
    sizes = picture_sizes(photos, {name for _, name, *_ in faces})
    fitting = (face for face in faces if _fits(face, sizes, label_file, photos, problems))
    kept = list(_first_lines(fitting, label_file, problems))
    problems.sort(key=lambda problem: int(problem.where.rpartition(":")[2]))
    names = [name for _, name, *_ in kept]
    table = face_table(
        [f"images/{name}" for name in names],
        [LABELS[label] for *_, label in kept],
        group=[f"images/{name}" for name in names],
        face_id=[number for _, _, number, _, _ in kept],
        boxes=np.array([box for _, _, _, box, _ in kept], np.float64).reshape(-1, 4),
    )
    return Dataset(
        name="expw",
        root=root,
        labels=LABELS,
        framing="expw",
        table=table,
        open_image=functools.partial(_open, photos),
        place=functools.partial(_file, photos),
        problems=tuple(problems),
        licence=LICENCE,
        source=SOURCE,
    )


Face = tuple[int, str, int, tuple[float, float, float, float], int]
"""Line number, image name, face number, box (left, top, width, height), class number."""


def _faces(label_file: Path, problems: list[Problem]) -> Iterator[Face]:
    """Yield the well-formed lines of a label file; the others become problems."""
    with open(label_file, encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            fields = line.split()
            if not fields:
                continue
            where = f"{label_file}:{number}"
            if len(fields) != 8:
                problems.append(Problem("malformed", where, f"{len(fields)} fields, 8 expected"))
                continue
            name, label = fields[0], fields[7]
            try:
                face = int(fields[1])
                top, left, right, bottom, _ = (float(field) for field in fields[2:7])
            except ValueError:
                problems.append(Problem("malformed", where, f"a field is not a number: {' '.join(fields[1:7])[:80]}"))
                continue
            if not all(map(math.isfinite, (top, left, right, bottom))):
                problems.append(Problem("malformed", where, f"a box needs finite numbers: {' '.join(fields[2:6])}"))
            elif not (label.isdecimal() and int(label) < len(LABELS)):
                problems.append(Problem("unknown label", where, f"{label[:20]!r} is not one of 0 to {len(LABELS) - 1}"))
            elif right <= left or bottom <= top:
                problems.append(
                    Problem("empty box", where, f"left {left:g}, top {top:g}, right {right:g}, bottom {bottom:g}")
                )
            else:
                yield number, name, face, (left, top, right - left, bottom - top), int(label)


def _fits(
    face: Face, sizes: dict[str, tuple[int, int]], label_file: Path, photos: Path, problems: list[Problem]
) -> bool:
    """Return whether the photo is there and holds at least a part of the box; otherwise add a problem."""
    number, name, _, (left, top, width, height), _ = face
    where = f"{label_file}:{number}"
    if name not in sizes:
        problems.append(Problem("missing image", where, f"{photos.name}/{name} is not there"))
        return False
    across, down = sizes[name]
    if not across:
        problems.append(Problem("unreadable image", where, f"{photos.name}/{name} is no picture"))
        return False
    if left >= across or top >= down or left + width <= 0 or top + height <= 0:
        box = f"left {left:g}, top {top:g}, width {width:g}, height {height:g}"
        problems.append(Problem("box outside", where, f"{box} in a photo of {across}x{down}"))
        return False
    return True


def _first_lines(faces: Iterable[Face], label_file: Path, problems: list[Problem]) -> Iterator[Face]:
    """Yield each face of a photo once, as its first usable line has it; the lines that repeat it become problems."""
    lines: dict[tuple[str, int], int] = {}
    for face in faces:
        number, name, of_photo, _, _ = face
        first = lines.setdefault((name, of_photo), number)
        if first == number:
            yield face
        else:
            what = f"face {of_photo} of {name} stands on line {first} already"
            problems.append(Problem("duplicate line", f"{label_file}:{number}", what))


def _file(photos: Path, locator: str) -> Path:
    return photos / locator.removeprefix("images/")


def _open(photos: Path, locator: str) -> np.ndarray:
    return load_image(_file(photos, locator))
