"""Help for a table's columns: the glossary's words, where a column's name is one of its terms."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from .text import GLOSSARY

SAID_ELSEWHERE: dict[str, str] = {"Accuracy (95% interval)": "Accuracy", "p (McNemar)": "McNemar"}
"""Columns whose name says more than the term."""


def explained(data: pd.DataFrame) -> dict[str, Any]:
    """Return the ``column_config`` that gives each column its help."""
    terms = {name: SAID_ELSEWHERE.get(name, name) for name in data.columns}
    return {name: st.column_config.Column(help=GLOSSARY[term]) for name, term in terms.items() if term in GLOSSARY}
