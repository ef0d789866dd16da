"""FER2013's and FER+'s readers: the table in every wrapping, Kaggle's folders, the votes, and bad rows."""

from __future__ import annotations

import gzip
import lzma
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fercore import datasets
from fercore.datasets import fer2013, ferplus
from fercore.errors import DataError
from fercore.labels import FERPLUS_LABELS, LABELS

USAGES = ("Training", "PublicTest", "PrivateTest")
VOTES_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def made_face(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (48, 48)).astype(np.uint8)


def row(number: int) -> str:
    """Row ``number`` of a table of 21: each class in each usage once."""
    return f"{number % 7},{' '.join(map(str, made_face(number).ravel()))},{USAGES[number // 7]}"


def table(*, bad: tuple[str, ...] = ()) -> str:
    return "\n".join(["emotion,pixels,Usage", *bad, *map(row, range(21))]) + "\n"


def write_csv(path: Path) -> None:
    path.write_text(table())


def write_gz(path: Path) -> None:
    path.write_bytes(gzip.compress(table().encode()))


def write_xz(path: Path) -> None:
    path.write_bytes(lzma.compress(table().encode()))


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("README", "see the paper")
        archive.writestr("fer2013/fer2013.csv", table())


WRITERS = {
    "fer2013.csv": write_csv,
    "fer2013.csv.gz": write_gz,
    "fer2013.csv.xz": write_xz,
    "fer2013.csv.zip": write_zip,
    "fer2013.zip": write_zip,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("where", ["own", "above", "file"])
def test_reads_the_table_in_every_wrapping(tmp_path, name, where):
    folder = tmp_path / "fer2013"
    folder.mkdir()
    WRITERS[name](folder / name)
    faces = datasets.load("fer2013", {"own": folder, "above": tmp_path, "file": folder / name}[where])
    assert faces.labels == LABELS
    assert faces.framing == "crop"
    assert faces.counts() == {split: dict.fromkeys(LABELS, 1) for split in ("train", "validation", "test")}
    assert faces.locators() == [f"fer2013.csv#{number}" for number in range(21)]
    assert np.isnan(faces.boxes()).all()
    for number in (0, 7, 20):
        picture = faces.open_image(f"fer2013.csv#{number}")
        assert picture.dtype == np.uint8
        assert (picture == made_face(number)).all()


def test_a_second_reading_does_not_parse_again(tmp_path, monkeypatch):
    write_csv(tmp_path / "fer2013.csv")
    first = datasets.load("fer2013", tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(fer2013, "_parse", lambda path: pytest.fail("parsed again"))
        second = datasets.load("fer2013", tmp_path)
    assert second.digest() == first.digest()
    assert (second.open_image("fer2013.csv#5") == made_face(5)).all()
    (tmp_path / "fer2013.csv").write_text(table(bad=("7,1 2 3,Training",)))
    third = datasets.load("fer2013", tmp_path)
    assert third.table["image"][0] == "fer2013.csv#1"
    assert len(third.problems) == 1


def test_bad_rows_are_told_with_their_line_and_keep_their_number(tmp_path):
    pixels = " ".join(["7"] * 2304)
    bad = {
        f"0,{' '.join(['7'] * 2303)},Training": ("malformed", "2303 pixels, 2304 expected"),
        f"0,{' '.join(['7'] * 2303)} 256,Training": ("malformed", "whole numbers from 0 to 255"),
        f"0,{' '.join(['7'] * 2303)} -1,Training": ("malformed", "whole numbers from 0 to 255"),
        f"0,{' '.join(['7'] * 2303)} x,Training": ("malformed", "whole numbers from 0 to 255"),
        f"7,{pixels},Training": ("unknown label", "emotion '7' is not one of 0 to 6"),
        f"sad,{pixels},Training": ("unknown label", "'sad'"),
        f"0,{pixels},Private": ("unknown usage", "'private'"),
        f"0,{pixels}": ("malformed", "2 fields, 3 expected"),
    }
    path = tmp_path / "fer2013.csv"
    path.write_text(table(bad=tuple(bad)))
    for _ in range(2):  # parsed, then from the cache
        faces = datasets.load("fer2013", tmp_path)
        assert len(faces) == 21
        assert faces.table["image"].iloc[[0, -1]].tolist() == ["fer2013.csv#8", "fer2013.csv#28"]
        assert (faces.open_image("fer2013.csv#8") == made_face(0)).all()
        assert len(faces.problems) == len(bad)
        for line, (problem, (kind, what)) in enumerate(zip(faces.problems, bad.values(), strict=True), start=2):
            assert (problem.kind, problem.where) == (kind, f"{path}:{line}")
            assert what in problem.what
    with pytest.raises(DataError, match=r"fer2013\.csv#3: no usable row"):
        faces.open_image("fer2013.csv#3")


def test_a_blank_line_is_no_row(tmp_path):
    first, second, *rest = table().splitlines()
    (tmp_path / "fer2013.csv").write_text("\n".join([first, second, "", *rest, "", "bad"]))
    faces = datasets.load("fer2013", tmp_path)
    assert faces.table["image"].tolist() == [f"fer2013.csv#{number}" for number in range(21)]
    assert (faces.open_image("fer2013.csv#1") == made_face(1)).all()
    assert [problem.where for problem in faces.problems] == [f"{tmp_path / 'fer2013.csv'}:25"]


def test_the_columns_may_stand_in_any_order(tmp_path):
    lines = [line.split(",") for line in table().splitlines()]
    (tmp_path / "fer2013.csv").write_text("\n".join(f"{e}, {u}, {p}" for e, p, u in lines))
    assert datasets.load("fer2013", tmp_path).counts()["test"] == dict.fromkeys(LABELS, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b,c\n1,2,3\n", "first line must name emotion, pixels and Usage"),
        (b"", "first line must name emotion, pixels and Usage"),
        (b"emotion,pixels,Usage\n", "no usable face in dataset 'fer2013'"),
        (b"emotion,pixels,Usage\n0,1 2,Training\n", "first problem: .*fer2013.csv:2: malformed: 2 pixels"),
    ],
)
def test_a_file_without_a_usable_row_is_refused(tmp_path, content, message):
    (tmp_path / "fer2013.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        datasets.load("fer2013", tmp_path)


@pytest.mark.parametrize("name", ["fer2013.csv.gz", "fer2013.csv.xz", "fer2013.zip"])
@pytest.mark.parametrize("damage", ["truncated", "other"])
def test_a_damaged_archive_is_refused(tmp_path, name, damage):
    WRITERS[name](tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2] if damage == "truncated" else b"hello" * 100)
    with pytest.raises(DataError, match=r"cannot be read as FER2013 .*; fetch the file again"):
        datasets.load("fer2013", tmp_path)


def make_kaggle(root: Path, *, public: bool) -> None:
    for split, names in (("train", ("Training_1", "Training_2", "Training_3")), ("test", ("PrivateTest_4", "x_5"))):
        for label in LABELS:
            folder = root / split / label
            folder.mkdir(parents=True)
            for name in names:
                Image.fromarray(made_face(1)).save(folder / f"{name}.png")
    if public:
        Image.fromarray(made_face(2)).save(root / "test" / "happy" / "PublicTest_9.png")


def test_reads_kaggles_folders_and_cuts_validation_from_train(tmp_path):
    make_kaggle(tmp_path / "fer2013", public=False)
    faces = datasets.load("fer2013", tmp_path)
    assert faces.name == "fer2013"
    assert faces.framing == "crop"
    assert faces.counts()["test"] == dict.fromkeys(LABELS, 2)
    assert sum(faces.counts()["train"].values()) + sum(faces.counts()["validation"].values()) == 21
    assert "train/happy/Training_1.png" in set(faces.table["image"])
    assert faces.open_image("train/happy/Training_1.png").shape[:2] == (48, 48)
    assert "fer2013" in datasets.find_datasets(tmp_path)
    assert datasets.find_datasets(tmp_path / "fer2013") == ["fer2013"]


def test_kaggles_public_test_pictures_are_validation(tmp_path):
    make_kaggle(tmp_path, public=True)
    faces = datasets.load("fer2013", tmp_path)
    assert faces.counts()["validation"] == {**dict.fromkeys(LABELS, 0), "happy": 1}
    assert faces.counts()["train"] == dict.fromkeys(LABELS, 3)


def test_kaggles_folders_without_a_class_are_refused_by_its_name(tmp_path):
    make_kaggle(tmp_path, public=False)
    for split in ("train", "test"):
        for path in (tmp_path / split / "disgust").iterdir():
            path.unlink()
    with pytest.raises(DataError, match="no face of class disgust"):
        datasets.load("fer2013", tmp_path)


def votes(**counts: int) -> np.ndarray:
    return np.array([[counts.get(name, 0) for name in (*FERPLUS_LABELS, "unknown", "nf")]])


@pytest.mark.parametrize(
    ("counts", "winner"),
    [
        ({"happy": 10}, "happy"),
        ({"happy": 6, "sad": 4}, "happy"),
        ({"happy": 5, "sad": 5}, None),  # no more than half
        ({"happy": 4, "sad": 3, "fear": 3}, None),
        ({"happy": 5, "sad": 4, "fear": 1}, "happy"),  # 5 of the 9 that are left
        ({"happy": 4, "sad": 2, "fear": 1, "disgust": 1, "angry": 1, "neutral": 1}, "happy"),  # 4 of 6
        ({"happy": 3, "unknown": 7}, "unknown"),
        ({"nf": 8, "happy": 2}, "nf"),
        (dict.fromkeys(("happy", "sad", "fear", "angry", "disgust"), 1), None),  # outliers all
        ({"contempt": 6, "neutral": 4}, "contempt"),
    ],
)
def test_the_majority_follows_the_papers_rules(counts, winner):
    names = (*FERPLUS_LABELS, "unknown", "nf")
    assert ferplus.majority(votes(**counts)).tolist() == [names.index(winner) if winner else -1]


def ballot(number: int, name: str | None = None, **counts: int) -> str:
    header = ["neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt", "unknown", "nf"]
    image = f"fer{number:07d}.png" if name is None else name
    return ",".join([USAGES[number // 7], image, *(str(counts.get(column, 0)) for column in header)])


def make_ferplus(root: Path, changed: dict[int, str], *, faces: str = "fer2013", beside: str = "fer2013") -> Path:
    """FER2013 with a face of each class in each usage, and votes: class of FER+ ``number % 8``, but for ``changed``."""
    (root / faces).mkdir(exist_ok=True)
    (root / beside).mkdir(exist_ok=True)
    write_csv(root / faces / "fer2013.csv")
    lines = [
        changed.get(n, ballot(n, **({"angry": 10} if n % 8 == 0 else {FERPLUS_LABELS[n % 8]: 8, "angry": 2})))
        for n in range(21)
    ]
    path = root / beside / "fer2013new.csv"
    path.write_text("\n".join([VOTES_HEADER, *lines]) + "\n")
    return path


@pytest.mark.parametrize("beside", ["fer2013", "ferplus"])
def test_reads_labels_and_votes_from_ferplus(tmp_path, beside):
    make_ferplus(tmp_path, {3: ballot(3, happy=5, sad=4, fear=1)}, beside=beside)
    faces = datasets.load("ferplus", tmp_path)
    assert faces.labels == FERPLUS_LABELS
    assert faces.table["label"].tolist() == [FERPLUS_LABELS[n % 8] for n in range(21)]
    assert faces.table["split"].tolist() == ["train"] * 7 + ["validation"] * 7 + ["test"] * 7
    assert faces.votes.dtype == np.float32
    assert faces.votes.sum(axis=1) == pytest.approx(1)
    assert faces.votes[7] == pytest.approx([0.2, 0, 0, 0, 0, 0, 0, 0.8])
    assert faces.votes[3] == pytest.approx([0, 0, 0.1, 0.5, 0.4, 0, 0, 0])  # the outlier is still said
    assert (faces.open_image("fer2013.csv#9") == made_face(9)).all()
    assert "ferplus" in datasets.find_datasets(tmp_path)


def test_faces_that_ferplus_leaves_out_are_counted_by_kind(tmp_path):
    path = make_ferplus(
        tmp_path,
        {
            2: ballot(2, happy=5, sad=5),
            4: ballot(4, unknown=9),
            9: ballot(9, nf=9),
            10: ballot(10, name="", happy=10),
            12: ballot(12).replace("0,0,0", "0,x,0", 1),
            13: ballot(13),
            14: ballot(14, happy=9).replace("PrivateTest", "Training"),
            15: ballot(15, happy=9).replace("PrivateTest", "Other"),
            16: "PrivateTest,fer.png,1",
        },
    )
    faces = datasets.load("ferplus", tmp_path, strict=False)
    assert faces.problem_counts() == {
        "malformed": 3,
        "missing votes": 4,
        "unknown usage": 1,
        "usage mismatch": 1,
        "no majority": 1,
        "unknown expression": 1,
        "no face": 2,
    }
    assert len(faces) == len(faces.votes) == 21 - 9
    where = {problem.kind: problem.where for problem in faces.problems}
    assert where["no majority"] == f"{path}:4"
    assert where["usage mismatch"] == f"{path}:16"
    kept = [int(image.rpartition("#")[2]) for image in faces.table["image"]]
    assert [FERPLUS_LABELS[number % 8] for number in kept] == faces.table["label"].tolist()


def test_votes_without_faces_or_columns_are_refused(tmp_path):
    path = make_ferplus(tmp_path, {})
    path.write_text("Usage,Image name,neutral\n")
    with pytest.raises(DataError, match="no table of FER\\+ votes; its first line lacks angry, "):
        datasets.load("ferplus", tmp_path)
    (tmp_path / "fer2013" / "fer2013.csv").unlink()
    with pytest.raises(DataError, match=r"no dataset 'ferplus' here; it needs fer2013new.csv .* beside fer2013.csv"):
        datasets.load("ferplus", tmp_path)


def test_real_fer2013(data_dir):
    faces = datasets.load("fer2013", data_dir)
    counts = faces.counts()
    assert {split: sum(classes.values()) for split, classes in counts.items()} == {
        "train": 28709,
        "validation": 3589,
        "test": 3589,
    }
    official = {
        "angry": 4953,
        "disgust": 547,
        "fear": 5121,
        "happy": 8989,
        "sad": 6077,
        "surprise": 4002,
        "neutral": 6198,
    }
    for label, count in official.items():
        assert sum(split[label] for split in counts.values()) == pytest.approx(count, abs=2)
    assert faces.problems == ()
    assert faces.open_image("fer2013.csv#0")[0, :5].tolist() == [70, 80, 82, 72, 58]
    begin = time.process_time()
    datasets.load("fer2013", data_dir)
    assert time.process_time() - begin < 2  # seconds of CPU: 0.15, and 15 for parsing


def test_real_ferplus(data_dir):
    faces = datasets.load("ferplus", data_dir)
    assert {split: sum(classes.values()) for split, classes in faces.counts().items()} == {
        "train": 25060,
        "validation": 3199,
        "test": 3153,
    }
    assert faces.problem_counts() == {"no majority": 4200, "unknown expression": 99, "no face": 176}
    assert (faces.votes.argmax(axis=1) == faces.codes).all()
