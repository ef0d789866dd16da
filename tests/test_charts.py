"""Charts: findings that fit the numbers, the classes' own colours, a description each; numbers worked out by hand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fercore import charts, metrics
from fercore.charts import Figure
from fercore.comparison import SCORES, Comparison, Row
from fercore.labels import COLOURS, LABELS
from fercore.study import Dimension, Study, Trial
from made_run import made_run

THREE = ("happy", "sad", "neutral")
COUNTS = [[80, 15, 5], [4, 6, 0], [0, 0, 10]]
"""Most shares go from sad to happy (40%), most faces from happy to sad (15)."""


def scores_of(counts: list[list[int]], labels: tuple[str, ...] = THREE) -> dict[str, Any]:
    """Return metrics of answers that give this confusion matrix, all of them 80% sure."""
    pairs = [(true, predicted) for true, row in enumerate(counts) for predicted, n in enumerate(row) for _ in range(n)]
    codes, answers = np.array(pairs).T
    probs = np.full((len(pairs), len(labels)), 0.2 / (len(labels) - 1), np.float32)
    probs[np.arange(len(pairs)), answers] = 0.8
    return metrics.evaluate(codes, probs, labels, resamples=20)


def answers(rows: list[tuple[str, str, float]]) -> pd.DataFrame:
    """Return predictions over happy and sad: label, prediction, confidence."""
    table = pd.DataFrame(rows, columns=["label", "prediction", "confidence"])
    happy = np.where(table["prediction"] == "happy", table["confidence"], 1 - table["confidence"])
    return table.assign(p_happy=happy, p_sad=1 - happy)


def facts(**changes: Any) -> dict[str, Any]:
    usual = {
        "labels": ["happy", "sad"],
        "counts": {"train": {"happy": 300, "sad": 20}, "test": {"happy": 60, "sad": 10}},
        "faces_per_photo": {"1": 90, "2": 8, "3": 2},
        "face_sizes": {"edges": [0.0, 50.0, 100.0, 200.0], "counts": [10, 20, 10]},
    }
    return {**usual, **changes}


def test_confusion_of_shares_and_of_counts_find_different_mistakes() -> None:
    scores = scores_of(COUNTS)
    assert charts.confusion(scores, shares=True).title == "Sad is most often taken for happy: 40% of its faces"
    assert charts.confusion(scores, shares=False).title == "The most frequent mistake is happy taken for sad: 15 faces"


def test_confusion_without_a_mistake() -> None:
    assert charts.confusion(scores_of([[3, 0], [0, 4]], ("happy", "sad"))).title == "Every face is recognised"
    assert charts.confusions(scores_of([[3, 0], [0, 4]], ("happy", "sad"))) is None


def test_confusion_table_holds_counts_and_shares_of_the_true_class() -> None:
    table = charts.confusion_table(scores_of(COUNTS)).set_index(["true", "predicted"])
    assert table.loc[("happy", "sad")].tolist() == [15, 15.0]
    assert table.loc[("sad", "happy")].tolist() == [4, 40.0]
    assert len(table) == 9
    assert table["faces"].sum() == 120


def test_confusion_lets_a_cell_be_chosen() -> None:
    params = charts.confusion(scores_of(COUNTS)).chart.to_dict()["params"]
    assert params[0]["name"] == "cell"
    assert params[0]["select"]["fields"] == ["true", "predicted"]


def test_confusions_are_the_wrong_cells_in_order() -> None:
    figure = charts.confusions(scores_of(COUNTS), 2)
    assert figure.data["mistake"].tolist() == ["happy → sad", "happy → neutral"]
    assert figure.title == "The 2 most frequent mistakes are 83% of all"  # 20 of 24


def test_per_class_is_sorted_and_leaves_out_a_class_without_faces() -> None:
    scores = scores_of([[8, 2, 0], [1, 9, 0], [0, 0, 0]])
    figure = charts.per_class(scores, "recall")
    assert figure.data[["class", "value"]].to_numpy().tolist() == [["sad", 90.0], ["happy", 80.0]]
    assert figure.title == "Most reliably found is sad (90%), most often missed happy (80%)"
    assert charts.per_class(scores, "precision").data["value"].round(1).tolist() == [88.9, 81.8]


def test_classes_have_their_own_colours() -> None:
    spec = json.dumps(charts.per_class(scores_of(COUNTS)).chart.to_dict())
    assert all(COLOURS[label] in spec for label in THREE)
    assert COLOURS["fear"] not in spec


@pytest.mark.parametrize(
    ("counts", "title"),
    [
        (
            {"train": {"happy": 300, "sad": 20}, "test": {"happy": 60, "sad": 10}},
            "FER2013 has 12.0 times as many happy as sad faces",
        ),
        ({"train": {"happy": 110, "sad": 100}}, "The classes of FER2013 are balanced: 100 to 110 faces each"),
        ({"train": {"happy": 10}}, "FER2013 has no face that is labelled sad"),
    ],
)
def test_class_counts_say_how_even_they_are(counts: dict[str, dict[str, int]], title: str) -> None:
    assert charts.class_counts(facts(counts=counts), "fer2013").title == title


def test_faces_per_photo() -> None:
    assert charts.faces_per_photo(facts()).title == "10.0% of the photos hold more than one labelled face"
    assert charts.faces_per_photo(facts(faces_per_photo={"1": 7})) is None


def test_face_sizes_find_the_middle_face() -> None:
    assert (
        charts.face_sizes(facts()).title == "Half of the faces are smaller than 75 pixels"
    )  # 10 of the 20 from 50 to 100
    assert charts.face_sizes(facts(face_sizes={"edges": [], "counts": []})) is None


def test_losses_tell_learning_from_learning_by_heart() -> None:
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [2.0, 1.5, 1.0], "val_loss": [1.8, 1.4, 1.6]})
    assert charts.losses(history).title.startswith("Validation loss is lowest after epoch 2;")
    falling = history.assign(val_loss=[1.8, 1.4, 1.25])
    assert charts.losses(falling).title == "Validation loss goes down to 1.25 and stays there"


def test_accuracy_curves_show_every_head() -> None:
    history = pd.DataFrame({"epoch": [1, 2], "val_accuracy": [0.4, 0.5]})
    assert charts.accuracy_curves(history).title == "Validation accuracy is highest after epoch 2: 50.0%"
    several = history.assign(val_accuracy_fer2013=[0.5, 0.6], val_accuracy_expw=[0.3, 0.4])
    figure = charts.accuracy_curves(several)
    assert figure.title == "Mean validation accuracy is highest after epoch 2: 50.0%"
    assert figure.data.groupby("series")["accuracy"].max().to_dict() == {
        "ExpW": 40.0,
        "FER2013": 60.0,
        "all heads": 50.0,
    }


def test_confidences_count_the_sure_and_wrong() -> None:
    rows = [("happy", "happy", 0.95)] * 3 + [("sad", "happy", 0.95), ("sad", "sad", 0.6), ("sad", "happy", 0.6)]
    figure = charts.confidences(answers(rows))
    assert figure.title == "Of the answers that are more than 90% sure, 25.0% are wrong"
    assert figure.data.query("`from` == 90 and answer == 'right'")["faces"].tolist() == [3]
    modest = charts.confidences(answers(rows[-2:]))
    assert modest.title == "1 of 2 answers are wrong; few of them are very sure"


def test_certainty_of_one_stands_in_the_last_bar() -> None:
    assert charts.confidences(answers([("happy", "happy", 1.0)])).data["from"].tolist() == [90]


@pytest.mark.parametrize(
    ("confidence", "title"),
    [
        (0.95, "The answers are 20 points too sure on average"),
        (0.6, "The answers are 15 points too modest on average"),
        (0.75, "The confidence means what it says, within 2 points on average"),
    ],
)
def test_reliability(confidence: float, title: str) -> None:
    rows = [("happy", "happy", confidence)] * 3 + [("sad", "happy", confidence)]
    assert charts.reliability(answers(rows), ["happy", "sad"]).title == title


def test_a_handful_of_answers_does_not_bend_the_line_of_reliability() -> None:
    many = [("happy", "happy", 0.85)] * 25 + [("sad", "happy", 0.75)] * 30
    figure = charts.reliability(answers([*many, ("sad", "sad", 0.55)]), ["happy", "sad"])
    assert len(figure.data) == 3
    line = next(
        layer
        for layer in figure.chart.to_dict()["layer"]
        if layer["mark"].get("strokeWidth") == 2
        and layer["mark"]["type"] == "line"
        and "strokeDash" not in layer["mark"]
    )
    drawn = figure.chart.to_dict()["datasets"][line["data"]["name"]]
    assert sorted(row["faces"] for row in drawn) == [25, 30]
    (few,) = figure.data[figure.data["faces"] == 1].to_dict("records")
    assert few["high"] - few["low"] > 60


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Figure]:
    """Return every kind of figure, of a run with two heads."""
    folder: Path = tmp_path_factory.mktemp("artifacts")
    run = made_run(folder, heads={"fer2013": LABELS, "expw": LABELS})
    table = run.predictions().query("dataset == 'expw'")
    about = run.dataset_info()["expw"]
    return {
        "accuracies": charts.accuracies([run], "expw"),
        "class_counts": charts.class_counts(about, "expw"),
        "faces_per_photo": charts.faces_per_photo(about),
        "face_sizes": charts.face_sizes(about),
        "losses": charts.losses(run.history()),
        "accuracy_curves": charts.accuracy_curves(run.history()),
        "confusion": charts.confusion(run.metrics("expw")),
        "confusions": charts.confusions(run.metrics("expw")),
        "per_class": charts.per_class(run.metrics("expw"), "f1"),
        "confidences": charts.confidences(table),
        "reliability": charts.reliability(table, LABELS),
    }


def test_every_figure_has_its_finding_its_description_and_its_numbers(figures: dict[str, Figure]) -> None:
    for name, figure in figures.items():
        assert len(figure.title.split()) > 3, name
        assert not figure.title.endswith("."), name
        assert len(figure.alt) > 40, name
        assert len(figure.data), name
        assert "nan" not in (figure.title + figure.alt).lower().split(), name


def test_figures_sit_on_a_light_and_on_a_dark_page(figures: dict[str, Figure]) -> None:
    for name, figure in figures.items():
        spec = json.dumps(figure.chart.to_dict())
        assert '"black"' not in spec, name
        assert "background" not in figure.chart.to_dict(), name


def test_a_page_gets_the_chart_with_the_rows_that_it_draws(figures: dict[str, Figure]) -> None:
    for name, figure in figures.items():
        whole = figure.chart.to_dict()
        rows = whole.pop("datasets")
        assert {key: table.to_pylist() for key, table in figure.spec["datasets"].items()} == rows, name
        assert {"config": whole["config"], **figure.spec, "datasets": rows} == whole | {"datasets": rows}, name


def test_accuracies_name_the_best_run(tmp_path: Path) -> None:
    runs = [made_run(tmp_path, name, seed=seed, faces=200) for name, seed in (("one", 1), ("two", 2))]
    best = max(runs, key=lambda run: run.metrics()["accuracy"]["value"])
    figure = charts.accuracies(runs, "fer2013")
    assert figure.title.startswith(
        f"FER2013: {best.name} is right for {100 * best.metrics()['accuracy']['value']:.1f}%"
    )
    assert set(figure.data["run"]) == {"one", "two"}


def test_a_figure_can_be_had_as_a_picture(figures: dict[str, Figure]) -> None:
    assert figures["confusion"].png().startswith(b"\x89PNG\r\n\x1a\n")


def test_text_of_numbers() -> None:
    assert charts.percent(0.541) == "54%"
    assert charts.percent(None) == "none"
    assert charts.interval({"value": 0.541, "low": 0.524, "high": 0.557}) == "54.1% (52.4 to 55.7)"
    assert charts.interval({"value": None, "low": None, "high": None}) == "none"
    assert charts.dataset_title("ferplus") == "FER+"
    assert charts.dataset_title("mine") == "mine"


def studied(*trials: tuple[str, float, str, list[float]]) -> Study:
    """Return a search over learning rate and augmentation: state, rate, augmentation and accuracies of each trial."""
    return Study(
        metric="val_accuracy",
        seed=0,
        sampler="",
        pruner="",
        recipe={"epochs": 2},
        fingerprint="",
        space={
            "learning_rate": Dimension(low=1e-4, high=1e-2, log=True),
            "augment": Dimension(choices=("none", "light", "strong")),
        },
        trials=tuple(
            Trial(
                number=number,
                params={"learning_rate": rate, "augment": augment},
                state=state,
                value=max(epochs) if state == "complete" else None,
                epochs=tuple(epochs),
                seconds=1.0,
            )
            for number, (state, rate, augment, epochs) in enumerate(trials)
        ),
        importance={"learning_rate": 0.3, "augment": 0.7},
    )


STUDY = studied(
    ("complete", 1e-4, "none", [0.2, 0.3]),
    ("complete", 1e-3, "light", [0.4, 0.5]),
    ("pruned", 1e-2, "strong", [0.1]),
    ("failed", 1e-2, "strong", []),
    ("complete", 1e-3, "light", [0.45, 0.44]),
)


def test_the_history_of_a_search_shows_the_best_so_far() -> None:
    figure = charts.search_history(STUDY)
    assert figure.title == "The best of 5 trials, number 1, reaches 50.0% on validation; 1 was stopped early"
    assert figure.data["best"].tolist() == [30, 50, 50, 50, 50], "a stopped trial is never the best"
    assert figure.data["outcome"].tolist() == ["complete", "complete", "stopped early", "failed", "complete"]


def test_parallel_coordinates_place_every_value_between_the_ends_of_its_row() -> None:
    figure = charts.search_parameters(STUDY)
    assert figure.title == "The best 3 trials have augmentation none or light and learning rate 0.0001 to 0.001"
    table = figure.data.set_index(["trial", "parameter"])["place"]
    assert table[1, "learning rate"] == pytest.approx(0.5)  # half way from 1e-4 to 1e-2 on a logarithmic row
    assert (table[0, "augmentation"], table[1, "augmentation"], table[2, "augmentation"]) == (0, 0.5, 1)
    assert table[1, "validation accuracy"] == 1
    assert table[2, "validation accuracy"] == 0
    assert 3 not in figure.data["trial"].to_numpy(), "a trial without an epoch reached nothing that could be drawn"
    groups = figure.data.groupby("trial")["group"].first().to_dict()
    assert groups == {0: "next best", 1: "best", 2: "stopped early", 4: "next best"}
    figure.chart.to_dict()


def test_importance_names_what_decides() -> None:
    figure = charts.importances(STUDY)
    assert figure.title == "What decides most is augmentation: 70% of how the trials differ"
    assert charts.importances(dataclasses.replace(STUDY, importance={})) is None


def compared(**changes: dict[str, float]) -> Comparison:
    """Return a comparison of runs with a reference; each run comes with its changes of recall in points by class."""
    scores = {key: {"value": 0.5, "low": 0.4, "high": 0.6} for key in SCORES}
    table = pd.DataFrame({"class": ["happy", "sad"], "faces": 10, "gained": 0, "lost": 0, "change": 0.0})
    usual = {"model": "m", "head": "h", "parameters": 1, "bytes": 1, "faces": 20, "difference": None, "test": None}
    base = Row(run="base", scores=scores, classes=table, **usual)
    better = scores | {"accuracy": {"value": 0.6, "low": 0.5, "high": 0.7}}
    rows = [
        Row(run=run, scores=better, classes=table.assign(change=table["class"].map(change)), **usual)
        for run, change in changes.items()
    ]
    return Comparison("fer2013", "base", (*rows, base))


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({"one": {"happy": 5.0, "sad": -3.0}}, "One gains most on happy (+5 points), the greatest loss sad (-3)"),
        ({"one": {"happy": 5.0, "sad": 3.0}}, "One gains most on happy (+5 points)"),
        ({"one": {"happy": -5.0, "sad": -3.0}}, "One gains in no class, the greatest loss happy (-5)"),
        (
            {"one": {"happy": -5.0}, "two": {"happy": 0.0}},
            "No run gains in any class, the greatest loss happy by one (-5)",
        ),
        (
            {"one": {"happy": 5.0, "sad": -3.0}, "two": {"happy": -9.0, "sad": 7.0}},
            "Against base, the greatest gain is sad by two (+7 points), the greatest loss happy by two (-9)",
        ),
    ],
)
def test_gained_and_lost_classes(changes: dict[str, dict[str, float]], title: str) -> None:
    figure = charts.class_changes(compared(**changes))
    assert figure.title == title
    assert len(figure.data) == 2 * len(changes)
    figure.chart.to_dict()
    assert charts.class_changes(compared()) is None


def test_accuracy_beside_time() -> None:
    result = compared(one={"happy": 5.0, "sad": 0.0})
    figure = charts.score_and_time(result, {"one": 3.0, "base": 1.5})
    assert figure.title == "One is the most accurate and takes 2.0 times as long as base, the quickest"
    assert figure.data["run"].tolist() == ["base", "one"]
    quick = charts.score_and_time(result, {"one": 1.0, "base": 1.5})
    assert quick.title == "One is the most accurate and the quickest: 1 ms a face"


def seen(face: int, times: list[float], labels: list[str | None], happy: float) -> list[dict[str, Any]]:
    return [
        {"time": time, "face": face, "label": label, "smooth_happy": happy, "smooth_sad": 1 - happy}
        for time, label in zip(times, labels, strict=True)
    ]


def test_a_timeline_has_a_lane_a_face_and_a_strip_of_what_lasts() -> None:
    rows = seen(1, [0.0, 0.2, 0.4, 0.6], [None, "happy", "happy", "sad"], 0.75)
    rows += seen(2, [0.2, 0.4, 3.0, 3.2], ["sad"] * 4, 0.25)
    figure = charts.expressions_over_time(pd.DataFrame(rows).sort_values(["time", "face"], ignore_index=True))
    assert figure.title == "Face 1 is happy 50% of its time, face 2 is sad 100% of its time"
    assert "face 2, seen for 0.8 s, sad for 100% of that" in figure.alt
    data = figure.chart.to_dict()["datasets"].values()
    bands = pd.DataFrame(next(rows for rows in data if "share" in rows[0]))
    strips = pd.DataFrame(next(rows for rows in data if "end" in rows[0]))
    first = bands[(bands["face"] == 1) & (bands["label"] == "happy")]
    assert first[["low", "high"]].iloc[0].tolist() == pytest.approx([1, 1 + 0.82 * 0.75]), "the first face is on top"
    assert bands[bands["face"] == 2]["part"].nunique() == 2, "it was away for 2.6 s"
    told = strips[["face", "label", "time", "end"]].to_numpy().tolist()
    assert told == [[1, "happy", 0.2, 0.6], [1, "sad", 0.6, 0.8], [2, "sad", 0.2, 0.6], [2, "sad", 3.0, 3.4]]
    assert figure.data["happy (%)"].tolist() == [75, 75, 25, 75, 25, 75, 25, 25]


def test_a_long_timeline_stays_within_what_altair_draws() -> None:
    labels = [f"class {number}" for number in range(12)]
    times = np.arange(0, 60, 0.2)
    rows = [
        {"time": time, "face": face, "label": "class 3", **{f"smooth_{label}": 1 / 12 for label in labels}}
        for time in times
        for face in range(1, 7)
    ]
    figure = charts.expressions_over_time(pd.DataFrame(rows))
    assert figure.png().startswith(b"\x89PNG")
    assert "2 more, seen more briefly" in figure.alt
    assert charts.expressions_over_time(pd.DataFrame(rows).iloc[:0]) is None
