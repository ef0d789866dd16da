"""From a trained network to a run: calibrate, export, evaluate, write."""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from .. import calibration, evaluation, preprocess, runs
from ..cards import model_card
from ..datasets.crops import Progress
from ..inference import Predictor
from . import consensus, models
from .building import input_of
from .data import Faces
from .describe import average_faces, describe, facts, layer_table
from .export import OPSET, export
from .fit import State, answers_of, write_history
from .prepare import Prepared
from .recipe import Recipe


def finish(
    model: keras.Model,
    recipe: Recipe,
    parts: list[Prepared],
    state: State,
    target: Path,
    *,
    made: Mapping[str, Any],
    check: Faces,
    overwrite: bool = False,
    progress: Progress | None = None,
    extra: Mapping[str, bytes] | None = None,
    started: float | None = None,
) -> runs.Run:
    """Calibrate, export and evaluate a trained network, and write its run.

    Args:
        model: in float32, as it will be exported, with the weights that were chosen.
        recipe: of the training.
        parts: the prepared datasets.
        state: the training's history and best epoch.
        target: the run's folder.
        made: what ``describe.made`` says on the machine that trained.
        check: the faces of validation.
        overwrite: replace a run that stands there.
        progress: wraps loops over pictures.
        extra: further files of the run by name.
        started: ``time.monotonic()`` when the work began, for the seconds in all; None for now.

    Raises:
        FerError: an export that disagrees, a test split that cannot be read.
    """
    started = time.monotonic() if started is None else started
    entry, spec = models.get(recipe.model), input_of(recipe)
    heads = {part.dataset.name: part.dataset.labels for part in parts}
    some = check.inputs(range(min(64, len(check))), spec)
    answers = answers_of(model, check.pictures(range(len(check)), spec.size), spec, heads)
    fitted = fitted_heads(heads, answers, check)
    how = consensus.settings(heads, {name: head.temperature for name, head in fitted.items()})
    if how:
        fitted |= fitted_heads(heads, {consensus.NAME: consensus.logits(answers, how)}, check)

    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "model.onnx"
        parity = export(
            onnx,
            model=recipe.model,
            size=spec.size,
            heads={name: len(labels) for name, labels in heads.items()},
            options=recipe.options,
            weights=[np.asarray(value, np.float32) for value in model.get_weights()],
            faces=some,
            consensus=how,
        )
        write_history(state.history, Path(folder) / "history.csv")
        best = state.history[state.best_epoch - 1]
        info = {
            "kind": "network",
            "created": time.strftime("%Y-%m-%d"),
            "model": {
                "name": recipe.model,
                "summary": entry.summary,
                "origin": entry.origin_with(recipe.options),
                "parameters": int(model.count_params()),
                "layers": layer_table(model, some[:1]),
            },
            "recipe": recipe.to_dict(),
            "input": spec.to_dict(),
            "framings": {name: framing.to_dict() for name, framing in preprocess.FRAMINGS.items()},
            "heads": {name: head.to_dict() for name, head in fitted.items()},
            "default_head": consensus.NAME if how else next(iter(heads)),
            "consensus": how,
            "datasets": {part.dataset.name: facts(part) for part in parts},
            "validation": {"epoch": state.best_epoch, **{k: v for k, v in best.items() if k.startswith("val_")}},
            "export": {"difference": parity, "opset": OPSET},
            "browser": entry.browser,
            "seconds": round(sum(row["seconds"] for row in state.history), 1),
            **made,
        }
        files = {
            "model.onnx": onnx,
            "history.csv": (Path(folder) / "history.csv").read_bytes(),
            "dataset.json": _json({part.dataset.name: describe(part) for part in parts}),
            **(extra or {}),
        }
        draft = runs.write(Path(folder) / target.name, info, files)
        measured, tables, pictures = evaluated(draft, parts, progress)
        info |= {"metrics": measured, "seconds_in_all": round(time.monotonic() - started, 1)}
        files |= {"predictions.parquet": parquet(tables), "averages.npz": npz(pictures)}
        files["README.md"] = model_card(target.name, info).encode()
        return runs.write(target, info, files, overwrite=overwrite)


def fitted_heads(
    heads: Mapping[str, tuple[str, ...]], answers: Mapping[str, np.ndarray], check: Faces
) -> dict[str, runs.Head]:
    """Return the heads with the temperatures and thresholds that validation asks for.

    Args:
        heads: the labels of each source.
        answers: logits (N, K) of the validation faces, by head: of sources, and of the consensus.
        check: the validation faces.
    """
    fitted = {}
    for name, logits in answers.items():
        if name == consensus.NAME:
            fitted[name] = _calibrate_consensus(logits, check, heads)
        else:
            known = check.weights[name] > 0
            fitted[name] = fitted_head(name, heads[name], check.targets[name][known].argmax(axis=1), logits[known])
    return fitted


def fitted_head(name: str, labels: tuple[str, ...], codes: np.ndarray, logits: np.ndarray) -> runs.Head:
    """Return a head with the temperature and threshold that validation asks for."""
    temperature = calibration.fit_temperature(codes, logits)
    threshold = calibration.choose_threshold(codes, calibration.softmax(logits, temperature))
    return runs.Head(name, labels, float(temperature), float(threshold))


def _calibrate_consensus(logits: np.ndarray, check: Faces, heads: Mapping[str, tuple[str, ...]]) -> runs.Head:
    """Fit the consensus on every validation face; one that two sources label counts twice, once with each label.

    Labels that are not of the seven are left out.
    """
    codes, rows = [], []
    for name, labels in heads.items():
        for row in np.flatnonzero(check.weights[name] > 0):
            label = labels[int(check.targets[name][row].argmax())]
            if label in consensus.LABELS:
                codes.append(consensus.LABELS.index(label))
                rows.append(row)
    return fitted_head(consensus.NAME, consensus.LABELS, np.array(codes), logits[np.array(rows)])


def evaluated(
    draft: runs.Run, parts: list[Prepared], progress: Progress | None
) -> tuple[dict[str, Any], list[pd.DataFrame], dict[str, np.ndarray]]:
    """Return metrics a dataset, predictions, and average faces, all by the run as it will serve."""
    measured, tables, pictures = {}, [], {}
    for part in parts:
        name = part.dataset.name
        test = part.dataset.split("test")
        answers = evaluation.answer(Predictor.load(draft, head=name), test, progress=progress)
        measured[name] = {"split": "test", **evaluation.score(answers)}
        tables.append(answers.table())
        if consensus.NAME in draft.heads:
            tables.append(evaluation.answer(Predictor.load(draft), test, progress=progress).table())
        pictures |= average_faces(part, answers.table())
    return measured, tables, pictures


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def parquet(tables: list[pd.DataFrame]) -> bytes:
    """Return ``predictions.parquet`` of tables one below the other.

    Probabilities are kept to four digits, which halves the file; scores are computed before, from all digits.
    """
    table = pd.concat(tables, ignore_index=True)
    rounded = [name for name in table.columns if name == "confidence" or name.startswith("p_")]
    table[rounded] = table[rounded].round(4)
    stream = io.BytesIO()
    table.to_parquet(stream, index=False, compression="zstd")
    return stream.getvalue()


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    """Return arrays by name as a compressed ``.npz`` file."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()
