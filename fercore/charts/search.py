"""What a search tried and found, from a run's ``study.json``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from ..study import Dimension, Study, Trial
from .base import ACCENT, INK, MUTED, Figure, height, name_axis, percent

RESULT = "validation accuracy"
TOP = 5
"""Trials that stand out in the chart of parameters."""
GROUPS = {"best": ACCENT, "next best": "#A89FE8", "others": MUTED, "stopped early": MUTED}


def search_history(study: Study) -> Figure:
    """Show what each trial reached, and the best so far."""
    data = pd.DataFrame(
        {
            "trial": [trial.number for trial in study.trials],
            "accuracy": [100 * max(trial.epochs) if trial.epochs else math.nan for trial in study.trials],
            "outcome": [_outcome(trial) for trial in study.trials],
            "seconds": [trial.seconds for trial in study.trials],
        }
    )
    complete = data["accuracy"].where(data["outcome"] == "complete")
    data["best"] = complete.cummax().ffill()
    best, stopped = study.best, len(study.of("pruned"))
    title = f"The best of {len(data)} trials, number {best.number}, reaches {percent(best.value, 1)} on validation"
    if stopped:
        title += f"; {stopped} {'was' if stopped == 1 else 'were'} stopped early"
    x = alt.X("trial:Q", title="Trial", axis=alt.Axis(format="d", tickMinStep=1, grid=False))
    base = alt.Chart(data)
    y = alt.Y("accuracy:Q", title="Validation accuracy (%)", scale=alt.Scale(zero=False))
    line = base.mark_line(color=ACCENT, strokeWidth=2, interpolate="step-after").encode(
        x=x, y=alt.Y("best:Q", title="Validation accuracy (%)", scale=alt.Scale(zero=False))
    )
    outcomes = ["complete", "stopped early", "failed"]
    dots = base.mark_point(size=70, filled=True, opacity=0.9).encode(
        x=x,
        y=y,
        color=alt.Color(
            "outcome:N",
            title=None,
            scale=alt.Scale(domain=outcomes[:2], range=[ACCENT, MUTED]),
            legend=alt.Legend(orient="top"),
        ),
        tooltip=[
            "trial:Q",
            alt.Tooltip("accuracy:Q", title="Best epoch (%)", format=".1f"),
            "outcome:N",
            alt.Tooltip("seconds:Q", format=".0f"),
        ],
    )
    return Figure(title, (line + dots).properties(height=300), f"Validation accuracy of each trial. {title}.", data)


def importances(study: Study) -> Figure | None:
    """Show how much each parameter decides; None where too few trials were complete to tell."""
    if not study.importance:
        return None
    data = pd.DataFrame({"parameter": map(_spoken, study.importance), "share": study.importance.values()})
    data = data.assign(share=100 * data["share"]).sort_values("share", ascending=False, kind="stable")
    first = data.iloc[0]
    title = f"What decides most is {first['parameter']}: {first['share']:.0f}% of how the trials differ"
    y = alt.Y("parameter:N", title=None, sort=list(data["parameter"]), axis=name_axis())
    base = alt.Chart(data)
    bars = base.mark_bar(color=ACCENT, height={"band": 0.6}).encode(
        x=alt.X("share:Q", title="Share of the differences (%)", scale=alt.Scale(domainMin=0)), y=y
    )
    text = base.mark_text(align="left", dx=6, color=INK).encode(
        x="share:Q", y=y, text=alt.Text("share:Q", format=".0f")
    )
    told = "; ".join(f"{row.parameter} {row.share:.0f}%" for row in data.itertuples())
    return Figure(title, (bars + text).properties(height=height(len(data), 32)), f"Importance: {told}.", data)


def search_parameters(study: Study) -> Figure:
    """Show the parameters of every trial as parallel coordinates: a row a parameter, a line a trial."""
    rows = [*study.space, RESULT]
    ranked = sorted(study.of("complete"), key=lambda trial: -trial.value)
    group = {trial.number: "others" if rank >= TOP else "next best" for rank, trial in enumerate(ranked)}
    group |= {trial.number: "stopped early" for trial in study.trials if trial.state != "complete"}
    group[study.best.number] = "best"
    reached = {trial.number: max(trial.epochs) for trial in study.trials if trial.epochs}
    low, high = min(reached.values()), max(reached.values())
    data = []
    for trial in study.trials:
        if trial.number not in reached:
            continue
        common = {"trial": trial.number, "group": group[trial.number], "accuracy": 100 * reached[trial.number]}
        for number, name in enumerate(rows):
            value = reached[trial.number] if name == RESULT else trial.params[name]
            place = (value - low) / ((high - low) or 1) if name == RESULT else _place(study.space[name], value)
            text = percent(value, 1) if name == RESULT else _text(value)
            data.append({**common, "row": number, "parameter": _spoken(name), "place": place, "value": text})
    table = pd.DataFrame(data)
    order = [_spoken(name) for name in rows]
    ticks = pd.DataFrame(
        [
            {"parameter": _spoken(name), "place": place, "text": text}
            for name, of in study.space.items()
            for place, text in _ticks(of)
        ]
        + [{"parameter": RESULT, "place": at, "text": percent(value, 1)} for at, value in ((0.0, low), (1.0, high))]
    )
    y = alt.Y("parameter:N", title=None, sort=order, axis=name_axis(118), scale=alt.Scale(padding=0.6))
    x = alt.X("place:Q", axis=None, scale=alt.Scale(domain=[0, 1], nice=False))
    axes = alt.Chart(pd.DataFrame({"parameter": order, "place": 0.0, "end": 1.0})).mark_rule(
        color=MUTED, opacity=0.6
    ).encode(x=x, x2="end:Q", y=y)  # fmt: skip
    colour = alt.Color("group:N", scale=alt.Scale(domain=list(GROUPS), range=list(GROUPS.values())), legend=None)
    layers: list[Any] = [axes]
    for name, width, opacity in (("stopped early", 1, 0.3), ("others", 1, 0.45), ("next best", 2, 0.9), ("best", 4, 1)):
        part = alt.Chart(table[table["group"] == name])
        tips = ["trial:Q", "parameter:N", "value:N", alt.Tooltip("accuracy:Q", title="Accuracy (%)", format=".1f")]
        layers.append(
            part.mark_line(strokeWidth=width, opacity=opacity, strokeDash=[3, 3] if name == "stopped early" else [1, 0])
            .encode(x=x, y=y, detail="trial:N", order="row:Q", color=colour)
        )  # fmt: skip
        layers.append(
            part.mark_point(filled=True, size=18 * width, opacity=opacity).encode(x=x, y=y, color=colour, tooltip=tips)
        )
    for align, chosen in _aligned(ticks):
        layers.append(
            alt.Chart(chosen)
            .mark_text(align=align, dy=15, fontSize=11, color=INK, opacity=0.75)
            .encode(x=x, y=y, text="text:N")
        )
    title = _common(study, ranked[:TOP])
    told = f"Parallel coordinates: each line is a trial, each row a parameter. {title}."
    return Figure(title, alt.layer(*layers).properties(height=54 * len(rows)), told, table)


def _common(study: Study, top: Sequence[Trial]) -> str:
    """Return what the best trials have in common in the parameters that decide most."""
    names = sorted(study.space, key=lambda name: -study.importance.get(name, 0.0))[:2]
    parts = []
    for name in names:
        values = [trial.params[name] for trial in top]
        if study.space[name].choices:
            seen = [choice for choice in study.space[name].choices if choice in values]
            parts.append(f"{_spoken(name)} {' or '.join(map(_text, seen))}")
        elif _text(min(values)) == _text(max(values)):
            parts.append(f"{_spoken(name)} {_text(values[0])}")
        else:
            parts.append(f"{_spoken(name)} {_text(min(values))} to {_text(max(values))}")
    return (
        f"The best {len(top)} trials have {' and '.join(parts)}" if len(top) > 1 else f"Best was {' and '.join(parts)}"
    )


def _outcome(trial: Trial) -> str:
    return {"complete": "complete", "pruned": "stopped early", "failed": "failed"}[trial.state]


def _spoken(name: str) -> str:
    """Return a parameter as people call it: ``options.units`` is ``units``, ``batch_size`` is ``batch size``."""
    return {"augment": "augmentation"}.get(name, name.removeprefix("options.").replace("_", " "))


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def _place(of: Dimension, value: Any) -> float:
    """Return where a value lies between the ends of its row, 0 to 1."""
    if of.choices:
        return of.choices.index(value) / max(1, len(of.choices) - 1)
    low, high, at = (math.log(number) if of.log else number for number in (of.low, of.high, value))
    return (at - low) / (high - low)


def _ticks(of: Dimension) -> list[tuple[float, str]]:
    if of.choices:
        return [(_place(of, value), _text(value)) for value in of.choices]
    return [(0.0, _text(float(of.low))), (1.0, _text(float(of.high)))]


def _aligned(ticks: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the tick labels by how they are aligned, so that those at the ends stay inside the chart."""
    first, last = ticks["place"] == 0, ticks["place"] == 1
    return [("left", ticks[first]), ("center", ticks[~first & ~last]), ("right", ticks[last])]
