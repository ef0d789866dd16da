"""Find faces in a picture: boxes, scores and six key points.

The detector that is shipped is BlazeFace (Bazarevsky et al., 2019) in ONNX Runtime; ``artifacts/detector/detector.json``
says where its file comes from, holds its hash and every constant used here, which the browser's mirror reads too. Who has
YuNet's ONNX file can name it instead (``$FER_DETECTOR``).

BlazeFace looks at squares. A square of the picture, which may reach beyond its edges, is scaled to 256 x 256 pixels, and
the faces found there are carried back. One look at the smallest centred square around the picture is all that most photos
need. Three cases get more, because the network frames a face best when it fills 30 to 50% of its square:

- nothing was found: the same with a border around the picture, then with a wider one (a face that fills the picture);
- a face fills most of the square: a second look at a square 2.5 times its box;
- a large photo in which no face, or a small one, was found: overlapping tiles of 0.6 of the shorter side, whose faces join the
  others by non-maximum suppression.

The network is fully convolutional, so it is shown the part of a square that holds the picture, in whole cells of its coarser
grid: three quarters of the square for a photo of 4:3.

Of FER2013's 48-pixel crops, which are nothing but face, it finds 99.6%.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from . import onnxfile
from .config import Config, artifacts_dir
from .errors import FerError, RunError

KEYPOINTS: tuple[str, ...] = ("right eye", "left eye", "nose", "mouth", "right ear", "left ear")
"""Order of the key points; right and left are the person's own, so the right eye is the one nearer the picture's left edge."""


SURE = 0.75
"""Least score of an upright face that tells which way up a picture is."""
SURER = 0.15
"""By how much that score must be higher in a picture that was turned. Of 200 photos of ExpW's validation split, none is turned
for no reason with these two, and of the same photos turned by one, two and three quarters 80% are turned back."""
TURN_SIDE = 512
"""Longer side in pixels down to which a larger picture is halved for the looks that only find out which way up it is: twice
what the network takes, so that one look at the picture sees what it would see of the whole."""
MEND = "restore it with git, or make it again with conversion/blazeface.py"


class DetectorError(FerError):
    """A detector's file that is missing, damaged or of another kind."""


@dataclasses.dataclass(frozen=True)
class Detections:
    """Faces of one picture, the most certain first."""

    boxes: np.ndarray
    """(N, 4) float32 left, top, width, height in pixels of the picture; a box may reach outside it."""
    scores: np.ndarray
    """(N,) float32, 0 to 1."""
    keypoints: np.ndarray
    """(N, 6, 2) float32 x, y in pixels of the picture, in the order of ``KEYPOINTS``; NaN where a detector has none."""

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, positions: np.ndarray) -> Detections:
        """Return the faces at these positions (or where a boolean mask is true), in that order."""
        return Detections(self.boxes[positions], self.scores[positions], self.keypoints[positions])


class Detector(Protocol):
    """What the rest of the project asks of a face detector."""

    def detect(self, image: np.ndarray) -> Detections:
        """Find the faces of a picture: RGB uint8 (H, W, 3). May be called from several threads."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(Config):
    """Constants of BlazeFace and of where it looks, as ``detector.json`` holds them."""

    size: int
    """Side of the network's input in pixels."""
    grids: tuple[list[int], ...]
    """Cells along a side, anchors a cell; in the order of the outputs."""
    score: float
    """Least score of a face."""
    overlap: float
    """Two boxes that share more than this (intersection over union) are one face."""
    borders: tuple[float, ...]
    """Borders to try, one after the other, while nothing is found; shares of the square, on each side of it. Only faces that
    fill most of the picture are taken from there: smaller ones would have been seen without."""
    close_up: float
    """A box with a side of more than this share of the whole square fills most of the picture: it gets a second look."""
    second_look: float
    """Side of that look's square, in sides of the box."""
    tiles_from: int
    """Pictures whose longer side has at most so many pixels get no tiles."""
    tiles_below: float
    """Larger ones get them where no face was found, or one whose box is smaller than this share of the longer side: a small
    face is seldom alone."""
    tile: float
    """Side of a tile, in shorter sides of the picture."""
    tile_score: float
    """Least score of a face in a tile; tiles show more things that are none."""
    tile_overlap: float
    """Least share of a tile that its neighbour covers too."""
    tiles_along: int
    """No tile is smaller than the longer side divided by this, however long and thin the picture."""


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return intersection over union (N,) of one box (4,) with others (N, 4); left, top, width, height."""
    corner = np.minimum(box[:2] + box[2:], boxes[:, :2] + boxes[:, 2:])
    shared = np.clip(corner - np.maximum(box[:2], boxes[:, :2]), 0, None).prod(axis=1)
    union = box[2] * box[3] + boxes[:, 2] * boxes[:, 3] - shared
    return shared / np.maximum(union, 1e-12)


def suppress(faces: Detections, overlap: float) -> Detections:
    """Leave one box a face: non-maximum suppression with the blending of the BlazeFace paper.

    From the highest score down, a face takes in every later one that shares more than ``overlap`` (intersection over union)
    with its box. It keeps its score; its box and key points become the average of all of them, weighted by score, which
    steadies them from one frame to the next. What shares less but lies on the same face (the centre of one box is inside the
    other) is dropped: a mouth and nose that look like a small face.
    """
    rest = np.argsort(-faces.scores, kind="stable")
    scores, boxes, keypoints = [], [], []
    while len(rest):
        candidates = faces.boxes[rest]
        extent, centres = candidates[:, 2:], candidates[:, :2] + candidates[:, 2:] / 2
        nested = (np.abs(centres - centres[0]) < np.maximum(extent, extent[0]) / 2).all(axis=1)
        same = overlaps(candidates[0], candidates) > overlap
        nested[0] = same[0] = True
        group, rest = faces.select(rest[same]), rest[~same & ~nested]
        weights = group.scores / group.scores.sum()
        scores.append(group.scores[0])
        boxes.append(weights @ group.boxes)
        keypoints.append(np.tensordot(weights, group.keypoints, 1))
    return _detections(boxes, scores, keypoints)


def halved(image: np.ndarray, times: int) -> np.ndarray:
    """Halve a picture's sides so often, each time to the averages of 2 x 2 pixels.

    An odd last row or column is left out; a side of one pixel stays.
    """
    import cv2

    for _ in range(times):
        height, width = (max(1, length // 2) for length in image.shape[:2])
        even = image[: 2 * height, : 2 * width]
        image = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
    return image


def cut(image: np.ndarray, left: float, top: float, side: float, size: int) -> np.ndarray:
    """Scale a square of a picture to uint8 (size, size, 3); what reaches outside the picture is black.

    The part inside is averaged over areas where it shrinks (first halved while it stays large enough, which is quick),
    interpolated linearly where it grows, and lies within half a pixel of where it belongs.
    """
    import cv2

    canvas = np.zeros((size, size, 3), np.uint8)
    scale = size / side
    x0, x1 = max(0, math.floor(left)), min(image.shape[1], math.ceil(left + side))
    y0, y1 = max(0, math.floor(top)), min(image.shape[0], math.ceil(top + side))
    if x0 >= x1 or y0 >= y1:
        return canvas
    width, height = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    part = halved(image[y0:y1, x0:x1], max(0, math.floor(math.log2(1 / scale))))
    part = cv2.resize(part, (width, height), interpolation=method)
    x, y = (min(max(0, round(start * scale)), size - 1) for start in (x0 - left, y0 - top))
    part = part[: size - y, : size - x]
    canvas[y : y + part.shape[0], x : x + part.shape[1]] = part
    return canvas


def window(image: np.ndarray, left: float, top: float, side: float, settings: Settings) -> tuple[int, int, int, int]:
    """Return which rows and columns of the network's input hold picture: first and end row, first and end column.

    They are widened to whole cells of the coarser grid, so that every anchor stays where it is.
    """
    size = settings.size
    cell = size // min(cells for cells, _ in settings.grids)
    result = []
    for length, start in ((image.shape[0], top), (image.shape[1], left)):
        first, end = ((edge - start) * size / side for edge in (0, length))
        first = min(max(0, math.floor(first / cell)), size // cell - 1)
        result += [first * cell, min(max(first + 1, math.ceil(end / cell)), size // cell) * cell]
    return tuple(result)


class BlazeFace:
    """BlazeFace in ONNX Runtime; one object may serve many threads.

    Args:
        path: folder with ``detector.json`` and the file it names; default ``artifacts/detector``.
        threads: of ONNX Runtime, within one look.
        tiles: whether large photos get a second pass over tiles; live video does without.

    Raises:
        DetectorError: the folder lacks a file, or the ONNX file is not the one that ``detector.json`` describes, is hostile
            (see ``onnxfile``) or answers something else than such a detector.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, threads: int = 1, tiles: bool = True) -> None:
        folder = Path(path) if path is not None else artifacts_dir() / "detector"
        self.settings, data = _read(folder)
        self.tiles = tiles
        self._anchors: dict[tuple[int, int, int, int], np.ndarray] = {}
        import onnxruntime

        try:
            options = onnxfile.session_options(threads)
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
            self._look(np.zeros((1, 1, 3), np.uint8), 0, 0, 1)
        except Exception as error:
            too_large = f"takes more than {onnxfile.MAX_MEMORY >> 30} GiB of memory for one picture"
            what = too_large if onnxfile.is_too_large(error) else f"is not BlazeFace: {_first_line(error)[:200]}"
            raise DetectorError(f"{folder}: the ONNX file {what} ({MEND})") from error

    def detect(self, image: np.ndarray) -> Detections:
        """Find the faces of a picture: RGB uint8 (H, W, 3) of any size.

        A picture whose tiles have four times the pixels along a side that the network takes is halved once for all looks.
        """
        _check(image)
        if not image.size:
            return _detections([], [], [])
        times = 0
        while _tile(image.shape[0] >> times, image.shape[1] >> times, self.settings) >= 4 * self.settings.size:
            times += 1
        found = self._search(halved(image, times))
        return Detections(found.boxes * 2**times, found.scores, found.keypoints * 2**times)

    def glance(self, image: np.ndarray) -> Detections:
        """Find the faces that one look at the whole picture shows, without a border and without tiles.

        It costs a fraction of ``detect`` where there is no face, and is enough to tell which way up a picture is.
        """
        _check(image)
        if not image.size:
            return _detections([], [], [])
        left, top, side = _square(image)
        return self._look_again(image, self._look(image, left, top, side), side)

    def _search(self, image: np.ndarray) -> Detections:
        """Find the faces by all looks that a picture needs."""
        height, width = image.shape[:2]
        left, top, side = _square(image)
        found = self._look(image, left, top, side)
        for border in self.settings.borders:
            if not len(found):
                edge = round(side * border)
                found = self._look(image, left - edge, top - edge, side + 2 * edge)
                found = found.select(self._fills(found, side))
        looks = [self._look_again(image, found, side)]
        if self.tiles and self._needs_tiles(looks[0], side):
            looks += [self._look_inside(image, *square) for square in tiles(height, width, self.settings)]
        return suppress(_join(looks), self.settings.overlap)

    def _needs_tiles(self, found: Detections, side: float) -> bool:
        """Tell whether a picture with this longer side may hold faces that one look does not see."""
        smallest = found.boxes[:, 2:].max(axis=1).min(initial=math.inf)
        return side > self.settings.tiles_from and (not len(found) or smallest < self.settings.tiles_below * side)

    def _look(self, image: np.ndarray, left: float, top: float, side: float) -> Detections:
        """Find the faces of one square of the picture, in pixels of the picture."""
        settings = self.settings
        rows, row_end, columns, column_end = window(image, left, top, side, settings)
        pixels = cut(image, left, top, side, settings.size)[rows:row_end, columns:column_end]
        pixels = np.ascontiguousarray(pixels)[None]
        logits, values = (output[0] for output in self._session.run(["logits", "boxes"], {"image": pixels}))
        likely = np.flatnonzero(logits > math.log(settings.score / (1 - settings.score)))
        values = values[likely].reshape(-1, 8, 2)
        shown = (rows, row_end, columns, column_end)
        if (centres := self._anchors.get(shown)) is None:
            centres = self._anchors[shown] = anchors(settings, *shown)
        points = values[:, [0, *range(2, 8)]] + centres[likely, None]
        scale = side / settings.size
        points = points * scale + np.array([left, top])
        extent = values[:, 1] * scale
        boxes = np.concatenate([points[:, 0] - extent / 2, extent], axis=1)
        scores = 1 / (1 + np.exp(-logits[likely]))
        return suppress(_detections(boxes, scores, points[:, 1:]), settings.overlap)

    def _look_again(self, image: np.ndarray, found: Detections, side: float) -> Detections:
        """Frame each face that fills most of the picture better: by the face that a square around its box shows."""
        looks = []
        for i, large in enumerate(self._fills(found, side)):
            face = found.select(np.array([i]))
            if large:
                left, top, width, height = found.boxes[i].tolist()
                reach = self.settings.second_look * max(width, height)
                again = self._look(image, left + (width - reach) / 2, top + (height - reach) / 2, reach)
                shared = overlaps(face.boxes[0], again.boxes)
                if len(again) and shared.max() > self.settings.overlap:
                    face = again.select(shared.argmax()[None])
            looks.append(face)
        return _join(looks)

    def _fills(self, found: Detections, side: float) -> np.ndarray:
        """Tell which faces (N,) fill most of a square with this side."""
        return found.boxes[:, 2:].max(axis=1, initial=0) > self.settings.close_up * side

    def _look_inside(self, image: np.ndarray, left: int, top: int, side: int) -> Detections:
        """Find the faces of a tile; a box that crosses an inner side of it is left to the neighbour or the whole picture."""
        found = self._look(image, left, top, side)
        height, width = image.shape[:2]
        start, end = found.boxes[:, :2], found.boxes[:, :2] + found.boxes[:, 2:]
        inside = found.scores >= self.settings.tile_score
        inside &= (left <= 0) | (start[:, 0] >= left)
        inside &= (top <= 0) | (start[:, 1] >= top)
        inside &= (left + side >= width) | (end[:, 0] <= left + side)
        inside &= (top + side >= height) | (end[:, 1] <= top + side)
        return found.select(inside)


def _square(image: np.ndarray) -> tuple[int, int, int]:
    """Return the smallest centred square around a picture: left, top and side."""
    height, width = image.shape[:2]
    side = max(height, width)
    return -((side - width) // 2), -((side - height) // 2), side


def tiles(height: int, width: int, settings: Settings) -> list[tuple[int, int, int]]:
    """Return the squares (left, top, side) that cover a picture of this size, evenly spaced, row after row."""
    side = _tile(height, width, settings)
    step = side * (1 - settings.tile_overlap)

    def starts(length: int) -> list[int]:
        if length <= side:
            return [-((side - length) // 2)]
        count = math.ceil((length - side) / step)
        return [round(i * (length - side) / count) for i in range(count + 1)]

    return [(left, top, side) for top in starts(height) for left in starts(width)]


def _tile(height: int, width: int, settings: Settings) -> int:
    """Return the side of a tile of a picture of this size."""
    return math.ceil(max(settings.tile * min(height, width), max(height, width) / settings.tiles_along))


def detect_turned(detector: Detector, image: np.ndarray) -> tuple[Detections, int]:
    """Find faces in a picture that may lie on its side or stand on its head.

    One face that is sure and upright is enough to leave the picture as it is. Without one, it is turned by a quarter, by three
    and by two, and the turn in which such a face is found with the highest score is taken, if it is higher by ``SURER``. Each
    turn gets one look at a small copy of the picture (``glance``, where the detector has it): borders and tiles turn no more
    photos back. Only the turn that is taken is searched with all that ``detect`` does.

    Args:
        detector: any detector.
        image: RGB uint8 (H, W, 3).

    Returns:
        The faces, and by how many quarters the picture was turned counterclockwise; the boxes are in pixels of that picture.
    """
    best, turns = detector.detect(image), 0
    sure = best.scores[_upright(best)].max(initial=0)
    if sure < SURE:
        least, small = max(SURE, sure + SURER), _reduced(image)
        glance = getattr(detector, "glance", detector.detect)
        for quarters in (1, 3, 2):
            found = glance(np.ascontiguousarray(np.rot90(small, quarters)))
            if (score := found.scores[_upright(found)].max(initial=0)) >= least:
                turns, least = quarters, score
        if turns:
            best = detector.detect(np.ascontiguousarray(np.rot90(image, turns)))
    return best, turns


def _reduced(image: np.ndarray) -> np.ndarray:
    """Return a picture halved until its longer side is at most ``TURN_SIDE``."""
    times = 0
    while max(image.shape[:2]) >> times > TURN_SIDE:
        times += 1
    return halved(image, times)


def _upright(found: Detections) -> np.ndarray:
    """Tell which faces (N,) have their eyes side by side, the right one on the left; those without eye points count as such."""
    across, down = (found.keypoints[:, 1] - found.keypoints[:, 0]).T
    return ~(np.abs(down) > across)


def turned_back(found: Detections, turns: int, height: int, width: int) -> Detections:
    """Return faces of a picture turned counterclockwise by so many quarters, in pixels of the picture (height, width)."""
    corners = found.boxes.reshape(-1, 2, 2).copy()
    corners[:, 1] += corners[:, 0]
    points = np.concatenate([corners, found.keypoints], axis=1)
    for done in range(turns % 4):
        # One quarter back: the turned picture's left edge is the top edge of the one before.
        length = width if (turns - done) % 2 else height
        points = np.stack([length - points[..., 1], points[..., 0]], axis=-1)
    low, high = points[:, :2].min(axis=1), points[:, :2].max(axis=1)
    return Detections(np.concatenate([low, high - low], axis=1), found.scores, points[:, 2:])


class YuNet:
    """YuNet (Wu et al., "YuNet: A tiny millisecond-level face detector", 2023) in OpenCV, with the user's own ONNX file.

    It finds five key points: both mouth corners are given as their middle, the ears as NaN.

    Args:
        path: the ONNX file (``face_detection_yunet_2023mar.onnx`` of OpenCV's model zoo).
        score: least score of a face.
        overlap: intersection over union above which the less certain of two boxes is dropped.
        longest: pictures are scaled down to this longer side, in pixels; smaller ones are taken as they are.

    Raises:
        DetectorError: there is no such file, it is hostile (see ``onnxfile``), or OpenCV cannot read it as YuNet.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, score: float = 0.6, overlap: float = 0.3, longest: int = 640
    ) -> None:
        import cv2

        if not Path(path).is_file():
            raise DetectorError(f"{path}: no such file or folder; it must be YuNet's ONNX file or BlazeFace's folder")
        _check_network(Path(path).read_bytes(), str(path))
        try:
            self._net = cv2.FaceDetectorYN.create(os.fspath(path), "", (longest, longest), score, overlap)
        except cv2.error as error:
            raise DetectorError(f"{path}: OpenCV cannot read it as YuNet's ONNX file: {_first_line(error)}") from error
        self.longest = longest
        self._lock = threading.Lock()

    def detect(self, image: np.ndarray) -> Detections:
        """Find the faces of a picture: RGB uint8 (H, W, 3). Threads take turns, because the network keeps its input's size."""
        import cv2

        _check(image)
        if not image.size:
            return _detections([], [], [])
        scale = min(1.0, self.longest / max(image.shape[:2]))
        width, height = (max(1, round(length * scale)) for length in (image.shape[1], image.shape[0]))
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        with self._lock:
            self._net.setInputSize((width, height))
            _, rows = self._net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        if rows is None:
            return _detections([], [], [])
        rows = rows[np.argsort(-rows[:, 14], kind="stable")].astype(np.float32)
        points = rows[:, 4:14].reshape(-1, 5, 2) / scale
        keypoints = np.full((len(rows), len(KEYPOINTS), 2), np.nan, np.float32)
        keypoints[:, :3] = points[:, :3]
        keypoints[:, 3] = points[:, 3:].mean(axis=1)
        return Detections(rows[:, :4] / np.float32(scale), rows[:, 14], keypoints)


def load_detector(path: str | os.PathLike[str] | None = None) -> Detector:
    """Return the detector to use: ``path``, else ``$FER_DETECTOR``, else the BlazeFace that is shipped.

    A folder is BlazeFace's (it holds ``detector.json``), a file YuNet's.

    Raises:
        DetectorError: what is named is missing, damaged or of another kind.
    """
    given = path or os.environ.get("FER_DETECTOR")
    if given and not Path(given).is_dir():
        return YuNet(given)
    return BlazeFace(given)


def _read(folder: Path) -> tuple[Settings, bytes]:
    """Return the constants and the ONNX file that a detector's folder holds."""
    description = folder / "detector.json"
    try:
        values = json.loads(description.read_text(encoding="utf-8"))
        settings, name, digest = Settings.from_dict(values["settings"]), values["file"], values["sha256"]
        if Path(name).name != name:
            raise ValueError(f"the file {ascii(name)[:100]} is not named as one in this folder")
        _check_settings(settings)
        data = (folder / name).read_bytes()
    except OSError as error:
        raise DetectorError(f"{error.filename}: cannot be read; the detector's folder needs it ({MEND})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DetectorError(f"{description}: not a detector's description: {_first_line(error)} ({MEND})") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise DetectorError(f"{folder / name}: not the file that detector.json describes, its sha256 differs ({MEND})")
    _check_network(data, str(folder / name))
    return settings, data


def _check_settings(settings: Settings) -> None:
    """Refuse constants with which the search would fail, or never end."""
    numbers = [settings.score, settings.overlap, settings.close_up, settings.second_look, settings.tiles_from]
    numbers += [settings.tiles_below, settings.tile, settings.tile_score, settings.tile_overlap, settings.tiles_along]
    numbers += settings.borders
    if not all(type(value) in (int, float) and 0 <= value <= 1 << 16 for value in numbers):
        raise ValueError("a setting is not a number from 0 to 65536")
    if type(settings.size) is not int or not 32 <= settings.size <= 1024:
        raise ValueError("size must be a whole number of 32 to 1024 pixels")
    cells = [(cells, per_cell) for cells, per_cell in settings.grids]
    whole = all(type(value) is int and 1 <= value <= settings.size for pair in cells for value in pair)
    if not cells or len(cells) > 8 or not whole or any(settings.size % count or each > 64 for count, each in cells):
        raise ValueError("grids must be pairs of cells along a side, which divide the size, and anchors a cell")
    if not (0 < settings.score < 1 and settings.tile > 0 and settings.tile_overlap <= 0.9):
        raise ValueError("score must lie between 0 and 1, tile above 0, tile_overlap at 0.9 or below")
    if len(settings.borders) > 8 or not 1 <= settings.tiles_along <= 64:
        raise ValueError("there may be 8 borders, and 1 to 64 tiles along a side")


def _check_network(data: bytes, where: str) -> None:
    """Refuse a hostile ONNX file as ``onnxfile`` does."""
    try:
        onnxfile.check(data, where)
    except RunError as error:
        raise DetectorError(str(error)) from None


def anchors(settings: Settings, rows: int, row_end: int, columns: int, column_end: int) -> np.ndarray:
    """Return the centre (x, y) of each anchor of a window of the network's input, in pixels of the whole input: (A, 2).

    They come in the order of the network's outputs: grid after grid, row after row, each cell as often as it has anchors.
    """
    centres = []
    for cells, per_cell in settings.grids:
        cell = settings.size // cells
        y, x = np.mgrid[rows // cell : row_end // cell, columns // cell : column_end // cell].reshape(2, -1)
        centres.append(np.repeat(np.stack([x, y], axis=1) * cell + cell / 2, per_cell, axis=0))
    return np.concatenate(centres)


def _detections(boxes: Sequence, scores: Sequence, keypoints: Sequence) -> Detections:
    return Detections(
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.asarray(scores, np.float32).reshape(-1),
        np.asarray(keypoints, np.float32).reshape(-1, len(KEYPOINTS), 2),
    )


def _join(parts: list[Detections]) -> Detections:
    """Return the faces of several looks, one after the other."""
    return _detections(
        np.concatenate([np.zeros((0, 4)), *(part.boxes for part in parts)]),
        np.concatenate([np.zeros(0), *(part.scores for part in parts)]),
        np.concatenate([np.zeros((0, len(KEYPOINTS), 2)), *(part.keypoints for part in parts)]),
    )


def _check(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be RGB uint8 (H, W, 3), got {image.dtype} {image.shape}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
