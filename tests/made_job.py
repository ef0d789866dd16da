"""Trainings for tests of jobs and of their page: a machine of their own, small recipes, jobs without a process, archives."""

from __future__ import annotations

import io
import json
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fercore import jobs
from fercore.jobs import Job, Request
from fercore.locks import is_held

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 1200.0
SMALL = {"model": "report-cnn", "datasets": ["folder"], "epochs": 2, "options": {"filters": [4, 8], "units": [16, 16]}}
ENDLESS = {**SMALL, "epochs": 100_000}
needs_training = pytest.mark.skipif(bool(jobs.missing()), reason="needs the packages of the extra 'train'")


@pytest.fixture(name="place", autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine of its own: cache and folder of runs; whatever still trains at the end is stopped."""
    shutil.copytree(ROOT / "artifacts" / "detector", tmp_path / "artifacts" / "detector")
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FER_ARTIFACTS", str(tmp_path / "artifacts"))
    yield tmp_path
    if (job := jobs.latest()) and job.state == "running" and job.log.exists():
        job.cancel()
        ended(job)


def until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s for {what}"
        time.sleep(0.05)


def ended(job: Job) -> dict:
    until(lambda: job.state != "running", f"the end of the training; log:\n{job.log.read_text()}")
    until(lambda: not is_held(job.folder.parent / "lock"), "the lock to be opened")
    return job.result()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def made_job(place: Path, *, started: float, watched: bool, by: str = "") -> Job:
    """Write a job as ``start`` leaves it, without a process."""
    folder = place / "cache" / "training" / f"job-{started:.0f}"
    (folder / "private" / "data").mkdir(parents=True)
    out = str(place / "artifacts" / "mine")
    request = Request(recipe=SMALL, data="data", out=out, source="faces.zip", started=started, uploaded=True, by=by)
    (folder / "request.json").write_text(json.dumps(request.to_dict()))
    if watched:
        (folder / "watched.json").write_text("{}")
    return Job(folder, request)


def zipped(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder.parent))
    return buffer.getvalue()
