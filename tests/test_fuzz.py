"""Hostile pictures in a process of its own: faces or one line, and never a crash, a hang or more than 500 MB."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from fercore.errors import ImageError
from fercore.images import load_image
from hostile import encoded

ROOT = Path(__file__).resolve().parent.parent


def fuzz(cases: int, *options: str) -> dict:
    command = [sys.executable, "benchmarks/fuzz.py", "--cases", str(cases), "--json", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500)
    assert done.returncode in (0, 1), done.stderr[-2000:]
    return json.loads(done.stdout)


def test_a_thousand_mutated_files_and_odd_arrays() -> None:
    told = fuzz(1200, "--seed", "1")
    assert told["failures"] == []
    assert told["cases"] == 1200 == told["faces"] + told["no face"] + told["refused"]
    assert told["faces"] > 50
    assert told["refused"] > 300
    assert 50 < told["peak_mb"] < 500 or sys.platform == "win32"


@pytest.mark.long
def test_ten_thousand_cases_with_photos_of_a_dataset(data_dir: Path) -> None:
    told = fuzz(10_000, "--seed", "2", "--photos", str(data_dir / "expw" / "images"))
    assert told["failures"] == []
    assert told["cases"] == 10_000


def test_the_fuzzer_sees_what_goes_wrong() -> None:
    """A decoder that raises or dies is told as such, and the other cases go on."""
    code = """
import sys, os
sys.path.insert(0, "benchmarks")
import fuzz
from fercore.inference import Predictor

class Broken:
    calls = -1
    def predict(self, picture):
        self.calls += 1
        if self.calls == 3:
            raise KeyError("ours")
        if self.calls == 5:
            os._exit(4)
        return []

def load():
    return Broken()

Predictor.load = load
if __name__ == "__main__":
    import json
    print(json.dumps(fuzz.fuzz(12)))
"""
    script = ROOT / "benchmarks" / f".broken-{os.getpid()}.py"
    script.write_text(code, encoding="utf-8")
    try:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, str(script)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
        )
    finally:
        script.unlink()
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    dies = "ended the process with code 4"
    assert [(failure["case"], failure["what"]) for failure in told["failures"]] == [
        *((2, "KeyError: 'ours'"), (4, dies)),  # a new process counts from 0 again
        *((7, "KeyError: 'ours'"), (9, dies)),
    ]


SIDES = st.integers(0, 40)
KINDS = st.sampled_from(["u1", "u2", ">u2", "i1", "i2", "i4", "f2", "f4", "f8", "?"])


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Arrays of pictures and of what is none: any values (NaN too), order, stride and direction."""
    kind = np.dtype(draw(KINDS))
    shape = draw(st.one_of(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES, st.integers(0, 5)), st.tuples(SIDES)))
    array = draw(hnp.arrays(kind, shape))
    if array.ndim > 1:
        array = array[:: draw(st.sampled_from([1, -1, 2, -3])), :: draw(st.sampled_from([1, -1, 2]))]
        array = np.asfortranarray(array) if draw(st.booleans()) else array
    return array


@settings(max_examples=400, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(array=arrays())
def test_arrays_of_any_kind_give_a_picture_or_a_line(array: np.ndarray) -> None:
    before = array.copy()
    try:
        result = load_image(array)
    except ImageError as error:
        result, message = None, str(error)
    assert np.array_equal(array, before, equal_nan=array.dtype.kind == "f")
    if result is None:
        assert message.startswith("array: ")
        assert message.isprintable()
    else:
        assert result.shape == (*array.shape[:2], 3)
        assert result.dtype == np.uint8
        assert result.flags.c_contiguous


MEASURE = """
import sys
sys.path.insert(0, "benchmarks")
from fuzz import peak
from fercore import Predictor
predictor = Predictor.load()
predictor.predict("static/portrait.jpg")
try:
    faces = len(predictor.predict(sys.argv[1]))
except ValueError as error:
    faces = str(error)
print(faces, peak(), sep="|")
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="the system does not tell the memory")
@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "RGB", {}),
        ("JPEG", "CMYK", {}),
        ("PNG", "RGB", {"compress_level": 1}),
        ("PNG", "RGBA", {"compress_level": 1}),
        ("PNG", "I;16", {"compress_level": 1}),
        ("BMP", "RGB", {}),
        ("TIFF", "RGB", {}),
        ("TIFF", "CMYK", {}),
        ("GIF", "P", {}),
        ("WEBP", "RGB", {"quality": 50, "method": 0}),
        ("WEBP", "RGBA", {"quality": 50, "method": 0}),
    ],
)
def test_the_largest_pictures_stay_below_500_mb(
    tmp_path: Path, portrait: np.ndarray, kind: str, mode: str, options: dict
) -> None:
    """Of 49.97 megapixels; those that would need more are refused with a line that says so."""
    image = Image.fromarray(portrait).resize((8660, 5770), Image.Resampling.BILINEAR)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif mode == "RGBA":
        image.putalpha(image.convert("L"))
    file = tmp_path / "large"
    file.write_bytes(encoded(image.convert(mode) if mode in ("CMYK", "P") else image, kind, **options))
    done = subprocess.run([sys.executable, "-c", MEASURE, str(file)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    faces, peak = done.stdout.split("|")
    assert 100 < float(peak) < 500
    refused = (kind, mode) in {("TIFF", "CMYK"), ("WEBP", "RGBA")}
    assert ("MB of memory, more than the 380 allowed; save it as a JPEG, or smaller" in faces) == refused
    assert refused or int(faces) >= 1
