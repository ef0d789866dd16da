"""Faces that are ready for training, in one file that can be carried to another machine.

A pack holds the faces of the train and validation splits as ``prepare`` and ``join`` leave them: crops, targets, classes, the
datasets' digests. Nothing of the datasets is needed where it is opened, nor what reads them. The crops lie on sheets of 32 x 32
in WebP, whose loss is a grey value or two of 256 at the default quality.

It holds faces: keep it as you keep the datasets, out of repositories.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import uuid
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ..errors import DataError
from .data import Faces, class_weights

if TYPE_CHECKING:
    from .prepare import Prepared
    from .recipe import Recipe

VERSION = 1
SPLITS = ("train", "validation")
PREPARED = ("limit", "seed", "keep_duplicates")
"""What of a recipe decides, beside its datasets, which faces there are."""
QUALITY = 92
ACROSS = 32
"""Faces along a side of a sheet."""


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Crops as ``Faces`` reads them, without the rest of ``datasets.crops.Crops``."""

    pixels: np.ndarray
    side: float


@dataclasses.dataclass(frozen=True)
class Pack:
    """A pack that was opened."""

    folder: Path
    """Where its crops lie, to be memory-mapped."""
    facts: dict[str, Any]

    @property
    def labels(self) -> dict[str, list[str]]:
        """Labels by dataset, in the order in which they were joined."""
        return {name: each["labels"] for name, each in self.facts["datasets"].items()}

    def faces(self, split: str, *, class_weight: float = 0.0) -> Faces:
        """Return the faces of a split, as ``prepare.split_faces`` gives them."""
        with np.load(self.folder / "tables.npz", allow_pickle=False) as arrays:
            table = {name.removeprefix(f"{split}/"): arrays[name] for name in arrays.files if name.startswith(split)}
        weights = {}
        for head, labels in self.labels.items():
            codes = table[f"codes/{head}"]
            weights[head] = np.zeros(len(codes), np.float32)
            weights[head][codes >= 0] = class_weights(codes[codes >= 0], len(labels), class_weight)
        return Faces(
            sources=tuple(self._pixels(name, source["side"]) for name, source in self.facts["sources"].items()),
            source=table["source"].astype(np.int64),
            position=table["position"].astype(np.int64),
            targets={head: table[f"targets/{head}"] for head in self.labels},
            weights=weights,
            origin=np.array(list(self.labels))[table["origin"]],
            others=tuple(
                self._pixels(f"{name}-labelled", source["labelled"])
                if source["labelled"] and split == "train"
                else None
                for name, source in self.facts["sources"].items()
            ),
        )

    def _pixels(self, name: str, side: float) -> Pixels:
        return Pixels(np.load(self.folder / f"{name}.npy", mmap_mode="r"), side)


def write(file: Path, recipe: Recipe, parts: list[Prepared], *, quality: int = QUALITY) -> None:
    """Write a pack, whole or not at all.

    Args:
        file: where to, ``.npz``.
        recipe: what the datasets were prepared by.
        parts: the datasets, as ``prepare_all`` returns them.
        quality: of WebP, 1 to 100; 101 loses nothing.
    """
    from .prepare import split_faces

    plain = recipe.replace(class_weight=0)
    splits = {split: split_faces(parts, split, plain) for split in SPLITS}
    hard = [dataclasses.replace(part, dataset=dataclasses.replace(part.dataset, votes=None)) for part in parts]
    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {"version": VERSION, "quality": quality, "datasets": {}, "sources": {}}
    facts["prepared"] = {name: getattr(recipe, name) for name in PREPARED}
    names = [part.dataset.name for part in parts]
    places: dict[tuple[int, int], int] = {}
    for number, part in enumerate(parts):
        name, dataset = part.dataset.name, part.dataset
        facts["datasets"][name] = {"labels": list(dataset.labels), "digest": dataset.digest(), "faces": len(dataset)}
        used = [np.unique(faces.position[faces.source == number]) for faces in splits.values()]
        kept = np.concatenate(used)
        places |= {(number, old): new for new, old in enumerate(kept.tolist())}
        facts["sources"][name] = {"side": part.crops.side, "faces": len(kept), "labelled": None}
        facts["sources"][name]["size"] = part.crops.pixels.shape[1]
        arrays |= _sheets(name, part.crops.pixels, kept, quality)
        if part.labelled is not None:
            facts["sources"][name] |= {"labelled": part.labelled.side, "labelled_faces": len(used[0])}
            arrays |= _sheets(f"{name}-labelled", part.labelled.pixels, used[0], quality)
    for split, faces in splits.items():
        arrays[f"{split}/source"] = faces.source.astype(np.int8)
        where = [places[source, position] for source, position in zip(faces.source, faces.position, strict=True)]
        arrays[f"{split}/position"] = np.array(where, np.int32)
        arrays[f"{split}/origin"] = np.array([names.index(name) for name in faces.origin], np.int8)
        for head, targets in faces.targets.items():
            arrays[f"{split}/targets/{head}"] = targets
        # Votes may tie, so that targets do not tell the class.
        classes = split_faces(hard, split, plain)
        for head, targets in classes.targets.items():
            codes = np.where(classes.weights[head] > 0, targets.argmax(axis=1), -1)
            arrays[f"{split}/codes/{head}"] = codes.astype(np.int8)
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    staged = file.with_name(f".{file.name}.part")
    try:
        with staged.open("wb") as stream:
            np.savez_compressed(stream, **arrays)
        staged.replace(file)
    finally:
        staged.unlink(missing_ok=True)


def opened(file: Path, folder: Path) -> Pack:
    """Open a pack: its crops are unfolded into a folder once, from where they are memory-mapped.

    Raises:
        DataError: it is missing, damaged, or no pack of this version.
    """
    try:
        digest = sha256(file)
        place = folder / f"faces-{digest[:16]}"
        if not (place / "facts.json").is_file():
            _unfold(file, place)
        facts = json.loads((place / "facts.json").read_text(encoding="utf-8"))
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, cv2.error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file}: no whole pack ({type(error).__name__}); make it anew with gpu pack") from error
    return Pack(place, {**facts, "sha256": digest})


def sha256(file: Path) -> str:
    """Return the digest of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sheets(name: str, pixels: np.ndarray, rows: np.ndarray, quality: int) -> dict[str, np.ndarray]:
    """Return sheets of crops in WebP, as bytes by name."""
    size, per = pixels.shape[1], ACROSS**2
    result = {}
    for number, start in enumerate(range(0, len(rows), per)):
        faces = np.zeros((per, size, size), np.uint8)
        chosen = pixels[rows[start : start + per]]
        faces[: len(chosen)] = chosen
        sheet = faces.reshape(ACROSS, ACROSS, size, size).swapaxes(1, 2).reshape(ACROSS * size, ACROSS * size)
        _, data = cv2.imencode(".webp", sheet, [cv2.IMWRITE_WEBP_QUALITY, quality])
        result[f"pixels/{name}/{number:03}"] = np.asarray(data, np.uint8).reshape(-1)
    return result


def _unfold(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    staging = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}")
    staging.mkdir()
    try:
        with np.load(file, allow_pickle=False) as arrays:
            facts = json.loads(arrays["facts"].tobytes())
            if facts["version"] != VERSION:
                raise DataError(f"{file}: a pack of version {facts['version']}, expected {VERSION}; make it anew")
            for name, source in facts["sources"].items():
                _unfold_sheets(arrays, name, source["faces"], source["size"], staging)
                if source["labelled"]:
                    _unfold_sheets(arrays, f"{name}-labelled", source["labelled_faces"], source["size"], staging)
            tables = {key: arrays[key] for key in arrays.files if key.partition("/")[0] in SPLITS}
        np.savez(staging / "tables.npz", **tables)
        (staging / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        try:
            staging.rename(place)
        except OSError:
            if not (place / "facts.json").is_file():  # else another process unfolded the same pack meanwhile
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unfold_sheets(arrays: Any, name: str, count: int, size: int, folder: Path) -> None:
    pixels = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.uint8, (count, size, size))
    for number, start in enumerate(range(0, count, ACROSS**2)):
        sheet = cv2.imdecode(arrays[f"pixels/{name}/{number:03}"], cv2.IMREAD_GRAYSCALE)
        faces = sheet.reshape(ACROSS, size, ACROSS, size).swapaxes(1, 2).reshape(-1, size, size)
        pixels[start : start + ACROSS**2] = faces[: count - start]
    pixels.flush()
