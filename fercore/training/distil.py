"""Distillation: what a teacher says of each training face, blended into the labels that the student learns from.

The teacher answers once, for each face as it is and mirrored, before training starts; its calibrated probabilities then stand
beside the labels (Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015). Or it is ``consistent``: it
answers every batch anew, about the very pictures that the student is shown (Beyer et al., "Knowledge distillation: A good
teacher is patient and consistent", 2022). That costs its answers in each epoch. It answers for every head, so a face that one
source labels teaches the heads of the others too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .. import calibration, preprocess
from ..errors import ConfigError
from ..runs import Run
from .data import Batch, Faces, Feed, ahead
from .recipe import Recipe

if TYPE_CHECKING:  # so that a teacher of Keras networks needs neither ONNX Runtime nor what reads datasets
    from ..datasets.crops import Progress
    from ..inference import Network

BATCH = 64

Answer = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""From crops (N, size, size) uint8 to calibrated probabilities (N, K) a head."""
Teach = Callable[[np.ndarray, preprocess.InputSpec], Mapping[str, np.ndarray]]
"""From a student's input (N, size, size, 1) float32, and what it is, to calibrated probabilities (N, K) a head."""


def taught(faces: Faces, teacher: Run, share: float, *, progress: Progress | None = None) -> Faces:
    """Return the faces with blended targets.

    Args:
        faces: of the train split, with a target for each head.
        teacher: a run that has those heads with as many labels; an ensemble teaches with all its members.
        share: of a face's weight that the teacher gets, 0 to 1. A head that knows nothing of a face learns it from the
            teacher alone, with that share for a weight.
        progress: wraps the loop over batches.

    Raises:
        RunError, ConfigError: the teacher is damaged, or lacks a head.
    """
    return blended(faces, probabilities(faces, teacher, progress=progress), share)


def check(teacher: Run, labels: Mapping[str, Sequence[str]]) -> None:
    """Raise ``ConfigError`` unless a teacher has all these heads, with just these labels."""
    for head, wanted in labels.items():
        found = teacher.heads[head].labels if head in teacher.heads else ()
        if tuple(found) != tuple(wanted):
            raise ConfigError(
                f"teacher {teacher.name}: head {head!r} knows {', '.join(found) or 'nothing'}, but the faces are labelled "
                f"{', '.join(wanted)}"
            )


def blended(faces: Faces, said: Mapping[str, np.ndarray], share: float) -> Faces:
    """Return the faces with targets in which what a teacher says (N, K) a head has a share (see ``taught``)."""
    targets, weights = _blend(faces.targets, faces.weights, said, share)
    return dataclasses.replace(faces, targets=targets, weights=weights)


def following(feed: Feed, teach: Teach, share: float) -> Feed:
    """Return a feed whose targets are blended with what a teacher says of the very pictures of each batch."""

    def batches(faces: Faces, recipe: Recipe, spec: preprocess.InputSpec, epoch: int) -> Iterator[Batch]:
        for inputs, targets, weights in ahead(feed(faces, recipe, spec, epoch)):
            yield inputs, *_blend(targets, weights, teach(inputs, spec), share)

    return batches


def teaching(teacher: Run, heads: Mapping[str, int]) -> Teach:
    """Return what asks a run, an ensemble with all its members, about a student's input.

    Raises:
        RunError, ConfigError: the teacher is damaged, or lacks one of ``heads``, names with their numbers of labels.
    """
    members = _members(teacher, heads)

    def teach(inputs: np.ndarray, spec: preprocess.InputSpec) -> dict[str, np.ndarray]:
        grey = np.clip(inputs[..., 0] * spec.std + spec.mean + 0.5, 0, 255).astype(np.uint8)
        total = {head: np.zeros((len(inputs), count), np.float32) for head, count in heads.items()}
        for (size, answer), share in zip(members, teacher.shares, strict=True):
            way = cv2.INTER_AREA if size < spec.size else cv2.INTER_LINEAR
            shown = np.stack([cv2.resize(picture, (size, size), interpolation=way) for picture in grey])
            for head, found in answer(shown).items():
                total[head] += np.float32(share) * found
        return total

    return teach


def _blend(
    targets: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray], said: Mapping[str, np.ndarray], share: float
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    mixed, counts = {}, {}
    for head, labels in targets.items():
        own = (1 - share) * weights[head]
        counts[head] = (own + share).astype(np.float32)
        total = own[:, None] * labels + share * said[head]
        mixed[head] = (total / np.maximum(counts[head], 1e-9)[:, None]).astype(np.float32)
    return mixed, counts


def probabilities(faces: Faces, teacher: Run, *, progress: Progress | None = None) -> dict[str, np.ndarray]:
    """Return a teacher's calibrated probabilities (N, K) a head, averaged over its members, the face and its mirror image."""
    heads = {head: labels.shape[1] for head, labels in faces.targets.items()}
    return averaged(faces, _members(teacher, heads), teacher.shares, progress=progress)


def averaged(
    faces: Faces,
    members: Sequence[tuple[int, Answer]],
    shares: Sequence[float],
    *,
    progress: Progress | None = None,
) -> dict[str, np.ndarray]:
    """Return the average (N, K) a head over networks, given as the side of their faces and what answers, and mirror images.

    ``shares`` says how much each network counts, 1 in all.
    """
    total = {head: np.zeros(labels.shape, np.float64) for head, labels in faces.targets.items()}
    starts = range(0, len(faces), BATCH)
    for start in progress(starts) if progress else starts:
        rows = range(start, min(start + BATCH, len(faces)))
        for (size, answer), share in zip(members, shares, strict=True):
            upright = np.stack([_crop(faces, row, size) for row in rows])
            for crops in (upright, np.ascontiguousarray(upright[:, :, ::-1])):
                for head, probabilities in answer(crops).items():
                    total[head][rows] += share / 2 * probabilities
    return {head: values.astype(np.float32) for head, values in total.items()}


def _members(teacher: Run, heads: Mapping[str, int]) -> list[tuple[int, Answer]]:
    from ..inference import Network

    runs = teacher.networks()
    for head, count in heads.items():
        for run in runs:
            found = len(run.head(head).labels) if head in run.heads else 0
            if found != count:
                raise ConfigError(f"teacher {run.name}: {found or 'no'} labels in head {head!r}, expected {count}")
    return [(run.input.size, _answer(Network(run, threads=2), list(heads))) for run in runs]


def _answer(network: Network, heads: list[str]) -> Answer:
    def answer(crops: np.ndarray) -> dict[str, np.ndarray]:
        return {
            head: calibration.softmax(logits, network.run.head(head).temperature)
            for head, logits in network.answers(crops, heads).items()
        }

    return answer


def _crop(faces: Faces, row: int, size: int) -> np.ndarray:
    crop, side = faces.crop(row)
    middle = crop.shape[0] / 2
    return preprocess.cut(crop, (middle, middle, side), size)
