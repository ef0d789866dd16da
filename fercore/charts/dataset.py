"""What a dataset holds, from its part of a run's ``dataset.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from .base import ACCENT, INK, MUTED, Figure, class_colour, dataset_title, height, name_axis, percent, sentence


def class_counts(facts: Mapping[str, Any], name: str) -> Figure:
    """Show the faces of each class, split by split; ``facts`` is a dataset's part of ``dataset.json``."""
    labels = list(facts["labels"])
    splits = list(facts["counts"])
    data = pd.DataFrame(
        [
            {"class": label, "split": split, "faces": facts["counts"][split].get(label, 0), "order": number}
            for label in labels
            for number, split in enumerate(splits)
        ]
    )
    total = data.groupby("class")["faces"].sum().reindex(labels)
    least, most = total.idxmin(), total.idxmax()
    if total.min() == 0:
        title = f"{sentence(dataset_title(name))} has no face that is labelled {least}"
    elif total.max() <= 1.25 * total.min():
        title = f"The classes of {dataset_title(name)} are balanced: {total.min():,} to {total.max():,} faces each"
    else:
        ratio = total.max() / total.min()
        title = f"{sentence(dataset_title(name))} has {ratio:.1f} times as many {most} as {least} faces"
    sums = total.rename("faces").rename_axis("class").reset_index()
    y = alt.Y("class:N", title=None, sort=labels, axis=name_axis())
    bars = (
        alt.Chart(data)
        .mark_bar(height={"band": 0.72})
        .encode(
            x=alt.X("faces:Q", title="Faces", axis=alt.Axis(tickCount=6)),
            y=y,
            color=class_colour("class", labels),
            opacity=alt.Opacity(
                "split:N",
                title="Split",
                sort=splits,
                scale=alt.Scale(domain=splits, range=[1.0, 0.6, 0.32][: len(splits)]),
                legend=alt.Legend(orient="top", symbolFillColor=MUTED, symbolStrokeWidth=0),
            ),
            order="order:Q",
            tooltip=[alt.Tooltip("class:N"), alt.Tooltip("split:N"), alt.Tooltip("faces:Q", format=",")],
        )
    )
    text = (
        alt.Chart(sums)
        .mark_text(align="left", dx=6, color=INK)
        .encode(x="faces:Q", y=y, text=alt.Text("faces:Q", format=","))
    )
    told = ", ".join(f"{label} {count:,}" for label, count in total.items())
    chart = (bars + text).properties(height=height(len(labels), 34) + 60)
    return Figure(title, chart, f"Faces by class over all splits: {told}.", data.drop(columns="order"))


def faces_per_photo(facts: Mapping[str, Any]) -> Figure | None:
    """Show how many labelled faces the photos hold; None where every picture is one face."""
    found = {int(faces): photos for faces, photos in facts["faces_per_photo"].items()}
    if set(found) <= {1}:
        return None
    data = pd.DataFrame({"faces": list(found), "photos": list(found.values())}).sort_values("faces")
    several = sum(photos for faces, photos in found.items() if faces > 1)
    title = f"{percent(several / sum(found.values()), 1)} of the photos hold more than one labelled face"
    chart = (
        alt.Chart(data)
        .mark_bar(color=ACCENT)
        .encode(
            x=alt.X("faces:O", title="Labelled faces in a photo", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("photos:Q", title="Photos"),
            tooltip=[alt.Tooltip("faces:O"), alt.Tooltip("photos:Q", format=",")],
        )
        .properties(height=300)
    )
    told = ", ".join(f"{row.photos:,} with {row.faces}" for row in data.itertuples())
    return Figure(title, chart, f"Photos by their number of labelled faces: {told}.", data)


def face_sizes(facts: Mapping[str, Any]) -> Figure | None:
    """Show the sizes of the labelled boxes; None where the pictures are the faces already."""
    edges, counts = np.array(facts["face_sizes"]["edges"]), np.array(facts["face_sizes"]["counts"])
    if not counts.sum():
        return None
    below = np.concatenate([[0], np.cumsum(counts)]) / counts.sum()
    middle = float(np.interp(0.5, below, edges))
    data = pd.DataFrame({"from": edges[:-1], "to": edges[1:], "faces": counts})
    chart = (
        alt.Chart(data)
        .mark_bar(color=ACCENT)
        .encode(
            x=alt.X("from:Q", title="Side of the face's box (pixels)", bin="binned"),
            x2="to:Q",
            y=alt.Y("faces:Q", title="Faces"),
            tooltip=[
                *(alt.Tooltip(f"{end}:Q", format=".0f") for end in ("from", "to")),
                alt.Tooltip("faces:Q", format=","),
            ],
        )
        .properties(height=300)
    )
    told = (
        f"Histogram of face sizes from {edges[0]:.0f} to {edges[-1]:.0f} pixels; the middle one has about {middle:.0f}."
    )
    return Figure(f"Half of the faces are smaller than {middle:.0f} pixels", chart, told, data)
