"""Respond: a page that answers a lasting expression, by rules that its visitor may change."""

from __future__ import annotations

import streamlit as st

from fercore.respond import EXAMPLE
from fercore.ui import live, picker, responding, url, widgets

SOURCES = {"camera": "Your camera", "hand": "By hand"}

widgets.heading(
    "Respond",
    "A page that responds to a face: its colour, greeting and suggestion follow an expression that lasts.",
)
run = picker.current()
head = live.chosen_head(run)
labels = list(run.head(head).labels)
source = st.segmented_control(
    "Where the expression comes from",
    list(SOURCES),
    format_func=SOURCES.get,
    required=True,
    **url.choice("source", list(SOURCES)),
)
top = st.container()

widgets.section(
    "The rules",
    "Change a cell, add a row or delete one: the page follows at once. Of several rules that fit, the one that waits longest "
    "is followed. Your rules are forgotten when you leave.",
)
rules = responding.rules_table(labels)
with top:
    if source == "hand":
        place = st.container()
        label, seconds = responding.by_hand(labels)
        with place:
            responding.answer(rules, label, seconds)
    else:
        live.camera(
            run,
            marks=sorted({rule.seconds for rule in rules}),
            respond=lambda label, seconds: responding.answer(rules, label, seconds),
        )
        st.caption(
            "The app hears which expression lasts and for how long, and the shares of a finished sitting; no picture leaves "
            "your device unless you allow it."
        )

widgets.section("The same in an application", "Five lines that follow a camera and print the rule that fits each face.")
st.code(EXAMPLE, language="python")
