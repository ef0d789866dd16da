"""FER2013: 35,887 grey faces of 48x48 pixels, as one CSV file or as Kaggle's folders of pictures.

``fer2013.csv`` (also ``.gz``, ``.xz``, ``.zip``) has the columns ``emotion`` (0 angry, 1 disgust, 2 fear, 3 happy, 4 sad,
5 surprise, 6 neutral), ``pixels`` (2,304 numbers) and ``Usage``: Training is train, PublicTest validation, PrivateTest test.
The file is parsed once into the cache (seconds) and memory-mapped from then on; a locator is ``fer2013.csv#ROW``, counted
from 0 below the header.

The folders are ``train/<class>/`` and ``test/<class>/``. Kaggle's ``test/`` holds both test sets: pictures that are called
``PublicTest_...`` go to validation, all others of ``test/`` to test; where none is, validation is cut from train.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..labels import LABELS, canonical
from .base import Dataset, Problem, face_table
from .files import file_key, folders, has_pictures, load_array, places, save_array
from .folder import read_tree

WANTED = "fer2013.csv (also .gz, .xz, .zip), or the folders train/<class>/ and test/<class>/"
LICENCE = "FER2013 was released for research; the pictures belong to their owners"
SOURCE = (
    "I. J. Goodfellow et al.: Challenges in Representation Learning: A report on three machine learning contests, "
    "ICONIP 2013"
)
FILES = ("fer2013.csv", "fer2013.csv.xz", "fer2013.csv.gz", "fer2013.csv.zip", "fer2013.zip")
USAGES = {"training": "train", "publictest": "validation", "privatetest": "test"}
SIDE = 48
_SPLITS = tuple(USAGES.values())


@dataclasses.dataclass(frozen=True)
class Rows:
    """The usable rows of a ``fer2013.csv``."""

    pixels: np.ndarray
    """(N, 48, 48) uint8, memory-mapped where they come from the cache."""
    row: np.ndarray
    """(N,) int64 row numbers in the file, from 0 below the header."""
    emotion: np.ndarray
    """(N,) int64 class numbers in the order of ``LABELS``."""
    split: list[str]
    """(N,) split names."""
    problems: tuple[Problem, ...]


def find(data: Path) -> Path | None:
    """Return the CSV file, or the folder that holds ``train/`` and ``test/``; None where there is neither."""
    if data.is_file():
        return data if any(part in (".csv", ".zip") for part in map(str.lower, data.suffixes)) else None
    around = places(data, "fer2013")
    for place in around:
        for name in FILES:
            if (place / name).is_file():
                return place / name
    for place in around:
        classes = [
            folder.name for split in ("train", "test") for folder in folders(place / split) if has_pictures(folder)
        ]
        found = set(map(canonical, classes))
        if (
            (place / "test").is_dir() and len(found) >= 5 and found <= set(LABELS)
        ):  # a class may be lacking: read says so
            return place
    return None


def read(path: Path) -> Dataset:
    """Read the dataset from its CSV file or from the folder that holds ``train/`` and ``test/``.

    Raises:
        DataError: the file is no FER2013 table.
    """
    if path.is_dir():
        tree = read_tree(path)
        public = tree.table["image"].str.rpartition("/")[2].str.startswith("PublicTest_") & (
            tree.table["split"] == "test"
        )
        split = tree.table["split"].mask(public, "validation")
        return dataclasses.replace(
            tree.with_splits(split.to_numpy()),
            name="fer2013",
            labels=LABELS,
            framing="crop",
            licence=LICENCE,
            source=SOURCE,
        )
    rows = read_rows(path)
    locators = [f"fer2013.csv#{row}" for row in rows.row]
    table = face_table(locators, [LABELS[code] for code in rows.emotion], group=locators, split=rows.split)
    return Dataset(
        name="fer2013",
        root=path.parent,
        labels=LABELS,
        framing="crop",
        table=table,
        open_image=opener(rows),
        problems=rows.problems,
        licence=LICENCE,
        source=SOURCE,
    )


def opener(rows: Rows) -> functools.partial[np.ndarray]:
    """Return the function that gives the (48, 48) uint8 pixels of a locator ``fer2013.csv#ROW``."""
    return functools.partial(_open, rows.pixels, {int(row): position for position, row in enumerate(rows.row)})


def read_rows(path: Path) -> Rows:
    """Read the rows of a ``fer2013.csv``, compressed or not, from the cache if it has been parsed before.

    A row with another number of pixels than 2,304, a value outside 0 to 255, an emotion outside 0 to 6 or an unknown usage
    becomes a ``Problem``.

    Raises:
        DataError: the file cannot be read or has no columns ``emotion``, ``pixels`` and ``Usage``.
    """
    key = f"fer2013-{file_key(path)}"
    pixels, facts, told = (load_array(f"{key}-{part}") for part in ("pixels", "facts", "problems"))
    if pixels is None or facts is None or told is None or len(pixels) != len(facts):
        pixels, facts, problems = _parse(path)
        told = np.frombuffer(json.dumps([dataclasses.astuple(problem) for problem in problems]).encode(), np.uint8)
        for part, array in (("pixels", pixels), ("facts", facts), ("problems", told)):
            save_array(f"{key}-{part}", array)
    return Rows(
        pixels=pixels,
        row=np.asarray(facts[:, 0]),
        emotion=np.asarray(facts[:, 1]),
        split=[_SPLITS[usage] for usage in facts[:, 2]],
        problems=tuple(Problem(*fields) for fields in json.loads(told.tobytes())),
    )


def _parse(path: Path) -> tuple[np.ndarray, np.ndarray, list[Problem]]:
    """Return pixels (N, 48, 48) uint8, facts (N, 3) int64 (row, emotion, usage) and the rows that cannot be used."""
    pixels, facts, problems = bytearray(), [], []
    usages = list(USAGES)
    try:
        with _lines(path) as lines:
            header = [name.lower() for name in _fields(next(lines, ""))]
            try:
                at_emotion, at_pixels, at_usage = (header.index(name) for name in ("emotion", "pixels", "usage"))
            except ValueError:
                raise DataError(
                    f"{path}: no FER2013 table; its first line must name emotion, pixels and Usage"
                ) from None
            row = -1
            for number, line in enumerate(lines, start=2):
                if not line.strip():
                    continue
                row += 1
                where = f"{path}:{number}"
                fields = _fields(line)
                if len(fields) != len(header):
                    problems.append(Problem("malformed", where, f"{len(fields)} fields, {len(header)} expected"))
                    continue
                emotion, usage = fields[at_emotion], fields[at_usage].lower()
                face = _face(fields[at_pixels])
                if face is None:
                    problems.append(Problem("malformed", where, "pixels must be whole numbers from 0 to 255"))
                elif len(face) != SIDE * SIDE:
                    problems.append(Problem("malformed", where, f"{len(face)} pixels, {SIDE * SIDE} expected"))
                elif not (emotion.isdecimal() and int(emotion) < len(LABELS)):
                    problems.append(Problem("unknown label", where, f"emotion {emotion[:20]!r} is not one of 0 to 6"))
                elif usage not in USAGES:
                    problems.append(
                        Problem("unknown usage", where, f"{usage[:20]!r} is not Training, PublicTest or PrivateTest")
                    )
                else:
                    pixels += face.astype(np.uint8).tobytes()
                    facts.append((row, int(emotion), usages.index(usage)))
    except (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as FER2013 ({error}); fetch the file again") from error
    array = np.frombuffer(pixels, np.uint8).reshape(-1, SIDE, SIDE)
    return array, np.array(facts, np.int64).reshape(-1, 3), problems


def _fields(line: str) -> list[str]:
    """Return the fields of a line; no field of this table holds a comma, so that splitting is enough, and far quicker."""
    return [field.strip(' "\r\n') for field in line.split(",")]


def _face(text: str) -> np.ndarray | None:
    """Return the numbers of a ``pixels`` field (int64), or None where one is not a whole number from 0 to 255."""
    try:
        face = np.fromstring(text, dtype=np.int64, sep=" ")
    except ValueError:
        return None
    return face if ((face >= 0) & (face <= 255)).all() else None


@contextmanager
def _lines(path: Path) -> Iterator[io.TextIOBase]:
    """Open a CSV file, whatever its compression, as text."""
    ending = path.suffix.lower()
    if ending == ".zip":
        with zipfile.ZipFile(path) as archive:
            tables = [name for name in archive.namelist() if Path(name).name.lower() == "fer2013.csv"]
            if not tables:
                raise DataError(f"{path}: the archive holds no fer2013.csv")
            with io.TextIOWrapper(archive.open(tables[0]), encoding="utf-8-sig", errors="replace") as file:
                yield file
        return
    opened = {".gz": gzip.open, ".xz": lzma.open}.get(ending, open)
    with opened(path, "rt", encoding="utf-8-sig", errors="replace") as file:
        yield file


def _open(pixels: np.ndarray, positions: dict[int, int], locator: str) -> np.ndarray:
    number = locator.rpartition("#")[2]
    if not number.isdecimal() or int(number) not in positions:
        raise DataError(f"{locator}: no usable row of that number in fer2013.csv")
    return np.array(pixels[positions[int(number)]])
