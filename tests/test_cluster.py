"""Ray Data: the answers of one process, from a cluster on this machine. Skipped by name where ray is not installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fercore import batch, cluster
from fercore.batch import Setup
from fercore.cli import main
from fercore.errors import ConfigError, FerError
from fercore.inference import Predictor
from test_batch import BrittleSetup, face

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Fifty copies of the portrait's faces in other places, and two files that are no picture."""
    import numpy as np
    from PIL import Image
    from skimage import data

    folder = tmp_path_factory.mktemp("photos")
    portrait = data.astronaut()
    for number in range(50):
        part = portrait[number % 20 : number % 20 + 256, 60 + 2 * number : 316 + 2 * number]
        Image.fromarray(np.ascontiguousarray(part)).save(folder / f"{number:02}.jpg", quality=90)
    (folder / "07x.jpg").write_text("no picture")
    (folder / "31x.jpg").touch()
    return sorted(folder.iterdir())


@pytest.mark.long
def test_a_local_cluster_gives_the_answers_of_one_process(
    photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="needs ray: pip install '.[ray]'")
    setup = Setup(str(Predictor.load().run.path))
    wanted = list(batch.answers(setup, photos))
    assert sum(bool(answer.error) for answer in wanted) == 2
    assert sum(len(answer.faces) for answer in wanted) > 40
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        assert list(cluster.answers(setup, photos, workers=2)) == wanted
        assert ray.is_initialized(), "a cluster that was there is left running"
    finally:
        ray.shutdown()
    files = []
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # where the actors find us from another folder
    monkeypatch.chdir(photos[0].parent.parent)
    for engine in ("local", "ray"):  # now without one: it starts its own
        files.append(tmp_path / f"{engine}.csv")
        told = CliRunner().invoke(main, ["predict", photos[0].parent.name, "--engine", engine, "--out", str(files[-1])])
        assert told.exit_code == 2  # two could not be read
        assert f"written: {files[-1]} (52 photos, " in told.stderr
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not ray.is_initialized()


@pytest.mark.long
def test_a_photo_that_ends_or_blocks_its_process_costs_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="needs ray: pip install '.[ray]'")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'tests'}{os.pathsep}{ROOT}")  # where the actors find the setup
    monkeypatch.setattr(batch, "PATIENCE", 20.0)
    names = [f"{number}.jpg" for number in range(40)]
    names[3], names[4], names[20], names[39] = "kill3", "kill4", "hang20", "kill39"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        found = list(cluster.answers(BrittleSetup(), names, workers=2))
    finally:
        ray.shutdown()
    assert [answer.image for answer in found] == names
    assert {answer.image: answer.error for answer in found if answer.error} == {
        "kill3": "kill3: ends the process that reads it (7); save it again",
        "kill4": "kill4: ends the process that reads it (7); save it again",
        "hang20": "hang20: takes more than 20 s; save it again",
        "kill39": "kill39: ends the process that reads it (7); save it again",
    }
    assert all(answer.faces == (face(os.path.abspath(answer.image)),) for answer in found if not answer.error)


def test_without_ray_a_line_says_how_to_get_it(photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    told = CliRunner().invoke(main, ["predict", str(photos[0]), "--engine", "ray"])
    assert told.exit_code == 2
    assert told.stdout == ""
    assert told.stderr == (
        "error: engine ray: needs ray, which is missing; pip install 'fercore[ray]', or leave --engine out\n"
    )


def test_what_is_wrong_is_told_before_a_cluster_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="workers: expected a number of actors"):
        cluster.answers(Setup(), [], workers=-1)
    if pytest.importorskip("ray", reason="needs ray: pip install '.[ray]'"):
        with pytest.raises(FerError, match="no such run"):
            cluster.answers(Setup(str(tmp_path / "gone")), ["a.jpg"])
