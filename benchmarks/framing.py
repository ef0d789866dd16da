"""Which face square around a box suits a run best? Accuracy on ExpW's validation faces for several squares.

    python benchmarks/framing.py --data ../shared/data [--run RUN] [--limit 200]

For the detector's boxes and for ExpW's labelled ones, the framing that the run carries is taken larger and smaller by up to a
quarter, and shifted up and down by up to a tenth of the box; all else stays. Only faces that the detector finds count, so that
both kinds of box answer about the same ones. A network does best on squares like those that it was trained on: what this
shows is how much is lost beside them, and that the two kinds of box agree there.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from served_road import load, photos_parser

from fercore import Predictor, datasets, preprocess
from fercore.datasets.matching import match
from fercore.errors import FerError

FACTORS = (0.75, 0.85, 0.93, 1.0, 1.08, 1.17, 1.25)
"""Factors on the side of the square."""
SHIFTS = (-0.1, -0.05, 0.05, 0.1)
"""Additions to its shift down, in sizes of the box."""
KINDS = ("detector", "expw")


def framings(base: preprocess.Framing) -> list[preprocess.Framing]:
    """Return the framings to try: other sizes, then other places."""
    sizes = [dataclasses.replace(base, scale=round(base.scale * factor, 3)) for factor in FACTORS]
    places = [dataclasses.replace(base, shift_y=round(base.shift_y + shift, 3)) for shift in SHIFTS]
    return sizes + places


def sweep(predictor: Predictor, dataset: datasets.Dataset) -> tuple[int, dict[str, list[dict[str, float]]]]:
    """Return the number of faces that count, and for each kind of box the accuracy of each framing."""
    own, labels = dataset.boxes(), dataset.table["label"].to_numpy()
    tried = {kind: framings(predictor.networks[0].framing(kind)) for kind in KINDS}
    right: dict[str, list[int]] = {kind: [0] * len(each) for kind, each in tried.items()}
    faces = 0
    for image, positions in dataset.table.groupby("image", sort=False).indices.items():
        picture = dataset.open_image(image)
        picture = picture if picture.ndim == 3 else np.stack([picture] * 3, axis=2)
        found = predictor.detect(picture).boxes
        matched = match(own[positions], found)
        kept = positions[matched >= 0]
        faces += len(kept)
        for kind, boxes in (("detector", found[matched[matched >= 0]]), ("expw", own[kept])):
            for at, framing in enumerate(tried[kind]):
                crops = [
                    preprocess.cut_faces(picture, boxes, framing, network.spec.size) for network in predictor.networks
                ]
                best = predictor.probabilities(crops).argmax(axis=1)
                right[kind][at] += sum(
                    predictor.labels[i] == label for i, label in zip(best, labels[kept], strict=True)
                )
    rows = {
        kind: [
            {"scale": framing.scale, "shift_y": framing.shift_y, "accuracy": count / max(1, faces)}
            for framing, count in zip(each, right[kind], strict=True)
        ]
        for kind, each in tried.items()
    }
    return faces, rows


def main() -> None:
    """Parse the command line, measure, print a table."""
    options = photos_parser(__doc__.splitlines()[0], "validation").parse_args()
    try:
        predictor, dataset = load(options)
        faces, rows = sweep(predictor, dataset)
    except FerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if options.json:
        print(json.dumps({"faces": faces, **rows}))
        return
    print(f"{predictor.run.name}, head {predictor.head.name}, {faces} faces of ExpW's {options.split} split")
    print("| box | scale | shift down | right |")
    print("| --- | --- | --- | --- |")
    for kind, each in rows.items():
        for row in each:
            print(f"| {kind} | {row['scale']:.3f} | {row['shift_y']:+.2f} | {row['accuracy']:.1%} |")


if __name__ == "__main__":
    main()
