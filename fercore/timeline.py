"""A video's expressions as a table, one row a frame and face, and the video with that table drawn into it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from . import overlay
from .errors import DataError, FerError
from .stream import ExpressionStream, TrackedFace
from .tracking import Tracker
from .video import Video, check_target, frames_of, write_video

if TYPE_CHECKING:
    import pandas as pd

    from .inference import Predictor

    Progress = Callable[[Iterable], Iterable]

BOX = ("left", "top", "width", "height")
COLUMNS = ("time", "face", *BOX, "score", "label", "confidence", "uncertain")
"""The columns before the probabilities."""
FORMATS = (".csv", ".parquet", ".jsonl")
"""How a timeline is saved, by the file's suffix."""
_MAX_RATE = 60.0  # frames a second of a rendered video; some containers state a thousand


def timeline(
    predictor: Predictor,
    video: str | Path | Iterable,
    *,
    fps: float | None = None,
    rate: float = 25.0,
    shortest: float = 0.2,
    progress: Progress | None = None,
    **smoothing: float,
) -> pd.DataFrame:
    """Return what the faces of a video express over time.

    Args:
        predictor: what finds and classifies faces.
        video: a video file, or frames as ``video.frames_of`` takes them.
        fps: at most this many frames a second are looked at; None for all.
        rate: frames a second of a list that has no times.
        shortest: what is not seen over this many seconds is taken for an error of the detector and left out.
        progress: wraps the loop over frames, for instance in a ``tqdm`` bar.
        smoothing: ``time_constant``, ``hold``, ``margin`` or ``threshold`` of ``ExpressionStream``.

    Returns:
        A row for each frame in which a face was seen: ``time`` (s), ``face`` (1, 2, ... by first sighting), ``left, top, width,
        height`` (pixels), ``score`` (the detector's), ``label`` (the lasting expression, as a live stream would have shown it;
        missing until there is one), ``confidence`` (smoothed probability of the label; 0 without one), ``uncertain``, then
        ``p_<label>`` (that frame alone) and ``smooth_<label>`` for each label. Sorted by time, then face.

    Raises:
        FerError: the video cannot be read; or pandas, which the table needs, is not installed.
    """
    pd = _pandas()
    stream = ExpressionStream(predictor, tracker=Tracker(birth=shortest), **smoothing)
    frames = Video(video, fps=fps) if isinstance(video, (str, Path)) else frames_of(video, fps=fps, rate=rate)
    rows, faces = [], set()
    for time, frame in progress(frames) if progress else frames:
        faces.update(face.id for face in stream.update(frame, time))
        rows += [_row(face) for face in stream.followed() if face.seen]
    names = [*COLUMNS, *(f"{kind}_{label}" for kind in ("p", "smooth") for label in predictor.labels)]
    table = pd.DataFrame(rows, columns=names)
    table = table[table["face"].isin(faces)]
    table["face"] = table["face"].rank(method="dense").astype("int64")
    return table.sort_values(["time", "face"], ignore_index=True)


def save(table: pd.DataFrame, path: str | Path) -> None:
    """Write a timeline as ``.csv``, ``.parquet`` or ``.jsonl`` (one JSON object a row), by the file's suffix, in one step.

    Raises:
        FerError: another suffix, no such folder, or pyarrow, which Parquet needs, is not installed.
        OSError: the disk is full or not writable; nothing is left behind.
    """
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise FerError(f"{target}: cannot write {target.suffix or 'a file without suffix'}; use {', '.join(FORMATS)}")
    if not target.parent.is_dir():
        raise FerError(f"{target}: there is no folder {target.parent}; make it first")
    staged = target.with_name(f".{target.stem}.{uuid.uuid4().hex[:8]}")
    try:
        match target.suffix.lower():
            case ".csv":
                table.to_csv(staged, index=False, float_format="%.6g")
            case ".parquet":
                table.to_parquet(staged, index=False)
            case _:
                table.to_json(staged, orient="records", lines=True, double_precision=6, force_ascii=False)
        os.replace(staged, target)
    except ImportError:
        raise FerError(
            f"{target}: Parquet needs pyarrow, which is missing; use .csv, or install fercore[app]"
        ) from None
    finally:
        staged.unlink(missing_ok=True)


def render(video: str | Path, table: pd.DataFrame, out: str | Path, *, progress: Progress | None = None) -> None:
    """Write a copy of a video with boxes, labels and probabilities drawn in. The copy is silent.

    Between the rows of a table that was made at few frames a second, boxes move evenly.

    Args:
        video: the file that the table is about.
        table: what ``timeline`` returned, or the same read back from a file.
        out: the new video; see ``video.write_video`` for the formats.
        progress: wraps the loop over frames.

    Raises:
        VideoError: the video cannot be read, or the new one not written.
        DataError: the table lacks columns.
    """
    check_copy(video, out)
    source = Video(video)
    scenes = _Scenes(table)
    marked = (
        (time, overlay.draw(frame, scenes.at(time))) for time, frame in (progress(source) if progress else source)
    )
    write_video(out, marked, rate=min(source.rate, _MAX_RATE))


def check_copy(video: str | Path, out: str | Path) -> None:
    """Raise ``FerError`` unless a copy of a video could be written there."""
    if Path(out).resolve() == Path(video).resolve():
        raise FerError(f"{out}: this is the video itself; name another file to write to")
    check_target(out)


class _Scenes:
    """Finds the faces of a table at any time."""

    _BRIDGE = 1.0  # seconds without a row across which a face's box moves on

    def __init__(self, table: pd.DataFrame) -> None:
        missing = [name for name in COLUMNS if name not in table.columns]
        self.labels = [name.removeprefix("smooth_") for name in table.columns if name.startswith("smooth_")]
        if missing or not self.labels:
            raise DataError(
                f"timeline: no column {missing[0] if missing else 'smooth_<label>'}; make it with 'timeline'"
            )
        steps = np.diff(np.unique(table["time"].to_numpy(float)))
        self.step = float(np.median(steps)) if len(steps) else 0.0
        self.faces = {int(number): part.reset_index(drop=True) for number, part in table.groupby("face")}
        self.times = {number: part["time"].to_numpy(float) for number, part in self.faces.items()}
        self.boxes = {number: part[list(BOX)].to_numpy(float) for number, part in self.faces.items()}

    def at(self, time: float) -> list[overlay.Mark]:
        """Return the faces that are there at a time: seen within the last step of the table, or between two near rows."""
        marks = []
        for number, times in self.times.items():
            last = int(np.searchsorted(times, time + 1e-3, side="right")) - 1
            if last < 0:
                continue
            boxes, following = self.boxes[number], min(last + 1, len(times) - 1)
            gap = times[following] - times[last]
            bridged = 0 < gap <= max(self._BRIDGE, 2 * self.step)
            if not bridged and time - times[last] > max(self.step - 2e-3, 1e-3):
                continue
            share = min(max((time - times[last]) / gap, 0.0), 1.0) if bridged else 0.0
            marks.append(self._mark(number, last, boxes[last] + share * (boxes[following] - boxes[last])))
        return marks

    def _mark(self, number: int, position: int, box: np.ndarray) -> overlay.Mark:
        row = self.faces[number].iloc[position]
        return overlay.Mark(
            id=number,
            box=tuple(box),
            label=row["label"] if isinstance(row["label"], str) else None,
            confidence=float(row["confidence"]),
            probabilities={label: float(row[f"smooth_{label}"]) for label in self.labels},
        )


def _row(face: TrackedFace) -> tuple:
    return (
        *(face.time, face.id, *face.box, face.raw.score, face.label, face.confidence, face.uncertain),
        *(face.raw.probabilities[label] for label in face.probabilities),
        *face.probabilities.values(),
    )


def _pandas() -> ModuleType:
    try:
        import pandas
    except ImportError:
        raise FerError(
            "a timeline needs pandas, which is missing; install fercore with its extra: fercore[app]"
        ) from None
    return pandas
