"""Dataset: what the run learned from and was tested on."""

from __future__ import annotations

import streamlit as st

from fercore import charts
from fercore.ui import loaders, picker, tables, url, widgets
from fercore.ui.text import plain

widgets.heading(
    "Dataset", "The faces that the run learned from: how many there are of each expression, and what is odd about them."
)

run = picker.current()
known = loaders.facts(run)
if not known:
    st.info("This run does not say what it was trained on.", icon=":material/info:")
    st.stop()
name = widgets.pick_dataset(list(known))
facts = known[name]
counts = loaders.once(tables.class_counts, facts)

widgets.facts(
    {
        "Faces": f"{counts['All'].sum():,}",
        "Photos": f"{facts['photos']:,}",
        "Imbalance": tables.imbalance(facts),
        "Left out": f"{facts['duplicates'].get('left_out', 0):,}",
    }
)
widgets.show(
    loaders.once(charts.class_counts, facts, name),
    "classes",
    "Training faces teach, validation faces choose the best epoch and the thresholds, test faces give the final numbers.",
)
widgets.table(counts, "class-counts", f"Faces of {charts.dataset_title(name)} by class and split")

figures = {
    "faces-per-photo": loaders.once(charts.faces_per_photo, facts),
    "face-sizes": loaders.once(charts.face_sizes, facts),
}
figures = {key: figure for key, figure in figures.items() if figure}
for place, (key, figure) in zip(widgets.side_by_side(len(figures)), figures.items(), strict=True):
    with place:
        widgets.show(figure, key)

widgets.section("Average faces", "The mean of all faces of a class, of 20 or more, so that no one can be recognised.")
average = loaders.averages(run, f"{name}/class")
shown = [label for label in facts["labels"] if label in average]
widgets.gallery([(average[label], label, f"Average of all faces labelled {label}") for label in shown])
if not shown:
    st.caption("This run holds no average faces.")

widgets.section("Duplicates and problems")
found = tables.duplicates(facts)
if found.empty:
    st.markdown("No near-duplicates were found, and every face could be used.")
else:
    widgets.table(found, "duplicates-and-problems", "Near-duplicates and unusable faces", width="content")

widgets.section("Sample faces")
if not widgets.missing_pictures(name, facts.get("source", "")):
    with st.container(horizontal=True, vertical_alignment="bottom"):
        label = st.selectbox("Class", facts["labels"], width=220, **url.choice("class", facts["labels"]))
        others = url.whole("others")
        st.button(
            "Show others", icon=":material/shuffle:", on_click=lambda: st.query_params.update(others=str(others + 1))
        )
    faces = loaders.samples(name, label, seed=others)
    widgets.gallery([(face, "", f"A face labelled {label}: {where}") for face, where in faces])
    if not faces:
        st.caption(f"No face of {charts.dataset_title(name)} that is labelled {plain(label)} can be opened.")

st.caption(
    f"Source: {plain(facts.get('source') or 'not given')}. Licence: {plain(facts.get('licence') or 'not given')}."
)
