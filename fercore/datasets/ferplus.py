"""FER+: ten annotators' votes for each face of FER2013, in ``fer2013new.csv``, which follows ``fer2013.csv`` row by row.

The label is the majority by the rules of the paper, as its authors' code has them (``majority`` mode):

1. of the ten columns (eight expressions, unknown, no face) those with a single vote are outliers and count as 0;
2. the column with the most votes wins if it has more than half of the votes that are left; otherwise there is no majority;
3. a face without a majority, or whose majority says unknown or no face, is left out, and so is a row without an image name.

The soft labels (``votes``) are the shares of the eight expressions among all votes for them, outliers included: what the
annotators said, before any rule.
"""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..labels import FERPLUS_LABELS, canonical
from . import fer2013
from .base import Dataset, Problem, face_table
from .files import places

WANTED = "fer2013new.csv (FER+) beside fer2013.csv (also .gz, .xz, .zip)"
LICENCE = f"FER+ votes: MIT licence of Microsoft; {fer2013.LICENCE}"
SOURCE = (
    "E. Barsoum, C. Zhang, C. Canton Ferrer, Z. Zhang: Training Deep Networks for Facial Expression Recognition with "
    "Crowd-Sourced Label Distribution, ICMI 2016"
)
VOTES_FILE = "fer2013new.csv"
CHOICES: tuple[str, ...] = (*FERPLUS_LABELS, "unknown", "nf")
"""What annotators could choose, in our order: the eight classes, unknown, and no face."""
_DROPPED = {
    -1: ("no majority", "no choice has more than half of the votes"),
    CHOICES.index("unknown"): ("unknown expression", "the majority cannot tell the expression"),
    CHOICES.index("nf"): ("no face", "the majority sees no face"),
}


@dataclasses.dataclass(frozen=True)
class Ballots:
    """The well-formed rows of a ``fer2013new.csv``."""

    row: np.ndarray
    """(M,) int64 row numbers, from 0 below the header: those of ``fer2013.csv``."""
    counts: np.ndarray
    """(M, 10) float64 votes in the order of ``CHOICES``."""
    split: list[str]
    named: np.ndarray
    """(M,) bool: False where the image name is empty, which marks a row that is no face."""


def find(data: Path) -> Path | None:
    """Return the ``fer2013new.csv`` of a folder that has FER2013 as a CSV file too; None where one of them is lacking."""
    if data.is_file():
        data = data.parent
    for place in places(data, "ferplus", "fer+", "fer2013"):
        if (place / VOTES_FILE).is_file() and _faces_of(place / VOTES_FILE):
            return place / VOTES_FILE
    return None


def read(path: Path) -> Dataset:
    """Read FER+ from its ``fer2013new.csv`` and the ``fer2013.csv`` beside it, or in the folder ``fer2013`` next to it.

    Each face that the rules leave out is a ``Problem`` of kind ``no majority``, ``unknown expression`` or ``no face``.

    Raises:
        DataError: FER2013 is not there, or a file cannot be read as what it should be.
    """
    faces = _faces_of(path)
    if faces is None:
        raise DataError(f"{path.parent}: FER+ is only the votes; it needs {WANTED}")
    rows = fer2013.read_rows(faces)
    problems = list(rows.problems)
    ballots = read_ballots(path, problems)
    at = {int(row): position for position, row in enumerate(ballots.row)}
    winners = np.where(ballots.named, majority(ballots.counts), CHOICES.index("nf"))
    kept: list[int] = []
    used: list[int] = []
    for position, row in enumerate(rows.row.tolist()):
        where = f"{path}:{row + 2}"
        ballot = at.get(row)
        if ballot is None:
            problems.append(Problem("missing votes", where, f"no usable votes for row {row} of {faces.name}"))
        elif ballots.split[ballot] != rows.split[position]:
            problems.append(Problem("usage mismatch", where, f"row {row} of {faces.name} is of another Usage"))
        elif int(winners[ballot]) in _DROPPED:
            problems.append(Problem(_DROPPED[int(winners[ballot])][0], where, _DROPPED[int(winners[ballot])][1]))
        else:
            kept.append(position)
            used.append(ballot)
    locators = [f"fer2013.csv#{row}" for row in rows.row[kept]]
    votes = ballots.counts[used, : len(FERPLUS_LABELS)]
    return Dataset(
        name="ferplus",
        root=faces.parent,
        labels=FERPLUS_LABELS,
        framing="crop",
        table=face_table(
            locators,
            [FERPLUS_LABELS[code] for code in winners[used]],
            group=locators,
            split=[rows.split[position] for position in kept],
        ),
        open_image=fer2013.opener(rows),
        problems=tuple(problems),
        votes=(votes / votes.sum(axis=1, keepdims=True)).astype(np.float32),
        licence=LICENCE,
        source=SOURCE,
    )


def majority(counts: np.ndarray) -> np.ndarray:
    """Return (M,) int64: the winning column of votes (M, 10) by the rules above, or -1 where there is no majority."""
    counted = np.where(np.asarray(counts) > 1, counts, 0)
    wins = counted.max(axis=1) > 0.5 * counted.sum(axis=1)
    return np.where(wins, counted.argmax(axis=1), -1)


def read_ballots(path: Path, problems: list[Problem]) -> Ballots:
    """Read the votes; rows that cannot be used are added to ``problems``.

    Raises:
        DataError: the file cannot be read or lacks a column.
    """
    row, counts, split, named = [], [], [], []
    try:
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as lines:
            reader = csv.reader(lines)
            header = [canonical(name) for name in next(reader, [])]
            lacking = [name for name in ("usage", "image name", *CHOICES) if name not in header]
            if lacking:
                raise DataError(f"{path}: no table of FER+ votes; its first line lacks {', '.join(lacking)}")
            columns = [header.index(name) for name in CHOICES]
            for number, fields in enumerate(filter(None, reader)):  # a blank line is no row
                where = f"{path}:{reader.line_num}"
                if len(fields) != len(header):
                    problems.append(Problem("malformed", where, f"{len(fields)} fields, {len(header)} expected"))
                    continue
                usage = fields[header.index("usage")].strip().lower()
                votes = [fields[column].strip() for column in columns]
                if not all(vote.isdecimal() for vote in votes) or not any(map(int, votes)):
                    problems.append(Problem("malformed", where, "votes must be whole numbers, and not all 0"))
                elif usage not in fer2013.USAGES:
                    problems.append(Problem("unknown usage", where, f"{usage[:20]!r} is not of FER2013"))
                else:
                    row.append(number)
                    counts.append([int(vote) for vote in votes])
                    split.append(fer2013.USAGES[usage])
                    named.append(bool(fields[header.index("image name")].strip()))
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as FER+ votes ({error}); fetch the file again") from error
    return Ballots(
        row=np.array(row, np.int64),
        counts=np.array(counts, np.float64).reshape(-1, len(CHOICES)),
        split=split,
        named=np.array(named, bool),
    )


def _faces_of(votes_file: Path) -> Path | None:
    """Return the CSV file of FER2013 that lies beside the votes, or in the folder ``fer2013`` next to theirs."""
    for folder in (votes_file.parent, votes_file.parent / "fer2013", votes_file.parent.parent / "fer2013"):
        for name in fer2013.FILES:
            if (folder / name).is_file():
                return folder / name
    return None
