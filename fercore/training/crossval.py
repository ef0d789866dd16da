"""Cross-validation on CK+ as papers do it, over random frames, and as users meet it, over people never seen.

Every network is trained for the same fixed number of epochs, on the faces and their mirror images, and its last weights answer:
no fold chooses anything. Each fold's answers are kept beside the result, so that an interrupted run goes on.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from .. import features, metrics
from ..calibration import softmax
from ..datasets.base import Dataset
from ..datasets.crops import Progress, load_crops
from ..errors import ConfigError
from ..papers import PROTOCOLS
from ..preprocess import InputSpec, cut
from . import models

BATCH = 32
RATE = 1e-3


def folds(dataset: Dataset, protocol: str, count: int, seed: int) -> np.ndarray:
    """Return the fold (N,) in which each face is tested; classes are spread over the folds as evenly as the protocol lets.

    Raises:
        ConfigError: an unknown protocol.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(f"protocol {protocol!r} is none of {', '.join(PROTOCOLS)}")
    kind = StratifiedKFold if protocol == "random" else StratifiedGroupKFold
    splitter = kind(count, shuffle=True, random_state=seed)
    groups = dataset.table["group"].to_numpy()
    result = np.empty(len(dataset), np.int64)
    for number, (_, test) in enumerate(splitter.split(np.zeros(len(dataset)), dataset.codes, groups)):
        result[test] = number
    return result


def cross_validate(
    dataset: Dataset,
    names: list[str],
    *,
    work: Path,
    count: int = 10,
    epochs: int = 20,
    seed: int = 0,
    report: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train and test networks under both protocols.

    Args:
        dataset: faces with a subject each (``group``).
        names: networks of ``MODELS``.
        work: folder where finished folds are kept; it may hold those of an earlier try.
        count: folds.
        epochs: of each training.
        seed: decides folds, first weights and order.
        report: told about each fold, in a line.
        progress: wraps the loop over pictures.

    Returns:
        What ``papers.write`` takes: ``results[model][protocol]`` has ``accuracy`` and ``macro_f1`` with 95% intervals by
        bootstrap over subjects, and the accuracy of each fold.
    """
    crops = load_crops(dataset, progress=progress)
    codes, subjects = dataset.codes, np.unique(dataset.table["group"], return_inverse=True)[1]
    results: dict[str, Any] = {}
    for name in names:
        entry = models.get(name)
        inputs = _inputs(crops, entry.input)
        results[name] = {"epochs": epochs}
        for protocol in PROTOCOLS:
            fold_of = folds(dataset, protocol, count, seed)
            logits = np.zeros((len(dataset), len(dataset.labels)), np.float32)
            accuracies = []
            for fold in range(count):
                tested = fold_of == fold
                key = json.dumps([name, protocol, count, fold, epochs, seed, dataset.digest(), *_how(entry)])
                file = work / f"{name}-{protocol}-{fold}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.npy"
                if not file.is_file():
                    answers = _train(entry, inputs, codes, tested, len(dataset.labels), epochs, seed + fold)
                    work.mkdir(parents=True, exist_ok=True)
                    with file.with_suffix(".part").open("wb") as stream:
                        np.save(stream, answers)
                    file.with_suffix(".part").replace(file)
                logits[tested] = np.load(file, allow_pickle=False)
                accuracies.append(float((logits[tested].argmax(1) == codes[tested]).mean()))
                if report:
                    report(f"{name}, {PROTOCOLS[protocol]}, fold {fold + 1} of {count}: {accuracies[-1]:.1%}")
            measured = metrics.evaluate(codes, softmax(logits), dataset.labels, groups=subjects, seed=seed)
            results[name][protocol] = {
                "accuracy": measured["accuracy"],
                "macro_f1": measured["macro_f1"],
                "folds": accuracies,
            }
    return {
        "dataset": dataset.name,
        "digest": dataset.digest(),
        "faces": len(dataset),
        "subjects": int(subjects.max()) + 1,
        "classes": list(dataset.labels),
        "folds": count,
        "seed": seed,
        "results": results,
    }


def _how(entry: models.Model) -> list[Any]:
    """Return all that decides a training beside data and seed, so that no other training's folds are taken for it."""
    source = Path(importlib.import_module(f".{entry.module}", models.__name__).__file__).read_bytes()
    return [entry.input.to_dict(), dict(entry.options), BATCH, RATE, hashlib.sha256(source).hexdigest()]


def _inputs(crops: Any, spec: InputSpec) -> np.ndarray:
    """Return the network input of each face and of its mirror image: (2, N, ...)."""
    middle = crops.pixels.shape[1] / 2
    plain = np.stack([cut(crop, (middle, middle, crops.side), spec.size) for crop in crops.pixels])
    return np.stack([features.network_input(faces, spec) for faces in (plain, np.ascontiguousarray(plain[:, :, ::-1]))])


def _train(
    entry: models.Model, inputs: np.ndarray, codes: np.ndarray, tested: np.ndarray, classes: int, epochs: int, seed: int
) -> np.ndarray:
    """Train on the faces that are not tested and return the logits of those that are."""
    keras.utils.set_random_seed(seed)
    network = entry.build({"answer": classes})
    trainer = keras.Model(network.input, network.output["answer"])
    faces = np.concatenate(inputs[:, ~tested])
    known = np.tile(codes[~tested], 2)
    steps = -(-len(faces) // BATCH) * epochs
    trainer.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(RATE, steps)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    trainer.fit(faces, known, batch_size=BATCH, epochs=epochs, verbose=0)
    return keras.ops.convert_to_numpy(trainer(inputs[0, tested], training=False))
