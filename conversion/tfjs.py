"""Read a TensorFlow.js graph model: its weights as arrays, its nodes as plain dictionaries.

Such a model is a JSON file (``modelTopology``: the graph; ``weightsManifest``: names, shapes and types in the order in
which they lie in the binary files) and one or more binary files of little-endian numbers without any padding. Only
unquantised ``float32`` and ``int32`` weights are read: what the networks converted here hold.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

TYPES: dict[str, str] = {"float32": "<f4", "int32": "<i4"}


@dataclasses.dataclass(frozen=True)
class GraphModel:
    """A graph model: ``nodes`` in the file's order, ``weights`` by name, ``sha256`` of each file that was read."""

    nodes: tuple[dict[str, Any], ...]
    weights: dict[str, np.ndarray]
    sha256: dict[str, str]


def read_graph_model(path: Path) -> GraphModel:
    """Read the model whose JSON file is ``path``; the binary files stand beside it.

    Raises:
        ValueError: not a graph model, a weight of another type, or binary files shorter or longer than the manifest says.
    """
    raw = path.read_bytes()
    model = json.loads(raw)
    if model.get("format") != "graph-model":
        raise ValueError(f"{path}: not a TensorFlow.js graph model (format is {model.get('format')!r})")
    sha256 = {path.name: hashlib.sha256(raw).hexdigest()}
    weights: dict[str, np.ndarray] = {}
    for group in model["weightsManifest"]:
        parts = [(path.parent / name).read_bytes() for name in group["paths"]]
        sha256 |= {name: hashlib.sha256(part).hexdigest() for name, part in zip(group["paths"], parts, strict=True)}
        weights |= _split(b"".join(parts), group["weights"], path)
    return GraphModel(tuple(model["modelTopology"]["node"]), weights, sha256)


def _split(data: bytes, manifest: list[dict[str, Any]], path: Path) -> dict[str, np.ndarray]:
    """Cut the bytes into the arrays that the manifest lists, one after the other."""
    weights: dict[str, np.ndarray] = {}
    offset = 0
    for entry in manifest:
        name, shape = entry["name"], tuple(entry["shape"])
        if entry["dtype"] not in TYPES or "quantization" in entry:
            raise ValueError(
                f"{path}: weight {name!r} is quantised or of type {entry['dtype']}; float32 and int32 are read"
            )
        dtype = np.dtype(TYPES[entry["dtype"]])
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if offset + size > len(data):
            raise ValueError(f"{path}: the binary file ends at byte {len(data)}, inside weight {name!r}")
        weights[name] = np.frombuffer(data, dtype, size // dtype.itemsize, offset).reshape(shape).copy()
        offset += size
    if offset != len(data):
        raise ValueError(f"{path}: the manifest describes {offset} bytes of weights, the binary file has {len(data)}")
    return weights


def attribute(node: dict[str, Any], name: str) -> Any:
    """Return a node's attribute as a plain value: a list of integers, a list of strings, a string or a boolean.

    Raises:
        KeyError: the node has no such attribute.
    """
    value = node["attr"][name]
    if "list" in value:
        items = value["list"]
        return [int(i) for i in items["i"]] if "i" in items else [_text(s) for s in items["s"]]
    return _text(value["s"]) if "s" in value else next(iter(value.values()))


def _text(encoded: str) -> str:
    """Strings stand in the JSON file as base64."""
    return base64.b64decode(encoded).decode()
