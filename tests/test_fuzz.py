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
from hostile import encoded, progressive_with_scans

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
import sys, time, zlib
sys.path.insert(0, "benchmarks")
import numpy as np
from fuzz import peak
from fercore import Predictor

def work():
    steps = np.random.default_rng(0).integers(-2, 3, 1 << 22)
    packed = zlib.compress(np.cumsum(steps).astype(np.uint8).tobytes(), 1)
    start = time.process_time()
    for _ in range(4):
        np.array(np.frombuffer(zlib.decompress(packed), np.uint8).reshape(-1, 4)[:, ::-1])
    return time.process_time() - start

slow = min(work() for _ in range(3)) if sys.argv[2] == "time" else 0
predictor = Predictor.load()
predictor.predict("static/portrait.jpg")
start = time.process_time()
try:
    faces = len(predictor.predict(sys.argv[1]))
except ValueError as error:
    faces = str(error)
print(faces, peak(), time.process_time() - start, slow, sep="|")
"""
"""Prints faces or the refusal, peak memory in MB, processor time, and the processor time of a fixed piece of such work."""
WORK = 0.12
"""Seconds that this work takes on a core of the machine on which the limits of time were measured, with nothing beside it."""


def measured(file: Path, measure: str = "memory") -> tuple[str, float, float, float]:
    """Predict a file in a fresh process: faces or the refusal, MB, seconds, and how many times slower than ours the machine is.

    The piece of work takes memory of its own, so time and memory are measured apart.
    """
    command = [sys.executable, "-c", MEASURE, str(file), measure]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    faces, peak, seconds, work = done.stdout.split("|")
    return faces, float(peak), float(seconds), max(1.0, float(work) / WORK)


@pytest.mark.parametrize("passes", [20, 60])
def test_a_jpeg_of_many_passes_takes_no_longer_than_a_photo_may(tmp_path: Path, passes: int) -> None:
    """A few hundred kilobytes that cost a decoder seconds: sixty passes over 49 megapixels are refused, twenty are read."""
    file = tmp_path / "passes.jpg"
    file.write_bytes(progressive_with_scans(np.full((7000, 7000), 120, np.uint8), passes))
    assert file.stat().st_size < 400_000
    faces, _, seconds, slower = measured(file, "time")
    assert ("takes too long (60 passes over 49 megapixels" in faces) == (passes == 60)
    assert seconds < 2.0 * slower * 1.5


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
def test_the_largest_pictures_stay_below_500_mb_and_2_seconds(
    tmp_path: Path, portrait: np.ndarray, kind: str, mode: str, options: dict
) -> None:
    """Of 49.97 megapixels; those that would need more are refused with a line that says so.

    Processor time, with what the machine is slower than ours and half as much again for what else runs on it, which slows
    a piece of work less than a large picture.
    """
    image = Image.fromarray(portrait).resize((8660, 5770), Image.Resampling.BILINEAR)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif mode == "RGBA":
        image.putalpha(image.convert("L"))
    file = tmp_path / "large"
    file.write_bytes(encoded(image.convert(mode) if mode in ("CMYK", "P") else image, kind, **options))
    faces, peak, _, _ = measured(file)
    _, _, seconds, slower = measured(file, "time")
    assert 100 < peak < 500
    assert seconds < 2.0 * slower * 1.5
    refused = (kind, mode) in {("TIFF", "CMYK"), ("WEBP", "RGBA")}
    assert ("MB of memory, more than the 380 allowed; save it as an ordinary JPEG, or smaller" in faces) == refused
    assert refused or int(faces) >= 1
