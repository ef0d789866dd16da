"""What a training on ExpW's whole release costs in memory: 91,793 faces from ``label.lst`` to the first epoch."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
FACES, PHOTOS = 91_793, 90

TRAIN = """
import itertools, json, sys, threading, time
from pathlib import Path

peak = 0
def watch():
    global peak
    while True:
        status = Path("/proc/self/status").read_text()
        peak = max(peak, int(status.partition("RssAnon:")[2].split()[0]) >> 10)
        time.sleep(0.05)
threading.Thread(target=watch, daemon=True).start()

from fercore.datasets import crops
crops.SIZE = 60  # crops are memory-mapped files and count for nothing here: smaller ones spare the disk of the test
from fercore.training import building, models
from fercore.training.data import batches
from fercore.training.fit import fit
from fercore.training.prepare import prepare_all, split_faces
from fercore.training.recipe import Recipe

data, work = sys.argv[1:]
recipe = Recipe.from_dict({"model": "report-cnn", "datasets": ["expw"], "epochs": 1})
parts = prepare_all(recipe, data)
prepared = peak
learn, check = (split_faces(parts, name, recipe) for name in ("train", "validation"))
model = building.build(models.get("report-cnn"), building.input_of(recipe), {"expw": 7}, recipe, "float32")
some = lambda *given: itertools.islice(batches(*given), 10)
fit(model, learn, check, recipe, building.input_of(recipe), folder=Path(work), fingerprint="", feed=some)
faces = len(parts[0].dataset) + parts[0].left_out
print(json.dumps({"faces": faces, "validation": len(check), "prepared": prepared, "peak": peak}))
"""
"""Prints MiB of anonymous memory, which is what a process cannot do without: mapped files do not count."""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads Linux's /proc")
def test_the_whole_release_is_prepared_and_trained_on_in_2_gib(tmp_path: Path) -> None:
    """All rows, over few photos of noise, through duplicates, detector and crops; ten steps, and the whole validation.

    What is left out: more steps, which need no more, and the tables of 68,000 photos in place of 90.
    """
    if importlib.util.find_spec("keras") is None:
        pytest.skip("needs the packages of the extra 'train'")
    rng = np.random.default_rng(0)
    (tmp_path / "expw" / "images").mkdir(parents=True)
    for number in range(PHOTOS):
        noise = rng.integers(0, 256, (60, 80, 3), np.uint8)
        Image.fromarray(noise).resize((320, 240)).save(tmp_path / "expw" / "images" / f"{number}.png")
    boxes = rng.integers(0, (240, 180), (FACES, 2))
    lines = [
        f"{face % PHOTOS}.png {face // PHOTOS} {top} {left} {left + 80} {top + 60} 50.5 {face * 31 % 7}"
        for face, (left, top) in enumerate(boxes)
    ]
    (tmp_path / "expw" / "label.lst").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-c", TRAIN, str(tmp_path / "expw"), str(tmp_path / "work")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    measured = json.loads(done.stdout.splitlines()[-1])
    assert measured["faces"] == FACES
    assert 0.08 * FACES < measured["validation"] < 0.12 * FACES
    assert measured["peak"] < 2048
