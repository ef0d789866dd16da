"""What the papers claim on CK+, and what the same kinds of network reach here under two ways to split the faces.

``python -m fercore papers`` measures and writes ``artifacts/papers.json``; the Papers page and the README read it. A random
split puts frames of one sequence, which look alike, on both sides; a split by subject asks about people never seen before.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .config import artifacts_dir
from .errors import ConfigError, DataError

FILE = "papers.json"
SCHEMA = 1
PROTOCOLS: dict[str, str] = {"random": "random frames", "subject": "people never seen"}
"""How faces are split into folds, with the words for it."""


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a paper reports."""

    paper: str
    model: str
    """Our network of the same kind."""
    ckplus: float
    """Accuracy on CK+."""
    jaffe: float | None
    """Accuracy on JAFFE; None where the paper gives none."""


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "Gautam and Seeja, Facial Emotion Recognition using Handcrafted features and CNN, Procedia Computer Science 2023",
        "hog-cnn",
        0.9848,
        0.9143,
    ),
    Claim(
        "Gautam and Seeja, Facial Emotion Recognition using Handcrafted features and CNN, Procedia Computer Science 2023",
        "sift-cnn",
        0.9796,
        0.8285,
    ),
    Claim(
        "Febriana et al., Facial expression recognition using bidirectional LSTM - CNN, Procedia Computer Science 2023",
        "bilstm-cnn",
        0.9943,
        None,
    ),
)


def load(file: str | os.PathLike[str] | None = None) -> dict[str, Any] | None:
    """Return what was measured: ``{"faces", "subjects", "folds", "results": {model: result}}``, where a result
    has ``epochs`` and, for each protocol, ``{"accuracy": score, "macro_f1": score}``.

    Args:
        file: default ``artifacts/papers.json``.

    Returns:
        None where there is no such file.

    Raises:
        DataError: the file is not what ``write`` makes.
    """
    path = Path(file) if file is not None else artifacts_dir() / FILE
    mend = "make it again with python -m fercore papers"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); {mend}") from error
    try:
        if values["schema"] != SCHEMA:
            raise DataError(f"{path}: schema {values['schema']!r}, but this version reads {SCHEMA}; {mend}")
        counts = [values[key] for key in ("faces", "subjects", "folds")]
        counts += [protocols["epochs"] for protocols in values["results"].values()]
        scores = [
            result[name][bound]
            for protocols in values["results"].values()
            for result in (protocols[protocol] for protocol in PROTOCOLS)
            for name in ("accuracy", "macro_f1")
            for bound in ("low", "value", "high")
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: lacks {error}; {mend}") from error
    if not all(isinstance(count, int) and count > 0 for count in counts):
        raise DataError(f"{path}: faces, subjects, folds and epochs must be whole numbers above 0; {mend}")
    if not scores or not all(isinstance(score, (int, float)) and 0 <= score <= 1 for score in scores):
        raise DataError(f"{path}: a score is no number from 0 to 1; {mend}")
    return values


SAME = ("dataset", "digest", "folds", "seed")
"""What results must share to stand in one file."""


def joined(values: Mapping[str, Any], earlier: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what was measured together with what an earlier file says of other networks.

    Raises:
        ConfigError: the earlier numbers were measured in another way, so the two cannot stand side by side.
    """
    others = {
        name: result for name, result in (earlier or {}).get("results", {}).items() if name not in values["results"]
    }
    if not others:
        return dict(values)
    for key in SAME:
        if values.get(key) != earlier.get(key):
            raise ConfigError(
                f"{', '.join(others)}: measured with {key} {earlier.get(key)!r}, now it is {values.get(key)!r}; "
                "measure all of them, or give another --out"
            )
    order = [claim.model for claim in CLAIMS]
    results = {**others, **values["results"]}
    ranked = sorted(results, key=lambda name: order.index(name) if name in order else len(order))
    return {**values, "results": {name: results[name] for name in ranked}}


def write(values: Mapping[str, Any], file: str | os.PathLike[str]) -> Path:
    """Write what was measured, whole or not at all."""
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.part")
    staging.write_text(json.dumps({"schema": SCHEMA, **values}, indent=1) + "\n", encoding="utf-8")
    staging.replace(path)
    return path
