"""Frames with their times, from a video file, a camera or a list; and frames written as a video file.

Files are read by OpenCV's FFmpeg, which would also open playlists that name other files, and addresses. So the kind of a
file is told by its first bytes, only plain containers reach FFmpeg, and what the header states is checked before the first
frame. FFmpeg turns the frames upright as the container says.

FFmpeg tells about damaged frames on the error stream, unless ``OPENCV_FFMPEG_LOGLEVEL`` is -8 when it is first used.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import stat
import time as clock
import uuid
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from .errors import ConfigError, FerError
from .images import MAX_PIXELS

TimedFrame = tuple[float, np.ndarray]

IN_MEMORY = "uploaded video"
"""What errors call a video that is no file."""

SUFFIXES: tuple[str, ...] = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".webm", ".mkv", ".avi"),
    *(".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".ogv"),
)
"""The file names that are taken for videos."""

CODECS: dict[str, str] = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG", ".webm": "VP80"}
"""How a video is written, by the file's name: the codecs that OpenCV's wheels bring along on every platform."""

_KNOWN = re.compile(
    rb"....(ftyp|moov|mdat|wide|free|skip)|\x1a\x45\xdf\xa3|RIFF....AVI |FLV\x01|OggS|\x30\x26\xb2\x75\x8e\x66\xcf\x11"
    rb"|\x00\x00\x01[\xba\xb3]|\x47.{187}\x47|.{4}\x47.{191}\x47|YUV4MPEG2 ",
    re.DOTALL,
)
"""The first bytes of MP4 and MOV, Matroska and WebM, AVI, FLV, Ogg, WMV, MPEG, transport streams and raw YUV."""
_MEND = "use an MP4, MOV, WebM, MKV, AVI or MPEG video"
_MAX_GAP = 600.0  # seconds between two frames; a container that states more is wrong
_RETRIES = 50  # damaged frames in a row before a file counts as ended
_USUAL_RATE = 25.0  # where a container states none


class VideoError(FerError):
    """A video or camera that cannot be read, or a video that cannot be written: what and why."""


class Video:
    """A video file: iterate over it, again and again, for ``(time, frame)`` pairs.

    Times are the container's, in seconds from the start, and increase; frames are RGB uint8 (H, W, 3), upright. Frames that
    are damaged beyond reading are left out; where the pictures end long before the stated duration, a warning says so.

    Args:
        path: the file; or its content, which then stays in memory.
        fps: at most this many frames a second; None for all.

    Raises:
        VideoError: there is no such file, or it is no video that can be read. Iteration raises it where no frame can be.
        ConfigError: ``fps`` is not a positive number.
    """

    def __init__(self, path: str | os.PathLike[str] | bytes, *, fps: float | None = None) -> None:
        self._data = path if isinstance(path, bytes) else None
        self.path = Path(IN_MEMORY if isinstance(path, bytes) else path)
        self._fps = _Sampler(fps).fps
        if self._data is None:
            _check_file(self.path)
        elif problem := _problem(self._data[:400]):
            raise VideoError(f"{IN_MEMORY}: {problem}")
        with self._open() as capture:
            rate, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
            self.width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
            self.height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self.rate = rate if 0.001 <= rate <= 1000 else _USUAL_RATE
        """Frames a second that the container states, on average."""
        self.duration = count / self.rate if 0 < count < 1e9 else None
        """Seconds that the container states, or None."""

    def __len__(self) -> int:
        """Return about how many frames an iteration gives, for progress bars. Raises ``TypeError`` where nobody knows."""
        if self.duration is None:
            raise TypeError(f"{self.path}: the container does not state its length")
        return max(1, round(self.duration * min(self.rate, self._fps or math.inf)))

    def __iter__(self) -> Iterator[TimedFrame]:
        step = 1 / self.rate
        sampler = _Sampler(self._fps)
        time, failures, found = -step, 0, False
        with self._open() as capture:
            while failures < _RETRIES:
                if not capture.grab():
                    failures += 1
                    continue
                failures = 0
                stated = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                time = stated if 0 < stated - time <= _MAX_GAP else time + step
                if not sampler.takes(time):
                    continue
                readable, frame = capture.retrieve()
                if readable and frame is not None and frame.ndim == 3:
                    found = True
                    yield time, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        if not found:
            raise VideoError(f"{_printable(self.path)}: no frame in it can be read; copy or convert it again")
        end = time + step
        if self.duration is not None and self.duration - end > max(1.0, self.duration / 10):
            warnings.warn(
                f"{_printable(self.path)}: the pictures end at {end:.1f} of {self.duration:.1f} s; the file may be damaged",
                stacklevel=2,
            )

    @contextlib.contextmanager
    def _open(self) -> Iterator[cv2.VideoCapture]:
        if self._data is None:
            # An absolute path: FFmpeg would take what stands before a colon for a protocol.
            capture = cv2.VideoCapture(os.path.abspath(self.path), cv2.CAP_FFMPEG)
        else:
            stream = io.BytesIO(self._data)  # a name of its own: OpenCV reads from it without holding it
            capture = cv2.VideoCapture(stream, cv2.CAP_FFMPEG, [])
        try:
            pixels = capture.get(cv2.CAP_PROP_FRAME_WIDTH) * capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
            if not capture.isOpened() or pixels < 1:
                raise VideoError(f"{_printable(self.path)}: damaged, or of a codec that cannot be read; {_MEND}")
            if pixels > MAX_PIXELS:
                stated = f"frames of {pixels:,.0f} pixels, more than the {MAX_PIXELS:,} allowed"
                raise VideoError(f"{_printable(self.path)}: {stated}; scale it down")
            yield capture
        except cv2.error as error:
            detail = " ".join(str(error).split())[:200]
            raise VideoError(f"{_printable(self.path)}: damaged ({detail}); copy or convert it again") from error
        finally:
            capture.release()


def is_video(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is a video by its name."""
    return Path(path).suffix.lower() in SUFFIXES


def find_videos(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the videos anywhere below those of some paths that are folders, sorted; hidden ones do not count."""
    found = []
    for folder in filter(os.path.isdir, paths):
        for place, below, names in os.walk(folder):
            below[:] = [name for name in below if not name.startswith(".")]
            found += [Path(place, name) for name in names if is_video(name) and not name.startswith(".")]
    return sorted(found)


def frames_of(
    source: str | os.PathLike[str] | int | Iterable, *, fps: float | None = None, rate: float = 25.0
) -> Iterator[TimedFrame]:
    """Return an iterator over the ``(time, frame)`` pairs of a source; times in seconds, frames RGB uint8 (H, W, 3).

    Args:
        source: a video file; the number of a camera (0 is the first), which goes on until you stop; or frames in order,
            either alone or as ``(time, frame)`` pairs, which are passed on as they are.
        fps: at most this many frames a second; None for all.
        rate: frames a second of frames that come without times.

    Raises:
        VideoError: a file or camera cannot be read, at once or where that shows later.
        FerError: the source is of another kind.
    """
    if not (math.isfinite(rate) and rate > 0):
        raise ConfigError(f"rate: expected frames a second, above 0, got {rate}")
    sampler = _Sampler(fps)
    if isinstance(source, int):
        return _camera(source, sampler)
    if isinstance(source, (str, os.PathLike)):
        return iter(Video(source, fps=fps))
    if isinstance(source, bytes) or not isinstance(source, Iterable) or getattr(source, "ndim", 4) != 4:
        raise FerError(
            f"source: expected a video file, the number of a camera or a list of frames, got {type(source).__name__}"
        )
    return _listed(source, sampler, rate)


def write_video(path: str | os.PathLike[str], frames: Iterable[TimedFrame], *, rate: float) -> None:
    """Write frames as a silent video of constant rate, in one step: the file appears when it is whole.

    Frames are repeated or left out so that each is shown at its time.

    Args:
        path: a new file or one to replace; its suffix, one of ``CODECS``, decides the format. Web pages play ``.webm``.
        frames: ``(time, frame)`` pairs in order: seconds, and RGB uint8 (H, W, 3) of one size.
        rate: frames a second.

    Raises:
        VideoError: another suffix, no frame, or the file cannot be written (for instance because the disk is full).
    """
    if not (math.isfinite(rate) and rate > 0):
        raise ConfigError(f"rate: expected frames a second, above 0, got {rate}")
    target = Path(path)
    check_target(target)
    codec = CODECS[target.suffix.lower()]
    staged = target.with_name(f".{target.stem}.{uuid.uuid4().hex[:8]}{target.suffix.lower()}")
    try:
        written, whole = _write(staged, codec, frames, rate), False
        if not written:
            raise VideoError(f"{target}: no frame to write")
        with contextlib.suppress(VideoError):
            whole = (Video(staged).duration or 0) * rate > written * 0.9
        if not whole:
            raise VideoError(f"{target}: could not be written whole; is the disk full, or the picture tiny?")
        os.replace(staged, target)
    finally:
        staged.unlink(missing_ok=True)


def check_target(path: str | os.PathLike[str]) -> None:
    """Raise ``VideoError`` unless a video could be written there: a known suffix, in a folder that is there."""
    target = Path(path)
    if target.suffix.lower() not in CODECS:
        raise VideoError(f"{target}: cannot write {target.suffix or 'a file without suffix'}; use {', '.join(CODECS)}")
    if not target.parent.is_dir():
        raise VideoError(f"{target}: there is no folder {target.parent}; make it first")


class _Sampler:
    """Chooses the frames to take so that there are at most ``fps`` a second."""

    _TOLERANCE = 1e-3  # containers round times to milliseconds

    def __init__(self, fps: float | None) -> None:
        if fps is not None and not (math.isfinite(fps) and fps > 0):
            raise ConfigError(f"fps: expected frames a second, above 0, got {fps}")
        self.fps = fps
        self._due = -math.inf

    def takes(self, time: float) -> bool:
        if self.fps is None:
            return True
        time += self._TOLERANCE
        if time < self._due:
            return False
        self._due = (math.floor(time * self.fps) + 1) / self.fps
        return True


def _camera(number: int, sampler: _Sampler) -> Iterator[TimedFrame]:
    capture = cv2.VideoCapture(number)
    try:
        if not capture.isOpened():
            raise VideoError(f"camera {number}: cannot be opened; check that it is connected and not in use elsewhere")
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # where frames are worked on slowly, the next one should still be fresh
        start = clock.monotonic()
        while True:
            readable, frame = capture.read()
            time = clock.monotonic() - start
            if not readable:
                raise VideoError(f"camera {number}: gives no more frames; check that it is still connected")
            if sampler.takes(time):
                yield time, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def _listed(source: Iterable, sampler: _Sampler, rate: float) -> Iterator[TimedFrame]:
    for number, item in enumerate(source):
        time, frame = item if isinstance(item, tuple) and len(item) == 2 else (number / rate, item)
        if sampler.takes(time):
            yield time, frame


def _write(file: Path, codec: str, frames: Iterable[TimedFrame], rate: float) -> int:
    """Write frames at a constant rate; return how many."""
    writer, written, start, waiting = None, 0, 0.0, None
    try:
        for time, frame in frames:
            height, width = frame.shape[:2]
            if waiting is not None and waiting.shape != frame.shape:
                raise VideoError(
                    f"frames: {width} x {height} pixels after others of another size; scale them to one size"
                )
            if writer is None:
                start = time
                writer = cv2.VideoWriter(
                    os.path.abspath(file), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), rate, (width, height)
                )
                if not writer.isOpened():
                    raise VideoError(f"{file.parent}: no video of {width} x {height} pixels can be written there")
            while waiting is not None and written < round((time - start) * rate):
                writer.write(waiting)
                written += 1
            waiting = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        if waiting is not None:
            writer.write(waiting)
            written += 1
    finally:
        if writer is not None:
            writer.release()
    return written


def _check_file(path: Path) -> None:
    """Refuse what is not a regular file that starts like a video."""
    where = _printable(path)
    problem = ""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            problem = "is a folder; name a video in it"
        elif not stat.S_ISREG(mode):
            problem = "is not a regular file; name a video file"
        else:
            with path.open("rb") as file:
                problem = _problem(file.read(400))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        problem = "no such file; check the path"
    except OSError as error:
        problem = f"cannot be opened ({error.strerror}); check the path and its permissions"
    if problem:
        raise VideoError(f"{where}: {problem}")


def _problem(head: bytes) -> str:
    """Return what is wrong with a file that starts so; empty where it starts like a video."""
    if not head:
        return "empty, 0 bytes; copy it again"
    return "" if _KNOWN.match(head) else f"no video of a known format; {_MEND}"


def _printable(path: Path) -> str:
    """Return a file name that fits on one line, whatever its author put into it."""
    text = str(path)
    return text if text.isprintable() else ascii(text)
