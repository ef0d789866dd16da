"""The command line as a user meets it: what it prints where, and with which exit code. ``train`` has tests of its own."""

from __future__ import annotations

import csv
import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fercore import __version__, batch, cli, datasets, runs, timeline
from fercore.commands import shared
from fercore.datasets import Problem
from fercore.errors import FerError
from fercore.inference import Predictor
from fercore.labels import FERPLUS_LABELS, LABELS
from fercore.video import Video
from made_faces import make_folder
from made_run import made_run
from scripted import write_clip

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"tensorflow", "keras", "torch", "jax", "sklearn", "streamlit"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two heads; nothing is uncertain to it."""
    heads = {"fer2013": LABELS, "ferplus": FERPLUS_LABELS}
    return made_run(tmp_path_factory.mktemp("artifacts"), "tried", heads=heads, faces=20, threshold=0.0).path


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of class-named folders, and one picture that is none."""
    folder = make_folder(tmp_path_factory.mktemp("data") / "mine", ("angry", "happy", "sad"), 12)
    (folder / "happy" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    return folder


@pytest.fixture
def photos(tmp_path: Path, portrait: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a face, three faces, none, and files that are no pictures."""
    face = np.ascontiguousarray(portrait[20:276, 96:352])
    Image.fromarray(face).save(tmp_path / "face.jpg", quality=95)
    Image.fromarray(np.concatenate([portrait[40:200, 140:300]] * 3, axis=1)).save(tmp_path / "three.png")
    Image.new("RGB", (320, 240), "white").save(tmp_path / "blank.png")
    (tmp_path / "text.jpg").write_text("Dear diary")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "album" / "june").mkdir(parents=True)
    Image.fromarray(face).save(tmp_path / "album" / "june" / "b.PNG")
    Image.new("L", (99, 80)).save(tmp_path / "album" / "a.png")
    (tmp_path / "album" / "notes.txt").write_text("skipped")
    (tmp_path / "none").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: Any) -> Result:
    """Run a command; anything but an orderly end is an error of the test."""
    result = CliRunner().invoke(cli.main, [str(argument) for argument in arguments], prog_name="fercore")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def error(*arguments: Any) -> str:
    """Run a command that must fail: exit code 2, nothing on stdout, and one line on stderr, which is returned."""
    result = call(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith("\n")
    return result.stderr.removeprefix("error: ").rstrip("\n")


def python(code: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh Python."""
    return subprocess.run(
        [sys.executable, *arguments, "-c", code],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


def commands(group: click.Group = cli.main, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


# Help and start


@pytest.mark.parametrize(("path", "command"), [pytest.param(*pair, id=" ".join(pair[0])) for pair in commands()])
def test_every_command_explains_itself_and_its_options(path: tuple[str, ...], command: click.Command) -> None:
    for flag in ("--help", "-h"):
        result = call(*path, flag)
        assert result.exit_code == 0
        assert result.stdout.startswith(f"Usage: fercore {' '.join(path)}")
    assert command.help
    assert command.get_short_help_str(200).endswith(".")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{' '.join(path)} {parameter.opts[0]} has no help"
            assert parameter.opts[0] in result.stdout


def test_the_designs_commands_are_there() -> None:
    assert {"datasets", "train", "evaluate", "predict"} <= set(cli.main.commands)
    assert call("--version").stdout == f"fercore, version {__version__}\n"
    assert "Train, evaluate and serve" in call("--help").stdout


def test_importing_the_package_takes_no_time() -> None:
    code = "import time\nstart = time.perf_counter()\nimport fercore\nprint(time.perf_counter() - start)"
    assert min(float(python(code).stdout) for _ in range(3)) < 0.25


def test_commands_start_without_what_they_do_not_need() -> None:
    done = python("import sys\nimport fercore.cli\nprint(*sys.modules)")
    loaded = set(done.stdout.split())
    assert "fercore.cli" in loaded
    assert not loaded & (HEAVY | {"numpy", "pandas", "cv2", "PIL", "onnxruntime", "tqdm"})


def test_prediction_loads_no_framework_and_no_pandas(run: Path, photos: Path) -> None:
    code = (
        "import sys\n"
        "from fercore.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", str(photos / "face.jpg"), "--run", str(run), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["faces"]) == 1
    loaded = set(done.stderr.split())
    assert "onnxruntime" in loaded
    assert not loaded & (HEAVY | {"pandas", "matplotlib"})


def test_the_module_is_the_command(run: Path, photos: Path) -> None:
    command = [sys.executable, "-m", "fercore", "predict", str(photos / "text.jpg"), "--run", str(run)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {photos / 'text.jpg'}: text; use a JPEG")


# Errors


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["predict", "x.jpg", "--run", "no-such-run"], "no-such-run: no such run; give a folder or one of those in"),
        (["predict", "x.jpg", "--run", "a\nb"], "a b: no such run"),
        (["predict"], "Missing argument 'PATHS...'; see fercore predict --help"),
        (["predict", "x.jpg", "--jsn"], "No such option '--jsn'"),
        (["predikt"], "No such command 'predikt'"),
        (["evaluate"], "Missing argument 'RUN'; see fercore evaluate --help"),
        (["evaluate", "no-such-run"], "no-such-run: no such run"),
        (["datasets", "--data", "no-such-folder"], "no-such-folder: no dataset found; give --data or set FER_DATA"),
        (["datasets", "--data", "~no-such-user/x"], "~no-such-user/x: no dataset found"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(photos: Path, arguments: list[str], told: str) -> None:
    assert told in error(*arguments)


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (FerError("first\nsecond"), "first second"),
        (OSError(errno.ENOSPC, "No space left on device", "/disk/file"), "/disk/file: No space left on device"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk: No space left on device"),
        (
            ModuleNotFoundError("No module named 'pandas'", name="pandas"),
            "the package pandas is not installed; pip install '.[app,train]' brings all that is needed",
        ),
    ],
)
def test_what_goes_wrong_on_the_way_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, told: str
) -> None:
    def fails(*_: object) -> None:
        raise raised

    monkeypatch.setattr(datasets, "find_datasets", fails)
    assert error("datasets") == told


@pytest.mark.parametrize("raised", [ZeroDivisionError("ours"), ModuleNotFoundError("x", name="fercore.gone")])
def test_our_own_defects_are_not_hidden(monkeypatch: pytest.MonkeyPatch, raised: Exception) -> None:
    def fails(*_: object) -> None:
        raise raised

    monkeypatch.setattr(datasets, "find_datasets", fails)
    assert CliRunner().invoke(cli.main, ["datasets"]).exception is raised


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end otherwise there")
def test_a_reader_that_has_seen_enough_ends_it_quietly(run: Path, photos: Path) -> None:
    command = [sys.executable, "-m", "fercore", "predict", *["face.jpg"] * 40, "--run", str(run), "--json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=photos, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert json.loads(process.stdout.readline())["image"] == "face.jpg"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


# predict


def test_predict_prints_each_photo_with_its_faces(run: Path, photos: Path) -> None:
    result = call("predict", "face.jpg", "three.png", "blank.png", "--run", run)
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert [line for line in lines if not line.startswith("  ")] == [
        "face.jpg: 1 face",
        "three.png: 3 faces",
        "blank.png: no faces",
    ]
    assert len(lines) == 3 + 1 + 3
    (face,) = Predictor.load(run).predict(photos / "face.jpg")
    label, confidence, size, at, where = lines[1].split()
    assert label == face.label
    assert confidence == f"{face.confidence:.0%}"
    assert size == f"{round(face.box[2])}x{round(face.box[3])}"
    assert at == "at"
    assert where == f"{round(face.box[0])},{round(face.box[1])}"


def test_predict_json_is_a_line_a_photo_as_designed(run: Path, photos: Path) -> None:
    result = call("predict", "face.jpg", "three.png", "blank.png", "--run", run, "--json")
    assert result.exit_code == 0
    assert result.stderr == ""
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [list(row) for row in rows] == [["image", "faces"]] * 3
    assert [row["image"] for row in rows] == ["face.jpg", "three.png", "blank.png"]
    assert [len(row["faces"]) for row in rows] == [1, 3, 0]
    assert rows[2] == {"image": "blank.png", "faces": []}
    (wanted,) = Predictor.load(run).predict(photos / "face.jpg")
    (face,) = rows[0]["faces"]
    assert list(face)[:5] == ["box", "score", "label", "confidence", "probabilities"]
    assert face["box"] == pytest.approx(wanted.box, abs=0.051)
    assert face["score"] == pytest.approx(wanted.score, abs=1e-4)
    assert face["label"] == wanted.label
    assert face["confidence"] == pytest.approx(wanted.confidence, abs=1e-4)
    assert list(face["probabilities"]) == list(LABELS)
    assert face["probabilities"] == pytest.approx(wanted.probabilities, abs=1e-4)


def test_flip_looks_at_mirror_images_too_and_says_so_in_the_file(run: Path, photos: Path, faces: Path) -> None:
    (wanted,) = Predictor.load(run, flip=True).predict(photos / "face.jpg")
    (plain,) = Predictor.load(run).predict(photos / "face.jpg")
    (face,) = json.loads(call("predict", "face.jpg", "--run", run, "--flip", "--json").stdout)["faces"]
    assert face["probabilities"] == pytest.approx(wanted.probabilities, abs=1e-4)
    assert face["probabilities"] != pytest.approx(plain.probabilities, abs=1e-3)
    assert call("predict", "face.jpg", "--run", run, "--flip", "--out", "flip.csv").exit_code == 0
    with open("flip.csv", encoding="utf-8", newline="") as file:
        assert [row["run"] for row in csv.DictReader(file)] == ["tried/fer2013 flip"]
    told = call("evaluate", run, "--dataset", "folder", "--data", faces, "--split", "all", "--flip").stdout
    assert told.splitlines()[0].endswith(" faces with their mirror images")


def test_unreadable_files_cost_a_line_and_the_others_go_on(run: Path, photos: Path) -> None:
    paths = ["text.jpg", "empty.jpg", "missing.jpg", "face.jpg"]
    told = [
        "text.jpg: text; use a JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF or HEIC picture",
        "empty.jpg: empty, 0 bytes; copy or upload it again",
        "missing.jpg: no such file; check the path",
    ]
    result = call("predict", *paths, "--run", run)
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [f"error: {line}" for line in told]
    assert result.stdout.startswith("face.jpg: 1 face\n")
    result = call("predict", *paths, "--run", run, "--json")
    assert result.exit_code == 2
    assert result.stderr == ""
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert rows[:3] == [{"image": name, "error": line} for name, line in zip(paths, told, strict=False)]
    assert len(rows[3]["faces"]) == 1


def test_folders_are_searched_for_photos(run: Path, photos: Path) -> None:
    result = call("predict", "album", "blank.png", "--run", run, "--json")
    assert result.exit_code == 0
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(row["image"]).as_posix() for row in rows] == ["album/a.png", "album/june/b.PNG", "blank.png"]
    assert [len(row["faces"]) for row in rows] == [0, 1, 0]
    assert error("predict", "none", "--run", run) == "none: no photo in there"


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names that are no text")
def test_names_that_are_no_text_are_printed_somehow(run: Path, photos: Path) -> None:
    with open(os.fsencode(photos) + b"/album/\xff\xfe.png", "wb") as file:
        file.write((photos / "blank.png").read_bytes())
    result = call("predict", "album", "--run", run)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 4
    rows = [json.loads(line) for line in call("predict", "album", "--run", run, "--json").stdout.splitlines()]
    assert [os.fsencode(row["image"]) for row in rows] == [b"album/a.png", b"album/june/b.PNG", b"album/\xff\xfe.png"]


def test_a_head_is_chosen(run: Path, photos: Path) -> None:
    row = json.loads(call("predict", "face.jpg", "--run", run, "--head", "ferplus", "--json").stdout)
    assert list(row["faces"][0]["probabilities"]) == list(FERPLUS_LABELS)
    assert error("predict", "face.jpg", "--run", run, "--head", "x") == (
        "run tried: no head 'x'; it has fer2013, ferplus"
    )


def test_the_run_may_come_from_the_environment(run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_RUN", str(run))
    assert call("predict", "face.jpg").stdout.startswith("face.jpg: 1 face\n")


def test_faces_below_the_threshold_are_marked(tmp_path: Path, photos: Path) -> None:
    doubting = made_run(tmp_path / "artifacts", "doubting", faces=20, threshold=1.0).path
    assert call("predict", "face.jpg", "--run", doubting).stdout.splitlines()[1].endswith("  (uncertain)")
    row = json.loads(call("predict", "face.jpg", "--run", doubting, "--json").stdout)
    assert row["faces"][0]["uncertain"] is True


def test_a_detector_that_is_missing_is_named(run: Path, photos: Path) -> None:
    assert error("predict", "face.jpg", "--run", run, "--detector", "gone.onnx").startswith("gone.onnx: no such file")


def test_a_changed_run_is_refused_by_name(tmp_path: Path, photos: Path) -> None:
    changed = made_run(tmp_path / "artifacts", "changed", faces=20).path
    (changed / "model.onnx").write_bytes(b"changed")
    told = error("predict", "face.jpg", "--run", changed)
    assert told == f"{changed / 'model.onnx'}: changed since the run was written (sha256 differs); copy the run again"


# predict many


def test_predict_writes_a_file_and_goes_on_with_it(run: Path, photos: Path) -> None:
    torn = f"error: {Path('text.jpg')}: text; use a JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF or HEIC picture\n"
    result = call("predict", "three.png", "text.jpg", "three.png", "--run", run, "--out", "faces.csv")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == f"{torn}written: faces.csv (2 photos, 3 faces, 1 unreadable)\n"
    result = call("predict", "album", "three.png", "text.jpg", "--run", run, "--out", "faces.csv")
    assert result.exit_code == 0
    assert result.stderr == "written: faces.csv (2 photos, 1 faces, 0 unreadable, 2 more were in it already)\n"
    with open("faces.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [Path(row["image"]).as_posix() for row in rows]
    assert names == ["three.png"] * 3 + ["text.jpg", "album/a.png", "album/june/b.PNG"]
    assert {row["run"] for row in rows} == {"tried/fer2013"}
    faces = [face.to_dict() for face in Predictor.load(run).predict(photos / "three.png")]
    for row, face in zip(rows, faces, strict=False):
        assert [float(row[side]) for side in ("left", "top", "width", "height")] == face["box"]
        assert [float(row[f"p_{label}"]) for label in LABELS] == list(face["probabilities"].values())


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_predict_with_processes_writes_the_same_file(run: Path, photos: Path, kind: str) -> None:
    for workers in ("1", "2"):
        call("predict", ".", "--run", run, "--workers", workers, "--out", f"faces{workers}.{kind}")
    assert Path(f"faces1.{kind}").read_bytes() == Path(f"faces2.{kind}").read_bytes()
    plain = call("predict", ".", "--run", run, "--json").stdout
    assert call("predict", ".", "--run", run, "--json", "--workers", "2").stdout == plain


def test_ctrl_c_leaves_what_is_done(run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = call("predict", ".", "--run", run, "--out", "whole.parquet")
    answer = batch.answer
    left = iter(range(3))

    def stops(predictor: Predictor, photo: str) -> batch.Answer:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return answer(predictor, photo)

    monkeypatch.setattr(batch, "answer", stops)
    result = call("predict", ".", "--run", run, "--out", "faces.parquet")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "error: stopped after 3 of 7 photos; the same command goes on"
    monkeypatch.setattr(batch, "answer", answer)
    result = call("predict", ".", "--run", run, "--out", "faces.parquet")
    assert "4 photos, " in result.stderr
    assert "3 more were in it already" in result.stderr
    assert whole.exit_code == result.exit_code == 2
    assert pd.read_parquet("faces.parquet").equals(pd.read_parquet("whole.parquet"))


@pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")
def test_a_signal_ends_all_processes_and_leaves_what_is_done(run: Path, photos: Path) -> None:
    """Ctrl-C at a terminal: the signal goes to every process of the group."""
    many = photos / "many"
    many.mkdir()
    for number in range(12_000):
        os.link(photos / "face.jpg", many / f"{number:05}.jpg")
    command = [sys.executable, "-m", "fercore", "predict", "many", "--run", str(run), "--workers", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*command, "--out", "faces.jsonl"],
        cwd=photos,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
    ) as process:
        for _ in range(1200):
            if Path("faces.jsonl").is_file() and Path("faces.jsonl").stat().st_size:
                break
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        told = process.stderr.read()
    assert process.returncode == 130, told
    assert "photos; the same command goes on" in told
    assert "Traceback" not in told
    rows = [json.loads(line) for line in Path("faces.jsonl").read_text().splitlines()]
    assert [Path(row["image"]).name for row in rows] == [f"{number:05}.jpg" for number in range(len(rows))]
    assert 0 < len(rows) < 1500
    assert {len(row["faces"]) for row in rows} == {1}


def test_predict_options_that_do_not_fit(run: Path, photos: Path) -> None:
    assert "give exactly one video" in error("predict", "face.jpg", "--run", run, "--render", "x.mp4")
    assert error("predict", "face.jpg", "--run", run, "--out", "faces.txt") == (
        "faces.txt: cannot write .txt; use .csv, .parquet, .jsonl"
    )
    assert "'dask' is not one of 'local', 'ray'" in error("predict", "face.jpg", "--run", run, "--engine", "dask")
    assert "not in the range x>=0" in error("predict", "face.jpg", "--run", run, "--workers", "-1")


@pytest.fixture
def clip(photos: Path, portrait: np.ndarray) -> Path:
    """A second of a face, at ten frames a second."""
    return write_clip(photos / "clip.avi", [np.ascontiguousarray(portrait[20:260, 60:380])] * 10, fps=10)


def test_predict_follows_the_faces_of_a_video(run: Path, clip: Path) -> None:
    result = call("predict", "clip.avi", "--run", run, "--out", "t.csv", "--render", "marked.mp4")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert result.stderr == "written: t.csv (10 rows)\nwritten: marked.mp4\n"
    table = pd.read_csv("t.csv")
    assert table["time"].tolist() == pytest.approx([number / 10 for number in range(10)], abs=0.001)
    assert set(table["face"]) == {1}
    assert {f"p_{label}" for label in LABELS} <= set(table.columns)
    assert list(Path(".").glob(".*")) == []
    marked = [frame for _, frame in Video("marked.mp4")]
    assert len(marked) == 10
    before = next(iter(Video(clip)))[1]
    assert np.abs(marked[5].astype(int) - before).max() > 60  # a box is drawn
    lines = call("predict", "clip.avi", "--run", run, "--json", "--fps", "5").stdout.splitlines()
    assert [json.loads(line)["time"] for line in lines] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8], abs=0.001)
    assert call("predict", "clip.avi", "--run", run, "--fps", "5").stdout.startswith("time,face,left,top,")


def test_what_a_video_cannot_get_is_told_before_its_first_frame(
    run: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked_at(*_: object, **__: object) -> None:
        raise AssertionError("the video was looked at")

    monkeypatch.setattr(timeline, "timeline", looked_at)
    asked = ["predict", clip, "--run", run]
    assert error(*asked, "--out", "nofolder/t.csv") == (
        f"{Path('nofolder/t.csv')}: there is no folder nofolder; make it first"
    )
    assert error(*asked, "--out", "t.txt") == "t.txt: cannot write .txt; use .csv, .parquet, .jsonl"
    assert error(*asked, "--render", "nofolder/m.mp4") == (
        f"{Path('nofolder/m.mp4')}: there is no folder nofolder; make it first"
    )
    assert "m.gif: cannot write .gif; use .mp4" in error(*asked, "--render", "m.gif")
    assert error(*asked, "--render", "clip.avi") == "clip.avi: this is the video itself; name another file to write to"
    for option in (["--workers", "2"], ["--workers", "1"], ["--engine", "ray"]):
        assert error(*asked, *option) == "--workers and --engine: share out photos; leave them away for a video"


def test_videos_in_a_folder_are_not_passed_over_silently(run: Path, clip: Path) -> None:
    (clip.parent / "none" / ".hidden.mp4").touch()
    assert error("predict", "none", "--run", run) == "none: no photo in there"
    for name in ("b.mp4", "a.webm"):
        (clip.parent / "none" / name).touch()
    some = f"{Path('none/a.webm')} and 1 more"
    assert error("predict", "none", "--run", run) == (
        f"none: no photo in there; a video in a folder is looked at when it is named itself: {some}"
    )
    result = call("predict", "blank.png", "none", "--run", run)
    assert result.exit_code == 0
    assert result.stdout == "blank.png: no faces\n"
    assert result.stderr == f"note: left out, since a video is looked at when it is named itself: {some}\n"


# datasets


def test_datasets_lists_faces_per_split_and_class(faces: Path) -> None:
    result = call("datasets", "--data", faces)
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == f"folder: 37 faces in {faces}"
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert list(rows) == ["train", "validation", "test"]
    assert sum(int(row[0]) for row in rows.values()) == 37
    for row in rows.values():
        assert row[1::2] == ["angry", "happy", "sad"]
        assert int(row[0]) == sum(map(int, row[2::2]))
    assert [sum(int(row[2 + 2 * k]) for row in rows.values()) for k in range(3)] == [12, 13, 12]


def test_datasets_json_is_one_object(faces: Path) -> None:
    listed = json.loads(call("datasets", "--data", faces, "--json").stdout)
    assert list(listed) == ["folder"]
    assert listed["folder"] == {
        "faces": 37,
        "counts": datasets.load("folder", faces).counts(),
        "problems": {},
    }


def test_a_broken_dataset_does_not_hide_the_others(tmp_path: Path) -> None:
    ckplus = tmp_path / "ckplus" / "CK+48"
    for label in ("happy", "sadness"):
        (ckplus / label).mkdir(parents=True)
        for subject in range(4):
            Image.new("L", (48, 48)).save(ckplus / label / f"S01{subject}_001_00000001.png")
    (tmp_path / "fer2013").mkdir()
    (tmp_path / "fer2013" / "fer2013.csv").write_text("emotion,pixels,Usage\n")
    result = call("datasets", "--data", tmp_path)
    assert result.exit_code == 2
    assert "ckplus: 8 faces" in result.stdout
    assert result.stderr.startswith("error: fer2013: ")
    assert result.stderr.count("\n") == 1
    result = call("datasets", "--data", tmp_path, "--json")
    assert result.exit_code == 2
    listed = json.loads(result.stdout)
    assert listed["ckplus"]["faces"] == 8
    assert listed["fer2013"] == {"error": result.stderr.removeprefix("error: fer2013: ").rstrip("\n")}


def test_a_class_without_a_face_is_listed_and_does_not_stop_an_evaluation(tmp_path: Path, run: Path) -> None:
    folder = make_folder(tmp_path / "mine", ("happy", "sad"), 6)
    (folder / "fear").mkdir()
    result = call("datasets", "--data", folder)
    assert result.exit_code == 0
    assert all("fear      0" in line for line in result.stdout.splitlines()[1:])
    measured = json.loads(
        call("evaluate", run, "--dataset", "folder", "--data", folder, "--split", "all", "--json").stdout
    )
    assert measured["faces"] == 12
    assert measured["per_class"]["fear"]["recall"]["value"] is None
    text = call("evaluate", run, "--dataset", "folder", "--data", folder, "--split", "all").stdout
    assert "  fear       precision no face  recall no face  f1 no face  of 0" in text


def test_problems_are_counted_and_listed_on_demand(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "mine", ("happy", "sad"), 6)
    for number in range(3):
        Image.new("L", (48, 48)).save(folder / f"stray{number}.png")
    short = call("datasets", "--data", folder).stdout
    assert "  3 x no class; the first: " in short
    assert "stray2.png" not in short
    full = call("datasets", "--data", folder, "--problems").stdout
    assert full.startswith(short.rstrip("\n"))
    assert all(f"stray{number}.png: no class: lies beside" in full for number in range(3))


def test_damaged_pictures_get_a_line_each_on_demand(faces: Path) -> None:
    assert "torn.png" not in call("datasets", "--data", faces).stdout
    told = f"{faces / 'happy' / 'torn.png'}: unreadable image: damaged or not a picture"
    lines = call("datasets", "--data", faces, "--problems").stdout.splitlines()
    assert lines[-2:] == [f"  1 x unreadable image; the first: {told[:160]}", f"  {told}"]
    listed = json.loads(call("datasets", "--data", faces, "--problems", "--json").stdout)["folder"]
    assert listed["problems"] == {"unreadable image": 1}
    assert listed["lines"] == [told]


def test_a_training_names_the_first_twenty_problems_and_counts_the_others(
    faces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = datasets.load("folder", faces)
    shared.tell_problems(dataset)
    assert capsys.readouterr().err == ""
    found = [Problem("malformed", f"label.lst:{number}", "7 fields,\n8 expected") for number in range(1, 22)]
    found += [Problem("no face", f"{number}.jpg", "the detector finds none in this picture") for number in range(2)]
    shared.tell_problems(dataclasses.replace(dataset, problems=tuple(found)))
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        "folder: left out: label.lst:1: malformed: 7 fields, 8 expected",
        "folder: left out: label.lst:2: malformed: 7 fields, 8 expected",
    ]
    assert lines[19].startswith("folder: left out: label.lst:20: ")
    assert lines[20:] == ["folder: ... and 3 more (1 malformed, 2 no face); see 'datasets --problems'"]


# evaluate


def accuracy_by_hand(run: Path, faces: Path, keep: Callable[[str], bool]) -> tuple[float, int, list[str]]:
    """Return the accuracy over the classes of the folder, the faces, and their classes, picture by picture."""
    dataset = datasets.load("folder", faces)
    predictor = Predictor.load(run)
    right, true = 0, []
    for image, label, split in dataset.table[["image", "label", "split"]].itertuples(index=False):
        if not keep(split) or image.endswith("torn.png"):
            continue
        pixels = np.asarray(Image.open(faces / image))
        probabilities = predictor.classify(pixels, [[0, 0, *pixels.shape[::-1]]], framing="crop")[0]
        shared = {name: probabilities[LABELS.index(name)] for name in ("angry", "happy", "sad")}
        right += max(shared, key=shared.get) == label
        true.append(label)
    return right / len(true), len(true), true


@pytest.mark.parametrize("split", ["test", "all"])
def test_evaluate_on_a_folder_of_ones_own(run: Path, faces: Path, split: str) -> None:
    arguments = ["evaluate", run, "--dataset", "folder", "--data", faces, "--split", split]
    accuracy, count, true = accuracy_by_hand(run, faces, lambda name: split in ("all", name))
    result = call(*arguments, "--json")
    assert result.exit_code == 0
    assert result.stderr == ""
    measured = json.loads(result.stdout)
    assert measured["run"] == "tried"
    assert measured["dataset"] == "folder"
    assert measured["split"] == split
    assert measured["head"] == "fer2013"
    assert measured["faces"] == count
    assert measured["left_out"] == 0
    assert measured["classes"] == ["angry", "happy", "sad"]
    assert measured["accuracy"]["value"] == pytest.approx(accuracy)
    assert measured["accuracy"]["low"] <= accuracy <= measured["accuracy"]["high"]
    assert measured["unreadable"] == (1 if split == "all" else measured["unreadable"])
    lines = call(*arguments).stdout.splitlines()
    assert lines[0] == f"tried, head fer2013, folder {split}: {count} faces"
    assert lines[1].startswith(f"accuracy {accuracy:.1%} (")
    (below,) = [number for number, line in enumerate(lines) if line.startswith("  labelled")]
    per_class, counts = lines[below - 3 : below], lines[below + 1 :]
    assert [line.split()[0] for line in per_class] == ["angry", "happy", "sad"]
    assert [line.split()[-1] for line in per_class] == [str(true.count(name)) for name in ("angry", "happy", "sad")]
    assert lines[below].split() == ["labelled", "called", "angry", "happy", "sad"]
    assert [line.split()[0] for line in counts] == ["angry", "happy", "sad"]
    cells = [[int(cell) for cell in line.split()[1:]] for line in counts]
    assert [sum(row) for row in cells] == [true.count(name) for name in ("angry", "happy", "sad")]
    assert sum(cells[place][place] for place in range(3)) == round(accuracy * count)
    averages = lines[below - 7 : below - 3]
    assert [line.split()[0] for line in averages] == ["precision", "recall", "F1", "log"]
    assert f"weighted {accuracy:.1%} (" in averages[1]  # recall weighted by faces is accuracy
    assert averages[3].startswith(f"  log loss {measured['log_loss']['value']:.3f} (")
    unreadable = "  not among them: 1 whose picture cannot be read or shows no face"
    assert (unreadable in lines) == (measured["unreadable"] == 1)


def test_evaluate_says_which_faces_it_left_out(tmp_path: Path, run: Path) -> None:
    folder = make_folder(tmp_path / "mine", ("happy", "sad", "zen"), 4)
    lines = call("evaluate", run, "--dataset", "folder", "--data", folder, "--split", "all").stdout.splitlines()
    assert lines[0].endswith(": 8 faces")
    assert lines[2] == "  not among them: 4 of classes that the head does not know"


def test_evaluate_says_where_the_test_faces_are_no_longer_those_of_the_training(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "mine", LABELS, 8)
    tested = datasets.load("folder", folder).split("test").locators()
    run = made_run(tmp_path, "own", heads={"folder": LABELS}, faces=60)
    table = run.predictions()
    kept = table.iloc[: len(tested)].assign(locator=tested, dataset="folder")
    kept.to_parquet(tmp_path / "kept.parquet")
    files = {"model.onnx": run.file("model.onnx"), "predictions.parquet": tmp_path / "kept.parquet"}
    runs.write(
        run.path, run.info | {"metrics": {"folder": next(iter(run.info["metrics"].values()))}}, files, overwrite=True
    )
    arguments = ["evaluate", str(run.path), "--dataset", "folder", "--data", folder]
    assert "note: " not in call(*arguments).stderr
    make_folder(folder, LABELS, 12, seed=5)
    told = call(*arguments).stderr
    assert "faces are not among those that own was tested on when it was made" in told
    assert "note: " not in call(*arguments, "--split", "all").stderr


def test_evaluate_refuses_what_does_not_fit(run: Path, faces: Path) -> None:
    arguments = ["evaluate", run, "--data", faces]
    assert error(*arguments, "--dataset", "folder", "--split", "dev") == (
        "--split 'dev': dataset 'folder' has train, validation, test, or all"
    )
    assert "unknown dataset 'floder'; did you mean 'folder'?" in error(*arguments, "--dataset", "floder")
    assert f"{faces}: no dataset 'fer2013' here" in error(*arguments)  # the run's own
    assert "no head 'x'; it has fer2013, ferplus" in error(*arguments, "--dataset", "folder", "--head", "x")


def test_evaluate_uses_the_datasets_own_head(tmp_path: Path) -> None:
    heads = {"fer2013": LABELS, "ferplus": FERPLUS_LABELS, "consensus": LABELS}
    run = made_run(tmp_path / "artifacts", "agreed", heads=heads, faces=20).path
    folder = tmp_path / "fer2013"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = [f"{number % 7},{' '.join(map(str, rng.integers(0, 256, 2304)))},PrivateTest" for number in range(14)]
    (folder / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n")
    measured = json.loads(call("evaluate", run, "--data", tmp_path, "--json").stdout)
    assert measured["dataset"] == "fer2013"
    assert measured["head"] == "fer2013"
    assert measured["faces"] == 14
    assert measured["classes"] == list(LABELS)
    for head in ("ferplus", "consensus"):
        measured = json.loads(call("evaluate", run, "--data", tmp_path, "--head", head, "--json").stdout)
        assert measured["head"] == head
        assert measured["classes"] == list(LABELS)


def test_an_ensemble_without_a_dataset_wants_one_named(tmp_path: Path, faces: Path) -> None:
    made = made_run(tmp_path, "bare", faces=20)
    document = json.loads((made.path / "run.json").read_text())
    del document["datasets"]
    (made.path / "run.json").write_text(json.dumps(document))
    assert error("evaluate", made.path, "--data", faces) == "run bare: names no dataset; give --dataset"
