"""Model cards: every number of the run stands in them, and so do the sentences that must not be missing."""

from __future__ import annotations

import numpy as np
import pytest

from fercore import metrics
from fercore.cards import command, model_card, starts_from, when


@pytest.fixture(scope="module")
def info() -> dict:
    """A run's facts: two classes get 3 of 4 faces right, the third is always taken for the first."""
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2])
    predictions = np.array([0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0])
    measured = metrics.evaluate(labels, np.eye(3)[predictions], ("calm", "cross", "bored"), resamples=50)
    return {
        "model": {
            "name": "report-cnn",
            "summary": "a small network",
            "parameters": 1234567,
            "origin": "from elsewhere.",
        },
        "input": {"size": 48},
        "metrics": {"mine": {"head": "mine", **measured}},
        "datasets": {"mine": {"source": "Somebody, 2020.", "licence": "research only."}},
        "created": "2026-01-02",
        "machine": "Linux",
        "backend": "tensorflow",
        "seconds": 120,
        "packages": {"keras": "3.15.1"},
    }


def test_numbers_and_names(info):
    card = model_card("my-run", info)
    assert "1,234,567 parameters, input 48x48 grey" in card
    # 6 of 12 are right.
    assert "| mine | mine | 12 | 50.0% (" in card
    assert "Somebody, 2020. Licence: research only." in card
    assert "from elsewhere." in card
    assert "2 minutes of training" in card
    assert "train --like my-run" in card


def test_weakest_class_and_worst_confusion_are_named(info):
    card = model_card("my-run", info)
    assert "found least often are `bored` (0%)" in card
    assert "taken for another most often: `bored` for `calm` (4 faces)" in card


def test_what_must_be_said(info):
    card = model_card("my-run", info)
    for needed in (
        "An expression is not an emotion",
        "at work and in education",
        "2024/1689",
        "research, not commerce",
    ):
        assert needed in card


def test_estimate_under_the_release(info):
    measured = {**info["metrics"]["mine"], "release_accuracy": {"value": 0.25, "low": 0.2, "high": 0.3}}
    card = model_card("my-run", {**info, "metrics": {"expw": measured}})
    assert "25.0% (20.0% to 30.0%)" in card
    assert "an estimate" in card
    assert "an estimate" not in model_card("my-run", info)


def test_how_each_kind_of_run_is_made_again(info):
    taught = {**info, "recipe": {"teacher": "both", "options": {"weights": "first"}}}
    eight = {**taught, "quantised": {"from": "my-run"}}
    together = {**info, "members": ["one", "two"]}
    assert command("my-run", taught) == "train --like my-run"
    assert command("eight", eight) == "quantise my-run"
    assert command("both", together) == "ensemble one two"
    assert (starts_from(taught), starts_from(eight), starts_from(together)) == (["both", "first"], ["my-run"], [])
    assert when(taught) == "Trained on 2026-01-02."
    assert when(eight) == "Made from my-run on 2026-01-02."
    assert when(together) == "Made on 2026-01-02."
    assert when({}) == ""
    card = model_card("eight", eight)
    assert "put into eight bits from `my-run`" in card
    assert "python -m fercore quantise my-run --data DATA --out artifacts/eight-again" in card
    strange = {**taught, "quantised": {"from": "x; rm -r ~"}}
    assert command("eight", strange) == "train --like eight"
