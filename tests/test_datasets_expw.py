"""ExpW's reader: the official layouts, and every kind of bad line, told with its number."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fercore import datasets
from fercore.datasets import expw
from fercore.datasets.crops import pictures_key
from fercore.errors import DataError, ImageError
from fercore.labels import LABELS

SEVEN = [f"photo_{label}.jpg 0 10 20 60 70 50.5 {label}" for label in range(7)]
"""Top 10, left 20, right 60, bottom 70: a box 40 wide and 60 high."""


def make_expw(root: Path, lines: list[str], *, images: str = "images", labels: str = "label.lst") -> Path:
    """Write a tree of ExpW with a photo of 100x80 pixels for every ``photo_...`` named in a line."""
    (root / images).mkdir(parents=True)
    (root / labels).parent.mkdir(exist_ok=True)
    (root / labels).write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name in {line.split()[0] for line in lines if line.startswith("photo_")}:
        Image.new("RGB", (100, 80), (200, 30, 30)).save(root / images / name)
    return root


@pytest.mark.parametrize(
    ("images", "labels"), [("images", "label.lst"), ("Images", "label.lst"), ("image/origin", "label/label.lst")]
)
@pytest.mark.parametrize("below", ["", "expw"])
def test_reads_every_layout_from_its_own_folder_or_the_one_above(tmp_path, images, labels, below):
    make_expw(tmp_path / below, SEVEN, images=images, labels=labels)
    faces = datasets.load("expw", tmp_path)
    assert faces.root == tmp_path / below
    assert faces.framing == "expw"
    assert faces.table["image"].tolist() == [f"images/photo_{label}.jpg" for label in range(7)]
    assert faces.table["label"].tolist() == list(LABELS)
    assert faces.boxes().tolist() == [[20, 10, 40, 60]] * 7
    assert faces.locators()[3] == "images/photo_3.jpg#0"
    picture = faces.open_image("images/photo_3.jpg")
    assert picture.shape == (80, 100, 3)
    assert picture.dtype == np.uint8
    assert picture[40, 50, 0] > 150 > picture[40, 50, 2]
    assert faces.problems == ()


def test_bad_lines_are_told_with_their_number_and_the_rest_is_used(tmp_path):
    bad = {
        8: ("photo_0.jpg 0 10 20 60 70 50.5", "malformed", "7 fields, 8 expected"),
        9: ("photo_0.jpg one 10 20 60 70 50.5 0", "malformed", "not a number"),
        10: ("photo_0.jpg 0 nan 20 60 70 50.5 0", "malformed", "finite"),
        11: ("photo_0.jpg 0 10 20 60 70 50.5 7", "unknown label", "'7' is not one of 0 to 6"),
        12: ("photo_0.jpg 0 10 20 60 70 50.5 happy", "unknown label", "'happy'"),
        13: ("photo_0.jpg 0 10 60 60 70 50.5 0", "empty box", "left 60"),
        14: ("photo_0.jpg 0 10 100 160 70 50.5 0", "box outside", "in a photo of 100x80"),
        15: ("photo_0.jpg 0 -50 20 60 0 50.5 0", "box outside", "top -50"),
        16: ("photo_0.jpg 0 10 -50 0 70 50.5 0", "box outside", "left -50"),
        17: ("gone.jpg 0 10 20 60 70 50.5 0", "missing image", "images/gone.jpg is not there"),
        18: ("../label.lst 0 10 20 60 70 50.5 0", "missing image", "../label.lst"),
        19: ("photo_text.jpg 0 10 20 60 70 50.5 0", "unreadable image", "photo_text.jpg is no picture"),
    }
    root = make_expw(tmp_path, SEVEN + [line for line, _, _ in bad.values()])
    (root / "images" / "photo_text.jpg").write_text("not a picture")
    faces = datasets.load("expw", root)
    assert len(faces) == 7
    assert len(faces.problems) == len(bad)
    for problem, (number, (_, kind, what)) in zip(faces.problems, bad.items(), strict=True):
        assert problem.where == f"{root / 'label.lst'}:{number}"
        assert problem.kind == kind
        assert what in problem.what
        assert "\n" not in str(problem)
    assert faces.problem_counts() == {
        "malformed": 3,
        "unknown label": 2,
        "empty box": 1,
        "box outside": 3,
        "missing image": 2,
        "unreadable image": 1,
    }


def test_a_repeated_line_is_told_and_its_first_usable_one_counts(tmp_path):
    """The same photo and face number: two labels for one face, which nothing could tell apart later."""
    again = "photo_0.jpg 0 12 20 60 70 50.5 4"
    root = make_expw(
        tmp_path, ["photo_1.jpg 0 10 100 160 70 50.5 2", *SEVEN, again, "photo_0.jpg 1 10 20 60 70 50.5 4"]
    )
    faces = datasets.load("expw", root)
    assert len(faces) == 8
    assert len(set(faces.locators())) == 8
    assert faces.table.set_index(["image", "face_id"]).loc[("images/photo_0.jpg", 0), "label"] == "angry"
    assert [str(problem).partition(": ")[0] for problem in faces.problems] == [
        f"{root / 'label.lst'}:1",
        f"{root / 'label.lst'}:9",
    ]
    assert str(faces.problems[1]).endswith(":9: duplicate line: face 0 of photo_0.jpg stands on line 2 already")


@pytest.mark.parametrize("images", ["images", "Images", "image/origin"])
def test_another_photo_of_the_same_name_is_noticed_in_every_layout(tmp_path, images):
    """What is made from photos and kept (crops, boxes, thumbnails) goes by this key."""
    root = make_expw(tmp_path, SEVEN, images=images)
    faces = datasets.load("expw", root)
    place = root / images / "photo_6.jpg"
    assert faces.file("images/photo_6.jpg").samefile(place)
    before = pictures_key(faces)
    assert pictures_key(datasets.load("expw", root)) == before
    Image.new("RGB", (100, 80), (30, 30, 200)).save(place)
    assert pictures_key(datasets.load("expw", root)) != before


def test_a_box_partly_outside_is_kept_as_labelled(tmp_path):
    root = make_expw(tmp_path, [*SEVEN, "photo_0.jpg 1 -10 80 130 40 9.0 3"])
    faces = datasets.load("expw", root)
    assert faces.boxes()[7].tolist() == [80, -10, 50, 50]
    assert faces.problems == ()


def test_blank_lines_and_windows_line_ends_do_no_harm(tmp_path):
    root = make_expw(tmp_path, SEVEN)
    text = "\ufeff" + "\r\n".join(["", *SEVEN, "", "bad"])
    (root / "label.lst").write_bytes(text.encode())
    faces = datasets.load("expw", root)
    assert len(faces) == 7
    assert [problem.where.rpartition(":")[2] for problem in faces.problems] == ["10"]


def test_a_photo_keeps_its_faces_in_one_split(tmp_path):
    lines = [
        f"photo_{photo}.jpg {face} 10 20 60 70 50.5 {(photo + face) % 7}" for photo in range(40) for face in range(3)
    ]
    faces = datasets.load("expw", make_expw(tmp_path, lines))
    assert faces.table.groupby("image")["split"].nunique().max() == 1
    assert set(faces.table["split"]) == {"train", "validation", "test"}
    assert (faces.table["group"] == faces.table["image"]).all()


def test_a_missing_class_and_an_empty_dataset_are_refused(tmp_path):
    lacking = make_expw(tmp_path / "lacking", [*SEVEN[:6], "photo_6.jpg 0 10 20 60 70 50.5 9"])
    with pytest.raises(DataError, match=r"no face of class neutral; .*label.lst:7: unknown label"):
        datasets.load("expw", lacking)
    assert len(datasets.load("expw", lacking, strict=False)) == 6
    empty = make_expw(tmp_path / "empty", ["nonsense"])
    with pytest.raises(DataError, match=r"no usable face in dataset 'expw'; first problem: .*label.lst:1: malformed"):
        datasets.load("expw", empty, strict=False)


def test_lacking_photos_are_told(tmp_path):
    (tmp_path / "label.lst").write_text(SEVEN[0])
    with pytest.raises(DataError, match="ExpW lacks the folder of photos"):
        datasets.load("expw", tmp_path)


def test_a_truncated_photo_is_told_when_it_is_opened(tmp_path):
    root = make_expw(tmp_path, SEVEN)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)).save(
        root / "images" / "photo_2.jpg"
    )
    whole = (root / "images" / "photo_2.jpg").read_bytes()
    (root / "images" / "photo_2.jpg").write_bytes(whole[: len(whole) // 2])
    faces = datasets.load("expw", root)
    assert len(faces) == 7
    with pytest.raises(ImageError, match="photo_2"):
        faces.open_image("images/photo_2.jpg")


def test_photo_sizes_are_read_again_when_a_photo_changes(tmp_path):
    root = make_expw(tmp_path, SEVEN)
    assert len(expw.read(root)) == 7
    Image.new("RGB", (15, 15)).save(root / "images" / "photo_5.jpg")
    assert [str(problem.kind) for problem in expw.read(root).problems] == ["box outside"]


SIZE_OF_THE_RELEASE = """
import sys
from pathlib import Path
from fercore import datasets
faces = datasets.load("expw", sys.argv[1])
status = Path("/proc/self/status").read_text()
print(len(faces), int(status.partition("VmHWM:")[2].split()[0]) // 1024)
"""


# Not resource.getrusage: on Linux its peak starts with that of the process that started this one.
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads the peak from Linux's /proc")
def test_the_whole_release_fits_into_2_gib(tmp_path):
    """91,793 lines over 500 photos: what the table costs is a matter of lines."""
    lines = [f"photo_{n % 500}.jpg {n // 500} 10 20 60 70 50.5 {n * 31 % 7}" for n in range(91_793)]
    make_expw(tmp_path, lines)
    command = [sys.executable, "-c", SIZE_OF_THE_RELEASE, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
    count, mebibytes = map(int, run.stdout.split())
    assert count == 91_793
    assert mebibytes < 1024


def test_real_expw(data_dir):
    faces = datasets.load("expw", data_dir)
    assert len(faces) == 4555
    assert faces.table["image"].nunique() == 4296
    assert faces.problems == ()
    assert faces.table["label"].value_counts().min() >= 644
    assert faces.table["label"].value_counts().max() <= 660
    assert faces.table.groupby("image")["split"].nunique().max() == 1
    for split, share in (("train", 0.7), ("validation", 0.1), ("test", 0.2)):
        counts = faces.counts()[split]
        for label, whole in faces.table["label"].value_counts().items():
            assert counts[label] == pytest.approx(share * whole, abs=3)
    assert datasets.load("expw", data_dir / "expw").digest() == faces.digest()
    assert faces.open_image(faces.table["image"][0]).ndim == 3
