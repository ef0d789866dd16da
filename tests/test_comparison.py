"""Comparisons: paired by locator, counted by hand, refused where two runs do not speak of the same faces."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from fercore import comparison, runs
from fercore.cli import main
from fercore.errors import DataError, RunError
from fercore.runs import Run
from made_run import made_ensemble, made_run

LABELS = ("happy", "sad")
WHERE = [f"{photo}.jpg#{face}" for photo in range(10) for face in range(2)]
TRUE = ["happy"] * 12 + ["sad"] * 8


def answering(
    folder: Path, name: str, right: list[int], *, change: dict[str, list] | None = None, model: str = "made"
) -> Run:
    """Write a run over 20 faces, two a photo, that has exactly the faces of the given numbers right."""
    run = made_run(
        folder, "draft", heads={"folder": LABELS}, locators={"folder": WHERE}, labels={"folder": TRUE}, averages=False
    )
    table = run.predictions()
    other = {"happy": "sad", "sad": "happy"}
    table["prediction"] = [true if at in right else other[true] for at, true in enumerate(table["label"])]
    for column, values in (change or {}).items():
        table[column] = values
    table.sample(frac=1, random_state=len(name)).to_parquet(folder / "table.parquet", index=False)
    info = {key: value for key, value in run.info.items() if key not in ("schema", "files")}
    info["model"] = {**info["model"], "name": model}
    files: dict = {each: run.file(each) for each in run.info["files"]} | {
        "predictions.parquet": folder / "table.parquet"
    }
    made = runs.write(folder / name, info, files)
    runs.delete(run)
    return made


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """The reference has faces 0 to 9 right, the other one 4 to 17: it gains 8 and loses 4, each in the classes below."""
    folder = tmp_path_factory.mktemp("pair")
    return [answering(folder, "better", list(range(4, 18))), answering(folder, "folder-report-cnn", list(range(10)))]


def test_faces_are_paired_and_counted(pair: list[Run]) -> None:
    result = comparison.compare(pair)
    assert (result.dataset, result.reference) == ("folder", "folder-report-cnn")
    row = result.row("better")
    assert row.faces == 20
    assert (row.test.both_right, row.test.only_a, row.test.only_b, row.test.both_wrong) == (6, 8, 4, 2)
    tail = sum(math.comb(12, k) for k in range(5))
    assert row.test.p_value == pytest.approx(2 * tail / 2**12)
    assert row.difference["value"] == pytest.approx(4 / 20)
    assert row.difference["low"] < 4 / 20 < row.difference["high"]
    # happy: faces 0 to 11, of which 10 and 11 are gained and 0 to 3 lost; sad: 12 to 17 gained
    assert row.classes.to_dict("records") == [
        {"class": "happy", "faces": 12, "gained": 2, "lost": 4, "change": pytest.approx(-100 * 2 / 12)},
        {"class": "sad", "faces": 8, "gained": 6, "lost": 0, "change": pytest.approx(75)},
    ]
    base = result.row(result.reference)
    assert base.test is None
    assert base.difference is None
    assert base.classes["change"].tolist() == [0, 0]
    assert [each.run for each in result.others] == ["better"]


def test_the_reports_cnn_beside_the_run_is_the_reference(pair: list[Run]) -> None:
    result = comparison.compare(pair[:1])
    assert (result.reference, result.reason) == ("folder-report-cnn", "the report's CNN")
    assert comparison.compare(pair[1:], reference=pair[0]).reason == "as chosen"
    assert comparison.compare(pair[1:], reference=pair[0]).reference == "better"


def test_without_the_reports_cnn_the_first_run_is_the_reference(tmp_path: Path) -> None:
    made = [made_run(tmp_path, name, seed=seed) for seed, name in enumerate(("b", "a"))]
    assert comparison.reference_of(made, "fer2013").name == "b"
    result = comparison.compare(made[:1])
    assert (result.reference, result.reason) == ("b", "the first run, for want of one of the report's CNN on fer2013")


def test_the_reports_cnn_is_found_under_another_name(tmp_path: Path) -> None:
    mine = answering(tmp_path, "mine", [1, 2, 3], model="report-cnn")
    other = answering(tmp_path, "other", [4])
    for runs_given in ([other], [other, mine]):
        result = comparison.compare(runs_given)
        assert (result.reference, result.reason) == ("mine", "a run of the report's CNN")
    answering(tmp_path, "folder-report-cnn", [5], model="report-cnn")
    assert comparison.compare([other, mine]).reference == "folder-report-cnn", "the one of that name goes first"


def test_a_reports_cnn_beside_the_runs_that_saw_other_faces_is_no_reference(tmp_path: Path) -> None:
    """Two folders of two people are both called ``folder``."""
    strange = made_run(tmp_path, "strange", heads={"folder": LABELS}, faces=19)
    document = json.loads((strange.path / "run.json").read_text())
    document["model"]["name"] = "report-cnn"
    (strange.path / "run.json").write_text(json.dumps(document))
    assert comparison.compare([answering(tmp_path, "mine", [1])]).reference == "mine"


def test_runs_over_other_classes_or_other_faces_are_not_alike(pair: list[Run], tmp_path: Path) -> None:
    assert comparison.alike(*pair, "folder")
    twelve = made_run(tmp_path, "folder-report-cnn", heads={"folder": [f"class {number}" for number in range(12)]})
    fewer = made_run(tmp_path, "fewer", heads={"folder": LABELS}, faces=19)
    assert not comparison.alike(pair[0], twelve, "folder")
    assert not comparison.alike(pair[0], fewer, "folder")
    assert not comparison.alike(twelve, pair[0], "expw")
    assert comparison.reference_of([fewer], "folder").name == "fewer", "the report's CNN beside it knows other classes"


def test_faces_that_only_one_run_saw_are_left_out(pair: list[Run], tmp_path: Path) -> None:
    moved = [f"other/{name}" if at >= 15 else name for at, name in enumerate(WHERE)]
    run = answering(tmp_path, "elsewhere", list(range(20)), change={"locator": moved})
    row = comparison.compare([run], reference=pair[1]).row("elsewhere")
    assert row.faces == 15
    assert (row.test.only_a, row.test.only_b) == (5, 0)


def test_scores_and_costs_are_those_of_the_run(pair: list[Run]) -> None:
    row = comparison.compare(pair).row("better")
    measured = pair[0].metrics("folder")
    assert row.scores == {name: measured[name] for name in ("accuracy", "balanced_accuracy", "macro_f1")}
    assert row.parameters == pair[0].info["model"]["parameters"]
    assert row.bytes == (pair[0].path / "model.onnx").stat().st_size


def test_several_heads_answer_with_the_one_of_the_dataset(tmp_path: Path) -> None:
    several = made_run(tmp_path, "several", heads={"fer2013": LABELS, "expw": LABELS, "consensus": LABELS})
    result = comparison.compare([several], "expw")
    assert result.row("several").head == "expw"
    assert result.row("several").faces == (several.predictions().query("dataset == head")["head"] == "expw").sum()


def test_an_ensemble_costs_what_its_members_cost(tmp_path: Path) -> None:
    members = [made_run(tmp_path, f"m{seed}", seed=seed) for seed in range(2)]
    ensemble = made_ensemble(tmp_path, "both", members)
    row = comparison.compare([ensemble]).row("both")
    assert row.parameters == 2 * members[0].info["model"]["parameters"]
    assert row.bytes == sum((member.path / "model.onnx").stat().st_size for member in members)
    assert comparison.milliseconds(ensemble, seconds=0.01) > 0


def test_time_is_the_median_of_single_answers(pair: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that jumps: most answers take 2 ms, every fifth 50 ms."""
    now, calls = [0.0], [0]

    def answer(self: object, crops: list) -> None:
        assert [len(part) for part in crops] == [1]
        calls[0] += 1
        now[0] += 0.05 if calls[0] % 5 == 0 else 0.002

    monkeypatch.setattr(comparison.Predictor, "probabilities", answer)
    monkeypatch.setattr(comparison.time, "perf_counter", lambda: now[0])
    assert comparison.milliseconds(pair[0], "folder") == pytest.approx(2.0)


def test_what_cannot_be_compared_is_refused(pair: list[Run], tmp_path: Path) -> None:
    stranger = made_run(tmp_path, "stranger")
    with pytest.raises(RunError, match=r"on no dataset in common \(better: folder; stranger: fer2013\)"):
        comparison.compare([pair[0], stranger])
    with pytest.raises(RunError, match="run stranger: was not tested on 'folder', but on fer2013"):
        comparison.compare([pair[0], stranger], "folder")
    with pytest.raises(DataError, match="name at least one run"):
        comparison.compare([])
    with pytest.raises(RunError, match="two of the runs have the same name: better, better"):
        comparison.compare([pair[0], answering(tmp_path, "better", [1])], reference=pair[0])
    flipped = answering(tmp_path, "flipped", [1], change={"label": TRUE[::-1]})
    with pytest.raises(DataError, match="16 faces of 'folder' have another label than in the reference"):
        comparison.compare([flipped], reference=pair[1])
    away = answering(tmp_path, "away", [1], change={"locator": [f"x/{name}" for name in WHERE]})
    with pytest.raises(DataError, match="shares no test face of 'folder' with the reference"):
        comparison.compare([away], reference=pair[1])
    twice = answering(tmp_path, "twice", [1], change={"locator": WHERE[:1] * 20})
    with pytest.raises(RunError, match="holds a face twice of 'folder'"):
        comparison.compare([twice], reference=pair[1])


def said(*arguments: object) -> str:
    result = CliRunner().invoke(main, ["compare", *map(str, arguments)])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


def test_the_command_prints_a_comparison(pair: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_ARTIFACTS", str(pair[0].path.parent))
    printed = said("better", "--no-speed")
    assert "folder, test faces; McNemar's exact test against folder-report-cnn, the report's CNN" in printed
    assert "on 20 faces: 8 only this run has right, 4 only the reference; p = 0.39" in printed
    assert "recall in points: sad +75, happy -17" in printed
    assert "ms a face" not in printed
    assert said("--no-speed") == said("better", "folder-report-cnn", "--no-speed")


def test_the_command_prints_json(pair: list[Run]) -> None:
    result = json.loads(said(pair[0].path, "--json"))
    assert (result["reference"], result["reason"]) == ("folder-report-cnn", "the report's CNN")
    rows = {row["run"]: row for row in result["runs"]}
    assert rows["better"]["milliseconds"] > 0
    assert rows["better"]["test"]["only_a"] == 8
    assert rows["better"]["classes"][1]["gained"] == 6
    assert set(rows["better"]) == {field.name for field in dataclasses.fields(comparison.Row)} | {"milliseconds"}


def test_the_commands_refusals_are_one_line(pair: list[Run]) -> None:
    for arguments in (["nowhere"], [str(pair[0].path), "--dataset", "jaffe"], [str(pair[0].path), "--reference", "x"]):
        result = CliRunner().invoke(main, ["compare", *arguments])
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) == 1


def test_the_shipped_report_cnn_is_compared_with_itself_as_recorded() -> None:
    """Its accuracy, counted from the table that it ships, is the one that it states."""
    run = Run.load("fer2013-report-cnn")
    table = run.predictions()
    share = (table["label"] == table["prediction"]).mean()
    row = comparison.compare([run]).row(run.name)
    assert row.scores["accuracy"]["value"] == pytest.approx(share)
    assert isinstance(row.classes, pd.DataFrame)
    assert row.classes["faces"].sum() == len(table)
