"""Calibration against SciPy, scikit-learn's isotonic regression, and cases worked out by hand."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from fercore.calibration import (
    PRIOR_ANSWERS,
    abstention,
    choose_threshold,
    expected_calibration_error,
    fit_shares,
    fit_temperature,
    reliability_bins,
    softmax,
)
from fercore.errors import ConfigError, DataError, FerError


def answers(*levels: tuple[float, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities (N, 7) of answers given as (confidence, how many, how many of them right)."""
    confidence = np.repeat([level[0] for level in levels], [level[1] for level in levels])
    right = np.concatenate([np.arange(count) < correct for _, count, correct in levels])
    probs = np.repeat(((1 - confidence) / 6)[:, None], 7, axis=1)
    probs[:, 2] = confidence
    return np.where(right, 2, 5), probs


def drawn(n: int, *, sharpness: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels that follow softmax(z) exactly, and logits that are ``sharpness`` times z."""
    generator = np.random.default_rng(seed)
    z = generator.normal(scale=2, size=(n, 7))
    labels = np.argmax(z + generator.gumbel(size=z.shape), axis=1)
    return labels, sharpness * z


def test_softmax_equals_scipys_at_every_temperature_and_shape():
    from scipy import special

    logits = np.random.default_rng(0).normal(scale=5, size=(2, 3, 7)).astype(np.float32)
    for temperature in (0.3, 1.0, 4.0):
        probs = softmax(logits, temperature)
        assert probs.dtype == np.float32
        np.testing.assert_allclose(probs, special.softmax(logits / temperature, axis=-1), rtol=1e-5)


def test_softmax_takes_huge_logits_one_face_and_no_face():
    np.testing.assert_allclose(softmax([1e30, 1e30, -1e30]), [0.5, 0.5, 0])
    np.testing.assert_allclose(softmax([0.0, np.log(3)]), [0.25, 0.75], rtol=1e-6)
    assert softmax(np.zeros((0, 7))).shape == (0, 7)


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 2.5])
def test_fitted_temperature_is_where_scipy_finds_the_least_log_loss(sharpness):
    from scipy import optimize, special

    labels, logits = drawn(3000, sharpness=sharpness)

    def loss(log_temperature: float) -> float:
        scaled = special.log_softmax(logits / np.exp(log_temperature), axis=1)
        return -scaled[np.arange(len(labels)), labels].mean()

    best = optimize.minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-7})
    fitted = fit_temperature(labels, logits)
    assert fitted == pytest.approx(np.exp(best.x), rel=1e-4)
    assert fitted == pytest.approx(sharpness, rel=0.06)


def test_temperature_stays_within_its_bounds_and_is_1_where_it_makes_no_difference():
    labels = np.arange(5)
    assert fit_temperature(labels, np.eye(5)) == pytest.approx(0.05)
    assert fit_temperature(labels, 50 * np.roll(np.eye(5), 1, axis=0)) == pytest.approx(20)
    assert fit_temperature(labels, np.full((5, 5), 3.7)) == pytest.approx(1)
    # Two right answers to one wrong, each 4 ahead of one other class: sure to 2/3 where 4 / T = log 2.
    assert fit_temperature([0, 0, 1], [[4, 0]] * 3) == pytest.approx(4 / np.log(2))


@pytest.mark.parametrize("wanted", [(0.7, 0.3), (0.2, 0.5, 0.3)])
def test_shares_are_where_scipy_finds_the_least_log_loss(wanted):
    from scipy import optimize

    rng = np.random.default_rng(3)
    given = rng.dirichlet(np.ones(5), (4000, len(wanted)))
    mixed = np.einsum("m,nmk->nk", np.array(wanted), given)
    labels = np.array([rng.choice(5, p=row / row.sum()) for row in mixed])
    likelihoods = given[np.arange(len(labels)), :, labels]
    shares = fit_shares(likelihoods)
    assert shares == pytest.approx(wanted, abs=0.06)

    def loss(weights):
        return -np.log(likelihoods @ np.abs(weights) / np.abs(weights).sum()).mean()

    least = optimize.minimize(loss, np.ones(len(wanted)), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-10})
    assert loss(shares) == pytest.approx(least.fun, abs=1e-6)


def test_a_run_that_is_better_everywhere_gets_it_all_and_twins_share_equally():
    good, bad = np.full(50, 0.9), np.full(50, 0.1)
    assert fit_shares(np.stack([good, bad], axis=1)) == pytest.approx([1, 0], abs=1e-6)
    assert fit_shares(np.stack([good, good], axis=1)) == pytest.approx([0.5, 0.5])


def test_calibration_error_and_bars_of_a_case_worked_by_hand():
    labels, probs = answers((0.35, 4, 1), (0.75, 5, 4), (0.95, 1, 0))
    bars = reliability_bins(labels, probs)
    assert [bar.count for bar in bars] == [0, 0, 0, 4, 0, 0, 0, 5, 0, 1]
    assert (bars[7].low, bars[7].high, bars[7].confidence, bars[7].accuracy) == pytest.approx((0.7, 0.8, 0.75, 0.8))
    assert bars[0].confidence is None
    assert bars[0].accuracy is None
    gap = (4 * abs(0.25 - 0.35) + 5 * abs(0.8 - 0.75) + 1 * abs(0 - 0.95)) / 10
    assert expected_calibration_error(labels, probs) == pytest.approx(gap)
    # In one bin the gaps of opposite sign meet: accuracy 5/10 against a mean confidence of 0.61.
    assert expected_calibration_error(labels, probs, bins=1) == pytest.approx(0.11)


def test_a_bin_holds_its_upper_edge_and_full_certainty_has_a_bin():
    labels, probs = answers((0.5, 2, 1), (0.500001, 3, 3), (1.0, 4, 4))
    assert [bar.count for bar in reliability_bins(labels, probs, bins=2)] == [2, 7]


def test_temperature_mends_the_calibration_error_without_changing_an_answer():
    labels, logits = drawn(4000, sharpness=2.5)
    before, after = softmax(logits), softmax(logits, fit_temperature(labels, logits))
    assert expected_calibration_error(labels, before) > 0.15
    assert expected_calibration_error(labels, after) < 0.03
    np.testing.assert_array_equal(before.argmax(axis=1), after.argmax(axis=1))


@pytest.mark.parametrize(
    ("accuracy", "threshold"), [(0.15, 0.15), (0.21, 0.35), (0.5, 0.35), (0.6, 0.6), (0.85, 0.6), (0.95, 1.0)]
)
def test_threshold_lies_where_answers_become_right_often_enough(accuracy, threshold):
    labels, probs = answers((0.3, 1000, 200), (0.4, 1000, 560), (0.8, 1000, 900))
    assert choose_threshold(labels, probs, accuracy=accuracy) == pytest.approx(threshold)


def test_a_lucky_level_below_a_bad_one_does_not_lower_the_threshold():
    # 0.4 alone is right 60% of the time, but whoever answers there answers at 0.6 as well: 45% together.
    labels, probs = answers((0.4, 1000, 600), (0.6, 1000, 300), (0.9, 1000, 950))
    assert choose_threshold(labels, probs) == pytest.approx(0.75)


@pytest.mark.parametrize("n", [15, 150, 3000])
@pytest.mark.parametrize("accuracy", [0.4, 0.5, 0.7])
def test_threshold_is_where_scikit_learns_isotonic_fit_reaches_the_accuracy(n, accuracy):
    from sklearn.isotonic import IsotonicRegression

    labels, logits = drawn(n, sharpness=1.6, seed=n)
    probs = softmax(logits)
    confidence = probs.max(axis=1).astype(np.float64)
    right = probs.argmax(axis=1) == labels
    credit = (n * right + PRIOR_ANSWERS * confidence) / (n + PRIOR_ANSWERS)
    kept = IsotonicRegression().fit_transform(confidence, credit) >= accuracy
    assert 0 < kept.sum() < n
    threshold = choose_threshold(labels, probs, accuracy=accuracy)
    np.testing.assert_array_equal(confidence >= threshold, kept)
    assert threshold == pytest.approx((confidence[kept].min() + confidence[~kept].max()) / 2)


def test_a_handful_of_faces_barely_moves_the_threshold():
    # Three lucky answers at 0.23 and three unlucky ones at 0.7: the confidences still decide.
    labels, probs = answers((0.23, 3, 3), (0.7, 3, 0), (0.9, 3, 3))
    assert 0.23 < choose_threshold(labels, probs) <= 0.7


def test_threshold_where_all_or_no_answers_are_good_enough():
    assert choose_threshold(*answers((0.6, 50, 50), (0.9, 50, 50))) == 0.5
    assert choose_threshold(*answers((0.3, 5000, 4000), (0.9, 50, 50))) == pytest.approx(0.3)
    assert choose_threshold(*answers((0.3, 500, 100), (0.6, 500, 100))) == 1.0


def test_abstention_tells_coverage_and_both_accuracies():
    labels, probs = answers((0.3, 6, 2), (0.5, 4, 3), (0.9, 10, 9))
    assert abstention(labels, probs, 0.5) == pytest.approx((0.7, 12 / 14, 2 / 6))
    assert abstention(labels, probs, 0.2) == (1.0, 0.7, None)
    assert abstention(labels, probs, 0.95) == (0.0, None, 0.7)


GOOD = np.full((2, 4), 0.25)


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda: softmax([1.0, np.nan]), DataError, "not finite"),
        (lambda: softmax(3.0), DataError, "(..., K)"),
        (lambda: softmax([1.0, 2.0], 0), ConfigError, "temperature: expected a positive number, got 0"),
        (lambda: softmax([1.0, 2.0], float("nan")), ConfigError, "temperature"),
        (lambda: fit_temperature([0, 1], [[0.0, np.inf], [0, 1]]), DataError, "logits: row 0"),
        (lambda: fit_temperature([0], GOOD), DataError, "logits: expected 1 rows, as many as labels, got 2"),
        (lambda: fit_shares([[0.5, 1.5]]), DataError, "likelihoods: expected probabilities"),
        (lambda: fit_shares([[0.5, 0.5], [0.0, 0.0]]), DataError, "likelihoods: no run gives"),
        (lambda: expected_calibration_error([0, 4], GOOD), DataError, "labels: 4 at position 1 is outside 0 to 3"),
        (lambda: expected_calibration_error([0, -1], GOOD), DataError, "labels: -1 at position 1"),
        (lambda: expected_calibration_error([0.0, 1.0], GOOD), DataError, "labels: expected integers"),
        (lambda: expected_calibration_error([[0, 1]], GOOD), DataError, "labels: expected shape (N,)"),
        (lambda: expected_calibration_error([0, 1], GOOD[0]), DataError, "pred_probs: expected shape (N, K)"),
        (lambda: expected_calibration_error([], np.zeros((0, 4))), DataError, "got (0, 4)"),
        (lambda: expected_calibration_error([0, 1], [[0.5, 0.5], [0.5, 0.6]]), DataError, "row 1 sums to 1.1"),
        (lambda: expected_calibration_error([0, 1], [[1.5, -0.5], [0, 1]]), DataError, "row 0 holds -0.5"),
        (lambda: reliability_bins([0, 1], GOOD, bins=0), ConfigError, "bins: expected a positive integer, got 0"),
        (lambda: choose_threshold([0, 1], GOOD, accuracy=1), ConfigError, "accuracy: expected a share"),
        (lambda: abstention([0], GOOD, 0.5), DataError, "pred_probs: expected 1 rows"),
    ],
)
def test_bad_input_is_refused_in_one_line_that_says_what_and_where(call, kind, says):
    with pytest.raises(FerError) as caught:
        call()
    assert type(caught.value) is kind
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_rounded_to_three_digits_pass():
    assert abstention([0], [[0.333, 0.333, 0.333]], 0.3).coverage == 1


def test_importing_it_loads_numpy_alone():
    heavy = "scipy", "sklearn", "pandas", "onnxruntime", "PIL", "cv2"
    code = f"import sys, fercore.calibration; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
