"""What the readers share about files: where a dataset lies, the pictures in a folder, and arrays kept between runs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from ..config import cache_dir
from ..images import SUFFIXES
from .base import Dataset, Problem

Progress = Callable[[Iterable], Iterable]


def places(data: Path, *names: str) -> list[Path]:
    """Return where a dataset may lie: the folder itself, then its sub-folders of the given names, whatever their case."""
    if not data.is_dir():
        return []
    by_name = {entry.name.lower(): Path(entry.path) for entry in sorted(os.scandir(data), key=_name) if entry.is_dir()}
    return [data, *(by_name[name.lower()] for name in names if name.lower() in by_name)]


def folders(path: Path) -> list[Path]:
    """Return the sub-folders of a folder by name, without hidden ones and what archives of macOS leave behind."""
    if not path.is_dir():
        return []
    entries = sorted(os.scandir(path), key=_name)
    return [Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith((".", "__"))]


def pictures(path: Path) -> list[str]:
    """Return the names of the pictures that lie directly in a folder, sorted; hidden files do not count."""
    with os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if _is_picture(entry.name) and entry.is_file())


def has_pictures(path: Path) -> bool:
    """Return whether at least one picture lies directly in a folder."""
    with os.scandir(path) as entries:
        return any(_is_picture(entry.name) and entry.is_file() for entry in entries)


def picture_sizes(folder: Path, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return width and height in pixels of pictures, from their headers alone; (0, 0) where the header cannot be read.

    About 0.3 ms a picture the first time; the result is kept in the cache until a name, size or date of a file changes.
    """
    wanted = set(names)
    with os.scandir(folder) as entries:
        stats = sorted((e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in entries if e.name in wanted)
    key = hashlib.sha256(repr((str(folder.resolve()), stats)).encode()).hexdigest()
    sizes = load_array(f"sizes-{key[:32]}")
    if sizes is None or sizes.shape != (len(stats), 2):
        sizes = np.array([header_size(folder / name) for name, _, _ in stats], np.int32).reshape(-1, 2)
        save_array(f"sizes-{key[:32]}", sizes)
    return {name: (int(width), int(height)) for (name, _, _), (width, height) in zip(stats, sizes, strict=True)}


def header_size(path: Path) -> tuple[int, int]:
    """Return width and height in pixels of a picture from its header; (0, 0) where it cannot be read."""
    try:
        with Image.open(path) as image:
            return image.size
    except Exception:  # Pillow's plugins raise nearly anything for a broken header
        return 0, 0


def damaged(dataset: Dataset, *, most: int | None = None, progress: Progress | None = None) -> list[Problem]:
    """Return a problem for each picture of a dataset whose header cannot be read; the rest of a file is not looked at.

    Only for pictures without labelled boxes: a reader of boxes has read the headers already, and rows of a table have none.

    Args:
        dataset: any dataset.
        most: look at so many pictures at most, spread over all of them; None for every one.
        progress: wraps the loop over pictures, for instance in a ``tqdm`` bar.
    """
    if dataset.table["left"].notna().any():
        return []
    files = [dataset.file(image) for image in dict.fromkeys(dataset.table["image"])]
    chosen = files[:: -(-len(files) // most) or 1] if most else files
    looked = progress(chosen) if progress else chosen
    bad = [file for file in looked if header_size(file) == (0, 0) and file.is_file()]
    return [Problem("unreadable image", str(file), "damaged or not a picture") for file in bad]


def file_key(path: Path) -> str:
    """Return a key for what was made from a file: it changes with the file's place, size or date."""
    stat = path.stat()
    return hashlib.sha256(repr((str(path.resolve()), stat.st_size, stat.st_mtime_ns)).encode()).hexdigest()[:32]


def load_array(key: str) -> np.ndarray | None:
    """Return an array from the cache, memory-mapped and read-only, or None where there is none that can be read."""
    try:
        return np.load(_cached(key), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None


def save_array(key: str, array: np.ndarray) -> None:
    """Keep an array in the cache; where the cache cannot be written, do nothing: it can be made again."""
    path = _cached(key)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = path.with_name(f".{uuid.uuid4().hex}.part")
        try:
            with open(staging, "wb") as file:
                np.save(file, array, allow_pickle=False)
            os.replace(staging, path)
        finally:
            staging.unlink(missing_ok=True)


def _cached(key: str) -> Path:
    return cache_dir() / "datasets" / f"{key}.npy"


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES
