"""From pictures to a run that serves: ``train`` on the command line, with ``--like``, after an interruption; refusals."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest

from fercore import runs
from fercore.cli import main
from fercore.inference import Predictor
from fercore.labels import FERPLUS_LABELS, LABELS
from fercore.runs import Run
from fercore.training.recipe import Recipe
from made_faces import made_dataset, make_folder
from test_prepare import expw_like

keras = pytest.importorskip("keras")

from fercore.training import building, models  # noqa: E402
from fercore.training import export as export_module  # noqa: E402
from fercore.training import prepare as prepare_module  # noqa: E402
from fercore.training import train as train_module  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["--set", 'options={"filters": [4, 8], "units": [16, 16]}', "--set", "learning_rate=0.003"]


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """One cache for this module, so that pictures are cut once."""
    before = os.environ.get("FER_CACHE")
    os.environ["FER_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["FER_CACHE"]
    else:
        os.environ["FER_CACHE"] = before


@pytest.fixture(autouse=True)
def in_process(request, monkeypatch) -> None:
    """Export in this process, which has TensorFlow already; a test with "process" in its name starts the real one."""
    if keras.backend.backend() != "tensorflow" or "process" in request.node.name:
        return

    def run(command, **_):
        export_module.main(command[-1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(export_module.subprocess, "run", run)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A stranger's folder: three classes of their own, 30 pictures each, one of which cannot be read."""
    root = make_folder(tmp_path_factory.mktemp("data") / "faces", ("anger", "happiness", "zen"), 30)
    (root / "zen" / "broken.png").write_bytes(b"no picture at all")
    return root


def train(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


def refused(*arguments: object) -> str:
    """Return the one line with which a command ends that cannot be done."""
    result = train(*arguments)
    assert result.exit_code == 2, result.output
    assert not isinstance(result.exception, Exception), repr(result.exception)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line.removeprefix("error: ")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Run:
    """A run of two epochs, made by the command line."""
    out = tmp_path_factory.mktemp("runs") / "first"
    patch = pytest.MonkeyPatch()
    if keras.backend.backend() == "tensorflow":
        patch.setattr(
            export_module.subprocess,
            "run",
            lambda command, **_: (export_module.main(command[-1]), subprocess.CompletedProcess(command, 0, "", ""))[1],
        )
    try:
        result = train(
            "--model", "report-cnn", "--dataset", "folder", "--data", data, "--out", out, "--epochs", 4, "--seed", 3,
            *SMALL, "--set", "batch_size=16", "--set", "augment=light",
        )  # fmt: skip
    finally:
        patch.undo()
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert f"written: {out.resolve()}" in result.stdout
    assert "folder: accuracy " in result.stdout
    assert "epoch 4/4  loss " in result.stderr
    (told,) = [line for line in result.stderr.splitlines() if "left out" in line]
    assert told.startswith("folder: left out: zen/broken.png: unreadable image: ")
    return Run.load(out)


def test_the_run_is_whole_and_nothing_else_is_left(run):
    assert sorted(path.name for path in run.path.parent.iterdir()) == ["first"]
    wanted = {"model.onnx", "history.csv", "predictions.parquet", "dataset.json", "averages.npz"}
    assert wanted <= set(run.info["files"])
    assert run.head().labels == ("angry", "happy", "zen")
    assert run.default_head == "folder"
    assert run.info["consensus"] is None
    assert run.info["recipe"]["seed"] == 3
    assert run.info["recipe"]["epochs"] == 4
    assert run.info["input"] == models.MODELS["report-cnn"].input.to_dict()
    assert run.info["export"]["difference"] <= 1e-4
    assert run.info["backend"] == keras.backend.backend()
    assert sum(layer["parameters"] for layer in run.info["model"]["layers"]) == run.info["model"]["parameters"]


def test_history_and_metrics_belong_together(run):
    history = run.history()
    assert list(history["epoch"]) == [1, 2, 3, 4]
    best = run.info["validation"]["epoch"]
    assert run.info["validation"]["val_accuracy"] == pytest.approx(history["val_accuracy"].max())
    assert history["val_accuracy"].idxmax() + 1 == best
    table = run.predictions()
    counts = run.dataset_info()["folder"]["counts"]
    assert len(table) == sum(counts["test"].values())
    assert run.metrics("folder")["accuracy"]["value"] == pytest.approx((table["label"] == table["prediction"]).mean())
    assert set(table["split"]) == {"test"}
    np.testing.assert_allclose(table[["p_angry", "p_happy", "p_zen"]].sum(axis=1), 1, atol=5e-4)


def test_an_unreadable_picture_is_counted(run):
    said = run.dataset_info()["folder"]
    assert said["problems"] == {"unreadable image": 1}
    assert sum(sum(found.values()) for found in said["counts"].values()) == 90


def test_averages_are_no_array_of_bytes(run):
    """A hygiene test of the repository refuses arrays of whole numbers that could be pictures."""
    with np.load(run.file("averages.npz"), allow_pickle=False) as averages:
        assert {f"folder/class/{label}" for label in ("angry", "happy", "zen")} <= set(averages.files)
        for name in averages.files:
            assert averages[name].dtype == np.float16
            assert averages[name].shape == (48, 48)
            assert 0 <= averages[name].min() < averages[name].max() <= 255


def test_the_run_serves(run, data, portrait):
    predictor = Predictor.load(run.path)
    assert predictor.labels == ("angry", "happy", "zen")
    table = run.predictions()
    for _, row in table.iloc[:5].iterrows():
        picture = np.asarray(Image.open(data / row["locator"].partition("#")[0]).convert("RGB"))
        served = predictor.classify(picture, [[0, 0, 48, 48]], framing="crop")[0]
        np.testing.assert_allclose(served, row[["p_angry", "p_happy", "p_zen"]].to_numpy(np.float32), atol=1e-4)
    faces = predictor.predict(portrait)
    assert faces
    assert set(faces[0].probabilities) == {"angry", "happy", "zen"}


def test_like_repeats_a_run(run, data, tmp_path):
    """The same recipe and seed give the same history and the same answers."""
    result = train("--like", run.path, "--data", data, "--out", tmp_path / "again")
    assert result.exit_code == 0, result.output + repr(result.exception)
    again = Run.load(tmp_path / "again")
    assert again.info["recipe"] == run.info["recipe"]
    assert again.info["datasets"] == run.info["datasets"]
    pd.testing.assert_frame_equal(
        again.history().drop(columns="seconds"), run.history().drop(columns="seconds"), atol=1e-4
    )
    left, right = again.predictions(), run.predictions()
    assert left["locator"].tolist() == right["locator"].tolist()
    np.testing.assert_allclose(left["p_zen"], right["p_zen"], atol=1e-3)


def test_like_takes_changes(run, data, tmp_path):
    result = train("--like", run.path, "--data", data, "--out", tmp_path / "changed", "--epochs", 1, "--limit", 6)
    assert result.exit_code == 0, result.output + repr(result.exception)
    changed = Run.load(tmp_path / "changed")
    assert changed.info["recipe"] == {**run.info["recipe"], "epochs": 1, "limit": 6}
    counts = changed.dataset_info()["folder"]["counts"]
    assert {name: sum(found.values()) for name, found in counts.items()} == {"train": 6, "validation": 6, "test": 6}
    assert len(changed.predictions()) == 6


@pytest.mark.long
def test_a_teacher_teaches(run, data, tmp_path):
    """By the command line: what the teacher says changes what the student learns, and ``--like`` repeats it."""
    near = {}
    taught = ["--set", f"teacher={run.path}", "--set", "distil=1"]
    for name, settings in (("taught", taught), ("followed", [*taught, "--set", "consistent=true"]), ("alone", [])):
        result = train("--like", run.path, "--data", data, "--out", tmp_path / name, "--seed", 9, *settings)
        assert result.exit_code == 0, result.output + repr(result.exception)
        student = Run.load(tmp_path / name)
        assert student.info["recipe"]["teacher"] == ("" if name == "alone" else str(run.path))
        column = ["p_angry", "p_happy", "p_zen"]
        answers = {each.name: each.predictions().set_index("locator")[column] for each in (student, run)}
        gap = answers[name] - answers[run.name].loc[answers[name].index]
        near[name] = float(np.abs(gap.to_numpy()).mean())
    assert len({round(gap, 7) for gap in near.values()}) == 3
    again = train("--like", tmp_path / "taught", "--data", data, "--out", tmp_path / "again", "--epochs", 1)
    assert again.exit_code == 0, again.output + repr(again.exception)
    blind = train(
        *("--model", "hog-cnn", "--dataset", "folder", "--data", data, "--out", tmp_path / "blind"),
        *("--set", f"teacher={run.path}", "--set", "consistent=true"),
    )
    assert "error: consistent: model 'hog-cnn' is shown features, which a teacher of pixels cannot see" in blind.stderr


class Stop(BaseException):
    """As an interrupt: nothing catches it."""


def test_an_interrupted_training_goes_on(run, data, tmp_path, monkeypatch):
    arguments = ["--like", run.path, "--data", data, "--out", tmp_path / "resumed"]
    with monkeypatch.context() as patched:
        fit = train_module.fit

        def stopped(*positional, report=None, **options):
            def stop(row):
                if "step" not in row and row["epoch"] == 2:
                    raise Stop

            return fit(*positional, report=stop, **options)

        patched.setattr(train_module, "fit", stopped)
        with pytest.raises(Stop):
            train(*arguments)
    assert not (tmp_path / "resumed").exists()
    assert runs.run_folders(tmp_path) == []  # what is half-written is no run
    assert "another recipe or other data" in refused(*arguments, "--resume", "--seed", 9)
    result = train(*arguments, "--resume")
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert "epoch 2/4" not in result.stderr
    assert "epoch 3/4" in result.stderr
    resumed = Run.load(tmp_path / "resumed")
    pd.testing.assert_frame_equal(
        resumed.history().drop(columns="seconds"), run.history().drop(columns="seconds"), atol=1e-4
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["resumed"]


def test_a_full_disk_at_the_end_costs_no_training(run, data, tmp_path, monkeypatch):
    arguments = ["--like", run.path, "--data", data, "--out", tmp_path / "full", "--epochs", 1]
    with monkeypatch.context() as patched:
        write = runs.write

        def full(path, *rest, **options):
            if Path(path).parent == tmp_path:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(path, *rest, **options)

        patched.setattr(train_module.runs, "write", full)
        assert refused(*arguments) == "disk: No space left on device"
    assert runs.run_folders(tmp_path) == []
    result = train(*arguments, "--resume")
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert "epoch 1/1" not in result.stderr  # it was trained already
    assert Run.load(tmp_path / "full").history()["epoch"].tolist() == [1]


def adapted(monkeypatch) -> list[int]:
    """Give the report's CNN an ``adapt``; return a list that counts its calls."""
    calls: list[int] = []
    entry = models.MODELS["report-cnn"]
    monkeypatch.setitem(models.MODELS, "report-cnn", models.dataclasses.replace(entry, adapts=True))
    monkeypatch.setattr(models.Model, "adapt", lambda self, model, inputs: calls.append(len(inputs)))
    return calls


def test_a_first_start_with_resume_adapts_too(data, tmp_path, monkeypatch):
    """Only a checkpoint that is really there stands for adapted weights."""
    calls = adapted(monkeypatch)
    with monkeypatch.context() as patched:

        def stopped(*_, **__):
            raise Stop

        patched.setattr(train_module, "fit", stopped)
        with pytest.raises(Stop):
            train(
                "--model",
                "report-cnn",
                "--dataset",
                "folder",
                "--data",
                data,
                "--out",
                tmp_path / "a",
                "--resume",
                *SMALL,
            )
    assert len(calls) == 1
    (tmp_path / ".b.training").mkdir()
    (tmp_path / ".b.training" / "checkpoint.npz").write_bytes(b"there")
    refused("--model", "report-cnn", "--dataset", "folder", "--data", data, "--out", tmp_path / "b", "--resume", *SMALL)
    assert len(calls) == 1


def test_two_sources_make_a_consensus(tmp_path, monkeypatch):
    """FER2013-like and FER+-like labels of the same rows: two heads, the consensus as default, every face once."""
    split = (["train"] * 5 + ["validation"] * 2 + ["test"] * 3) * 4
    codes = [0, 1, 2, 3, 4, 5, 6, 0] * 5
    for name, labels in (("train", range(7)), ("validation", range(1)), ("test", range(1))):
        assert {code for code, where in zip(codes, split, strict=True) if where == name} >= set(labels)
    votes = np.eye(8, dtype=np.float32)[codes] * 0.8 + 0.025
    made = {
        "fer2013": made_dataset(codes, LABELS, name="fer2013", split=split)[0],
        "ferplus": made_dataset(codes, FERPLUS_LABELS, name="ferplus", split=split, votes=votes)[0],
    }
    monkeypatch.setattr(prepare_module.datasets, "load", lambda name, data: made[name])
    monkeypatch.setattr(prepare_module, "require_usable", lambda dataset: dataset)  # no contempt in these few faces
    monkeypatch.setattr(prepare_module, "_checked", lambda part: part)
    recipe = Recipe.from_dict(
        {
            "model": "report-cnn",
            "datasets": ["fer2013", "ferplus"],
            "epochs": 1,
            "batch_size": 8,
            "options": {"filters": [4, 8], "units": [16, 16]},
        }
    )
    made_run = train_module.train(recipe, data="nowhere", out=tmp_path / "two")
    assert set(made_run.heads) == {"fer2013", "ferplus", "consensus"}
    assert made_run.default_head == "consensus"
    assert made_run.heads["ferplus"].labels == FERPLUS_LABELS
    table = made_run.predictions()
    counts = table.groupby(["dataset", "head"]).size().to_dict()
    pairs = [("fer2013", "consensus"), ("fer2013", "fer2013"), ("ferplus", "consensus"), ("ferplus", "ferplus")]
    assert counts == dict.fromkeys(pairs, 12)
    # The consensus is the mean of the two calibrated heads over the seven basic expressions.
    columns = [f"p_{label}" for label in LABELS]
    one = table[(table["dataset"] == "fer2013") & (table["head"] == "fer2013")].set_index("locator")[columns]
    two = table[(table["dataset"] == "ferplus") & (table["head"] == "ferplus")].set_index("locator")[columns]
    two = two.div(two.sum(axis=1), axis=0)
    joint = table[(table["dataset"] == "fer2013") & (table["head"] == "consensus")].set_index("locator")[columns]
    mean = ((one + two.loc[one.index]) / 2).to_numpy(float) ** (1 / made_run.heads["consensus"].temperature)
    np.testing.assert_allclose(joint.loc[one.index], mean / mean.sum(axis=1, keepdims=True), atol=1e-3)


@pytest.mark.long
def test_photos_with_labelled_boxes(tmp_path, portrait):
    """An ExpW-like folder of portraits, from ``label.lst`` to a run."""
    root = expw_like(tmp_path / "expw", portrait)
    result = train(
        "--model", "report-cnn", "--dataset", "expw", "--data", root, "--out", tmp_path / "out", "--epochs", 1, *SMALL,
        "--set", "keep_duplicates=true",
    )  # fmt: skip
    assert result.exit_code == 0, result.output + repr(result.exception)
    made_run = Run.load(tmp_path / "out")
    assert made_run.head().labels == LABELS
    assert len(made_run.predictions()) == sum(made_run.dataset_info()["expw"]["counts"]["test"].values())


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "fercore", "train", *map(str, arguments)]


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_killed_process_goes_on_and_its_run_opens_in_the_app(tmp_path, portrait, monkeypatch):
    """The real command on photos like ExpW's: ``kill -9`` after the first checkpoint, ``--resume``, the Training page."""
    root = expw_like(tmp_path / "expw", portrait)
    with (root / "label.lst").open("a") as lines:
        lines.write("p1.png 0\n")
    artifacts = tmp_path / "artifacts"
    shutil.copytree(ROOT / "artifacts" / "detector", artifacts / "detector")
    options = ["--model", "report-cnn", "--dataset", "expw", "--data", root, "--epochs", 8, "--set", "batch_size=4"]
    options += ["--set", "keep_duplicates=true", "--set", "patience=0", "--set", "augment=light"]
    surroundings = {**os.environ, "FER_ARTIFACTS": str(artifacts)}
    checkpoint = artifacts / ".mine.training" / "checkpoint.npz"

    with subprocess.Popen(
        command(*options, "--out", artifacts / "mine"), cwd=ROOT, env=surroundings, stderr=subprocess.PIPE, text=True
    ) as process:
        while not checkpoint.is_file():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
        process.kill()
        told = process.stderr.read()
    assert process.returncode == -signal.SIGKILL
    assert f"expw: left out: {root / 'label.lst'}:29: malformed: 2 fields, 8 expected\n" in told
    assert not (artifacts / "mine").exists()
    with np.load(checkpoint) as arrays:
        done = len(json.loads(arrays["facts"].tobytes())["history"])
    assert 1 <= done < 8

    resumed, whole = (
        subprocess.run(
            command(*options, "--out", artifacts / name, "--resume"),
            cwd=ROOT,
            env=surroundings,
            capture_output=True,
            text=True,
            check=False,
        )
        for name in ("mine", "undisturbed")
    )
    assert resumed.returncode == whole.returncode == 0, resumed.stderr[-2000:] + whole.stderr[-2000:]
    assert f"epoch {done}/8" not in resumed.stderr
    assert f"epoch {done + 1}/8" in resumed.stderr
    one, other = (Run.load(artifacts / name).history().drop(columns="seconds") for name in ("mine", "undisturbed"))
    assert one["epoch"].tolist() == list(range(1, 9))
    np.testing.assert_allclose(one, other, atol=1e-4)
    assert sorted(path.name for path in artifacts.iterdir()) == ["detector", "mine", "undisturbed"]

    monkeypatch.setenv("FER_ARTIFACTS", str(artifacts))
    monkeypatch.setenv("FER_DATA", str(tmp_path / "nothing"))
    begin = PagesManager.__init__

    def remember(self, *given, **options):
        PagesManager.uses_pages_directory = False  # as on a server, where st.navigation has run once
        begin(self, *given, **options)

    monkeypatch.setattr(PagesManager, "__init__", remember)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).switch_page("pages/training.py")
    app.query_params["run"] = "mine"
    app.run()
    assert not app.exception
    assert app.title[0].value == "Training"
    facts = {metric.label: metric.value for metric in app.metric}
    assert facts["Parameters"] == "2.51 M"  # the report's CNN, to the last parameter
    assert facts["Best epoch"] == str(Run.load(artifacts / "mine").info["validation"]["epoch"])


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
@pytest.mark.parametrize("model", sorted(models.MODELS))
@pytest.mark.long
def test_a_process_trains_each_model_on_each_backend(data, tmp_path, backend, model):
    """The real command, export in a process of its own included."""
    pytest.importorskip(backend)
    command = [sys.executable, "-m", "fercore", "train", "--model", model, "--dataset", "folder", "--data", data]
    command += ["--out", tmp_path / "run", "--epochs", "1", "--limit", "12", "--set", "batch_size=4"]
    root = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run([*map(str, command)], cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    made_run = Run.load(tmp_path / "run")
    assert made_run.info["backend"] == backend
    assert Predictor.load(made_run.path).labels == ("angry", "happy", "zen")


# Precision


@pytest.mark.parametrize(
    ("precision", "gpu", "expected"),
    [
        ("auto", False, "float32"),
        ("auto", True, "mixed_bfloat16"),
        ("float32", True, "float32"),
        ("float32", False, "float32"),
    ],
)
def test_half_precision_is_for_gpus(monkeypatch, precision, gpu, expected):
    monkeypatch.setattr(building, "has_gpu", lambda: gpu)
    assert building.policy_of(Recipe(model="report-cnn", datasets=("x",), precision=precision)) == expected


def test_half_precision_trains_and_the_run_is_float32(run, data, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "has_gpu", lambda: True)
    result = train("--like", run.path, "--data", data, "--out", tmp_path / "half", "--epochs", 1)
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert keras.config.dtype_policy().name == "float32"  # as it was
    half = Run.load(tmp_path / "half")
    assert half.info["export"]["difference"] <= 1e-4
    first, second = half.history().iloc[0], run.history().iloc[0]
    assert first["loss"] == pytest.approx(second["loss"], abs=0.02)
    assert first["loss"] != second["loss"]  # it was another arithmetic
    table = half.predictions()
    assert np.isfinite(table["p_zen"]).all()


# Refusals


def test_an_unknown_model_is_refused(data, tmp_path):
    line = refused("--model", "resnet", "--dataset", "folder", "--data", data, "--out", tmp_path / "x")
    assert "model 'resnet' is unknown; there are report-cnn" in line


def test_an_unknown_dataset_is_refused(data, tmp_path):
    line = refused("--model", "report-cnn", "--dataset", "exwp", "--data", data, "--out", tmp_path / "x")
    assert "unknown dataset 'exwp'; did you mean 'expw'" in line


@pytest.mark.parametrize("place", ["missing", "empty"])
def test_missing_data_is_refused(tmp_path, place):
    (tmp_path / "empty").mkdir()
    line = refused("--model", "report-cnn", "--dataset", "expw", "--data", tmp_path / place, "--out", tmp_path / "x")
    assert str(tmp_path / place) in line
    assert "no such folder; give the data folder with --data" in line or "no dataset 'expw' here" in line
    assert not (tmp_path / "x").exists()
    assert list(tmp_path.glob(".*")) == []


def test_a_taken_place_is_refused_before_anything_is_done(run, data):
    line = refused("--model", "report-cnn", "--dataset", "folder", "--data", data, "--out", run.path)
    assert line == f"{run.path}: already exists; choose another --out, or delete it first"


def test_overwrite_replaces_a_run(run, data, tmp_path):
    shutil.copytree(run.path, tmp_path / "x")
    arguments = ["--like", run.path, "--data", data, "--out", tmp_path / "x", "--epochs", 1, "--limit", 3, "--seed", 5]
    result = train(*arguments, "--overwrite")
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert Run.load(tmp_path / "x").info["recipe"]["seed"] == 5
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model", "report-cnn"], "--model and --dataset: name a network and at least one dataset"),
        (["--model", "report-cnn", "--dataset", "folder", "--dataset", "folder"], "datasets: one stands there twice"),
        (
            ["--model", "report-cnn", "--dataset", "folder", "--set", "epoch=3"],
            "unknown option 'epoch'; did you mean 'epochs'",
        ),
        (["--model", "report-cnn", "--dataset", "folder", "--set", "batch_size"], "expected KEY=VALUE"),
        (
            ["--model", "report-cnn", "--dataset", "folder", "--set", "batch_size=many"],
            "batch_size: expected a whole number",
        ),
        (
            ["--model", "report-cnn", "--dataset", "folder", "--epochs", "3", "--set", "epochs=0"],
            "epochs: 0 is outside",
        ),
        (
            ["--model", "report-cnn", "--dataset", "folder", "--limit", "2"],
            "limit: 2 faces a split are fewer than the 3",
        ),
        (
            ["--model", "report-cnn", "--dataset", "folder", "--set", 'options={"depth": 3}'],
            "has no 'depth'; it has filters",
        ),
        (["--model", "report-cnn", "--dataset", "folder", "--set", "resolutions=[32]"], "sees 48 pixels only"),
        (["--like", "nowhere"], "nowhere: no such run"),
        (["--model", "report-cnn", "--dataset", "folder", "--set", "teacher=nobody"], "nobody: no such run"),
    ],
)
def test_what_cannot_be_done_is_one_line(data, tmp_path, arguments, told):
    assert told in refused(*arguments, "--data", data, "--out", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_missing_out_is_refused(data):
    assert "--out: missing" in refused("--model", "report-cnn", "--dataset", "folder", "--data", data)


def test_a_name_that_no_run_may_have_is_refused(data, tmp_path):
    line = refused("--model", "report-cnn", "--dataset", "folder", "--data", data, "--out", tmp_path / "my run")
    assert "'my run': a name has 1 to 80 letters" in line


def test_a_run_without_a_recipe_cannot_be_repeated(run, data, tmp_path):
    document = json.loads((run.path / "run.json").read_text())
    del document["recipe"]
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "run.json").write_text(json.dumps(document))
    assert "run bare (network) has no recipe; name one that was trained" in refused(
        "--like", bare, "--data", data, "--out", tmp_path / "x"
    )


def test_a_missing_class_is_refused(tmp_path):
    root = make_folder(tmp_path / "faces", ("anger", "happiness"), 4)
    (root / "sad").mkdir()
    line = refused("--model", "report-cnn", "--dataset", "folder", "--data", root, "--out", tmp_path / "x")
    assert "dataset 'folder' has no face of class sad" in line


@pytest.mark.parametrize("package", ["tf2onnx", "pandas", "pyarrow"])
def test_missing_packages_are_named(data, tmp_path, monkeypatch, package):
    """Before the training, though some are needed only at its end."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else object())
    line = refused("--model", "report-cnn", "--dataset", "folder", "--data", data, "--out", tmp_path / "x")
    assert line == f"train: {package} not installed; they come with pip install '.[train]'"


def test_models_are_listed():
    result = train("--models")
    assert result.exit_code == 0
    for name, entry in models.MODELS.items():
        assert f"{name}" in result.stdout
        assert entry.summary in result.stdout
