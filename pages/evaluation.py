"""Evaluation: how good the run is on test faces, class by class."""

from __future__ import annotations

import streamlit as st

from fercore import charts
from fercore.ui import loaders, picker, tables, url, widgets
from fercore.ui.text import GLOSSARY, INTERVAL, plain

widgets.heading(
    "Evaluation", "How often the run is right on test faces that it has never seen, and which expressions it confuses."
)

run = picker.current()
name = widgets.pick_measured(run)
metrics = run.metrics(name)

widgets.numbers(tables.headline(metrics))
st.caption(
    f"{metrics['faces']:,} faces of the {metrics.get('split', 'test')} split of {charts.dataset_title(name)}, answered "
    f"by the head {plain(metrics['head'])}. {INTERVAL}"
)

shares = st.segmented_control(
    "Cells show",
    ["shares", "counts"],
    required=True,
    help="Shares of each true class in percent, or numbers of faces.",
    **url.choice("show", ["shares", "counts"]),
)
left, right = st.columns([5, 2], gap="large")
with left:
    clicked = widgets.show(
        loaders.once(charts.confusion, metrics, shares=shares == "shares"),
        "confusion",
        "A row holds the faces of one class, a column what the run calls them; the diagonal is right. Click a cell to "
        "see its faces.",
        clickable=True,
    )
if clicked and clicked["cell"]:
    cell = clicked["cell"][0]
    st.switch_page(
        "pages/mistakes.py",
        query_params={"run": run.name, "dataset": name, "true": cell["true"], "predicted": cell["predicted"]},
    )
with right:
    widgets.section("Most frequent mistakes", "With the number of faces; a click shows them.")
    for row in loaders.once(charts.top_confusions, metrics, 8).itertuples():
        label = plain(f"{row.true} → {row.predicted} ({row.faces:,})")
        widgets.link("mistakes", label, dataset=name, true=row.true, predicted=row.predicted)

score = st.segmented_control(
    "Score",
    list(charts.SCORES),
    format_func=charts.SCORES.get,
    required=True,
    help=GLOSSARY["Score"],
    **url.choice("score", list(charts.SCORES)),
)
widgets.show(loaders.once(charts.per_class, metrics, score), "per-class")
widgets.table(loaders.once(tables.per_class, metrics), "scores-per-class", "Recall, precision and F1 of each class")

predictions = loaders.predictions(run, name)
if not predictions.empty:
    widgets.show(
        loaders.once(charts.reliability, predictions, run.heads[metrics["head"]].labels),
        "reliability",
        "A dot stands for all answers of about the same confidence and grows with their number; the stroke through it is its "
        "95% interval. On the dashed line an answer that is 70% sure is right 70% of the time; the mean distance from it is "
        "the ECE.",
    )
