"""Joined faces, the order of an epoch, and batches: each expected value is worked out here, not by the code under test."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from fercore import preprocess
from fercore.datasets.crops import Crops
from fercore.errors import ConfigError
from fercore.preprocess import InputSpec
from fercore.training.data import batches, class_weights, join, order
from fercore.training.recipe import Recipe
from made_faces import made_dataset

SPEC = InputSpec(size=48, mean=0.0, std=255.0)
LABELS = ("angry", "happy", "zen")


def recipe(*names: str, **changes: object) -> Recipe:
    return Recipe.from_dict({"model": "report-cnn", "datasets": list(names or ("made",)), "batch_size": 4, **changes})


def two_sources(**changes: object):
    """Ten faces that source "one" knows and six that "two" knows, four of them both (rows 6 to 9 of the same table)."""
    one = made_dataset([0, 1, 2] * 3 + [0], LABELS, name="one", numbers=range(10), seed=1)
    votes = np.tile(np.array([[0.5, 0.25, 0.25, 0.0]], np.float32), (6, 1))
    two = made_dataset([0] * 6, (*LABELS, "odd"), name="two", numbers=range(6, 12), seed=2, votes=votes)
    return join([one, two], **changes), one, two


def test_the_same_locator_below_the_same_folder_is_one_face():
    faces, one, two = two_sources()
    assert len(faces) == 12
    assert Counter(faces.origin.tolist()) == {"one": 10, "two": 2}
    assert faces.weights["one"].tolist() == [1] * 10 + [0] * 2
    assert faces.weights["two"].tolist() == [0] * 6 + [1] * 6
    np.testing.assert_array_equal(faces.targets["one"][:4], [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(faces.targets["one"][10:], 0)
    np.testing.assert_array_equal(faces.targets["two"][:6], 0)
    np.testing.assert_array_equal(faces.targets["two"][6:], two[0].votes)
    # The shared faces come from the first source, the two others from the second.
    np.testing.assert_array_equal(faces.crop(7)[0], one[1].pixels[7])
    np.testing.assert_array_equal(faces.crop(11)[0], two[1].pixels[5])


def test_the_same_locator_below_another_folder_is_another_face():
    one = made_dataset([0, 1], LABELS, name="one", root="here")
    two = made_dataset([0, 1], LABELS, name="two", root="there")
    faces = join([one, two])
    assert len(faces) == 4
    assert faces.origin.tolist() == ["one", "one", "two", "two"]


def test_rows_say_where_a_face_stands_in_the_crops():
    dataset, crops, _ = made_dataset([0, 1, 2, 0], LABELS)
    faces = join([(dataset.select(np.array([1, 3])), crops, np.array([1, 3]))])
    np.testing.assert_array_equal(faces.crop(0)[0], crops.pixels[1])
    np.testing.assert_array_equal(faces.crop(1)[0], crops.pixels[3])
    assert faces.sources[0].pixels is crops.pixels  # not copied: it may be a memory map of gigabytes


def test_inputs_are_the_road_of_serving():
    dataset, _, rows = made_dataset([0, 1], LABELS)
    wide = np.random.default_rng(0).integers(0, 256, (2, 144, 144), dtype=np.uint8)
    faces = join([(dataset, Crops(pixels=wide, side=115.2, usable=np.ones(2, bool)), rows)])
    spec = InputSpec(size=32, mean=115.0, std=2.0)
    got = faces.inputs([1, 0], spec)
    expected = preprocess.cut(wide[1], (72, 72, 115.2), 32).astype(np.float32)
    assert got.shape == (2, 32, 32, 1)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[0, :, :, 0], (expected - 115) / 2)


def test_class_weights_by_hand():
    """Eight and two faces, exponent 1: weights as 1/8 to 1/2, scaled to a mean of 1."""
    codes = np.array([0] * 8 + [1] * 2)
    weights = class_weights(codes, 3, 1.0)
    np.testing.assert_allclose(weights, [10 / 16] * 8 + [10 / 4] * 2)
    np.testing.assert_allclose(class_weights(codes, 3, 0.0), 1.0)
    half = class_weights(codes, 3, 0.5)
    assert half.mean() == pytest.approx(1.0)
    assert half[-1] / half[0] == pytest.approx(2.0)  # (8 / 2) ** 0.5
    assert half.dtype == np.float32


def test_join_weighs_the_classes_of_each_source_by_its_own_counts():
    faces, *_ = two_sources(class_weight=1.0)
    one = faces.weights["one"][:10]
    np.testing.assert_allclose(one[0] / one[1], 3 / 4)  # four faces of class 0, three of class 1
    np.testing.assert_allclose(faces.weights["two"][6:], 1.0)  # all of one class


def test_an_epoch_shows_each_face_once():
    faces = join([made_dataset([0, 1, 2] * 4, LABELS)])
    first, second = (order(faces, recipe(), epoch) for epoch in (0, 1))
    assert first.shape == (3, 4)
    assert sorted(first.ravel().tolist()) == list(range(12))
    assert sorted(second.ravel().tolist()) == list(range(12))
    assert first.tolist() != second.tolist()
    assert first.tolist() == order(faces, recipe(), 0).tolist()
    assert first.tolist() != order(faces, recipe(seed=1), 0).tolist()


def test_a_last_batch_that_is_not_full_is_left_out_unless_it_is_the_only_one():
    faces = join([made_dataset([0, 1, 2] * 4, LABELS)])
    shown = order(faces, recipe(batch_size=5), 0)
    assert shown.shape == (2, 5)
    assert len(set(shown.ravel().tolist())) == 10
    assert order(faces, recipe(batch_size=64), 0).shape == (1, 12)


def test_a_share_of_each_batch_is_filled_by_its_dataset():
    """Sixteen faces without a share at three places a batch: five steps; the other's five faces fill one place each time."""
    many = made_dataset([0, 1] * 8, LABELS, name="many", root="a")
    few = made_dataset([0, 1, 2, 0, 1], LABELS, name="few", root="b")
    faces = join([many, few])
    shown = order(faces, recipe("many", "few", shares={"few": 0.25}), 0)
    assert shown.shape == (5, 4)
    for batch in shown:
        assert Counter(faces.origin[batch].tolist()) == {"many": 3, "few": 1}
    counts = Counter(shown.ravel().tolist())
    assert max(counts.values()) == 1
    assert sum(faces.origin[number] == "few" for number in counts) == 5


def test_a_small_dataset_with_a_share_comes_again_and_again_evenly():
    many = made_dataset([0, 1] * 20, LABELS, name="many", root="a")
    few = made_dataset([0, 1, 2], LABELS, name="few", root="b")
    faces = join([many, few])
    shown = order(faces, recipe("many", "few", shares={"few": 0.5}), 3)
    assert shown.shape == (20, 4)
    counts = Counter(shown.ravel().tolist())
    assert {counts[number] for number in range(40)} == {1}
    assert sorted(counts[number] for number in range(40, 43)) == [13, 13, 14]  # 40 places for 3 faces


def test_where_every_dataset_has_a_share_the_longest_sets_the_length():
    one = made_dataset([0, 1] * 6, LABELS, name="one", root="a")
    two = made_dataset([0, 1], LABELS, name="two", root="b")
    faces = join([one, two])
    shown = order(faces, recipe("one", "two", shares={"one": 0.5, "two": 0.5}), 0)
    assert shown.shape == (6, 4)
    assert sorted(n for n in shown.ravel().tolist() if n < 12) == list(range(12))


def test_shares_of_few_faces_still_make_a_step():
    one = made_dataset([0], LABELS, name="one", root="a")
    two = made_dataset([1], LABELS, name="two", root="b")
    shown = order(join([one, two]), recipe("one", "two", shares={"one": 0.5, "two": 0.5}), 0)
    assert shown.tolist() == [[0, 0, 1, 1]]
    alone = order(join([one, two]), recipe("one", "two", shares={"two": 0.5}), 0)
    assert sorted(alone[0].tolist()) == [0, 1, 1]


def test_a_share_for_faces_that_another_source_brought_is_refused():
    one = made_dataset([0, 1, 2], LABELS, name="one")
    two = made_dataset([0, 1, 2], LABELS, name="two")
    with pytest.raises(ConfigError, match="shares: 'two' has no face of its own"):
        order(join([one, two]), recipe("one", "two", shares={"two": 0.5}), 0)


def test_batches_follow_from_seed_and_epoch():
    faces, *_ = two_sources()
    options = recipe("one", "two", augment="strong", mixup=0.2)
    first, again = (list(batches(faces, options, SPEC, 1)) for _ in range(2))
    other = list(batches(faces, options, SPEC, 2))
    assert len(first) == 3
    for (x, y, weight), (x2, y2, weight2) in zip(first, again, strict=True):
        np.testing.assert_array_equal(x, x2)
        for head in ("one", "two"):
            np.testing.assert_array_equal(y[head], y2[head])
            np.testing.assert_array_equal(weight[head], weight2[head])
    assert not np.array_equal(first[0][0], other[0][0])


def test_batches_without_changes_hold_the_faces_of_the_order():
    faces, *_ = two_sources()
    options = recipe("one", "two")
    for indices, (x, y, weight) in zip(order(faces, options, 0), batches(faces, options, SPEC, 0), strict=True):
        assert x.shape == (4, 48, 48, 1)
        assert x.dtype == np.float32
        np.testing.assert_array_equal(x, faces.inputs(indices, SPEC))
        for head in ("one", "two"):
            np.testing.assert_array_equal(y[head], faces.targets[head][indices])
            np.testing.assert_array_equal(weight[head], faces.weights[head][indices])


def test_faces_framed_by_two_kinds_of_box_are_shown_by_either():
    """About half of the time each; validation and calibration see the first kind only."""
    dataset, crops, rows = made_dataset([0, 1] * 50, LABELS)
    inverted = dataclasses.replace(crops, pixels=255 - crops.pixels)
    faces = join([(dataset, crops, rows)], others=[inverted])
    options = recipe(batch_size=100)
    (indices,) = order(faces, options, 0)
    shown, again, later = (next(batches(faces, options, SPEC, epoch))[0] for epoch in (0, 0, 1))
    np.testing.assert_array_equal(shown, again)
    plain = faces.inputs(indices, SPEC)
    first = np.array([np.array_equal(x, y) for x, y in zip(shown, plain, strict=True)])
    assert 30 < first.sum() < 70
    np.testing.assert_allclose(shown[~first], 1 - plain[~first], atol=1e-6)
    changed = {index for index, is_first in zip(indices, first, strict=True) if is_first}
    (indices,) = order(faces, options, 1)
    plain = faces.inputs(indices, SPEC)
    assert changed != {i for i, x, y in zip(indices, later, plain, strict=True) if np.array_equal(x, y)}
    alone = join([(dataset, crops, rows)], others=[None])
    x, *_ = next(batches(alone, options, SPEC, 0))
    np.testing.assert_array_equal(x, alone.inputs(order(alone, options, 0)[0], SPEC))


def test_batches_come_at_another_resolution():
    faces, *_ = two_sources()
    x, *_ = next(batches(faces, recipe("one", "two", augment="light"), dataclasses.replace(SPEC, size=32), 0))
    assert x.shape == (4, 32, 32, 1)


def test_label_smoothing_by_hand():
    faces = join([made_dataset([1], LABELS)])
    _, y, _ = next(batches(faces, recipe(label_smoothing=0.3), SPEC, 0))
    np.testing.assert_allclose(y["made"], [[0.1, 0.8, 0.1]], rtol=1e-6)


def test_mixup_blends_faces_targets_and_weights():
    """Each mixed face must be one convex blend of two of the batch; its targets and weights must be the same blend."""
    faces, *_ = two_sources()
    options = recipe("one", "two", mixup=1.0, batch_size=12)
    indices = order(faces, options, 0)[0]
    plain = faces.inputs(indices, SPEC).reshape(12, -1).astype(np.float64)
    x, y, weight = next(batches(faces, options, SPEC, 0))
    shares = []
    for row in range(12):
        mixed = x[row].ravel().astype(np.float64)
        errors = []
        for other in range(12):
            toward = plain[other] - plain[row]
            size = float(toward @ toward)
            share = 1 - float((mixed - plain[row]) @ toward) / size if size else 1.0
            errors.append((float(np.abs(mixed - share * plain[row] - (1 - share) * plain[other]).max()), share, other))
        error, share, other = min(errors)
        assert error < 1e-5
        if other == row or share > 1 - 1e-6:
            continue  # blended with itself
        shares.append(share)
        for head in ("one", "two"):
            first = share * faces.weights[head][indices[row]]
            second = (1 - share) * faces.weights[head][indices[other]]
            assert weight[head][row] == pytest.approx(first + second, abs=1e-5)
            blend = first * faces.targets[head][indices[row]] + second * faces.targets[head][indices[other]]
            expected = blend / (first + second) if first + second else blend
            np.testing.assert_allclose(y[head][row], expected, atol=1e-5)
    assert len(shares) > 4
    np.testing.assert_allclose(shares, shares[0], atol=1e-4)  # one share a batch


def test_cutmix_puts_a_rectangle_of_another_face_into_each():
    """Every pixel is the face's own or that of one other; targets and weights follow the share of pixels."""
    faces, *_ = two_sources()
    options = recipe("one", "two", cutmix=1.0, batch_size=12)
    cut = 0
    for epoch in range(4):
        indices = order(faces, options, epoch)[0]
        plain = faces.inputs(indices, SPEC)[..., 0]
        x, y, weight = next(batches(faces, options, SPEC, epoch))
        for row in range(12):
            foreign = x[row, :, :, 0] != plain[row]
            if not foreign.any():
                continue
            own = int((~foreign).sum())
            matching = [other for other in range(12) if np.array_equal(x[row, :, :, 0][foreign], plain[other][foreign])]
            (other,) = matching
            rows, columns = np.flatnonzero(foreign.any(1)), np.flatnonzero(foreign.any(0))
            # Pixels that both faces share by chance may lie on the rectangle's edge, so its true size is bounded below.
            area = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
            assert own >= 48 * 48 - area
            cut += 1
            for head in ("one", "two"):
                first, second = faces.weights[head][indices[row]], faces.weights[head][indices[other]]
                blend = faces.targets[head][indices[row]], faces.targets[head][indices[other]]
                if first == second == 1 and not np.array_equal(*blend):
                    gap = blend[0] - blend[1]
                    share = float((y[head][row] - blend[1]) @ gap / (gap @ gap))
                    assert share == pytest.approx(1 - area / 48**2, abs=0.05)
                    assert weight[head][row] == pytest.approx(1)
                if first == 1 and second == 0:
                    assert weight[head][row] == pytest.approx(1 - area / 48**2, abs=0.05)
                    np.testing.assert_allclose(y[head][row], blend[0], atol=1e-6)
    assert cut > 20


def test_with_both_kinds_of_mixing_each_batch_gets_one():
    faces = join([made_dataset([0, 1, 2] * 4, LABELS)])
    both = recipe(mixup=1.0, cutmix=1.0, batch_size=12)
    kinds = Counter()
    for epoch in range(12):
        plain = faces.inputs(order(faces, both, epoch)[0], SPEC)
        x, *_ = next(batches(faces, both, SPEC, epoch))
        own = np.mean([np.isin(x[row].round(6), plain[:, :, :, 0].round(6)).mean() for row in range(12)])
        untouched = (x == plain).mean()
        kinds["cut" if own > 0.99 and untouched < 1 else "mixed"] += 1
    assert set(kinds) == {"cut", "mixed"}
