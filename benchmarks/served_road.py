"""The served road against the evaluated one on ExpW's test photos: what does finding the faces cost?

    python benchmarks/served_road.py --data ../shared/data [--run RUN] [--split test] [--limits]

Evaluated: the network is given the labelled box. Served: it is given the photo's file, so that large JPEGs are decoded at a
reduced scale as everywhere, the detector finds the faces, and a labelled face counts as right if the nearest found face whose
centre lies within 0.3 of the labelled box's size has its label; one that was not found is wrong. Both roads answer about the
same faces, so the difference has a paired interval: 95%, by bootstrap over photos. With ``--limits`` the exit code is 1 unless
that interval lies inside 3 points on either side.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fercore import Predictor, datasets
from fercore.errors import FerError

NEAR = 0.3
RESAMPLES = 2000
POINTS = 3.0
"""How many points the interval of the difference may reach, up or down."""


def roads(predictor: Predictor, dataset: datasets.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each labelled face whether either road is right about it, and which photo it is in: (N,) each."""
    boxes, labels = dataset.boxes(), dataset.table["label"].to_numpy()
    evaluated, served, photo = [], [], []
    for number, (image, positions) in enumerate(dataset.table.groupby("image", sort=False).indices.items()):
        picture = dataset.open_image(image)
        own = boxes[positions]
        answers = predictor.classify(picture, own, framing=dataset.framing).argmax(axis=1)
        faces = predictor.predict(dataset.file(image))
        centres = np.array([[f.box[0] + f.box[2] / 2, f.box[1] + f.box[3] / 2] for f in faces]).reshape(-1, 2)
        for position, box, answer in zip(positions, own, answers, strict=True):
            away = np.hypot(*((centres - box[:2] - box[2:] / 2) / box[2:]).T)
            near = faces[int(away.argmin())].label if len(away) and away.min() <= NEAR else None
            evaluated.append(predictor.labels[answer] == labels[position])
            served.append(near == labels[position])
            photo.append(number)
    return np.array(evaluated), np.array(served), np.array(photo)


def spread(dataset: datasets.Dataset, photos: int) -> datasets.Dataset:
    """Return the faces of so many photos, spread evenly over a dataset; all of them for 0."""
    names = dataset.table["image"].unique()
    if not 0 < photos < len(names):
        return dataset
    chosen = names[np.linspace(0, len(names) - 1, photos).round().astype(int)]
    return dataset.select(np.flatnonzero(dataset.table["image"].isin(chosen)))


def photos_parser(description: str, split: str) -> argparse.ArgumentParser:
    """Return a parser of what every look at ExpW's photos is asked for."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", help="the data folder (default: $FER_DATA, else ./data)")
    parser.add_argument("--run", help="a run's name or folder (default: the default run)")
    parser.add_argument("--split", default=split, help=f"which split (default: {split})")
    parser.add_argument("--limit", type=int, default=0, help="so many photos, spread over the split (default: all)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    return parser


def load(options: argparse.Namespace, head: str | None = None) -> tuple[Predictor, datasets.Dataset]:
    """Return the run, with ``head`` or else ExpW's own if it has it, and the photos that were asked for."""
    predictor = Predictor.load(options.run, head=head)
    if head is None and "expw" in predictor.run.heads:
        predictor = Predictor.load(options.run, head="expw")
    return predictor, spread(datasets.load("expw", options.data).split(options.split), options.limit)


def inside(low: float, high: float) -> bool:
    """Tell whether an interval of shares lies inside ``POINTS`` on either side."""
    return max(abs(low), abs(high)) < POINTS / 100


def paired_interval(difference: np.ndarray, groups: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """Return the 95% interval of the mean of paired differences (N,), by bootstrap over groups (N,)."""
    rng = np.random.default_rng(seed)
    sums = np.bincount(groups, weights=difference)
    counts = np.bincount(groups)
    drawn = rng.integers(0, len(counts), (RESAMPLES, len(counts)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    """Parse the command line, measure, print."""
    parser = photos_parser(__doc__.splitlines()[0], "test")
    parser.add_argument("--head", help="which head answers (default: expw, if the run has it)")
    parser.add_argument("--limits", action="store_true", help="exit with 1 unless the interval is inside 3 points")
    options = parser.parse_args()
    try:
        predictor, dataset = load(options, options.head)
        evaluated, served, photo = roads(predictor, dataset)
    except FerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    difference = served.astype(float) - evaluated
    low, high = paired_interval(difference, photo)
    result = {
        "run": predictor.run.name,
        "head": predictor.head.name,
        "split": options.split,
        "faces": len(served),
        "evaluated": float(evaluated.mean()),
        "served": float(served.mean()),
        "difference": float(difference.mean()),
        "low": low,
        "high": high,
    }
    if options.json:
        print(json.dumps(result))
    else:
        print(
            f"{result['run']}, head {result['head']}, {len(served)} faces of ExpW's {options.split} split\n"
            f"evaluated road (labelled box) {result['evaluated']:.1%}, served road (photo in) {result['served']:.1%}\n"
            f"difference {100 * result['difference']:+.1f} points, 95% interval {100 * low:+.1f} to {100 * high:+.1f}"
        )
    if options.limits and not inside(low, high):
        print(f"error: the interval is not inside {POINTS:g} points", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
