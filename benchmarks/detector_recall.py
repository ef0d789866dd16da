"""Which share of ExpW's labelled faces the face detector finds, and how long a photo takes.

    python benchmarks/detector_recall.py --faces 300 --data ../shared/data

A labelled face is found where a box's centre lies within 0.3 of the labelled box's size of the labelled box's centre. The
photos are spread evenly over the dataset, each with all its labelled faces. Nothing says whether a box without a label is
wrong: most photos of crowds have faces that nobody labelled. Times are those of ``detect`` alone, one thread, decoded
pictures in memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fercore import datasets
from fercore.errors import FerError
from fercore.faces import Detector, load_detector

NEAR = 0.3


def found(labelled: np.ndarray, detected: np.ndarray) -> np.ndarray:
    """Tell for each labelled box (N, 4) whether the centre of a detected one (M, 4) is near its own."""
    centres = labelled[:, :2] + labelled[:, 2:] / 2
    away = centres[:, None] - (detected[:, :2] + detected[:, 2:] / 2)[None]
    return np.hypot(*(away / labelled[:, None, 2:]).transpose(2, 0, 1)).min(axis=1, initial=np.inf) <= NEAR


def measure(detector: Detector, dataset: datasets.Dataset, faces: int) -> dict[str, float | int]:
    """Detect in photos spread over the dataset until at least ``faces`` labelled faces were looked for."""
    boxes = dataset.boxes()
    photos = list(dataset.table.groupby("image", sort=False).indices.items())
    wanted = min(len(photos), max(1, round(faces * len(photos) / len(dataset))))
    hits: list[bool] = []
    seconds: list[float] = []
    detections = 0
    for number in np.linspace(0, len(photos) - 1, wanted).round().astype(int):
        image, positions = photos[number]
        pixels = dataset.open_image(image)
        if pixels.ndim == 2:
            pixels = np.stack([pixels] * 3, axis=2)
        start = time.perf_counter()
        boxes_found = detector.detect(pixels).boxes
        seconds.append(time.perf_counter() - start)
        hits += found(boxes[positions], boxes_found).tolist()
        detections += len(boxes_found)
    return {
        "photos": len(seconds),
        "labelled_faces": len(hits),
        "found": sum(hits),
        "recall": sum(hits) / len(hits),
        "detections": detections,
        "milliseconds_median": float(np.median(seconds) * 1e3),
        "milliseconds_mean": float(np.mean(seconds) * 1e3),
    }


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--faces", type=int, default=300, help="how many labelled faces to look for, about (default: 300)"
    )
    parser.add_argument("--data", help="the data folder (default: $FER_DATA, else ./data)")
    parser.add_argument("--detector", help="BlazeFace's folder or YuNet's ONNX file (default: the one that is shipped)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    try:
        result = measure(load_detector(options.detector), datasets.load("expw", options.data), options.faces)
    except FerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if options.json:
        print(json.dumps(result))
        return
    print(
        f"{result['found']} of {result['labelled_faces']} labelled faces found ({result['recall']:.1%}) in {result['photos']} "
        f"photos, {result['detections']} boxes in all\n"
        f"{result['milliseconds_median']:.1f} ms a photo (median), {result['milliseconds_mean']:.1f} ms (mean)"
    )


if __name__ == "__main__":
    main()
