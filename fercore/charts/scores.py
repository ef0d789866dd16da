"""How good a run is, from its metrics (see ``fercore.metrics.evaluate``) and its predictions."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from .. import calibration
from ..metrics import share_interval
from ..runs import Run
from .base import (
    ACCENT,
    FULL,
    INK,
    MUTED,
    SCORES,
    Figure,
    cell_axis,
    cell_size,
    class_colour,
    column_axis,
    dataset_title,
    height,
    name_axis,
    percent,
    percent_axis,
    percents,
    sentence,
    tooltips,
)

LINE_FROM = 20
"""Answers of a bin from which the line of the reliability diagram passes through its dot."""


def accuracies(runs: Sequence[Run], dataset: str) -> Figure:
    """Compare the accuracy of runs on the test split of a dataset; every one of them must have been measured on it."""
    rows = [{"run": run.name, **percents(run.metrics(dataset)["accuracy"])} for run in runs]
    data = pd.DataFrame(rows).sort_values("value", ascending=False)
    best = data.iloc[0]
    title = f"{sentence(dataset_title(dataset))}: {best['run']} is right for {best['value']:.1f}% of the test faces"
    y = alt.Y("run:N", title=None, sort=list(data["run"]), axis=name_axis())
    base = alt.Chart(data)
    tips = [alt.Tooltip("run:N", title="Run"), *tooltips("Accuracy (%)")]
    span = base.mark_rule(color=ACCENT, strokeWidth=3, opacity=0.45).encode(
        x=percent_axis("low", "Accuracy (%), with its 95% interval"), x2="high:Q", y=y, tooltip=tips
    )
    dot = base.mark_point(color=ACCENT, filled=True, size=110, opacity=1).encode(x="value:Q", y=y, tooltip=tips)
    text = base.mark_text(align="left", dx=10, dy=-9, color=INK).encode(
        x="value:Q", y=y, text=alt.Text("value:Q", format=".1f")
    )
    told = "; ".join(f"{row.run} {row.value:.1f}% ({row.low:.1f} to {row.high:.1f})" for row in data.itertuples())
    return Figure(
        title, (span + dot + text).properties(height=height(len(data), 40)), f"Accuracy of each run: {told}.", data
    )


def confusion(metrics: Mapping[str, Any], *, shares: bool = True) -> Figure:
    """Show the confusion matrix: a row a true class, a column a predicted one. A click selects a cell as ``cell``.

    Args:
        metrics: of one dataset, as ``metrics.evaluate`` gives them.
        shares: percentages of each true class instead of counts.
    """
    labels, data = metrics["classes"], confusion_table(metrics)
    value = "share" if shares else "faces"
    wrong = data[data["true"] != data["predicted"]]
    worst = wrong.loc[wrong[value].idxmax()]
    if not worst["faces"]:
        title = "Every face is recognised"
    elif shares:
        title = f"{sentence(worst['true'])} is most often taken for {worst['predicted']}: {worst['share']:.0f}% of its faces"
    else:
        title = f"The most frequent mistake is {worst['true']} taken for {worst['predicted']}: {worst['faces']:,} faces"
    top = float(data[value].max()) or 1.0
    encoded = alt.Chart(data).encode(
        x=alt.X("predicted:N", title="Predicted", sort=labels, axis=column_axis()),
        y=alt.Y("true:N", title="True", sort=labels, axis=cell_axis()),
    )
    tips = [
        alt.Tooltip("true:N", title="True"),
        alt.Tooltip("predicted:N", title="Predicted"),
        alt.Tooltip("faces:Q", title="Faces", format=","),
        alt.Tooltip("share:Q", title="Share of the true class (%)", format=".1f"),
    ]
    click = alt.selection_point(name="cell", fields=["true", "predicted"], empty=False)
    cells = encoded.mark_rect(color=ACCENT, cornerRadius=3, cursor="pointer", stroke=MUTED, strokeOpacity=0.25).encode(
        fillOpacity=alt.FillOpacity(f"{value}:Q", scale=alt.Scale(domain=[0, top], range=[0, 1]), legend=None),
        tooltip=tips,
    )
    text = encoded.mark_text(fontSize=cell_size(), tooltip=None).encode(
        text=alt.Text(f"{value}:Q", format=".0f" if shares else ","),
        color=alt.condition(f"datum.{value} > {FULL * top}", alt.value("white"), alt.value(INK)),
    )
    right = np.trace(np.array(metrics["confusion"]["value"]))
    told = f"Confusion matrix of {len(labels)} classes: {right:,} of {metrics['faces']:,} faces lie on the diagonal. {title}."
    return Figure(title, (cells.add_params(click) + text).properties(height=height(len(labels), 46) + 70), told, data)


def confusion_table(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row a cell of the confusion matrix: true, predicted, faces, share (% of the true class)."""
    counts = np.array(metrics["confusion"]["value"])
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    pairs = list(itertools.product(metrics["classes"], repeat=2))
    return pd.DataFrame(pairs, columns=["true", "predicted"]).assign(faces=counts.ravel(), share=shares.ravel())


def top_confusions(metrics: Mapping[str, Any], count: int = 10) -> pd.DataFrame:
    """Return the wrong cells of the confusion matrix that hold most faces, as in ``confusion_table``."""
    data = confusion_table(metrics)
    data = data[(data["true"] != data["predicted"]) & (data["faces"] > 0)]
    return data.sort_values("faces", ascending=False, kind="stable").head(count).reset_index(drop=True)


def confusions(metrics: Mapping[str, Any], count: int = 10) -> Figure | None:
    """Show the most frequent mistakes as bars; None where there is no mistake."""
    data = top_confusions(metrics, count)
    if data.empty:
        return None
    data.insert(0, "mistake", data["true"] + " → " + data["predicted"])
    every = metrics["faces"] - np.trace(np.array(metrics["confusion"]["value"]))
    title = f"The {len(data)} most frequent mistakes are {percent(data['faces'].sum() / every)} of all"
    if len(data) == 1:
        title = f"There is one kind of mistake: {data['true'][0]} taken for {data['predicted'][0]}"
    y = alt.Y("mistake:N", title=None, sort=list(data["mistake"]), axis=name_axis(150))
    bars = (
        alt.Chart(data)
        .mark_bar(height={"band": 0.72})
        .encode(
            x=alt.X("faces:Q", title="Test faces"),
            y=y,
            color=class_colour("true", metrics["classes"]),
            tooltip=[
                "true:N",
                "predicted:N",
                "faces:Q",
                alt.Tooltip("share:Q", title="% of the true class", format=".1f"),
            ],
        )
    )
    text = alt.Chart(data).mark_text(align="left", dx=6, color=INK).encode(x="faces:Q", y=y, text="faces:Q")
    told = "; ".join(f"{row.true} taken for {row.predicted} {row.faces} times" for row in data.itertuples())
    return Figure(
        title, (bars + text).properties(height=height(len(data), 28)), f"Most frequent mistakes: {told}.", data
    )


def per_class(metrics: Mapping[str, Any], score: str = "recall") -> Figure:
    """Show recall, precision or F1 of each class with its interval, best first; classes without a face are left out."""
    found = {label: values for label, values in metrics["per_class"].items() if values[score]["value"] is not None}
    data = pd.DataFrame([{"class": key, **percents(row[score]), "faces": row["support"]} for key, row in found.items()])
    data = data.sort_values("value", ascending=False, kind="stable")
    best, worst = data.iloc[0], data.iloc[-1]
    first, last = f"{best['class']} ({best['value']:.0f}%)", f"{worst['class']} ({worst['value']:.0f}%)"
    title = {
        "recall": f"Most reliably found is {first}, most often missed {last}",
        "precision": f"An answer is most to be trusted when it says {first}, least for {last}",
        "f1": f"Best recognised is {first}, worst {last}",
    }[score]
    y = alt.Y("class:N", title=None, sort=list(data["class"]), axis=name_axis())
    axis = percent_axis("value", f"{SCORES[score]} (%), with its 95% interval")
    tips = [alt.Tooltip("class:N"), *tooltips(f"{SCORES[score]} (%)"), alt.Tooltip("faces:Q", format=",")]
    bars = (
        alt.Chart(data)
        .mark_bar(height={"band": 0.6})
        .encode(x=axis, y=y, color=class_colour("class", metrics["classes"]), tooltip=tips)
    )
    span = alt.Chart(data).mark_rule(color=INK, strokeWidth=1.5).encode(x="low:Q", x2="high:Q", y=y, tooltip=tips)
    text = (
        alt.Chart(data)
        .mark_text(align="left", dx=7, color=INK)
        .encode(x="high:Q", y=y, text=alt.Text("value:Q", format=".0f"))
    )
    told = "; ".join(f"{row['class']} {row['value']:.0f}%" for _, row in data.iterrows())
    chart = (bars + span + text).properties(height=height(len(data), 34))
    return Figure(title, chart, f"{SCORES[score]} by class: {told}.", data)


def confidences(predictions: pd.DataFrame) -> Figure:
    """Show how sure the answers were, right and wrong ones apart; ``predictions`` are those of one dataset and head."""
    right = predictions["label"] == predictions["prediction"]
    sure = np.minimum((predictions["confidence"].to_numpy(np.float64) * 10).astype(int), 9) * 10
    data = (
        pd.DataFrame({"from": sure, "answer": np.where(right, "right", "wrong")})
        .value_counts()
        .rename("faces")
        .reset_index()
        .sort_values(["from", "answer"])
    )
    data.insert(1, "to", data["from"] + 10)
    high = predictions["confidence"] >= 0.9
    title = f"{(~right).sum():,} of {len(right):,} answers are wrong; few of them are very sure"
    if high.any():
        title = f"Of the answers that are more than 90% sure, {percent((~right)[high].mean(), 1)} are wrong"
    chart = (
        alt.Chart(data)
        .mark_bar()
        .encode(
            x=alt.X("from:Q", title="Confidence (%)", bin="binned", scale=alt.Scale(domain=[0, 100])),
            x2="to:Q",
            y=alt.Y("faces:Q", title="Test faces", stack=True),
            color=alt.Color(
                "answer:N",
                title="Answer",
                scale=alt.Scale(domain=["right", "wrong"], range=[MUTED, ACCENT]),
                legend=alt.Legend(orient="top"),
            ),
            order=alt.Order("answer:N", sort="descending"),
            tooltip=["answer:N", "from:Q", "to:Q", alt.Tooltip("faces:Q", format=",")],
        )
        .properties(height=300)
    )
    return Figure(title, chart, f"Histogram of the confidence of right and wrong answers. {title}.", data)


def reliability(predictions: pd.DataFrame, labels: Sequence[str]) -> Figure:
    """Show how often answers are right by how sure they are; on the diagonal a confidence means what it says.

    The line leaves out bins of fewer than ``LINE_FROM`` answers, whose dots say little.
    """
    codes = pd.Categorical(predictions["label"], categories=list(labels)).codes.astype(np.int64)
    probs = predictions[[f"p_{label}" for label in labels]].to_numpy(np.float64)
    bars = [bar for bar in calibration.reliability_bins(codes, probs) if bar.count]
    data = pd.DataFrame(
        {
            "confidence": [100 * bar.confidence for bar in bars],
            "accuracy": [100 * bar.accuracy for bar in bars],
            "faces": [bar.count for bar in bars],
        }
    )
    data[["low", "high"]] = [[100 * end for end in share_interval(bar.accuracy, bar.count)] for bar in bars]
    gap = sum(bar.count * (bar.confidence - bar.accuracy) for bar in bars) / sum(bar.count for bar in bars)
    if abs(gap) < 0.02:
        title = "The confidence means what it says, within 2 points on average"
    else:
        title = f"The answers are {100 * abs(gap):.0f} points {'too sure' if gap > 0 else 'too modest'} on average"
    scale = alt.Scale(domain=[0, 100])
    ideal = (
        alt.Chart(pd.DataFrame({"at": [0, 100]}))
        .mark_line(color=MUTED, strokeDash=[4, 4])
        .encode(
            x=percent_axis("at", "Confidence (%)"),
            y=alt.Y("at:Q", title="Right answers (%)", scale=scale),
        )
    )
    many = data[data["faces"] >= LINE_FROM]
    line = alt.Chart(many).mark_line(color=ACCENT, strokeWidth=2).encode(x="confidence:Q", y="accuracy:Q")
    spread = (
        alt.Chart(data)
        .mark_rule(color=ACCENT, strokeWidth=2, opacity=0.45)
        .encode(x="confidence:Q", y="low:Q", y2="high:Q")
    )
    dots = (
        alt.Chart(data)
        .mark_point(color=ACCENT, filled=True, opacity=1)
        .encode(
            x="confidence:Q",
            y="accuracy:Q",
            size=alt.Size("faces:Q", scale=alt.Scale(range=[40, 320]), legend=None),
            tooltip=[alt.Tooltip(f"{key}:Q", format=".1f") for key in ("confidence", "accuracy", "low", "high")]
            + [alt.Tooltip("faces:Q")],
        )
    )
    told = "; ".join(f"at {row.confidence:.0f}% sure, {row.accuracy:.0f}% right" for row in data.itertuples())
    return Figure(title, (ideal + spread + line + dots).properties(height=300), f"Reliability: {told}.", data)
