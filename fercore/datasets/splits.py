"""Train, validation and test: stratified, seeded, and a photo's or subject's faces never in two of them.

Groups are dealt out one after another, the large ones first, each to the split that lacks its classes most (the greedy idea of
scikit-learn's ``StratifiedGroupKFold``, for parts of unequal size). Groups of equal size come in the order of a sha256 of
seed and name: the outcome is the same on every platform and does not depend on the order of the rows.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..errors import DataError
from .base import SPLITS, Dataset

FRACTIONS: tuple[float, float, float] = (0.7, 0.1, 0.2)
"""Shares of train, validation and test where a dataset has no official splits."""


def split_by_group(
    labels: Sequence | np.ndarray,
    groups: Sequence | np.ndarray,
    *,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
) -> np.ndarray:
    """Return (N,) split names, each class in the given shares as nearly as whole groups allow.

    Args:
        labels: (N,) classes.
        groups: (N,) names of photos, sequences or subjects.
        fractions: shares of train, validation and test, which sum to 1; a share of 0 leaves a split empty. Every other
            split gets at least one group where there are enough.
        seed: another seed deals the groups out differently.

    Raises:
        DataError: arrays of different lengths, or shares that are not three numbers of at least 0 with sum 1.
    """
    shares = [float(share) for share in fractions]
    if len(shares) != len(SPLITS) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise DataError(
            f"fractions: need three numbers of at least 0 with sum 1 (train, validation, test); got {fractions}"
        )
    return np.array(SPLITS)[_deal(labels, groups, shares, seed)]


def k_folds_by_group(labels: Sequence | np.ndarray, groups: Sequence | np.ndarray, k: int, seed: int = 0) -> np.ndarray:
    """Return (N,) int64 fold numbers from 0 to ``k - 1``, stratified, each group in one fold.

    Raises:
        DataError: ``k`` is below 2 or there are fewer than ``k`` groups.
    """
    distinct = len(set(map(str, groups)))
    if not 2 <= k <= distinct:
        raise DataError(f"k: need 2 to {distinct} folds for {distinct} groups; got {k}")
    return _deal(labels, groups, [1 / k] * k, seed)


def complete_splits(dataset: Dataset, *, fractions: Sequence[float] = FRACTIONS, seed: int = 0) -> Dataset:
    """Return the dataset with every face in a split; official splits are kept.

    Without any split all faces are dealt out. With some, what is missing (often validation) is cut from train, in the
    proportions of ``fractions``; a dataset that has only a test split stays one for evaluation.
    """
    split = dataset.table["split"].to_numpy(dtype=object).copy()
    open_rows = split == ""
    present = [name for name in SPLITS if (split == name).any()]
    if present and open_rows.any():
        raise DataError(f"{dataset.root}: dataset {dataset.name!r} has a split for some faces only; give all or none")
    missing = [name for name in SPLITS if name not in present]
    pool = np.full(len(split), True) if not present else split == "train"
    if not len(split) or not missing or not pool.any():
        return dataset
    shares = [
        share if name in missing or name == "train" else 0.0 for name, share in zip(SPLITS, fractions, strict=True)
    ]
    total = sum(shares)
    rows = dataset.table.loc[pool]
    split[pool] = split_by_group(
        rows["label"].to_numpy(), rows["group"].to_numpy(), fractions=[share / total for share in shares], seed=seed
    )
    return dataset.with_splits(split.astype(str))


def _deal(
    labels: Sequence | np.ndarray, groups: Sequence | np.ndarray, shares: Sequence[float], seed: int
) -> np.ndarray:
    """Return (N,) int64: the number of the part that each row's group goes to."""
    names = [str(group) for group in groups]
    classes = [str(label) for label in labels]
    if len(names) != len(classes):
        raise DataError(f"labels and groups: need the same length; got {len(classes)} and {len(names)}")
    contents: dict[str, Counter[str]] = {}
    for name, label in sorted(zip(names, classes, strict=True)):
        contents.setdefault(name, Counter())[label] += 1
    totals = Counter(classes)
    wanted = [{label: share * count for label, count in totals.items()} for share in shares]
    lacking = [dict(part) for part in wanted]
    order = sorted(contents, key=lambda name: (-contents[name].total(), _key(seed, name)))
    parts = [part for part, share in enumerate(shares) if share > 0]
    empty = list(parts)
    chosen: dict[str, int] = {}
    for done, name in enumerate(order):
        content = contents[name]
        candidates = empty if len(order) - done <= len(empty) else parts
        best = max(candidates, key=lambda part: (_gain(content, lacking[part], wanted[part]), -part))
        for label, count in content.items():
            lacking[best][label] -= count
        if best in empty:
            empty.remove(best)
        chosen[name] = best
    return np.array([chosen[name] for name in names], np.int64)


def _gain(content: Counter[str], lacking: dict[str, float], wanted: dict[str, float]) -> float:
    """Return by how much a part's sum of ``lacking ** 2 / wanted`` over the classes falls when it gets a group."""
    return sum(count * (2 * lacking[label] - count) / wanted[label] for label, count in content.items())


def _key(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()
