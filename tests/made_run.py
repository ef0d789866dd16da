"""Runs that are made up in a second, for tests of everything that reads one: a real ONNX file, invented answers.

The network averages the face over 8x8 blocks (the ``features``) and applies a random matrix a head. The test faces, their
labels and the answers are invented, but fit together: the metrics are computed from the predictions that the run holds.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
from onnx import TensorProto, helper, numpy_helper

from fercore import metrics, preprocess, runs
from fercore.labels import LABELS
from fercore.study import Dimension, Study, Trial

SIZE = 48


def made_run(
    folder: Path,
    name: str = "made",
    *,
    heads: Mapping[str, Sequence[str]] | None = None,
    faces: int = 420,
    history: bool = True,
    averages: bool = True,
    layers: bool = True,
    threshold: float = 0.3,
    locators: Mapping[str, Sequence[str]] | None = None,
    labels: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    study: bool = False,
) -> runs.Run:
    """Write a run into ``folder / name`` and return it.

    Args:
        folder: stands in for ``artifacts/``.
        name: of the run.
        heads: labels by head; each head but ``consensus`` is a dataset with test faces, too.
        faces: of each dataset's test split.
        history: whether ``history.csv`` is there.
        averages: whether ``averages.npz`` is there.
        layers: whether the model's layers are listed.
        threshold: of every head.
        locators: of the test faces by dataset, in place of invented ones that name no file.
        labels: of those faces.
        seed: of everything that is drawn.
        study: whether a search found its recipe.
    """
    heads = {"fer2013": LABELS} if heads is None else heads
    rng = np.random.default_rng(seed)
    sources = [head for head in heads if head != "consensus"]
    tables, scores, facts, pictures = [], {}, {}, {}
    for source in sources:
        table, scores[source] = _answers(source, tuple(heads[source]), faces, rng, locators, labels)
        tables.append(table)
        facts[source] = _facts(source, tuple(heads[source]), table)
        pictures |= _averages(source, table)
    names = {head: tuple(labels) for head, labels in heads.items()}
    info = {
        "kind": "network",
        "created": "2026-11-24",
        "model": {"name": "made", "summary": "block averages and one matrix, for tests", "parameters": 36 * 7 + 7}
        | ({"layers": _layers(names)} if layers else {}),
        "recipe": {
            "model": "made",
            "datasets": sources,
            "epochs": 6,
            "batch_size": 64,
            "learning_rate": 0.001,
            "seed": seed,
        },
        "input": {"size": SIZE, "mean": 0.0, "std": 255.0},
        "framings": {key: framing.to_dict() for key, framing in preprocess.FRAMINGS.items()},
        "heads": {key: runs.Head(key, value, 1.5, threshold).to_dict() for key, value in names.items()},
        "default_head": "consensus" if "consensus" in names else sources[0],
        "datasets": {
            source: {"digest": "0" * 64, "licence": "made up", "source": "made up", "faces": 900} for source in sources
        },
        "validation": {"epoch": 4, "val_loss": 1.2, "val_accuracy": 0.61},
        "browser": True,
        "seconds": 61.5,
        "packages": {"numpy": np.__version__},
        "machine": "Linux x86_64, Python 3.11.0",
        "metrics": scores,
    }
    files: dict[str, bytes] = {
        "model.onnx": made_onnx(names, seed=seed),
        "predictions.parquet": _parquet(pd.concat(tables, ignore_index=True)),
        "dataset.json": json.dumps(facts).encode(),
    }
    if history:
        files["history.csv"] = _history(sources).to_csv(index=False).encode()
    if averages:
        stream = io.BytesIO()
        np.savez_compressed(stream, **pictures)
        files["averages.npz"] = stream.getvalue()
    if study:
        files["study.json"] = made_study().to_json().encode()
    return runs.write(folder / name, info, files)


def made_ensemble(
    folder: Path, name: str, members: Sequence[runs.Run], shares: Sequence[float] | None = None
) -> runs.Run:
    """Write an ensemble of runs that stand in ``folder``; it has no network and no history of its own."""
    first = members[0].info
    kept = ("created", "framings", "heads", "default_head", "datasets", "machine", "packages", "metrics")
    info = {"kind": "ensemble", "members": [member.name for member in members], **{key: first[key] for key in kept}}
    if shares:
        info["shares"] = list(shares)
    files = {key: members[0].file(key) for key in ("predictions.parquet", "dataset.json")}
    return runs.write(folder / name, info, files)


def made_study(trials: int = 12) -> Study:
    """Return a search over three parameters in which a higher learning rate is better and every third trial is stopped."""
    space = {
        "learning_rate": Dimension(low=1e-4, high=1e-2, log=True),
        "augment": Dimension(choices=("none", "light")),
        "options.filters": Dimension(choices=([4, 8], [8, 16])),
    }
    made = []
    for number in range(trials):
        level = number / (trials - 1)
        params = {
            "learning_rate": 1e-4 * 100**level,
            "augment": ("none", "light")[number % 2],
            "options.filters": ([4, 8], [8, 16])[number // 2 % 2],
        }
        stopped = number % 3 == 2
        epochs = (0.2 + 0.2 * level,) if stopped else (0.2 + 0.2 * level, 0.25 + 0.3 * level)
        made.append(
            Trial(
                number=number,
                params=params,
                state="pruned" if stopped else "complete",
                value=None if stopped else epochs[-1],
                epochs=epochs,
                seconds=10.0,
            )
        )
    return Study(
        metric="val_accuracy",
        seed=0,
        sampler="made up",
        pruner="made up",
        recipe={"model": "made", "datasets": ["fer2013"], "epochs": 2, "limit": 700},
        fingerprint="0" * 64,
        space=space,
        trials=tuple(made),
        importance={"learning_rate": 0.8, "augment": 0.15, "options.filters": 0.05},
    )


def made_onnx(heads: Mapping[str, Sequence[str]], *, seed: int = 0) -> bytes:
    """Return an ONNX file: ``faces`` (N, 48, 48, 1) in; ``features`` (N, 36) and logits of each head out."""
    rng = np.random.default_rng(seed)
    constants = {"shape": np.array([0, 1, SIZE, SIZE], np.int64), "flat": np.array([0, -1], np.int64)}
    nodes = [
        helper.make_node("Reshape", ["faces", "shape"], ["planes"]),
        helper.make_node("AveragePool", ["planes"], ["blocks"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Reshape", ["blocks", "flat"], ["features"]),
    ]
    outputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 36])]
    for head, labels in heads.items():
        constants[f"{head}/kernel"] = rng.normal(0, 0.6, (36, len(labels))).astype(np.float32)
        constants[f"{head}/bias"] = np.zeros(len(labels), np.float32)
        nodes.append(helper.make_node("Gemm", ["features", f"{head}/kernel", f"{head}/bias"], [head]))
        outputs.append(helper.make_tensor_value_info(head, TensorProto.FLOAT, ["N", len(labels)]))
    faces = helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["N", SIZE, SIZE, 1])
    initial = [numpy_helper.from_array(value, key) for key, value in constants.items()]
    graph = helper.make_graph(nodes, "made", [faces], outputs, initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _answers(
    source: str,
    labels: tuple[str, ...],
    faces: int,
    rng: np.random.Generator,
    locators: Mapping[str, Sequence[str]] | None,
    given: Mapping[str, Sequence[str]] | None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Invent answers that are right about six times in ten, and sad for fear most often when they are wrong."""
    k = len(labels)
    shares = np.arange(k, 0, -1) / np.arange(k, 0, -1).sum()
    where = [f"images/{source}_{number}.jpg#0" for number in range(faces)]
    codes = np.random.default_rng(faces).choice(k, faces, p=shares)  # all runs agree about the labels of the same faces
    codes[: 2 * k] = np.repeat(np.arange(k), 2)
    if locators:
        where, codes = list(locators[source]), np.array([labels.index(label) for label in given[source]])
    logits = rng.normal(0, 1, (len(codes), k))
    logits[np.arange(len(codes)), codes] += 2
    if {"fear", "sad"} <= set(labels):
        logits[codes == labels.index("fear"), labels.index("sad")] += 2.2
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    table = pd.DataFrame({"dataset": source, "split": "test", "head": source, "locator": where})
    for column, value in (("left", 10.0), ("top", 20.0), ("width", 80.0), ("height", 90.0)):
        table[column] = np.float32(np.nan if locators else value)
    table["label"] = [labels[code] for code in codes]
    table["prediction"] = [labels[best] for best in probs.argmax(axis=1)]
    table["confidence"] = probs.max(axis=1).astype("float32")
    for number, label in enumerate(labels):
        table[f"p_{label}"] = probs[:, number].astype("float32")
    scores = metrics.evaluate(codes, probs.astype(np.float32), labels, resamples=40)
    facts: dict[str, Any] = {"split": "test", "head": source, "left_out": 0, **scores}
    if source == "expw":
        facts["release_accuracy"] = {"value": 0.64, "low": 0.6, "high": 0.67}
    return table, facts


def _facts(source: str, labels: tuple[str, ...], table: pd.DataFrame) -> dict[str, Any]:
    test = {label: int((table["label"] == label).sum()) for label in labels}
    counts = {
        "train": {label: 8 * count for label, count in test.items()},
        "validation": {label: count + 1 for label, count in test.items()},
        "test": test,
    }
    total = sum(sum(split.values()) for split in counts.values())
    return {
        "source": f"The makers of {source}, 2026",
        "licence": "made up for tests",
        "labels": list(labels),
        "counts": counts,
        "photos": total - 30,
        "faces_per_photo": {"1": total - 60, "2": 30},
        "face_sizes": {
            "edges": [20.0, 40.0, 80.0, 120.0, 200.0],
            "counts": [total // 4, total // 2, total // 8, total // 8],
        },
        "duplicates": {"train-train": 12, "train-test": 3, "left_out": 3},
        "problems": {"missing image": 2},
    }


def _averages(source: str, table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Draw a grey blob for each class and for each confusion cell of 20 or more faces."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    pictures = {}
    for number, label in enumerate(sorted(set(table["label"]))):
        face = 200 - 130 * ((x / 16) ** 2 + (y / (18 + number)) ** 2 < 1)
        pictures[f"{source}/class/{label}"] = face.astype(np.float16)
        for prediction, rows in table[table["label"] == label].groupby("prediction"):
            if len(rows) >= 20:
                pictures[f"{source}/cell/{label}/{prediction}"] = face.astype(np.float16)
    return pictures


def _history(sources: Sequence[str]) -> pd.DataFrame:
    epoch = np.arange(1, 7)
    table = pd.DataFrame(
        {
            "epoch": epoch,
            "loss": 1.9 - 0.2 * epoch,
            "learning_rate": 0.001,
            "val_loss": 1.2 + 0.05 * (epoch - 4) ** 2,
            "val_accuracy": 0.61 - 0.02 * (epoch - 4) ** 2,
            "seconds": 10.25,
        }
    )
    if len(sources) > 1:
        for number, source in enumerate(sources):
            table[f"val_loss_{source}"] = table["val_loss"] + 0.1 * number
            table[f"val_accuracy_{source}"] = table["val_accuracy"] - 0.05 * number
    return table


def _layers(heads: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    rows = [
        {"name": "faces", "type": "InputLayer", "output": [SIZE, SIZE, 1], "parameters": 0},
        {"name": "blocks", "type": "AveragePooling2D", "output": [6, 6, 1], "parameters": 0},
        {"name": "features", "type": "Flatten", "output": [36], "parameters": 0},
    ]
    for head, labels in heads.items():
        rows.append({"name": head, "type": "Dense", "output": [len(labels)], "parameters": 37 * len(labels)})
    return rows


def _parquet(table: pd.DataFrame) -> bytes:
    stream = io.BytesIO()
    table.to_parquet(stream, index=False)
    return stream.getvalue()
