"""Photos a second of ``predict FOLDER --workers N``, for several N, and whether the answers are the same.

    python benchmarks/folder.py --photos ../shared/data/expw/images --limit 400 --workers 1 2 4

Without ``--photos`` the portrait of this repository is copied under many names. The first photo's answer starts the clock, so
that loading, about half a second a process, is told apart; with photos by the hundred thousand only the rate matters. Ideal is
N times the rate of one process, as far as there are processor cores: the table says how far from it each N is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fercore import batch  # noqa: E402
from fercore.images import find_images  # noqa: E402
from fercore.runs import find  # noqa: E402


def rate(setup: batch.Setup, photos: list[str], workers: int) -> tuple[float, float, list[batch.Answer]]:
    """Return seconds until the first answer, photos a second after it, and the answers."""
    start = time.perf_counter()
    stream = batch.answers(setup, photos, workers=workers)
    found = [next(stream)]
    first = time.perf_counter()
    found += stream
    return first - start, (len(photos) - 1) / (time.perf_counter() - first), found


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of photos; default: copies of the portrait")
    parser.add_argument("--limit", type=int, default=400)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--run")
    options = parser.parse_args()
    setup = batch.Setup(str(find(options.run)))
    with tempfile.TemporaryDirectory() as place:
        if options.photos:
            photos = [str(photo) for photo in find_images(options.photos)[: options.limit]]
        else:
            photos = [
                shutil.copy(ROOT / "static" / "portrait.jpg", f"{place}/{number}.jpg")
                for number in range(options.limit)
            ]
        if len(photos) < 2:
            parser.error("two photos are needed at least: the first one starts the clock")
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        print(f"{len(photos)} photos, run {Path(setup.run).name}, {cores} cores")
        print("| workers | first answer | photos a second | share of the ideal | answers |")
        print("| --- | --- | --- | --- | --- |")
        alone: tuple[float, list[batch.Answer]] | None = None
        for workers in options.workers:
            first, speed, found = rate(setup, photos, workers)
            alone = alone or (speed / min(workers, cores), found)
            share = speed / (alone[0] * min(workers, cores))
            same = "the same" if found == alone[1] else "DIFFERENT"
            print(f"| {workers} | {first:.2f} s | {speed:.0f} | {share:.0%} | {same} |", flush=True)


if __name__ == "__main__":
    main()
