"""What all charts share: a figure with its finding, and the small parts they are put together from."""

from __future__ import annotations

import dataclasses
import functools
import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd
import pyarrow as pa

from ..labels import COLOURS, FURTHER_COLOURS, colours

ACCENT = "#6658D2"
"""Between the accents of the light and the dark theme: it can be seen on both."""
MUTED = COLOURS["neutral"]
SERIES: tuple[str, ...] = (ACCENT, FURTHER_COLOURS[3], FURTHER_COLOURS[2], FURTHER_COLOURS[6])
"""Lines that are no classes: the heads of a network."""
INK = "currentColor"
NARROW = "width < 420"
"""When the names of seven columns do not fit above them."""
FULL = 0.75
"""From this share of the darkest cell on, white text is easier to read on the accent than the page's own."""

DATASETS: dict[str, str] = {
    "expw": "ExpW",
    "fer2013": "FER2013",
    "ferplus": "FER+",
    "ckplus": "CK+48",
    "jaffe": "JAFFE",
    "folder": "your folder",
}
"""Datasets as their makers write them."""
SCORES: dict[str, str] = {"recall": "Recall", "precision": "Precision", "f1": "F1"}


@dataclasses.dataclass(frozen=True)
class Figure:
    """A chart and what belongs to it."""

    title: str
    """The finding, one sentence without a full stop."""
    chart: alt.LayerChart | alt.Chart
    alt: str
    """What a reader who cannot see the chart should know."""
    data: pd.DataFrame
    """The numbers in the chart."""

    @functools.cached_property
    def spec(self) -> dict[str, Any]:
        """The chart as Vega-Lite without a theme, rows as Arrow tables in ``datasets``; made once: Altair checks it all."""
        spec = self.chart.to_dict()
        spec.pop("config", None)
        spec["datasets"] = {name: pa.Table.from_pylist(rows) for name, rows in spec["datasets"].items()}
        return spec

    def png(self) -> bytes:
        """Return the chart with its title as a PNG file on white, for a report."""
        stream = io.BytesIO()
        titled = self.chart.properties(title=textwrap.wrap(self.title, 72), background="white", width=560)
        titled.configure_title(anchor="start").save(stream, format="png", scale_factor=2)
        return stream.getvalue()


def sentence(text: str) -> str:
    """Return text that begins with a capital."""
    return text[:1].upper() + text[1:]


def dataset_title(name: str) -> str:
    """Return a dataset's name as its makers write it."""
    return DATASETS.get(name, name)


def percent(value: float | None, digits: int = 0) -> str:
    """Return a share as text: 0.541 is ``54%``; None, which no face stands behind, is ``none``."""
    return "none" if value is None else f"{100 * value:.{digits}f}%"


def interval(score: Mapping[str, float | None]) -> str:
    """Return a score with its interval: ``54.1% (52.4 to 55.7)``."""
    if score["value"] is None:
        return "none"
    return f"{percent(score['value'], 1)} ({100 * score['low']:.1f} to {100 * score['high']:.1f})"


def percents(score: Mapping[str, float]) -> dict[str, float]:
    """Return a score and its interval in percent."""
    return {key: 100 * score[key] for key in ("value", "low", "high")}


def tooltips(title: str) -> list[alt.Tooltip]:
    """Return the tooltips of a score and its interval."""
    names = {"value": title, "low": "Low", "high": "High"}
    return [alt.Tooltip(f"{key}:Q", title=name, format=".1f") for key, name in names.items()]


def percent_axis(field: str, title: str) -> alt.X:
    """Return an axis from 0 to 100%."""
    return alt.X(f"{field}:Q", title=title, scale=alt.Scale(domain=[0, 100]), axis=alt.Axis(tickCount=5))


def name_axis(limit: int = 160) -> alt.Axis:
    """Return an axis that shows every name, without lines."""
    return alt.Axis(labelLimit=limit, labelOverlap=False, domain=False, ticks=False)


def cell_axis(limit: int = 90) -> alt.Axis:
    """Return the axis of a table's rows, without lines."""
    return alt.Axis(labelLimit=limit, labelOverlap=False, labelPadding=6, domain=False, ticks=False)


def column_axis() -> alt.Axis:
    """Return the axis of a table's columns, above it; with room for the slanted names of narrow ones at any width.

    A chart finds out how wide it is after it has set its room aside.
    """
    axis = cell_axis()
    axis.orient = "top"
    axis.labelAngle = alt.ExprRef(f"{NARROW} ? -45 : 0")
    axis.labelAlign = alt.ExprRef(f"{NARROW} ? 'left' : 'center'")
    axis.minExtent = 44
    return axis


def cell_size(largest: int = 13) -> alt.ExprRef:
    """Return the size of the numbers in a table's cells: smaller where they would touch."""
    return alt.ExprRef(f"width < 230 ? {largest - 3} : {largest}")


def height(rows: int, step: int) -> int:
    """Return a chart's height in pixels for rows of ``step`` pixels above an axis with its title."""
    return rows * step + 64


def class_colour(field: str, labels: Sequence[str]) -> alt.Color:
    """Return the encoding that gives each class its fixed colour."""
    fixed = colours(labels)
    return alt.Color(f"{field}:N", scale=alt.Scale(domain=list(fixed), range=list(fixed.values())), legend=None)
