"""Follow faces from frame to frame, so that each keeps its own state.

Detections are matched to the faces known so far by the distance of their centres, in face sizes, at the least total cost
(the assignment problem of SORT: Bewley et al., "Simple online and realtime tracking", 2016). Distance serves better here
than overlap: two boxes of a face that moves more than its width between frames, as happens at a few frames a second, do
not overlap at all. Every constant is in seconds or face sizes, so that neither the frame rate nor the resolution matters.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from .errors import ConfigError

_GROWTH = 2.0  # a face's size changes by less than this factor between two sightings
_STEADY = 0.3  # seconds over which a face's velocity is averaged
_COAST = 0.5  # seconds for which an unseen face is taken to move on
_FAR = 1e6  # stands for an impossible match while the others are chosen


@dataclasses.dataclass
class Track:
    """One face over time."""

    id: int
    """1, 2, 3, ... in the order of the first sightings; never given twice by a tracker."""
    box: np.ndarray
    """(4,) left, top, width, height in pixels where the face was last seen."""
    first: float
    """Time of the first sighting in seconds."""
    last: float
    """Time of the last sighting in seconds."""
    velocity: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(2))
    """(2,) of the centre, in pixels a second."""


class Tracker:
    """Gives each box of each frame to a track.

    Args:
        reach: how far from where it is expected a face may turn up, in face sizes.
        speed: how much farther for each second since it was last seen, in face sizes.
        birth: a track counts as a face once it has been seen over this many seconds; one that goes unseen for longer before
            is dropped. Keeps the detector's passing errors out.
        patience: a face that has not been seen for longer than this many seconds has left. Bridges the detector's misses.

    Raises:
        ConfigError: an option is negative or not finite.
    """

    def __init__(self, *, reach: float = 0.5, speed: float = 2.0, birth: float = 0.2, patience: float = 1.0) -> None:
        for name, value in (("reach", reach), ("speed", speed), ("birth", birth), ("patience", patience)):
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name}: expected a number of 0 or more, got {value}")
        self.reach = reach
        self.speed = speed
        self.birth = birth
        self.patience = patience
        self.tracks: list[Track] = []
        self._count = 0
        self._time = -math.inf

    def is_face(self, track: Track) -> bool:
        """Tell whether a track has been seen for long enough to count as a face."""
        return track.last - track.first >= self.birth

    def update(self, boxes: Sequence | np.ndarray, time: float) -> tuple[list[Track], list[Track]]:
        """Take in the boxes of the next frame.

        Args:
            boxes: (N, 4) left, top, width, height in pixels.
            time: of the frame in seconds, not before the last one's.

        Returns:
            The N tracks that the boxes belong to, new ones where nothing fits; and the faces that have left.
        """
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        seen = [track for track in self.tracks if track.last == self._time]
        missed = [track for track in self.tracks if track.last != self._time and time - track.last <= self.patience]
        owners: dict[int, Track] = {}
        for known in (seen, missed):  # who was there a frame ago comes first, so that nobody long gone takes its box
            free = [number for number in range(len(boxes)) if number not in owners]
            for row, column in assign(self._costs(known, boxes[free], time)):
                owners[free[column]] = known[row]
                self._move(known[row], boxes[free[column]], time)
        for number in range(len(boxes)):
            if number not in owners:
                self._count += 1
                owners[number] = Track(self._count, boxes[number], time, time)
                self.tracks.append(owners[number])
        gone = [track for track in self.tracks if self._is_gone(track, time)]
        self.tracks = [track for track in self.tracks if not self._is_gone(track, time)]
        self._time = time
        return [owners[number] for number in range(len(boxes))], [track for track in gone if self.is_face(track)]

    def clear(self) -> list[Track]:
        """Forget every track, as between two videos; return those that were faces."""
        faces = [track for track in self.tracks if self.is_face(track)]
        self.tracks = []
        self._time = -math.inf
        return faces

    def _costs(self, tracks: list[Track], boxes: np.ndarray, time: float) -> np.ndarray:
        """Return the cost (M, N) of giving each box to each track, infinite where that cannot be."""
        centres, sizes = _centres(boxes), _sizes(boxes)
        costs = np.full((len(tracks), len(boxes)), np.inf)
        for row, track in enumerate(tracks):
            gap = time - track.last
            expected = _centres(track.box) + track.velocity * min(gap, _COAST)
            distance = np.hypot(*(centres - expected).T) / np.sqrt(_sizes(track.box) * sizes)
            growth = np.abs(np.log2(sizes / _sizes(track.box)))
            near = distance <= self.reach + self.speed * min(gap, self.patience)
            costs[row] = np.where(near & (growth < math.log2(_GROWTH)), distance + growth, np.inf)
        return costs

    def _move(self, track: Track, box: np.ndarray, time: float) -> None:
        if (gap := time - track.last) > 0:
            velocity = (_centres(box) - _centres(track.box)) / gap
            track.velocity = track.velocity + (velocity - track.velocity) * -math.expm1(-gap / _STEADY)
        track.box, track.last = box, time

    def _is_gone(self, track: Track, time: float) -> bool:
        return time - track.last > (self.patience if self.is_face(track) else self.birth)


def assign(costs: np.ndarray) -> list[tuple[int, int]]:
    """Pair rows with columns: as many as possible, at the least total cost.

    The Hungarian method by shortest augmenting paths (Jonker and Volgenant, 1987), which is quick where most rows have an
    obvious partner.

    Args:
        costs: (M, N), infinite where a pair is impossible.

    Returns:
        (row, column) pairs, by row; each row and column at most once.
    """
    if costs.shape[0] > costs.shape[1]:
        return sorted((row, column) for column, row in assign(costs.T))
    rows, columns = costs.shape
    finite = np.where(np.isfinite(costs), costs, _FAR)
    # Rows and columns count from 1; column 0 stands for "the row that seeks a partner", owner 0 for "none yet".
    row_price, column_price = np.zeros(rows + 1), np.zeros(columns + 1)
    owner = np.zeros(columns + 1, np.int64)
    for row in range(1, rows + 1):
        owner[0], column = row, 0
        length = np.full(columns + 1, np.inf)
        came_from = np.zeros(columns + 1, np.int64)
        open_ = np.ones(columns + 1, bool)
        while owner[column]:
            open_[column] = False
            at = owner[column]
            through = np.concatenate([[np.inf], finite[at - 1] - row_price[at] - column_price[1:]])
            shorter = open_ & (through < length)
            length[shorter], came_from[shorter] = through[shorter], column
            nearest = int(np.where(open_, length, np.inf).argmin())
            step = length[nearest]
            row_price[owner[~open_]] += step
            column_price[~open_] -= step
            length[open_] -= step
            column = nearest
        while column:
            owner[column] = owner[came_from[column]]
            column = came_from[column]
    pairs = ((int(owner[column]) - 1, column - 1) for column in range(1, columns + 1) if owner[column])
    return sorted((row, column) for row, column in pairs if np.isfinite(costs[row, column]))


def _centres(boxes: np.ndarray) -> np.ndarray:
    """Return the centres (..., 2) of boxes (..., 4)."""
    return boxes[..., :2] + boxes[..., 2:] / 2


def _sizes(boxes: np.ndarray) -> np.ndarray:
    """Return the sizes (...) of boxes (..., 4): the geometric mean of their sides."""
    return np.sqrt(np.maximum(boxes[..., 2] * boxes[..., 3], 1e-12))
