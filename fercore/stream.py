"""Frames in, lasting expressions out: each face is followed, its probabilities are smoothed, and its label changes late
rather than often, so that an application can respond to a change and not to flicker.

>>> from fercore import Predictor
>>> stream = ExpressionStream(Predictor.load(), on_change=lambda face, old, new: print(face.id, old, "->", new))
>>> for moment in stream.run("video.mp4"):
...     show(moment.frame, moment.faces)

What happens to one face:

1. Its probabilities of each frame are averaged, the weight of a frame falling by e every ``time_constant`` seconds.
2. Another label becomes the candidate once it leads the shown one by ``margin`` in that average and reaches the run's
   threshold of certainty.
3. A candidate that stays one for ``hold`` seconds, and that the latest frame confirms, is shown: ``on_change`` is called.

So a disturbance that lasts less than ``hold`` never changes the label of a face at rest. A true change is shown after
``time_constant * log((a + b) / (b - margin)) + hold`` seconds and at most a frame more, where the old label led the new
one by ``a`` before it and the new one leads by ``b`` since: for a clear change (both 0.7) and the defaults, 0.92 s.
"""

from __future__ import annotations

import dataclasses
import math
import time as clock
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .errors import ConfigError, FerError
from .tracking import Track, Tracker
from .video import frames_of

if TYPE_CHECKING:
    from .inference import Face, Predictor


@dataclasses.dataclass(frozen=True)
class TrackedFace:
    """One face at one moment, with what it has lately looked like."""

    id: int
    """The same number for as long as the face is followed."""
    time: float
    """Of the frame, in seconds."""
    box: tuple[float, float, float, float]
    """Left, top, width, height in pixels where the face was last seen."""
    seen: bool
    """False where the detector missed the face in this frame: all else is as it was in the last one that showed it."""
    label: str | None
    """The lasting expression; None until there has been one."""
    since: float
    """Time from which ``label`` has been shown."""
    confidence: float
    """Smoothed probability of ``label``; 0 while there is none."""
    probabilities: dict[str, float]
    """Smoothed."""
    uncertain: bool
    """True where no smoothed probability reaches the threshold: ``label`` is then kept from before."""
    appeared: float
    """Time of the first sighting."""
    raw: Face
    """The latest sighting as the predictor gave it, with key points and the probabilities of that frame alone."""


class Moment(NamedTuple):
    """What ``ExpressionStream.run`` yields for each frame."""

    time: float
    frame: np.ndarray
    faces: list[TrackedFace]


class Smoother:
    """The state of one face: an average of its probabilities, and a label that only a lasting change moves.

    ``ExpressionStream`` explains the options; times are in seconds, positions are those of the labels.
    """

    def __init__(self, *, time_constant: float, hold: float, margin: float, threshold: float) -> None:
        self.time_constant = time_constant
        self.hold = hold
        self.margin = margin
        self.threshold = threshold
        self.shown: int | None = None
        """Position of the label that is shown."""
        self.since = 0.0
        """Time of the last change of ``shown``."""
        self._sum: np.ndarray | float = 0.0
        self._weight = 0.0
        self._time = 0.0
        self._candidate: int | None = None
        self._candidate_since = 0.0

    @property
    def average(self) -> np.ndarray:
        """(K,) smoothed probabilities."""
        return self._sum / self._weight

    @property
    def uncertain(self) -> bool:
        """Whether no label reaches the threshold at present."""
        return bool(self.average.max() < self.threshold)

    def update(self, probabilities: np.ndarray, time: float) -> None:
        """Take in the probabilities (K,) of the next frame."""
        elapsed = time - self._time
        keep = math.exp(-elapsed / self.time_constant) if self._weight and self.time_constant else 0.0
        self._sum = self._sum * keep + probabilities
        self._weight = self._weight * keep + 1.0
        self._time = time
        average = self.average
        best = int(average.argmax())
        lead = average[best] - (average[self.shown] if self.shown is not None else 0.0)
        if best == self.shown or lead < self.margin or average[best] < self.threshold:
            self._candidate = None
            return
        if best != self._candidate:
            self._candidate, self._candidate_since = best, time
        if time - self._candidate_since >= self.hold and int(probabilities.argmax()) == best:
            self.shown, self.since, self._candidate = best, time, None


@dataclasses.dataclass
class _State:
    """What the stream keeps of a track."""

    smoother: Smoother
    raw: Face | None = None
    announced: bool = False
    told: str | None = None


class ExpressionStream:
    """Follows the expressions of faces through a camera, a video or any frames. One object for one sequence; not for threads.

    Events are called from ``update``, after its state is complete, in this order: departures, arrivals, changes. What an
    event raises passes through ``update``, and the events after it in that frame are lost.

    Args:
        predictor: what finds and classifies faces; see ``Predictor``.
        time_constant: seconds over which probabilities are averaged; 0 for none.
        hold: seconds for which another label must lead before it is shown.
        margin: by how much probability it must lead.
        threshold: least smoothed probability of a new label, below which a face keeps its old one (or None); None for
            the run's own.
        tracker: how faces are followed; None for ``Tracker()``, whose options are the seconds until a face counts as one
            (``birth``) and until it has left (``patience``).
        on_appear: called with a face that is new; its first label comes with ``on_change``, ``old`` being None.
        on_change: called with the face, its old label (or None) and its new one.
        on_leave: called with the last state of a face that is gone.

    Raises:
        ConfigError: an option is out of range.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        time_constant: float = 0.5,
        hold: float = 0.5,
        margin: float = 0.1,
        threshold: float | None = None,
        tracker: Tracker | None = None,
        on_appear: Callable[[TrackedFace], Any] | None = None,
        on_change: Callable[[TrackedFace, str | None, str], Any] | None = None,
        on_leave: Callable[[TrackedFace], Any] | None = None,
    ) -> None:
        for name, value in (("time_constant", time_constant), ("hold", hold)):
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name}: expected seconds, 0 or more, got {value}")
        threshold = predictor.head.threshold if threshold is None else threshold
        for name, value in (("margin", margin), ("threshold", threshold)):
            if not 0 <= value <= 1:
                raise ConfigError(f"{name}: expected a probability from 0 to 1, got {value}")
        self.predictor = predictor
        self.tracker = tracker or Tracker()
        self.on_appear = on_appear
        self.on_change = on_change
        self.on_leave = on_leave
        self._smoothing = {"time_constant": time_constant, "hold": hold, "margin": margin, "threshold": threshold}
        self._states: dict[int, _State] = {}
        self._time = -math.inf

    def update(self, frame: np.ndarray, time: float | None = None) -> list[TrackedFace]:
        """Take in the next frame and call the events that it causes.

        Args:
            frame: RGB uint8 (H, W, 3), or whatever else ``Predictor.predict`` takes.
            time: of the frame in seconds from any start, not before the last frame's; None for the computer's clock.

        Returns:
            The faces that are present, by id; those that the detector just missed are among them (see ``seen``).

        Raises:
            FerError: the time goes back or is not a number; ``ImageError`` where the frame cannot be read.
        """
        now = clock.monotonic() if time is None else float(time)
        if not (math.isfinite(now) and now >= self._time):
            raise FerError(f"time: {now} s after {self._time} s; give the frames in order, or call finish() in between")
        found = self.predictor.predict(frame, turn=False)
        owners, gone = self.tracker.update([face.box for face in found], now)
        self._time = now
        for raw, track in zip(found, owners, strict=True):
            state = self._states.setdefault(track.id, _State(Smoother(**self._smoothing)))
            state.raw = raw
            row = np.array([raw.probabilities[label] for label in self.predictor.labels])
            state.smoother.update(row, now)
        left = [self._snapshot(track, now) for track in gone]
        present = {track.id for track in self.tracker.tracks}
        self._states = {number: state for number, state in self._states.items() if number in present}
        faces = [self._snapshot(track, now) for track in self.tracker.tracks if self.tracker.is_face(track)]
        self._tell(left, faces)
        return faces

    def followed(self) -> list[TrackedFace]:
        """Return all that is followed since the last frame: the faces, and what has not been seen for long enough to be one."""
        return [self._snapshot(track, self._time) for track in self.tracker.tracks]

    def run(
        self, source: str | Path | int | Iterable, *, fps: float | None = None, rate: float = 25.0
    ) -> Iterator[Moment]:
        """Follow a whole source; afterwards every face leaves.

        Args:
            source: a video file, the number of a camera, or frames; ``fps`` and ``rate`` as in ``video.frames_of``.
            fps: at most this many frames a second are looked at; None for all.
            rate: frames a second of a list that has no times.

        Raises:
            FerError: the source cannot be read, in one line.
        """
        for time, frame in frames_of(source, fps=fps, rate=rate):
            yield Moment(time, frame, self.update(frame, time))
        self.finish()

    def finish(self) -> None:
        """End a sequence: every face leaves, and the next frame may have any time. Numbers of faces are not given again."""
        left = [self._snapshot(track, self._time) for track in self.tracker.clear()]
        self._states = {}
        self._time = -math.inf
        self._tell(left, [])

    def _tell(self, left: list[TrackedFace], faces: list[TrackedFace]) -> None:
        """Call the events; what has been told is noted before the first call."""
        arrivals, changes = [], []
        for face in faces:
            state = self._states[face.id]
            if not state.announced:
                arrivals.append(face)
            if state.told != face.label:
                changes.append((face, state.told, face.label))
            state.announced, state.told = True, face.label
        for event, calls in (
            (self.on_leave, [(face,) for face in left]),
            (self.on_appear, [(face,) for face in arrivals]),
            (self.on_change, changes),
        ):
            if event:
                for arguments in calls:
                    event(*arguments)

    def _snapshot(self, track: Track, now: float) -> TrackedFace:
        state = self._states[track.id]
        smoother, labels = state.smoother, self.predictor.labels
        average = smoother.average
        shown = smoother.shown
        return TrackedFace(
            id=track.id,
            time=now,
            box=tuple(float(value) for value in track.box),
            seen=track.last == now,
            label=None if shown is None else labels[shown],
            since=track.first if shown is None else smoother.since,
            confidence=0.0 if shown is None else float(average[shown]),
            probabilities={label: float(value) for label, value in zip(labels, average, strict=True)},
            uncertain=smoother.uncertain,
            appeared=track.first,
            raw=state.raw,
        )
