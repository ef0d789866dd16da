"""Near-duplicates: the same face picture in two splits, which makes a test easier than it says.

Each face becomes a thumbnail, each thumbnail a perceptual hash of 64 bits: the low frequencies of its cosine transform that
exceed their median (the pHash of C. Zauner's thesis, "Implementation and benchmarking of perceptual image hash functions",
2010). Hashes that differ in few bits are candidates. Plain faces and lab pictures share hashes, so a pair counts only if the
fine detail of both pictures correlates too, at the best of a few shifts.

The limits were chosen by looking at pairs of FER2013: of those with a detail correlation above 0.75 all that were looked at
show one photo, with another watermark, brightness or border. The most alike strangers of CK+, whose faces are aligned and
lit alike, reach 0.89; 1 in 250 of its candidates is above 0.85.
"""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pandas as pd

from .. import preprocess
from ..errors import FerError
from .base import SPLITS, Dataset
from .crops import Progress, pictures_key
from .files import load_array, save_array

THUMBNAIL = 32
"""Side of a thumbnail in pixels."""
MAX_DISTANCE = 12
"""Largest number of bits in which the hashes of a pair of candidates differ."""
MIN_CORRELATION = 0.85
"""Smallest correlation of the fine detail of near-duplicates."""
DETAIL_SIGMA = 2.0
"""Detail is what a Gaussian blur of this many pixels of the thumbnail takes away."""
MAX_SHIFT = 2
"""Largest shift, in pixels of the thumbnail, at which two pictures are compared."""
MIN_CONTRAST = 1.0
"""Standard deviation in grey levels of a thumbnail, or of its detail, below which it is a duplicate of nothing."""
_CELLS = 1 << 18  # hashes compared at a time: they stay in the processor's cache
_FRAME = preprocess.Framing(scale=1.0)


def hashes(dataset: Dataset, progress: Progress | None = None) -> np.ndarray:
    """Return the perceptual hash of each face: (N,) uint64; 0 where the picture cannot be read (see ``thumbnails``)."""
    return hash_thumbnails(thumbnails(dataset, progress=progress))


def thumbnails(dataset: Dataset, *, progress: Progress | None = None) -> np.ndarray:
    """Return small grey pictures of the faces: (N, 32, 32) uint8, black where the picture cannot be read.

    The labelled box is shown, or the whole picture where there is none. Made once, then memory-mapped from the cache, for
    any splits of the same faces.

    Args:
        dataset: any dataset.
        progress: wraps the loop over pictures, for instance in a ``tqdm`` bar.
    """
    key = f"thumbnails-{dataset.name}-{pictures_key(dataset)[:32]}"
    kept = load_array(key)
    if kept is not None and kept.shape == (len(dataset), THUMBNAIL, THUMBNAIL):
        return kept
    result = np.zeros((len(dataset), THUMBNAIL, THUMBNAIL), np.uint8)
    boxes = dataset.boxes()
    groups = dataset.table.groupby("image", sort=False).indices.items()
    for image, positions in progress(list(groups)) if progress else groups:
        try:
            picture = dataset.open_image(image)
        except FerError:
            continue
        whole = (0, 0, picture.shape[1], picture.shape[0])
        for position in positions:
            box = boxes[position] if np.isfinite(boxes[position]).all() else whole
            result[position] = preprocess.cut(picture, preprocess.face_square(box, _FRAME), THUMBNAIL)
    save_array(key, result)
    return result


def hash_thumbnails(pictures: np.ndarray) -> np.ndarray:
    """Return the perceptual hashes (N,) uint64 of thumbnails (N, 32, 32) uint8."""
    low = np.array([cv2.dct(picture.astype(np.float32))[:8, :8].ravel() for picture in pictures], np.float32)
    low = low.reshape(-1, 64)
    # The first coefficient is the mean brightness: it takes no part in the median.
    bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8").ravel().astype(np.uint64)


def near_pairs(left: np.ndarray, right: np.ndarray, max_distance: int = MAX_DISTANCE) -> np.ndarray:
    """Return which hashes of two lists lie near each other: (M, 3) int64 of position left, position right, bits apart.

    All pairs are compared, in blocks of a few MiB: 28,709 x 7,178 take about a second.
    """
    found = [np.zeros((0, 3), np.int64)]
    step = max(1, _CELLS // max(1, len(right)))
    for start in range(0, len(left), step):
        apart = np.bitwise_count(left[start : start + step, None] ^ right[None, :])
        rows, columns = np.nonzero(apart <= max_distance)
        found.append(np.stack([rows + start, columns, apart[rows, columns]], axis=1).astype(np.int64))
    return np.concatenate(found)


def find_near_duplicates(
    dataset: Dataset,
    *,
    max_distance: int = MAX_DISTANCE,
    min_correlation: float = MIN_CORRELATION,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Find near-duplicate faces in different splits; rows without a split take no part.

    Args:
        dataset: any dataset.
        max_distance: bits in which the hashes of candidates may differ.
        min_correlation: of the detail, from -1 to 1.
        progress: wraps the loop over pictures that are not in the cache yet.

    Returns:
        One row a pair with ``first, second`` (positions in the table), ``first_split, second_split`` (in the order of
        ``SPLITS``), ``distance`` (bits) and ``correlation`` (of the detail), ordered by positions.
    """
    pictures = thumbnails(dataset, progress=progress)
    codes = hash_thumbnails(pictures)
    # Blank pictures, of which FER2013 has some, are all alike and would only be compared in vain.
    seen = np.array([cv2.meanStdDev(picture)[1][0, 0] >= MIN_CONTRAST for picture in pictures], bool)
    split = dataset.table["split"].to_numpy()
    tables = []
    for first_split, second_split in itertools.combinations(SPLITS, 2):
        first, second = (np.flatnonzero((split == name) & seen) for name in (first_split, second_split))
        pairs = near_pairs(codes[first], codes[second], max_distance)
        table = pd.DataFrame({"first": first[pairs[:, 0]], "second": second[pairs[:, 1]]})
        tables.append(table.assign(first_split=first_split, second_split=second_split, distance=pairs[:, 2]))
    table = pd.concat(tables, ignore_index=True)
    table["correlation"] = _detail_correlation(pictures, table["first"].to_list(), table["second"].to_list())
    table = table[table["correlation"] >= min_correlation]
    return table.sort_values(["first", "second"], ignore_index=True)


def count_pairs(pairs: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Return, for each two splits, how many pairs there are and how many faces of either split they concern.

    For instance ``{"train/test": {"pairs": 1137, "train": 967, "test": 592}, ...}``; splits without a pair are there too.
    """
    result: dict[str, dict[str, int]] = {}
    for first, second in itertools.combinations(SPLITS, 2):
        rows = pairs[(pairs["first_split"] == first) & (pairs["second_split"] == second)]
        faces = {first: int(rows["first"].nunique()), second: int(rows["second"].nunique())}
        result[f"{first}/{second}"] = {"pairs": len(rows), **faces}
    return result


def drop_from_training(dataset: Dataset, pairs: pd.DataFrame) -> np.ndarray:
    """Return (N,) bool, which rows to keep: of each pair the copy in the earlier split goes, so that test stays whole.

    Args:
        dataset: what ``find_near_duplicates`` was given.
        pairs: what it returned.
    """
    keep = np.ones(len(dataset), bool)
    keep[pairs["first"].to_numpy(np.int64)] = False
    return keep


def _detail_correlation(pictures: np.ndarray, first: list[int], second: list[int]) -> np.ndarray:
    """Return (M,) float64 for pairs of rows: the correlation of their detail at the best shift; 0 where one has no detail."""
    details: dict[int, np.ndarray] = {}
    for row in {*first, *second}:
        picture = pictures[row].astype(np.float32)
        details[row] = picture - cv2.GaussianBlur(picture, (0, 0), DETAIL_SIGMA)
    blank = {row for row, detail in details.items() if detail.std() < MIN_CONTRAST}
    inner = slice(MAX_SHIFT, THUMBNAIL - MAX_SHIFT)
    result = np.zeros(len(first))
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        if one not in blank and other not in blank:
            scores = cv2.matchTemplate(details[one], details[other][inner, inner], cv2.TM_CCOEFF_NORMED)
            result[number] = scores.max()
    return result
