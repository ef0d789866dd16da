"""Files of faces: the same rows in every format, and a file that goes on wherever it was torn."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fercore.batch import Answer
from fercore.errors import FerError
from fercore.inference import Face
from fercore.output import FORMATS, FaceFile

LABELS = ("happy", "sad, blue")
RUN = "made/consensus"


def face(left: float, confidence: float = 0.625) -> Face:
    probabilities = {"happy": confidence, "sad, blue": 1 - confidence}
    return Face((left, 20.0, 30.5, 40.0), 0.875, "happy", confidence, probabilities, confidence < 0.6)


ANSWERS = [
    Answer("one.jpg", (face(1.0),)),
    Answer('odd "name",\nof two.jpg', (face(2.0), face(3.0, 0.5))),
    Answer("none.jpg"),
    Answer("torn.jpg", error="torn.jpg: damaged, see elsewhere"),
    Answer("last.jpg", (face(4.0), face(5.0), face(6.0))),
]


def write(path: Path, answers: list[Answer], run: str = RUN) -> int:
    """Write what is not in the file yet; return how many photos were in it."""
    with FaceFile(path, run, LABELS) as file:
        for answer in answers:
            if answer.image not in file:
                file.write(answer)
    return file.skipped


def rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file with None for what is empty."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    return table.astype(object).where(table.notna(), None).to_dict("records")


def row(image: str, faces: int | None, number: int | None = None, **values: Any) -> dict[str, Any]:
    known = {"left": None, "top": None, "width": None, "height": None, "score": None, "label": None}
    known |= {"confidence": None, "uncertain": None, "p_happy": None, "p_sad, blue": None, "error": None}
    if number:
        known |= {"top": 20.0, "width": 30.5, "height": 40.0, "score": 0.875, "label": "happy"}
        known |= {"confidence": 0.625, "uncertain": False, "p_happy": 0.625, "p_sad, blue": 0.375}
    return {"image": image, "run": RUN, "faces": faces, "face": number} | known | values


EXPECTED = [
    row("one.jpg", 1, 1, left=1.0),
    row(ANSWERS[1].image, 2, 1, left=2.0),
    row(ANSWERS[1].image, 2, 2, left=3.0, confidence=0.5, uncertain=True) | {"p_happy": 0.5, "p_sad, blue": 0.5},
    row("none.jpg", 0),
    row("torn.jpg", None, error="torn.jpg: damaged, see elsewhere"),
    *[row("last.jpg", 3, number, left=3.0 + number) for number in (1, 2, 3)],
]


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_a_row_a_face_and_a_row_for_a_photo_without(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"faces{kind}"
    assert write(path, ANSWERS) == 0
    assert rows(path) == EXPECTED
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_json_lines_are_those_that_predict_prints_with_the_run(tmp_path: Path) -> None:
    write(tmp_path / "faces.jsonl", ANSWERS)
    assert rows(tmp_path / "faces.jsonl") == [answer.to_dict() | {"run": RUN} for answer in ANSWERS]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_is_continued_with_what_is_missing(tmp_path: Path, kind: str) -> None:
    whole, path = tmp_path / f"whole{kind}", tmp_path / f"faces{kind}"
    write(whole, ANSWERS)
    assert [write(path, ANSWERS[:count]) for count in (2, 3, 3, 5)] == [0, 2, 3, 3]
    assert rows(path) == rows(whole)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([whole.name, path.name])


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_was_torn_anywhere_is_made_whole(tmp_path: Path, kind: str) -> None:
    """As a sudden end would leave it: after every seventh byte of it, with nothing closed."""
    whole, path = tmp_path / f"whole{kind}", tmp_path / f"faces{kind}"
    write(whole, ANSWERS)
    journal = path.with_name("faces.parquet.part") if kind == ".parquet" else path
    file = FaceFile(path, RUN, LABELS)
    for answer in ANSWERS:
        file.write(answer)
    data = journal.read_bytes()
    start = data.index(b"\n") + 1 if kind == ".csv" else 0
    for length in (*range(start, len(data), 7), len(data) - 1):
        path.unlink(missing_ok=True)
        journal.write_bytes(data[:length])
        before = write(path, ANSWERS)
        assert before < 5
        assert rows(path) == rows(whole), length
    file._file.close()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"faces{kind}"
    refused = f"{path}: not a file that this call could continue: "
    for foreign in (b"garbage", b"a,b\n1,2\n", b'{"a": 1}\n', b"\xff\xfe" * 40, b"PAR1 garbage PAR1"):
        path.write_bytes(foreign)
        with pytest.raises(FerError) as caught:
            write(path, ANSWERS)
        assert str(caught.value).startswith(refused)
        assert str(caught.value).endswith("; choose another --out")
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == foreign
    path.unlink()
    for some in (ANSWERS, ANSWERS[:1]):  # a single row is the last as well
        path.unlink(missing_ok=True)
        write(path, some, "other/consensus")
        before = path.read_bytes()
        with pytest.raises(FerError, match=r"of '?other/consensus'?, not of made/consensus"):
            write(path, ANSWERS)
        assert path.read_bytes() == before


def test_a_last_row_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    write(path, ANSWERS[:1])
    path.write_text(path.read_text().replace(f"{RUN},1,", f"{RUN},n/a,"))
    with pytest.raises(FerError, match="not a file that this call could continue: a row is of"):
        write(path, ANSWERS)


def test_where_no_file_can_be_written_is_told_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FerError, match=r"faces\.txt: cannot write \.txt; use \.csv, \.parquet, \.jsonl"):
        write(tmp_path / "faces.txt", [])
    with pytest.raises(FerError, match="there is no folder"):
        write(tmp_path / "gone" / "faces.csv", [])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        FerError, match=r"Parquet needs pyarrow, which is missing; use \.csv, or install fercore\[app\]"
    ):
        write(tmp_path / "faces.parquet", [])
    assert write(tmp_path / "faces.csv", ANSWERS) == 0


@pytest.mark.parametrize("kind", FORMATS)
def test_names_that_are_no_text_are_kept_apart(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"faces{kind}"
    names = [b"\xff.jpg".decode("utf-8", "surrogateescape"), b"\xfe.jpg".decode("utf-8", "surrogateescape")]
    answers = [Answer(name) for name in names]
    assert [write(path, answers[:1]), write(path, answers), write(path, answers)] == [0, 1, 2]
    assert [each["image"] for each in rows(path)] == ["\\udcff.jpg", "\\udcfe.jpg"]
