"""From logits to probabilities that can be believed: softmax, temperature, calibration error, abstention. NumPy only.

A network's raw softmax is usually too sure of itself. One temperature, fitted on the validation split, mends that
without changing any answer; a threshold on the confidence, chosen on the same split, then says when no answer should be
trusted. Confidence is the probability of the top label; of equal ones the first counts as top.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .errors import ConfigError, DataError

TEMPERATURES: tuple[float, float] = (0.05, 20.0)
"""Bounds of a fitted temperature: a small, wholly separable validation split must not ask for infinite certainty."""

PRIOR_ANSWERS = 100
"""How many answers the calibrated confidence itself counts for when a threshold is chosen.

On simulated seven-class models whose logits were 0.8 to 1.3 times as sharp as they should be, this cut what a misplaced
threshold costs by half or more at 20 validation faces, by a fifth or more at 100, and changed nothing at 3,589.
"""


class ReliabilityBin(NamedTuple):
    """One bar of a reliability diagram: the answers whose confidence lies in (low, high]."""

    low: float
    high: float
    count: int
    confidence: float | None
    """Mean confidence; None in an empty bin."""
    accuracy: float | None
    """Share of right answers; None in an empty bin."""


class Abstention(NamedTuple):
    """What a threshold does to the faces of a split."""

    coverage: float
    """Share of faces that get an answer."""
    accuracy: float | None
    """Share of right labels among the answered faces; None where there are none."""
    uncertain_accuracy: float | None
    """Share of right labels among the faces reported as uncertain; None where there are none."""


def check_codes(codes: ArrayLike, n_classes: int, *, name: str = "labels") -> np.ndarray:
    """Return class numbers as (N,) int64.

    Raises:
        DataError: not one-dimensional, empty, not integers, or outside 0 to ``n_classes`` - 1.
    """
    codes = np.asarray(codes)
    if codes.ndim != 1 or not len(codes):
        raise DataError(f"{name}: expected shape (N,) with N of at least 1, got {codes.shape}")
    if not np.issubdtype(codes.dtype, np.integer):
        raise DataError(f"{name}: expected integers that number the classes, got {codes.dtype}")
    wrong = np.flatnonzero((codes < 0) | (codes >= n_classes))
    if len(wrong):
        raise DataError(f"{name}: {codes[wrong[0]]} at position {wrong[0]} is outside 0 to {n_classes - 1}")
    return codes.astype(np.int64)


def check_scores(scores: ArrayLike, *, name: str = "logits") -> np.ndarray:
    """Return logits or the like as (N, K) float64.

    Raises:
        DataError: not two-dimensional, empty, or not finite.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or not scores.size:
        raise DataError(f"{name}: expected shape (N, K), a row a face and a column a class, got {scores.shape}")
    wrong = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(wrong):
        raise DataError(f"{name}: row {wrong[0]} holds a value that is not finite")
    return scores


def check_probabilities(pred_probs: ArrayLike, *, name: str = "pred_probs") -> np.ndarray:
    """Return probabilities as (N, K) float64, as they are.

    Raises:
        DataError: as ``check_scores``, a negative value, or a row that does not sum to 1 within 0.001.
    """
    probs = check_scores(pred_probs, name=name)
    sums = probs.sum(axis=1)
    wrong = np.flatnonzero((probs < 0).any(axis=1) | (np.abs(sums - 1) > 1e-3))
    if len(wrong):
        row = wrong[0]
        what = f"sums to {sums[row]:.4g}" if probs[row].min() >= 0 else f"holds {probs[row].min():.4g}"
        raise DataError(f"{name}: row {row} {what}; expected probabilities that sum to 1 (softmax of the logits)")
    return probs


def check_predictions(labels: ArrayLike, pred_probs: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (N,) int64 and probabilities (N, K) float64 that belong together.

    Raises:
        DataError: as ``check_codes`` and ``check_probabilities``, or their lengths differ.
    """
    probs = check_probabilities(pred_probs)
    codes = check_codes(labels, probs.shape[1])
    check_lengths(labels=codes, pred_probs=probs)
    return codes, probs


def check_lengths(**arrays: np.ndarray) -> None:
    """Raise a ``DataError`` that names both where one array has not as many rows as the first."""
    (first, rows), *others = ((name, len(array)) for name, array in arrays.items())
    for name, count in others:
        if count != rows:
            raise DataError(f"{name}: expected {rows} rows, as many as {first}, got {count}")


def softmax(logits: ArrayLike, temperature: float = 1.0) -> np.ndarray:
    """Return probabilities (..., K) float32 of logits (..., K) divided by a temperature; any size of logit is safe.

    Raises:
        DataError: no class axis, or a logit that is not finite.
        ConfigError: the temperature is not a positive number.
    """
    if not 0 < temperature < np.inf:
        raise ConfigError(f"temperature: expected a positive number, got {temperature!r}")
    logits = np.asarray(logits, dtype=np.float64)
    if not logits.ndim or not logits.shape[-1]:
        raise DataError(f"logits: expected shape (..., K) with K of at least 1, got {logits.shape}")
    if not np.isfinite(logits).all():
        raise DataError("logits: a value is not finite; the network or its input is damaged")
    powers = np.exp((logits - logits.max(axis=-1, keepdims=True)) / temperature)
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)


def fit_temperature(labels: ArrayLike, logits: ArrayLike) -> float:
    """Return the temperature, within ``TEMPERATURES``, at which the log loss of logits (N, K) is least.

    The log loss is convex in 1 / temperature, so its slope, the mean over faces of (expected logit - logit of the true
    label), changes sign once: bisection on log temperature finds where. Logits that do not depend on the temperature
    (all equal) give 1. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.

    Raises:
        DataError: labels or logits are malformed.
    """
    scores = check_scores(logits)
    codes = check_codes(labels, scores.shape[1])
    check_lengths(labels=codes, logits=scores)
    scores = scores - scores.max(axis=1, keepdims=True)
    true = scores[np.arange(len(codes)), codes]
    low, high = np.log(TEMPERATURES)
    for _ in range(50):
        middle = (low + high) / 2
        powers = np.exp(scores / np.exp(middle))
        slope = np.mean((powers * scores).sum(axis=1) / powers.sum(axis=1) - true)
        if slope == 0:
            break
        low, high = (middle, high) if slope > 0 else (low, middle)
    return float(np.exp(middle))


def fit_shares(likelihoods: ArrayLike) -> np.ndarray:
    """Return how much each of M runs should count in a weighted average of what they say: (M,) float64, 1 in all.

    The log loss of the average's probability of the true label is least there. It is convex in the shares, and the EM
    algorithm for the weights of a mixture (Dempster, Laird and Rubin, 1977) lowers it with each step.

    Args:
        likelihoods: (N, M), the probability that each run gave to the true label of each face.

    Raises:
        DataError: not such an array, a value outside 0 to 1, or a face of which no run gives its label any chance.
    """
    given = check_scores(likelihoods, name="likelihoods")
    if given.min() < 0 or given.max() > 1:
        raise DataError("likelihoods: expected probabilities, got a value outside 0 to 1")
    if not given.any(axis=1).all():
        raise DataError("likelihoods: no run gives the true label of one face any chance")
    shares = np.full(given.shape[1], 1 / given.shape[1])
    for _ in range(2000):
        weighted = shares * given
        shares = (weighted / weighted.sum(axis=1, keepdims=True)).mean(axis=0)
    return shares


def logarithms(probabilities: ArrayLike) -> np.ndarray:
    """Return the logits (..., K) float32 of averaged probabilities; none is taken for less than 1e-9."""
    return np.log(np.maximum(probabilities, 1e-9)).astype(np.float32)


def bin_numbers(confidence: np.ndarray, bins: int) -> np.ndarray:
    """Return which of ``bins`` equal-width bins (i / bins, (i + 1) / bins] each confidence (N,) falls into.

    Raises:
        ConfigError: ``bins`` is not a positive integer.
    """
    if not isinstance(bins, int | np.integer) or bins < 1:
        raise ConfigError(f"bins: expected a positive integer, got {bins!r}")
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)


def reliability_bins(labels: ArrayLike, pred_probs: ArrayLike, *, bins: int = 10) -> list[ReliabilityBin]:
    """Return the bars of a reliability diagram, from confidence 0 to 1, empty bins included.

    Raises:
        DataError: labels or probabilities are malformed.
        ConfigError: ``bins`` is not a positive integer.
    """
    confidence, right = _answers(labels, pred_probs)
    number = bin_numbers(confidence, bins)
    count, confident, correct = (np.bincount(number, weights, bins) for weights in (None, confidence, right))
    return [
        ReliabilityBin(
            i / bins,
            (i + 1) / bins,
            int(count[i]),
            float(confident[i] / count[i]) if count[i] else None,
            float(correct[i] / count[i]) if count[i] else None,
        )
        for i in range(bins)
    ]


def expected_calibration_error(labels: ArrayLike, pred_probs: ArrayLike, *, bins: int = 10) -> float:
    """Return the mean gap, in 0 to 1, between confidence and accuracy over equal-width bins (Guo et al., 2017).

    With few faces it comes out above 0 even for a model that is calibrated perfectly.

    Raises:
        DataError, ConfigError: as ``reliability_bins``.
    """
    filled = [bar for bar in reliability_bins(labels, pred_probs, bins=bins) if bar.count]
    return sum(bar.count * abs(bar.confidence - bar.accuracy) for bar in filled) / sum(bar.count for bar in filled)


def choose_threshold(labels: ArrayLike, pred_probs: ArrayLike, *, accuracy: float = 0.5) -> float:
    """Return the confidence below which (strictly) a face should be reported as uncertain.

    The rule: answer as long as an answer of that confidence is right at least ``accuracy`` of the time, at the default
    more often right than wrong. That is Chow's reject rule ("On optimum recognition error and reject tradeoff", 1970)
    on the isotonic estimate of accuracy given confidence (Zadrozny and Elkan, KDD 2002). The isotonic estimate reaches
    ``accuracy`` exactly where the sum of (right - accuracy) over the answers kept is greatest, so no fit is needed: at
    0.5, the threshold makes right answers minus wrong ones as many as possible.

    So that few validation faces do not place it by luck, ``PRIOR_ANSWERS`` answers' worth of trust goes to the
    confidences themselves: with N faces each counts as right by (N * right + PRIOR_ANSWERS * confidence) /
    (N + PRIOR_ANSWERS). Give it calibrated probabilities of the validation split.

    The threshold lies midway between the lowest confidence kept and the next below. Where every face is kept it is the
    lower of ``accuracy`` and the lowest confidence seen: below that the confidence is all there is to go by. Where none
    is, 1.

    Raises:
        DataError: labels or probabilities are malformed.
        ConfigError: ``accuracy`` is not between 0 and 1.
    """
    if not 0 < accuracy < 1:
        raise ConfigError(f"accuracy: expected a share between 0 and 1, got {accuracy!r}")
    confidence, right = _answers(labels, pred_probs)
    levels, level, count = np.unique(confidence, return_inverse=True, return_counts=True)
    trust = len(confidence) / (len(confidence) + PRIOR_ANSWERS)
    credit = trust * np.bincount(level, right) / count + (1 - trust) * levels
    gain = np.append(np.cumsum((count * (credit - accuracy))[::-1])[::-1], 0.0)
    first = int(np.argmax(gain >= gain.max() - 1e-9))
    if first == len(levels):
        return 1.0
    if first == 0:
        return float(min(levels[0], accuracy))
    return float((levels[first - 1] + levels[first]) / 2)


def abstention(labels: ArrayLike, pred_probs: ArrayLike, threshold: float) -> Abstention:
    """Return how many faces get an answer at a threshold, and how often the label is right above it and below.

    Raises:
        DataError: labels or probabilities are malformed.
    """
    confidence, right = _answers(labels, pred_probs)
    answered = confidence >= threshold
    return Abstention(
        float(answered.mean()),
        float(right[answered].mean()) if answered.any() else None,
        float(right[~answered].mean()) if not answered.all() else None,
    )


def _answers(labels: ArrayLike, pred_probs: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return confidence (N,) and whether the top label is the true one (N,) bool."""
    codes, probs = check_predictions(labels, pred_probs)
    return probs.max(axis=1), probs.argmax(axis=1) == codes
