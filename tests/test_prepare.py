"""What happens to datasets before training: limits, near-duplicates, unreadable pictures, and refusals that come early."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fercore import datasets, runs
from fercore.config import artifacts_dir
from fercore.datasets.base import Dataset
from fercore.errors import ConfigError, DataError, FerError
from fercore.training import prepare as prepare_module
from fercore.training.prepare import detector_key, prepare, prepare_all, split_faces
from fercore.training.recipe import Recipe
from made_faces import made_dataset, make_folder

LABELS = ("angry", "happy", "zen")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path) -> Path:
    return make_folder(tmp_path / "faces", ("anger", "happiness", "zen"), 20)


def recipe(*names: str, **changes: object) -> Recipe:
    return Recipe.from_dict({"model": "report-cnn", "datasets": list(names or ("folder",)), **changes})


def test_every_face_of_a_clean_folder_is_ready(root):
    part = prepare("folder", root, recipe())
    assert part.dataset.labels == LABELS
    assert len(part.dataset) == len(part.rows) == 60
    assert part.left_out == 0
    assert part.dropped == frozenset()
    assert part.labelled is None
    for row in (0, 30, 59):
        picture = part.dataset.open_image(part.dataset.table["image"][row])
        np.testing.assert_array_equal(part.crops.pixels[part.rows[row]], picture[:, :, 0])


def test_what_cannot_be_used_is_told_before_anything_is_refused(root):
    """First what the reader met, then what shows when a picture is opened."""
    (root / "zen" / "broken.png").write_bytes(b"no picture at all")
    (root / "stray.png").write_bytes((root / "zen" / "000.png").read_bytes())
    seen: list[Dataset] = []
    part = prepare("folder", root, recipe(), seen=seen.append)
    assert [problem.kind for problem in seen[0].problems] == ["no class", "unreadable image"]
    assert seen[0].problems[1].where == "zen/broken.png"
    assert len(seen[0]) == len(part.dataset) == 60
    for file in (root / "anger").iterdir():
        file.write_bytes(b"no picture at all")
    with pytest.raises(DataError, match="has no face of class angry"):
        prepare("folder", root, recipe(), seen=seen.append)
    assert seen[1].problem_counts() == {"no class": 1, "unreadable image": 21}


def test_splits_become_faces_with_one_target_each(root):
    parts = prepare_all(recipe(class_weight=1.0), root)
    joined = {name: split_faces(parts, name, recipe(class_weight=1.0)) for name in datasets.SPLITS}
    assert sum(map(len, joined.values())) == 60
    counts = parts[0].dataset.counts()
    for name, faces in joined.items():
        assert faces.targets["folder"].sum(axis=0).tolist() == [counts[name][label] for label in LABELS]
    assert set(joined["validation"].weights["folder"].tolist()) == {1.0}


def test_copies_in_a_later_split_leave_training(root, tmp_path):
    """A face of test that stands in train as well is taken out of train; ``keep_duplicates`` keeps it."""
    splits = tmp_path / "split"
    for number, name in enumerate(("train", "val", "test")):
        make_folder(splits / name, LABELS, 8, seed=number)
    copied = splits / "test" / "zen" / "000.png"
    (splits / "train" / "zen" / "copy.png").write_bytes(copied.read_bytes())
    part = prepare("folder", splits, recipe())
    assert part.left_out == 1
    assert part.duplicates == {"train-test": 1}
    assert "train/zen/copy.png" not in set(part.dataset.table["image"])
    assert "test/zen/000.png" in set(part.dataset.table["image"])
    assert part.dropped == {(str(splits.resolve()), "train/zen/copy.png#0")}
    kept = prepare("folder", splits, recipe(keep_duplicates=True))
    assert len(kept.dataset) == len(part.dataset) + 1
    assert kept.left_out == 0
    assert kept.duplicates == {"train-test": 1}  # told all the same


def test_what_one_source_leaves_out_the_others_leave_out_too(monkeypatch):
    """Row 3 of a shared table is a duplicate for the source that also has its copy in test; the other must not train on it."""
    split = ["train"] * 6 + ["validation"] * 3 + ["test"] * 3
    one, _, _ = made_dataset([0, 1, 2, 0, 1, 2] * 2, LABELS, name="one", split=split)
    two, _, _ = made_dataset([0, 1, 2, 0, 1, 2] * 2, LABELS, name="two", split=split)
    made = {"one": one, "two": two}
    monkeypatch.setattr(prepare_module.datasets, "load", lambda name, data: made[name])

    def keep(dataset: Dataset, pairs) -> np.ndarray:
        return np.arange(len(dataset)) != (3 if dataset.name == "one" else -1)

    monkeypatch.setattr(prepare_module.duplicates, "drop_from_training", keep)
    parts = prepare_all(recipe("one", "two"), "nowhere")
    assert [part.left_out for part in parts] == [1, 1]
    for part in parts:
        assert "made.csv#3" not in part.dataset.locators()
        assert len(part.dataset) == len(part.rows) == 11
    assert len(split_faces(parts, "train", recipe("one", "two"))) == 5


def test_a_limit_is_for_each_split_and_sees_every_class(root):
    part = prepare("folder", root, recipe(limit=5))
    counts = part.dataset.counts()
    assert {name: sum(found.values()) for name, found in counts.items()} == {"train": 5, "validation": 5, "test": 5}
    for found in counts.values():
        assert min(found.values()) >= 1
    again = prepare("folder", root, recipe(limit=5))
    other = prepare("folder", root, recipe(limit=5, seed=1))
    assert again.dataset.locators() == part.dataset.locators()
    assert other.dataset.locators() != part.dataset.locators()
    assert len(prepare("folder", root, recipe(limit=1000)).dataset) == 60


def test_a_rehearsal_opens_its_own_faces_only(root, monkeypatch):
    """Otherwise a limit would save no time on the pictures of a large dataset."""
    opened = set()
    load = datasets.load

    def counted(*arguments: object, **options: object) -> Dataset:
        dataset = load(*arguments, **options)
        original = dataset.open_image

        def open_image(locator: str) -> np.ndarray:
            opened.add(locator)
            return original(locator)

        return prepare_module.dataclasses.replace(dataset, open_image=open_image)

    monkeypatch.setattr(prepare_module.datasets, "load", counted)
    prepare("folder", root, recipe(limit=3))
    assert len(opened) == 9


def test_a_limit_below_the_number_of_classes_is_refused(root):
    with pytest.raises(ConfigError, match="limit: 2 faces a split are fewer than the 3 classes of 'folder'"):
        prepare("folder", root, recipe(limit=2))


def test_unreadable_pictures_are_left_out_and_counted(root):
    for name in ("000", "001", "002"):
        (root / "zen" / f"{name}.png").write_bytes(b"no picture at all")
    part = prepare("folder", root, recipe())
    assert len(part.dataset) == 57
    assert part.dataset.problem_counts() == {"unreadable image": 3}
    assert len(split_faces([part], "train", recipe())) == part.dataset.counts()["train"]["zen"] + sum(
        part.dataset.counts()["train"][label] for label in ("angry", "happy")
    )


def test_a_class_whose_pictures_are_all_unreadable_is_missed_by_name(root):
    for file in (root / "zen").iterdir():
        file.write_bytes(b"no picture at all")
    with pytest.raises(DataError) as caught:
        prepare("folder", root, recipe())
    assert "'folder' has no face of class zen" in str(caught.value)
    assert "unreadable image" in str(caught.value)  # the first problem
    assert "\n" not in str(caught.value)


def test_nothing_readable_is_one_line(root):
    for file in root.rglob("*.png"):
        file.write_bytes(b"no picture at all")
    with pytest.raises(FerError) as caught:
        prepare("folder", root, recipe())
    assert "no usable face in dataset 'folder'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_without_a_face_in_training_is_refused_before_training(tmp_path):
    for number, name in enumerate(("train", "val", "test")):
        make_folder(tmp_path / "s" / name, LABELS[: 2 if name == "train" else 3], 6, seed=number)
    with pytest.raises(
        DataError, match="no usable face of class zen in its train split; add some or leave the class out"
    ):
        prepare("folder", tmp_path / "s", recipe())


def test_a_split_without_a_readable_face_is_refused_before_training(tmp_path):
    for number, name in enumerate(("train", "val", "test")):
        make_folder(tmp_path / "s" / name, LABELS, 6, seed=number)
    for file in (tmp_path / "s" / "test").rglob("*.png"):
        file.write_bytes(b"no picture at all")
    with pytest.raises(DataError, match="'folder' has no usable face in its test split; add some"):
        prepare("folder", tmp_path / "s", recipe())


def test_a_test_split_of_one_photo_is_refused_before_training(tmp_path):
    for number, (name, count) in enumerate((("train", 6), ("val", 6), ("test", 2))):
        make_folder(tmp_path / "s" / name, LABELS, count, seed=number)
    _, *others = sorted((tmp_path / "s" / "test").rglob("*.png"))
    for file in others:
        file.write_bytes(b"no picture at all")
    with pytest.raises(
        DataError, match=r"'folder' has a single photo or person in its test split.*; add more pictures"
    ):
        prepare("folder", tmp_path / "s", recipe())


def test_an_empty_class_folder_is_missed_by_name(root):
    (root / "sad").mkdir()
    with pytest.raises(DataError, match="has no face of class sad"):
        prepare("folder", root, recipe())


def test_photos_with_labelled_boxes_get_the_detectors_boxes(tmp_path, portrait):
    """An ExpW-like folder: the crops come from our detector's boxes where it finds the face, which is what serving does."""
    from fercore import faces, preprocess
    from fercore.datasets.crops import MARGIN, SIZE
    from fercore.datasets.matching import match

    root = expw_like(tmp_path / "expw", portrait)
    part = prepare("expw", root, recipe("expw", keep_duplicates=True))
    assert len(part.dataset) == 28
    row = 4
    picture = part.dataset.open_image(part.dataset.table["image"][row])
    found = faces.load_detector().detect(picture).boxes
    (which,) = match(part.dataset.boxes()[[row]], found)
    assert which >= 0
    x, y, side = preprocess.face_square(found[which], preprocess.FRAMINGS["detector"])
    expected = preprocess.cut(picture, (x, y, side * MARGIN), SIZE)
    np.testing.assert_array_equal(part.crops.pixels[part.rows[row]], expected)
    # The labelled boxes frame the same rows a second time, for training.
    x, y, side = preprocess.face_square(part.dataset.boxes()[row], preprocess.FRAMINGS["expw"])
    labelled = preprocess.cut(picture, (x, y, side * MARGIN), SIZE)
    np.testing.assert_array_equal(part.labelled.pixels[part.rows[row]], labelled)
    faces_of = split_faces([part], "train", recipe("expw"))
    assert faces_of.others == (part.labelled,)


def expw_like(root: Path, portrait: np.ndarray) -> Path:
    """Write 28 photos of the portrait, four a class, each of another brightness and place, and their ``label.lst``."""
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = []
    for number in range(28):
        left, top = (int(value) for value in rng.integers(0, 60, 2))
        dark = portrait[top : top + 300, 80 + left : 380 + left].astype(float) * rng.uniform(0.6, 1)
        Image.fromarray(dark.astype(np.uint8)).save(root / "images" / f"p{number}.png")
        # The face of the portrait is 170 to 280 across and 70 to 180 down.
        x, y = 170 - 80 - left, 70 - top
        lines.append(f"p{number}.png 0 {max(0, y)} {max(0, x)} {x + 110} {y + 110} 0.9 {number % 7}")
    (root / "label.lst").write_text("\n".join(lines) + "\n")
    return root


def test_the_detectors_key_follows_its_files(tmp_path, monkeypatch):
    monkeypatch.delenv("FER_DETECTOR", raising=False)
    shipped = detector_key()
    assert shipped == detector_key()
    copy = tmp_path / "detector"
    copy.mkdir()
    for file in (artifacts_dir() / "detector").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    monkeypatch.setenv("FER_DETECTOR", str(copy))
    assert detector_key() == shipped
    (copy / "detector.json").write_text((copy / "detector.json").read_text() + " ")
    assert detector_key() != shipped
    single = tmp_path / "yunet.onnx"
    single.write_bytes(b"weights")
    monkeypatch.setenv("FER_DETECTOR", str(single))
    assert detector_key() not in (shipped, runs.sha256(single))
