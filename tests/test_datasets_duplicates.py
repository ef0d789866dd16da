"""Near-duplicates: one photo in two splits is found in another brightness, size or place; lookalikes are not."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from fercore import datasets
from fercore.datasets import duplicates
from fercore.datasets.base import Dataset, face_table
from fercore.errors import ImageError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))


def scene(number: int, side: int = 64) -> np.ndarray:
    """A picture with structure at every scale, as photos have; every number gives another."""
    rng = np.random.default_rng(number)
    layers = [
        cv2.resize(rng.normal(0, n**-0.7, (n, n)), (side, side), interpolation=cv2.INTER_CUBIC) for n in (3, 6, 12, 24)
    ]
    total = np.sum(layers, axis=0)
    return np.clip(128 + 60 * total / total.std(), 0, 255).astype(np.uint8)


def watermark(picture: np.ndarray) -> np.ndarray:
    """The picture under a white word, as photo agencies lay it over theirs, but opaque."""
    return cv2.putText(picture.copy(), "stock", (5, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1)


def made(pictures: dict[str, np.ndarray], split: list[str], *, root: Path = Path("made")) -> Dataset:
    names = list(pictures)
    labels = ["happy" if number % 2 else "sad" for number in range(len(names))]
    table = face_table(names, labels, group=names, split=split)
    return Dataset("made", root, ("happy", "sad"), "crop", table, open_image=pictures.__getitem__)


CHANGES = {
    "same": lambda picture: picture,
    "darker": lambda picture: (picture * 0.6).astype(np.uint8),
    "brighter": lambda picture: np.clip(picture * 0.8 + 50, 0, 255).astype(np.uint8),
    "larger": lambda picture: cv2.resize(picture, (150, 150), interpolation=cv2.INTER_LINEAR),
    "smaller": lambda picture: cv2.resize(picture, (40, 40), interpolation=cv2.INTER_AREA),
    "shifted": lambda picture: cv2.warpAffine(
        picture, np.array([[1.0, 0, 2], [0, 1, -2]]), (64, 64), borderMode=cv2.BORDER_REFLECT
    ),
    "noisy": lambda picture: np.clip(picture + np.random.default_rng(9).normal(0, 6, picture.shape), 0, 255).astype(
        np.uint8
    ),
    "compressed": lambda picture: cv2.imdecode(
        cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_GRAYSCALE
    ),
    "marked": lambda picture: cv2.addWeighted(picture, 0.75, watermark(picture), 0.25, 0),
    "coloured": lambda picture: np.stack([picture] * 3, axis=2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_in_another_split_is_found(change):
    pictures = {f"{n}.png": scene(n) for n in range(8)} | {"copy.png": CHANGES[change](scene(3))}
    pairs = duplicates.find_near_duplicates(made(pictures, ["train"] * 8 + ["test"]))
    assert pairs[["first", "second", "first_split", "second_split"]].values.tolist() == [[3, 8, "train", "test"]]
    assert pairs["correlation"][0] >= duplicates.MIN_CORRELATION
    assert pairs["distance"][0] <= duplicates.MAX_DISTANCE


def test_strangers_and_copies_in_one_split_are_not_pairs():
    pictures = {f"{n}.png": scene(n) for n in range(300)} | {"copy.png": scene(0)}
    assert duplicates.find_near_duplicates(made(pictures, ["train"] * 150 + ["test"] * 150 + ["train"])).empty


def test_pictures_that_agree_in_outline_only_are_candidates_but_no_pairs():
    """Faces of a lab are lit and aligned alike: the hash cannot tell them apart, the detail can."""
    outline = cv2.GaussianBlur(scene(0), (0, 0), 8).astype(float)
    outline = (outline - outline.mean()) * 3 + 128
    detail = [scene(n).astype(float) - cv2.GaussianBlur(scene(n).astype(float), (0, 0), 3) for n in (1, 2)]
    pictures = {f"{n}.png": np.clip(outline + d * 0.35, 0, 255).astype(np.uint8) for n, d in enumerate(detail)}
    dataset = made(pictures, ["train", "test"])
    assert len(duplicates.find_near_duplicates(dataset, min_correlation=-1)) == 1
    assert duplicates.find_near_duplicates(dataset).empty


def test_blank_pictures_are_duplicates_of_nothing():
    blank = np.zeros((48, 48), np.uint8)
    ramp = np.tile(np.arange(48, dtype=np.uint8), (48, 1))
    pictures = {"a": blank, "b": ramp, "c": blank, "d": ramp}
    assert duplicates.find_near_duplicates(made(pictures, ["train", "train", "test", "test"])).empty


def test_an_unreadable_picture_is_a_duplicate_of_nothing():
    def broken(locator: str) -> np.ndarray:
        if locator == "1.png":
            raise ImageError("1.png: damaged")
        return scene(0)

    dataset = made({f"{n}.png": scene(0) for n in range(3)}, ["train", "validation", "test"])
    dataset = dataclasses.replace(dataset, open_image=broken)
    pairs = duplicates.find_near_duplicates(dataset)
    assert pairs[["first", "second"]].values.tolist() == [[0, 2]]


def test_the_labelled_box_is_what_counts():
    photo = np.tile(scene(5, 40), (1, 1))
    wide = np.hstack([scene(6, 40), photo])
    dataset = made({"a": photo, "b": wide}, ["train", "test"])
    boxes = {"left": [0.0, 40.0], "top": [0.0, 0.0], "width": [40.0, 40.0], "height": [40.0, 40.0]}
    assert duplicates.find_near_duplicates(dataset).empty
    boxed = dataclasses.replace(dataset, table=dataset.table.assign(**boxes))
    assert len(duplicates.find_near_duplicates(boxed)) == 1


def test_the_earlier_split_loses_its_copy_and_test_none():
    pictures = {"a": scene(0), "b": scene(0), "c": scene(0), "d": scene(1), "e": scene(1), "f": scene(2)}
    dataset = made(pictures, ["test", "train", "validation", "train", "validation", "train"])
    pairs = duplicates.find_near_duplicates(dataset)
    assert duplicates.drop_from_training(dataset, pairs).tolist() == [True, False, False, False, True, True]
    assert duplicates.count_pairs(pairs) == {
        "train/validation": {"pairs": 2, "train": 2, "validation": 2},
        "train/test": {"pairs": 1, "train": 1, "test": 1},
        "validation/test": {"pairs": 1, "validation": 1, "test": 1},
    }
    none = pairs.iloc[:0]
    assert duplicates.drop_from_training(dataset, none).all()


def test_near_pairs_finds_what_a_plain_loop_finds(monkeypatch):
    rng = np.random.default_rng(0)
    left = rng.integers(0, 2**64, 60, dtype=np.uint64)
    right = np.concatenate([left[:20] ^ np.uint64(0b1011), rng.integers(0, 2**64, 30, dtype=np.uint64)])
    monkeypatch.setattr(duplicates, "_CELLS", 128)
    found = duplicates.near_pairs(left, right, 25)
    expected = [
        [i, j, bits]
        for i, a in enumerate(left.tolist())
        for j, b in enumerate(right.tolist())
        if (bits := (a ^ b).bit_count()) <= 25
    ]
    assert found.tolist() == expected
    assert len(expected) >= 20
    assert duplicates.near_pairs(left[:0], right).shape == (0, 3)
    assert duplicates.near_pairs(left, right[:0]).shape == (0, 3)


def test_a_hash_ignores_brightness_and_contrast_but_not_the_picture():
    pictures = np.stack([scene(n, 32) for n in range(50)])
    plain = duplicates.hash_thumbnails(pictures)
    dull = duplicates.hash_thumbnails((pictures // 2 + 40).astype(np.uint8))
    assert plain.dtype == np.uint64
    assert np.bitwise_count(plain ^ dull).max() <= 6
    others = np.bitwise_count(plain[:, None] ^ plain[None, :])[np.triu_indices(50, 1)]
    assert 28 < others.mean() < 36


def test_thumbnails_are_made_once_for_any_splits():
    pictures = {f"{n}.png": scene(n) for n in range(4)}
    dataset = made(pictures, ["train", "train", "test", "test"])
    seen: list[object] = []

    def progress(items):
        seen.extend(items)
        return items

    first = duplicates.hashes(dataset, progress)
    assert len(seen) == 4
    again = duplicates.hashes(dataset.with_splits(np.array(["test"] * 4)), progress)
    assert len(seen) == 4
    assert (first == again).all()


def test_the_pairs_of_fer2013_take_seconds():
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 2**64, count, dtype=np.uint64) for count in (28_709, 7_178))
    begin = time.process_time()
    pairs = duplicates.near_pairs(train, test, 12)
    assert time.process_time() - begin < 15  # seconds of CPU: about 1
    assert isinstance(pairs, np.ndarray)


def test_real_lookalikes_of_ckplus_are_few(data_dir):
    """Split by subject there is no near-duplicate, but faces that are aligned and lit alike."""
    faces = datasets.load("ckplus", data_dir)
    pairs = duplicates.find_near_duplicates(faces)
    assert (~duplicates.drop_from_training(faces, pairs)).sum() <= 15


def test_real_fer2013_is_known_for_its_near_duplicates(data_dir, monkeypatch):
    monkeypatch.undo()  # the parsed table of the shared cache
    faces = datasets.load("fer2013", data_dir)
    pairs = duplicates.find_near_duplicates(faces)
    counts = pd.Series({key: value["pairs"] for key, value in duplicates.count_pairs(pairs).items()})
    assert 900 < counts["train/test"] < 1300
    assert 900 < counts["train/validation"] < 1300
    same = pairs[pairs["correlation"] > 0.9999]
    assert len(same) > 300
    for first, second in same[["first", "second"]].head(20).values:
        one, other = (faces.open_image(faces.table["image"][row]).astype(float).ravel() for row in (first, second))
        assert np.corrcoef(one, other)[0, 1] > 0.99
