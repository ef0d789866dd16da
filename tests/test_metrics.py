"""Metrics against scikit-learn, plain bootstrap loops, textbook formulas, and cases worked out by hand."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pytest
from sklearn import metrics as reference

from fercore.calibration import softmax
from fercore.errors import ConfigError, DataError, FerError
from fercore.labels import LABELS
from fercore.metrics import (
    EXPW_RELEASE_COUNTS,
    confusion_matrix,
    evaluate,
    map_probabilities,
    mcnemar,
    paired_difference,
    reweighted_accuracy,
    share_interval,
)


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def drawn(n: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) that follow their float32 probabilities (N, 7) exactly; disgust is rare."""
    generator = np.random.default_rng(seed)
    z = generator.normal(scale=2, size=(n, 7))
    z[:, 1] -= 2
    return np.argmax(z + generator.gumbel(size=z.shape), axis=1), softmax(z)


def ends(score: dict[str, float]) -> list[float]:
    return [score["low"], score["high"]]


def check_against_scikit_learn(labels: np.ndarray, probs: np.ndarray, result: dict) -> None:
    predictions, present = probs.argmax(axis=1), np.unique(labels)
    options = {"labels": present, "zero_division": 0}
    assert result["accuracy"]["value"] == pytest.approx(reference.accuracy_score(labels, predictions))
    for average in ("macro", "weighted"):
        expected = reference.precision_recall_fscore_support(labels, predictions, average=average, **options)[:3]
        values = [result[f"{average}_{score}"]["value"] for score in ("precision", "recall", "f1")]
        assert values == pytest.approx(expected)
    each = np.array(reference.precision_recall_fscore_support(labels, predictions, **options))
    for code, expected in zip(present, each.T, strict=True):
        scores = result["per_class"][LABELS[code]]
        values = [scores[name]["value"] for name in ("precision", "recall", "f1")]
        assert [*values, scores["support"]] == pytest.approx(expected)
    loss = reference.log_loss(labels, probs, labels=range(7))
    assert result["log_loss"]["value"] == pytest.approx(loss, rel=1e-5)
    cells = reference.confusion_matrix(labels, predictions, labels=range(7))
    assert result["confusion"]["value"] == cells.tolist()


def test_every_value_equals_scikit_learns():
    labels, probs = drawn(800)
    result = evaluate(labels, probs, LABELS, resamples=20)
    check_against_scikit_learn(labels, probs, result)
    balanced = reference.balanced_accuracy_score(labels, probs.argmax(axis=1))
    assert result["balanced_accuracy"]["value"] == pytest.approx(balanced)
    counted = {key: result[key] for key in ("classes", "faces", "groups", "resamples", "seed", "confidence")}
    assert counted == {
        "classes": list(LABELS),
        "faces": 800,
        "groups": None,
        "resamples": 20,
        "seed": 0,
        "confidence": 0.95,
    }


def test_calibration_error_equals_a_loop_over_bins():
    labels, probs = drawn(500)
    probs = softmax(np.log(probs), 0.5)
    top, right = probs.max(axis=1).astype(float), probs.argmax(axis=1) == labels
    gap = 0.0
    for i in range(10):
        inside = (top > i / 10) & (top <= (i + 1) / 10)
        gap += abs(right[inside].sum() - top[inside].sum()) / 500
    assert evaluate(labels, probs, LABELS, resamples=1)["ece"]["value"] == pytest.approx(gap)


def test_classes_without_faces_have_no_score_and_stay_out_of_the_averages():
    labels, probs = drawn(300)
    keep = ~np.isin(labels, (1, 6))
    labels, probs = labels[keep], probs[keep]
    assert (probs.argmax(axis=1) == 6).any(), "neutral must be predicted for the case to bite"
    result = evaluate(labels, probs, LABELS, resamples=50)
    check_against_scikit_learn(labels, probs, result)
    nothing = {"value": None, "low": None, "high": None}
    assert result["per_class"]["disgust"] == {"precision": nothing, "recall": nothing, "f1": nothing, "support": 0}
    assert result["per_class"]["neutral"]["precision"] == nothing


def test_a_class_that_is_never_predicted_has_precision_0():
    labels, probs = drawn(300)
    probs[:, 3] = 0
    probs /= probs.sum(axis=1, keepdims=True)
    result = evaluate(labels, probs, LABELS, resamples=20)
    assert result["per_class"]["happy"]["precision"]["value"] == 0
    check_against_scikit_learn(labels, probs, result)


def test_a_class_that_many_resamples_miss_gives_numbers_all_the_same():
    labels, probs = drawn(60)
    labels[labels == 1] = 0
    labels[7] = 1
    result = evaluate(labels, probs, LABELS, resamples=200)
    recall = result["per_class"]["disgust"]["recall"]
    assert recall["low"] == recall["high"] == recall["value"]
    macro = result["macro_recall"]
    assert macro["low"] < macro["value"] < macro["high"]


def test_intervals_equal_those_of_a_plain_loop():
    labels, probs = drawn(400)
    predictions = probs.argmax(axis=1)
    result = evaluate(labels, probs, LABELS, resamples=4000)
    generator = np.random.default_rng(99)
    loop: dict[str, list[float]] = {"macro_f1": [], "log_loss": [], "cell": [], "recall": []}
    losses = -np.log(probs[np.arange(400), labels])
    for _ in range(500):
        i = generator.integers(0, 400, 400)
        present = np.unique(labels[i])
        f1 = reference.f1_score(labels[i], predictions[i], average="macro", labels=present, zero_division=0)
        loop["macro_f1"].append(f1)
        loop["log_loss"].append(losses[i].mean())
        loop["cell"].append(np.sum((labels[i] == 4) & (predictions[i] == 6)))
        loop["recall"].append(np.mean(predictions[i][labels[i] == 3] == 3))
    low, high = (np.array(result["confusion"][end])[4, 6] for end in ("low", "high"))
    got = {
        "macro_f1": ends(result["macro_f1"]),
        "log_loss": ends(result["log_loss"]),
        "cell": [low, high],
        "recall": ends(result["per_class"]["happy"]["recall"]),
    }
    for name, values in loop.items():
        expected = np.quantile(values, [0.025, 0.975])
        # Both ends are estimates themselves: allow a sixth of the interval's width.
        np.testing.assert_allclose(got[name], expected, atol=np.ptp(expected) / 6, err_msg=name)


def test_accuracy_interval_is_the_binomial_one_at_any_confidence():
    labels, probs = drawn(2500)
    for confidence, z in ((0.95, 1.95996), (0.8, 1.28155)):
        score = evaluate(labels, probs, LABELS, confidence=confidence, resamples=3000)["accuracy"]
        half = z * math.sqrt(score["value"] * (1 - score["value"]) / 2500)
        np.testing.assert_allclose(ends(score), [score["value"] - half, score["value"] + half], atol=half / 6)


def test_a_photos_faces_do_not_count_as_independent():
    labels, probs = drawn(200)
    once = evaluate(labels, probs, LABELS)
    fourfold = np.repeat(labels, 4), np.repeat(probs, 4, axis=0)
    photos = np.repeat([f"photo {i:03}.jpg" for i in range(200)], 4)
    order = np.random.default_rng(1).permutation(800)
    grouped = evaluate(fourfold[0][order], fourfold[1][order], LABELS, groups=photos[order])
    assert (grouped["faces"], grouped["groups"]) == (800, 200)
    # Four copies of each face tell nothing new: exactly the intervals of the faces once.
    for name in ("accuracy", "macro_f1", "log_loss", "ece"):
        assert grouped[name] == pytest.approx(once[name])
    np.testing.assert_allclose(grouped["confusion"]["high"], 4 * np.array(once["confusion"]["high"]))
    naive = evaluate(*fourfold, LABELS)["accuracy"]
    assert np.ptp(ends(naive)) < 0.6 * np.ptp(ends(grouped["accuracy"]))


def test_calibration_errors_interval_holds_its_value_and_does_not_go_below_0():
    for seed in range(20):
        for resamples in (1, 100):
            score = evaluate(*drawn(300, seed=seed), LABELS, resamples=resamples)["ece"]
            assert 0 <= score["low"] <= score["value"] <= score["high"]


def test_equal_seeds_give_equal_numbers_which_json_carries_unrounded():
    labels, probs = drawn(150)
    result = evaluate(labels, probs, LABELS, resamples=50, seed=3)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert evaluate(labels, probs, LABELS, resamples=50, seed=3) == result
    assert evaluate(labels, probs, LABELS, resamples=50, seed=4)["log_loss"] != result["log_loss"]
    assert all(type(count) is int for row in result["confusion"]["value"] for count in row)


def test_what_was_called_impossible_costs_a_finite_loss():
    result = evaluate([0, 1], [[1, 0], [1, 0]], ["happy", "sad"], resamples=10)
    assert result["log_loss"]["value"] == pytest.approx(-math.log(2**-23) / 2)


def test_confusion_matrix_has_a_row_a_true_class():
    assert confusion_matrix([0, 0, 1, 2], [0, 2, 1, 1], 4).tolist() == [
        [1, 0, 1, 0],
        [0, 1, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 0, 0],
    ]


def test_accuracy_under_other_shares_weighs_recall():
    # happy: 2 of 4 right; sad: 9 of 10.
    labels, predictions = [0] * 4 + [1] * 10, [0, 0, 1, 1] + [1] * 9 + [0]
    names = ["happy", "sad"]
    score = reweighted_accuracy(labels, predictions, names, {"happy": 1, "sad": 3})
    assert score["value"] == pytest.approx(0.25 * 0.5 + 0.75 * 0.9)
    assert reweighted_accuracy(labels, predictions, names, {"sad": 0.2})["value"] == pytest.approx(0.9)
    same = reweighted_accuracy(labels, predictions, names, {"happy": 4, "sad": 10})
    assert same["value"] == pytest.approx(11 / 14)


def test_accuracy_under_other_shares_equals_weighted_accuracy_and_its_normal_interval():
    labels, probs = drawn(2000)
    predictions, support = probs.argmax(axis=1), np.bincount(labels)
    share = np.array([EXPW_RELEASE_COUNTS[name] for name in LABELS]) / 91793
    score = reweighted_accuracy(labels, predictions, LABELS, EXPW_RELEASE_COUNTS, resamples=3000)
    weights = (share / support)[labels]
    assert score["value"] == pytest.approx(reference.accuracy_score(labels, predictions, sample_weight=weights))
    recall = reference.recall_score(labels, predictions, average=None)
    half = 1.96 * math.sqrt(np.sum(share**2 * recall * (1 - recall) / support))
    np.testing.assert_allclose(ends(score), [score["value"] - half, score["value"] + half], atol=half / 6)
    pairs = np.repeat(np.arange(2000), 2)
    doubled = reweighted_accuracy(
        np.repeat(labels, 2), np.repeat(predictions, 2), LABELS, EXPW_RELEASE_COUNTS, groups=pairs, resamples=3000
    )
    np.testing.assert_allclose(ends(doubled), ends(score), atol=half / 6)


def test_a_resample_without_a_weighted_class_scales_the_others_up():
    score = reweighted_accuracy([0] * 8 + [1], [0] * 9, ["happy", "sad"], {"happy": 1, "sad": 1}, resamples=500)
    assert score == {"value": 0.5, "low": 0.5, "high": 1.0}


def test_expws_shares_are_those_of_its_release():
    assert tuple(EXPW_RELEASE_COUNTS) == LABELS
    assert sum(EXPW_RELEASE_COUNTS.values()) == 91793


def predictions_of(both: int, only_a: int, only_b: int, neither: int) -> tuple[list[int], list[int], list[int]]:
    a = [3] * both + [3] * only_a + [1] * only_b + [1] * neither
    b = [3] * both + [2] * only_a + [3] * only_b + [2] * neither
    return [3] * len(a), a, b


@pytest.mark.parametrize(("right", "count"), [(0, 1), (1, 1), (3, 7), (90, 120), (500, 500)])
def test_share_interval_is_scipys(right, count):
    from scipy import stats

    wanted = stats.binomtest(right, count).proportion_ci(method="wilson")
    assert share_interval(right / count, count) == pytest.approx((wanted.low, wanted.high), abs=1e-6)


def test_mcnemar_is_exact_for_few_discordant_faces():
    result = mcnemar(*predictions_of(50, 8, 2, 7))
    assert result == (2.0, pytest.approx(2 * (1 + 10 + 45) / 1024), 50, 8, 2, 7, True)
    assert mcnemar(*predictions_of(50, 2, 8, 7)).p_value == pytest.approx(result.p_value)
    assert mcnemar(*predictions_of(9, 0, 0, 1)) == (0.0, 1.0, 9, 0, 0, 1, True)
    assert mcnemar(*predictions_of(0, 12, 12, 1)).exact


def test_mcnemar_is_chi_squared_for_many():
    result = mcnemar(*predictions_of(500, 30, 12, 80))
    assert result.statistic == pytest.approx((30 - 12 - 1) ** 2 / 42)
    # The tail of chi-squared with one degree of freedom is that of a squared normal.
    assert result.p_value == pytest.approx(math.erfc(math.sqrt(result.statistic / 2)))
    assert (result.both_right, result.only_a, result.only_b, result.both_wrong) == (500, 30, 12, 80)
    assert not mcnemar(*predictions_of(0, 13, 12, 1)).exact
    assert mcnemar(*predictions_of(5, 20, 20, 5))[:2] == (0.0, 1.0)


def test_mcnemar_can_be_exact_for_many():
    """Two thirds of 180 discordant answers on one side, a textbook table; the binomial tail is summed in whole numbers."""
    result = mcnemar(*predictions_of(101, 121, 59, 33), exact=True)
    assert result.exact
    assert result.statistic == 59
    assert result.p_value == pytest.approx(2 * sum(math.comb(180, k) for k in range(60)) / 2**180)
    assert result.p_value == pytest.approx(4.434e-06, rel=1e-3)
    assert mcnemar(*predictions_of(4, 0, 0, 4), exact=False)[:2] == (0.0, 1.0)


def test_paired_difference_has_the_interval_of_the_paired_formula():
    generator = np.random.default_rng(5)
    kind = generator.choice(4, p=[0.6, 0.12, 0.07, 0.21], size=2000)
    a, b = np.isin(kind, (0, 1)), np.isin(kind, (0, 2))
    score = paired_difference(a, b, resamples=3000)
    gap = a.mean() - b.mean()
    assert score["value"] == pytest.approx(gap)
    half = 1.96 * math.sqrt(((kind == 1).mean() + (kind == 2).mean() - gap**2) / 2000)
    np.testing.assert_allclose(ends(score), [gap - half, gap + half], atol=half / 6)
    reverse = paired_difference(b, a, resamples=3000)
    assert ends(reverse) == pytest.approx([-score["high"], -score["low"]])
    assert paired_difference(a, a) == {"value": 0, "low": 0, "high": 0}


def test_paired_difference_draws_photos_whole():
    a, b = np.repeat([1, 0, 1, 1, 0], 40), np.repeat([0, 0, 1, 0, 1], 40)
    photos = np.repeat(np.arange(5), 40)
    # With five photos of equal size the resampled gap is a mean of five draws from (1, 0, 0, 1, -1).
    score = paired_difference(a, b, photos, resamples=5000)
    assert score == pytest.approx({"value": 0.2, "low": -0.4, "high": 0.8})
    assert paired_difference(a, b)["low"] > 0
    # Photos of one face and of three: drawn twice, the first makes a test set of two faces, both right.
    assert paired_difference([1, 0, 0, 0], [0] * 4, [8, 9, 9, 9]) == {"value": 0.25, "low": 0, "high": 1}


def test_probabilities_move_to_the_shared_classes():
    probs = [[0.2, 0.3, 0.5], [0.0, 1.0, 0.0], [0.4, 0.0, 0.6]]
    mapped = map_probabilities(probs, ["angry", "neutral", "happy"], ["happy", "angry"])
    assert mapped.dtype == np.float32
    np.testing.assert_allclose(mapped, [[5 / 7, 2 / 7], [0.5, 0.5], [0.6, 0.4]], rtol=1e-6)


def test_mapped_probabilities_can_be_evaluated_however_little_was_shared():
    mapped = map_probabilities([[1 - 3e-30, 1e-30, 2e-30]], ["neutral", "sad", "fear"], ["fear", "sad"])
    np.testing.assert_allclose(mapped, [[2 / 3, 1 / 3]], rtol=1e-6)
    assert evaluate([0], mapped, ["fear", "sad"], resamples=1)["accuracy"]["value"] == 1


TWO = ["happy", "sad"]
HALVES = np.full((3, 2), 0.5)


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda: evaluate([0, 1], HALVES, TWO), DataError, "pred_probs: expected 2 rows, as many as labels, got 3"),
        (lambda: evaluate([0, 1, 2], HALVES, TWO), DataError, "labels: 2 at position 2 is outside 0 to 1"),
        (lambda: evaluate([0, 1, 1], HALVES * 3, TWO), DataError, "pred_probs: row 0 sums to 3"),
        (lambda: evaluate([0, 1, 1], HALVES * np.nan, TWO), DataError, "pred_probs: row 0 holds a value that is not"),
        (lambda: evaluate([0, 1, 1], HALVES, LABELS), DataError, "class_names: 7 names for 2 columns"),
        (lambda: evaluate([0, 1, 1], HALVES, ["sad", "sad"]), DataError, "class_names: a name stands twice"),
        (lambda: evaluate([0, 1, 1], HALVES, TWO, groups=[1, 2]), DataError, "groups: expected shape (3,)"),
        (lambda: evaluate([0, 1, 1], HALVES, TWO, groups=["x"] * 3), DataError, "all faces are of group 'x'"),
        (lambda: evaluate([0, 1, 1], HALVES, TWO, resamples=0), ConfigError, "resamples: expected a positive"),
        (lambda: evaluate([0, 1, 1], HALVES, TWO, confidence=95), ConfigError, "between 0 and 1, got 95"),
        (lambda: confusion_matrix([0, 1], [0, 2], 2), DataError, "predictions: 2 at position 1"),
        (lambda: confusion_matrix([0, 1], [0], 2), DataError, "predictions: expected 2 rows"),
        (lambda: reweighted_accuracy([0, 1], [0, 1], TWO, {"fear": 1}), ConfigError, "unknown class 'fear'"),
        (lambda: reweighted_accuracy([0, 1], [0, 1], TWO, {"sad": -1}), ConfigError, "numbers of 0 or more"),
        (lambda: reweighted_accuracy([0, 1], [0, 1], TWO, {}), ConfigError, "not all 0"),
        (lambda: reweighted_accuracy([0, 0], [0, 1], TWO, {"happy": 1, "sad": 2}), DataError, "no face of class 'sad'"),
        (lambda: paired_difference([1, 2], [1, 0]), DataError, "correct_a: expected N values, each true or false"),
        (lambda: paired_difference([1, 0], [1]), DataError, "correct_b: expected 2 rows, as many as correct_a"),
        (lambda: mcnemar([0, 1], [0, 1], [0.5, 1]), DataError, "predictions_b: expected integers"),
        (lambda: mcnemar([0, 1], [0], [0, 1]), DataError, "predictions_a: expected 2 rows"),
        (lambda: map_probabilities(HALVES, TWO, ["sad", "anger"]), DataError, "to_labels: unknown class 'anger'"),
        (lambda: map_probabilities(HALVES, TWO, []), DataError, "to_labels: no class"),
        (lambda: map_probabilities(HALVES, LABELS, TWO), DataError, "from_labels: 7 names for 2 columns"),
        (lambda: map_probabilities(HALVES, TWO, ["sad", "sad"]), DataError, "to_labels: a name stands twice"),
    ],
)
def test_bad_input_is_refused_in_one_line_that_says_what_and_where(call, kind, says):
    with pytest.raises(FerError) as caught:
        call()
    assert type(caught.value) is kind
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
