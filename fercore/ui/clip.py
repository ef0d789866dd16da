"""A visitor's video: read from memory, its faces followed, and shown as a timeline.

Only the last video's numbers and a few small pictures of its faces stay in the visitor's session; the frames are forgotten, and
nothing is written to the disk.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np
import pandas as pd
import streamlit as st

from .. import charts
from ..runs import Run
from ..timeline import timeline
from ..video import TimedFrame, Video
from . import faces, loaders, progress, tables, widgets
from .text import plain

LONGEST = 60.0
"""Seconds of a video that are looked at."""
FPS = 5.0
"""Frames a second that are looked at."""
MOST_MOMENTS = 12
"""Pictures of faces that are kept."""
_WIDE = 960  # pixels of a frame's longer side; what is larger costs time and shows the network nothing new
_KEY = "clip"


@dataclasses.dataclass(frozen=True)
class Moment:
    """A face when its lasting expression has changed."""

    picture: np.ndarray
    time: float
    face: int
    label: str
    confidence: float


@dataclasses.dataclass(frozen=True)
class Clip:
    """What a video shows."""

    table: pd.DataFrame
    """What ``timeline.timeline`` returns; boxes in pixels of the frames that were looked at."""
    moments: tuple[Moment, ...]
    seconds: float
    """How much was looked at."""
    cut: bool
    """Whether the video goes on after that."""


def read(run: Run, head: str, upload: Any) -> Clip:
    """Return what a video shows, with progress on the page; the answer is kept in the visitor's session until the next one.

    Raises:
        VideoError: it is no video that can be read.
    """
    key = (run.name, run.info["files"].get("model.onnx"), head, upload.file_id, upload.size)
    kept = st.session_state.get(_KEY)
    if kept and kept[0] == key:
        return kept[1]
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # a damaged video gets our one line
    with _turn():
        clip = look(loaders.predictor(run, head, tiles=False), upload.getvalue(), counted=progress.counted)
    st.session_state[_KEY] = (key, clip)
    return clip


def look(predictor: Any, data: bytes, *, counted: Any = None) -> Clip:
    """Follow the faces of a video's first ``LONGEST`` seconds.

    Args:
        predictor: what finds and classifies faces.
        data: the video file's content.
        counted: wraps the loop over frames: given them, about how many there are, and what one is called.
    """
    video = Video(data, fps=FPS)
    total = round(min(video.duration or LONGEST, LONGEST) * FPS) or 1
    seen: dict[float, bytes] = {}
    ended = [0.0, False]

    def frames() -> Iterator[TimedFrame]:
        for time, frame in video:
            if time > LONGEST:
                ended[1] = True
                return
            small = _smaller(frame)
            seen[time] = cv2.imencode(".jpg", small[:, :, ::-1])[1].tobytes()
            ended[0] = time
            yield time, small

    source: Iterable[TimedFrame] = counted(frames(), total, "Frame") if counted else frames()
    table = timeline(predictor, source)
    return Clip(table, tuple(_moments(table, seen)), ended[0], bool(ended[1]))


def show(run: Run, head: str, upload: Any) -> None:
    """Draw a video's timeline, its moments and its table."""
    clip = read(run, head, upload)
    if clip.cut:
        st.info(f"Only the first {LONGEST:.0f} seconds were looked at.", icon=":material/content_cut:")
    figure = charts.expressions_over_time(clip.table)
    if figure is None:
        st.info(
            f"No face was found in {clip.seconds:.0f} s. Faces may be turned away, too dark, or smaller than about 24 pixels.",
            icon=":material/face_retouching_off:",
        )
        return
    widgets.show(
        figure,
        "timeline",
        f"Below, a face's probabilities, smoothed over half a second; the strip above them is the expression that lasts. "
        f"{FPS:.0f} frames a second were looked at.",
    )
    if clip.moments:
        widgets.section("Moments", "When an expression began to last.")
        faces.gallery([_caption(moment) for moment in clip.moments])
    widgets.section("Faces")
    widgets.table(
        tables.clip_faces(clip.table), "faces", "Time and share of each lasting expression of the video's faces"
    )
    with st.expander("All frames"):
        widgets.table(clip.table.round(3), "timeline-frames", "A row a frame and face, with all probabilities")


def _caption(moment: Moment) -> tuple[np.ndarray, str, str]:
    where = f"{moment.time:.1f} s, face {moment.face}"
    return (
        moment.picture,
        f"{where}: {moment.label}",
        f"Face {moment.face} at {moment.time:.1f} s: {plain(moment.label)}",
    )


def _moments(table: pd.DataFrame, seen: dict[float, bytes]) -> Iterator[Moment]:
    """Yield the faces whose lasting expression has just changed, at most ``MOST_MOMENTS`` spread over the video."""
    lasting = table[table["label"].notna()]
    changed = lasting[lasting.groupby("face")["label"].transform(lambda label: label.ne(label.shift()))]
    picked = np.unique(np.linspace(0, len(changed) - 1, min(len(changed), MOST_MOMENTS)).round().astype(int))
    for row in changed.iloc[picked].itertuples():
        frame = cv2.imdecode(np.frombuffer(seen[row.time], np.uint8), cv2.IMREAD_COLOR_RGB)
        box = np.array([row.left, row.top, row.width, row.height])
        picture = cv2.resize(loaders.cut_out(frame, box), (216, 216), interpolation=cv2.INTER_AREA)
        yield Moment(picture, float(row.time), int(row.face), str(row.label), float(row.confidence))


def _smaller(frame: np.ndarray) -> np.ndarray:
    scale = _WIDE / max(frame.shape[:2])
    if scale >= 1:
        return frame
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


@contextlib.contextmanager
def _turn() -> Iterator[None]:
    """Let one video at a time be looked at on this server: the others wait, and say so."""
    lane, waiting = _lane(), st.empty()
    while not lane.acquire(timeout=0.3):
        waiting.info("Another visitor's video comes first …", icon=":material/hourglass_top:")
    try:
        waiting.empty()
        yield
    finally:
        lane.release()


@st.cache_resource(show_spinner=False)
def _lane() -> threading.Semaphore:
    return threading.Semaphore(1)
