"""Classify: the visitor's own photos, a snapshot, or a video."""

from __future__ import annotations

import streamlit as st

from fercore.ui import classification, clip, intake, loaders, picker, progress, url, widgets
from fercore.ui.text import CAUTION, GLOSSARY, plain

A_PAGE = 6
SOURCES = list(intake.SOURCES)

widgets.heading(
    "Classify",
    "Give it photos, a snapshot or a video: it finds the faces and says which expression each one resembles.",
)

run = picker.current()
with st.container(horizontal=True):
    source = st.segmented_control(
        "Picture",
        SOURCES,
        format_func=intake.SOURCES.get,
        required=True,
        **url.choice("from", SOURCES, resets=["page"]),
    )
    head = run.default_head
    if len(run.heads) > 1:
        heads = list(run.heads)
        head = st.selectbox("Whose labels", heads, width=220, help=GLOSSARY["Head"], **url.choice("head", heads, head))
    if source != "video":
        known = {each.name: each for each in loaders.known()[0]}
        names = st.multiselect(
            "Answered by",
            list(known),
            max_selections=classification.MOST_RUNS,
            help=f"Up to {classification.MOST_RUNS} runs answer the same photo side by side.",
            **url.several("by", list(known), default=[run.name], most=classification.MOST_RUNS),
        )

if source == "video":
    upload = intake.video()
    st.caption(f"The first {clip.LONGEST:.0f} seconds are looked at. {intake.FORGOTTEN}")
    if upload:
        clip.show(run, head, upload)
        st.caption(CAUTION)
    st.stop()

given = intake.pictures(source)
st.caption(intake.FORGOTTEN)
answering = [run if name == run.name else loaders.run(known[name].path) for name in names]
several = [
    classification.by_runs(answering, head, name, data) for name, data in progress.counted(given, len(given), "Photo")
]
photos = [photo for answers in several for photo in answers]
if len(given) > 1:
    widgets.section(classification.counted(several))
    widgets.table(classification.summary(photos), "photos", "Each photo with its faces and what they show")
for first, *_ in several:
    if first.error:
        st.error(f"**{plain(first.name)}**: {plain(first.error)}.", icon=":material/broken_image:")
readable = [answers for answers in several if not answers[0].error]
with widgets.pages(len(readable), A_PAGE, horizontal=False) as rows:
    for answers in readable[rows]:
        widgets.photo(*answers)

if any(face.uncertain for photo in photos for face in photo.faces):
    first = answering[0]
    threshold = first.head(head if head in first.heads else None).threshold
    st.caption(
        f"“Perhaps” and a dashed box: {GLOSSARY['Uncertain']} "
        + (f"Here the threshold is {threshold:.0%}." if len(answering) == 1 else "Each run has its own threshold.")
    )
if photos:
    with st.container(horizontal=True):
        widgets.download("Results (JSON)", classification.as_json(photos), "expressions.json", "application/json")
        table = classification.as_table(photos)
        widgets.download("Results (CSV)", table.to_csv(index=False), "expressions.csv", "text/csv")
    st.caption(CAUTION)
