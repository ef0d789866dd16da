"""JAFFE: 213 grey portraits of ten Japanese women, all in one folder: ``KA.AN1.39.tiff``.

The name holds subject (KA), expression (AN angry, DI disgust, FE fear, HA happy, NE neutral, SA sad, SU surprise) with the
number of the take, and the number of the picture. Splits go by subject. The portraits of 256x256 show head and shoulders, so
a detector frames the face (framing ``detector``); there are no labelled boxes.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

from ..labels import LABELS, canonical
from .base import Dataset, Problem, face_table
from .files import folders, pictures, places
from .folder import open_below

WANTED = "a folder of pictures called KA.AN1.39.tiff"
LICENCE = "JAFFE may be used for non-commercial research; its pictures must not be passed on"
SOURCE = (
    "M. J. Lyons, S. Akamatsu, M. Kamachi, J. Gyoba: Coding Facial Expressions with Gabor Wavelets, "
    "IEEE International Conference on Automatic Face and Gesture Recognition, 1998"
)
_NAME = re.compile(r"([A-Z]{2})\.([A-Z]{2})(\d+)\.(\d+)\.\w+", re.IGNORECASE)


def parse_name(name: str) -> tuple[str, str] | None:
    """Return subject and label of a file name, such as ``("KA", "angry")``; an unknown expression is returned as it stands.

    None for a name of another form.
    """
    match = _NAME.fullmatch(name)
    return (match[1].upper(), canonical(match[2])) if match else None


def find(data: Path) -> Path | None:
    """Return the folder of the portraits: ``data``, its ``jaffe`` or ``jaffedbase``, or a folder in one of those; else None."""
    named = places(data, "jaffe", "jaffedbase")
    for place in (*named, *(inner for outer in named[1:] for inner in folders(outer))):
        if any(parse_name(name) for name in pictures(place)):
            return place
    return None


def read(root: Path) -> Dataset:
    """Read the portraits; a name of another form or with an unknown expression becomes a ``Problem``."""
    problems: list[Problem] = []
    images: list[str] = []
    subjects: list[str] = []
    labels: list[str] = []
    for name in pictures(root):
        parsed = parse_name(name)
        if parsed is None:
            problems.append(Problem("malformed", str(root / name), "the name is not SUBJECT.EXPRESSION.NUMBER"))
        elif parsed[1] not in LABELS:
            problems.append(
                Problem("unknown label", str(root / name), f"{parsed[1].upper()!r} is not AN, DI, FE, HA, NE, SA or SU")
            )
        else:
            images.append(name)
            subjects.append(parsed[0])
            labels.append(parsed[1])
    return Dataset(
        name="jaffe",
        root=root,
        labels=LABELS,
        framing="detector",
        table=face_table(images, labels, group=subjects),
        open_image=functools.partial(open_below, root),
        problems=tuple(problems),
        licence=LICENCE,
        source=SOURCE,
    )
