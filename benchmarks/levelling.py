"""Does it help to level a tilted face by its eyes before it is classified? Accuracy on ExpW's validation photos, either way.

    python benchmarks/levelling.py --data ../shared/data [--run RUN] [--limit 200]

The photos are taken as they are, and turned by 15 and by 30 degrees, every other one to the other side. The detector finds the
faces; of those that lie on a labelled face, the face square is cut upright, and turned about the middle of the box so that the
detector's two eye points lie level: always, or only where they are tilted by more than 10 degrees. A tilt of more than 45
degrees is left alone, as an error of the detector. Every way answers about the same faces, so each difference to no levelling
has a paired interval: 95%, by bootstrap over photos.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from served_road import load, paired_interval, photos_parser

from fercore import Predictor, datasets, preprocess
from fercore.datasets.matching import match
from fercore.errors import FerError

DEGREES = (0, 15, 30)
MOST = 45.0
"""A tilt of more degrees than this is an error of the detector."""
WAYS = {"as it is": math.inf, "levelled": 0.0, "levelled above 10 degrees": 10.0}
"""Tilt in degrees above which a face is levelled."""


def tilt(keypoints: np.ndarray) -> float:
    """Return by how many degrees the line through the eyes is turned clockwise, as seen on the screen."""
    across, down = keypoints[1] - keypoints[0]
    return math.degrees(math.atan2(down, across))


def levelled_crop(
    picture: np.ndarray, box: np.ndarray, framing: preprocess.Framing, size: int, angle: float
) -> np.ndarray:
    """Cut the face square of a box, turned clockwise about the middle of the box."""
    x, y, side = preprocess.face_square(box, framing)
    middle = box[:2] + box[2:] / 2
    turn = math.radians(angle)
    right, down = x - middle[0], y - middle[1]
    x = middle[0] + right * math.cos(turn) - down * math.sin(turn)
    y = middle[1] + right * math.sin(turn) + down * math.cos(turn)
    return preprocess.cut(picture, (x, y, side), size, angle=angle)


def turned(picture: np.ndarray, boxes: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Turn a picture clockwise onto a canvas that holds all of it; boxes keep their size and go with their middle."""
    height, width = picture.shape[:2]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    wide = math.ceil(height * abs(sin) + width * abs(cos))
    high = math.ceil(height * abs(cos) + width * abs(sin))
    matrix = np.array([[cos, -sin, 0], [sin, cos, 0]])
    matrix[:, 2] = [wide / 2, high / 2] - matrix[:, :2] @ [width / 2, height / 2]
    middles = (boxes[:, :2] + boxes[:, 2:] / 2) @ matrix[:, :2].T + matrix[:, 2]
    # OpenCV counts from the middle of the first pixel, boxes from its corner.
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    canvas = cv2.warpAffine(picture, shifted, (wide, high), flags=cv2.INTER_LINEAR)
    return canvas, np.concatenate([middles - boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)


def answers(predictor: Predictor, picture: np.ndarray, boxes: np.ndarray, tilts: np.ndarray, least: float) -> list[str]:
    """Return the label of each box, its face levelled where it is tilted by more than ``least`` degrees."""
    angles = np.where((np.abs(tilts) > least) & (np.abs(tilts) <= MOST), tilts, 0.0)
    crops = [
        np.stack(
            [
                levelled_crop(picture, box, network.framing("detector"), network.spec.size, angle)
                for box, angle in zip(boxes, angles, strict=True)
            ]
        )
        for network in predictor.networks
    ]
    return [predictor.labels[best] for best in predictor.probabilities(crops).argmax(axis=1)]


def measure(predictor: Predictor, dataset: datasets.Dataset, degrees: float) -> dict[str, object]:
    """Return accuracy each way on the photos of a dataset turned by so many degrees."""
    own, labels = dataset.boxes(), dataset.table["label"].to_numpy()
    right: dict[str, list[bool]] = {way: [] for way in WAYS}
    photo: list[int] = []
    seen: list[float] = []
    for number, (image, positions) in enumerate(dataset.table.groupby("image", sort=False).indices.items()):
        picture = dataset.open_image(image)
        picture = picture if picture.ndim == 3 else np.stack([picture] * 3, axis=2)
        picture, boxes = turned(picture, own[positions], degrees if number % 2 else -degrees)
        found = predictor.detect(picture)
        matched = match(boxes, found.boxes)
        known = labels[positions[matched >= 0]]
        found = found.select(matched[matched >= 0])
        if not len(found):
            continue
        tilts = np.array([tilt(points) for points in found.keypoints])
        for way, least in WAYS.items():
            right[way] += [
                a == b for a, b in zip(answers(predictor, picture, found.boxes, tilts, least), known, strict=True)
            ]
        photo += [number] * len(found)
        seen += np.abs(tilts).tolist()
    groups = np.unique(photo, return_inverse=True)[1]
    without = np.array(right["as it is"], float)
    rows = {}
    for way, each in right.items():
        difference = np.array(each, float) - without
        low, high = paired_interval(difference, groups)
        rows[way] = {"accuracy": float(np.mean(each)), "difference": float(difference.mean()), "low": low, "high": high}
    return {"faces": len(photo), "labelled": len(dataset), "median_tilt": float(np.median(seen)), "ways": rows}


def main() -> None:
    """Parse the command line, measure, print a table."""
    options = photos_parser(__doc__.splitlines()[0], "validation").parse_args()
    try:
        predictor, dataset = load(options)
        result = {str(degrees): measure(predictor, dataset, degrees) for degrees in DEGREES}
    except FerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if options.json:
        print(json.dumps(result))
        return
    print("| photos turned by | faces found | median tilt | way | right | difference |")
    print("| --- | --- | --- | --- | --- | --- |")
    for degrees, row in result.items():
        for way, each in row["ways"].items():
            apart = (
                ""
                if way == "as it is"
                else f"{100 * each['difference']:+.1f} ({100 * each['low']:+.1f} to {100 * each['high']:+.1f})"
            )
            print(
                f"| {degrees} degrees | {row['faces']} of {row['labelled']} | {row['median_tilt']:.1f} degrees | {way} "
                f"| {each['accuracy']:.1%} | {apart} |"
            )


if __name__ == "__main__":
    main()
