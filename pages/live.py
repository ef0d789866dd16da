"""Live: the visitor's own camera, read in the visitor's own browser."""

from __future__ import annotations

import streamlit as st

from fercore.ui import live, picker, widgets

widgets.heading(
    "Live",
    "Your camera as a mirror that names expressions. The network runs in your browser: no frame leaves your device unless you "
    "allow it.",
)

live.camera(picker.current())

st.caption(
    "An expression is not a feeling: the network says what a face resembles, not what anyone feels. Of what is measured here "
    "only the shares of a finished sitting are sent to the app."
)
