"""The papers' claims are as printed, the measured file is checked when read, and folds by subject share nobody."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from fercore import charts, papers
from fercore.cli import main
from fercore.errors import ConfigError, DataError
from made_faces import make_folder


def score(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.02, "high": value + 0.02}


def measured(random: float = 0.95, subject: float = 0.8) -> dict:
    def result(value: float) -> dict:
        return {"accuracy": score(value), "macro_f1": score(value - 0.05), "folds": [value] * 10}

    both = {"epochs": 20, "random": result(random), "subject": result(subject)}
    return {"faces": 981, "subjects": 118, "folds": 10, "results": {"hog-cnn": both, "report-cnn": dict(both)}}


def test_claims_are_those_of_the_papers() -> None:
    assert {claim.model: (claim.ckplus, claim.jaffe) for claim in papers.CLAIMS} == {
        "hog-cnn": (0.9848, 0.9143),
        "sift-cnn": (0.9796, 0.8285),
        "bilstm-cnn": (0.9943, None),
    }


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    file = papers.write(measured(), tmp_path / "deep" / "papers.json")
    assert papers.load(file) == {"schema": 1, **measured()}
    assert [path.name for path in file.parent.iterdir()] == ["papers.json"]
    assert papers.load(tmp_path / "missing.json") is None


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda values: values.update(schema=2), "schema 2, but this version reads 1"),
        (lambda values: values["results"]["hog-cnn"].pop("subject"), "lacks 'subject'"),
        (
            lambda values: values["results"]["hog-cnn"]["random"]["accuracy"].update(value=1.5),
            "a score is no number from 0 to 1",
        ),
        (lambda values: values.update(folds=0), "faces, subjects, folds and epochs must be whole numbers above 0"),
        (lambda values: values["results"]["hog-cnn"].pop("epochs"), "lacks 'epochs'"),
        (lambda values: values.update(results={}), "a score is no number from 0 to 1"),
    ],
)
def test_another_file_is_refused_in_a_line(tmp_path: Path, change, line: str) -> None:
    values = {"schema": 1, **measured()}
    change(values)
    file = tmp_path / "papers.json"
    file.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        papers.load(file)
    assert str(caught.value) == f"{file}: {line}; make it again with python -m fercore papers"


def test_results_of_other_networks_stay_when_they_were_measured_alike() -> None:
    way = {"dataset": "ckplus", "digest": "d", "seed": 0}
    earlier = {"schema": 1, **way, **measured(0.9, 0.7)}
    one = {**way, **measured(), "results": {"sift-cnn": measured()["results"]["hog-cnn"]}}
    both = papers.joined(one, earlier)
    assert list(both["results"]) == ["hog-cnn", "sift-cnn", "report-cnn"]
    assert both["results"]["hog-cnn"]["random"]["accuracy"]["value"] == 0.9
    assert papers.joined(one, None) == one
    again = {**way, **measured(0.99, 0.9)}
    assert papers.joined(again, earlier)["results"] == again["results"]
    with pytest.raises(ConfigError, match="hog-cnn, report-cnn: measured with folds 10, now it is 5; measure all"):
        papers.joined({**one, "folds": 5}, earlier)
    assert papers.joined({**again, "folds": 5}, earlier)["folds"] == 5


def test_the_command_refuses_before_it_trains(people, tmp_path: Path, monkeypatch) -> None:
    crossval = pytest.importorskip("fercore.training.crossval")
    monkeypatch.setattr("fercore.datasets.load", lambda *_: people)
    monkeypatch.setattr(crossval, "cross_validate", lambda *_, **__: pytest.fail("it trained"))
    out = tmp_path / "papers.json"
    done = CliRunner().invoke(main, ["papers", "--folds", "13", "--out", str(out)])
    assert (done.exit_code, done.output) == (
        2,
        f"error: folds: 13 are more than the 12 subjects of {people.root}\n",
    )
    papers.write({"dataset": "ckplus", "digest": people.digest(), "seed": 0, **measured()}, out)
    done = CliRunner().invoke(main, ["papers", "--model", "sift-cnn", "--folds", "3", "--out", str(out)])
    assert done.exit_code == 2
    assert "measured with folds 10, now it is 3" in done.output


def test_the_command_prints_both_numbers_and_keeps_the_others(people, tmp_path: Path, monkeypatch) -> None:
    crossval = pytest.importorskip("fercore.training.crossval")
    way = {"dataset": "ckplus", "digest": people.digest(), "seed": 0}
    answers = {**way, **measured(), "results": {"sift-cnn": measured(0.9, 0.7)["results"]["hog-cnn"]}}
    monkeypatch.setattr("fercore.datasets.load", lambda *_: people)
    monkeypatch.setattr(crossval, "cross_validate", lambda *_, **__: answers)
    out = papers.write({**way, **measured()}, tmp_path / "papers.json")
    done = CliRunner().invoke(main, ["papers", "--model", "sift-cnn", "--out", str(out)])
    assert done.output == f"sift-cnn: random frames 90.0%, people never seen 70.0%\nwritten: {out}\n"
    assert sorted(papers.load(out)["results"]) == ["hog-cnn", "report-cnn", "sift-cnn"]


def test_the_chart_says_how_much_is_lost() -> None:
    figure = charts.protocols(measured(0.95, 0.8)["results"])
    assert figure.title == "On people never seen, accuracy is 15 points lower than on random frames"
    assert len(figure.data) == 2 * 2 + 1  # no paper claims anything for the report's CNN
    assert "hog-cnn, the paper: 98.5%" in figure.alt
    assert figure.png()[:4] == b"\x89PNG"


@pytest.fixture
def people(tmp_path: Path):
    """Faces of 12 people, three frames of each in both classes."""
    from fercore import datasets

    dataset = datasets.load("folder", make_folder(tmp_path / "faces", ("happy", "sad"), 36))
    number = dataset.table["image"].str.extract(r"(\d+)\.png", expand=False).astype(int)
    table = dataset.table.assign(group=pd.Series([f"S{value // 3:03}" for value in number]))
    return dataclasses.replace(dataset, name="ckplus", framing="crop", table=table)


def test_folds_cover_every_face_once(people) -> None:
    crossval = pytest.importorskip("fercore.training.crossval")
    for protocol in papers.PROTOCOLS:
        found = crossval.folds(people, protocol, 4, 0)
        assert sorted(np.bincount(found)) == [18] * 4
        for fold in range(4):
            assert np.bincount(people.codes[found == fold]).tolist() == [9, 9]
        shared = [
            set(people.table["group"][found == fold]) & set(people.table["group"][found != fold]) for fold in range(4)
        ]
        assert any(shared) == (protocol == "random")
    with pytest.raises(ConfigError, match="protocol 'both' is none of random, subject"):
        crossval.folds(people, "both", 4, 0)


def test_cross_validation_learns_and_goes_on_where_it_stopped(people, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    crossval = pytest.importorskip("fercore.training.crossval")
    lines: list[str] = []
    options = {"work": tmp_path / "work", "count": 2, "epochs": 6, "report": lines.append}
    found = crossval.cross_validate(people, ["hog-cnn"], **options)
    assert (found["faces"], found["subjects"], found["folds"]) == (72, 12, 2)
    for protocol in papers.PROTOCOLS:
        result = found["results"]["hog-cnn"][protocol]
        assert result["accuracy"]["value"] > 0.75
        assert result["accuracy"]["value"] == pytest.approx(np.mean(result["folds"]))
    assert len(lines) == 4
    papers.load(papers.write(found, tmp_path / "papers.json"))
    kept = sorted(path.name for path in options["work"].iterdir())
    assert len(kept) == 4

    def forbidden(*arguments: object) -> None:
        raise AssertionError("a finished fold was trained again")

    monkeypatch.setattr(crossval, "_train", forbidden)
    assert crossval.cross_validate(people, ["hog-cnn"], **options) == found
    monkeypatch.setattr(crossval, "RATE", 2e-3)
    with pytest.raises(AssertionError, match="trained again"):
        crossval.cross_validate(people, ["hog-cnn"], **options)
    monkeypatch.setattr(crossval, "RATE", 1e-3)
    (options["work"] / kept[0]).unlink()
    with pytest.raises(AssertionError, match="trained again"):
        crossval.cross_validate(people, ["hog-cnn"], **options)
