"""Compare: runs side by side on the same test faces."""

from __future__ import annotations

import streamlit as st

from fercore import charts, comparison
from fercore.ui import columns, loaders, picker, tables, url, widgets
from fercore.ui.text import GLOSSARY, INTERVAL, plain

widgets.heading(
    "Compare", "Which network is better on the same faces, what it costs, and which expressions it gains or loses."
)

run = picker.current()
known, _ = loaders.known()
dataset = widgets.pick_measured(run)
tested = {each.name: each for each in known if dataset in (each.info.get("metrics") or {})}
same = [name for name, each in tested.items() if comparison.alike(each, run, dataset)]
chosen = st.multiselect("Runs", list(tested), help=GLOSSARY["Run"], **url.several("runs", list(tested), same))
usual = comparison.reference_of([tested[name] for name in chosen], dataset).name
against = st.selectbox(
    "Against", list(tested), help=GLOSSARY["Reference"], width=320, **url.choice("against", list(tested), usual)
)
result = loaders.compared(tuple(tested[name] for name in chosen), dataset, tested[against])

if changes := loaders.once(charts.class_changes, result):
    widgets.show(
        changes,
        "class-changes",
        f"Recall of each class, in percentage points beyond that of {plain(against)}, on the {result.others[0].faces:,} test "
        f"faces of {charts.dataset_title(dataset)}.",
    )
else:
    st.info("Choose a second run to see what it gains and loses.", icon=":material/info:")

widgets.section("Scores and costs", f"{INTERVAL} {GLOSSARY['McNemar']}")
times = loaders.times(result, tested) if st.session_state.get("timed") else {}
table = loaders.once(tables.comparison, result, times)
widgets.table(
    table,
    "comparison",
    "Scores, McNemar's test and costs of the compared runs",
    column_config=columns.explained(table),
)
if times:
    widgets.show(
        loaders.once(charts.score_and_time, result, times),
        "score-and-time",
        f"Measured on this server, from the grey crop to the probabilities; finding the face comes on top. Beside it the "
        f"accuracy on {charts.dataset_title(dataset)}.",
    )
else:
    st.button(
        "Measure the time for a face",
        on_click=lambda: st.session_state.update(timed=True),
        icon=":material/timer:",
        help="Runs each network for half a second on one thread of this server.",
    )
