"""Overview: what this is, how good the runs are, and where to go next."""

from __future__ import annotations

import streamlit as st

from fercore import charts
from fercore.ui import columns, loaders, tables, widgets
from fercore.ui.text import CAUTION, INTERVAL

widgets.heading(
    "Facial-expression studio",
    "Networks that read facial expressions: what they learned from, how good they are, where they fail, and how they "
    "do on your own photos.",
)
widgets.cards(
    ("classify", "Classify", "Try it on a photo, a snapshot of yourself or a sample portrait."),
    ("live", "Live", "Your camera as a mirror that names expressions; no frame leaves your device."),
    ("respond", "Respond", "A page that answers an expression that lasts, by rules that you may change."),
    ("dataset", "Dataset", "What a network learned from: classes, their imbalance, average faces."),
    ("training", "Training", "How it learned: curves, settings, the layers of the network."),
    ("evaluation", "Evaluation", "What it confuses: click a cell of the confusion matrix to see its faces."),
    ("compare", "Compare", "Runs on the same faces: which is better, in which classes, at what cost."),
    ("papers", "Papers", "What two papers report for CK+, beside our numbers on people never seen."),
    ("mistakes", "Mistakes", "The test faces that it gets wrong, the most confident first."),
    ("train", "Train", "Teach a network your own pictures, and watch it learn."),
)
st.caption(
    "A run is one trained network with its results. Choose it in the sidebar: every page follows, and so does its address."
)

known, _ = loaders.known()
measured = dict.fromkeys(name for run in known for name in run.info.get("metrics") or {})
widgets.section("How good the runs are", f"Every run was tested on faces that it had never seen. {INTERVAL}")
if not measured:
    st.info("No run has been measured yet.", icon=":material/info:")
for place, name in zip(widgets.side_by_side(len(measured)), measured, strict=True):
    with place:
        tested = [run for run in known if run.metrics(name)]
        widgets.show(loaders.once(charts.accuracies, tested, name), f"accuracy-{name}")
if measured:
    table = loaders.once(tables.runs, known)
    told = "Accuracy, macro F1 and calibration error of every run and dataset"
    widgets.table(table, "runs", told, column_config=columns.explained(table))

widgets.section("What it cannot do")
st.markdown(CAUTION)
