"""Train: a network of the visitor's own, from a folder or a zip of class-named folders."""

from __future__ import annotations

import streamlit as st

from fercore import jobs
from fercore.ui import training_access, training_job, training_source, widgets

widgets.heading(
    "Train", "Make a new run: teach a network your own classes, from folders of pictures that are named after them."
)

allowed = training_access.access()
job = jobs.latest()
if job and job.state == "running":
    training_job.watch(job, may_cancel=allowed.train)
    st.stop()
if job:
    training_job.ended(job, may_train=allowed.train)

if not allowed.train:
    st.info(allowed.why, icon=":material/lock:")
    st.markdown("On a machine of your own, open this page there, or use the command line:")
    st.code("python -m fercore train --model report-cnn --dataset folder --data my-faces --out artifacts/my-run")
elif absent := jobs.missing():
    st.info(
        f"Training needs {', '.join(absent)}, which this installation leaves out: `pip install -r requirements.txt` brings all "
        "of it, so that runs can be made here.",
        icon=":material/info:",
    )
else:
    widgets.section("Pictures")
    source = training_source.choose(anywhere=allowed.anywhere)
    if source:
        training_source.show(source)
        widgets.section("Training")
        training_job.ask(source)
    else:
        st.caption(
            "Choose pictures first: a folder or a zip that holds a folder of pictures for each class, such as `happy/` and "
            "`sad/`. You then see the classes, and choose a network."
        )
