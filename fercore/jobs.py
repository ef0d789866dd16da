"""Training started from the app: a process of its own, one at a time, whose progress is read from files.

A job is a folder in the user's cache::

    request.json    what was asked
    progress.json   how far it is: stage, epoch, step, history
    result.json     how it ended
    log.txt         what the training printed
    private/        unpacked pictures and whatever is made of them; deleted at the end

Two processes serve a job. ``watch`` is small: it holds the lock, ends the training when it is asked to, and tidies up however
that ended. ``work``, its child, trains; it ends with it. Neither belongs to the app, which only reads the folder: a closed tab
or an app that is started anew changes nothing. The system opens the lock of a ``watch`` that was killed, and the next look
tidies up after it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import config
from .errors import ConfigError, FerError
from .locks import Lock, is_held

KEEP = 10
"""Ended jobs whose logs are kept."""
STARTS_WITHIN = 120.0
"""Seconds that a job's process may take to begin on a crowded machine."""
BEAT = 0.5
"""Seconds between two writings of the progress."""
PACKAGES = ("keras", "tensorflow", "onnx", "tf2onnx", "pandas", "pyarrow")
_PRIVATE, _LOG, _CANCEL = "private", "log.txt", "cancel"
_REQUEST, _PROGRESS, _RESULT, _WATCHED, _OUTCOME = (
    f"{name}.json" for name in ("request", "progress", "result", "watched", "outcome")
)
_PYTHON = str(Path(__file__).resolve().parents[1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(config.Config):
    """What was asked for."""

    recipe: dict[str, Any]
    data: str
    """The data folder."""
    out: str
    """The run's folder."""
    source: str
    """What the pictures are, in words for every visitor: the name of an archive or a folder, without its path."""
    uploaded: bool = False
    by: str = ""
    started: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress(config.Config):
    """How far a training is."""

    stage: str = "starting"
    """``starting``, ``pictures`` (read and cut), ``epochs``, ``writing`` (calibrated and exported), ``testing``."""
    done: float = 0.0
    """Of ``total``: pictures, or epochs, where an unfinished one is a fraction."""
    total: int = 0
    since: float = 0.0
    """When the stage began."""
    loss: float | None = None
    """Of the unfinished epoch."""
    history: tuple[dict[str, float], ...] = ()
    """A row an epoch, as in ``history.csv``."""
    time: float = 0.0
    """When this was written."""

    def left(self) -> float | None:
        """Return about how many seconds the stage will still take; None where that cannot be told yet."""
        spent = self.time - self.since
        if self.stage == "epochs" and self.history:
            return sum(row["seconds"] for row in self.history) / len(self.history) * (self.total - self.done)
        return spent / self.done * (self.total - self.done) if self.done and spent >= 2 else None


@dataclasses.dataclass(frozen=True)
class Job:
    """A training that was started from the app; ``folder`` holds all that is known of it."""

    folder: Path
    request: Request

    @classmethod
    def load(cls, folder: Path) -> Job | None:
        """Return the job of a folder; None where there is none."""
        try:
            return cls(folder, Request.from_dict(_read(folder / _REQUEST)))
        except ConfigError:
            return None

    @property
    def run(self) -> str:
        """The run's name."""
        return Path(self.request.out).name

    @property
    def state(self) -> str:
        """``running``, ``done``, ``failed`` or ``cancelled``."""
        return self.result().get("state", "running")

    @property
    def cancelling(self) -> bool:
        """Whether it was asked to stop."""
        return (self.folder / _CANCEL).exists()

    @property
    def log(self) -> Path:
        """What the training printed."""
        return self.folder / _LOG

    def result(self) -> dict[str, Any]:
        """Return how it ended: ``state``, ``error`` (a line), ``seconds``; empty while it runs."""
        return _read(self.folder / _RESULT)

    def progress(self) -> Progress:
        """Return how far it is, or was when it ended."""
        return Progress.from_dict(_read(self.folder / _PROGRESS))

    def cancel(self) -> None:
        """Ask it to stop; nothing is left of its run. Where it has ended already, nothing happens."""
        (self.folder / _CANCEL).touch()

    def _finish(self, state: str, error: str = "") -> None:
        """Delete what only a running training needs, then write down how it ended."""
        out = Path(self.request.out)
        if state != "done":
            half = re.compile(rf"\.{re.escape(out.name)}\.(training|[0-9a-f]{{8}})")
            for path in out.parent.iterdir() if out.parent.is_dir() else ():
                if half.fullmatch(path.name):
                    shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(self.folder / _PRIVATE, ignore_errors=True)
        seconds = round(time.time() - self.request.started, 1)
        _write(self.folder / _RESULT, {"state": state, "error": error, "seconds": seconds})


def missing() -> list[str]:
    """Return the packages that training needs and that are not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def networks() -> dict[str, Any]:
    """Return the networks that can be trained, by name (see ``training.models``); no framework is imported for it."""
    from .training import models

    return models.MODELS


def latest() -> Job | None:
    """Return the training that is on, else the one that began last; None where there was none.

    One whose process was killed is tidied up after, and has failed.
    """
    job = next(iter(_jobs()), None)
    if job and job.state == "running" and _is_lost(job):
        with Lock(_lock()) as lock:
            if lock.held:
                _tidy()
    return job


def start(
    recipe: Mapping[str, Any],
    *,
    data: Path | bytes,
    name: str,
    source: str,
    by: str = "",
    progress: Any = None,
) -> Job:
    """Start a training in a process of its own.

    Args:
        recipe: fields of ``training.recipe.Recipe``.
        data: the data folder, or an archive of class-named folders, which is unpacked and deleted after the training.
        name: of the new run, in the folder of runs.
        source: see ``Request``.
        by: who starts it, as other visitors will read it.
        progress: wraps the loop over an archive's pictures.

    Raises:
        FerError: a training is on already; packages are missing; the recipe, the name or the archive cannot be used.
        OSError: the disk is full or not writable. Nothing is left behind then.
    """
    from . import runs
    from .training.recipe import Recipe

    if absent := missing():
        raise ConfigError(f"training needs {', '.join(absent)}; pip install -r requirements.txt brings all of it")
    checked = Recipe.from_dict(dict(recipe)).to_dict()
    out = Path(os.path.abspath(config.artifacts_dir() / name))
    runs.check_name(name)
    runs.check_place(out)
    if not os.access(out.parent, os.W_OK):
        raise ConfigError(f"{out.parent}: cannot be written to; name another folder of runs in FER_ARTIFACTS")
    with Lock(_lock(), patience=1) as lock:
        if not lock.held or any(_begins(job) for job in _jobs()):
            raise ConfigError("a training is on already on this machine; wait for its end, or cancel it")
        _tidy()
        now = time.time()
        folder = _root() / f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{uuid.uuid4().hex[:8]}"
        try:
            folder.mkdir(mode=0o700)
            uploaded = isinstance(data, bytes)
            if uploaded:
                from .zips import extract

                extract(data, folder / _PRIVATE / "data", progress=progress)
            place = folder / _PRIVATE / "data" if uploaded else data
            request = Request(
                recipe=checked,
                data=os.path.abspath(place),
                out=str(out),
                source=source,
                uploaded=uploaded,
                by=by,
                started=now,
            )
            _write(folder / _REQUEST, request.to_dict())
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    job = Job(folder, request)
    _begin(job)
    return job


def _begin(job: Job) -> None:
    """Start the process that watches over a job, apart from this one."""
    apart = {"creationflags": 0x00000008 | 0x00000200} if os.name == "nt" else {"start_new_session": True}
    with job.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "fercore.jobs", "watch", str(job.folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(),
            **apart,
        )
    threading.Thread(target=process.wait, daemon=True).start()  # so that no dead child stays in the system's table


def _environment(**changes: str) -> dict[str, str]:
    paths = [_PYTHON, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        **changes,
    }


def watch(folder: Path) -> None:
    """Hold the lock, let a child train, end it when the job is cancelled, and tidy up."""
    job = Job.load(folder)
    with Lock(folder.parent / _lock().name, patience=30) as lock:
        if not lock.held:
            job._finish("failed", "another training began at the same moment; start it again when that one has ended")
            return
        _write(folder / _WATCHED, {"pid": os.getpid()})
        try:
            state, error = _train(job)
        except Exception as problem:
            traceback.print_exc()
            state, error = "failed", f"the training could not be started ({problem})"
        job._finish(state, error)


def _train(job: Job) -> tuple[str, str]:
    """Run the training in a child; return how it ended, and why in a line."""
    scratch = job.folder / _PRIVATE / "scratch"
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    changes = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))
    if job.request.uploaded:  # whose faces must not stay in the cache of crops
        changes["FER_CACHE"] = str(job.folder / _PRIVATE / "cache")
    with job.log.open("ab") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "fercore.jobs", "work", str(job.folder)],
            stdin=subprocess.PIPE,  # its end tells the child that this process is gone
            stdout=log,
            stderr=log,
            env=_environment(**changes),
            start_new_session=True,
        )
    with worker:
        while worker.poll() is None:
            if job.cancelling:
                _kill(worker)
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(0.25)
    outcome = _read(job.folder / _OUTCOME)
    if outcome or (Path(job.request.out) / "run.json").is_file():
        return outcome.get("state", "done"), outcome.get("error", "")
    if job.cancelling:
        return "cancelled", ""
    if worker.returncode == -signal.SIGKILL:
        return "failed", "the system ended it, most likely for want of memory; choose fewer faces or a smaller network"
    return "failed", f"it ended without a word (code {worker.returncode}); the log may say why"


def _kill(worker: subprocess.Popen) -> None:
    """End the child and the processes that it started."""
    if os.name == "nt":
        worker.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)


def work(folder: Path) -> None:
    """Train, and write down how far that is and how it ended."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(5)  # visitors of the app come first
    job = Job.load(folder)
    request = job.request
    state, error = "failed", ""
    try:
        from .training.recipe import Recipe
        from .training.train import train

        _say(f"training {job.run} by {json.dumps(request.recipe)}")
        recipe = Recipe.from_dict(request.recipe)
        told = _Told(folder / _PROGRESS, recipe.epochs, recipe.patience)
        train(recipe, data=request.data, out=request.out, report=told.report, progress=told.over)
        state = "done"
    except FerError as problem:
        error = str(problem).replace(request.data, request.source)
    except MemoryError:
        error = "the memory is full; choose fewer faces or a smaller network"
    except OSError as problem:
        traceback.print_exc()
        error = f"{Path(problem.filename).name if problem.filename else 'disk'}: {problem.strerror or problem}"
    except Exception as problem:
        traceback.print_exc()
        error = f"it broke off, and it is our fault ({type(problem).__name__}); the log says where"
    _say(error or f"written: {request.out}")
    _write(folder / _OUTCOME, {"state": state, "error": error})


class _Told:
    """Writes the progress of a training."""

    def __init__(self, file: Path, epochs: int, patience: int):
        self._file, self._epochs, self._patience = file, epochs, patience
        self._now = Progress(since=time.time())
        self._written = 0.0
        self._write("pictures")

    def report(self, row: dict[str, Any]) -> None:
        """Take what ``training.fit`` tells of steps and epochs."""
        if "step" in row:
            done = row["epoch"] - 1 + row["step"] / row["steps"]
            self._write("epochs", done=done, total=self._epochs, loss=float(row["loss"]))
            return
        _say("  ".join(f"{key} {value:.4g}" for key, value in row.items()))
        history = (*self._now.history, {key: float(value) for key, value in row.items()})
        self._write("epochs", done=float(len(history)), total=self._epochs, loss=None, history=history, soon=True)
        best = max(range(len(history)), key=lambda at: history[at]["val_accuracy"])
        if len(history) == self._epochs or (self._patience and len(history) - 1 - best >= self._patience):
            self._write("writing")

    def over(self, items: Iterable[Any]) -> Iterator[Any]:
        """Wrap a loop over pictures."""
        items = list(items)
        stage = "testing" if self._now.history else "pictures"
        self._write(stage, done=0.0, total=len(items), since=time.time(), soon=True)
        for number, item in enumerate(items):
            yield item
            self._write(stage, done=number + 1.0)

    def _write(self, stage: str, *, soon: bool = False, **changes: Any) -> None:
        now = time.time()
        if stage != self._now.stage:
            changes, soon = {"since": now, "done": 0.0, "total": 0, **changes}, True
        self._now = dataclasses.replace(self._now, stage=stage, time=now, **changes)
        if soon or now - self._written >= BEAT:
            _write(self._file, self._now.to_dict())
            self._written = now


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):  # not through ``sys.stdin``, whose lock would trouble this process at its end
        pass
    if os.name != "nt":
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _say(line: str) -> None:
    """Write a line into the log."""
    sys.stdout.write(f"{line}\n")


def _root() -> Path:
    return config.cache_dir() / "training"


def _lock() -> Path:
    return _root() / "lock"


def _jobs() -> list[Job]:
    """Return the jobs that are known, the youngest first."""
    root = _root()
    found = [Job.load(path) for path in (root.iterdir() if root.is_dir() else ()) if path.is_dir()]
    return sorted((job for job in found if job), key=lambda job: job.request.started, reverse=True)


def _begins(job: Job) -> bool:
    """Tell whether a job's process may not have taken the lock yet."""
    young = abs(time.time() - job.request.started) < STARTS_WITHIN
    return young and not (job.folder / _WATCHED).exists() and job.state == "running"


def _is_lost(job: Job) -> bool:
    """Tell whether a job that has no result lacks the process that would write it."""
    return not _begins(job) and not is_held(_lock()) and job.state == "running"


def _tidy() -> None:
    """End the jobs whose process was killed, and delete the oldest and what never became a job. The lock must be held."""
    jobs = _jobs()
    for job in jobs:
        if job.state == "running" and not _begins(job):
            job._finish("failed", "it was broken off: its process was killed, or the machine was started anew")
    kept = {job.folder for job in jobs[:KEEP]}
    for path in _root().iterdir():
        if path.is_dir() and path not in kept:
            shutil.rmtree(path, ignore_errors=True)


def _read(file: Path) -> dict[str, Any]:
    """Return what a JSON file holds; empty where it is not there."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _write(file: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    staged = file.with_suffix(".part")
    staged.write_text(json.dumps(values), encoding="utf-8")
    staged.replace(file)


if __name__ == "__main__":
    {"watch": watch, "work": work}[sys.argv[1]](Path(sys.argv[2]))
