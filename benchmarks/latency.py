"""What one photo costs on one thread, and what starting costs: import, first answer in a fresh process, memory.

    python benchmarks/latency.py [--run RUN] [--json]

The photo is 640 x 480 with one face, made from the shippable portrait. Times of one photo are processor time, the median of
many; times of a fresh process are by the clock, the median of several processes, since waiting for the disk counts there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

FRESH = """
import sys, time
start = time.perf_counter()
import fercore
imported = time.perf_counter()
fercore.Predictor.load(sys.argv[2] or None).predict(sys.argv[1])
answered = time.perf_counter()
try:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**20
except ImportError:
    peak = float("nan")
print(imported - start, answered - start, peak)
"""


def fresh(photo: Path, run: str, *, processes: int = 7) -> dict[str, float]:
    """Return milliseconds to import and to the first answer, and MiB resident at the most, of fresh processes."""
    rows = []
    for _ in range(processes):
        command = [sys.executable, "-c", FRESH, str(photo), run]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        rows.append([float(value) for value in done.stdout.split()])
    imported, answered, peak = (statistics.median(column) for column in zip(*rows, strict=True))
    return {"import_ms": 1e3 * imported, "first_answer_ms": 1e3 * answered, "resident_mib": peak}


def median_ms(call: Callable[[], Any], *, times: int = 60) -> float:
    """Return the median processor time of a call in milliseconds."""
    call()
    spent = []
    for _ in range(times):
        start = time.process_time()
        call()
        spent.append(time.process_time() - start)
    return 1e3 * statistics.median(spent)


def steps(data: bytes, run: str) -> dict[str, float]:
    """Return what each step of the road costs, in milliseconds."""
    from fercore import Predictor, faces, images

    predictor = Predictor.load(run or None)
    detector, network = predictor._detector, predictor.networks[0]
    picture = images.load_image(data)
    height, width = picture.shape[:2]
    side = max(height, width)
    left, top = -((side - width) // 2), -((side - height) // 2)
    boxes = predictor.detect(picture).boxes
    crops = network.crops(picture, boxes, "detector")
    size = detector.settings.size
    return {
        "whole": median_ms(lambda: predictor.predict(data)),
        "decode": median_ms(lambda: images.load_image(data)),
        "scale for the detector": median_ms(lambda: faces.cut(picture, left, top, side, size)),
        "detect, scaling included": median_ms(lambda: detector.detect(picture)),
        "cut the face": median_ms(lambda: network.crops(picture, boxes, "detector")),
        "classify the face": median_ms(lambda: network.infer(crops, predictor.head.name)),
    }


def made_photo(folder: Path) -> Path:
    """Write the 640 x 480 photo."""
    import cv2
    import numpy as np

    from fercore.images import load_image

    canvas = np.full((480, 640, 3), 90, np.uint8)
    canvas[:, 80:560] = cv2.resize(
        load_image(ROOT / "static" / "portrait.jpg"), (480, 480), interpolation=cv2.INTER_AREA
    )
    file = folder / "photo.jpg"
    cv2.imwrite(str(file), canvas[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    return file


def main() -> None:
    """Parse the command line, measure, print."""
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", default="", help="a run's name or folder (default: the default run)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        photo = made_photo(Path(folder))
        result = {"fresh": fresh(photo, options.run), "steps_ms": steps(photo.read_bytes(), options.run)}
    if options.json:
        print(json.dumps(result))
        return
    start = result["fresh"]
    print(
        f"import fercore {start['import_ms']:.0f} ms, first answer in a fresh process {start['first_answer_ms']:.0f} ms"
    )
    print(f"resident {start['resident_mib']:.0f} MiB at the most")
    for name, value in result["steps_ms"].items():
        print(f"{name:26} {value:6.2f} ms")


if __name__ == "__main__":
    main()
