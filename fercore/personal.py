"""A face's own expressions: a small correction of the shared answer, fitted to a few seconds of one person.

>>> shared, features = predictor.classify(image, boxes), predictor.embed(image, boxes)
>>> own = fit(features, shared, labels)
>>> own.correct(features, shared)

The answer is ``softmax(log p + x W + b)``: ``p`` the shared probabilities of any head or ensemble, ``x`` the network's
features. ``W`` (on standardised features) and ``b`` are those of a multinomial logistic regression that are pulled to zero,
so with no data the shared answer is unchanged. ``browser/personal.mjs`` does the same for the Live page, and a test holds
the two together. Frames of one moment are alike: to judge a fit, hold back whole
stretches of time and not single frames.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from .errors import ConfigError

STRENGTH = 0.02
"""Of the pull towards the shared answer."""
RESTING = 0.3
"""The same where only a resting face is known."""
STEPS = 500
_LEAST = 1e-9


@dataclasses.dataclass(frozen=True)
class Correction:
    """What is added to the shared logits: ``x @ weights + bias``."""

    weights: np.ndarray
    """(D, K); D is 0 for a correction that is only a bias."""
    bias: np.ndarray
    """(K,)"""

    def correct(self, features: np.ndarray, shared: np.ndarray) -> np.ndarray:
        """Return corrected probabilities (N, K) of faces with ``features`` (N, D) and ``shared`` probabilities (N, K)."""
        scores = _logits(shared) + self.bias
        if len(self.weights):
            scores = scores + np.asarray(features, np.float64) @ self.weights
        return _softmax(scores)


def fit(
    features: np.ndarray,
    shared: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    *,
    classes: Sequence[int] | None = None,
    strength: float = STRENGTH,
    steps: int = STEPS,
) -> Correction:
    """Fit a correction to one person's faces.

    Args:
        features: (N, D) of the faces, as ``Predictor.embed`` gives them; D = 0 fits a bias alone.
        shared: (N, K) probabilities of the same faces, as ``Predictor.classify`` gives them.
        labels: (N,) positions of the true labels.
        classes: positions of the labels that may move; None for those among ``labels``, so that an expression that was never
            shown is not held to be absent.
        strength: of the pull towards the shared answer.
        steps: of gradient descent.

    Raises:
        ConfigError: the arrays do not fit together, or a label is not one of ``classes``.
    """
    features, prior = np.asarray(features, np.float64), _logits(shared)
    targets = np.asarray(labels, np.int64)
    if not (features.ndim == prior.ndim == 2 and targets.ndim == 1 and len(features) == len(prior) == len(targets)):
        raise ConfigError(
            f"features {features.shape}, shared {prior.shape} and labels {targets.shape} must be (N, D), (N, K) and (N,)"
        )
    weights, bias = np.zeros((features.shape[1], prior.shape[1])), np.zeros(prior.shape[1])
    if not len(targets):
        return Correction(weights, bias)
    moving = np.unique(targets if classes is None else np.asarray(classes))
    if not (np.isin(targets, moving).all() and moving.min() >= 0 and moving.max() < prior.shape[1]):
        raise ConfigError(f"labels must be among the classes {moving.tolist()}, all from 0 to {prior.shape[1] - 1}")
    mean, std = features.mean(axis=0), features.std(axis=0)
    scale = np.where(std > 1e-6, 1 / (np.maximum(std, 1e-6) * max(1, features.shape[1]) ** 0.5), 0.0)
    rows = (features - mean) * scale
    alpha = _dual(1 + rows @ rows.T, prior[:, moving], np.searchsorted(moving, targets), strength, steps)
    weights[:, moving] = (rows * scale).T @ alpha
    bias[moving] = alpha.sum(axis=0) - mean @ weights[:, moving]
    return Correction(weights, bias)


def resting(shared: np.ndarray, neutral: int) -> Correction:
    """Return the bias-only correction from ``shared`` probabilities (N, K) of a resting face, moved towards ``neutral``."""
    shared = np.asarray(shared)
    count, width = shared.shape
    return fit(
        np.zeros((count, 0)), shared, np.full(count, neutral), classes=np.arange(width).tolist(), strength=RESTING
    )


def _dual(gram: np.ndarray, base: np.ndarray, targets: np.ndarray, strength: float, steps: int) -> np.ndarray:
    """Return (N, K) ``alpha`` of the best weights ``rows.T @ alpha``, by Nesterov's gradient descent."""
    count = len(targets)
    reach = 0.5 * np.abs(gram).sum(axis=1).max() / count + strength
    ratio = np.sqrt(strength / reach)
    momentum = (1 - ratio) / (1 + ratio)
    truth = np.eye(base.shape[1])[targets]
    alpha = ahead = np.zeros_like(base)
    for _ in range(steps):
        slope = (_softmax(base + gram @ ahead) - truth) / count + strength * ahead
        following = ahead - slope / reach
        ahead = following + momentum * (following - alpha)
        alpha = following
    return alpha


def _logits(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(np.asarray(probabilities, np.float64), _LEAST))


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
