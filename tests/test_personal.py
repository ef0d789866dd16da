"""The correction for one face: better on stretches of time held back, nothing without data, the same in the browser's code."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest

from fercore import personal
from fercore.browser import assets
from fercore.errors import ConfigError

K, D = 4, 24


def person(*, seed: int = 0, shown: tuple[int, ...] = (0, 1, 2, 3)) -> tuple[np.ndarray, ...]:
    """Return features, shared probabilities and labels of two stretches of time: 20 frames an expression in each.

    The features of an expression lie around a centre of this person's own; the shared answer takes each 2 for a 1.
    """
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 1, (K, D))
    found = []
    for _ in range(2):
        labels = np.repeat(shown, 20)
        features = centres[labels] + rng.normal(0, 0.1, D) + rng.normal(0, 0.5, (len(labels), D))
        logits = rng.normal(0, 0.3, (len(labels), K))
        logits[np.arange(len(labels)), np.where(labels == 2, 1, labels)] += 1.5
        powers = np.exp(logits)
        found += [features, powers / powers.sum(axis=1, keepdims=True), labels]
    return tuple(found)


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float((probabilities.argmax(axis=1) == labels).mean())


def test_a_fit_is_right_more_often_on_a_stretch_that_was_held_back() -> None:
    features, shared, labels, later, later_shared, later_labels = person()
    own = personal.fit(features, shared, labels)
    before, after = accuracy(later_shared, later_labels), accuracy(own.correct(later, later_shared), later_labels)
    assert before < 0.8
    assert after > 0.95


def test_without_data_or_with_a_very_strong_pull_the_shared_answer_is_unchanged() -> None:
    features, shared, labels, *_ = person()
    none = personal.fit(np.zeros((0, D)), np.zeros((0, K)), [])
    assert none.correct(features, shared) == pytest.approx(shared)
    held = personal.fit(features, shared, labels, strength=1e6)
    assert held.correct(features, shared) == pytest.approx(shared, abs=1e-4)


def test_the_fit_is_the_minimum_of_its_objective() -> None:
    """Moving the correction a little in any direction makes the penalised loss no smaller."""
    features, shared, labels, *_ = person(seed=3)
    own = personal.fit(features, shared, labels, steps=4000)
    mean, std = features.mean(axis=0), features.std(axis=0)
    rows = (features - mean) / std / np.sqrt(D)
    weights = own.weights * (std * np.sqrt(D))[:, None]
    bias = own.bias + mean @ own.weights

    def loss(weights: np.ndarray, bias: np.ndarray) -> float:
        scores = np.log(shared) + rows @ weights + bias
        likely = scores[np.arange(len(labels)), labels] - np.log(np.exp(scores).sum(axis=1))
        return -likely.mean() + personal.STRENGTH / 2 * ((weights**2).sum() + (bias**2).sum())

    best, rng = loss(weights, bias), np.random.default_rng(1)
    for _ in range(20):
        step = rng.normal(0, 1e-3, (D + 1, K))
        assert loss(weights + step[:-1], bias + step[-1]) > best


def test_an_expression_that_was_not_shown_is_left_alone() -> None:
    features, shared, labels, *_ = person(shown=(0, 2))
    own = personal.fit(features, shared, labels)
    assert np.all(own.weights[:, [1, 3]] == 0)
    assert np.all(own.bias[[1, 3]] == 0)
    assert np.abs(own.weights[:, 0]).max() > 0


def test_a_resting_face_is_called_neutral_and_a_clear_smile_stays_one() -> None:
    resting, smile = np.array([[0.05, 0.55, 0.05, 0.35]]), np.array([[0.97, 0.01, 0.01, 0.01]])
    own = personal.resting(np.repeat(resting, 30, axis=0), 3)
    nothing = np.zeros((1, 0))
    assert own.correct(nothing, resting).argmax() == 3
    assert own.correct(nothing, smile).argmax() == 0


@pytest.mark.parametrize(
    ("features", "shared", "labels", "words"),
    [
        (np.zeros((3, 2)), np.ones((2, 4)) / 4, [0, 1], "must be (N, D), (N, K) and (N,)"),
        (np.zeros((2, 2)), np.ones((2, 4)) / 4, [0, 4], "all from 0 to 3"),
        (np.zeros((2, 2)), np.ones((2, 4)) / 4, [0, -1], "all from 0 to 3"),
    ],
    ids=["shapes", "too high", "negative"],
)
def test_what_does_not_fit_together_is_refused(
    features: np.ndarray, shared: np.ndarray, labels: list[int], words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        personal.fit(features, shared, labels)
    assert words in str(caught.value)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_browsers_code_gives_the_same() -> None:
    features, shared, labels, later, later_shared, later_labels = person(seed=5, shown=(0, 2, 3))
    script = """
    const { fit, correct, judged, resting } = await import(process.argv[1]);
    const given = JSON.parse(await new Response(process.stdin).text());
    const own = fit(given.features, given.shared, given.labels);
    const rest = resting(given.shared, 3);
    const none = fit([], [], []);
    console.log(JSON.stringify({
      own, rest, none, answers: given.later.map((row, i) => correct(own, row, given.later_shared[i])),
      rested: given.later_shared.map((row) => correct(rest, [], row)),
      judged: judged(own, given.later, given.later_shared, given.later_labels),
    }));
    """
    given = {
        "features": features,
        "shared": shared,
        "labels": labels,
        "later": later,
        "later_shared": later_shared,
        "later_labels": later_labels,
    }
    text = json.dumps({name: value.tolist() for name, value in given.items()})
    module = (assets.HERE / "personal.mjs").as_uri()
    command = ["node", "--input-type=module", "-e", script, module]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    own, rest = personal.fit(features, shared, labels), personal.resting(shared, 3)
    answers = own.correct(later, later_shared)
    assert np.array(told["own"]["weights"]) == pytest.approx(own.weights, abs=1e-4)
    assert np.array(told["own"]["bias"]) == pytest.approx(own.bias, abs=1e-4)
    assert np.array(told["answers"]) == pytest.approx(answers, abs=1e-4)
    assert np.array(told["rested"]) == pytest.approx(rest.correct(later, later_shared), abs=1e-4)
    assert told["judged"]["before"] == pytest.approx(accuracy(later_shared, later_labels))
    assert told["judged"]["after"] == pytest.approx(accuracy(answers, later_labels))
    assert told["none"] == {"weights": [], "bias": []}
