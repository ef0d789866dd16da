"""From grey crops to what a network takes: pixels, or histograms of oriented gradients, or SIFT descriptors on a grid.

The handcrafted features keep their places on the face, so that a convolutional network can read them like a small picture of
many channels. Training, evaluation and serving all come by here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import preprocess
from .errors import ConfigError
from .preprocess import InputSpec

HOG_CELL = 6
"""Side of a HOG cell in pixels."""
HOG_ORIENTATIONS = 9
HOG_BLOCK = 2
"""Cells along a side of a block, in which histograms are normalised together."""
SIFT_STEP = 6
"""Pixels between the points of the SIFT grid."""
SIFT_SIZE = 4.0
"""OpenCV's size of a key point in pixels; its descriptor covers a square of six times that, half of a face of 48 pixels."""
SIFT_SCALE = 255.0
"""OpenCV gives descriptors as whole numbers up to this."""


def network_input(crops: np.ndarray, spec: InputSpec) -> np.ndarray:
    """Turn grey crops (N, size, size) uint8 into network input (N, *input_shape(spec)) float32.

    Raises:
        ConfigError: HOG is asked for where scikit-image is not installed.
    """
    if not spec.features:
        return preprocess.normalise(crops, spec)
    if not len(crops):
        return np.zeros((0, *input_shape(spec)), np.float32)
    return np.stack([MAPS[spec.features](crop) for crop in crops])


def input_shape(spec: InputSpec) -> tuple[int, int, int]:
    """Return the shape of one face's network input: rows, columns, channels."""
    if spec.features == "hog":
        blocks = spec.size // HOG_CELL - HOG_BLOCK + 1
        return blocks, blocks, HOG_BLOCK**2 * HOG_ORIENTATIONS
    if spec.features == "sift":
        points = spec.size // SIFT_STEP
        return points, points, 128
    return spec.size, spec.size, 1


def hog_map(crop: np.ndarray) -> np.ndarray:
    """Return the histograms of oriented gradients of a crop (S, S) uint8: (B, B, 36) float32, B blocks along a side.

    Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005, as scikit-image computes them.
    """
    try:
        from skimage.feature import hog
    except ImportError:
        raise ConfigError("features 'hog' need scikit-image; pip install scikit-image") from None
    found = hog(
        crop,
        orientations=HOG_ORIENTATIONS,
        pixels_per_cell=(HOG_CELL, HOG_CELL),
        cells_per_block=(HOG_BLOCK, HOG_BLOCK),
        block_norm="L2-Hys",
        feature_vector=False,
    )
    return found.reshape(*found.shape[:2], -1).astype(np.float32)


def sift_map(crop: np.ndarray) -> np.ndarray:
    """Return upright SIFT descriptors on a regular grid of a crop (S, S) uint8: (P, P, 128) float32 from 0 to 1.

    Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", IJCV 2004, as OpenCV computes them.
    """
    import cv2

    count = crop.shape[0] // SIFT_STEP
    places = (np.arange(count) + 0.5) * SIFT_STEP
    points = [cv2.KeyPoint(float(x), float(y), SIFT_SIZE, 0.0) for y in places for x in places]
    kept, found = cv2.SIFT_create().compute(crop, points)
    if len(kept) != len(points):
        raise ConfigError(f"features 'sift' of {crop.shape[0]} pixels: {len(points) - len(kept)} points fell outside")
    return found.reshape(count, count, 128).astype(np.float32) / np.float32(SIFT_SCALE)


MAPS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"hog": hog_map, "sift": sift_map}
"""The handcrafted features by the name that ``InputSpec.features`` gives them."""
