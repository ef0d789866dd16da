"""What a network takes of a face: pixels as they were, gradients where they point, each in its place."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np
import pytest

from fercore import features, preprocess
from fercore.errors import ConfigError
from fercore.preprocess import InputSpec


def ramp(direction: float, size: int = 48) -> np.ndarray:
    """A crop whose grey rises along a direction, in degrees clockwise from the right as seen on the screen."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    along = x * math.cos(math.radians(direction)) + y * math.sin(math.radians(direction))
    return np.clip(128 + along * 2.5, 0, 255).astype(np.uint8)


def test_pixels_are_normalised_as_ever():
    crops = np.arange(2 * 16 * 16, dtype=np.uint8).reshape(2, 16, 16)
    spec = InputSpec(size=16, mean=100, std=50)
    found = features.network_input(crops, spec)
    assert found.shape == (2, *features.input_shape(spec)) == (2, 16, 16, 1)
    assert found[..., 0] == pytest.approx((crops - 100.0) / 50, abs=1e-6)


@pytest.mark.parametrize("name", features.MAPS)
@pytest.mark.parametrize("size", [48, 64])
def test_shapes_are_as_announced(name: str, size: int):
    spec = InputSpec(size=size, features=name)
    crops = np.random.default_rng(0).integers(0, 256, (3, size, size), dtype=np.uint8)
    found = features.network_input(crops, spec)
    assert (found.dtype, found.shape) == (np.float32, (3, *features.input_shape(spec)))
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert features.network_input(crops[:0], spec).shape == (0, *features.input_shape(spec))
    assert np.array_equal(features.network_input(crops[1:2], spec)[0], found[1])


def test_every_name_of_a_specification_has_its_features():
    assert set(features.MAPS) == set(preprocess.FEATURES)


@pytest.mark.parametrize(("direction", "bin_"), [(0, 0), (90, 4), (45, 2), (135, 6)])
def test_hog_counts_gradients_in_the_bin_of_their_direction(direction: float, bin_: int):
    """Nine bins of 20 degrees over the half turn: bin 4 holds 80 to 100."""
    found = features.hog_map(ramp(direction)).reshape(7, 7, 4, 9)[2:5, 2:5].sum(axis=(0, 1, 2))
    assert found.argmax() in (bin_, {0: 8}.get(bin_, bin_))
    assert found.max() > 0.8 * found.sum()


def test_sift_of_a_ramp_points_one_way():
    """Each of 4 x 4 cells has 8 directions; a ramp fills one of them (and, shared by interpolation, a neighbour) in each."""
    found = features.sift_map(ramp(0))[3, 3].reshape(4, 4, 8)
    share = found.sum(axis=(0, 1)) / found.sum()
    assert np.sort(share)[-2:].sum() > 0.95
    turned = features.sift_map(ramp(180))[3, 3].reshape(4, 4, 8).sum(axis=(0, 1))
    assert (turned.argmax() - share.argmax()) % 8 == 4


def test_features_keep_their_places():
    """Only the blocks, and the points, near a spot see it."""
    blank = np.full((48, 48), 128, np.uint8)
    spot = blank.copy()
    spot[3:9, 3:9] = 255
    for make in features.MAPS.values():
        changed = np.abs(make(spot) - make(blank)).max(axis=2) > 1e-3
        assert changed[0, 0]
        assert not changed[-3:, -3:].any()


def test_without_scikit_image_hog_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("skimage"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match="features 'hog' need scikit-image; pip install scikit-image"):
        features.hog_map(ramp(0))


def test_a_specification_from_before_features_is_pixels():
    assert InputSpec.from_dict({"size": 48, "mean": 0.0, "std": 255.0}) == InputSpec(size=48)


def test_unknown_features_are_refused():
    with pytest.raises(ConfigError, match="input: features 'lbp' are none of hog, sift, or empty for pixels"):
        InputSpec(size=48, features="lbp")
