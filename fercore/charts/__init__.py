"""Runs and metrics as figures: each with its finding as the title, a description for those who do not see it, and its numbers.

Figures are Altair charts without a background and with text in ``currentColor``, so that they sit on a light page and on a dark
one. Classes have their colours of ``labels``; everything else is the accent or grey. Nothing here knows Streamlit.
"""

from __future__ import annotations

from .base import ACCENT, SCORES, Figure, dataset_title, interval, percent
from .comparison import class_changes, score_and_time
from .curves import accuracy_curves, losses
from .dataset import class_counts, face_sizes, faces_per_photo
from .papers import protocols
from .scores import (
    accuracies,
    confidences,
    confusion,
    confusion_table,
    confusions,
    per_class,
    reliability,
    top_confusions,
)
from .search import importances, search_history, search_parameters
from .timeline import expressions_over_time

__all__ = [
    "ACCENT",
    "SCORES",
    "Figure",
    "accuracies",
    "accuracy_curves",
    "class_changes",
    "class_counts",
    "confidences",
    "confusion",
    "confusion_table",
    "confusions",
    "dataset_title",
    "expressions_over_time",
    "face_sizes",
    "faces_per_photo",
    "importances",
    "interval",
    "losses",
    "per_class",
    "percent",
    "protocols",
    "reliability",
    "score_and_time",
    "search_history",
    "search_parameters",
    "top_confusions",
]
