"""What a run loses and gains in int8: accuracy on validation faces, processor time a face, bytes.

    python benchmarks/int8.py --run transfer --data ../shared/data [--method MinMax] [--limit 2000] [--out FOLDER]

Calibration takes 256 faces of the validation split, accuracy is measured on others of it; the test split is not touched. It is
worth shipping only where it costs less than 0.3 points: with ``--out`` the run is written in int8 if it does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fercore import datasets, preprocess, runs  # noqa: E402
from fercore.config import data_dir  # noqa: E402
from fercore.inference import Network  # noqa: E402
from fercore.runs import Run  # noqa: E402
from fercore.training.quantise import METHODS, quantise  # noqa: E402

CALIBRATION = 256
POINTS = 0.3


def crops_of(network: Network, dataset: datasets.Dataset, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Return crops (N, size, size) of faces spread over a dataset, and their labels (N,) as text."""
    chosen = dataset.select(np.unique(np.linspace(0, len(dataset) - 1, min(limit, len(dataset))).astype(int)))
    boxes, labels = chosen.boxes(), chosen.table["label"].to_numpy()
    crops, kept = [], []
    for _, positions, picture in chosen.images():
        own, framing = boxes[positions], chosen.framing
        if not np.isfinite(own).all():
            height, width = picture.shape[:2]
            own, framing = np.tile([[0, 0, width, height]], (len(positions), 1)), "crop"
        crops.append(network.crops(picture, own, framing))
        kept += [str(label) for label in labels[positions]]
    return np.concatenate(crops), np.array(kept)


def milliseconds(network: Network, crops: np.ndarray, head: str) -> float:
    """Return the processor time a face takes, one at a time and one thread: the median of 300, in ms."""
    times = []
    for number in range(330):
        start = time.process_time()
        network.infer(crops[number % len(crops)][None], head)
        times.append(time.process_time() - start)
    return float(np.median(times[30:])) * 1e3


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--method", choices=METHODS, default="MinMax")
    parser.add_argument("--limit", type=int, default=2000, help="faces a dataset")
    parser.add_argument("--out", type=Path, help="write the run in int8 there if it costs less than 0.3 points")
    options = parser.parse_args()
    run = Run.load(options.run)
    network = Network(run)
    crops = {}
    for name in run.info["datasets"]:
        split = datasets.load(name, data_dir(options.data), strict=False).split("validation")
        crops[name] = crops_of(network, split, options.limit)
    share = -(-CALIBRATION // len(crops))
    calibration = np.concatenate([faces[:: max(1, len(faces) // share)][:share] for faces, _ in crops.values()])
    small = quantise(
        run.file("model.onnx").read_bytes(), preprocess.normalise(calibration, run.input), method=options.method
    )
    with tempfile.TemporaryDirectory() as place:
        info = {key: value for key, value in run.info.items() if key not in ("schema", "files")}
        files = {name: run.file(name) for name in run.info["files"]}
        quantised = runs.write(Path(place, "int8"), info, files | {"model.onnx": small})
        other = Network(quantised)
        print(f"run {run.name}, {options.method}, {len(calibration)} faces for calibration")
        print(f"bytes {run.file('model.onnx').stat().st_size:,} -> {len(small):,}")
        worst = 0.0
        for name, (faces, labels) in crops.items():
            head = run.head_for(name)
            rest = np.ones(len(faces), bool)
            rest[:: max(1, len(faces) // share)][:share] = False
            right = []
            for each in (network, other):
                answers = np.array(head.labels)[each.infer(faces[rest], head.name).argmax(axis=1)]
                right.append(answers == labels[rest])
            before, after = (100 * float(np.mean(each)) for each in right)
            changes = np.random.default_rng(0).choice(right[1].astype(int) - right[0], (1000, rest.sum())).mean(axis=1)
            low, high = 100 * np.percentile(changes, [2.5, 97.5])
            worst = max(worst, before - after)
            print(
                f"{name}: {rest.sum()} faces, {before:.2f}% -> {after:.2f}%, {after - before:+.2f} ({low:+.2f} to {high:+.2f})"
            )
        head = run.head().name
        faces = next(iter(crops.values()))[0]
        times = [milliseconds(each, faces, head) for each in (network, other, network, other)]
        print(f"ms a face {min(times[::2]):.2f} -> {min(times[1::2]):.2f}")
        print(f"worst cost {worst:.2f} points: {'less than' if worst < POINTS else 'not less than'} {POINTS}")
        if options.out and worst < POINTS:
            runs.write(options.out, info, files | {"model.onnx": small})
            print(f"written: {options.out}")


if __name__ == "__main__":
    main()
