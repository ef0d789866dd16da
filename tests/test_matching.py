"""Labelled boxes and detections: who belongs to whom, and what is kept."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fercore.datasets.base import Dataset, face_table
from fercore.datasets.matching import NEAR, RATIO, detected_boxes, match
from fercore.errors import ImageError
from fercore.faces import KEYPOINTS, Detections
from fercore.images import load_image


def box(x: float, y: float, size: float) -> list[float]:
    """A square box by its centre."""
    return [x - size / 2, y - size / 2, size, size]


def boxes(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_boxes_find_their_detection_whatever_the_order():
    labelled = boxes(box(50, 50, 40), box(150, 60, 40), box(250, 70, 40))
    detected = boxes(box(252, 71, 44), box(49, 52, 38), box(151, 60, 50))
    assert match(labelled, detected).tolist() == [1, 2, 0]


def test_the_nearest_pair_comes_first_and_a_detection_serves_once():
    """Both labels are near the one detection; the second is nearer, so the first goes without."""
    assert match(boxes(box(50, 50, 40), box(56, 50, 40)), boxes(box(58, 50, 40))).tolist() == [-1, 0]
    # A second detection, further away, is left for the first.
    assert match(boxes(box(50, 50, 40), box(56, 50, 40)), boxes(box(58, 50, 40), box(40, 50, 40))).tolist() == [1, 0]


@pytest.mark.parametrize(("shift", "found"), [(NEAR * 0.98, 0), (NEAR * 1.02, -1)])
def test_a_centre_further_than_half_the_box_is_another_face(shift, found):
    assert match(boxes(box(50, 50, 40)), boxes(box(50 + 40 * shift, 50, 40))).tolist() == [found]


@pytest.mark.parametrize(
    ("factor", "found"), [(RATIO * 0.98, 0), (RATIO * 1.02, -1), (1.02 / RATIO, 0), (0.98 / RATIO, -1)]
)
def test_a_size_that_differs_too_much_is_another_face(factor, found):
    assert match(boxes(box(50, 50, 40)), boxes(box(50, 50, 40 * factor))).tolist() == [found]


def test_nothing_to_match():
    assert match(boxes(), boxes(box(5, 5, 5))).tolist() == []
    assert match(boxes(box(5, 5, 5)), boxes()).tolist() == [-1]


def test_an_oblong_box_counts_with_the_geometric_mean_of_its_sides():
    assert match(np.array([[0, 0, 20, 80]], np.float32), boxes(box(10, 40, 40))).tolist() == [0]


@pytest.mark.parametrize("seed", range(5))
def test_no_detection_is_used_twice_and_no_better_free_pair_is_missed(seed):
    rng = np.random.default_rng(seed)
    labelled, detected = (
        boxes(*(box(*rng.uniform(0, 100, 2), rng.uniform(20, 60)) for _ in range(6))) for _ in range(2)
    )
    found = match(labelled, detected)
    used = [value for value in found if value >= 0]
    assert len(used) == len(set(used))
    for row, column in itertools.product(range(6), range(6)):
        if found[row] < 0 and column not in used:
            assert match(labelled[[row]], detected[[column]]).tolist() == [-1]


class Fake:
    """A detector with fixed answers by the picture's first pixel, which counts its work."""

    def __init__(self, answers: dict[int, np.ndarray]) -> None:
        self.answers = answers
        self.seen: list[tuple[int, ...]] = []

    def detect(self, image: np.ndarray) -> Detections:
        self.seen.append(image.shape)
        found = self.answers[int(image[0, 0, 0])]
        return Detections(found, np.ones(len(found), np.float32), np.zeros((len(found), len(KEYPOINTS), 2), np.float32))


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Dataset:
    """Three flat photos of grey 10, 20 and 30; the first holds two labelled faces."""
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "photos"
    root.mkdir()
    for grey in (10, 20, 30):
        Image.fromarray(np.full((100, 200, 3), grey, np.uint8)).save(root / f"{grey}.png")
    images = ["10.png", "20.png", "10.png", "30.png"]
    table = face_table(
        images,
        ["happy", "sad", "sad", "happy"],
        group=images,
        face_id=[0, 0, 1, 0],
        boxes=boxes(box(50, 50, 40), box(50, 50, 40), box(150, 50, 40), box(50, 50, 40)),
    )
    return Dataset(
        name="photos",
        root=root,
        labels=("happy", "sad"),
        framing="expw",
        table=table,
        open_image=lambda locator: load_image(root / locator),
    )


@pytest.fixture
def detector() -> Fake:
    return Fake(
        {10: boxes(box(148, 52, 44), box(52, 50, 42)), 20: boxes(), 30: boxes(box(150, 50, 40), box(51, 50, 50))}
    )


def test_each_face_gets_its_detection_or_nothing(photos, detector):
    found = detected_boxes(photos, detector, key="one")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], box(52, 50, 42))
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[2], box(148, 52, 44))
    np.testing.assert_allclose(found[3], box(51, 50, 50))
    assert len(detector.seen) == 3  # each photo once


def test_results_are_kept_by_pictures_boxes_and_detector(photos, detector):
    first = detected_boxes(photos, detector, key="one")
    again = detected_boxes(photos, detector, key="one")
    np.testing.assert_array_equal(first, again)
    assert again.flags.writeable  # an array of the caller's own
    assert len(detector.seen) == 3
    relabelled = dataclasses.replace(photos, table=photos.table.assign(label="sad", split="train"))
    detected_boxes(relabelled, detector, key="one")
    assert len(detector.seen) == 3
    detected_boxes(photos, detector, key="two")
    assert len(detector.seen) == 6
    Image.fromarray(np.full((100, 201, 3), 20, np.uint8)).save(photos.root / "20.png")
    detected_boxes(photos, detector, key="two")
    assert len(detector.seen) == 9


def test_a_photo_without_labelled_boxes_gives_its_largest_face(photos, detector):
    bare = dataclasses.replace(
        photos, table=photos.table.assign(left=np.nan, top=np.nan, width=np.nan, height=np.nan).drop_duplicates("image")
    ).select(np.arange(3))
    found = detected_boxes(bare, detector, key="one")
    np.testing.assert_allclose(found[0], box(148, 52, 44))
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[2], box(51, 50, 50))


def test_an_unreadable_photo_has_no_detection(photos, detector):
    def fails(locator: str) -> np.ndarray:
        if locator == "10.png":
            raise ImageError("broken")
        return load_image(photos.root / locator)

    found = detected_boxes(dataclasses.replace(photos, open_image=fails), detector, key="one")
    assert np.isnan(found[[0, 1, 2]]).all()
    assert np.isfinite(found[3]).all()


def test_grey_pictures_are_shown_to_the_detector_in_three_channels(photos, detector):
    grey = dataclasses.replace(photos, open_image=lambda locator: load_image(photos.root / locator)[:, :, 0])
    detected_boxes(grey, detector, key="one")
    assert set(detector.seen) == {(100, 200, 3)}


def test_a_cache_that_cannot_be_written_does_not_matter(photos, detector, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("FER_CACHE", str(blocked))
    assert np.isfinite(detected_boxes(photos, detector, key="one")[0]).all()


def test_our_detector_finds_most_labelled_faces_of_expw(data_dir):
    from fercore import datasets
    from fercore.faces import load_detector

    faces = datasets.load("expw", data_dir).select(np.arange(0, 200, 10))
    found = detected_boxes(faces, load_detector(), key=str(Path(__file__)))
    share = np.isfinite(found).all(axis=1).mean()
    assert share >= 0.85
