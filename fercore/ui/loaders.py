"""What pages read, cached: runs, their predictions and averages, predictors, and the pictures of datasets where they are.

Caches are keyed by the run's folder and the time its ``run.json`` was written, so that a run which is trained again, renamed or
deleted never shows old numbers; figures and tables by all that they are made of. All visitors share what is cached, so nobody
may change it. Nothing that a visitor uploads passes through here.
"""

from __future__ import annotations

import hashlib
import pickle  # noqa: TID251 - nothing is unpickled: a quick way to the bytes of anything, for a key
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import streamlit as st

from .. import comparison, config, datasets, preprocess, runs
from ..comparison import Comparison
from ..datasets import Dataset
from ..errors import FerError
from ..faces import BlazeFace
from ..inference import Predictor
from ..runs import Run
from . import progress

PORTRAIT = Path(__file__).resolve().parents[2] / "static" / "portrait.jpg"
"""The sample portrait; ``static/README.md`` says where it is from."""
T = TypeVar("T")
CONTEXT = preprocess.Framing(scale=1.3)
"""How much of a photo is shown around a labelled box."""


def known() -> tuple[list[Run], list[str]]:
    """Return what ``runs.list_runs`` does, read again when a run has come, gone or changed."""
    return _known(tuple((str(folder), _stamp(folder)) for folder in runs.run_folders()))


def run(folder: Path) -> Run:
    """Return a run whose files are those that were written. Raises ``RunError`` naming the one that is not."""
    return _run(str(folder), _stamp(folder))


def once(make: Callable[..., T], *given: Any, **options: Any) -> T:
    """Return ``make(*given, **options)``, a figure or a table, which is made when a visitor asks for it first."""
    key = hashlib.blake2b(pickle.dumps((given, options)), digest_size=16).hexdigest()
    return _once(f"{make.__module__}.{make.__qualname__}", key, make, given, options)


def has(run: Run, file: str) -> bool:
    """Tell whether a run has a file."""
    return file in run.info["files"]


def predictions(run: Run, dataset: str, head: str | None = None) -> pd.DataFrame:
    """Return the test predictions of a run on a dataset, of the head that its metrics are about; empty where it has none."""
    if not has(run, "predictions.parquet"):
        return pd.DataFrame()
    return _predictions(str(run.path), dataset, head or run.metrics(dataset).get("head"), _stamp(run.path))


def averages(run: Run, kind: str) -> dict[str, np.ndarray]:
    """Return average faces by what follows ``kind``, such as ``fer2013/class``; empty where the run holds none.

    (S, S) uint8, spread over all greys: a mean of many faces has little contrast of its own.
    """
    if not has(run, "averages.npz"):
        return {}
    stored = _averages(str(run.path), _stamp(run.path))
    return {key.removeprefix(f"{kind}/"): face for key, face in stored.items() if key.startswith(f"{kind}/")}


def facts(run: Run) -> dict[str, Any]:
    """Return ``dataset.json`` of a run; empty where it has none."""
    return run.dataset_info() if has(run, "dataset.json") else {}


def source(run: Run, dataset: str) -> str:
    """Return the citation of a dataset; empty where the run does not give it."""
    return (run.info.get("datasets") or {}).get(dataset, {}).get("source", "")


def predictor(run: Run, head: str | None = None, *, tiles: bool = True) -> Predictor:
    """Return the predictor of a run and head, shared by all visitors; videos do without a look at tiles."""
    return _predictor(str(run.path), head or run.default_head, tiles, _stamp(run.path))


def compared(chosen: tuple[Run, ...], dataset: str, reference: Run) -> Comparison:
    """Return a comparison of runs on the test faces of a dataset."""
    stamps = tuple(_stamp(run.path) for run in (*chosen, reference))
    return _compared(tuple(run.path for run in chosen), reference.path, dataset, stamps)


def times(result: Comparison, chosen: Mapping[str, Run]) -> dict[str, float]:
    """Return the milliseconds that each run of a comparison takes for a face, measured once a server, with progress."""
    rows = progress.counted(result.rows, len(result.rows), "Measuring network", at_once=True)
    return {row.run: _milliseconds(chosen[row.run].path, result.dataset, _stamp(chosen[row.run].path)) for row in rows}


def pictures(name: str) -> tuple[Dataset | None, str]:
    """Return a dataset whose pictures can be opened, or None and the reason in one line."""
    return _pictures(name, str(config.data_dir()))


def face(name: str, locator: str) -> np.ndarray | None:
    """Return the picture of one labelled face with a little around it: uint8 (S, S, 3) or (S, S); None if it cannot be read."""
    dataset, _ = pictures(name)
    row = _positions(name, str(config.data_dir())).get(locator)
    if dataset is None or row is None:
        return None
    try:
        pixels = dataset.open_image(dataset.table["image"].iat[row])
    except FerError:
        return None
    box = dataset.boxes()[row]
    return pixels if not np.isfinite(box).all() else cut_out(pixels, box)


def samples(name: str, label: str, *, seed: int = 0, count: int = 18) -> list[tuple[np.ndarray, str]]:
    """Return the pictures of some faces of a class, drawn by ``seed``, each with its locator."""
    dataset, _ = pictures(name)
    if dataset is None:
        return []
    rows = np.flatnonzero(dataset.table["label"] == label)
    drawn = np.random.default_rng(seed).permutation(rows)[:count]
    where = dataset.select(drawn).locators()
    found = ((face(name, locator), locator) for locator in where)
    return [(pixels, locator) for pixels, locator in found if pixels is not None]


def cut_out(pixels: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the part of a picture around a box (left, top, width, height), in colour; clipped to the picture."""
    x, y, side = preprocess.face_square(box, CONTEXT)
    left, top = max(0, round(x - side / 2)), max(0, round(y - side / 2))
    return pixels[top : max(top + 1, round(y + side / 2)), left : max(left + 1, round(x + side / 2))]


def _stamp(folder: Path) -> int:
    return (folder / "run.json").stat().st_mtime_ns


@st.cache_resource(max_entries=4, show_spinner=False)
def _known(stamps: tuple[tuple[str, int], ...]) -> tuple[list[Run], list[str]]:
    return runs.list_runs()


@st.cache_resource(max_entries=256, show_spinner=False)
def _once(name: str, key: str, _make: Callable[..., T], _given: tuple[Any, ...], _options: dict[str, Any]) -> T:
    return _make(*_given, **_options)


@st.cache_resource(max_entries=16, show_spinner=False)
def _run(folder: str, stamp: int) -> Run:
    return Run.load(folder)


@st.cache_resource(max_entries=16, show_spinner=False)
def _predictions(folder: str, dataset: str, head: str | None, stamp: int) -> pd.DataFrame:
    table = Run.load(folder, verify=False).predictions()
    return table[(table["dataset"] == dataset) & (table["head"] == head)].dropna(axis="columns", how="all")


@st.cache_resource(max_entries=8, show_spinner=False)
def _averages(folder: str, stamp: int) -> dict[str, np.ndarray]:
    with np.load(Run.load(folder, verify=False).file("averages.npz"), allow_pickle=False) as stored:
        return {key: _spread(stored[key].astype(np.float32)) for key in stored.files}


def _spread(face: np.ndarray) -> np.ndarray:
    low, high = float(face.min()), float(face.max())
    return np.rint((face - low) * (255 / max(high - low, 1.0))).astype(np.uint8)


@st.cache_resource(max_entries=8, show_spinner="Loading the network …")
def _predictor(folder: str, head: str, tiles: bool, stamp: int) -> Predictor:
    return Predictor.load(folder, head=head, detector=None if tiles else BlazeFace(tiles=False))


@st.cache_data(max_entries=16, show_spinner="Comparing …")
def _compared(folders: tuple[Path, ...], reference: Path, dataset: str, stamps: tuple[int, ...]) -> Comparison:
    chosen = [Run.load(folder, verify=False) for folder in folders]
    return comparison.compare(chosen, dataset, reference=Run.load(reference, verify=False))


@st.cache_data(max_entries=64, show_spinner=False)
def _milliseconds(folder: Path, dataset: str, stamp: int) -> float:
    return comparison.milliseconds(Run.load(folder, verify=False), dataset)


@st.cache_resource(max_entries=8, ttl=600, show_spinner="Looking for the pictures …", show_time=True)
def _pictures(name: str, folder: str) -> tuple[Dataset | None, str]:
    try:
        return datasets.load(name, folder, strict=False), ""
    except FerError as error:
        return None, str(error)


@st.cache_resource(max_entries=8, ttl=600, show_spinner=False)
def _positions(name: str, folder: str) -> dict[str, int]:
    dataset, _ = _pictures(name, folder)
    return {} if dataset is None else {locator: row for row, locator in enumerate(dataset.locators())}
