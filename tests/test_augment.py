"""Random changes of a face: the geometry is the road's own, the amounts stay within bounds, chance is reproducible."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fercore import preprocess
from fercore.training.augment import augment
from fercore.training.recipe import AUGMENTATIONS, Augmentation

SIDE = 115.2
"""Side of the face square in a crop of 144 pixels."""


@pytest.fixture(scope="module")
def crop(portrait) -> np.ndarray:
    """A grey crop (144, 144) uint8 of the portrait's face, with the margin that training has."""
    return preprocess.cut(portrait, (224, 120, 144 / 0.8), 144)


def once(crop, options, seed=0, size=112):
    return augment(crop, SIDE, size, options, np.random.default_rng(seed))


def test_without_options_the_face_is_what_serving_sees(crop):
    expected = preprocess.cut(crop, (72, 72, SIDE), 112)
    np.testing.assert_array_equal(once(crop, AUGMENTATIONS["none"]), expected)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("size", [16, 48, 112])
def test_the_same_generator_gives_the_same_face(crop, name, size):
    first, again, other = (once(crop, AUGMENTATIONS[name], seed, size) for seed in (3, 3, 4))
    assert first.shape == (size, size)
    assert first.dtype == np.uint8
    assert first.flags.c_contiguous
    np.testing.assert_array_equal(first, again)
    assert (name == "none") == np.array_equal(first, other)


def test_every_option_takes_the_same_number_of_draws(crop):
    """So that one option, switched on, does not change what the others do to the faces that follow."""
    ends = set()
    variants = [
        Augmentation(),
        *AUGMENTATIONS.values(),
        Augmentation(erase=1.0),
        Augmentation(downscale=1.0, flip=True),
    ]
    for options in variants:
        rng = np.random.default_rng(5)
        augment(crop, SIDE, 48, options, rng)
        ends.add(float(rng.uniform()))
    assert len(ends) == 1


@pytest.mark.parametrize("seed", range(5))
def test_geometry_moves_the_square_within_its_bounds(crop, seed):
    """Expected: the square that the first four draws ask for, cut by the road's own code."""
    options = Augmentation(shift=0.1, scale=0.2, rotate=30)
    x, y, scale, turn = np.random.default_rng(seed).uniform(-1, 1, 8)[:4]
    square = (72 + 0.1 * SIDE * x, 72 + 0.1 * SIDE * y, SIDE * (1 + 0.2 * scale))
    np.testing.assert_array_equal(once(crop, options, seed), preprocess.cut(crop, square, 112, angle=30 * turn))


def test_half_of_the_faces_are_mirrored(crop):
    plain = once(crop, Augmentation())
    flips = 0
    for seed in range(200):
        face = once(crop, Augmentation(flip=True), seed)
        mirrored = np.array_equal(face, plain[:, ::-1])
        assert mirrored or np.array_equal(face, plain)
        flips += mirrored
    assert 70 < flips < 130


@pytest.mark.parametrize("option", ["gamma", "contrast", "brightness"])
def test_tones_change_alike_wherever_the_grey_is_alike(crop, option):
    plain = once(crop, Augmentation())
    seen = set()
    for seed in range(20):
        face = once(crop, dataclasses.replace(Augmentation(), **{option: 0.3}), seed)
        table = {}
        for before, after in zip(plain.ravel().tolist(), face.ravel().tolist(), strict=True):
            assert table.setdefault(before, after) == after
        levels = [table[key] for key in sorted(table)]
        assert levels == sorted(levels)  # order of greys is kept
        seen.add(np.sign(face.mean() - plain.mean()) if option != "contrast" else np.sign(face.std() - plain.std()))
    assert {-1.0, 1.0} <= seen


def test_brightness_stays_within_its_bound():
    """Halfway between black and white nothing is clipped: the shift in grey levels is at most 255 times the option."""
    flat = np.full((144, 144), 128, np.uint8)
    shifts = [float(once(flat, Augmentation(brightness=0.1), seed).mean()) - 128 for seed in range(100)]
    assert -26.5 < min(shifts) < -20
    assert 20 < max(shifts) < 26.5


def test_gamma_leaves_black_and_white():
    ends = np.zeros((144, 144), np.uint8)
    ends[:, 72:] = 255
    face = once(ends, Augmentation(gamma=0.4), seed=1)
    assert face[0, 0] == 0
    assert face[0, -1] == 255


def test_downscale_takes_detail_away(crop):
    def detail(face):
        return float(np.abs(np.diff(face.astype(float), axis=1)).mean())

    plain = detail(once(crop, Augmentation()))
    blurred = [detail(once(crop, Augmentation(downscale=1.0), seed)) for seed in range(10)]
    assert max(blurred) < 0.95 * plain
    chance = [detail(once(crop, Augmentation(downscale=0.3), seed)) < 0.95 * plain for seed in range(200)]
    assert 35 < sum(chance) < 85


def test_erase_covers_one_rectangle_of_2_to_20_percent():
    flat = np.zeros((144, 144), np.uint8)
    shares = []
    for seed in range(60):
        face = once(flat, Augmentation(erase=1.0), seed)
        rows, columns = (np.flatnonzero(face.any(axis=axis)) for axis in (1, 0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        shares.append(height * width / face.size)
        inside = face[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (inside > 0).mean() > 0.95  # noise fills it
        assert 0.25 < height / width < 4
    assert 0.015 < min(shares) < 0.05
    assert 0.15 < max(shares) < 0.21


def test_erase_has_its_chance(crop):
    plain = once(crop, Augmentation())
    covered = [not np.array_equal(once(crop, Augmentation(erase=0.35), seed), plain) for seed in range(200)]
    assert 45 < sum(covered) < 95


def test_the_crop_itself_is_never_written(crop):
    crop = crop.copy()
    crop.flags.writeable = False
    for seed in range(10):
        once(crop, AUGMENTATIONS["strong"], seed)
