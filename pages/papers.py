"""Papers: what they claim on CK+, and what the same networks reach when nobody is in training and test at once."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from fercore import charts, papers
from fercore.ui import loaders, widgets

widgets.heading(
    "Papers",
    "What the papers behind this project claim, and what networks of the same kind reach under two ways to split faces.",
)
st.markdown(
    "CK+ holds the last three frames of each sequence. Split at random, frames that look alike fall on both sides, and a "
    "network is asked about faces it has all but seen; split by person, it is asked about **people never seen**, which is what "
    "a user gets."
)

measured = papers.load()
if measured is None:
    st.info("Nothing was measured yet: run `python -m fercore papers --data DATA` with CK+48.", icon=":material/info:")
    st.stop()

widgets.show(
    loaders.once(charts.protocols, measured["results"]),
    "protocols",
    f"{measured['folds']}-fold cross-validation over {measured['faces']} frames of {measured['subjects']} people (CK+48), "
    "no fold chooses anything. The tick is the paper's own number.",
)

runs_of = {
    run.info.get("model", {}).get("name"): run.name
    for run in sorted(loaders.known()[0], key=lambda run: run.name.startswith("fer2013-"))  # ours come last, and stay
    if run.metrics("fer2013")
}
rows = []
for claim in papers.CLAIMS:
    ours = measured["results"].get(claim.model, {})
    cells = {
        words: charts.interval(ours[key]["accuracy"]) if ours else "not measured"
        for key, words in papers.PROTOCOLS.items()
    }
    rows.append(
        {
            "Network": claim.model,
            "Epochs here": str(ours.get("epochs", "")),
            "Claim on CK+": charts.percent(claim.ckplus, 2),
            **{f"Here, {words}": value for words, value in cells.items()},
            "Claim on JAFFE": charts.percent(claim.jaffe, 2) if claim.jaffe else "none",
            "Run": runs_of.get(claim.model, "none"),
            "Paper": claim.paper,
        }
    )
widgets.section(
    "Claims",
    "CK+ numbers are of networks trained anew for each fold; the run is the same network trained on FER2013. JAFFE was not at "
    "hand when this was measured, so there is no number of ours beside those claims; its reader is there for who has it.",
)
widgets.table(pd.DataFrame(rows), "papers", "Each paper's claim and our accuracy under both protocols")
with st.container(horizontal=True):
    for claim in papers.CLAIMS:
        if name := runs_of.get(claim.model):
            widgets.link("evaluation", f"Where {name} fails", run=name)
