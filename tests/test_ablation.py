"""The ablation's table and how it goes on after a kill, with an injected training; what one blended head learns, by hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from fercore.errors import FerError
from fercore.training import models
from fercore.training.data import join
from fercore.training.recipe import Recipe
from made_faces import made_dataset

FILE = Path(__file__).resolve().parent.parent / "benchmarks" / "ablation.py"
SPEC = importlib.util.spec_from_file_location("ablation", FILE)
ablation = importlib.util.module_from_spec(SPEC)
sys.modules["ablation"] = ablation
SPEC.loader.exec_module(ablation)

FACTS = {"epochs": 1, "limit": 10, "seed": 0}
CHOSEN = tuple(each for each in ablation.VARIANTS if each.name in ("base", "no-ema", "one-head"))


class Killed(Exception):
    pass


class Training:
    """Answers by what it is asked, and may be killed at the n-th call."""

    def __init__(self, kill_at: int = 99) -> None:
        self.asked: list[tuple[dict, bool]] = []
        self.kill_at = kill_at

    def __call__(self, changes, one_head):
        if len(self.asked) == self.kill_at:
            raise Killed
        self.asked.append((dict(changes), one_head))
        down = 0.04 * one_head + 0.02 * ("ema" in changes)
        return {"fer2013": 0.6 - down, "expw": 0.4 - down / 2}


def test_a_killed_ablation_goes_on_where_it_was(tmp_path):
    file = tmp_path / "ablation.json"
    first, second = Training(kill_at=1), Training()
    with pytest.raises(Killed):
        ablation.run(file, first, CHOSEN, FACTS, tell=lambda line: None)
    done = ablation.run(file, second, CHOSEN, FACTS, tell=lambda line: None)
    assert first.asked == [({}, False)]
    assert second.asked == [({}, True), ({"ema": 0.0}, False)]
    assert set(done["results"]) == {"base", "no-ema", "one-head"}
    assert ablation.run(file, Training(kill_at=0), CHOSEN, FACTS)["results"] == done["results"]
    with pytest.raises(FerError, match=r"ablation.json: made with .*'seed': 0.*, not .*'seed': 1"):
        ablation.run(file, second, CHOSEN, {**FACTS, "seed": 1})


def test_the_table_says_what_each_brings(tmp_path):
    done = ablation.run(tmp_path / "a.json", Training(), CHOSEN, FACTS, tell=lambda line: None)
    for each in done["results"].values():
        each["seconds"] = 7.4
    assert ablation.table(done).splitlines() == [
        "Validation, epochs 1, limit 10, seed 0; in brackets points above the first row.",
        "",
        "| variant | fer2013 | expw | mean | seconds |",
        "| --- | --- | --- | --- | --- |",
        "| the recipe, at 64 pixels | 60.0% | 40.0% | 50.0% | 7 |",
        "| one head on blended labels instead of a head a source | 56.0% (-4.0) | 38.0% (-2.0) | 47.0% (-3.0) | 7 |",
        "| no averages of the weights | 58.0% (-2.0) | 39.0% (-1.0) | 48.5% (-1.5) | 7 |",
    ]


def test_every_variant_is_a_recipe_that_differs_from_the_base():
    own = {**models.get("transfer").recipe, **ablation.BASE, "model": "transfer", "datasets": ablation.DATASETS}
    base = Recipe.from_dict(own)
    assert len({each.name for each in ablation.VARIANTS}) == len(ablation.VARIANTS)
    for each in ablation.VARIANTS:
        changed = Recipe.from_dict({**own, **each.changes})
        assert (changed == base) == (each.name == "base" or each.blended), each.name


def test_blended_labels_by_hand():
    """Face 0 is known to both sources, face 1 to the first, face 2 to the second, which has one label more."""
    one = made_dataset([0, 1], ("angry", "happy"), name="one", numbers=[0, 1])
    votes = np.array([[0.5, 0.1, 0.4], [0.0, 0.2, 0.8]], np.float32)
    two = made_dataset([1, 2], ("happy", "angry", "odd"), name="two", numbers=[0, 2], votes=votes)
    faces = join([one, two])
    labels = {"one": ("angry", "happy"), "two": ("happy", "angry", "odd")}
    assert ablation.union(labels) == ["angry", "happy", "odd"]
    mixed = ablation.blended(faces, labels)
    np.testing.assert_allclose(
        mixed.targets["blended"], [[(1 + 0.1) / 2, 0.5 / 2, 0.4 / 2], [0, 1, 0], [0.2, 0.0, 0.8]], atol=1e-6
    )
    np.testing.assert_allclose(mixed.weights["blended"], 1)


def test_accuracy_by_source_with_a_head_each_or_one():
    one = made_dataset([0, 1], ("angry", "happy"), name="one", numbers=[0, 1])
    two = made_dataset([0, 1], ("happy", "angry"), name="two", numbers=[0, 2])
    faces = join([one, two])
    labels = {"one": ("angry", "happy"), "two": ("happy", "angry")}
    heads = {"one": np.array([[1, 0], [1, 0], [0, 1]]), "two": np.array([[1, 0], [0, 1], [0, 1]])}
    # Source one knows faces 0 (angry) and 1 (happy): its head is right about the first. Two knows 0 (happy) and 2 (angry).
    assert ablation.accuracy(heads, faces, "one", labels) == 0.5
    assert ablation.accuracy(heads, faces, "two", labels) == 1.0
    single = {"blended": np.array([[1, 0], [0, 1], [0, 1]])}  # angry, happy, happy
    assert ablation.accuracy(single, faces, "one", labels) == 1.0
    assert ablation.accuracy(single, faces, "two", labels) == 0.0
