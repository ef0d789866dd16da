"""Splits: shares met class by class, groups whole, the same everywhere."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fercore.datasets.base import Dataset, face_table
from fercore.datasets.splits import complete_splits, k_folds_by_group, split_by_group
from fercore.errors import DataError


def made(seed: int = 0, groups: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """1,000 faces of five classes of unequal size in groups of unequal size."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(list("abcde"), 1000, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    return labels, np.array([f"photo {number}" for number in rng.integers(0, groups, 1000)])


def parts_of_groups(groups: np.ndarray, split: np.ndarray) -> list[int]:
    return [len(set(split[groups == group])) for group in set(groups)]


def test_every_class_gets_its_shares_and_no_group_is_torn():
    labels, groups = made()
    split = split_by_group(labels, groups)
    assert set(parts_of_groups(groups, split)) == {1}
    for label in "abcde":
        for name, share in (("train", 0.7), ("validation", 0.1), ("test", 0.2)):
            assert np.mean(split[labels == label] == name) == pytest.approx(share, abs=0.02)


def test_other_shares_and_an_empty_split():
    labels, groups = made()
    split = split_by_group(labels, groups, fractions=(0.5, 0.5, 0))
    assert set(split) == {"train", "validation"}
    assert np.mean(split == "train") == pytest.approx(0.5, abs=0.01)


def test_the_order_of_the_rows_plays_no_part_but_the_seed_does():
    labels, groups = made()
    split = split_by_group(labels, groups, seed=3)
    shuffled = np.random.default_rng(1).permutation(len(labels))
    assert (split_by_group(labels[shuffled], groups[shuffled], seed=3) == split[shuffled]).all()
    assert (split_by_group(labels, groups, seed=4) != split).mean() > 0.2


def test_the_outcome_is_the_same_on_every_machine():
    """A digest written down once: a change of the dealing would move faces of every published run between splits."""
    labels = [str(number * 7 % 5) for number in range(500)]
    groups = [f"g{number // 3}" for number in range(500)]
    text = ",".join(split_by_group(labels, groups, seed=0))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "d1e87206db6286de"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 8)), min_size=1, max_size=60), st.integers(0, 5))
def test_any_input_keeps_groups_whole_and_fills_every_split_it_can(rows, seed):
    labels = np.array([label for label, _ in rows])
    groups = np.array([str(group) for _, group in rows])
    split = split_by_group(labels, groups, seed=seed)
    assert set(parts_of_groups(groups, split)) == {1}
    assert len(set(split)) == min(3, len(set(groups)))


@pytest.mark.parametrize("fractions", [(0.7, 0.3), (0.7, 0.1, 0.1), (1.2, -0.4, 0.2)])
def test_impossible_shares_are_refused(fractions):
    with pytest.raises(DataError, match="three numbers of at least 0 with sum 1"):
        split_by_group(["a"], ["g"], fractions=fractions)


def test_arrays_of_different_lengths_are_refused():
    with pytest.raises(DataError, match="need the same length; got 2 and 1"):
        split_by_group(["a", "b"], ["g"])


def test_folds_are_stratified_and_keep_groups_whole():
    labels, groups = made()
    folds = k_folds_by_group(labels, groups, 5, seed=1)
    assert sorted(set(folds)) == [0, 1, 2, 3, 4]
    assert set(parts_of_groups(groups, folds)) == {1}
    for label in "abcde":
        counts = np.bincount(folds[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 3
    assert (k_folds_by_group(labels, groups, 5, seed=1) == folds).all()


@pytest.mark.parametrize("k", [1, 4])
def test_impossible_folds_are_refused(k):
    with pytest.raises(DataError, match=f"need 2 to 3 folds for 3 groups; got {k}"):
        k_folds_by_group(["a"] * 6, ["x", "x", "y", "y", "z", "z"], k)


def with_split(split: list[str]) -> Dataset:
    count = len(split)
    images = [f"{number}.png" for number in range(count)]
    labels = ["happy" if number % 2 else "sad" for number in range(count)]
    table = face_table(images, labels, group=[str(number // 2) for number in range(count)], split=split)
    return Dataset("made", Path("made"), ("happy", "sad"), "crop", table, open_image=lambda locator: np.zeros((1, 1)))


def test_without_official_splits_all_faces_are_dealt_out():
    split = complete_splits(with_split([""] * 200)).table["split"]
    assert split.value_counts().to_dict() == {"train": 140, "validation": 20, "test": 40}


def test_a_missing_validation_is_cut_from_train_and_test_is_kept():
    official = ["train"] * 160 + ["test"] * 40
    dataset = complete_splits(with_split(official))
    split = dataset.table["split"].to_numpy()
    assert (split[160:] == "test").all()
    assert (split[:160] == "validation").sum() == 20  # 0.1 / (0.7 + 0.1) of 160
    assert (split[:160] == "train").sum() == 140
    assert dataset.table.groupby("group")["split"].nunique().max() == 1
    counts = dataset.counts()["validation"]
    assert counts == {"happy": 10, "sad": 10}


def test_complete_official_splits_and_a_test_set_alone_stay_as_they_are():
    official = ["train", "train", "validation", "validation", "test", "test"]
    assert complete_splits(with_split(official)).table["split"].tolist() == official
    assert complete_splits(with_split(["test"] * 6)).table["split"].tolist() == ["test"] * 6


def test_a_split_for_some_faces_only_is_refused():
    with pytest.raises(DataError, match="has a split for some faces only"):
        complete_splits(with_split(["train", ""]))
