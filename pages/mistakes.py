"""Mistakes: the test faces that the run gets wrong, the most confident first."""

from __future__ import annotations

import streamlit as st

from fercore import charts
from fercore.ui import loaders, picker, tables, url, widgets

A_PAGE = 10

widgets.heading(
    "Mistakes", "The test faces that the run gets wrong, the most confident first, to see what misleads it."
)

run = picker.current()
name = widgets.pick_measured(run)
metrics, predictions = run.metrics(name), loaders.predictions(run, name)
if predictions.empty:
    st.info("This run holds no answers for single faces, only its overall scores.", icon=":material/info:")
    st.stop()

classes = [tables.ANY, *metrics["classes"]]
with st.container(horizontal=True):
    true = st.selectbox("Labelled", classes, width=165, **url.choice("true", classes, resets=["page", "face"]))
    predicted = st.selectbox("Answer", classes, width=165, **url.choice("predicted", classes, resets=["page", "face"]))
    confidence = st.slider(
        "Confidence (%)", 0, 100, width=340, **url.span("confidence", 0, 100, resets=["page", "face"])
    )
chosen = tables.answers(predictions, true, predicted, confidence)

widgets.section(
    tables.answer_title(len(chosen), true, predicted),
    f"Of the {len(predictions):,} test faces of {charts.dataset_title(name)}.",
)
if chosen.empty:
    st.info("No face fits this filter. Widen the confidence, or choose “any” class.", icon=":material/filter_alt_off:")
elif not widgets.missing_pictures(name, loaders.source(run, name)):
    with widgets.pages(len(chosen), A_PAGE) as rows:
        for _, row in chosen.iloc[rows].iterrows():
            widgets.answer_card(row)
if len(chosen):
    st.caption("Choose a row to look at one face; the address then leads to it.")
    told = "Faces that the filter keeps, with their probabilities in percent"
    where = chosen["locator"].tolist()
    row = widgets.chosen_row(tables.answer_table(chosen), f"answers-{run.name}-{name}", told, "face", where, height=320)
    if row is not None:
        widgets.answer_detail(chosen.iloc[row], lambda: url.forget("face"))

widgets.section("Average faces of the mistakes", "The mean of all faces of one mistake, where there are 20 or more.")
average = loaders.averages(run, f"{name}/cell")
frequent = loaders.once(charts.top_confusions, metrics, 100).itertuples()
cells = [row for row in frequent if f"{row.true}/{row.predicted}" in average]
widgets.gallery(
    [
        (
            average[f"{row.true}/{row.predicted}"],
            f"{row.true} → {row.predicted}, {row.faces}",
            f"Average of {row.faces} faces labelled {row.true} and called {row.predicted}",
        )
        for row in cells
    ]
)
if not cells:
    st.caption("This run holds no average faces of its mistakes.")

figures = {
    "confusions": loaders.once(charts.confusions, metrics),
    "confidences": loaders.once(charts.confidences, predictions),
}
figures = {key: figure for key, figure in figures.items() if figure}
for place, (key, figure) in zip(widgets.side_by_side(len(figures)), figures.items(), strict=True):
    with place:
        widgets.show(figure, key)
