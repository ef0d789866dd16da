"""Runs against datasets: whose faces they answered, with what, and what is made of the answers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fercore import datasets, metrics, preprocess, runs
from fercore.datasets.base import Dataset, face_table
from fercore.errors import DataError, FerError, ImageError
from fercore.evaluation import Answers, answer, score
from fercore.faces import Detections
from fercore.inference import Predictor
from fercore.labels import FERPLUS_LABELS, LABELS
from fercore.runs import Run
from made_faces import made_dataset
from made_run import made_ensemble, made_run


class OneFace:
    """A detector that finds one face in the middle, unless the picture is dark; it insists on RGB, as the real ones do."""

    def detect(self, image: np.ndarray) -> Detections:
        assert image.ndim == 3
        assert image.shape[2] == 3
        height, width = image.shape[:2]
        boxes = [[width / 4, height / 4, width / 2, height / 2], [0, 0, 8, 8]] if image.mean() > 20 else []
        boxes = np.array(boxes, np.float32).reshape(-1, 4)
        return Detections(boxes, np.full(len(boxes), 0.9, np.float32), np.zeros((len(boxes), 6, 2), np.float32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("artifacts")
    heads = {"fer2013": LABELS, "ferplus": FERPLUS_LABELS}
    members = [made_run(root, name, heads=heads, faces=20, seed=seed) for name, seed in (("one", 1), ("two", 2))]
    made_ensemble(root, "both", members)
    return root


def load(run: Path, head: str | None = None) -> Predictor:
    return Predictor.load(run, head=head, detector=OneFace())


def photos(count: int = 6, *, boxes: bool = True, framing: str = "expw") -> Dataset:
    """Return photos of noise, each with a face, the first with three; labels go round."""
    rng = np.random.default_rng(5)
    pictures = {f"{number}.jpg": rng.integers(30, 256, (90, 120, 3), dtype=np.uint8) for number in range(count)}
    images = ["0.jpg", *pictures, "0.jpg"]  # the faces of a photo need not follow one another
    sides = np.column_stack([rng.uniform(10, 40, (len(images), 2)), rng.uniform(30, 50, (len(images), 2))])
    table = face_table(
        images,
        [LABELS[number % 7] for number in range(len(images))],
        group=images,
        split="test",
        face_id=[0, 1, *[0] * (count - 1), 2],
        boxes=sides if boxes else None,
    )
    return Dataset("photos", Path("photos"), LABELS, framing, table, pictures.__getitem__)


def answered(probs: np.ndarray, labels: tuple[str, ...], dataset: Dataset) -> Answers:
    return Answers(dataset, np.zeros_like(probs), probs, labels, "made", 0)


@pytest.mark.parametrize("run", ["one", "both"])
def test_each_face_gets_what_the_predictor_says_of_its_box(folder: Path, run: str) -> None:
    dataset = photos()
    predictor = load(folder / run)
    seen: list[str] = []

    def watch(groups: list[tuple[str, Any]]) -> Any:
        for group in groups:
            seen.append(group[0])
            yield group

    answers = answer(predictor, dataset, progress=watch)
    assert sorted(seen) == [f"{number}.jpg" for number in range(6)]
    assert answers.unreadable == 0
    assert sorted(answers.dataset.locators()) == sorted(dataset.locators())
    for row, picture in enumerate(answers.dataset.table["image"]):
        box = answers.dataset.boxes()[row : row + 1]
        alone = predictor.classify(dataset.open_image(picture), box, framing="expw")
        assert np.allclose(answers.pred_probs[row], alone, atol=1e-6)


@pytest.mark.parametrize("run", ["one", "both"])
def test_pictures_that_cannot_be_read_are_counted_and_shift_no_answer(folder: Path, run: str) -> None:
    dataset = photos()
    whole = answer(load(folder / run), dataset)

    def torn(image: str) -> np.ndarray:
        if image in ("0.jpg", "3.jpg"):
            raise ImageError(f"{image}: torn")
        return dataset.open_image(image)

    answers = answer(load(folder / run), dataclasses.replace(dataset, open_image=torn))
    assert answers.unreadable == 4
    where = {locator: row for row, locator in enumerate(whole.dataset.locators())}
    assert sorted(answers.dataset.locators()) == ["1.jpg#0", "2.jpg#0", "4.jpg#0", "5.jpg#0"]
    rows = [where[locator] for locator in answers.dataset.locators()]
    assert np.allclose(answers.pred_probs, whole.pred_probs[rows], atol=1e-6)
    assert np.allclose(answers.logits, whole.logits[rows], atol=1e-5)


def test_no_readable_picture_is_an_error(folder: Path) -> None:
    def gone(image: str) -> np.ndarray:
        raise ImageError("gone")

    with pytest.raises(DataError, match="photos: no face of dataset 'photos' could be read"):
        answer(load(folder / "one"), dataclasses.replace(photos(), open_image=gone))


def test_a_framing_that_a_run_or_a_member_does_not_know_is_an_error(folder: Path) -> None:
    old = Run.load(folder / "two")
    framings = {name: old.info["framings"][name] for name in ("detector", "crop")}
    files = {name: old.path / name for name in old.info["files"]}
    runs.write(folder / "old", old.info | {"framings": framings}, files)
    info = Run.load(folder / "both").info | {"members": ["one", "old"]}
    runs.write(folder / "mixed", info, {})
    for name in ("old", "mixed"):
        with pytest.raises(FerError, match="framing 'expw' is unknown to run old; it knows detector, crop"):
            answer(load(folder / name), photos())


def test_a_picture_that_is_a_crop_is_taken_whole(folder: Path) -> None:
    dataset, crops, _ = made_dataset([0, 3, 5, 6], LABELS, split="test")
    answers = answer(load(folder / "one"), dataset)
    inputs = preprocess.cut_faces(crops.pixels[1], [[0, 0, 48, 48]], preprocess.Framing(scale=1), 48)
    assert np.array_equal(inputs[0], crops.pixels[1])
    predictor = load(folder / "one")
    assert np.allclose(answers.pred_probs[1], predictor.probabilities([crops.pixels[1:2]])[0], atol=1e-6)


@pytest.mark.parametrize("grey", [False, True])
def test_in_a_photo_without_boxes_the_largest_face_is_looked_for(folder: Path, grey: bool) -> None:
    dataset = photos(boxes=False, framing="detector")

    def opened(image: str) -> np.ndarray:
        picture = dataset.open_image(image) // (20 if image == "4.jpg" else 1)  # too dark for the detector
        return picture[..., 0].copy() if grey else picture

    answers = answer(load(folder / "one"), dataclasses.replace(dataset, open_image=opened))
    assert answers.unreadable == 1
    assert "4.jpg" not in set(answers.dataset.table["image"])
    wanted = load(folder / "one").classify(opened("5.jpg"), [[30, 22.5, 60, 45]])
    row = answers.dataset.table["image"].tolist().index("5.jpg")
    assert np.allclose(answers.pred_probs[row], wanted[0], atol=1e-6)


def test_the_table_is_what_a_run_stores(folder: Path) -> None:
    answers = answer(load(folder / "one", head="ferplus"), photos())
    table = answers.table()
    assert list(table.columns) == [
        *("dataset", "split", "head", "locator", "left", "top", "width", "height"),
        *("label", "prediction", "confidence"),
        *(f"p_{label}" for label in FERPLUS_LABELS),
    ]
    assert set(table["dataset"]) == {"photos"}
    assert set(table["split"]) == {"test"}
    assert set(table["head"]) == {"ferplus"}
    assert table["locator"].tolist() == answers.dataset.locators()
    assert np.allclose(table[["left", "top", "width", "height"]], answers.dataset.boxes())
    assert table["label"].tolist() == answers.dataset.table["label"].tolist()
    assert np.array_equal(table[[f"p_{label}" for label in FERPLUS_LABELS]], answers.pred_probs)
    assert table["prediction"].tolist() == [FERPLUS_LABELS[best] for best in answers.pred_probs.argmax(axis=1)]
    assert np.array_equal(table["confidence"], answers.pred_probs.max(axis=1))


def test_scores_are_those_of_the_stored_table(folder: Path) -> None:
    answers = answer(load(folder / "one"), photos(20))
    table = answers.table()
    measured = score(answers, resamples=20)
    assert measured["head"] == "fer2013"
    assert measured["faces"] == 22
    assert measured["left_out"] == 0
    assert measured["groups"] == 20
    assert measured["accuracy"]["value"] == pytest.approx((table["label"] == table["prediction"]).mean())
    for label, values in measured["per_class"].items():
        rows = table[table["label"] == label]
        assert values["support"] == len(rows)
        assert values["recall"]["value"] == pytest.approx((rows["prediction"] == label).mean())
    assert "release_accuracy" not in measured
    assert score(answers, resamples=20, seed=0) == measured
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured


def test_only_classes_that_both_sides_know_count() -> None:
    """Of classes a, b, c the dataset lacks c and has d: c cannot be chosen, and faces of d are left out."""
    dataset, _, _ = made_dataset([0, 0, 1, 2, 1], ("a", "b", "d"), split="test")
    probs = np.array([[0.3, 0.1, 0.6], [0.1, 0.2, 0.7], [0.2, 0.3, 0.5], [1, 0, 0], [0.5, 0.4, 0.1]])
    measured = score(answered(probs, ("a", "b", "c"), dataset), resamples=10)
    assert measured["faces"] == 4
    assert measured["left_out"] == 1
    assert measured["classes"] == ["a", "b"]
    assert measured["confusion"]["value"] == [[1, 1], [1, 1]]
    assert measured["log_loss"]["value"] == pytest.approx(-np.log([3 / 4, 1 / 3, 3 / 5, 4 / 9]).mean())


def test_a_face_of_no_shared_class_and_too_few_classes_are_errors() -> None:
    dataset, _, _ = made_dataset([2, 2], ("a", "b", "d"), split="test")
    probs = np.full((2, 3), 1 / 3)
    with pytest.raises(DataError, match="dataset 'made': none of its 2 faces is of a class of a, b"):
        score(answered(probs, ("a", "b", "c"), dataset))
    with pytest.raises(DataError, match=r"dataset 'made' \(a, b, d\) and head 'made' \(d, e, f\) share fewer than two"):
        score(answered(probs, ("d", "e", "f"), dataset))


def test_order_of_classes_plays_no_part() -> None:
    dataset, _, _ = made_dataset([0, 1, 2, 2], ("a", "b", "c"), split="test")
    probs = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    measured = score(answered(probs, ("a", "b", "c"), dataset), resamples=10)
    turned = score(answered(probs[:, [2, 0, 1]], ("c", "a", "b"), dataset), resamples=10)
    assert turned["classes"] == ["c", "a", "b"]
    assert turned["accuracy"] == measured["accuracy"]
    assert turned["per_class"]["c"] == measured["per_class"]["c"]
    assert measured["accuracy"]["value"] == 0.75


def test_expw_gets_the_accuracy_under_the_releases_shares() -> None:
    codes = [code for code in range(7) for _ in range(4)]
    dataset, _, _ = made_dataset(codes, LABELS, name="expw", split="test")
    right = np.array([number % 4 <= code % 4 for number, code in enumerate(codes)])
    probs = np.full((28, 7), 0.1)
    probs[np.arange(28), np.where(right, codes, (np.array(codes) + 1) % 7)] = 0.4
    measured = score(answered(probs, LABELS, dataset), resamples=30)
    counts = metrics.EXPW_RELEASE_COUNTS
    shares = np.array([counts[label] for label in LABELS]) / sum(counts.values())
    recalls = np.array([right[np.array(codes) == code].mean() for code in range(7)])
    assert measured["release_accuracy"]["value"] == pytest.approx((shares * recalls).sum())
    again = score(answered(probs, LABELS, dataset), resamples=30, seed=1)
    assert again["release_accuracy"]["value"] == measured["release_accuracy"]["value"]
    assert again["release_accuracy"] != measured["release_accuracy"]


def test_a_rehearsal_on_expw_without_a_face_of_some_class_has_no_such_accuracy() -> None:
    dataset, _, _ = made_dataset([0, 1, 2, 3], LABELS, name="expw", split="test")
    measured = score(answered(np.full((4, 7), 1 / 7), LABELS, dataset), resamples=5)
    assert "release_accuracy" not in measured
    assert measured["per_class"]["neutral"]["recall"]["value"] is None


def test_real_photos_with_their_labelled_boxes(folder: Path, data_dir: Path) -> None:
    if "expw" not in datasets.find_datasets(data_dir):
        pytest.skip("needs expw in the data folder")
    faces = datasets.load("expw", data_dir).split("test")
    some = faces.select(np.arange(24))
    answers = answer(load(folder / "one"), some)
    assert answers.unreadable == 0
    assert answers.pred_probs.shape == (24, 7)
    assert len(np.unique(answers.pred_probs.round(4), axis=0)) == 24
    picture = some.open_image(some.table["image"].iat[0])
    alone = load(folder / "one").classify(picture, some.boxes()[:1], framing="expw")
    row = answers.dataset.locators().index(some.locators()[0])
    assert np.allclose(answers.pred_probs[row], alone[0], atol=1e-6)
