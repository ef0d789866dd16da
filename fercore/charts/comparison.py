"""Runs against a reference run: the classes they gain and lose, and accuracy beside time."""

from __future__ import annotations

import json
from collections.abc import Mapping

import altair as alt
import pandas as pd

from ..comparison import Comparison
from .base import (
    ACCENT,
    FULL,
    INK,
    MUTED,
    Figure,
    cell_axis,
    cell_size,
    class_colour,
    column_axis,
    dataset_title,
    height,
    name_axis,
    sentence,
)


def class_changes(comparison: Comparison) -> Figure | None:
    """Show by how many points of recall each run beats or misses the reference in each class; None with no other run."""
    parts = [row.classes.assign(run=row.run) for row in comparison.others]
    if not parts:
        return None
    data = pd.concat(parts, ignore_index=True)[["run", "class", "change", "gained", "lost", "faces"]]
    best, worst = data.loc[data["change"].idxmax()], data.loc[data["change"].idxmin()]
    alone = len(parts) == 1
    by = (lambda row: "") if alone else (lambda row: f" by {row['run']}")
    gain = f"{best['class']}{by(best)} ({best['change']:+.0f} points)"
    if best["change"] <= 0:
        title = f"{best['run']} gains in no class" if alone else "no run gains in any class"
    elif alone:
        title = f"{best['run']} gains most on {gain}"
    else:
        title = f"Against {comparison.reference}, the greatest gain is {gain}"
    title += f", the greatest loss {worst['class']}{by(worst)} ({worst['change']:+.0f})" if worst["change"] < 0 else ""
    told = "; ".join(f"{row['run']} {row['class']} {row['change']:+.0f} points" for _, row in data.iterrows())
    description = f"Change of recall against {comparison.reference}: {told}."
    chart = _bars(data) if alone else _cells(data)
    return Figure(sentence(title), chart, description, data)


def score_and_time(comparison: Comparison, milliseconds: Mapping[str, float]) -> Figure:
    """Show the accuracy of runs beside the time that each takes for a face."""
    rows = [
        {
            "run": row.run,
            "milliseconds": milliseconds[row.run],
            **{key: 100 * row.scores["accuracy"][key] for key in ("value", "low", "high")},
        }
        for row in comparison.rows
    ]
    data = pd.DataFrame(rows)
    best, quick = data.loc[data["value"].idxmax()], data.loc[data["milliseconds"].idxmin()]
    if best["run"] == quick["run"]:
        title = f"{best['run']} is the most accurate and the quickest: {best['milliseconds']:.2g} ms a face"
    else:
        times = best["milliseconds"] / quick["milliseconds"]
        title = (
            f"{best['run']} is the most accurate and takes {times:.1f} times as long as {quick['run']}, the quickest"
        )
    data = data.sort_values("milliseconds", kind="stable")
    texts = [f"{row.milliseconds:.2g} ms for {row.value:.1f}%" for row in data.itertuples()]
    data = data.assign(text=texts)
    y = alt.Y("run:N", title=None, sort=list(data["run"]), axis=name_axis())
    edge = 1.6 * float(data["milliseconds"].max())
    x = alt.X("milliseconds:Q", title="Milliseconds a face, one thread", scale=alt.Scale(domain=[0, edge], nice=False))
    base = alt.Chart(data)
    tips = [
        "run:N",
        alt.Tooltip("milliseconds:Q", format=".2f"),
        alt.Tooltip("value:Q", title="Accuracy (%)", format=".1f"),
    ]
    bars = base.mark_bar(height={"band": 0.6}).encode(
        x=x,
        y=y,
        color=alt.condition(f"datum.run == {json.dumps(best['run'])}", alt.value(ACCENT), alt.value(MUTED)),
        tooltip=tips,
    )
    text = base.mark_text(align="left", dx=6, color=INK).encode(x=x, y=y, text="text:N")
    chart = (bars + text).properties(height=height(len(data), 36))
    told = "; ".join(f"{row.run} {row.text} of {dataset_title(comparison.dataset)}" for row in data.itertuples())
    return Figure(sentence(title), chart, f"Time for a face and accuracy: {told}.", data)


def _bars(data: pd.DataFrame) -> alt.LayerChart:
    data = data.sort_values("change", ascending=False, kind="stable")
    y = alt.Y("class:N", title=None, sort=list(data["class"]), axis=name_axis())
    base = alt.Chart(data)
    edge = max(5.0, 1.25 * data["change"].abs().max())
    low = -edge if (data["change"] < 0).any() else -0.05 * edge
    x = alt.X("change:Q", title="Change of recall (points)", scale=alt.Scale(domain=[low, edge], nice=False))
    bars = base.mark_bar(height={"band": 0.6}).encode(
        x=x, y=y, color=class_colour("class", list(data["class"])), tooltip=_tips()
    )
    texts = [
        alt.Chart(part)
        .mark_text(align=align, dx=dx, color=INK)
        .encode(x=x, y=y, text=alt.Text("change:Q", format="+.0f"))
        for align, dx, part in (("left", 6, data[data["change"] >= 0]), ("right", -6, data[data["change"] < 0]))
    ]
    return alt.layer(bars, *texts).properties(height=height(len(data), 32))


def _cells(data: pd.DataFrame) -> alt.LayerChart:
    """Draw a row a run and a column a class; gains in the accent, losses in orange, the stronger the more."""
    edge = float(data["change"].abs().max()) or 1.0
    data = data.assign(
        amount=data["change"].abs(), way=["gain" if change >= 0 else "loss" for change in data["change"]]
    )
    encoded = alt.Chart(data).encode(
        x=alt.X("class:N", title=None, sort=None, axis=column_axis()),
        y=alt.Y("run:N", title=None, sort=None, axis=cell_axis(160)),
    )
    cells = encoded.mark_rect(cornerRadius=3, stroke=MUTED, strokeOpacity=0.25).encode(
        color=alt.Color("way:N", scale=alt.Scale(domain=["gain", "loss"], range=[ACCENT, "#D55E00"]), legend=None),
        fillOpacity=alt.FillOpacity("amount:Q", scale=alt.Scale(domain=[0, edge], range=[0, 1]), legend=None),
        tooltip=_tips(),
    )
    text = encoded.mark_text(fontSize=cell_size(), tooltip=None).encode(
        text=alt.Text("change:Q", format="+.0f"),
        color=alt.condition(f"datum.way == 'gain' && datum.amount > {FULL * edge}", alt.value("white"), alt.value(INK)),
    )
    return (cells + text).properties(height=height(data["run"].nunique(), 46) + 30)


def _tips() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("run:N", title="Run"),
        alt.Tooltip("class:N", title="Class"),
        alt.Tooltip("change:Q", title="Change of recall (points)", format="+.1f"),
        alt.Tooltip("gained:Q", title="Faces only it has right", format=","),
        alt.Tooltip("lost:Q", title="Faces only the reference has right", format=","),
        alt.Tooltip("faces:Q", title="Faces", format=","),
    ]
