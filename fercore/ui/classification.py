"""Photos that a visitor gives: classified in memory, drawn with their boxes, downloaded as JSON and CSV.

Nothing here writes to the disk or is shared between visitors: results live in the visitor's own session and go with it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections.abc import Sequence

import cv2
import numpy as np
import pandas as pd
import streamlit as st

from .. import images
from ..errors import ImageError
from ..inference import Face
from ..labels import colours, ink
from ..runs import Run
from . import loaders

LONGEST = 1280
"""Photos are shown with their longer side no longer than this many pixels."""
SHORTEST = 960
"""A JPEG is decoded for showing at a reduced scale while its shorter side keeps this many pixels."""
MOST_PHOTOS = 24
"""Photos that are answered at once."""
MOST_RUNS = 4
"""Runs that answer the same photo side by side."""
_SEATS = threading.BoundedSemaphore(max(2, os.cpu_count() or 2))
"""Photos that are worked on at the same time: more would be no sooner ready, and each takes its memory."""


@dataclasses.dataclass(frozen=True)
class Photo:
    """One photo and what the network makes of it."""

    name: str
    faces: tuple[Face, ...] = ()
    picture: bytes | None = None
    """The photo with numbered boxes, a JPEG; None where it could not be read."""
    error: str = ""
    run: str = ""
    """Whose answer this is, where several runs answer; empty where there is one."""


def by_runs(runs: Sequence[Run], head: str, name: str, data: bytes) -> list[Photo]:
    """Return what each run makes of a photo; one that lacks the head answers with its default one."""
    answers = [classify(run, head if head in run.heads else run.default_head, name, data) for run in runs]
    if len(runs) == 1:
        return answers
    return [dataclasses.replace(photo, run=run.name) for run, photo in zip(runs, answers, strict=True)]


def classify(run: Run, head: str, name: str, data: bytes) -> Photo:
    """Find and classify the faces of a photo; a photo that cannot be read becomes a ``Photo`` with an ``error``."""
    try:
        return dataclasses.replace(_classify(run.name, run.info["files"], head, data, _run=run), name=name)
    except ImageError as error:
        return Photo(name, error=str(error).removeprefix("uploaded bytes: "))


@st.cache_data(scope="session", max_entries=MOST_PHOTOS * MOST_RUNS, show_spinner="Looking for faces …")
def _classify(name: str, files: dict[str, str], head: str, data: bytes, *, _run: Run) -> Photo:
    with _SEATS:
        faces = loaders.predictor(_run, head).predict(data)
        pixels, reduced = images.load_scaled(data, SHORTEST)
        _, jpeg = cv2.imencode(".jpg", draw(pixels, faces, reduced)[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    return Photo("", tuple(faces), jpeg.tobytes())


def spoken(face: Face) -> str:
    """Return a face's label as a careful person says it: ``happy (91%)``, ``perhaps sad (31%)``."""
    return f"{'perhaps ' if face.uncertain else ''}{face.label} ({face.confidence:.0%})"


def describe(photo: Photo) -> str:
    """Return the description of a classified photo for those who do not see it."""
    if not photo.faces:
        return f"{photo.name}: no face found"
    return f"{photo.name} with {len(photo.faces)} marked: " + "; ".join(
        f"face {number} {spoken(face)}" for number, face in enumerate(photo.faces, 1)
    )


def draw(pixels: np.ndarray, faces: Sequence[Face], reduced: float = 1.0) -> np.ndarray:
    """Return a photo, scaled down to ``LONGEST``, with a numbered box around each face; an uncertain face's is dashed.

    ``reduced`` is the scale of the pixels, where they are those of a photo smaller than the faces were found in.
    """
    scale = min(1.0, LONGEST / max(pixels.shape[:2]))
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    canvas = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else pixels.copy()
    line = max(2, round(max(size) / 320))
    for number, face in enumerate(faces, 1):
        left, top, width, height = (round(value * scale * reduced) for value in face.box)
        shade = colours(face.probabilities)[face.label]
        colour = _rgb(shade)
        corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
        for start, end in zip(corners, [*corners[1:], corners[0]], strict=True):
            cv2.line(canvas, start, end, (255, 255, 255), line + 2, cv2.LINE_AA)
            for first, last in _strokes(start, end, 4 * line) if face.uncertain else [(start, end)]:
                cv2.line(canvas, first, last, colour, line, cv2.LINE_AA)
        _tag(canvas, (left, top), str(number), shade, line)
    return canvas


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue


def _strokes(
    start: tuple[int, int], end: tuple[int, int], length: int
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the dashes of a straight line, dash and gap about ``length`` pixels long."""
    count = max(1, round(max(abs(end[0] - start[0]), abs(end[1] - start[1])) / (2 * length)))
    points = np.rint(np.linspace(start, end, 2 * count + 1)).astype(int).tolist()
    return [(tuple(points[at]), tuple(points[at + 1])) for at in range(0, 2 * count, 2)]


def _tag(canvas: np.ndarray, corner: tuple[int, int], text: str, colour: str, line: int) -> None:
    """Write a number on the class's colour above a box's upper left corner, or inside the box at the picture's edge."""
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.25 * line
    (width, height), _ = cv2.getTextSize(text, font, scale, max(1, line // 2))
    pad = 2 * line
    wide, high = width + 2 * pad, height + 2 * pad
    left = min(max(0, corner[0] - line), max(0, canvas.shape[1] - wide))
    top = corner[1] - high if corner[1] >= high else max(0, corner[1])
    cv2.rectangle(canvas, (left, top), (left + wide, top + high), _rgb(colour), cv2.FILLED)
    cv2.putText(
        canvas, text, (left + pad, top + pad + height), font, scale, _rgb(ink(colour)), max(1, line // 2), cv2.LINE_AA
    )


def counted(several: Sequence[Sequence[Photo]]) -> str:
    """Return how much was found in several photos, each with the answers of one or more runs: ``9 faces in 4 photos``."""
    faces, photos = sum(len(answers[0].faces) for answers in several), len(several)
    return f"{faces:,} {'face' if faces == 1 else 'faces'} in {photos} {'photo' if photos == 1 else 'photos'}"


def summary(photos: Sequence[Photo]) -> pd.DataFrame:
    """Return a row a photo, and a run where several answer: its faces and what they show, or why it cannot be read."""
    return pd.DataFrame(
        [
            {
                "Photo": photo.name,
                **({"Run": photo.run} if photo.run else {}),
                "Faces": len(photo.faces),
                "Expressions": f"cannot be read: {photo.error}"
                if photo.error
                else ", ".join(map(spoken, photo.faces)) or "no face found",
            }
            for photo in photos
        ]
    )


def as_json(photos: Sequence[Photo]) -> str:
    """Return what ``python -m fercore predict --json`` says of the photos, as one JSON list; with several runs, of each."""
    rows = [
        {"image": photo.name}
        | ({"run": photo.run} if photo.run else {})
        | ({"error": photo.error} if photo.error else {"faces": [face.to_dict() for face in photo.faces]})
        for photo in photos
    ]
    return json.dumps(rows, indent=1) + "\n"


def as_table(photos: Sequence[Photo]) -> pd.DataFrame:
    """Return a row a face: image, face, left, top, width, height, score, label, confidence, uncertain, a column a class."""
    rows = []
    for photo in photos:
        for number, face in enumerate(photo.faces, 1):
            values = face.to_dict()
            box = dict(zip(("left", "top", "width", "height"), values.pop("box"), strict=True))
            probs = {f"p_{label}": value for label, value in values.pop("probabilities").items()}
            whose = {"run": photo.run} if photo.run else {}
            rows.append({"image": photo.name, **whose, "face": number, **box, **values, **probs})
    return pd.DataFrame(rows)
