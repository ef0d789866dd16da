"""Runs: written in one step, read with suspicion, renamed and deleted without breaking another.

What a network answers plays no part here, so most runs of these tests hold a few bytes in place of one.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fercore import preprocess, runs
from fercore.errors import RunError
from fercore.labels import FERPLUS_LABELS, LABELS
from fercore.runs import Run
from made_run import made_run

ROOT = Path(__file__).resolve().parent.parent
INFO: dict[str, Any] = {
    "kind": "network",
    "heads": {"fer2013": {"labels": ["angry", "happy", "sad"], "temperature": 1.5, "threshold": 0.25}},
    "default_head": "fer2013",
    "input": {"size": 48},
    "framings": {name: framing.to_dict() for name, framing in preprocess.FRAMINGS.items()},
    "metrics": {"fer2013": {"faces": 3}, "expw": {"faces": 4}},
}
FILES = {"model.onnx": b"a network", "history.csv": b"epoch,loss\n1,2.5\n2,1.5\n", "dataset.json": b'{"fer2013": {}}'}


@pytest.fixture(autouse=True)
def artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that stands for ``artifacts/``; the working directory is another."""
    folder = tmp_path / "artifacts"
    folder.mkdir()
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.setenv("FER_ARTIFACTS", str(folder))
    monkeypatch.delenv("FER_RUN", raising=False)
    monkeypatch.chdir(here)
    return folder


def write(folder: Path, name: str = "one", *, overwrite: bool = False, **changes: Any) -> Run:
    return runs.write(folder / name, INFO | changes, FILES, overwrite=overwrite)


def ensemble(folder: Path, name: str, members: list[str]) -> Run:
    info = {key: value for key, value in INFO.items() if key != "input"} | {"kind": "ensemble", "members": members}
    return runs.write(folder / name, info, {})


def edit(run: Run, change: Callable[[dict[str, Any]], None]) -> None:
    """Change ``run.json`` by hand."""
    document = json.loads((run.path / "run.json").read_text())
    change(document)
    (run.path / "run.json").write_text(json.dumps(document))


def refusal(path: Path | str | None = None, **options: Any) -> str:
    """Return the one line with which a run is refused."""
    with pytest.raises(RunError) as caught:
        Run.load(path, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 700
    return text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Reading what was written


def test_a_run_comes_back_as_it_was_written(artifacts: Path) -> None:
    run = write(artifacts)
    assert names(run.path) == ["dataset.json", "history.csv", "model.onnx", "run.json"]
    assert run.name == "one"
    assert run.kind == "network"
    assert run.members == []
    assert run.head() == runs.Head("fer2013", ("angry", "happy", "sad"), 1.5, 0.25)
    assert run.input == preprocess.InputSpec(size=48, mean=0.0, std=255.0)
    assert run.framings == preprocess.FRAMINGS
    document = json.loads((run.path / "run.json").read_text())
    assert document["schema"] == 1
    assert document["files"] == {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    assert run.history().to_dict("list") == {"epoch": [1, 2], "loss": [2.5, 1.5]}
    assert run.dataset_info() == {"fer2013": {}}


def test_schema_and_hashes_are_not_the_callers_to_say(artifacts: Path) -> None:
    first = write(artifacts)
    again = runs.write(artifacts / "two", first.info | {"schema": 99, "files": {"x": "y"}}, {"model.onnx": b"other"})
    assert again.info["schema"] == 1
    assert list(again.info["files"]) == ["model.onnx"]
    assert next(iter(again.info)) == "schema"


def test_files_may_be_copied_from_others(artifacts: Path, tmp_path: Path) -> None:
    source = tmp_path / "exported"
    source.write_bytes(b"weights")
    run = runs.write(artifacts / "one", INFO, {"model.onnx": source})
    assert run.file("model.onnx").read_bytes() == b"weights"
    assert source.is_file()


def test_heads_and_files_are_asked_for_by_name(artifacts: Path) -> None:
    heads = {name: {"labels": ["a", "b"], "temperature": 1, "threshold": 0} for name in ("expw", "consensus")}
    run = write(artifacts, heads=heads, default_head="consensus")
    assert run.head("expw").name == "expw"
    assert run.head_for("expw").name == "expw"
    assert run.head_for("jaffe").name == "consensus"
    with pytest.raises(RunError, match="run one: no head 'ferplus'; it has expw, consensus"):
        run.head("ferplus")
    with pytest.raises(RunError, match=r"run one: has no predictions\.parquet"):
        run.predictions()


def test_metrics_by_dataset_and_of_the_first(artifacts: Path) -> None:
    run = write(artifacts)
    assert run.metrics() == {"faces": 3}
    assert run.metrics("expw") == {"faces": 4}
    assert run.metrics("jaffe") == {}
    assert write(artifacts, "two", metrics={}).metrics() == {}
    without = {key: value for key, value in INFO.items() if key != "metrics"}
    assert runs.write(artifacts / "three", without, FILES).metrics() == {}


def test_tables_of_a_whole_run(artifacts: Path) -> None:
    run = made_run(artifacts, faces=30)
    table = run.predictions()
    assert list(table.columns[:11]) == [
        *("dataset", "split", "head", "locator"),
        *("left", "top", "width", "height"),
        *("label", "prediction", "confidence"),
    ]
    assert list(table.columns[11:]) == [f"p_{label}" for label in run.head().labels]
    assert np.allclose(table[[f"p_{label}" for label in run.head().labels]].sum(axis=1), 1, atol=1e-5)
    assert run.history()["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert run.dataset_info()["fer2013"]["counts"]["test"]["angry"] == (table["label"] == "angry").sum()


def test_a_table_that_no_parser_reads_is_named(artifacts: Path) -> None:
    files = {"model.onnx": b"", "predictions.parquet": b"PAR1 not really PAR1", "history.csv": b'a,b\n"1'}
    run = runs.write(artifacts / "one", INFO, files)
    for read, name in ((run.predictions, "predictions.parquet"), (run.history, "history.csv")):
        with pytest.raises(RunError, match=rf"{name}: cannot be read \(.+\); copy the run again$"):
            read()


# Refusals


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_missing_file_is_refused_by_name(artifacts: Path, name: str) -> None:
    run = write(artifacts)
    (run.path / name).unlink()
    assert refusal("one") == f"{run.path / name}: missing from the run; copy the run again or train it again"
    (run.path / name).mkdir()
    assert "missing from the run" in refusal("one")


def test_a_changed_file_is_refused_by_name_unless_hashes_are_not_asked_for(artifacts: Path) -> None:
    run = write(artifacts)
    (run.path / "model.onnx").write_bytes(b"another network")
    told = f"{run.path / 'model.onnx'}: changed since the run was written (sha256 differs); copy the run again"
    assert refusal("one") == told
    unchecked = Run.load("one", verify=False)
    with pytest.raises(RunError, match="sha256 differs"):
        unchecked.verify()


def test_a_file_without_permission_is_refused_by_name(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write(artifacts)

    def denied(file: Path) -> str:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(runs, "sha256", denied)
    assert refusal("one").endswith("cannot be read (Permission denied); mend its permissions")
    assert str(run.path) in refusal("one")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not readable as JSON (JSONDecodeError)"),
        ('{"schema": 1, "kind": "netw', "not readable as JSON (JSONDecodeError)"),
        ("[" * 100_000, "not readable as JSON (RecursionError)"),
        ('{"schema": ' + "9" * 5000 + "}", "not readable as JSON (ValueError)"),
        ('{"schema": 1, "x": NaN}', "not readable as JSON (ValueError)"),
        ('{"schema": 1, "x": -Infinity}', "not readable as JSON (ValueError)"),
        ("\x00\x01", "not readable as JSON (JSONDecodeError)"),
        ('"text"', "expected a JSON object"),
        ("[]", "expected a JSON object"),
        ("{}", "schema None is none; expected a number from 1 to 1"),
        ('{"schema": true}', "schema True is none"),
        ('{"schema": "1"}', "schema '1' is none"),
        ('{"schema": 0}', "schema 0 is none"),
        ('{"schema": 2}', "schema 2, this version reads up to 1; update fercore"),
        (f'{{"schema": 1{"0" * 4000}}}', "this version reads up to 1; update fercore"),
        (f'{{"schema": "{"x" * 1_000_000}"}}', "is none"),
        ('{"schema": 1}', "not a valid run: no 'heads'"),
    ],
)
def test_a_run_json_that_is_none_is_refused(artifacts: Path, text: str, told: str) -> None:
    folder = artifacts / "one"
    folder.mkdir()
    (folder / "run.json").write_text(text)
    assert f"{folder / 'run.json'}: {told}" in refusal("one") or told in refusal("one")
    assert refusal("one").startswith(f"{folder / 'run.json'}: ")


def test_a_run_json_of_other_bytes_or_size_is_refused(artifacts: Path) -> None:
    run = write(artifacts)
    (run.path / "run.json").write_bytes(b"\xff\xfe\xfa")
    assert "not readable as JSON (UnicodeDecodeError)" in refusal("one")
    with (run.path / "run.json").open("wb") as stream:
        stream.truncate(3 << 30)  # a sparse file: 3 GiB that take no room
    start = time.process_time()
    assert "larger than 4 MiB, which no run needs" in refusal("one")
    assert time.process_time() - start < 1
    (run.path / "run.json").unlink()
    assert refusal("one") == f"{run.path / 'run.json'}: missing; this folder is not a run"


def test_labels_in_another_order_than_the_networks_are_refused(artifacts: Path) -> None:
    """Else a smile would be called sad."""
    heads = {"fer2013": LABELS, "ferplus": FERPLUS_LABELS, "consensus": LABELS}
    run = made_run(artifacts, heads=heads, faces=20)
    swapped = ["angry", "disgust", "fear", "sad", "happy", "surprise", "neutral"]
    for name, labels in (("fer2013", swapped), ("ferplus", [*swapped, "contempt"]), ("consensus", swapped)):
        edit(run, lambda document, name=name, labels=labels: document["heads"][name].update(labels=labels))
        told = refusal(run.path)
        assert told.startswith(f"{run.path / 'run.json'}: head '{name}' has the labels [")
        assert told.endswith("; copy the run again")
        edit(run, lambda document, name=name: document["heads"][name].update(labels=list(heads[name])))
        assert Run.load(run.path).heads == run.heads
    edit(run, lambda document: document["heads"]["fer2013"].update(labels=[*LABELS[:6], "bored"]))
    assert "head 'fer2013' has the labels" in refusal(run.path)
    with pytest.raises(RunError, match="head 'fer2013' has the labels"):
        runs.write(artifacts / "two", json.loads((run.path / "run.json").read_text()), run_files(run))


def run_files(run: Run) -> dict[str, Path]:
    return {name: run.file(name) for name in run.info["files"]}


def test_class_names_of_any_script_load(artifacts: Path) -> None:
    """Also those with joiners, spaces and signs, in any order, and a consensus over classes of one's own."""
    persian, family = "\u0645\u06cc\u200c\u062e\u0646\u062f\u062f", "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    labels = ["zufrieden", persian, family, "very happy", "a\u00a0b", "x" * 255, "(none)"]
    heads = {"own": labels, "consensus": labels[:3]}
    run = made_run(artifacts, heads=heads, faces=20)
    assert Run.load(run.path).head("own").labels == tuple(labels)
    assert runs.rename(run, "renamed").verify() is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(artifacts: Path) -> None:
    run = write(artifacts)
    (run.path / "run.json").unlink()
    os.mkfifo(run.path / "run.json")
    assert "missing; this folder is not a run" in refusal("one")


def head(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["heads"]["fer2013"].update(changes)


def entry(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.update(changes)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (entry(kind="forest"), "kind 'forest' is none of network, ensemble"),
        (entry(kind=["network"]), "kind ['network'] is none of"),
        (entry(heads={}), "no head 'fer2013'"),
        (entry(heads=[]), "'list' object has no attribute 'items'"),
        (entry(heads={"fer2013": 5}), "'int' object is not subscriptable"),
        (entry(default_head="expw"), "no head 'expw'; it has fer2013"),
        (entry(default_head=["fer2013"]), "unhashable"),
        (lambda document: document.pop("default_head"), "no 'default_head'"),
        (lambda document: document["heads"].update({"": document["heads"]["fer2013"]}), "head '': not a head's name"),
        (
            lambda document: document["heads"].update(features=document["heads"]["fer2013"]),
            "head 'features': not a head's name",
        ),
        (head(labels="angry"), "head 'fer2013': labels must be a list of two or more names"),
        (head(labels=["angry"]), "labels must be a list of two or more names"),
        (head(labels=["angry", 5]), "labels must be a list of two or more names"),
        (head(labels=["angry", ""]), "labels must be a list of two or more names"),
        (head(labels=[["angry"], "sad"]), "labels must be a list of two or more names"),
        (head(labels=["angry", "sad", "angry"]), "head 'fer2013': a label stands there twice"),
        (
            head(labels=["angry", "sad\x1b[2J"]),
            r"label 'sad\x1b[2J': labels have 1 to 255 characters that can be shown",
        ),
        (head(labels=["angry", "sad\nhappy"]), r"label 'sad\nhappy': labels have"),
        (head(labels=["angry", "\u202edas"]), r"label '\u202edas': labels have"),
        (head(labels=["angry", "\ud800"]), r"label '\ud800': labels have"),
        (head(labels=["angry", "\u2028"]), r"label '\u2028': labels have"),
        (head(labels=["angry", "  "]), "label ' ': labels have"),
        (head(labels=["angry", "x" * 256]), "labels have 1 to 255 characters"),
        (head(temperature="1.5"), "temperature '1.5' is not a number from 0.001 to 1000.0"),
        (head(temperature="warm"), "temperature 'warm' is not a number"),
        (head(temperature=0), "temperature 0 is not a number"),
        (head(temperature=-1), "temperature -1 is not a number"),
        (head(temperature=1e-300), "temperature 1e-300 is not a number"),
        (head(temperature=10**400), "is not a number from 0.001"),
        (head(temperature=None), "temperature None is not a number"),
        (head(temperature=True), "temperature True is not a number"),
        (head(threshold=1.01), "threshold 1.01 is not a number from 0 to 1"),
        (head(threshold=-0.1), "threshold -0.1 is not a number"),
        (entry(input=None), "a network needs an input and model.onnx"),
        (entry(input={"size": 48, "colour": True}), "InputSpec: unknown option 'colour'"),
        (entry(input={"mean": 0}), "InputSpec: option 'size' is missing"),
        (entry(input={"size": 10**9}), "size must be a whole number of 8 to 512 pixels"),
        (entry(input={"size": 48.0}), "size must be a whole number of 8 to 512 pixels"),
        (entry(input={"size": 48, "std": 0}), "std 0 must be numbers"),
        (entry(input={"size": 48, "mean": "x"}), "mean 'x' and std"),
        (entry(input="size"), "InputSpec: expected an object"),
        (entry(framings={}), "no 'detector'"),
        (entry(framings={"detector": {"scale": 1}}), "no 'crop'"),
        (
            entry(framings={"detector": {"scale": 1e300}, "crop": {"scale": 1}}),
            "framing: scale 1e+300 must lie between",
        ),
        (entry(framings={"detector": {"scale": 1, "shift_x": "2"}, "crop": {"scale": 1}}), "the shifts '2' and"),
        (entry(framings={"detector": {}, "crop": {"scale": 1}}), "Framing: option 'scale' is missing"),
        (entry(framings={"detector": {"x" * 100_000: 1}, "crop": {}}), "Framing: unknown option 'xxx"),
        (entry(files=[]), "files: expected file names with their sha256"),
        (lambda document: document["files"].pop("model.onnx"), "a network needs an input and model.onnx"),
        (lambda document: document["files"].update({"../secret": "0" * 64}), "'../secret': a name has 1 to 80 letters"),
        (lambda document: document["files"].update({"/etc/passwd": "0" * 64}), "'/etc/passwd': a name has"),
        (lambda document: document["files"].update({"..": "0" * 64}), "'..': a name has"),
        (lambda document: document["files"].update({"a\\b": "0" * 64}), "'a\\\\b': a name has"),
        (lambda document: document["files"].update({".hidden": "0" * 64}), "'.hidden': a name has"),
        (lambda document: document["files"].update({"model.onnx": None}), "files: model.onnx: None is not a sha256"),
        (lambda document: document["files"].update({"model.onnx": "0" * 63}), "is not a sha256"),
        (entry(metrics=[]), "metrics: expected an object by dataset"),
        (entry(metrics={"expw": 5}), "metrics: expected an object by dataset"),
        (entry(datasets="expw"), "datasets: expected an object by dataset"),
        (entry(kind="ensemble"), "no 'members'"),
        (entry(kind="ensemble", members="ab"), "an ensemble needs a list of two members or more"),
        (entry(kind="ensemble", members=["a"]), "an ensemble needs a list of two members or more"),
        (entry(kind="ensemble", members=["a", "../b"]), "'../b': a name has"),
        (entry(kind="ensemble", members=["a", "b/c"]), "'b/c': a name has"),
        (entry(kind="ensemble", members=["a", 5]), "5: a name has"),
        (entry(kind="ensemble", members=["a", "a"]), "members must be different runs, and not itself"),
        (entry(kind="ensemble", members=["a", "one"]), "members must be different runs, and not itself"),
    ],
)
def test_what_later_code_would_stumble_over_is_refused(
    artifacts: Path, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    run = write(artifacts)
    edit(run, change)
    text = refusal("one", verify=False)
    assert text.startswith(f"{run.path / 'run.json'}: not a valid run: ")
    assert told in text


def test_hostile_values_cost_no_time(artifacts: Path) -> None:
    labels = [f"{number}" for number in range(100_000)]
    run = write(artifacts)
    edit(run, lambda document: document["heads"].update({str(k): {"labels": labels[:20_000]} for k in range(10)}))
    start = time.process_time()
    refusal("one")
    edit(run, lambda document: document.update(INFO["heads"], kind="x" * 3_000_000))
    refusal("one")
    edit(run, lambda document: document.update(kind="ensemble", members=labels))
    refusal("one")
    assert time.process_time() - start < 5


# Finding


def test_no_such_run_lists_those_there_are(artifacts: Path) -> None:
    write(artifacts, "two")
    write(artifacts, "one")
    assert refusal("three") == f"three: no such run; give a folder or one of those in {artifacts}: one, two"


@pytest.mark.parametrize("odd", ["", ".", "..", "no\nsuch", "x" * 5000, "a\0b", "~no-such-user-here/x", "one/run.json"])
def test_odd_names_are_refused_in_one_line(artifacts: Path, odd: str) -> None:
    write(artifacts)
    refusal(odd)


def test_a_run_is_found_by_path_and_by_name(artifacts: Path, tmp_path: Path) -> None:
    write(artifacts)
    write(tmp_path / "here", "own")
    assert runs.find("one") == artifacts / "one"
    assert runs.find(artifacts / "one") == artifacts / "one"
    assert runs.find("../artifacts/one") == artifacts / "one"
    assert runs.find("own") == tmp_path / "here" / "own"
    assert Run.load("own").name == "own"


def test_a_folder_here_of_the_same_name_does_not_hide_a_run(artifacts: Path, tmp_path: Path) -> None:
    write(artifacts)
    (artifacts / "DEFAULT").write_text("one\n")
    (tmp_path / "here" / "one").mkdir()
    assert runs.find("one") == artifacts / "one"
    assert runs.find() == artifacts / "one"
    write(tmp_path / "here", "one", overwrite=True)
    assert runs.find("one") == tmp_path / "here" / "one"
    assert runs.find() == artifacts / "one"


def test_the_default_run_is_the_variables_then_the_files(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(artifacts, "one")
    write(artifacts, "two")
    assert refusal() == f"{artifacts / 'DEFAULT'}: missing or empty; name a run there, in $FER_RUN or with --run"
    (artifacts / "DEFAULT").write_text("\n")
    assert "missing or empty" in refusal()
    (artifacts / "DEFAULT").write_text("two\nand a remark\n")
    assert Run.load().name == "two"
    monkeypatch.setenv("FER_RUN", "one")
    assert Run.load().name == "one"
    monkeypatch.delenv("FER_RUN")
    (artifacts / "DEFAULT").write_text("../elsewhere\n")
    assert "'../elsewhere': a name has" in refusal()
    (artifacts / "DEFAULT").write_bytes(b"\xff\xfe\n")
    refusal()
    (artifacts / "DEFAULT").write_text("gone\n")
    assert "gone: no such run" in refusal()


def test_the_list_goes_on_after_a_broken_run(artifacts: Path) -> None:
    for name in ("b", "a", "c", "d"):
        write(artifacts, name)
    edit(Run.load("b"), head(temperature="warm"))
    (artifacts / "c" / "run.json").write_text("{")
    (artifacts / "no-run").mkdir()
    (artifacts / ".d.half").mkdir()
    (artifacts / ".d.half" / "run.json").write_text("{}")
    (artifacts / "d" / "model.onnx").write_bytes(b"changed, which a list does not look at")
    known, refused = runs.list_runs()
    assert [run.name for run in known] == ["a", "d"]
    assert len(refused) == 2
    assert refused[0].startswith(str(artifacts / "b" / "run.json"))
    assert refused[1].startswith(str(artifacts / "c" / "run.json"))
    assert [folder.name for folder in runs.run_folders(artifacts)] == ["a", "b", "c", "d"]


def test_no_folder_of_runs_is_an_empty_list(tmp_path: Path) -> None:
    assert runs.list_runs(tmp_path / "none") == ([], [])


# Writing


@pytest.mark.parametrize("name", ["", "..", ".hidden", "-x", "a b", "a/..", "é", "x" * 81, "a\n", "a:b"])
def test_names_that_are_refused(artifacts: Path, name: str) -> None:
    before = names(artifacts.parent)
    with pytest.raises(RunError, match="a name has 1 to 80 letters"):
        runs.write(f"{artifacts}/{name}" if name else Path("/"), INFO, FILES)
    assert names(artifacts) == []
    assert names(artifacts.parent) == before


def test_a_place_that_is_taken_is_refused(artifacts: Path) -> None:
    write(artifacts)
    with pytest.raises(RunError, match=r"one: already exists; choose another --out, or delete it first"):
        write(artifacts, kind="ensemble")
    assert Run.load("one").kind == "network"
    (artifacts / "file").write_text("text")
    for overwrite in (False, True):
        with pytest.raises(RunError, match="file: "):
            write(artifacts, "file", overwrite=overwrite)
    assert names(artifacts) == ["file", "one"]


def test_only_a_run_is_ever_overwritten(artifacts: Path) -> None:
    precious = artifacts / "holiday"
    precious.mkdir()
    (precious / "photo.jpg").write_bytes(b"dear")
    with pytest.raises(RunError, match="holiday: is not a run, so it is not overwritten; choose another --out"):
        write(artifacts, "holiday", overwrite=True)
    assert (precious / "photo.jpg").read_bytes() == b"dear"
    (artifacts / "empty").mkdir()
    assert write(artifacts, "empty", overwrite=True).name == "empty"
    (artifacts / "empty" / "model.onnx").unlink()  # a damaged run may go
    assert write(artifacts, "empty", overwrite=True).name == "empty"


def test_overwriting_replaces_every_file(artifacts: Path) -> None:
    write(artifacts)
    runs.write(artifacts / "one", INFO, {"model.onnx": b"new"}, overwrite=True)
    assert names(artifacts) == ["one"]
    assert names(artifacts / "one") == ["model.onnx", "run.json"]
    assert Run.load("one").file("model.onnx").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("info", "files", "told"),
    [
        (INFO, {"history.csv": b""}, "a network needs an input and model.onnx"),
        (INFO | {"default_head": "x"}, FILES, "no head 'x'"),
        (INFO | {"seconds": float("nan")}, FILES, "a number in it is NaN or infinite"),
        (INFO, FILES | {"../escaped": b""}, "'../escaped': a name has"),
    ],
)
def test_nothing_is_left_of_a_run_that_would_not_load(
    artifacts: Path, info: dict[str, Any], files: dict[str, bytes], told: str
) -> None:
    with pytest.raises(RunError, match=told):
        runs.write(artifacts / "one", info, files)
    assert names(artifacts) == []
    assert names(artifacts.parent) == ["artifacts", "here"]


def full_disk(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("where", ["write_bytes", "write_text", "copyfile", "mkdir"])
def test_a_full_disk_leaves_the_old_run_and_nothing_else(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    source = tmp_path / "here" / "exported"
    source.write_bytes(b"new")
    write(artifacts)
    owner = runs.shutil if where == "copyfile" else Path
    with monkeypatch.context() as patched:
        patched.setattr(owner, where, full_disk)
        for name, overwrite in (("one", True), ("two", False)):
            with pytest.raises(OSError, match="No space left"):
                runs.write(artifacts / name, INFO, {"history.csv": b"", "model.onnx": source}, overwrite=overwrite)
    assert names(artifacts) == ["one"]
    assert Run.load("one").file("model.onnx").read_bytes() == b"a network"


def test_a_staged_run_that_cannot_move_leaves_the_old_one(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(artifacts)
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if not target.exists() and target.name == "one" and not (path / "history.csv").is_file():
            raise OSError(5, "Input/output error")
        return real(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        with pytest.raises(OSError, match="Input/output error"):
            runs.write(artifacts / "one", INFO, {"model.onnx": b"new"}, overwrite=True)
    assert names(artifacts) == ["one"]
    assert Run.load("one").file("model.onnx").read_bytes() == b"a network"


def test_an_old_run_that_cannot_move_stays(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(artifacts)
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.name == "one":
            raise PermissionError(13, "in use")  # what Windows says of a folder with an open file
        return real(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        with pytest.raises(RunError, match="one: another process keeps using or writing this run"):
            runs.write(artifacts / "one", INFO, {"model.onnx": b"new"}, overwrite=True)
    assert names(artifacts) == ["one"]
    assert Run.load("one").file("model.onnx").read_bytes() == b"a network"


def test_an_interruption_leaves_nothing(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "_replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(artifacts)
    assert names(artifacts) == []


def test_of_two_that_write_one_name_the_first_wins(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = runs._replace

    def slow(*arguments: Any, **options: Any) -> None:
        monkeypatch.setattr(runs, "_replace", real)
        runs.write(artifacts / "one", INFO, {"model.onnx": b"the other process"})
        real(*arguments, **options)

    monkeypatch.setattr(runs, "_replace", slow)
    with pytest.raises(RunError, match="one: already exists"):
        write(artifacts)
    assert Run.load("one").file("model.onnx").read_bytes() == b"the other process"
    assert names(artifacts) == ["one"]


def test_many_that_overwrite_one_name_leave_one_whole_run(artifacts: Path) -> None:
    write(artifacts)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                content = f"{number} {turn}".encode()
                runs._replace(staged(content), artifacts / "one", overwrite=True)
        except BaseException as error:
            errors.append(error)

    def staged(content: bytes) -> Path:
        run = runs.write(artifacts / f"staged-{content.decode().replace(' ', '-')}", INFO, {"model.onnx": content})
        return run.path

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert names(artifacts) == ["one"]
    assert Run.load("one").file("model.onnx").read_bytes().endswith(b" 4")


def test_two_processes_that_write_one_name(artifacts: Path) -> None:
    script = (
        "import json, sys\n"
        "from fercore import errors, runs\n"
        "info = json.load(sys.stdin)\n"
        "for overwrite in (False, *[True] * 30):\n"
        "    try:\n"
        "        runs.write(sys.argv[1], info, {'model.onnx': sys.argv[2].encode()}, overwrite=overwrite)\n"
        "        print('written' if not overwrite else 'replaced')\n"
        "    except errors.RunError as error:\n"
        "        print(error)\n"
    )
    command = [sys.executable, "-c", script, str(artifacts / "one")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    both = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        for name in ("left", "right")
    ]
    for process in both:
        process.stdin.write(json.dumps(INFO))
        process.stdin.close()
    said = [process.stdout.read().split("\n") for process in both]
    assert [process.wait(60) for process in both] == [0, 0]
    for process in both:
        process.stdout.close()
    assert sorted(lines[0] for lines in said)[1] == "written"
    assert "already exists" in sorted(lines[0] for lines in said)[0]
    assert [lines[1:31] for lines in said] == [["replaced"] * 30] * 2
    assert names(artifacts) == ["one"]
    assert Run.load("one").file("model.onnx").read_bytes() in (b"left", b"right")


# Renaming and deleting


def test_renaming(artifacts: Path) -> None:
    run = runs.rename(write(artifacts), "two")
    assert run.name == "two"
    assert run.path == artifacts / "two"
    assert names(artifacts) == ["two"]
    for name, told in (("../x", "a name has"), ("", "a name has"), ("two", "there is a run of that name already")):
        with pytest.raises(RunError, match=told):
            runs.rename(run, name)
    write(artifacts, "three")
    with pytest.raises(RunError, match="three: there is a run of that name already; choose another"):
        runs.rename(run, "three")
    (artifacts / "DEFAULT").write_text("three\n")
    with pytest.raises(RunError, match="DEFAULT: there is a run of that name already"):
        runs.rename(run, "DEFAULT")
    assert names(artifacts) == ["DEFAULT", "three", "two"]


def test_renaming_the_default_and_shipped_run_renames_it_there(artifacts: Path) -> None:
    run = write(artifacts)
    write(artifacts, "other")
    (artifacts / "DEFAULT").write_text("one\n")
    (artifacts / "SHIPPED").write_text("other\none\nmore\n")
    assert runs.is_shipped(run)
    new = runs.rename(run, "new")
    assert runs.is_shipped(new)
    assert Run.load().name == "new"
    assert (artifacts / "DEFAULT").read_text() == "new\n"
    assert (artifacts / "SHIPPED").read_text() == "other\nnew\nmore\n"
    runs.rename(Run.load("other"), "others")
    assert (artifacts / "DEFAULT").read_text() == "new\n"
    assert names(artifacts) == ["DEFAULT", "SHIPPED", "new", "others"]


def test_a_rename_that_cannot_be_noted_is_undone(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write(artifacts)
    (artifacts / "DEFAULT").write_text("one\n")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full_disk)
        with pytest.raises(OSError, match="No space left"):
            runs.rename(run, "two")
    assert names(artifacts) == ["DEFAULT", "one"]
    assert Run.load().name == "one"


def test_deleting(artifacts: Path) -> None:
    run, other = write(artifacts), write(artifacts, "other")
    (artifacts / "SHIPPED").write_text("one\nother\n")
    runs.delete(run)
    assert names(artifacts) == ["SHIPPED", "other"]
    assert (artifacts / "SHIPPED").read_text() == "other\n"
    assert not runs.is_shipped(run)
    for act in (lambda: runs.delete(run), lambda: runs.rename(run, "two")):
        with pytest.raises(RunError, match="one: this run is gone already"):
            act()
    assert Run.load("other").name == other.name


def test_the_default_run_is_not_deleted(artifacts: Path) -> None:
    run = write(artifacts)
    (artifacts / "DEFAULT").write_text("one\n")
    with pytest.raises(RunError, match=r"one: it is the default run; name another in .*DEFAULT first"):
        runs.delete(run)
    assert Run.load() == run
    (artifacts / "DEFAULT").write_text("another\none\n")
    runs.delete(run)
    assert names(artifacts) == ["DEFAULT"]


def test_members_of_an_ensemble_stay(artifacts: Path) -> None:
    one = write(artifacts)
    write(artifacts, "two")
    both = ensemble(artifacts, "both", ["one", "two"])
    assert both.members == ["one", "two"]
    write(artifacts, "odd", members=5)  # a network's members mean nothing
    for act in (lambda: runs.delete(one), lambda: runs.rename(one, "three")):
        with pytest.raises(RunError, match="one: ensemble both is made of it; delete that one first"):
            act()
    runs.rename(both, "pair")
    runs.delete(Run.load("pair"))
    runs.delete(one)
    assert names(artifacts) == ["odd", "two"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_linked_run_keeps_its_name_and_what_it_links_to(artifacts: Path, tmp_path: Path) -> None:
    write(tmp_path / "here", "real")
    (artifacts / "linked").symlink_to(tmp_path / "here" / "real")
    run = Run.load("linked")
    assert run.name == "linked"
    assert run.path.parent == artifacts
    runs.delete(run)
    assert names(artifacts) == []
    assert Run.load(tmp_path / "here" / "real").name == "real"


def test_shipped_needs_a_list(artifacts: Path) -> None:
    assert not runs.is_shipped(write(artifacts))
