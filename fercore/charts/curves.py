"""How a training went, from a run's ``history.csv``."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from .base import ACCENT, MUTED, SERIES, Figure, dataset_title, percent


def losses(history: pd.DataFrame) -> Figure:
    """Show training and validation loss by epoch; ``history`` is a run's ``history.csv``."""
    names = {"loss": "training", "val_loss": "validation"}
    data = _long(history, names, "loss")
    lowest = history.loc[history["val_loss"].idxmin()]
    best, last = int(lowest["epoch"]), history.iloc[-1]
    if last["val_loss"] > 1.02 * lowest["val_loss"]:
        title = f"Validation loss is lowest after epoch {best}; later epochs learn the training faces by heart"
    else:
        title = f"Validation loss goes down to {lowest['val_loss']:.2f} and stays there"
    told = f"Loss by epoch: on validation lowest at epoch {best} ({lowest['val_loss']:.2f}), at the end {last['val_loss']:.2f}."
    chart = _lines(data, "loss", "Loss (nats)", list(names.values()), [MUTED, ACCENT])
    return Figure(title, chart, told, data)


def accuracy_curves(history: pd.DataFrame) -> Figure:
    """Show validation accuracy by epoch: the heads' mean, and each head's where there are several."""
    heads = [column.removeprefix("val_accuracy_") for column in history if column.startswith("val_accuracy_")]
    names = {"val_accuracy": "all heads" if heads else "validation"}
    names |= {f"val_accuracy_{head}": dataset_title(head) for head in heads}
    data = _long(history, names, "accuracy").assign(accuracy=lambda frame: 100 * frame["accuracy"])
    best = history.loc[history["val_accuracy"].idxmax()]
    whose = "Mean validation accuracy" if heads else "Validation accuracy"
    title = f"{whose} is highest after epoch {int(best['epoch'])}: {percent(best['val_accuracy'], 1)}"
    range_ = list(itertools.islice(itertools.cycle(SERIES), len(names)))
    chart = _lines(data, "accuracy", "Accuracy (%)", list(names.values()), range_)
    return Figure(title, chart, f"Accuracy on validation by epoch. {title}.", data)


def _long(history: pd.DataFrame, names: Mapping[str, str], value: str) -> pd.DataFrame:
    """Return the named columns of a history as rows of epoch, series and value."""
    data = history[["epoch", *names]].rename(columns=dict(names))
    return data.melt("epoch", var_name="series", value_name=value).dropna()


def _lines(data: pd.DataFrame, value: str, title: str, names: Sequence[str], range_: Sequence[str]) -> alt.Chart:
    """Draw a line a series over epochs."""
    return (
        alt.Chart(data)
        .mark_line(strokeWidth=2.5, point=alt.OverlayMarkDef(size=36))
        .encode(
            x=alt.X("epoch:Q", title="Epoch", axis=alt.Axis(tickMinStep=1, format="d", grid=False)),
            y=alt.Y(f"{value}:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(format=".4~g")),
            color=alt.Color(
                "series:N",
                title=None,
                scale=alt.Scale(domain=list(names), range=list(range_)),
                legend=alt.Legend(orient="top") if len(names) > 1 else None,
            ),
            tooltip=["series:N", "epoch:Q", alt.Tooltip(f"{value}:Q", format=".3f")],
        )
        .properties(height=320)
    )
