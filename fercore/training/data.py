"""Faces ready for training: crops in memory-mapped arrays, targets a head, and batches that follow from seed and epoch.

Two label sources over the same pictures (FER2013 and FER+) are joined by locator, so that a face is shown once with a target
for each head; a head that knows nothing of a face gets weight 0 there.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from .. import features, preprocess
from ..errors import ConfigError
from .augment import augment
from .recipe import AUGMENTATIONS, Recipe

if TYPE_CHECKING:  # so that trainings on another machine need nothing that reads datasets
    from ..datasets.base import Dataset
    from ..datasets.crops import Crops

Batch = tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]
"""Inputs, targets a head, weights a head."""
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Faces:
    """Faces of one split with targets for several heads."""

    sources: tuple[Crops, ...]
    source: np.ndarray
    """(N,) which of ``sources`` a face is in."""
    position: np.ndarray
    """(N,) where in it."""
    targets: dict[str, np.ndarray]
    """(N, K) float32 a head; rows sum to 1, or are zero where the head knows nothing."""
    weights: dict[str, np.ndarray]
    """(N,) float32 a head."""
    origin: np.ndarray
    """(N,) str, the dataset that brought the face first."""
    others: tuple[Crops | None, ...] = ()
    """For each of ``sources``, the same faces cut by another kind of box, which training shows as often; None for none."""

    def __len__(self) -> int:
        return len(self.source)

    def crop(self, index: int, *, other: bool = False) -> tuple[np.ndarray, float]:
        """Return a face's crop (C, C) uint8 and the side of the face square in it; ``other``: by the other box, if any."""
        source = self.source[index]
        crops = (self.others[source] if other and self.others else None) or self.sources[source]
        return crops.pixels[self.position[index]], crops.side

    def inputs(self, indices: Sequence[int] | np.ndarray, spec: preprocess.InputSpec) -> np.ndarray:
        """Return unchanged faces as network input (N, size, size, 1)."""
        return features.network_input(self.pictures(indices, spec.size), spec)

    def pictures(self, indices: Sequence[int] | np.ndarray, size: int) -> np.ndarray:
        """Return unchanged faces as they are shown: uint8 (N, size, size)."""
        return np.stack([_plain(*self.crop(index), size) for index in indices])


Feed = Callable[[Faces, Recipe, preprocess.InputSpec, int], Iterator[Batch]]
"""From faces, a recipe, the input at an epoch's resolution and the epoch to its batches, as ``batches`` gives them."""


def join(
    parts: Sequence[tuple[Dataset, Crops, np.ndarray]],
    *,
    class_weight: float = 0.0,
    others: Sequence[Crops | None] = (),
) -> Faces:
    """Join datasets with their crops into one set of faces.

    Args:
        parts: a dataset's rows (N), crops, and which crop each row has (N,). The crops stay where they are, memory-mapped.
            The same locator below the same folder is the same face, whichever dataset names it.
        class_weight: see ``Recipe``.
        others: for each part, crops of the same faces by another kind of box, or None.
    """
    rows: dict[tuple[str, str], int] = {}
    source: list[int] = []
    position: list[int] = []
    origin: list[str] = []
    places: list[np.ndarray] = []
    for number, (dataset, _, positions) in enumerate(parts):
        keys = dataset_keys(dataset)
        for key, at in zip(keys, positions, strict=True):
            if key not in rows:
                rows[key] = len(rows)
                source.append(number)
                position.append(int(at))
                origin.append(dataset.name)
        places.append(np.array([rows[key] for key in keys], dtype=np.int64))
    targets = {}
    weights = {}
    for (dataset, _, _), where in zip(parts, places, strict=True):
        soft = (
            dataset.votes if dataset.votes is not None else np.eye(len(dataset.labels), dtype=np.float32)[dataset.codes]
        )
        targets[dataset.name] = np.zeros((len(rows), len(dataset.labels)), np.float32)
        targets[dataset.name][where] = soft
        weights[dataset.name] = np.zeros(len(rows), np.float32)
        weights[dataset.name][where] = class_weights(dataset.codes, len(dataset.labels), class_weight)
    return Faces(
        sources=tuple(crops for _, crops, _ in parts),
        source=np.array(source),
        position=np.array(position),
        targets=targets,
        weights=weights,
        origin=np.array(origin),
        others=tuple(others),
    )


def dataset_keys(dataset: Dataset) -> list[tuple[str, str]]:
    """Return what tells each face from those of other datasets: the folder it lies in, and its locator there."""
    root = str(dataset.root.resolve())
    return [(root, locator) for locator in dataset.locators()]


def class_weights(codes: np.ndarray, classes: int, exponent: float) -> np.ndarray:
    """Return a weight a face, proportional to n^-exponent for a class of n faces, 1 on average: (N,) float32."""
    counts = np.maximum(np.bincount(codes, minlength=classes), 1)
    weights = (counts.astype(np.float64) ** -exponent)[codes]
    return (weights / weights.mean()).astype(np.float32) if len(weights) else weights.astype(np.float32)


def order(faces: Faces, recipe: Recipe, epoch: int) -> np.ndarray:
    """Return the face numbers of an epoch in their order, from seed and epoch alone: (steps, batch_size).

    Without ``shares``, each face comes once. With ``shares``, an epoch is as long as it takes to show every face of the
    datasets without a share once, or, where each dataset has one, every face of the one that lasts longest; the others are
    drawn again and again, each face as often as the next. A last batch that is not full is left out, unless it is the only
    one.

    Raises:
        ConfigError: a dataset with a share has no face of its own: another one, named before it, brought them all.
    """
    rng = np.random.default_rng([recipe.seed, epoch, 1])
    everything = np.arange(len(faces))
    if not recipe.shares:
        pool = rng.permutation(everything)
        size = min(recipe.batch_size, len(pool))
        return pool[: len(pool) // size * size].reshape(-1, size)
    widths = recipe.share_widths()
    own = {name: everything[faces.origin == name] for name in widths}
    for name, members in own.items():
        if not len(members):
            raise ConfigError(
                f"shares: {name!r} has no face of its own, they are all in {recipe.datasets[0]!r} as well"
            )
    rest = everything[~np.isin(faces.origin, list(widths))]
    columns = []
    if len(rest):
        width = min(recipe.batch_size - sum(widths.values()), len(rest))
        steps = len(rest) // width
        columns.append(rng.permutation(rest)[: steps * width].reshape(steps, width))
    else:
        steps = max(max(1, len(members) // widths[name]) for name, members in own.items())
    for name, members in own.items():
        repeats = -(-steps * widths[name] // len(members))
        pool = np.concatenate([rng.permutation(members) for _ in range(repeats)])
        columns.append(pool[: steps * widths[name]].reshape(steps, widths[name]))
    return np.concatenate(columns, axis=1)


def batches(faces: Faces, recipe: Recipe, spec: preprocess.InputSpec, epoch: int) -> Iterator[Batch]:
    """Yield a batch for each step of an epoch."""
    for step, indices in enumerate(order(faces, recipe, epoch)):
        crops = changed(faces, recipe, spec.size, epoch, step, indices)
        yield batch(faces, recipe, spec, epoch, step, indices, crops)


def changed(faces: Faces, recipe: Recipe, size: int, epoch: int, step: int, indices: np.ndarray) -> np.ndarray:
    """Return the faces of a step as they are shown: uint8 (N, size, size).

    A face's changes follow from seed, epoch and its place in the epoch, so that a resumed training sees the same ones.
    """
    options = AUGMENTATIONS[recipe.augment]
    plain = options == AUGMENTATIONS["none"]
    rng = np.random.default_rng([recipe.seed, epoch, 2, step])
    chosen = [
        faces.crop(index, other=other) for index, other in zip(indices, rng.random(len(indices)) < 0.5, strict=True)
    ]
    return np.stack([_plain(*crop, size) if plain else augment(*crop, size, options, rng) for crop in chosen])


def batch(
    faces: Faces,
    recipe: Recipe,
    spec: preprocess.InputSpec,
    epoch: int,
    step: int,
    indices: np.ndarray,
    crops: np.ndarray,
) -> Batch:
    """Return the batch of a step whose faces ``changed`` has made: with targets and weights, mixed and smoothed."""
    inputs = features.network_input(crops, spec)
    targets = {head: values[indices] for head, values in faces.targets.items()}
    weights = {head: values[indices] for head, values in faces.weights.items()}
    if recipe.mixup or recipe.cutmix:
        rng = np.random.default_rng([recipe.seed, epoch, 3, step])
        cut = recipe.cutmix and not (recipe.mixup and rng.random() < 0.5)
        other = rng.permutation(len(inputs))
        if cut:
            inputs, share = _cutmix(inputs, other, recipe.cutmix, rng)
        else:
            share = float(rng.beta(recipe.mixup, recipe.mixup))
            inputs = np.float32(share) * inputs + np.float32(1 - share) * inputs[other]
        targets, weights = _mixed(targets, weights, other, share)
    return inputs, {head: _smooth(values, recipe.label_smoothing) for head, values in targets.items()}, weights


def ahead(items: Iterator[T], count: int = 2) -> Iterator[T]:
    """Yield the items, of which another thread makes so many in advance; its errors arrive here."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = collections.deque(pool.submit(next, items, None) for _ in range(count))
        while (item := waiting.popleft().result()) is not None:
            waiting.append(pool.submit(next, items, None))
            yield item


def _plain(crop: np.ndarray, side: float, size: int) -> np.ndarray:
    middle = crop.shape[0] / 2
    return preprocess.cut(crop, (middle, middle, side), size)


def _smooth(targets: np.ndarray, amount: float) -> np.ndarray:
    return targets * (1 - amount) + amount / targets.shape[1] if amount else targets


def _cutmix(inputs: np.ndarray, other: np.ndarray, alpha: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Put a rectangle of another face into each face, the same for the whole batch; return the share that is its own."""
    height, width = inputs.shape[1:3]
    length = np.sqrt(1 - rng.beta(alpha, alpha))
    middle = rng.random(2) * (height, width)
    reach = length * np.array([height, width]) / 2
    top, left = (int(value) for value in np.maximum(middle - reach + 0.5, 0))
    bottom, right = (int(value) for value in np.minimum(middle + reach + 0.5, (height, width)))
    result = inputs.copy()
    result[:, top:bottom, left:right] = inputs[other, top:bottom, left:right]
    return result, 1 - (bottom - top) * (right - left) / (height * width)


def _mixed(
    targets: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray], other: np.ndarray, share: float
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Blend each face's labels with another's; a head's target blends by what each face brings to that head."""
    share = np.float32(share)
    mixed_targets = {}
    mixed_weights = {}
    for head, values in targets.items():
        first, second = share * weights[head], (1 - share) * weights[head][other]
        total = np.maximum(first + second, 1e-9)
        mixed_targets[head] = (first[:, None] * values + second[:, None] * values[other]) / total[:, None]
        mixed_weights[head] = first + second
    return mixed_targets, mixed_weights
