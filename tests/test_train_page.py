"""The Train page: who may train, what is looked at before, a training watched, cancelled and found in the list of runs."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from fercore import jobs, runs
from fercore.errors import DataError
from fercore.jobs import Job, Progress
from fercore.locks import Lock
from fercore.ui import training_access, training_job, training_source
from made_faces import make_folder
from made_job import ENDLESS, SMALL, ended, machine, made_job, names, needs_training, until, zipped  # noqa: F401
from made_run import made_run
from test_pages import assert_sound, press, texts, visit, warm  # noqa: F401

LOCAL = {"Host": "localhost:8501", "Origin": "http://localhost:8501"}


@pytest.fixture(autouse=True)
def switched_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FER_TRAINING", "1")
    monkeypatch.setenv("FER_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("FER_RUN", raising=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with one dataset in it: three classes of 60 pictures, one of which is broken."""
    root = make_folder(tmp_path / "data" / "own", ("anger", "happiness", "zen"), 60)
    (root / "zen" / "broken.png").write_bytes(b"no picture at all")
    (root / "loose.png").write_bytes((root / "zen" / "000.png").read_bytes())
    return root


@pytest.fixture
def running(place: Path) -> Iterator[Job]:
    """A training that somebody else started, in its third epoch."""
    job = made_job(place, started=time.time() - 150, watched=True, by="Ada [x](y)")
    history = [
        {"epoch": n + 1, "loss": 2.0 - n, "accuracy": 0.3, "val_loss": 1.9 - n / 2, "val_accuracy": 0.4 + n / 10}
        | {"seconds": 30.0}
        for n in range(2)
    ]
    now = Progress(stage="epochs", done=2.5, total=4, loss=1.234, history=tuple(history), since=1.0, time=61.0)
    (job.folder / "progress.json").write_text(json.dumps(now.to_dict()))
    (job.folder / "log.txt").write_text("a line of the log\n")
    with Lock(job.folder.parent / "lock") as lock:
        assert lock.held
        yield job
        job._finish("cancelled")


def told(app: AppTest) -> str:
    return texts(app).replace("\\", "")


def buttons(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


@pytest.mark.parametrize(
    ("environment", "headers", "address", "train", "anywhere"),
    [
        ({}, LOCAL, None, True, True),
        ({}, LOCAL, "127.0.0.1", True, True),
        ({}, {"Host": "[::1]:8501"}, "::1", True, True),
        ({}, {"Host": "127.0.0.1:8501", "Origin": "http://127.0.0.1:8501"}, None, True, True),
        ({}, {}, None, False, False),
        ({}, LOCAL, "192.168.1.5", False, False),
        ({}, {**LOCAL, "Host": "studio.example"}, None, False, False),
        ({}, {**LOCAL, "Origin": "https://studio.example"}, None, False, False),
        ({}, {**LOCAL, "X-Forwarded-For": "203.0.113.7"}, None, False, False),
        ({}, {"Host": "localhost.example"}, None, False, False),
        ({"SPACE_ID": "user/name"}, LOCAL, None, False, False),
        ({"FER_TRAINING": "1"}, {**LOCAL, "Host": "studio.example"}, "203.0.113.7", True, False),
        ({"FER_TRAINING": "1"}, LOCAL, None, True, True),
        ({"FER_TRAINING": "0"}, LOCAL, None, False, False),
        ({"FER_TRAINING": "perhaps"}, LOCAL, None, False, False),
    ],
)
def test_who_may_train(environment: dict, headers: dict, address: str | None, train: bool, anywhere: bool) -> None:
    allowed = training_access.decide(environment, headers, address)
    assert (allowed.train, allowed.anywhere) == (train, anywhere)
    assert bool(allowed.why) is not train


def test_the_page_says_why_training_is_off(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_TRAINING", "0")
    app = visit("train")
    assert_sound(app)
    assert app.info[0].value == "Whoever runs this app has switched training off (`FER_TRAINING=0`)."
    assert "python -m fercore train" in app.code[0].value
    monkeypatch.delenv("FER_TRAINING")
    app = visit("train")
    assert "off for visitors from elsewhere" in app.info[0].value
    assert "Start training" not in buttons(app)


def test_the_page_says_which_packages_are_missing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "missing", lambda: ["tensorflow", "tf2onnx"])
    app = visit("train")
    assert_sound(app)
    assert app.info[0].value.startswith("Training needs tensorflow, tf2onnx, which this installation leaves out: `pip")
    assert "Start training" not in buttons(app)


def test_a_link_to_the_page_works_on_a_cold_server_and_without_any_run(place: Path) -> None:
    app = visit("train", data="zip")
    assert_sound(app)
    assert app.title[0].value == "Train"
    assert app.file_uploader


def choose(text: str) -> AppTest:
    app = visit("train")
    return app.text_input(key="training_folder").set_value(text).run()


@needs_training
def test_a_folder_is_looked_at_before(place: Path, data: Path) -> None:
    assert "Start training" not in buttons(visit("train"))
    app = choose("own")
    assert_sound(app)
    [chart] = app.get("vega_lite_chart")
    assert "angry 60, happy 60, zen 61" in chart.proto.alt
    assert app.expander[0].label == "2 pictures cannot be used and will be left out"
    assert "loose.png: no class: lies beside the class folders, not in one" in told(app)
    assert "zen/broken.png: unreadable image: damaged or not a picture" in told(app)
    assert not app.warning
    assert app.selectbox(key="model").options == list(jobs.networks())
    assert app.number_input(key="training_epochs_report-cnn").value == jobs.networks()["report-cnn"].recipe["epochs"]
    assert app.text_input(key="training_name_report-cnn").value == "my-report-cnn"
    app.selectbox(key="model").set_value("attention").run()
    assert app.query_params["model"] in ("attention", ["attention"])
    assert app.number_input(key="training_epochs_attention").value == jobs.networks()["attention"].recipe["epochs"]
    assert app.selectbox(key="training_changes_attention").value == "strong"


@needs_training
def test_what_is_wrong_with_a_folder_is_told(place: Path, data: Path) -> None:
    for path in (data / "zen").iterdir():
        path.unlink()
    (data / "sad").mkdir()
    app = choose("own")
    assert [error.value.replace("\\", "") for error in app.error] == [
        "your folder: no picture of class sad; add some, or delete the class's folder"
    ]
    assert next(button for button in app.button if button.label == "Start training").disabled


@needs_training
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("nowhere", "nowhere: no such folder in the server's data folder; check its name"),
        ("../", "../: no such folder in the server's data folder; check its name"),
        ("/etc", "/etc: no such folder in the server's data folder; check its name"),
        ("x" * 400, "x: no such folder in the server's data folder; check its name"),
        ("empty", "empty: no pictures to train on; a dataset needs two or more class-named folders of pictures"),
    ],
)
def test_a_folder_that_cannot_be_used_is_told_in_a_sentence(text: str, line: str, place: Path, data: Path) -> None:
    (data.parent / "empty").mkdir()
    app = choose(text)
    assert not app.exception
    assert line in app.error[0].value.replace("\\", "")
    assert "Start training" not in buttons(app)


def test_only_visitors_of_this_machine_name_any_folder(tmp_path: Path) -> None:
    root, outside = tmp_path / "data", tmp_path / "outside"
    (root / "own").mkdir(parents=True)
    outside.mkdir()
    (root / "link").symlink_to(outside)
    assert training_source.within("own", root, anywhere=False) == root / "own"
    assert training_source.within("own", root, anywhere=True) == root / "own"
    assert training_source.within(str(outside), root, anywhere=True) == outside
    for text in (str(outside), "link", "own/../../outside", "a\0b"):
        with pytest.raises(DataError, match="no such folder in the server's data folder"):
            training_source.within(text, root, anywhere=False)


@needs_training
def test_an_archive_is_looked_into_before(place: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = visit("train", data="zip")
    app.file_uploader[0].set_value(("faces.zip", zipped(data), "application/zip")).run()
    assert_sound(app)
    assert "angry 60, happy 60, zen 60" in app.get("vega_lite_chart")[0].proto.alt
    assert "own/zen/broken.png: not a picture: text; use a JPEG" in told(app)
    assert "private folder of this server, which is deleted" in told(app)
    app.file_uploader[0].set_value(("faces.zip", b"PK no zip", "application/zip")).run()
    assert app.error[0].value.replace("\\", "").startswith("this is not a zip archive, or a damaged one")
    assert names(place / "cache" / "training") == [] if (place / "cache" / "training").is_dir() else True


@pytest.mark.parametrize(
    ("counts", "lines"),
    [
        ({"all": {"a": 9, "b": 9}}, []),
        ({"all": {"a": 9, "b": 0}}, ["X: no picture of class b; add some, or delete the class's folder"]),
        (
            {"train": {"a": 9, "b": 0}, "test": {"a": 1, "b": 3}},
            ["X: no picture of class b in its train split; add some, or leave the class out"],
        ),
        ({"test": {"a": 9, "b": 9}}, ["X: has no train split; add one, or take the folders test away"]),
        (
            {"all": {"a": 3, "b": 2}},
            ["X: fewer than three pictures a class; one each is needed to learn, to choose and to test"],
        ),
    ],
)
def test_pictures_that_no_training_can_begin_with(counts: dict, lines: list[str]) -> None:
    assert training_source.refusals("X", counts) == lines


@pytest.mark.parametrize(
    ("now", "line"),
    [
        (Progress(), "Starting …"),
        (
            Progress(stage="pictures", done=20, total=1000, since=0, time=10),
            "Reading the pictures: 20 of 1,000, 8 min left",
        ),
        (Progress(stage="epochs", done=0.1, total=5, loss=1.9), "Learning: epoch 1 of 5, loss 1.900 …"),
        (
            Progress(stage="epochs", done=3.0, total=5, history=({"seconds": 20.0},) * 3),
            "Learning: epoch 4 of 5, at most 40 s left",
        ),
        (Progress(stage="writing"), "Calibrating and writing the network …"),
    ],
)
def test_progress_in_words(now: Progress, line: str) -> None:
    assert training_job.told(now) == line
    assert 0 <= training_job.share(now) <= 1


def test_a_second_visitor_watches_and_cannot_start(running: Job, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for setting, cancels in (("1", True), ("0", False)):
        monkeypatch.setenv("FER_TRAINING", setting)
        app = visit("train")
        assert_sound(app)
        assert re.search(r"report-cnn on faces\.zip, started by Ada \[x\]\(y\), [2-9] min ago", told(app))
        assert "Everyone who opens this page can watch it; the next one can start when it has ended." in told(app)
        [bar] = app.get("progress")
        assert bar.proto.text == "Learning: epoch 3 of 4, loss 1.234, at most 45 s left"
        assert bar.proto.value == 62
        loss, accuracy = (chart.proto.alt for chart in app.get("vega_lite_chart"))
        assert loss.startswith("Loss by epoch")
        assert "50.0%" in accuracy
        assert "Start training" not in buttons(app)
        assert ("Cancel the training" in buttons(app)) is cancels
        assert str(running.folder) not in told(app)


def test_a_training_is_cancelled_only_after_a_question(running: Job) -> None:
    app = visit("train")
    press(app, "Cancel the training")
    assert not running.cancelling, "asking must not cancel"
    press(app, "Let it go on")
    assert not running.cancelling
    press(app, "Cancel the training")
    press(app, "Cancel it")
    assert running.cancelling
    assert app.get("progress")[0].proto.text == "Stopping …"
    assert "Cancel the training" not in buttons(app)


@needs_training
def test_a_start_is_refused_where_another_visitor_was_sooner(place: Path, data: Path) -> None:
    app = choose("own")
    with Lock(place / "cache" / "training" / "lock"):
        press(app, "Start training")
    assert "a training is on already on this machine" in app.error[0].value
    assert jobs.latest() is None


@needs_training
def test_a_name_that_is_taken_is_refused(place: Path, data: Path) -> None:
    made_run(place / "artifacts", "my-report-cnn")
    app = choose("own")
    assert app.text_input(key="training_name_report-cnn").value == "my-report-cnn-2"
    for name, line in (
        ("my-report-cnn", "already exists; choose another name"),
        ("../evil", "a name has 1 to 80 letters"),
    ):
        app.text_input(key="training_name_report-cnn").set_value(name).run()
        press(app, "Start training")
        assert line in app.error[0].value.replace("\\", "")
    assert jobs.latest() is None


def test_how_a_training_ended(running: Job, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running._finish("failed", "the disk is full")
    app = visit("train")
    assert app.error[0].value.replace("\\", "") == "The training of mine failed: the disk is full."
    assert app.code[0].value == "a line of the log"
    running._finish("cancelled")
    app = visit("train")
    assert_sound(app)
    assert "was cancelled after" in app.info[0].value
    made_run(place / "artifacts", "mine")
    running._finish("done")
    monkeypatch.setenv("FER_TRAINING", "0")
    app = visit("train")
    assert_sound(app)
    assert app.success[0].value.startswith("**mine** is trained")
    assert [link.label for link in app.get("page_link")] == ["How it learned", "How good it is", "Try it on a photo"]
    assert all("run=mine" in link.proto.query_string for link in app.get("page_link"))
    runs.delete(runs.Run.load("mine"))
    assert not visit("train").success


@needs_training
@pytest.mark.long
def test_a_training_from_the_page_ends_in_the_list_of_runs(
    place: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From an upload to the run, by the page alone; its network is a smaller one, so that the test is quick."""
    monkeypatch.setitem(jobs.networks()["report-cnn"].recipe, "options", SMALL["options"])
    app = visit("train", data="zip")
    app.file_uploader[0].set_value(("faces.zip", zipped(data), "application/zip")).run()
    app.number_input(key="training_epochs_report-cnn").set_value(2)
    app.text_input(key="training_name_report-cnn").set_value("by-page")
    app.text_input(key="training_by").set_value("Ada").run()
    press(app, "Start training")
    assert_sound(app)
    assert "started by Ada" in told(app)
    job = jobs.latest()
    assert job.request.recipe["epochs"] == 2
    other = visit("train")
    assert "started by Ada" in told(other)
    ended(job)
    app.run()
    assert app.success[0].value.replace("\\", "").startswith("**by-page** is trained"), told(app)
    assert "by-page" in app.selectbox(key="run").options
    link = app.get("page_link")[1]
    shown = visit("evaluation", run="by-page")
    assert "run=by-page" in link.proto.query_string
    assert_sound(shown)
    assert shown.selectbox(key="run").value == "by-page"
    assert list(place.rglob("private")) == []


@needs_training
@pytest.mark.long
def test_a_training_is_found_again_and_cancelled(place: Path, data: Path) -> None:
    """What the page knows is in files alone: a new session shows the training that nobody started in it."""
    job = jobs.start(ENDLESS, data=data, name="mine", source="own", by="Ada")
    until(lambda: job.progress().history or job.state != "running", "the first epoch")
    app = visit("train")
    assert "started by Ada" in told(app)
    assert app.get("progress")[0].proto.text.startswith("Learning: epoch")
    press(app, "Cancel the training")
    press(app, "Cancel it")
    ended(job)
    app.run()
    assert "was cancelled after" in app.info[0].value
    assert names(Path(os.environ["FER_ARTIFACTS"])) == ["detector"]
