"""What pages share: made once, and made again when a run has changed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fercore import charts, runs
from fercore.ui import loaders, tables
from made_run import made_run


@pytest.fixture(autouse=True)
def own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FER_ARTIFACTS", str(tmp_path))
    return tmp_path


def test_two_visitors_share_a_figure_and_other_numbers_make_another(own_runs: Path) -> None:
    scores = made_run(own_runs).metrics("fer2013")
    first = loaders.once(charts.per_class, scores, "recall")
    again = loaders.once(charts.per_class, {**scores}, "recall")
    assert first is again
    assert first.spec is again.spec
    assert loaders.once(charts.per_class, scores, "f1") is not first
    assert loaders.once(charts.per_class, {**scores, "faces": 7}, "recall") is not first
    assert isinstance(loaders.once(tables.per_class, scores), pd.DataFrame), "another maker, the same numbers"


def test_the_list_of_runs_is_read_again_when_one_comes_changes_or_goes(own_runs: Path) -> None:
    made_run(own_runs, "one")
    (one,), refused = loaders.known()
    assert loaders.known()[0][0] is one
    assert refused == []
    made_run(own_runs, "two", seed=1)
    assert [run.name for run in loaders.known()[0]] == ["one", "two"]
    runs.delete(one)
    made_run(own_runs, "one", seed=2)
    changed, two = loaders.known()[0]
    assert changed.metrics("fer2013")["accuracy"] != one.metrics("fer2013")["accuracy"]
    runs.delete(changed)
    runs.delete(two)
    assert loaders.known() == ([], [])


def test_predictions_are_those_of_the_dataset_and_head_that_was_asked_for(own_runs: Path) -> None:
    run = made_run(own_runs, heads={"fer2013": ("angry", "happy"), "ferplus": ("angry", "happy", "sad")})
    table = loaders.predictions(run, "fer2013")
    assert set(table["dataset"]) == set(table["head"]) == {"fer2013"}
    assert "p_sad" not in table
    assert loaders.predictions(run, "fer2013") is table
    assert "p_sad" in loaders.predictions(run, "ferplus")
