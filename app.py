"""The studio's app: ``streamlit run app.py``."""

from __future__ import annotations

import streamlit as st

from fercore.ui import frame

st.set_page_config(page_title="Facial-expression studio", page_icon="🙂", layout="wide")
page = st.navigation(
    [
        st.Page("pages/overview.py", title="Overview", icon=":material/home:", default=True),
        st.Page("pages/dataset.py", title="Dataset", icon=":material/dataset:"),
        st.Page("pages/training.py", title="Training", icon=":material/show_chart:"),
        st.Page("pages/evaluation.py", title="Evaluation", icon=":material/grid_on:"),
        st.Page("pages/compare.py", title="Compare", icon=":material/compare_arrows:"),
        st.Page("pages/papers.py", title="Papers", icon=":material/article:"),
        st.Page("pages/mistakes.py", title="Mistakes", icon=":material/search:"),
        st.Page("pages/classify.py", title="Classify", icon=":material/photo_camera:"),
        st.Page("pages/live.py", title="Live", icon=":material/videocam:"),
        st.Page("pages/respond.py", title="Respond", icon=":material/mood:"),
        st.Page("pages/train.py", title="Train", icon=":material/model_training:"),
    ]
)
frame.run(page)
