"""Facial-expression recognition: train, evaluate honestly, and serve with ONNX Runtime.

>>> from fercore import Predictor
>>> faces = Predictor.load().predict("photo.jpg")

Importing this package loads no framework; the names below load what they need when they are first used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# ONNX Runtime 1.32 writes a number of the device and usage data to the user's cache, to be uploaded, unless this is set before
# it starts. What people do with pictures of faces is nobody's business; who wants it sets 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from .errors import FerError
from .labels import LABELS

if TYPE_CHECKING:
    from .inference import Face, Predictor
    from .runs import Run
    from .stream import ExpressionStream

__version__ = "0.1.0"
__all__ = ["LABELS", "ExpressionStream", "Face", "FerError", "Predictor", "Run", "__version__"]

_LAZY = {"ExpressionStream": "stream", "Face": "inference", "Predictor": "inference", "Run": "runs"}


def __getattr__(name: str) -> Any:
    """Load a public name's module on first use (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
