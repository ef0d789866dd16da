"""A run against the faces of a dataset, through the very code that serves: predictions, and metrics with intervals."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from . import images, metrics
from .datasets.base import Dataset
from .datasets.crops import Progress
from .errors import DataError, FerError
from .inference import Predictor


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a run says about faces: row by row of ``dataset``, which holds the readable ones only."""

    dataset: Dataset
    logits: np.ndarray
    """(N, K) before temperature."""
    pred_probs: np.ndarray
    """(N, K) calibrated."""
    labels: tuple[str, ...]
    head: str
    unreadable: int

    def table(self) -> pd.DataFrame:
        """Return the rows of ``predictions.parquet``."""
        source = self.dataset.table
        frame = pd.DataFrame({"dataset": self.dataset.name, "split": source["split"], "head": self.head})
        frame["locator"] = self.dataset.locators()
        for column in ("left", "top", "width", "height"):
            frame[column] = source[column].astype("float32")
        frame["label"] = source["label"]
        frame["prediction"] = [self.labels[best] for best in self.pred_probs.argmax(axis=1)]
        frame["confidence"] = self.pred_probs.max(axis=1).astype("float32")
        for number, label in enumerate(self.labels):
            frame[f"p_{label}"] = self.pred_probs[:, number].astype("float32")
        return frame.reset_index(drop=True)


def answer(predictor: Predictor, dataset: Dataset, *, progress: Progress | None = None) -> Answers:
    """Let a run classify the labelled boxes of a dataset.

    Args:
        predictor: a run with one of its heads.
        dataset: the faces, for instance ``load("expw", data).split("test")``.
        progress: wraps the loop over pictures.

    Raises:
        DataError: no face could be read.
        FerError: the run does not know the kind of boxes that the dataset has.
    """
    for network in predictor.networks:
        network.framing(dataset.framing)
    crops: list[list[np.ndarray]] = [[] for _ in predictor.networks]
    kept: list[int] = []
    boxes = dataset.boxes()
    groups = dataset.table.groupby("image", sort=False).indices.items()
    for image, positions in progress(list(groups)) if progress else groups:
        try:
            picture = dataset.open_image(image)
            own = boxes[positions]
            framing = dataset.framing
            if not np.isfinite(own).all():
                own, framing = whole_or_detected(predictor, dataset, picture, len(positions))
            if not len(own):
                continue
            cut = [network.crops(picture, own, framing) for network in predictor.networks]
        except FerError:
            continue
        for part, own_crops in zip(crops, cut, strict=True):
            part.append(own_crops)
        kept.extend(int(position) for position in positions)
    if not kept:
        raise DataError(f"{dataset.root}: no face of dataset {dataset.name!r} could be read")
    stacked = [np.concatenate(part) for part in crops]
    logits = predictor.logits(stacked)
    return Answers(
        dataset=dataset.select(np.array(kept)),
        logits=logits,
        pred_probs=predictor.calibrate(logits),
        labels=predictor.labels,
        head=predictor.head.name,
        unreadable=len(dataset) - len(kept),
    )


def whole_or_detected(
    predictor: Predictor, dataset: Dataset, picture: np.ndarray, faces: int
) -> tuple[np.ndarray, str]:
    """Return boxes and framing of a picture without labelled boxes: the whole of a crop, else the largest face."""
    if dataset.framing == "crop":
        height, width = picture.shape[:2]
        return np.tile(np.array([[0, 0, width, height]], np.float32), (faces, 1)), "crop"
    return np.repeat(predictor.detect(images.load_image(picture)).boxes[:1], faces, axis=0), "detector"


def score(answers: Answers, *, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Return the metrics of answers, as ``metrics.evaluate`` gives them, over the classes that run and dataset share.

    Faces of one photo or subject are resampled together. A dataset loses the faces of classes that the head lacks
    (their number is ``left_out``); a head's classes that the dataset lacks cannot be chosen, and the others share their
    probability. ExpW's balanced subset also gets ``release_accuracy``, the accuracy to expect under the whole release's
    class shares, where each of its classes has a face.

    Raises:
        DataError: run and dataset share fewer than two classes, or no face is of a class that they share.
    """
    dataset = answers.dataset
    shared = tuple(label for label in answers.labels if label in dataset.labels)
    if len(shared) < 2:
        raise DataError(
            f"dataset {dataset.name!r} ({', '.join(dataset.labels)}) and head {answers.head!r} "
            f"({', '.join(answers.labels)}) share fewer than two classes"
        )
    known = dataset.table["label"].isin(shared).to_numpy()
    if not known.any():
        raise DataError(
            f"dataset {dataset.name!r}: none of its {len(known)} faces is of a class of {', '.join(shared)}"
        )
    pred_probs = answers.pred_probs[known]
    if shared != answers.labels:
        pred_probs = metrics.map_probabilities(pred_probs, answers.labels, shared)
    labels = pd.Categorical(dataset.table["label"][known], categories=list(shared)).codes.astype(np.int64)
    groups = pd.factorize(dataset.table["group"][known])[0]
    result = metrics.evaluate(labels, pred_probs, shared, groups=groups, resamples=resamples, seed=seed)
    facts: dict[str, Any] = {"head": answers.head, "faces": int(known.sum()), "left_out": int((~known).sum())}
    seen = {shared[code] for code in np.unique(labels)}
    if dataset.name == "expw" and set(metrics.EXPW_RELEASE_COUNTS) <= seen:
        facts["release_accuracy"] = metrics.reweighted_accuracy(
            labels,
            pred_probs.argmax(axis=1),
            shared,
            metrics.EXPW_RELEASE_COUNTS,
            groups=groups,
            resamples=resamples,
            seed=seed,
        )
    return {**facts, **result}
