"""How good a classifier is, with an interval on every number: pure functions of labels and predictions.

Every score is a function of sums over faces (cells of the confusion matrix, log loss, calibration gaps), so one matrix
product resamples all of them at once: 3,589 faces, 7 classes and 1,000 resamples take a fraction of a second.

Intervals are percentile bootstrap intervals (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993). Faces of
one photo, or frames of one subject, are not independent: with ``groups`` whole groups are drawn, the cluster bootstrap
(Field and Welsh, "Bootstrapping clustered data", JRSS B 2007). An interval tells how far chance in the choice of faces
goes, nothing more. A score is ``{"value": v, "low": l, "high": h}``, ready for JSON and not rounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .calibration import bin_numbers, check_codes, check_lengths, check_predictions, check_probabilities
from .errors import ConfigError, DataError

EXPW_RELEASE_COUNTS: dict[str, int] = {
    "angry": 3671,
    "disgust": 3995,
    "fear": 1088,
    "happy": 30537,
    "sad": 10559,
    "surprise": 7060,
    "neutral": 34883,
}
"""Faces a class in the whole release of ExpW (91,793; label.lst of Zhang et al., "From Facial Expression Recognition to
Interpersonal Relation Prediction", IJCV 2018): the class shares of faces found by searching the web."""

CALIBRATION_BINS = 10
LEAST_PROBABILITY = float(np.finfo(np.float32).eps)
"""Where the log loss clips, as scikit-learn's does for float32: what was called impossible costs 15.9 nats."""


class McNemar(NamedTuple):
    """McNemar's test of two classifiers on the same faces."""

    statistic: float
    """Exact: the smaller of ``only_a`` and ``only_b``. Otherwise chi-squared with Edwards's continuity correction."""
    p_value: float
    both_right: int
    only_a: int
    """Faces that a has right and b wrong."""
    only_b: int
    both_wrong: int
    exact: bool


def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, k: int) -> np.ndarray:
    """Return counts (k, k) int64: a row a true class, a column a predicted one.

    Raises:
        DataError: labels or predictions are malformed or outside 0 to k - 1.
    """
    codes, answers = check_codes(labels, k), check_codes(predictions, k, name="predictions")
    check_lengths(labels=codes, predictions=answers)
    return np.bincount(codes * k + answers, minlength=k * k).reshape(k, k)


def evaluate(
    labels: ArrayLike,
    pred_probs: ArrayLike,
    class_names: Sequence[str],
    *,
    groups: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Score probabilities (N, K) against labels (N,), with bootstrap intervals.

    Args:
        labels: (N,) integers that number ``class_names``.
        pred_probs: (N, K) probabilities; the first of equal ones is the predicted class.
        class_names: K names.
        groups: (N,) photo or subject of each face, drawn whole; without it faces are drawn one by one.
        resamples: bootstrap resamples.
        seed: of their random numbers; equal seeds give equal intervals.
        confidence: of the intervals.

    Returns:
        As value, low, high: ``accuracy``, ``balanced_accuracy``, ``macro_precision``, ``macro_recall``, ``macro_f1``,
        ``weighted_precision``, ``weighted_recall``, ``weighted_f1``, ``log_loss`` (nats) and ``ece`` (10 bins);
        ``per_class``, for each name the same of ``precision``, ``recall`` and ``f1``, and ``support`` (a count);
        ``confusion``, whose value, low and high are (K, K) counts, a row a true class. Beside them ``classes``,
        ``faces``, ``groups`` (how many, or None), ``resamples``, ``seed`` and ``confidence``.

    A class without a face in ``labels`` has no recall: its scores are None and the macro averages leave it out (in
    a resample that happens to miss a class, too). A class with faces that is never predicted has precision 0.

    A bootstrap draws only what it has seen: a confusion cell of 0 has the interval 0 to 0, and a class of few faces has
    intervals that are too narrow (measured: those of recall hold the truth 93% of the time at 28 faces, 77% at 6). The
    calibration error is a sum of absolute values, which resampling inflates, so that both percentiles can lie above the
    value: its interval reaches as far below the value, though not below 0, as the upper percentile lies above.

    Raises:
        DataError: labels, probabilities, class names or groups are malformed or do not belong together.
        ConfigError: an impossible ``resamples`` or ``confidence``.
    """
    codes, probs = check_predictions(labels, pred_probs)
    names = _check_names(class_names, probs.shape[1])
    n, k = probs.shape
    rows, answers, top = np.arange(n), probs.argmax(axis=1), probs.max(axis=1)
    features = np.zeros((n, k * k + 1 + CALIBRATION_BINS))
    features[rows, codes * k + answers] = 1
    features[:, k * k] = -np.log(np.clip(probs[rows, codes], LEAST_PROBABILITY, 1))
    features[rows, k * k + 1 + bin_numbers(top, CALIBRATION_BINS)] = (answers == codes) - top
    units = _units(features, groups)

    scores = _scores(features.sum(axis=0), k)
    drawn = _scores(_resampled_sums(units, resamples, seed), k)
    bounds = {name: _percentiles(values, confidence) for name, values in drawn.items()}
    highest = max(bounds["ece"][1], scores["ece"])
    bounds["ece"] = np.array([max(0.0, 2 * scores["ece"] - highest), highest])

    per_class = {
        name: {score: _interval(scores[score][i], bounds[score][:, i]) for score in ("precision", "recall", "f1")}
        | {"support": int(np.count_nonzero(codes == i))}
        for i, name in enumerate(names)
    }
    low, high = bounds["confusion"]
    return {
        "classes": list(names),
        "faces": n,
        "groups": None if groups is None else len(units),
        "resamples": resamples,
        "seed": seed,
        "confidence": confidence,
        **{name: _interval(value, bounds[name]) for name, value in scores.items() if np.ndim(value) == 0},
        "per_class": per_class,
        "confusion": {
            "value": scores["confusion"].astype(int).tolist(),
            "low": low.tolist(),
            "high": high.tolist(),
        },
    }


def reweighted_accuracy(
    labels: ArrayLike,
    predictions: ArrayLike,
    class_names: Sequence[str],
    shares: Mapping[str, float],
    *,
    groups: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, float | None]:
    """Return the accuracy to expect where classes come in other shares: recall a class, weighted by them.

    It holds if faces of a class look alike here and there (prior shift) and the classifier stays as it is.

    Args:
        labels: (N,) integers that number ``class_names``.
        predictions: (N,) predicted classes, likewise.
        class_names: K names.
        shares: share or count of each class, such as ``EXPW_RELEASE_COUNTS``; a class that it leaves out has none.
        groups: as in ``evaluate``, and so are ``resamples``, ``seed`` and ``confidence``.

    Returns:
        Value, low, high. The shares are taken as exact; in a resample that misses a class the others' are scaled up.

    Raises:
        DataError: the arrays are malformed, or a class that has a share has no face here.
        ConfigError: ``shares`` names an unknown class or holds an impossible number.
    """
    names = _check_names(class_names, len(class_names))
    matrix = confusion_matrix(labels, predictions, len(names))
    unknown = [name for name in shares if name not in names]
    if unknown:
        raise ConfigError(f"shares: unknown class {unknown[0]!r}; expected some of {', '.join(names)}")
    wanted = np.array([shares.get(name, 0) for name in names], dtype=np.float64)
    if not (np.isfinite(wanted).all() and (wanted >= 0).all() and wanted.any()):
        raise ConfigError(f"shares: expected numbers of 0 or more, not all 0, got {dict(shares)}")
    for name, share, support in zip(names, wanted, matrix.sum(axis=1), strict=True):
        if share and not support:
            raise DataError(f"labels: no face of class {name!r}, whose share is {share:g}; leave it out of the shares")

    codes, answers = np.asarray(labels), np.asarray(predictions)
    of_class = np.eye(len(names))[codes]
    features = np.hstack([of_class, of_class * (codes == answers)[:, None]])

    def accuracy(sums: np.ndarray) -> np.ndarray:
        support, right = np.split(sums, 2, axis=-1)
        weights = wanted * (support > 0)
        total = weights.sum(axis=-1)
        expected = (weights * right / np.maximum(support, 1)).sum(axis=-1)
        return np.where(total > 0, expected / np.where(total > 0, total, 1), np.nan)

    drawn = accuracy(_resampled_sums(_units(features, groups), resamples, seed))
    return _interval(accuracy(features.sum(axis=0)), _percentiles(drawn, confidence))


def paired_difference(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, float | None]:
    """Return by how much a's accuracy exceeds b's on the same faces: value, low, high, in -1 to 1.

    Both are resampled together, so what they share cancels: the interval is narrower than two separate ones suggest.

    Args:
        correct_a: (N,) bool, or 0 and 1: whether a has the face right.
        correct_b: (N,) likewise for b, in the same order.
        groups: as in ``evaluate``, and so are ``resamples``, ``seed`` and ``confidence``.

    Raises:
        DataError: the arrays are malformed or of different lengths.
        ConfigError: an impossible ``resamples`` or ``confidence``.
    """
    a, b = _check_correct(correct_a, "correct_a"), _check_correct(correct_b, "correct_b")
    check_lengths(correct_a=a, correct_b=b)
    gaps = a - b
    sums = _resampled_sums(_units(np.stack([gaps, np.ones(len(a))], axis=1), groups), resamples, seed)
    return _interval(gaps.mean(), _percentiles(sums[:, 0] / sums[:, 1], confidence))


def share_interval(share: float, count: int) -> tuple[float, float]:
    """Return the 95% interval of a share (0 to 1) that was seen in ``count`` independent faces, 1 or more.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927: it holds for a handful of faces too.
    By hand, because SciPy's takes a second to import, for which a page would wait.
    """
    z = 1.959964
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def mcnemar(
    labels: ArrayLike, predictions_a: ArrayLike, predictions_b: ArrayLike, *, exact: bool | None = None
) -> McNemar:
    """Test whether two classifiers are equally often right on the same faces (McNemar, Psychometrika 1947).

    Exact (two-sided binomial) below 25 faces that only one of them has right, chi-squared with continuity correction
    from there on; ``exact`` chooses one of the two whatever the number. It takes faces as independent: where photos hold
    several, prefer ``paired_difference`` with groups.

    Raises:
        DataError: the arrays are malformed or of different lengths.
    """
    k = np.iinfo(np.int32).max  # any number of classes: only whether answers are right counts
    codes = check_codes(labels, k)
    a = check_codes(predictions_a, k, name="predictions_a")
    b = check_codes(predictions_b, k, name="predictions_b")
    check_lengths(labels=codes, predictions_a=a, predictions_b=b)
    from scipy import stats

    right_a, right_b = a == codes, b == codes
    only_a, only_b = int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))
    discordant = only_a + only_b
    exact = discordant < 25 if exact is None else exact
    if exact:
        statistic = float(min(only_a, only_b))
        p_value = stats.binomtest(only_a, discordant).pvalue if discordant else 1.0
    else:
        statistic = max(abs(only_a - only_b) - 1, 0) ** 2 / max(discordant, 1)
        p_value = stats.chi2.sf(statistic, 1)
    both_right, both_wrong = int(np.sum(right_a & right_b)), int(np.sum(~right_a & ~right_b))
    return McNemar(statistic, float(p_value), both_right, only_a, only_b, both_wrong, exact)


def map_probabilities(pred_probs: ArrayLike, from_labels: Sequence[str], to_labels: Sequence[str]) -> np.ndarray:
    """Return probabilities (N, len(to_labels)) float32 over some of a head's classes, reordered and scaled to sum to 1.

    For scoring a head on a dataset that lacks some of its classes: what it gave to those is shared out in proportion. A
    row that gave nothing to any class asked for becomes uniform, since it tells nothing about them.

    Raises:
        DataError: malformed probabilities, names that repeat, or a class asked for that the head does not have.
    """
    probs = check_probabilities(pred_probs)
    known = _check_names(from_labels, probs.shape[1], name="from_labels")
    wanted = _check_names(to_labels, len(to_labels), name="to_labels")
    missing = [name for name in wanted if name not in known]
    if missing or not wanted:
        what = f"unknown class {missing[0]!r}" if missing else "no class"
        raise DataError(f"to_labels: {what}; expected classes that both sides share, of {', '.join(known)}")
    shared = probs[:, [known.index(name) for name in wanted]]
    mass = shared.sum(axis=1, keepdims=True)
    scaled = shared / np.where(mass > 0, mass, 1)
    return np.where(mass > 0, scaled, 1 / len(wanted)).astype(np.float32)


def _scores(sums: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """Return every score of ``evaluate`` from sums over faces (..., k * k + 1 + bins); NaN for classes without any."""
    cells, loss, gaps = sums[..., : k * k].reshape(*sums.shape[:-1], k, k), sums[..., k * k], sums[..., k * k + 1 :]
    support, predicted = cells.sum(axis=-1), cells.sum(axis=-2)
    right = np.diagonal(cells, axis1=-2, axis2=-1)
    faces = support.sum(axis=-1)
    per_class = {
        "precision": right / np.maximum(predicted, 1),
        "recall": right / np.maximum(support, 1),
        "f1": 2 * right / np.maximum(support + predicted, 1),
    }
    per_class = {name: np.where(support > 0, values, np.nan) for name, values in per_class.items()}
    macro = {f"macro_{name}": np.nanmean(values, axis=-1) for name, values in per_class.items()}
    weights = support / faces[..., None]
    weighted = {f"weighted_{name}": np.nansum(values * weights, axis=-1) for name, values in per_class.items()}
    return {
        "accuracy": right.sum(axis=-1) / faces,
        "balanced_accuracy": macro["macro_recall"],
        **macro,
        **weighted,
        "log_loss": loss / faces,
        "ece": np.abs(gaps).sum(axis=-1) / faces,
        **per_class,
        "confusion": cells,
    }


def _units(features: np.ndarray, groups: ArrayLike | None) -> np.ndarray:
    """Return what is drawn whole: features (N, F) a face, or their sums a group (G, F)."""
    if groups is None:
        return features
    groups = np.asarray(groups)
    if groups.shape != (len(features),):
        raise DataError(f"groups: expected shape ({len(features)},), a group a face, got {groups.shape}")
    names, member = np.unique(groups.astype(str), return_inverse=True)
    if len(names) < 2:
        raise DataError(f"groups: all faces are of group {str(names[0])!r}; an interval needs at least two groups")
    sums = np.zeros((len(names), features.shape[1]))
    np.add.at(sums, member, features)
    return sums


def _resampled_sums(units: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return sums (resamples, F) over as many units (U, F) as there are, drawn with replacement."""
    if not isinstance(resamples, int | np.integer) or resamples < 1:
        raise ConfigError(f"resamples: expected a positive integer, got {resamples!r}")
    generator = np.random.default_rng(seed)
    count = len(units)
    step = max(1, 1_000_000 // count)
    parts = []
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = generator.integers(0, count, size=(rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        parts.append(times.astype(np.float64) @ units)
    return np.concatenate(parts)


def _percentiles(drawn: np.ndarray, confidence: float) -> np.ndarray:
    """Return the ends (2, ...) of the interval of resampled values (R, ...), NaN left out; NaN if nothing is left."""
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence: expected a share between 0 and 1, got {confidence!r}")
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    columns = drawn.reshape(len(drawn), -1).T
    known = (column[~np.isnan(column)] for column in columns)
    ends = [np.quantile(values, tails) if len(values) else [np.nan, np.nan] for values in known]
    return np.array(ends).T.reshape(2, *drawn.shape[1:])


def _interval(value: float, bounds: np.ndarray) -> dict[str, float | None]:
    """Return value, low, high as JSON takes them: NaN becomes None."""
    numbers = zip(("value", "low", "high"), (value, *bounds), strict=True)
    return {name: None if np.isnan(number) else float(number) for name, number in numbers}


def _check_names(class_names: Sequence[str], k: int, *, name: str = "class_names") -> tuple[str, ...]:
    """Return the names if there are k of them and none repeats."""
    names = tuple(class_names)
    if len(names) != k:
        raise DataError(f"{name}: {len(names)} names for {k} columns of probabilities")
    if len(set(names)) < k:
        raise DataError(f"{name}: a name stands twice in {', '.join(names)}")
    return names


def _check_correct(correct: ArrayLike, name: str) -> np.ndarray:
    """Return whether each face is right as (N,) float64 of 0 and 1."""
    values = np.asarray(correct)
    if values.ndim != 1 or not len(values) or not np.isin(values, (0, 1)).all():
        raise DataError(f"{name}: expected N values, each true or false, got {values.dtype} of shape {values.shape}")
    return values.astype(np.float64)
