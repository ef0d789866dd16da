"""The responding page: its rules in a table, where its expression comes from, and what it answers."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from ..labels import ink
from ..respond import COLOUR, DEFAULT, LONGEST, Rule, response, rules_of
from . import url, widgets
from .text import plain

LONGEST_HELD = 10.0
"""Seconds that an expression may be held by hand."""
MOST_RULES = 50


def rules_table(labels: Sequence[str]) -> list[Rule]:
    """Draw the rules for these labels, to be changed; return those that are whole, and say what the others lack."""
    known = [dataclasses.asdict(rule) for rule in DEFAULT if rule.expression in labels]
    start = pd.DataFrame(known or [dataclasses.asdict(dataclasses.replace(DEFAULT[0], expression=labels[0]))])
    text = {"max_chars": LONGEST, "default": ""}
    table = st.data_editor(
        start,
        key=f"rules-{','.join(labels)}",
        num_rows="dynamic",
        hide_index=True,
        alt="Rules: an expression, for how many seconds it must last, and the greeting, suggestion and colour that follow",
        column_config={
            "expression": st.column_config.SelectboxColumn("Expression", options=list(labels), required=True),
            "seconds": st.column_config.NumberColumn(
                "Lasts (s)", min_value=0.0, max_value=3600.0, step=0.5, default=1.0, required=True
            ),
            "greeting": st.column_config.TextColumn("Greeting", **text),
            "suggestion": st.column_config.TextColumn("Suggestion", width="large", **text),
            "colour": st.column_config.TextColumn(
                "Colour", validate=f"^{COLOUR.pattern}$", default="#999999", help="As #E69F00.", required=True
            ),
        },
    )
    rules, problems = rules_of(table.head(MOST_RULES).to_dict("records"))
    for problem in problems:
        st.warning(plain(problem), icon=":material/warning:")
    if len(table) > MOST_RULES:
        st.warning(f"The first {MOST_RULES} rules are followed.", icon=":material/warning:")
    widgets.download("Download the rules (CSV)", table.to_csv(index=False), "rules.csv", "text/csv")
    return rules


def by_hand(labels: Sequence[str]) -> tuple[str, float]:
    """Draw the choice of an expression and of how long it has lasted; return both."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
        label = st.selectbox("Expression", labels, width=220, **url.choice("expression", labels))
        seconds = st.slider(
            "Seconds that it has lasted",
            0.0,
            LONGEST_HELD,
            step=0.5,
            format="%.1f s",
            width=360,
            **url.amount("held", 0.0, LONGEST_HELD, 3.0),
        )
    return label, seconds


def answer(rules: Sequence[Rule], label: str | None, seconds: float) -> None:
    """Draw what the page answers to an expression that has lasted: a card in the rule's colour, and a breath of it behind."""
    rule = response(rules, label, seconds)
    if rule:
        greeting, suggestion = html.escape(rule.greeting), html.escape(rule.suggestion)
        why = f"{html.escape(rule.expression)} for {rule.seconds:g} s or longer"
        colours = f' style="--fer-colour:{rule.colour};--fer-ink:{ink(rule.colour)}"'
    else:
        greeting, colours = "", ""
        suggestion = "Nothing to respond to yet."
        why = f"no rule for {html.escape(label)} of {seconds:g} s" if label else "no lasting expression"
    st.html(
        f'<div class="fer-response" role="status"{colours}><strong>{greeting}</strong> <span>{suggestion}</span>'
        f"<small>{why}</small></div>"
    )
