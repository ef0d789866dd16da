"""Face crops of a dataset, cut once into the cache and memory-mapped from then on.

A crop is a little wider than the face square, so that training can turn, move and scale the square in it. Pictures that are
the face already (FER2013, CK+48) are taken as they are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from .. import config, preprocess
from ..errors import FerError
from .base import Dataset, Problem

MARGIN = 1.25
"""Side of a crop over the side of the face square in it."""
SIZE = 144
"""Side of a crop in pixels: the square is then 115, enough for a network of 112."""
SAMPLE = 16
"""Pictures whose pixels tell whether a table of pictures is still the same."""

Progress = Callable[[Iterable], Iterable]


@dataclasses.dataclass(frozen=True)
class Crops:
    """Crops row by row of a dataset."""

    pixels: np.ndarray
    """(N, C, C) uint8 grey, memory-mapped where they come from the cache."""
    side: float
    """Side of the face square, which lies in the middle, in pixels of a crop."""
    usable: np.ndarray
    """(N,) bool: False where the picture could not be read."""
    problems: tuple[Problem, ...] = ()

    def select(self, positions: np.ndarray) -> Crops:
        """Return the crops at some positions; a memory map is read only there."""
        return dataclasses.replace(self, pixels=self.pixels[positions], usable=self.usable[positions])


def load_crops(
    dataset: Dataset,
    *,
    boxes: np.ndarray | None = None,
    framing: str | None = None,
    progress: Progress | None = None,
) -> Crops:
    """Return the crops of a dataset, from the cache if they are there and no picture has changed since.

    Args:
        dataset: any dataset.
        boxes: (N, 4) boxes to use in place of the table's, such as matched detections; rows of NaN fall back to the table's.
        framing: the kind of ``boxes``.
        progress: wraps the loop over pictures, for instance in a ``tqdm`` bar.
    """
    folder = config.cache_dir() / "crops" / f"{dataset.name}-{_digest(dataset, boxes, framing)}"
    if not (folder / "done.json").is_file():
        _write(folder, dataset, boxes, framing, progress)
    facts = json.loads((folder / "done.json").read_text(encoding="utf-8"))
    pixels = np.load(folder / "pixels.npy", mmap_mode="r")
    return Crops(
        pixels=pixels,
        side=facts["side"],
        usable=np.load(folder / "usable.npy"),
        problems=tuple(Problem(**problem) for problem in facts["problems"]),
    )


def _write(
    folder: Path, dataset: Dataset, boxes: np.ndarray | None, framing: str | None, progress: Progress | None
) -> None:
    """Cut every face into a folder beside ``folder`` and rename it when whole; another process may do the same meanwhile."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}"
    try:
        staging.mkdir()
        _cut_all(staging, dataset, boxes, framing, progress)
        try:
            staging.rename(folder)
        except OSError:
            if not (folder / "done.json").is_file():
                raise
            shutil.rmtree(staging, ignore_errors=True)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _cut_all(
    folder: Path, dataset: Dataset, boxes: np.ndarray | None, framing: str | None, progress: Progress | None
) -> None:
    as_is = dataset.framing == "crop"
    size = _common_side(dataset) if as_is else SIZE
    side = float(size) if as_is else SIZE / MARGIN
    usable = np.zeros(len(dataset), bool)
    problems: list[Problem] = []
    own = dataset.boxes()
    groups = dataset.table.groupby("image", sort=False).indices.items()
    # Written like any file, not through a memory map: where the disk is full, that would kill the process.
    with (folder / "pixels.npy").open("wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(dataset), size, size)}
        np.lib.format.write_array_header_1_0(stream, header)
        start = stream.tell()
        for image, positions in progress(list(groups)) if progress else groups:
            try:
                picture = dataset.open_image(image)
                for position in positions:
                    square = _square(
                        dataset, own[position], None if boxes is None else boxes[position], framing, picture
                    )
                    if square is None:
                        problems.append(Problem("no face", image, "the detector finds none in this picture"))
                        continue
                    middle_x, middle_y, width = square
                    crop = preprocess.cut(picture, (middle_x, middle_y, width * size / side), size)
                    stream.seek(start + int(position) * crop.size)
                    stream.write(crop.tobytes())
                    usable[position] = True
            except FerError as error:
                problems.append(Problem("unreadable image", image, str(error)))
        stream.truncate(start + len(dataset) * size * size)
    np.save(folder / "usable.npy", usable)
    facts = {"side": side, "problems": [dataclasses.asdict(problem) for problem in problems]}
    (folder / "done.json").write_text(json.dumps(facts), encoding="utf-8")


def _square(
    dataset: Dataset, own: np.ndarray, given: np.ndarray | None, framing: str | None, picture: np.ndarray
) -> tuple[float, float, float] | None:
    """Return the face square of a row, or None where no box is known."""
    if given is not None and np.isfinite(given).all():
        return preprocess.face_square(given, preprocess.FRAMINGS[framing])
    if np.isfinite(own).all():
        return preprocess.face_square(own, preprocess.FRAMINGS[dataset.framing])
    if dataset.framing == "crop":
        height, width = picture.shape[:2]
        return preprocess.face_square((0, 0, width, height), preprocess.FRAMINGS["crop"])
    return None


def _common_side(dataset: Dataset) -> int:
    """Return the side at which pictures that are crops are kept: the median of some, between 48 and ``SIZE``."""
    sides = []
    for image in dataset.table["image"].iloc[:: max(1, len(dataset) // 50)]:
        try:
            sides.append(min(dataset.open_image(image).shape[:2]))
        except FerError:
            continue
    return int(np.clip(np.median(sides), 48, SIZE)) if sides else 48


def _digest(dataset: Dataset, boxes: np.ndarray | None, framing: str | None) -> str:
    """Return a short name for exactly these crops."""
    parts = hashlib.sha256(pictures_key(dataset).encode())
    if boxes is not None:
        parts.update(np.ascontiguousarray(boxes, np.float32).tobytes())
    used = {name: preprocess.FRAMINGS[name].to_dict() for name in {framing, dataset.framing} if name}
    parts.update(json.dumps([MARGIN, SIZE, dataset.framing, framing, used], sort_keys=True).encode())
    return parts.hexdigest()[:16]


def pictures_key(dataset: Dataset) -> str:
    """Return a digest of a dataset's faces and pictures, for what is made from them and kept: labels and splits play no part.

    Pictures that are files (see ``Dataset.file``) count with their size and date (a few microseconds each); of the others, such
    as the rows of a table, the pixels of a few count.
    """
    parts = hashlib.sha256(str(dataset.root.resolve()).encode())
    rows = dataset.table[["image", "face_id", "left", "top", "width", "height"]]
    parts.update(rows.to_csv(index=False).encode())
    elsewhere = []
    for image in dict.fromkeys(dataset.table["image"]):
        try:
            stat = dataset.file(image).stat()
        except OSError:
            elsewhere.append(image)
        else:
            parts.update(f"{stat.st_size} {stat.st_mtime_ns}\n".encode())
    for image in elsewhere[:: max(1, len(elsewhere) // SAMPLE)]:
        try:
            parts.update(np.ascontiguousarray(dataset.open_image(image)).tobytes())
        except FerError:
            continue
    return parts.hexdigest()
