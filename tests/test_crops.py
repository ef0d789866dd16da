"""Crops: cut by the road's own code, kept until pictures or boxes change, and never half-written."""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fercore import preprocess
from fercore.datasets import crops as crops_module
from fercore.datasets.base import Dataset, face_table
from fercore.datasets.crops import MARGIN, SIZE, load_crops, pictures_key
from fercore.errors import ImageError
from fercore.images import load_image
from made_faces import made_dataset

BOXES = np.array([[40, 30, 60, 80], [120, 60, 50, 50], [20, 20, 90, 90]], np.float32)


class Opener:
    """Opens pictures below a folder and counts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.opened: list[str] = []

    def __call__(self, locator: str) -> np.ndarray:
        self.opened.append(locator)
        return load_image(self.root / locator)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A cache of each test's own, whatever ``$FER_CACHE`` says."""
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "crops"


@pytest.fixture
def photos(tmp_path) -> Dataset:
    """Two photos (200x160) with three labelled boxes, the first of which holds two."""
    root = tmp_path / "photos"
    root.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 256, (160, 200, 3), dtype=np.uint8)).save(root / name)
    table = face_table(
        ["a.png", "a.png", "b.png"], ["happy", "sad", "sad"], group=["a", "a", "b"], face_id=[0, 1, 0], boxes=BOXES
    )
    return Dataset(
        name="photos", root=root, labels=("happy", "sad"), framing="expw", table=table, open_image=Opener(root)
    )


def test_a_crop_is_the_face_square_with_a_margin(photos):
    crops = load_crops(photos)
    assert crops.pixels.shape == (3, SIZE, SIZE)
    assert crops.pixels.dtype == np.uint8
    assert isinstance(crops.pixels, np.memmap)
    assert crops.usable.all()
    assert crops.side == pytest.approx(SIZE / MARGIN)
    for row, image in enumerate(("a.png", "a.png", "b.png")):
        x, y, side = preprocess.face_square(BOXES[row], preprocess.FRAMINGS["expw"])
        expected = preprocess.cut(load_image(photos.root / image), (x, y, side * MARGIN), SIZE)
        np.testing.assert_array_equal(crops.pixels[row], expected)


def test_given_boxes_go_before_the_tables_and_missing_ones_fall_back(photos):
    given = np.array([[30, 30, 50, 50], [np.nan] * 4, [10, 10, 100, 100]], np.float32)
    crops = load_crops(photos, boxes=given, framing="detector")
    for row, (box, framing) in enumerate(((given[0], "detector"), (BOXES[1], "expw"), (given[2], "detector"))):
        x, y, side = preprocess.face_square(box, preprocess.FRAMINGS[framing])
        picture = load_image(photos.root / photos.table["image"][row])
        np.testing.assert_array_equal(crops.pixels[row], preprocess.cut(picture, (x, y, side * MARGIN), SIZE))


def test_each_photo_is_opened_once_and_only_the_first_time(photos):
    first = load_crops(photos)
    assert photos.open_image.opened == ["a.png", "b.png"]
    again = load_crops(photos)
    assert photos.open_image.opened == ["a.png", "b.png"]
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert first.side == again.side


def test_labels_and_splits_play_no_part_in_the_cache(photos):
    load_crops(photos)
    table = photos.table.assign(label=["sad", "happy", "happy"], split="test")
    load_crops(dataclasses.replace(photos, table=table))
    assert len(photos.open_image.opened) == 2


@pytest.mark.parametrize("what", ["picture", "boxes", "table", "framing", "rows"])
def test_what_changes_a_crop_makes_it_anew(photos, what):
    before = load_crops(photos)
    opened = len(photos.open_image.opened)
    changed, options = photos, {}
    if what == "picture":
        Image.fromarray(np.zeros((160, 200, 3), np.uint8)).save(photos.root / "a.png")
    elif what == "boxes":
        options = {"boxes": BOXES + 1, "framing": "detector"}
    elif what == "table":
        changed = dataclasses.replace(photos, table=photos.table.assign(left=[41.0, 120.0, 20.0]))
    elif what == "framing":
        changed = dataclasses.replace(photos, framing="detector")
    else:
        changed = photos.select(np.array([0, 2]))
    after = load_crops(changed, **options)
    assert len(photos.open_image.opened) > opened
    assert after.pixels.shape != before.pixels.shape or not np.array_equal(after.pixels, before.pixels)


def test_a_table_file_with_other_pixels_makes_crops_anew():
    """A new ``fer2013.csv`` at the same place has the same locators: its pixels tell."""
    old, _, _ = made_dataset([0, 1, 2] * 10, ("a", "b", "c"), seed=1)
    new, expected, _ = made_dataset([0, 1, 2] * 10, ("a", "b", "c"), seed=2)
    assert old.locators() == new.locators()
    assert pictures_key(old) != pictures_key(new)
    load_crops(old)
    np.testing.assert_array_equal(load_crops(new).pixels, expected.pixels)


def test_pictures_that_are_the_face_stay_as_they_are():
    dataset, expected, _ = made_dataset([0, 1, 2], ("a", "b", "c"))
    crops = load_crops(dataset)
    assert crops.side == 48
    np.testing.assert_array_equal(crops.pixels, expected.pixels)


def test_crops_of_odd_sizes_share_one_side():
    """The median side, but at least 48 and at most ``SIZE``; oblong pictures keep their middle."""
    for sides, expected in (((30, 32, 34), 48), ((60, 64, 70), 64), ((400, 500, 600), SIZE)):
        pictures = {f"t#{side}": np.full((side, side + 4), 7, np.uint8) for side in sides}
        table = face_table(list(pictures), ["x"] * 3, group=list(pictures))
        dataset = Dataset(
            name=f"odd{expected}",
            root=Path("odd"),
            labels=("x", "y"),
            framing="crop",
            table=table,
            open_image=pictures.__getitem__,
        )
        crops = load_crops(dataset)
        assert crops.pixels.shape == (3, expected, expected)
        assert crops.side == expected
        assert (crops.pixels == 7).all()


def test_an_unreadable_picture_costs_its_faces_only(photos):
    (photos.root / "a.png").write_bytes(b"no picture")
    crops = load_crops(photos)
    assert crops.usable.tolist() == [False, False, True]
    assert [problem.kind for problem in crops.problems] == ["unreadable image"]
    assert crops.problems[0].where == "a.png"
    assert crops.problems == load_crops(photos).problems  # kept with the crops


def test_a_picture_without_a_known_face_is_told(photos):
    bare = dataclasses.replace(
        photos, framing="detector", table=photos.table.assign(left=np.nan, top=np.nan, width=np.nan, height=np.nan)
    )
    found = np.array([[30, 30, 50, 50], [np.nan] * 4, [np.nan] * 4], np.float32)
    crops = load_crops(bare, boxes=found, framing="detector")
    assert crops.usable.tolist() == [True, False, False]
    assert {problem.kind for problem in crops.problems} == {"no face"}


def test_select_keeps_row_and_usability_together(photos):
    crops = load_crops(photos)
    chosen = crops.select(np.array([2, 0]))
    np.testing.assert_array_equal(chosen.pixels, crops.pixels[[2, 0]])
    assert chosen.usable.tolist() == [True, True]


@pytest.mark.parametrize("when", ["cutting", "writing"])
def test_an_interrupted_pass_leaves_nothing_and_is_made_again(photos, cache, monkeypatch, when):
    with monkeypatch.context() as patched:
        if when == "cutting":

            def stop(*_: object) -> np.ndarray:
                raise KeyboardInterrupt

            patched.setattr(crops_module.preprocess, "cut", stop)
            error: type[BaseException] = KeyboardInterrupt
        else:

            def full(*_: object) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            patched.setattr(crops_module.np, "save", full)
            error = OSError
        with pytest.raises(error):
            load_crops(photos)
    assert list(cache.iterdir()) == []
    assert load_crops(photos).usable.all()
    assert len(list(cache.iterdir())) == 1


def test_crops_that_another_process_finished_first_are_taken(photos, cache, monkeypatch):
    cut_all = crops_module._cut_all

    def overtaken(folder, *rest):
        cut_all(folder, *rest)
        monkeypatch.setattr(crops_module, "_cut_all", cut_all)
        load_crops(photos)  # the other process

    monkeypatch.setattr(crops_module, "_cut_all", overtaken)
    assert load_crops(photos).usable.all()
    assert len(list(cache.iterdir())) == 1


def test_a_picture_that_vanishes_is_unreadable(photos):
    def gone(locator: str) -> np.ndarray:
        raise ImageError(f"{locator}: the picture is not there")

    crops = load_crops(dataclasses.replace(photos, open_image=gone))
    assert not crops.usable.any()
    assert len(crops.problems) == 2


def test_real_faces_of_expw_fill_their_crops(data_dir, monkeypatch):
    """On a few labelled photos, the face square lies in the middle: what serving cuts is what training sees."""
    from fercore import datasets

    faces = datasets.load("expw", data_dir).select(np.arange(0, 60, 6))
    crops = load_crops(faces)
    assert crops.usable.all()
    middle = crops.pixels.shape[1] / 2
    differences = []
    for position, box in enumerate(faces.boxes()):
        served = preprocess.cut_faces(
            faces.open_image(faces.table["image"][position]), [box], preprocess.FRAMINGS["expw"], 48
        )[0]
        seen = preprocess.cut(crops.pixels[position], (middle, middle, crops.side), 48)
        differences.append(float(np.abs(served.astype(int) - seen).mean()))
    assert max(differences) < 6  # grey levels: resampled twice instead of once
