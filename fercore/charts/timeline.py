"""What the faces of a video express over time, from the table that ``timeline.timeline`` makes."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from ..labels import colours
from .base import Figure, percent

MOST_FACES = 4
"""Faces that are drawn: those that are seen longest."""
MOST_ROWS = 4500
"""Rows of a chart's data; Altair draws 5,000 at most."""
GAP = 2.5
"""How many usual steps long a face may be unseen before its band is interrupted."""
BAND = 0.82
"""The part of a face's lane that its probabilities take; the strip of its lasting expression stands above them."""


def expressions_over_time(table: pd.DataFrame) -> Figure | None:
    """Show the smoothed probabilities of each face over time, one lane a face; None for a table without a face."""
    if table.empty:
        return None
    labels = [name.removeprefix("smooth_") for name in table.columns if name.startswith("smooth_")]
    faces = table["face"].value_counts(sort=True).index[:MOST_FACES].sort_values().tolist()
    shown = table[table["face"].isin(faces)]
    step = _step(table)
    bands, strips = _lanes(shown, faces, labels, step)
    fixed = colours(labels)
    colour = alt.Color(
        "label:N",
        title=None,
        scale=alt.Scale(domain=list(fixed), range=list(fixed.values())),
        legend=alt.Legend(orient="top", columns=4, symbolType="square"),
    )
    x = alt.X("time:Q", title="Seconds", axis=alt.Axis(grid=False))
    names = "{" + ", ".join(f"{_base(faces, face) + 0.5:g}: 'Face {face}'" for face in faces) + "}"
    y = alt.Y(
        "low:Q",
        title=None,
        scale=alt.Scale(domain=[0, len(faces)], nice=False),
        axis=alt.Axis(
            values=[_base(faces, face) + 0.5 for face in faces],
            labelExpr=f"{names}[datum.value]",
            grid=False,
            domain=False,
            ticks=False,
        ),
    )
    seconds = alt.Tooltip("time:Q", title="Second", format=".1f")
    tips = [alt.Tooltip("label:N", title="Expression"), alt.Tooltip("share:Q", title="%", format=".0f"), seconds]
    area = (
        alt.Chart(bands)
        .mark_area(opacity=0.85)
        .encode(x=x, y=y, y2="high:Q", color=colour, detail=["part:N", "face:N"], tooltip=tips)
    )
    strip = (
        alt.Chart(strips)
        .mark_rect()
        .encode(
            x=x,
            x2="end:Q",
            y=y,
            y2="high:Q",
            color=colour,
            tooltip=[alt.Tooltip("label:N", title="Lasting"), seconds],
        )
    )
    told = [f"face {face}, {_told(shown[shown['face'] == face], step)}" for face in faces]
    more = table["face"].nunique() - len(faces)
    if more:
        told.append(f"{more} more, seen more briefly, only in the table")
    chart = (area + strip).properties(height=60 + 110 * len(faces))
    return Figure(_finding(shown, faces), chart, f"Expressions over time: {'; '.join(told)}.", _numbers(shown, labels))


def _step(table: pd.DataFrame) -> float:
    """Return the usual seconds between two frames."""
    steps = np.diff(np.unique(table["time"].to_numpy(float)))
    return float(np.median(steps)) if len(steps) else 0.2


def _base(faces: list[int], face: int) -> int:
    """Return where a face's lane begins; the first face has the highest."""
    return len(faces) - 1 - faces.index(face)


def _lanes(shown: pd.DataFrame, faces: list[int], labels: list[str], step: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the edges of every probability's area, and from when to when each lasting expression is shown."""
    bands, strips = [], []
    most = max(2, MOST_ROWS // (len(labels) * len(faces)))
    for face in faces:
        rows = shown[shown["face"] == face]
        base = _base(faces, face)
        times = rows["time"].to_numpy(float)
        part = np.concatenate([[0], np.cumsum(np.diff(times) > GAP * step)])
        changes = rows["label"].ne(rows["label"].shift()).to_numpy() | np.diff(part, prepend=-1).astype(bool)
        for _, stretch in rows.assign(part=part).groupby(np.cumsum(changes)):
            label, start, end = stretch["label"].iat[0], stretch["time"].iat[0], stretch["time"].iat[-1] + step
            if isinstance(label, str):
                strips.append((face, start, end, label, base + BAND + 0.03, base + 0.95))
        kept = slice(None, None, -(-len(rows) // most))
        shares = rows[[f"smooth_{label}" for label in labels]].to_numpy(float)[kept]
        edges = base + BAND * np.hstack([np.zeros((len(shares), 1)), shares.cumsum(axis=1)])
        for number, label in enumerate(labels):
            bands.append(
                pd.DataFrame(
                    {
                        "face": face,
                        "time": times[kept],
                        "part": part[kept],
                        "label": label,
                        "share": 100 * shares[:, number],
                        "low": edges[:, number],
                        "high": edges[:, number + 1],
                    }
                ).round(4)
            )
    names = ["face", "time", "end", "label", "low", "high"]
    return pd.concat(bands, ignore_index=True), pd.DataFrame(strips, columns=names).round(4)


def _most(rows: pd.DataFrame) -> tuple[str | None, float]:
    """Return the expression that a face shows longest, and its share of the time; None where none lasts."""
    counts = rows["label"].value_counts()
    return (str(counts.index[0]), float(counts.iloc[0]) / len(rows)) if len(counts) else (None, 0.0)


def _finding(shown: pd.DataFrame, faces: list[int]) -> str:
    parts = []
    for face in faces:
        label, share = _most(shown[shown["face"] == face])
        name = f"face {face}" if len(faces) > 1 else "the face"
        parts.append(f"{name} is {label} {percent(share)} of its time" if label else f"{name} shows nothing that lasts")
    text = ", ".join(parts[:2]) + (f", and {len(parts) - 2} more" if len(parts) > 2 else "")
    return text[:1].upper() + text[1:]


def _told(rows: pd.DataFrame, step: float) -> str:
    label, share = _most(rows)
    lasting = f"{label} for {percent(share)} of that" if label else "no lasting expression"
    return f"seen for {len(rows) * step:.1f} s, {lasting}"


def _numbers(shown: pd.DataFrame, labels: list[str]) -> pd.DataFrame:
    data = shown[["time", "face", "label"]].rename(columns={"label": "lasting"})
    for label in labels:
        data[f"{label} (%)"] = (100 * shown[f"smooth_{label}"]).round(1)
    return data
