"""The consensus of several heads: NumPy's and Keras's answers agree with each other and with a sum written out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fercore.labels import FERPLUS_LABELS, LABELS
from fercore.training import consensus

HEADS = {
    "fer2013": LABELS,
    "ferplus": FERPLUS_LABELS,
    "mixed": tuple(reversed(FERPLUS_LABELS)),
    "own": ("happy", "zen"),
}
TEMPERATURES = {"fer2013": 1.3, "ferplus": 0.7, "mixed": 2.0, "own": 1.0}


def drawn(n: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(scale=3, size=(n, len(labels))).astype(np.float32) for name, labels in HEADS.items()}


def by_hand(logits: dict[str, np.ndarray], weights: dict[str, float]) -> np.ndarray:
    """The weighted mean, class by class and face by face, of softmaxes over the seven basic expressions."""
    result = np.zeros((5, 7))
    for row in range(5):
        for name, weight in weights.items():
            chosen = [float(logits[name][row][HEADS[name].index(label)]) / TEMPERATURES[name] for label in LABELS]
            powers = [np.exp(value - max(chosen)) for value in chosen]
            result[row] += [weight * power / sum(powers) for power in powers]
    return result


def test_heads_that_lack_an_expression_take_no_part():
    how = consensus.settings(HEADS, TEMPERATURES)
    assert [part["head"] for part in how["parts"]] == ["fer2013", "ferplus", "mixed"]
    assert sum(part["weight"] for part in how["parts"]) == pytest.approx(1)
    assert how["labels"] == list(LABELS)
    assert how["parts"][2]["columns"] == [7, 6, 5, 4, 3, 2, 1]  # contempt comes first there
    assert json.loads(json.dumps(how)) == how


@pytest.mark.parametrize("names", [(), ("fer2013",), ("own",), ("fer2013", "own")])
def test_fewer_than_two_able_heads_make_no_consensus(names):
    assert consensus.settings({name: HEADS[name] for name in names}, TEMPERATURES) is None


@pytest.mark.parametrize("weights", [None, {"fer2013": 1.0, "ferplus": 2.0, "mixed": 5.0}])
def test_probabilities_are_the_weighted_mean(weights):
    logits = drawn()
    how = consensus.settings(HEADS, TEMPERATURES, weights)
    shares = {name: 1 / 3 if weights is None else weights[name] / 8 for name in ("fer2013", "ferplus", "mixed")}
    got = consensus.logits(logits, how)
    assert got.dtype == np.float32
    np.testing.assert_allclose(np.exp(got), by_hand(logits, shares), atol=1e-6)
    np.testing.assert_allclose(np.exp(got).sum(axis=1), 1, atol=1e-5)


def test_keras_says_the_same():
    logits = drawn()
    how = consensus.settings(HEADS, TEMPERATURES)
    keras = pytest.importorskip("keras")
    attached = consensus.attach({name: keras.ops.convert_to_tensor(values) for name, values in logits.items()}, how)
    assert set(attached) == {*HEADS, consensus.NAME}
    got = keras.ops.convert_to_numpy(attached[consensus.NAME])
    np.testing.assert_allclose(got, consensus.logits(logits, how), atol=1e-5)


def test_certainty_without_end_stays_finite():
    """Both heads are utterly sure of different labels: half and half, and no infinite logarithm for the others."""
    logits = {"fer2013": np.zeros((1, 7), np.float32), "ferplus": np.zeros((1, 8), np.float32)}
    logits["fer2013"][0, 3] = logits["ferplus"][0, 0] = 1e4
    how = consensus.settings({name: HEADS[name] for name in logits}, TEMPERATURES)
    got = consensus.logits(logits, how)
    assert np.isfinite(got).all()
    np.testing.assert_allclose(np.exp(got[0]), [0.5, 0, 0, 0.5, 0, 0, 0], atol=1e-6)
