"""Several runs that answer together: the weighted average of what their calibrated heads say, calibrated once more.

Nothing is trained; validation says how much each counts. The run that is written names its members, which stay folders beside
it; it serves as a run like any other and as a teacher (see ``distil``).
"""

from __future__ import annotations

import dataclasses
import json
import platform
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import calibration, evaluation, runs
from ..cards import model_card
from ..datasets.crops import Progress
from ..errors import ConfigError
from ..inference import Predictor
from ..labels import LABELS
from . import consensus
from .describe import describe, facts, packages
from .finish import evaluated, fitted_head, npz, parquet
from .prepare import Prepared, check_same, prepare_all
from .recipe import Recipe

KEPT = ("framings", "default_head")


def combine(
    members: Sequence[str | Path],
    *,
    data: str | Path,
    out: str | Path,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> runs.Run:
    """Weight, calibrate and evaluate the average of some runs, and write the ensemble.

    Args:
        members: two runs or more, in the folder where the ensemble will be, that were trained on the same datasets.
        data: the data folder.
        out: the ensemble's folder.
        overwrite: replace a run that stands there.
        progress: wraps loops over pictures.

    Raises:
        FerError: the members do not fit together, or a dataset cannot be used.
    """
    target = Path(out)
    runs.check_place(target, overwrite=overwrite)
    started = time.monotonic()
    own = [runs.Run.load(member) for member in members]
    _check(own, target)
    first = own[0]
    recipe = Recipe.from_dict(first.info["recipe"])
    parts = prepare_all(recipe, data, progress=progress)
    check_same(
        parts,
        first,
        "the members were trained on: faces were added, taken away or split otherwise; train the members again",
    )
    answers = {name: _validation(own, name, parts, progress) for name in first.heads}
    shares = calibration.fit_shares(np.concatenate([each.likelihoods() for each in answers.values()]))
    info = {
        "kind": "ensemble",
        "members": [run.name for run in own],
        "shares": shares.tolist(),
        "networks": {run.name: run.network_hash for run in own},
        "created": time.strftime("%Y-%m-%d"),
        "model": {
            "name": "ensemble",
            "summary": "the average of "
            + " and ".join(f"{run.name} ({share:.0%})" for run, share in zip(own, shares, strict=True)),
            "origin": " ".join(dict.fromkeys(filter(None, (run.info["model"].get("origin", "") for run in own)))),
            "parameters": sum(run.info["model"]["parameters"] for run in own),
        },
        **{key: first.info[key] for key in KEPT},
        "heads": {
            name: fitted_head(
                name, first.heads[name].labels, each.codes, calibration.logarithms(each.said @ shares)
            ).to_dict()
            for name, each in answers.items()
        },
        "datasets": {part.dataset.name: facts(part) for part in parts},
        "browser": all(run.info.get("browser") for run in own),
        "seconds": 0.0,
        "packages": packages(),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "backend": "onnxruntime",
    }
    with tempfile.TemporaryDirectory() as folder:
        for run in own:
            shutil.copytree(run.path, Path(folder) / run.name)
        draft = runs.write(Path(folder) / target.name, info, {})
        measured, tables, pictures = evaluated(draft, parts, progress)
    info |= {"metrics": measured, "seconds_in_all": round(time.monotonic() - started, 1)}
    description = {part.dataset.name: describe(part) for part in parts}
    files = {
        "dataset.json": (json.dumps(description, indent=1) + "\n").encode(),
        "predictions.parquet": parquet(tables),
        "averages.npz": npz(pictures),
        "README.md": model_card(target.name, info).encode(),
    }
    return runs.write(target, info, files, overwrite=overwrite)


def _check(members: list[runs.Run], target: Path) -> None:
    if len(members) < 2 or len({run.name for run in members}) < len(members):
        raise ConfigError(f"{target}: an ensemble needs two different runs or more")
    if target.name in [run.name for run in members]:
        raise ConfigError(f"{target}: is one of the members; choose another --out")
    first = members[0]
    for run in members:
        if run.kind != "network" or "recipe" not in run.info:
            raise ConfigError(f"run {run.name}: is no network that was trained here, so it cannot be a member")
        if run.path.parent.resolve() != target.parent.resolve():
            raise ConfigError(f"run {run.name}: stands in {run.path.parent}, but members belong beside {target}")
        labels = {name: head.labels for name, head in run.heads.items()}
        if labels != {name: head.labels for name, head in first.heads.items()}:
            raise ConfigError(f"run {run.name}: has other heads or labels than {first.name}")
        if run.info["recipe"]["datasets"] != first.info["recipe"]["datasets"]:
            raise ConfigError(f"run {run.name}: was trained on other datasets than {first.name}")
        digests = [{name: facts["digest"] for name, facts in each.info["datasets"].items()} for each in (run, first)]
        if digests[0] != digests[1]:
            raise ConfigError(
                f"run {run.name}: its datasets held other faces or splits than those of {first.name}, so one may have been "
                "trained on what would test the other"
            )


@dataclasses.dataclass(frozen=True)
class _Answers:
    """What the members say of the validation faces that a head knows."""

    codes: np.ndarray
    """(N,) the labels' numbers."""
    said: np.ndarray
    """(N, K, M) calibrated probabilities."""

    def likelihoods(self) -> np.ndarray:
        """Return (N, M), the probability that each member gives to the label."""
        return self.said[np.arange(len(self.codes)), self.codes]


def _validation(members: list[runs.Run], name: str, parts: list[Prepared], progress: Progress | None) -> _Answers:
    """Ask the members about a head's validation faces: those of its own dataset; for the consensus, those of all."""
    labels = members[0].heads[name].labels
    known = LABELS if name == consensus.NAME else labels
    codes: list[np.ndarray] = []
    said: list[np.ndarray] = []
    for part in parts:
        if name not in (consensus.NAME, part.dataset.name):
            continue
        faces = part.dataset.split("validation")
        answers: list[Any] = [
            evaluation.answer(Predictor.load(run, head=name), faces, progress=progress) for run in members
        ]
        found = answers[0].dataset.table["label"]
        rows = found.isin(known).to_numpy()
        codes.append(np.array([labels.index(label) for label in found[rows]]))
        said.append(np.stack([each.pred_probs[rows] for each in answers], axis=2))
    return _Answers(np.concatenate(codes), np.concatenate(said))
