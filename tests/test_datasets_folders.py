"""The readers of class-named folders (CK+ and a stranger's) and of JAFFE."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fercore import datasets
from fercore.datasets import ckplus, jaffe
from fercore.errors import ConfigError, DataError, ImageError
from fercore.labels import LABELS


def write(path: Path, side: int = 48) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (side + 10, side), 90).save(path)


def make_classes(root: Path, *classes: str, count: int = 10, side: int = 48) -> Path:
    for name in classes:
        for number in range(count):
            write(root / name / f"{number}.png", side)
    return root


def test_reads_any_class_named_folders(tmp_path):
    root = make_classes(tmp_path, "Happiness", "anger", "SURPRISED", "bored")
    faces = datasets.load("folder", root)
    assert faces.name == "folder"
    assert faces.labels == ("angry", "happy", "surprise", "bored")
    assert faces.table["image"].iloc[0] == "Happiness/0.png"
    assert faces.table["label"].value_counts().to_dict() == dict.fromkeys(faces.labels, 10)
    assert faces.table["split"].value_counts().to_dict() == {"train": 28, "validation": 4, "test": 8}
    assert faces.open_image("anger/3.png").shape == (48, 58, 3)
    assert datasets.find_datasets(root) == ["folder"]


def test_synonyms_in_one_tree_are_one_class(tmp_path):
    root = make_classes(tmp_path, "anger", "angry", "sad", count=2)
    assert datasets.load("folder", root).table["label"].value_counts().to_dict() == {"angry": 4, "sad": 2}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"train": 8, "val": 2, "test": 4}, {"train": 16, "validation": 4, "test": 8}),
        ({"Training": 16, "testing": 4}, {"train": 28, "validation": 4, "test": 8}),
        ({"train": 18, "valid": 2}, {"train": 28, "validation": 4, "test": 8}),
        ({"test": 3}, {"test": 6}),
    ],
)
def test_keeps_given_splits_and_cuts_what_is_missing_from_train(tmp_path, names, expected):
    for name, count in names.items():
        make_classes(tmp_path / name, "happy", "sad", count=count)
    faces = datasets.load("folder", tmp_path)
    assert faces.table["split"].value_counts().to_dict() == expected
    if "test" in names:
        assert (faces.table["split"] == "test").equals(faces.table["image"].str.startswith("test/"))


def test_other_files_do_not_count_and_loose_pictures_are_told(tmp_path):
    make_classes(tmp_path, "happy", "sad", count=3)
    (tmp_path / "happy" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "happy" / ".hidden.png").write_bytes(b"x")
    make_classes(tmp_path, ".git", "__MACOSX")
    write(tmp_path / "stray.png")
    faces = datasets.load("folder", tmp_path)
    assert len(faces) == 6
    assert faces.labels == ("happy", "sad")
    assert [str(problem) for problem in faces.problems] == [
        f"{tmp_path / 'stray.png'}: no class: lies beside the class folders, not in one"
    ]


def test_an_empty_class_is_refused_by_name_unless_that_is_wanted(tmp_path):
    make_classes(tmp_path, "happy", "sad")
    (tmp_path / "fear").mkdir()
    (tmp_path / "notes").mkdir()
    with pytest.raises(DataError, match="no face of class fear; add some or leave the class out"):
        datasets.load("folder", tmp_path)
    assert len(datasets.load("folder", tmp_path, strict=False)) == 20


def test_fewer_than_two_classes_are_refused(tmp_path):
    make_classes(tmp_path, "happy")
    with pytest.raises(DataError, match="no dataset 'folder' here; it needs two or more class-named folders"):
        datasets.load("folder", tmp_path)


def test_a_damaged_picture_and_one_from_elsewhere_are_told_when_opened(tmp_path):
    root = make_classes(tmp_path / "faces", "happy", "sad")
    (root / "sad" / "4.png").write_bytes(b"no picture")
    write(tmp_path / "secret.png")
    faces = datasets.load("folder", root)
    with pytest.raises(ImageError, match=r"4\.png"):
        faces.open_image("sad/4.png")
    for locator in ("../secret.png", "sad/99.png"):
        with pytest.raises(ImageError, match="the picture is not there"):
            faces.open_image(locator)


@pytest.mark.parametrize(("side", "framing"), [(48, "crop"), (128, "crop"), (129, "detector"), (300, "detector")])
def test_the_size_of_the_pictures_tells_crops_from_photos(tmp_path, side, framing):
    root = make_classes(tmp_path, "happy", "sad", count=3, side=side)
    write(root / "happy" / "odd.png", 20)
    faces = datasets.load("folder", root)
    assert faces.framing == framing
    assert np.isnan(faces.boxes()).all()
    other = {"crop": "detector", "detector": "crop"}[framing]
    assert datasets.load("folder", root, framing=other).framing == other
    with pytest.raises(ConfigError, match="framing 'expw' does not fit dataset 'folder'; crop or detector"):
        datasets.load("folder", root, framing="expw")


def test_damaged_pictures_are_told_by_their_headers(tmp_path):
    make_classes(tmp_path / "mine", "happy", "sad", count=3)
    make_jaffe(tmp_path / "jaffe")
    make_ckplus(tmp_path / "CK+48")
    torn = {
        "folder": tmp_path / "mine" / "sad" / "1.png",
        "jaffe": tmp_path / "jaffe" / "KA.AN1.39.tiff",
        "ckplus": tmp_path / "CK+48" / "anger" / "S001_001_00000007.png",
    }
    for name, file in torn.items():
        faces = datasets.load(name, tmp_path / "mine" if name == "folder" else tmp_path)
        assert datasets.damaged(faces) == []
        file.write_bytes(b"no picture")
        (problem,) = datasets.damaged(faces)
        assert str(problem) == f"{file}: unreadable image: damaged or not a picture"
    mine = datasets.load("folder", tmp_path / "mine")
    looked = []
    assert datasets.damaged(mine, most=2, progress=lambda files: looked.extend(files) or files) == []
    assert looked == [mine.root / "happy" / "0.png", mine.root / "sad" / "0.png"]


def make_ckplus(root: Path) -> Path:
    for subject in range(1, 13):
        for sequence, label in ((1, "anger"), (2, "happy"), (3, "contempt")):
            for frame in (7, 8, 9):
                write(root / label / f"S{subject:03d}_{sequence:03d}_{frame:08d}.png")
    return root


@pytest.mark.parametrize("below", ["", "CK+48", "ckplus/CK+48", "ck+/CK+48", "CKPlus"])
def test_reads_ckplus_and_keeps_subjects_together(tmp_path, below):
    root = make_ckplus(tmp_path / below)
    faces = datasets.load("ckplus", tmp_path)
    assert faces.root == root
    assert faces.labels == ("angry", "happy", "contempt")
    assert faces.framing == "crop"
    assert len(faces) == 12 * 9
    assert set(faces.table["group"]) == {f"S{subject:03d}" for subject in range(1, 13)}
    assert faces.table.groupby("group")["split"].nunique().max() == 1
    assert set(faces.table["split"]) == {"train", "validation", "test"}
    assert "anger/S001_001_00000007.png" in set(faces.table["image"])
    assert datasets.find_datasets(tmp_path) == ["ckplus"]


def test_ckplus_tells_pictures_that_are_not_its_own(tmp_path):
    make_ckplus(tmp_path)
    write(tmp_path / "happy" / "holiday.png")
    write(tmp_path / "bored" / "S001_001_00000001.png")
    faces = datasets.load("ckplus", tmp_path)
    assert len(faces) == 108
    assert faces.labels == ("angry", "happy", "contempt")
    assert faces.problem_counts() == {"malformed": 1, "unknown label": 1}
    assert ckplus.parse_name("S010_004_00000017.png") == ("S010", "004", 17)
    assert ckplus.parse_name("holiday.png") is None


def make_jaffe(root: Path) -> Path:
    for subject in ("KA", "KL", "KM", "KR", "MK"):
        for number, code in enumerate(("AN", "DI", "FE", "HA", "NE", "SA", "SU")):
            write(root / f"{subject}.{code}1.{number + 39}.tiff", 256)
    return root


@pytest.mark.parametrize("below", ["", "jaffe", "JAFFE/jaffedbase"])
def test_reads_jaffe_and_keeps_subjects_together(tmp_path, below):
    make_jaffe(tmp_path / below)
    faces = datasets.load("jaffe", tmp_path)
    assert faces.labels == LABELS
    assert faces.framing == "detector"
    rows = faces.table.set_index("image")
    assert rows.loc["KA.AN1.39.tiff", ["label", "group"]].tolist() == ["angry", "KA"]
    assert rows.loc["MK.NE1.43.tiff", ["label", "group"]].tolist() == ["neutral", "MK"]
    assert faces.table["label"].value_counts().to_dict() == dict.fromkeys(LABELS, 5)
    assert faces.table.groupby("group")["split"].nunique().max() == 1
    assert set(faces.table["split"]) == {"train", "validation", "test"}
    assert faces.open_image("KA.AN1.39.tiff").shape == (256, 266, 3)
    assert datasets.find_datasets(tmp_path) == ["jaffe"]


def test_jaffe_tells_pictures_that_are_not_its_own(tmp_path):
    make_jaffe(tmp_path)
    write(tmp_path / "KA.XX1.39.tiff")
    write(tmp_path / "logo.png")
    (tmp_path / "README_FIRST.txt").write_text("terms")
    faces = datasets.load("jaffe", tmp_path)
    assert faces.problem_counts() == {"unknown label": 1, "malformed": 1}
    assert "'XX' is not AN" in str(faces.problems[0])
    assert jaffe.parse_name("ka.an1.39.TIFF") == ("KA", "angry")


def test_real_ckplus(data_dir):
    faces = datasets.load("ckplus", data_dir)
    assert len(faces) == 981
    assert faces.labels == ("angry", "disgust", "fear", "happy", "sad", "surprise", "contempt")
    assert (faces.table["label"] == "contempt").sum() == 54
    assert faces.problems == ()
    assert faces.table.groupby("group")["split"].nunique().max() == 1
    assert min(min(classes.values()) for classes in faces.counts().values()) >= 3
    assert datasets.load("ckplus", data_dir / "ckplus" / "CK+48").digest() == faces.digest()
