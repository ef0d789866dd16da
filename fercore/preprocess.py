"""From a picture and a box to what a network sees: the only road, for training, evaluation and serving alike.

    box --face_square(framing)--> square --cut--> (size, size) grey uint8 --normalise--> float32 network input

Every network looks at one framing of a face. Boxes come in kinds (our detector's, ExpW's labels, pictures that are the
face already), so each kind has a ``Framing`` that maps it to that one square. All networks see grey: FER2013 has no
colour, and a network that is shown colour for one source only learns to tell the sources apart.

``fercore/browser/engine.mjs`` mirrors ``face_square``, ``cut`` and ``normalise`` line by line; change both together.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np

from .config import Config
from .errors import ConfigError, FerError

FARTHEST = 100.0
"""Greatest side of a face square and shift of its centre, in sizes of the box."""
LARGEST = 1e9
"""Greatest absolute number in a box, in pixels."""


def _is_number(value: object, low: float, high: float) -> bool:
    """Tell whether a JSON value is a number between two others; NaN and ``true`` are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


@dataclasses.dataclass(frozen=True, kw_only=True)
class Framing(Config):
    """How the face square lies relative to a box: side over the box's size, shift of the centre in box sizes."""

    scale: float
    shift_x: float = 0.0
    shift_y: float = 0.0

    def __post_init__(self) -> None:
        shifts = _is_number(self.shift_x, -FARTHEST, FARTHEST) and _is_number(self.shift_y, -FARTHEST, FARTHEST)
        if not (shifts and _is_number(self.scale, 1 / FARTHEST, FARTHEST)):
            raise ConfigError(
                f"framing: scale {self.scale!r} must lie between {1 / FARTHEST} and {FARTHEST:g}, the shifts "
                f"{self.shift_x!r} and {self.shift_y!r} between plus and minus {FARTHEST:g}"
            )


FRAMINGS: dict[str, Framing] = {
    "detector": Framing(scale=1.25, shift_y=-0.1),
    "expw": Framing(scale=0.99, shift_y=0.05),
    "crop": Framing(scale=1.0),
}
"""The framing of each kind of box, chosen on ExpW's validation faces: ``benchmarks/framing.py`` shows what lies beside them.

A run carries a copy, so that a later measurement here never changes an old run. Faces are cut as they stand: levelling them
by the eye points brought nothing beyond chance (``benchmarks/levelling.py``).
"""


FEATURES: tuple[str, ...] = ("hog", "sift")
"""The handcrafted features that a network may take instead of pixels."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputSpec(Config):
    """What a network takes: ``size`` x ``size`` grey pixels, each ``(grey - mean) / std``, or features of them."""

    size: int
    mean: float = 0.0
    std: float = 255.0
    features: str = ""
    """Empty for pixels, or one of ``FEATURES`` (see ``fercore.features``), which mean and std leave as they are."""

    def __post_init__(self) -> None:
        if not (isinstance(self.size, int) and _is_number(self.size, 8, 512)):
            raise ConfigError(f"input: size must be a whole number of 8 to 512 pixels, got {self.size!r}")
        if self.features not in ("", *FEATURES):
            raise ConfigError(
                f"input: features {self.features!r} are none of {', '.join(FEATURES)}, or empty for pixels"
            )
        if not (_is_number(self.mean, -1e6, 1e6) and _is_number(self.std, 1e-6, 1e6)):
            raise ConfigError(
                f"input: mean {self.mean!r} and std {self.std!r} must be numbers of at most a million, and std above 0"
            )


def as_boxes(boxes: Sequence | np.ndarray) -> np.ndarray:
    """Return boxes as float64 (N, 4): left, top, width, height in pixels.

    Raises:
        FerError: another shape, no numbers, a number that is not finite or beyond a thousand million, or a width or
            height that is not positive.
    """
    try:
        array = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise FerError("boxes: expected numbers, four a box: left, top, width, height") from None
    if array.shape == (0,):
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise FerError(f"boxes: expected shape (N, 4) of left, top, width, height; got {array.shape}")
    wrong = ~((np.abs(array) <= LARGEST).all(axis=1) & (array[:, 2:] > 0).all(axis=1))
    if wrong.any():
        raise FerError(
            f"boxes: row {wrong.argmax()} is {array[wrong.argmax()].tolist()}; every number must be finite, at most "
            f"{LARGEST:.0e}, and width and height above 0"
        )
    return array


def face_square(box: Sequence[float] | np.ndarray, framing: Framing) -> tuple[float, float, float]:
    """Return the face square of a box (left, top, width, height) as centre x, centre y and side, in pixels.

    The size of a box is the geometric mean of its sides, so that detectors with upright boxes agree with square ones.
    """
    left, top, width, height = (float(value) for value in box)
    size = math.sqrt(width * height)
    return (
        left + width / 2 + framing.shift_x * size,
        top + height / 2 + framing.shift_y * size,
        size * framing.scale,
    )


def cut(image: np.ndarray, square: tuple[float, float, float], size: int, *, angle: float = 0.0) -> np.ndarray:
    """Cut a square out of a picture, in grey.

    Pixels outside the picture repeat its edge. A square of 1.5 times ``size`` or more is first averaged over whole
    blocks of pixels, so that nothing aliases, then read with bilinear interpolation.

    Args:
        image: uint8, (H, W, 3) RGB or (H, W) grey.
        square: centre x, centre y, side in pixels (pixel centres at .5).
        size: side of the result in pixels.
        angle: degrees by which the square is turned clockwise (as seen on the screen) about its centre.

    Returns:
        uint8 (size, size).
    """
    centre_x, centre_y, side = square
    turn = math.radians(angle)
    reach = side / 2 * (abs(math.cos(turn)) + abs(math.sin(turn)))
    block = max(1, int(side / size + 0.5))
    region, left, top = _blocks(image, centre_x, centre_y, reach, block)
    step = side / size / block
    cos, sin = math.cos(turn) * step, math.sin(turn) * step
    # From the middle of an output pixel to the position in the region, whose pixels' centres are whole numbers.
    middle = (size - 1) / 2
    origin_x = (centre_x - left) / block - 0.5
    origin_y = (centre_y - top) / block - 0.5
    matrix = np.array(
        [
            [cos, -sin, origin_x - cos * middle + sin * middle],
            [sin, cos, origin_y - sin * middle - cos * middle],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(region, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _blocks(
    image: np.ndarray, centre_x: float, centre_y: float, reach: float, block: int
) -> tuple[np.ndarray, int, int]:
    """Return the grey region that a square needs, averaged over blocks, and where it starts in the picture.

    At the picture's right and bottom edge the last blocks are filled up by repeating it.
    """
    height, width = image.shape[:2]
    left = min(max(math.floor(centre_x - reach) - block, 0), width - 1)
    top = min(max(math.floor(centre_y - reach) - block, 0), height - 1)
    columns = max(1, -((left - math.ceil(centre_x + reach)) // block) + 1)
    rows = max(1, -((top - math.ceil(centre_y + reach)) // block) + 1)
    region = image[top : min(top + rows * block, height), left : min(left + columns * block, width)]
    if region.ndim == 3:
        region = cv2.cvtColor(np.ascontiguousarray(region), cv2.COLOR_RGB2GRAY)
    if block > 1:
        rows, columns = (-(-length // block) for length in region.shape)
        # Less than a block is averaged as it is: a block may be far larger than the picture.
        below, beside = (-length % block if length > block else 0 for length in region.shape)
        region = cv2.copyMakeBorder(np.ascontiguousarray(region), 0, below, 0, beside, cv2.BORDER_REPLICATE)
        region = cv2.resize(region, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(region), left, top


def cut_faces(image: np.ndarray, boxes: Sequence | np.ndarray, framing: Framing, size: int) -> np.ndarray:
    """Cut the face square of each box: uint8 (N, size, size). Raises ``FerError`` for bad boxes (see ``as_boxes``)."""
    crops = [cut(image, face_square(box, framing), size) for box in as_boxes(boxes)]
    return np.stack(crops) if crops else np.zeros((0, size, size), np.uint8)


def normalise(crops: np.ndarray, spec: InputSpec) -> np.ndarray:
    """Turn grey crops (N, size, size) uint8 into network input (N, size, size, 1) float32."""
    return ((crops.astype(np.float32) - np.float32(spec.mean)) / np.float32(spec.std))[..., np.newaxis]
