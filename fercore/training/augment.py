"""Random changes of a training face, reproducible from a random generator.

The geometric part moves the square that ``preprocess.cut`` reads, so that a face is resampled once, by the same code as in
serving.
"""

from __future__ import annotations

import cv2
import numpy as np

from .. import preprocess
from .recipe import Augmentation

SMALLEST = 24
"""Pixels to which ``downscale`` may reduce a face."""


def augment(crop: np.ndarray, side: float, size: int, options: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Return a changed face.

    Args:
        crop: uint8 (C, C) grey, the face square in its middle.
        side: side of that square in pixels of ``crop``.
        size: side of the result.
        options: how far to go.
        rng: the only source of chance; always the same number of draws, so that options do not shift each other's.

    Returns:
        uint8 (size, size).
    """
    draws = rng.uniform(-1, 1, 8)
    chances = rng.uniform(0, 1, 3)
    rectangle = rng.uniform(0, 1, 4)
    noise = int(rng.integers(2**63))
    middle = crop.shape[0] / 2
    square = (
        middle + draws[0] * options.shift * side,
        middle + draws[1] * options.shift * side,
        side * (1 + draws[2] * options.scale),
    )
    face = preprocess.cut(crop, square, size, angle=draws[3] * options.rotate)
    if options.flip and chances[0] < 0.5:
        face = face[:, ::-1]
    if options.downscale and chances[1] < options.downscale:
        small = int(SMALLEST + (size * 0.75 - SMALLEST) * (draws[4] + 1) / 2)
        face = cv2.resize(np.ascontiguousarray(face), (small, small), interpolation=cv2.INTER_AREA)
        face = cv2.resize(face, (size, size), interpolation=cv2.INTER_LINEAR)
    if options.gamma or options.contrast or options.brightness:
        face = _tones(options, draws[5:8])[face]
    if options.erase and chances[2] < options.erase:
        face = _erase(face, rectangle, np.random.default_rng(noise))
    return np.ascontiguousarray(face)


def _tones(options: Augmentation, draws: np.ndarray) -> np.ndarray:
    """Return the table (256,) uint8 of a random change of gamma, contrast and brightness."""
    grey = np.linspace(0, 1, 256) ** np.exp(draws[0] * options.gamma)
    grey = (grey - 0.5) * (1 + draws[1] * options.contrast) + 0.5 + draws[2] * options.brightness
    return np.clip(grey * 255 + 0.5, 0, 255).astype(np.uint8)


def _erase(face: np.ndarray, rectangle: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cover a rectangle of 2 to 20% of the face, of aspect 0.3 to 3.3, with noise."""
    size = face.shape[0]
    area = (0.02 + 0.18 * rectangle[0]) * size * size
    aspect = np.exp(np.log(3.3) * (2 * rectangle[1] - 1))
    height = int(min(size, max(1, np.sqrt(area * aspect))))
    width = int(min(size, max(1, np.sqrt(area / aspect))))
    top = int(rectangle[2] * (size - height + 1))
    left = int(rectangle[3] * (size - width + 1))
    face = face.copy()
    face[top : top + height, left : left + width] = rng.integers(0, 256, (height, width), dtype=np.uint8)
    return face
