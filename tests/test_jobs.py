"""Trainings started from the app: one at a time, found again, cancelled without a trace, and tidied up after when killed."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from fercore import jobs, runs
from fercore.errors import FerError
from fercore.jobs import Job, Progress
from fercore.locks import Lock, is_held
from made_faces import make_folder
from made_job import ENDLESS, PATIENCE, ROOT, SMALL, ended, machine, made_job, names, needs_training, until, zipped  # noqa: F401


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "faces", ("anger", "happiness", "zen"), 20)


def test_a_lock_is_held_once_and_opened_when_its_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "below" / "lock"
    assert not is_held(path)
    code = f"""
    import sys
    from pathlib import Path
    from fercore.locks import Lock
    with Lock(Path({str(path)!r})) as lock:
        print(lock.held, flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip() == "True"
        assert is_held(path)
        with Lock(path) as second:
            assert not second.held
        process.kill()
        process.wait()
    assert not is_held(path)
    with Lock(path) as lock, Lock(path, patience=0.2) as other:
        assert (lock.held, other.held) == (True, False)
        assert is_held(path)
        lock.release()
        assert not is_held(path)


def test_a_lock_waits_for_its_turn(tmp_path: Path) -> None:
    with Lock(tmp_path / "lock") as first:
        timer = threading.Timer(0.3, first.release)
        timer.start()
        with Lock(tmp_path / "lock", patience=PATIENCE) as second:
            assert second.held
        timer.join()


def test_the_time_left() -> None:
    rows = ({"seconds": 10.0}, {"seconds": 14.0})
    assert Progress(stage="epochs", done=2.5, total=6, history=rows).left() == pytest.approx(12 * 3.5)
    assert Progress(stage="pictures", done=20, total=100, since=50.0, time=60.0).left() == pytest.approx(40)
    assert Progress(stage="epochs", done=0.5, total=4, since=50.0, time=60.0).left() == pytest.approx(70)
    assert Progress(stage="pictures", done=1, total=100, since=50.0, time=50.1).left() is None
    assert Progress().left() is None


def test_what_a_training_tells_becomes_its_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "BEAT", 0.0)
    told = jobs._Told(tmp_path / "progress.json", epochs=3, patience=1)

    def now() -> Progress:
        return Progress.from_dict(json.loads((tmp_path / "progress.json").read_text()))

    assert now().stage == "pictures"
    assert list(told.over(range(4))) == [0, 1, 2, 3]
    assert (now().done, now().total) == (4, 4)
    told.report({"epoch": 1, "step": 5, "steps": 10, "loss": 1.5})
    assert (now().stage, now().done, now().total, now().loss) == ("epochs", 0.5, 3, 1.5)
    told.report({"epoch": 1, "loss": 1.4, "val_accuracy": 0.5, "seconds": 2.0})
    assert (now().stage, now().done, now().loss) == ("epochs", 1.0, None)
    assert now().history == ({"epoch": 1.0, "loss": 1.4, "val_accuracy": 0.5, "seconds": 2.0},)
    told.report({"epoch": 2, "loss": 1.3, "val_accuracy": 0.4, "seconds": 2.0})
    assert now().stage == "writing", "one epoch without a better one was the patience"
    list(told.over(range(2)))
    assert (now().stage, len(now().history)) == ("testing", 2)


def test_networks_are_listed_without_a_framework() -> None:
    code = "import sys; from fercore import jobs; n = jobs.networks(); print(*n, {'keras', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.split() == [*jobs.networks(), "set()"], done.stderr
    assert "report-cnn" in jobs.networks()


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, faces: Path) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(jobs.importlib.util, "find_spec", lambda name: None if name == "tensorflow" else find(name))
    assert jobs.missing() == ["tensorflow"]
    with pytest.raises(
        FerError, match=r"^training needs tensorflow; pip install -r requirements\.txt brings all of it$"
    ):
        jobs.start(SMALL, data=faces, name="mine", source="faces")


@needs_training
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": "a/../b"}, "a name has 1 to 80 letters"),
        ({"name": "detector"}, "already exists"),
        ({"recipe": {**SMALL, "epochs": 0}}, "epochs: 0 is outside"),
        ({"recipe": {**SMALL, "epoch": 1}}, "unknown option 'epoch'; did you mean 'epochs'?"),
        ({"data": b"no zip"}, "this is not a zip archive"),
    ],
)
def test_what_cannot_be_started_is_refused_and_leaves_nothing(
    changes: dict, told: str, faces: Path, place: Path
) -> None:
    with pytest.raises(FerError, match=re.escape(told)):
        jobs.start(**{"recipe": SMALL, "data": faces, "name": "mine", "source": "faces", **changes})
    assert jobs.latest() is None
    root = place / "cache" / "training"
    assert not root.is_dir() or names(root) == ["lock"]
    assert names(place / "artifacts") == ["detector"]


@needs_training
def test_a_second_start_is_refused_while_the_lock_is_held(faces: Path, place: Path) -> None:
    with Lock(place / "cache" / "training" / "lock"), pytest.raises(FerError, match="a training is on already"):
        jobs.start(SMALL, data=faces, name="mine", source="faces")


@needs_training
def test_a_second_start_is_refused_while_the_first_begins(faces: Path, place: Path) -> None:
    first = made_job(place, started=time.time(), watched=False)
    with pytest.raises(FerError, match="a training is on already"):
        jobs.start(SMALL, data=faces, name="other", source="faces")
    assert jobs.latest() == first
    assert first.state == "running"
    assert (first.folder / "private").is_dir(), "its pictures were not taken from it"


@pytest.mark.parametrize(("age", "watched"), [(5.0, True), (2 * jobs.STARTS_WITHIN, False)])
def test_a_job_without_its_process_is_tidied_up(age: float, watched: bool, place: Path) -> None:
    job = made_job(place, started=time.time() - age, watched=watched)
    for name in (".mine.training", ".mine.0123abcd", ".mine.other", ".mine2.training"):
        (place / "artifacts" / name).mkdir()
    assert jobs.latest() == job
    assert job.state == "failed"
    assert job.result()["error"] == "it was broken off: its process was killed, or the machine was started anew"
    assert not (job.folder / "private").exists()
    assert names(place / "artifacts") == [".mine.other", ".mine2.training", "detector"]


def test_only_the_last_jobs_are_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "KEEP", 2)
    made = [made_job(place, started=1000.0 + number, watched=True) for number in range(4)]
    (place / "cache" / "training" / "never-a-job" / "private").mkdir(parents=True)
    assert jobs.latest() == made[-1]
    assert names(place / "cache" / "training") == ["job-1002", "job-1003", "lock"]


@needs_training
@pytest.mark.long
def test_a_folder_becomes_a_run(faces: Path, place: Path) -> None:
    job = jobs.start(SMALL, data=faces, name="mine", source="faces", by="Ada")
    assert ended(job)["state"] == "done", job.log.read_text()
    run = runs.Run.load(place / "artifacts" / "mine")
    assert run.head().labels == ("angry", "happy", "zen")
    assert run.info["recipe"]["epochs"] == 2
    history = job.progress().history
    assert [row["epoch"] for row in history] == [1, 2]
    assert [row["val_loss"] for row in history] == pytest.approx(run.history()["val_loss"].tolist())
    assert "epoch 2  loss " in job.log.read_text()
    assert names(place / "artifacts") == ["detector", "mine"]
    assert jobs.latest() == Job.load(job.folder)
    assert jobs.latest().request.by == "Ada"


@needs_training
@pytest.mark.long
def test_an_archive_is_deleted_after_the_training_with_all_that_was_made_of_it(faces: Path, place: Path) -> None:
    data = zipped(faces)
    shutil.rmtree(faces)
    job = jobs.start(SMALL, data=data, name="mine", source="faces.zip")
    assert stat.S_IMODE(job.folder.stat().st_mode) == 0o700
    assert ended(job)["state"] == "done", job.log.read_text()
    assert len(runs.Run.load("mine").predictions()) == 12
    left = [path for path in place.rglob("*") if path.suffix in (".png", ".npy") or path.name == "private"]
    assert left == []


@needs_training
@pytest.mark.long
def test_what_the_training_refuses_is_its_error(faces: Path, place: Path) -> None:
    for path in (faces / "zen").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    job = jobs.start(SMALL, data=zipped(faces), name="mine", source="faces.zip")
    result = ended(job)
    assert result["state"] == "failed"
    assert result["error"].startswith("faces.zip: dataset 'folder' has no face of class zen")
    assert str(place) not in result["error"]
    assert names(place / "artifacts") == ["detector"]


@needs_training
@pytest.mark.long
def test_cancelling_leaves_no_half_run_and_the_log(faces: Path, place: Path) -> None:
    job = jobs.start(ENDLESS, data=zipped(faces), name="mine", source="faces.zip")
    until(lambda: job.progress().history or job.state != "running", "the first epoch")
    assert ".mine.training" in names(place / "artifacts")
    with pytest.raises(FerError, match="a training is on already"):
        jobs.start(SMALL, data=faces, name="other", source="faces")
    job.cancel()
    assert ended(job)["state"] == "cancelled"
    assert names(place / "artifacts") == ["detector"]
    assert not (job.folder / "private").exists()
    assert "epoch 1  loss" in job.log.read_text()
    second = jobs.start(SMALL, data=faces, name="mine", source="faces")
    assert ended(second)["state"] == "done", second.log.read_text()


@needs_training
@pytest.mark.long
def test_a_training_outlives_the_process_that_started_it(faces: Path, place: Path) -> None:
    code = f"""
    from pathlib import Path
    from fercore import jobs
    job = jobs.start({ENDLESS!r}, data=Path({str(faces)!r}), name="mine", source="faces")
    print(job.folder, flush=True)
    import time
    time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as app:
        folder = Path(app.stdout.readline().strip())
        os.killpg(app.pid, signal.SIGKILL)
    job = jobs.latest()
    assert job.folder == folder
    until(lambda: len(job.progress().history) >= 2 or job.state != "running", "two epochs after the app was killed")
    assert job.state == "running"
    job.cancel()
    assert ended(job)["state"] == "cancelled"


@needs_training
@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("victim", ["watch", "work"])
def test_a_killed_process_leaves_no_lock_and_no_half_run(victim: str, faces: Path, place: Path) -> None:
    job = jobs.start(ENDLESS, data=faces, name="mine", source="faces")
    until(lambda: job.progress().history or job.state != "running", "the first epoch")
    watching = json.loads((job.folder / "watched.json").read_text())["pid"]
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(watching)], capture_output=True, text=True, check=True)
    working = int(listed.stdout)
    os.kill({"watch": watching, "work": working}[victim], signal.SIGKILL)
    until(lambda: not is_held(job.folder.parent / "lock"), "the lock to be opened")
    until(lambda: not alive(working), "the training to end with its watcher")
    assert jobs.latest() == job
    assert job.state == "failed"
    assert ("killed" if victim == "watch" else "want of memory") in job.result()["error"]
    assert names(place / "artifacts") == ["detector"]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if Path(f"/proc/{pid}/stat").exists() else False


def test_a_request_of_another_version_is_no_job(place: Path) -> None:
    job = made_job(place, started=1000.0, watched=True)
    values = {**dataclasses.asdict(job.request), "news": 1}
    (job.folder / "request.json").write_text(json.dumps(values))
    assert jobs.latest() is None
