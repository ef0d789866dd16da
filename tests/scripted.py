"""A predictor whose answers a test writes down, and small videos: what the stream and its timeline are tested with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from fercore.inference import Face
from fercore.labels import LABELS
from fercore.runs import Head

Box = tuple[float, float, float, float]
BOX: Box = (100.0, 80.0, 60.0, 60.0)
BLANK = np.zeros((240, 320, 3), np.uint8)


def towards(label: str, probability: float = 0.76, labels: Sequence[str] = LABELS) -> np.ndarray:
    """Return probabilities (K,) with this much on one label and the rest spread evenly."""
    row = np.full(len(labels), (1 - probability) / (len(labels) - 1))
    row[labels.index(label)] = probability
    return row


def write_clip(path: Path, frames: Iterable[np.ndarray], *, fps: float = 25.0, codec: str = "MJPG") -> Path:
    """Write RGB frames of one size as a video, with OpenCV alone."""
    frames = list(frames)
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), fps, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[:, :, ::-1]))
    writer.release()
    return path


class ScriptedPredictor:
    """Gives the next list of (box, probabilities) at each call, whatever the picture."""

    def __init__(
        self, script: Iterable[list[tuple[Box, np.ndarray]]], *, threshold: float = 0.3, labels: Sequence[str] = LABELS
    ) -> None:
        self.labels = tuple(labels)
        self.head = Head("consensus", self.labels, threshold=threshold)
        self.seen: list[np.ndarray] = []
        self._script = iter(script)

    def predict(self, image: np.ndarray, *, turn: bool = True) -> list[Face]:
        self.seen.append(image)
        return [self._face(box, np.asarray(row, float)) for box, row in next(self._script)]

    def _face(self, box: Box, row: np.ndarray) -> Face:
        best = int(row.argmax())
        return Face(
            box=box,
            score=0.9,
            label=self.labels[best],
            confidence=float(row[best]),
            probabilities=dict(zip(self.labels, row.tolist(), strict=True)),
            uncertain=bool(row[best] < self.head.threshold),
        )
