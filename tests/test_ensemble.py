"""An ensemble is made of runs beside it, calibrated on validation, and answers with their average."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from fercore import runs
from fercore.errors import ConfigError, DataError
from fercore.inference import Predictor
from made_faces import make_folder

pytest.importorskip("keras")

from fercore.training.ensemble import combine
from fercore.training.recipe import Recipe
from fercore.training.train import train

SETTINGS = {"model": "report-cnn", "datasets": ["folder"], "epochs": 1, "options": {"filters": [2, 4], "units": [8, 8]}}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with three small runs and the faces that they were trained on."""
    root = tmp_path_factory.mktemp("ensemble")
    make_folder(root / "faces", ("angry", "happy", "sad"), 12)
    for seed in (0, 1):
        recipe = Recipe.from_dict({**SETTINGS, "seed": seed})
        train(recipe, data=root / "faces", out=root / "runs" / f"seed-{seed}")
    train(Recipe.from_dict(SETTINGS), data=root / "faces", out=root / "elsewhere" / "other")
    return root


@pytest.mark.long
def test_its_probabilities_are_the_members_weighted_average_with_a_temperature_of_its_own(place):
    folder = place / "runs"
    run = combine([folder / "seed-0", folder / "seed-1"], data=place / "faces", out=folder / "both")
    assert run.kind == "ensemble"
    assert run.members == ["seed-0", "seed-1"]
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)
    boxes = [[0, 0, 60, 60]]
    members = [Predictor.load(folder / name).classify(photo, boxes, "crop") for name in run.members]
    mean = np.average(members, axis=0, weights=run.shares)
    assert sum(run.shares) == pytest.approx(1)
    expected = mean ** (1 / run.head().temperature)
    np.testing.assert_allclose(Predictor.load(run).classify(photo, boxes, "crop"), expected / expected.sum(), atol=1e-5)
    assert set(run.info["files"]) >= {"predictions.parquet", "dataset.json", "averages.npz", "README.md"}
    assert "python -m fercore ensemble seed-0 seed-1" in run.file("README.md").read_text(encoding="utf-8")
    assert run.info["metrics"]["folder"]["faces"] > 0
    assert runs.list_runs(folder)[1] == []


@pytest.mark.long
def test_what_does_not_belong_together_is_refused(place):
    folder = place / "runs"
    with pytest.raises(ConfigError, match="two different runs or more"):
        combine([folder / "seed-0", folder / "seed-0"], data=place / "faces", out=folder / "twice")
    with pytest.raises(ConfigError, match="members belong beside"):
        combine([folder / "seed-0", place / "elsewhere" / "other"], data=place / "faces", out=folder / "far")
    with pytest.raises(ConfigError, match="seed-0: is one of the members; choose another --out"):
        combine([folder / "seed-0", folder / "seed-1"], data=place / "faces", out=folder / "seed-0", overwrite=True)
    more = place / "more"
    shutil.copytree(place / "faces", more)
    make_folder(more, ("angry", "happy", "sad"), 14, seed=7)
    with pytest.raises(DataError, match="'folder' is not the one that the members were trained on"):
        combine([folder / "seed-0", folder / "seed-1"], data=more, out=folder / "moved")
    train(Recipe.from_dict(SETTINGS), data=more, out=folder / "later")
    with pytest.raises(ConfigError, match="run later: its datasets held other faces or splits than those of seed-0"):
        combine([folder / "seed-0", folder / "later"], data=more, out=folder / "mixed")
    assert not (folder / "twice").exists()
    assert not (folder / "far").exists()
