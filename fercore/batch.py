"""Many photos: one after the other, or shared between processes; the answers and their order are the same.

A photo that cannot be read gives an answer that says why, and the others go on. With processes that holds even for one that
takes its process down or keeps it busy for more than a minute: another process takes over. ``cluster`` does the same on many
machines, where each of its actors keeps such a process (``Guarded``).

Processes are started afresh (``spawn``), as Windows and macOS need: a script that calls ``answers`` with ``workers`` above 1
does so below ``if __name__ == "__main__":``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from .errors import ConfigError, FerError, RunError
from .inference import Face, Predictor

PATIENCE = 60.0
"""Seconds after which a process that is busy with one photo is ended."""
_AHEAD = 4  # photos that a process has waiting, so that it need not wait itself
_WINDOW = 64  # photos a process that may be answered before their turn


@dataclasses.dataclass(frozen=True)
class Setup:
    """What each process needs to make its own predictor; see ``Predictor.load``."""

    run: str | None = None
    head: str | None = None
    detector: str | None = None
    flip: bool = False

    def predictor(self) -> Predictor:
        """Load it."""
        return Predictor.load(self.run, head=self.head, detector=self.detector, flip=self.flip)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What became of one photo."""

    image: str
    """The photo's path, as it was given."""
    faces: tuple[Face, ...] = ()
    """Largest first."""
    error: str = ""
    """Why there is no answer: one line; empty where there is one."""

    def to_dict(self) -> dict[str, Any]:
        """Return what ``predict --json`` prints of a photo."""
        if self.error:
            return {"image": self.image, "error": self.error}
        return {"image": self.image, "faces": [face.to_dict() for face in self.faces]}


def answers(setup: Setup, photos: Sequence[str | os.PathLike[str]], *, workers: int = 1) -> Iterator[Answer]:
    """Yield the answer of each photo, in the order of the photos, whoever was ready first.

    Args:
        setup: the run and the detector.
        photos: paths.
        workers: processes that share them; 1 for this one alone, 0 for as many as there are processor cores.

    Raises:
        FerError: the run or the detector cannot be loaded, or the number is negative.
    """
    if workers < 0:
        raise ConfigError(f"workers: expected a number of processes, 0 for one a core, got {workers}")
    names = [os.fspath(photo) for photo in photos]
    workers = min(workers or os.cpu_count() or 1, len(names))
    return _shared(setup, names, workers) if workers > 1 else _alone(setup, names)


def answer(predictor: Predictor, photo: str) -> Answer:
    """Answer one photo; whatever goes wrong becomes the answer's error."""
    try:
        return Answer(photo, tuple(predictor.predict(photo)))
    except FerError as error:
        return Answer(photo, error=str(error))
    except Exception as error:  # a defect of ours, or no memory: it costs this photo and not the folder
        detail = " ".join(str(error).split())[:200]
        return Answer(
            photo, error=f"{photo}: cannot be classified ({type(error).__name__}: {detail}); please report it"
        )


def _alone(setup: Setup, photos: Iterable[str]) -> Iterator[Answer]:
    predictor = setup.predictor()
    for photo in photos:
        yield answer(predictor, photo)


def _work(connection: Connection, setup: Setup) -> None:
    """Answer photos from a pipe until it is closed: what a process does. First it says why it cannot, or nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that the user started, which ends this one
    import cv2

    cv2.setNumThreads(1)
    predictor, refusal = None, ""
    try:
        predictor = setup.predictor()
    except FerError as error:
        refusal = str(error)
    with contextlib.suppress(EOFError, OSError):  # whoever asks has gone
        connection.send(refusal)
        while predictor:
            connection.send(answer(predictor, connection.recv()))


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Let no Ctrl-C reach a process that is started inside before it can ignore it; ours arrives afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # which would let signals through, were it started inside
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    """A process, and the photos that were given to it and are not answered yet."""

    def __init__(self, setup: Setup) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_work, args=(other, setup), daemon=True)
        with _held_back():
            self.process.start()
        other.close()
        self.ready = False
        self.waiting: deque[int] = deque()
        self.since = time.monotonic()

    def give(self, number: int, photo: str) -> None:
        if not self.waiting:
            self.since = time.monotonic()
        self.waiting.append(number)
        with contextlib.suppress(OSError):  # it has ended, which its pipe tells whoever reads from it
            self.connection.send(photo)

    def receive(self) -> Any:
        """Return what it sent. Raises ``EOFError`` where it has ended."""
        try:
            value = self.connection.recv()
        except OSError:
            raise EOFError from None
        self.since = time.monotonic()
        return value

    def end(self) -> int | None:
        """End the process; return its exit code."""
        self.connection.close()
        self.process.join(0.2)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        return self.process.exitcode


class Guarded:
    """One process that answers photos in turn, replaced where a photo ends it or keeps it busy for too long."""

    def __init__(self, setup: Setup, patience: float = PATIENCE) -> None:
        """Start it.

        Raises:
            FerError: the run or the detector cannot be loaded.
        """
        self.setup, self.patience = setup, patience
        self._worker = self._started()

    def answer(self, photo: str) -> Answer:
        """Answer one photo; what goes wrong with it, or with the process that reads it, becomes the answer's error."""
        self._worker.give(0, photo)
        late = not wait([self._worker.connection], timeout=self.patience)
        try:
            if late:
                raise EOFError
            return self._worker.receive()
        except EOFError:
            code = self._worker.end()
            self._worker = self._started()
            return _lost(photo, code, self.patience if late else None)

    def close(self) -> None:
        """End the process."""
        self._worker.end()

    def _started(self) -> _Worker:
        worker = _Worker(self.setup)
        try:
            refusal = worker.receive()
        except EOFError:
            refusal = _refusal(self.setup, worker.end())
        if refusal:
            worker.end()
            raise RunError(refusal)
        return worker


def _refusal(setup: Setup, code: int | None) -> str:
    return f"{setup.run}: a process ended while it loaded the run (code {code})"


def _lost(photo: str, code: int | None, patience: float | None) -> Answer:
    """Return the answer of a photo that ended its process, or kept it busy for longer than ``patience`` seconds."""
    what = f"ends the process that reads it ({code})" if patience is None else f"takes more than {patience:.0f} s"
    return Answer(photo, error=f"{photo}: {what}; save it again")


def _shared(setup: Setup, photos: Sequence[str], count: int) -> Iterator[Answer]:
    """Share photos between processes; the answers come in the photos' order."""
    workers: list[_Worker] = []
    todo = deque(range(len(photos)))
    found: dict[int, Answer] = {}
    turn = 0
    try:
        workers += [_Worker(setup) for _ in range(count)]
        while turn < len(photos):
            for worker in workers:
                while todo and len(worker.waiting) < _AHEAD and worker.ready and todo[0] < turn + _WINDOW * count:
                    number = todo.popleft()
                    worker.give(number, photos[number])
            readable = wait([worker.connection for worker in workers], timeout=1.0)
            for place, worker in enumerate(workers):
                late = worker.waiting and time.monotonic() - worker.since > PATIENCE
                if worker.connection not in readable and not late:
                    continue
                try:
                    if worker.connection not in readable:
                        raise EOFError
                    value = worker.receive()
                    if worker.ready:
                        found[worker.waiting.popleft()] = value
                    elif value:
                        raise FerError(value)
                    worker.ready = True
                except EOFError:
                    code = worker.end()
                    if not worker.ready:
                        raise RunError(_refusal(setup, code)) from None
                    if worker.waiting:
                        number = worker.waiting.popleft()
                        found[number] = _lost(photos[number], code, PATIENCE if late else None)
                    todo.extendleft(reversed(worker.waiting))
                    workers[place] = _Worker(setup)
            while turn in found:
                yield found.pop(turn)
                turn += 1
    finally:
        for worker in workers:
            worker.connection.close()
        for worker in workers:
            worker.end()
