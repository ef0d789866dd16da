"""Runs side by side on the same faces: scores, McNemar's test, the classes each gains and loses, and what each costs.

Faces are paired by their locator in ``predictions.parquet``, which every run carries, so that a comparison needs no dataset.
Only the time of an answer is measured here and now, by ``milliseconds``.
"""

from __future__ import annotations

import collections
import dataclasses
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from . import metrics
from .errors import DataError, RunError
from .inference import Predictor
from .runs import Run, list_runs

SCORES = ("accuracy", "balanced_accuracy", "macro_f1")
BASELINE = "report-cnn"
"""The network that others are tested against where its run is at hand."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One run of a comparison."""

    run: str
    model: str
    head: str
    scores: dict[str, dict[str, float | None]]
    """Accuracy, balanced accuracy and macro F1 on the dataset's test split, each with its 95% interval."""
    parameters: int | None
    bytes: int
    """Of its ONNX files."""
    faces: int
    """Test faces that the run and the reference share."""
    difference: dict[str, float | None] | None
    """Accuracy beyond the reference's on those faces, with its 95% interval; None for the reference itself."""
    test: metrics.McNemar | None
    """``only_a``: faces that this run alone has right; ``only_b``: those that the reference alone has right."""
    classes: pd.DataFrame
    """A row a class: ``class, faces, gained, lost, change``; ``change`` is the gain of recall in points."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["test"] = self.test._asdict() if self.test else None
        values["classes"] = self.classes.to_dict("records")
        return values


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs on the test split of one dataset, the most accurate first."""

    dataset: str
    reference: str
    rows: tuple[Row, ...]
    reason: str = ""
    """Why that run is the reference, in a few words."""

    def row(self, run: str) -> Row:
        """Return the row of a run by name."""
        return next(row for row in self.rows if row.run == run)

    @property
    def others(self) -> list[Row]:
        """The rows of all runs but the reference."""
        return [row for row in self.rows if row.run != self.reference]


def compare(runs: Sequence[Run], dataset: str | None = None, *, reference: Run | None = None) -> Comparison:
    """Compare runs on the test faces of a dataset.

    Args:
        runs: one or more; the reference joins them where it is not among them.
        dataset: None for the first that all of them were tested on.
        reference: what the others are tested against; None for the run of the report's CNN (see ``reference_of``).

    Raises:
        RunError: a run was not tested on the dataset, or has no predictions; two runs of one name.
        DataError: a run shares no test face with the reference, or the two do not agree about a face's label.
    """
    if not runs:
        raise DataError("compare: name at least one run")
    given = [*runs, *([reference] if reference else [])]
    name = dataset or next(iter(shared_datasets(given)), None)
    if name is None:
        tested = "; ".join(f"{run.name}: {', '.join(run.info.get('metrics') or {}) or 'none'}" for run in given)
        raise RunError(f"these runs were tested on no dataset in common ({tested}); compare fewer, or name --dataset")
    base = reference or reference_of(runs, name)
    members = {run.path: run for run in (*runs, base)}
    if len({run.name for run in members.values()}) < len(members):
        raise RunError(f"two of the runs have the same name: {', '.join(run.name for run in members.values())}")
    right = {run.name: _answers(run, name) for run in members.values()}
    rows = [_row(run, name, right[run.name], None if run is base else right[base.name]) for run in members.values()]
    rows.sort(key=lambda row: -(row.scores["accuracy"]["value"] or 0.0))
    return Comparison(name, base.name, tuple(rows), "as chosen" if reference else reason(base, name))


def shared_datasets(runs: Sequence[Run]) -> list[str]:
    """Return the datasets that all runs were tested on, in the order of the first one."""
    tested = [list(run.info.get("metrics") or {}) for run in runs]
    return [name for name in tested[0] if all(name in names for names in tested)] if tested else []


def most_tested(runs: Sequence[Run]) -> str | None:
    """Return the dataset that most runs were tested on, the first of equals; None where none was tested."""
    counts = collections.Counter(name for run in runs for name in run.info.get("metrics") or {})
    return max(counts, key=counts.get, default=None)


def reference_of(runs: Sequence[Run], dataset: str) -> Run:
    """Return the run that others are tested against on a dataset.

    That is the run of the report's CNN that is named so (``DATASET-report-cnn``), be it among the runs or beside them; else
    one of that network under another name, beside them only where it seems to have seen the same faces; else the first of
    the runs. ``reason`` says which of the three.
    """
    beside = [run for run in list_runs(runs[0].path.parent)[0] if dataset in (run.info.get("metrics") or {})]
    classes = (runs[0].metrics(dataset) or {}).get("classes")
    fitting = [run for run in (*runs, *beside) if run.metrics(dataset).get("classes") == classes]
    named = [run for run in fitting if run.name == f"{dataset}-{BASELINE}"]
    given = {run.path for run in runs}
    others = [run for run in fitting if _is_baseline(run) and (run.path in given or alike(run, runs[0], dataset))]
    return next(iter((*named, *others)), runs[0])


def reason(reference: Run, dataset: str) -> str:
    """Return why ``reference_of`` has chosen a run, in a few words."""
    if reference.name == f"{dataset}-{BASELINE}":
        return "the report's CNN"
    if _is_baseline(reference):
        return "a run of the report's CNN"
    return f"the first run, for want of one of the report's CNN on {dataset}"


def _is_baseline(run: Run) -> bool:
    return run.info.get("model", {}).get("name") == BASELINE


def alike(run: Run, other: Run, dataset: str) -> bool:
    """Tell whether two runs seem to have been tested on the same faces: as many, of the same classes.

    A quick guess without reading predictions; two people's own folders, for instance, are different datasets of one name.
    """
    mine, theirs = run.metrics(dataset), other.metrics(dataset)
    return bool(mine) and all(mine.get(key) == theirs.get(key) for key in ("classes", "faces"))


def milliseconds(run: Run, dataset: str | None = None, *, seconds: float = 0.5) -> float:
    """Return the time that a run takes for one face, in milliseconds: the median of single answers on one thread.

    Measured from the grey crop to the probabilities, through ONNX Runtime, on this machine as busy as it is; finding the face
    and cutting it out come on top.

    Args:
        run: a network or an ensemble, whose members answer one after the other.
        dataset: whose head answers; None for the default one.
        seconds: to measure for, after a tenth of them to warm up; at least ten answers either way.
    """
    predictor = Predictor.load(run, head=run.head_for(dataset).name if dataset else None, threads=1)
    picture = np.random.default_rng(0).integers(0, 256, (128, 128), dtype=np.uint8)
    crops = [network.crops(picture, np.array([[0.0, 0, 128, 128]]), "crop") for network in predictor.networks]
    for limit in (seconds / 10, seconds):
        times: list[float] = []
        while len(times) < 10 or sum(times) < limit:
            started = time.perf_counter()
            predictor.probabilities(crops)
            times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def _row(run: Run, dataset: str, own: pd.DataFrame, base: pd.DataFrame | None) -> Row:
    networks = run.networks(verify=False)
    counts = [network.info.get("model", {}).get("parameters") for network in networks]
    measured = run.metrics(dataset)
    pairs, difference, test = own.assign(base=own["right"]), None, None
    if base is not None:
        pairs = own.join(base.rename(columns={"right": "base", "label": "base_label"}), how="inner")
        _check_pairs(run, dataset, pairs)
        difference = metrics.paired_difference(pairs["right"], pairs["base"], _photos(pairs.index))
        truth = np.ones(len(pairs), np.int64)
        test = metrics.mcnemar(truth, pairs["right"].astype(int), pairs["base"].astype(int), exact=True)
    return Row(
        run=run.name,
        model=run.info.get("model", {}).get("name", run.kind),
        head=_head(run, dataset),
        scores={name: dict(measured[name]) for name in SCORES},
        parameters=sum(counts) if all(isinstance(count, int) for count in counts) else None,
        bytes=sum(network.file("model.onnx").stat().st_size for network in networks),
        faces=len(pairs),
        difference=difference,
        test=test,
        classes=_classes(pairs, measured["classes"]),
    )


def _photos(locators: pd.Index) -> np.ndarray | None:
    """Return which photo each face is from; None where the locators are rows of one table and name no photos."""
    photos = pd.factorize(locators.str.rpartition("#").get_level_values(0))[0]
    return photos if photos.any() else None


def _classes(pairs: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """Return what the run gains and loses in each class that has a face."""
    rows = []
    for label in order:
        own = pairs[pairs["label"] == label]
        gained, lost = int((own["right"] & ~own["base"]).sum()), int((~own["right"] & own["base"]).sum())
        if len(own):
            change = 100 * (gained - lost) / len(own)
            rows.append({"class": label, "faces": len(own), "gained": gained, "lost": lost, "change": change})
    return pd.DataFrame(rows, columns=["class", "faces", "gained", "lost", "change"])


def _head(run: Run, dataset: str) -> str:
    """Return the head that answers for a dataset: the one named after it, else the one that the metrics are about."""
    return dataset if dataset in run.heads else run.metrics(dataset).get("head", run.default_head)


def _answers(run: Run, dataset: str) -> pd.DataFrame:
    """Return the label of each test face of a run and whether it is right, by locator."""
    if dataset not in (run.info.get("metrics") or {}):
        known = ", ".join(run.info.get("metrics") or {}) or "nothing"
        raise RunError(f"run {run.name}: was not tested on {dataset!r}, but on {known}")
    table = run.predictions()
    try:
        table = table[(table["dataset"] == dataset) & (table["head"] == _head(run, dataset))]
        table = table[table["label"].isin(run.metrics(dataset)["classes"])]
        found = pd.DataFrame({"label": table["label"].astype(str), "right": table["label"] == table["prediction"]})
        found.index = pd.Index(table["locator"].astype(str), name="locator")
    except KeyError as error:
        raise RunError(f"run {run.name}: predictions.parquet has no column {error}; copy the run again") from error
    if found.empty or not found.index.is_unique:
        what = "no face" if found.empty else "a face twice"
        raise RunError(f"run {run.name}: predictions.parquet holds {what} of {dataset!r}; train it again")
    return found


def _check_pairs(run: Run, dataset: str, pairs: pd.DataFrame) -> None:
    if pairs.empty:
        raise DataError(
            f"run {run.name}: shares no test face of {dataset!r} with the reference; were they split alike?"
        )
    differing = pairs.index[pairs["label"] != pairs["base_label"]]
    if len(differing):
        raise DataError(
            f"run {run.name}: {len(differing)} faces of {dataset!r} have another label than in the reference, such as "
            f"{differing[0]}; they were made from different releases of it"
        )
