"""Photos shared between processes: the answers of one, in the same order, whatever happens to a process."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fercore import batch
from fercore.batch import Answer, Setup
from fercore.errors import ConfigError, ImageError, RunError
from fercore.inference import Face, Predictor
from made_run import made_run


def face(photo: str) -> Face:
    """The face that the brittle predictor sees in a photo of that name."""
    size = float(len(photo))
    return Face((0.0, 0.0, size, size), 0.5, "happy", 0.75, {"happy": 0.75, "sad": 0.25}, False)


class Brittle:
    """A predictor that never opens a photo, and meets the end that the photo's name asks for."""

    def predict(self, photo: str) -> list[Face]:
        if "kill" in photo:
            os._exit(7)
        if "hang" in photo:
            time.sleep(600)
        if "torn" in photo:
            raise ImageError(f"{photo}: torn")
        if "bug" in photo:
            raise ZeroDivisionError("ours")
        return [face(photo)]


@dataclasses.dataclass(frozen=True)
class BrittleSetup(Setup):
    """Makes the brittle predictor, or what stands for a run that does not load."""

    def predictor(self) -> Brittle:
        if self.run == "refused":
            raise RunError("refused: no such run")
        if self.run == "killer":
            os._exit(9)
        return Brittle()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Forty small photos, each with another part of the portrait, two of which are none."""
    from skimage import data

    folder = tmp_path_factory.mktemp("photos")
    portrait = data.astronaut()
    for number in range(38):
        part = portrait[number : number + 256, 60 + 2 * number : 316 + 2 * number]
        Image.fromarray(np.ascontiguousarray(part)).save(folder / f"{number:02}.jpg", quality=90)
    (folder / "07x.jpg").write_text("no picture")
    (folder / "21x.jpg").touch()
    return sorted(folder.iterdir())


def test_processes_give_the_answers_of_one_in_the_same_order(photos: list[Path], tmp_path: Path) -> None:
    run = made_run(tmp_path, "made", faces=20)
    setup = Setup(str(run.path), "fer2013")
    alone = list(batch.answers(setup, photos))
    assert [found.image for found in alone] == [str(photo) for photo in photos]
    assert [photo.name for photo, found in zip(photos, alone, strict=True) if found.error] == ["07x.jpg", "21x.jpg"]
    assert sum(len(found.faces) for found in alone) > 30
    predictor = Predictor.load(run)
    assert alone[3] == Answer(str(photos[3]), tuple(predictor.predict(photos[3])))
    assert list(batch.answers(setup, photos, workers=3)) == alone
    assert list(batch.answers(setup, [], workers=3)) == []


def test_a_photo_that_ends_or_blocks_its_process_costs_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "PATIENCE", 3.0)
    names = [f"{number}.jpg" for number in range(60)]
    names[5], names[6], names[20], names[40], names[59] = "kill5", "kill6", "hang20", "torn40", "kill59"
    found = list(batch.answers(BrittleSetup(), names, workers=2))
    assert [answer.image for answer in found] == names
    lines = {answer.image: answer.error for answer in found if answer.error}
    assert lines == {
        "kill5": "kill5: ends the process that reads it (7); save it again",
        "kill6": "kill6: ends the process that reads it (7); save it again",
        "hang20": "hang20: takes more than 3 s; save it again",
        "torn40": "torn40: torn",
        "kill59": "kill59: ends the process that reads it (7); save it again",
    }
    assert all(answer.faces == (face(answer.image),) for answer in found if not answer.error)


def test_a_guarded_process_is_replaced_when_a_photo_ends_or_blocks_it() -> None:
    guarded = batch.Guarded(BrittleSetup(), patience=10.0)
    try:
        assert guarded.answer("fine").faces == (face("fine"),)
        assert guarded.answer("kill").error == "kill: ends the process that reads it (7); save it again"
        assert guarded.answer("fine again").faces == (face("fine again"),)
        guarded.patience = 0.5
        assert guarded.answer("hang").error == "hang: takes more than 0 s; save it again"
        guarded.patience = 60.0
        assert guarded.answer("torn").error == "torn: torn"
    finally:
        guarded.close()
    with pytest.raises(RunError, match=r"^refused: no such run$"):
        batch.Guarded(BrittleSetup("refused"))
    with pytest.raises(RunError, match=r"^killer: a process ended while it loaded the run \(code 9\)$"):
        batch.Guarded(BrittleSetup("killer"))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_defect_of_ours_costs_one_photo(workers: int) -> None:
    first, second = batch.answers(BrittleSetup(), ["bug", "fine"], workers=workers)
    assert first.error == "bug: cannot be classified (ZeroDivisionError: ours); please report it"
    assert second.faces == (face("fine"),)


def test_a_run_that_does_not_load_is_told_once() -> None:
    with pytest.raises(RunError, match=r"^refused: no such run$"):
        list(batch.answers(BrittleSetup("refused"), ["a", "b"]))
    with pytest.raises(ValueError, match=r"^refused: no such run$"):
        list(batch.answers(BrittleSetup("refused"), ["a", "b"], workers=2))
    with pytest.raises(RunError, match=r"^killer: a process ended while it loaded the run \(code 9\)$"):
        list(batch.answers(BrittleSetup("killer"), ["a", "b"], workers=2))


def test_whoever_stops_reading_leaves_no_process_behind() -> None:
    import multiprocessing

    stream = batch.answers(BrittleSetup(), [f"{number}" for number in range(500)], workers=2)
    assert next(stream).image == "0"
    assert len(multiprocessing.active_children()) >= 2
    stream.close()
    assert not multiprocessing.active_children()


def test_a_number_of_processes_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"^workers: expected a number of processes, 0 for one a core, got -1$"):
        batch.answers(BrittleSetup(), ["a"], workers=-1)
    assert [answer.image for answer in batch.answers(BrittleSetup(), ["a"], workers=0)] == ["a"]


def test_an_answer_is_what_predict_prints() -> None:
    assert Answer("a.jpg", error="a.jpg: torn").to_dict() == {"image": "a.jpg", "error": "a.jpg: torn"}
    assert Answer("b.jpg", (face("b.jpg"),)).to_dict() == {"image": "b.jpg", "faces": [face("b.jpg").to_dict()]}
