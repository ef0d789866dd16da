"""What papers claim beside what the same networks reach over random frames, and over people never seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from ..papers import CLAIMS, PROTOCOLS
from .base import ACCENT, INK, MUTED, Figure, height, name_axis, percent_axis, percents, tooltips

SERIES = {"claim": "the paper", **PROTOCOLS}
COLOURS = {"claim": INK, "random": MUTED, "subject": ACCENT}
LEGEND = 40
"""Pixels that the legend takes above the rows."""


def protocols(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Show each network's accuracy on CK+ under both protocols, with 95% intervals, and the paper's claim where there is one.

    Args:
        results: by network, as ``papers.load()["results"]`` has them.
    """
    claims = {claim.model: claim.ckplus for claim in CLAIMS}
    rows = []
    for model, measured in results.items():
        for protocol, words in PROTOCOLS.items():
            rows.append({"network": model, "split": words, **percents(measured[protocol]["accuracy"])})
        if model in claims:
            claim = 100 * claims[model]
            rows.append({"network": model, "split": SERIES["claim"], "value": claim, "low": claim, "high": claim})
    data = pd.DataFrame(rows)
    gaps = [
        measured["random"]["accuracy"]["value"] - measured["subject"]["accuracy"]["value"]
        for measured in results.values()
    ]
    least, most = (f"{100 * gap:.0f}" for gap in (min(gaps), max(gaps)))
    lost = f"{most} points" if least == most else f"{least} to {most} points"
    title = f"On people never seen, accuracy is {lost} lower than on random frames"
    domain = list(SERIES.values())
    colour = alt.Color(
        "split:N",
        title=None,
        scale=alt.Scale(domain=domain, range=list(COLOURS.values())),
        legend=alt.Legend(
            orient="top", columns=alt.ExprRef("width < 340 ? 2 : 3"), symbolType="circle", symbolOpacity=1
        ),
    )
    y = alt.Y("network:N", title=None, sort=list(results), axis=name_axis())
    tips = [alt.Tooltip("network:N", title="Network"), alt.Tooltip("split:N", title="Split"), *tooltips("Accuracy (%)")]
    low = max(0, 10 * int(data["low"].min() // 10))
    x = percent_axis("value", "Accuracy on CK+ (%), with its 95% interval").scale(domain=[low, 100])
    base = alt.Chart(data)
    ours = base.transform_filter(alt.datum.split != SERIES["claim"])
    span = ours.mark_rule(strokeWidth=3, opacity=0.45).encode(
        x=alt.X("low:Q").scale(domain=[low, 100]), x2="high:Q", y=y, color=colour, tooltip=tips
    )
    dot = ours.mark_point(filled=True, size=120, opacity=1).encode(x=x, y=y, color=colour, tooltip=tips)
    claim = (
        base.transform_filter(alt.datum.split == SERIES["claim"])
        .mark_tick(thickness=3, size=26)
        .encode(x=x, y=y, color=colour, tooltip=tips)
    )
    told = "; ".join(f"{row.network}, {row.split}: {row.value:.1f}%" for row in data.itertuples())
    chart = (span + dot + claim).properties(height=height(len(results), 52) + LEGEND)
    return Figure(title, chart, f"Accuracy on CK+ by network and split: {told}.", data)
