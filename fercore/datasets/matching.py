"""Labelled boxes matched to what our detector finds, so that networks train on the boxes that serving will use."""

from __future__ import annotations

import hashlib

import numpy as np

from ..errors import FerError
from ..faces import Detector
from .base import Dataset
from .crops import Progress, pictures_key
from .files import load_array, save_array

NEAR = 0.5
"""A detection matches a label whose centre is nearer than this share of the label box's size ..."""
RATIO = 2.5
"""... and whose size differs by less than this factor."""


def match(labelled: np.ndarray, detected: np.ndarray) -> np.ndarray:
    """Assign detections to labelled boxes of one picture, nearest pairs first, each used once.

    Args:
        labelled: (N, 4) left, top, width, height.
        detected: (M, 4) likewise.

    Returns:
        (N,) index of the detection, -1 where none matches.
    """
    result = np.full(len(labelled), -1)
    if not len(labelled) or not len(detected):
        return result
    size = np.sqrt(labelled[:, 2] * labelled[:, 3])
    found = np.sqrt(detected[:, 2] * detected[:, 3])
    centres = labelled[:, None, :2] + labelled[:, None, 2:] / 2 - detected[None, :, :2] - detected[None, :, 2:] / 2
    distance = np.hypot(centres[..., 0], centres[..., 1]) / size[:, None]
    ratio = found[None, :] / size[:, None]
    distance[(distance > NEAR) | (ratio > RATIO) | (ratio < 1 / RATIO)] = np.inf
    while np.isfinite(distance).any():
        row, column = np.unravel_index(np.argmin(distance), distance.shape)
        result[row] = column
        distance[row, :] = np.inf
        distance[:, column] = np.inf
    return result


def detected_boxes(dataset: Dataset, detector: Detector, *, key: str, progress: Progress | None = None) -> np.ndarray:
    """Return the detector's box for each labelled face: (N, 4) float32, NaN where it finds none there.

    A dataset without boxes (a folder of photos) gets the largest face of each picture. Results are cached; labels and splits
    may change meanwhile, pictures and labelled boxes may not.

    Args:
        dataset: faces with boxes, or pictures without.
        detector: any detector.
        key: names the detector and its version in the cache.
        progress: wraps the loop over pictures.
    """
    name = hashlib.sha256(f"{pictures_key(dataset)} {key}".encode()).hexdigest()[:32]
    kept = load_array(f"boxes-{dataset.name}-{name}")
    if kept is not None and kept.shape == (len(dataset), 4):
        return np.array(kept)
    own = dataset.boxes()
    boxes = np.full((len(dataset), 4), np.nan, np.float32)
    groups = dataset.table.groupby("image", sort=False).indices.items()
    for image, positions in progress(list(groups)) if progress else groups:
        try:
            picture = dataset.open_image(image)
            found = detector.detect(picture if picture.ndim == 3 else np.stack([picture] * 3, axis=2)).boxes
        except FerError:
            continue
        if not len(found):
            continue
        if np.isfinite(own[positions]).all():
            chosen = match(own[positions], found)
        else:
            chosen = np.full(len(positions), int(np.argmax(found[:, 2] * found[:, 3])))
        boxes[positions[chosen >= 0]] = found[chosen[chosen >= 0]]
    save_array(f"boxes-{dataset.name}-{name}", boxes)
    return boxes
