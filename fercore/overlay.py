"""Draw faces on a frame: a box and a label in the class's colour, and the probabilities as bars beside the face."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .labels import colours as class_colours

if TYPE_CHECKING:
    from .stream import TrackedFace

_UNLABELLED = "#555555"
_PANEL = (24, 24, 27)
_PANEL_WEIGHT = 0.72
_TRACK = (88, 88, 96)
_INK = (240, 240, 240)
_MOST_PANELS = 3


@dataclasses.dataclass(frozen=True)
class Mark:
    """What is drawn of a face; a ``stream.TrackedFace`` has these attributes too."""

    id: int
    box: tuple[float, ...]
    """Left, top, width, height in pixels."""
    label: str | None
    confidence: float
    probabilities: dict[str, float]


Rectangle = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""


def draw(frame: np.ndarray, faces: Iterable[Mark | TrackedFace]) -> np.ndarray:
    """Return a copy of a frame with its faces marked.

    Boxes carry the label, its probability and, where there are several faces, the number of the face. The bars stand where
    they cover neither another face nor each other, so a face may have none; with more than three faces there are none at all.
    Text grows with the frame.

    Args:
        frame: RGB uint8 (H, W, 3).
        faces: for instance those of ``ExpressionStream.update``.

    Returns:
        RGB uint8 (H, W, 3).
    """
    faces = sorted(faces, key=lambda face: -face.box[2] * face.box[3])
    canvas = np.ascontiguousarray(frame).copy()
    font, size = cv2.FontFace("sans"), max(11, round(0.03 * min(frame.shape[:2])))
    boxes = [_rectangle(face.box) for face in faces]
    taken = []
    for face, box in zip(faces, boxes, strict=True):
        colour = _rgb(class_colours(face.probabilities).get(face.label, _UNLABELLED))
        _draw_box(canvas, box, colour, size)
        taken.append(_draw_tag(canvas, box, _caption(face, several=len(faces) > 1), colour, font, size))
    for number, (face, box) in enumerate(zip(faces, boxes, strict=True)):
        others = taken + boxes[:number] + boxes[number + 1 :]
        place = next(_places(canvas, box, face, others, font, size), None) if len(faces) <= _MOST_PANELS else None
        if place:
            taken.append(place)
            _draw_panel(canvas, place, face, font, size)
    return canvas


def _caption(face: Mark | TrackedFace, *, several: bool) -> str:
    number = f"{face.id}  " if several else ""
    return f"{number}{face.label} {face.confidence:.0%}" if face.label is not None else f"{number}?"


def _draw_box(canvas: np.ndarray, box: Rectangle, colour: tuple[int, int, int], size: int) -> None:
    """Draw a box with a thin dark edge, which keeps it visible on any ground."""
    line = max(2, size // 6)
    cv2.rectangle(canvas, box[:2], box[2:], (0, 0, 0), line + 2, cv2.LINE_AA)
    cv2.rectangle(canvas, box[:2], box[2:], colour, line, cv2.LINE_AA)


def _draw_tag(
    canvas: np.ndarray, box: Rectangle, text: str, colour: tuple[int, int, int], font: cv2.FontFace, size: int
) -> Rectangle:
    """Write the caption on the class's colour, on top of the box, or inside it at the frame's edge; return where."""
    left, top = box[:2]
    width, height = _text_width(text, font, size, 650) + size, round(1.6 * size)
    left = min(max(0, left - 1), max(0, canvas.shape[1] - width))
    top = max(0, top - height) if top >= height else max(0, top)
    cv2.rectangle(canvas, (left, top), (left + width, top + height), colour, cv2.FILLED)
    ink = (0, 0, 0) if _luminance(colour) > 0.179 else (255, 255, 255)  # whichever has more contrast (WCAG 2)
    cv2.putText(canvas, text, (left + size // 2, top + round(1.17 * size)), ink, font, size, 650)
    return left, top, left + width, top + height


def _panel_size(face: Mark | TrackedFace, font: cv2.FontFace, size: int) -> tuple[int, int, int]:
    """Return width and height of a face's bars, and the width of their names."""
    names = max((_text_width(label, font, _small(size), 700) for label in face.probabilities), default=0)
    return names + round(6.5 * size), round((len(face.probabilities) * 1.25 + 0.7) * size), names


def _places(
    canvas: np.ndarray, box: Rectangle, face: Mark | TrackedFace, others: list[Rectangle], font: cv2.FontFace, size: int
) -> Iterator[Rectangle]:
    """Yield where the bars may stand: right, left, below, above, and for a face that fills the frame in its corner."""
    height, width = canvas.shape[:2]
    wide, high, _ = _panel_size(face, font, size)
    left, top, right, bottom = box
    gap = size // 2
    level = min(max(0, top), max(0, height - high))
    start = min(max(0, left), max(0, width - wide))
    above = top - round(1.6 * size) - gap - high
    for x, y in ((right + gap, level), (left - gap - wide, level), (start, bottom + gap), (start, above)):
        place = (x, y, x + wide, y + high)
        inside = x >= 0 and y >= 0 and x + wide <= width and y + high <= height
        if inside and not any(_overlap(place, other) for other in others):
            yield place
    if bottom - top > height // 2:  # a face that fills the frame
        corner = (gap, height - high - gap, gap + wide, height - gap)
        if corner[1] >= 0 and corner[2] <= width // 2 and not any(_overlap(corner, other) for other in others):
            yield corner


def _draw_panel(canvas: np.ndarray, panel: Rectangle, face: Mark | TrackedFace, font: cv2.FontFace, size: int) -> None:
    """Draw a row for each label: its name, and a bar as long as its probability."""
    left, top, right, bottom = panel
    part = canvas[top:bottom, left:right]
    part[:] = cv2.addWeighted(part, 1 - _PANEL_WEIGHT, np.full_like(part, _PANEL), _PANEL_WEIGHT, 0)
    names = _panel_size(face, font, size)[2]
    start, end = left + names + round(1.2 * size), right - round(0.6 * size)
    colours = class_colours(face.probabilities)
    for row, (label, probability) in enumerate(face.probabilities.items()):
        baseline = top + round((row * 1.25 + 1.25) * size)
        bar_top, bar_bottom = baseline - round(0.62 * size), baseline - round(0.02 * size)
        weight = 700 if label == face.label else 400
        cv2.putText(canvas, label, (left + round(0.6 * size), baseline), _INK, font, _small(size), weight)
        cv2.rectangle(canvas, (start, bar_top), (end, bar_bottom), _TRACK, cv2.FILLED)
        length = round((end - start) * min(max(probability, 0.0), 1.0))
        if length:
            cv2.rectangle(canvas, (start, bar_top), (start + length, bar_bottom), _rgb(colours[label]), cv2.FILLED)


def _small(size: int) -> int:
    return max(10, round(0.85 * size))


def _text_width(text: str, font: cv2.FontFace, size: int, weight: int) -> int:
    return cv2.getTextSize((0, 0), text, (0, 0), font, size, weight)[2]


def _rectangle(box: Sequence[float]) -> Rectangle:
    left, top, width, height = box
    return round(left), round(top), round(left + width), round(top + height)


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: tuple[int, int, int]) -> float:
    """Return WCAG 2's relative luminance, 0 to 1."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in np.array(colour) / 255]
    return float(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
