"""The parts that pages are put together from: headings, figures, tables, numbers, links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ..charts import Figure, dataset_title, percent
from ..runs import Run
from . import frame, url
from .faces import answer_card, answer_detail, bars, gallery, missing_pictures, photo
from .text import GLOSSARY, plain

__all__ = [
    "answer_card",
    "answer_detail",
    "bars",
    "cards",
    "chosen_row",
    "download",
    "facts",
    "gallery",
    "heading",
    "link",
    "missing_pictures",
    "numbers",
    "pages",
    "photo",
    "pick_dataset",
    "pick_measured",
    "section",
    "show",
    "side_by_side",
    "table",
]

BOX = 170
"""Width of a small box in pixels: two stand side by side on a telephone, five on a wide screen."""
NO_SHARES: tuple[str, ...] = ("Log loss",)
"""Scores that are numbers of their own and not shares in percent."""


def heading(title: str, sentence: str) -> None:
    """Begin a page: its title, and the one sentence that says what it is for."""
    frame.require()
    st.title(title, anchor=False)
    st.markdown(sentence)


def section(title: str, explanation: str = "") -> None:
    """Begin a part of a page."""
    st.subheader(plain(title), anchor=False)
    if explanation:
        st.caption(explanation)


def side_by_side(count: int) -> Sequence[DeltaGenerator]:
    """Return places for ``count`` figures: two in a row on a wide screen, one below the other on a narrow one."""
    rows = [st.columns(2 if count > 1 else 1, gap="large") for _ in range(0, count, 2)]
    return [place for row in rows for place in row][:count]


def show(figure: Figure, key: str, explanation: str = "", *, clickable: bool = False) -> Any:
    """Draw a figure under its finding, with its downloads; return the selection of a clickable one."""
    with st.container(horizontal=True, wrap=False, vertical_alignment="bottom"):
        st.subheader(plain(figure.title), anchor=False)
        with st.popover("", type="tertiary", icon=":material/download:", help="Download this chart", key=f"{key}-get"):
            _download("Numbers (CSV)", lambda: figure.data.to_csv(index=False), f"{key}.csv", "text/csv")
            _download("Picture (PNG)", figure.png, f"{key}.png", "image/png")
    event = st.vega_lite_chart(
        figure.spec, width="stretch", alt=figure.alt, key=key, on_select="rerun" if clickable else "ignore"
    )
    if explanation:
        st.caption(explanation)
    return event.selection if clickable else None


def table(data: pd.DataFrame, name: str, alt: str, **options: Any) -> None:
    """Draw a table with a button that downloads it as CSV; ``options`` go to ``st.dataframe``."""
    st.dataframe(data, hide_index=True, alt=alt, **options)
    _download("Download this table (CSV)", lambda: data.to_csv(index=False), f"{name}.csv", "text/csv")


def chosen_row(data: pd.DataFrame, name: str, alt: str, key: str, ids: Sequence[str], **options: Any) -> int | None:
    """Draw a table of which one row can be chosen, with its download; the choice lives in the URL.

    Args:
        data: the table.
        name: of the file that is downloaded.
        alt: what the table holds.
        key: the choice's name in the URL.
        ids: what the URL calls each row.
        options: go to ``st.dataframe``.

    Returns:
        The position of the row that the URL names, or None.
    """
    ids = list(ids)
    asked = st.query_params.get(key)
    row = ids.index(asked) if asked in ids else None
    widget = f"{key}-of-{name}"

    def store() -> None:
        rows = st.session_state[widget]["selection"]["rows"]
        if rows and rows[0] < len(ids):
            st.query_params[key] = ids[rows[0]]
        else:
            url.forget(key)

    rows = [] if row is None else [row]
    if st.session_state.get(widget, {"selection": {"rows": []}})["selection"]["rows"] != rows:
        st.session_state[widget] = {"selection": {"rows": rows, "columns": [], "cells": []}}
    table(data, name, alt, key=widget, on_select=store, selection_mode="single-row", **options)
    return row


def _download(label: str, make: Any, file: str, mime: str) -> None:
    """Draw a quiet button for a file that is made when it is asked for."""
    st.download_button(
        label, make, file, mime, key=f"get-{file}", on_click="ignore", type="tertiary", icon=":material/download:"
    )


def download(label: str, data: str | bytes, file: str, mime: str) -> None:
    """Draw a button that downloads what a page has found."""
    st.download_button(label, data, file, mime, on_click="ignore", icon=":material/download:")


def numbers(scores: Mapping[str, Mapping[str, float | None]]) -> None:
    """Draw scores, each with its interval below and its help beside it."""
    with st.container(horizontal=True):
        for name, score in scores.items():
            value, span = score_text(name, score)
            st.metric(
                name,
                value,
                span,
                delta_color="off",
                delta_arrow="off",
                help=GLOSSARY.get(name),
                border=True,
                width=BOX,
            )


def score_text(name: str, score: Mapping[str, float | None]) -> tuple[str, str | None]:
    """Return a score and its interval as text: shares in percent, a loss, which is no share, as a number."""
    if score["value"] is None:
        return percent(None), None
    if name in NO_SHARES:
        return f"{score['value']:.2f}", f"{score['low']:.2f} to {score['high']:.2f}"
    return percent(score["value"], 1), f"{100 * score['low']:.1f} to {percent(score['high'], 1)}"


def facts(values: Mapping[str, str]) -> None:
    """Draw plain facts in a row."""
    with st.container(horizontal=True):
        for name, value in values.items():
            st.metric(name, value, help=GLOSSARY.get(name), border=True, width=BOX)


def pick_dataset(names: Sequence[str]) -> str:
    """Let the visitor choose one of a run's datasets; with only one there is nothing to choose."""
    if len(names) == 1:
        return names[0]
    return st.segmented_control(
        "Dataset", names, format_func=dataset_title, required=True, **url.choice("dataset", names, resets=["page"])
    )


def pick_measured(run: Run) -> str:
    """Let the visitor choose one of the datasets that a run was measured on; stop the page where there is none."""
    measured = list(run.info.get("metrics") or {})
    if not measured:
        st.info(
            f"{plain(run.name)} has not been measured yet; `python -m fercore evaluate {run.name}` says how good it is.",
            icon=":material/info:",
        )
        st.stop()
    return pick_dataset(measured)


@contextmanager
def pages(count: int, a_page: int, *, horizontal: bool = True) -> Iterator[slice]:
    """Lay cards out side by side, a page of them at a time: gives the positions to draw, then draws the page numbers."""
    last = max(1, -(-count // a_page))
    tied = url.number("page", last)
    start = a_page * (tied["default"] - 1)
    with st.container(horizontal=horizontal):
        yield slice(start, start + a_page)
    if last > 1:
        st.pagination(last, **tied)


def link(page: str, label: str, **params: str) -> None:
    """Draw a link to a page that keeps the run; ``params`` are its filters."""
    kept = {"run": st.session_state["run"]} if "run" in st.session_state else {}
    st.page_link(f"pages/{page}.py", label=label, query_params={**kept, **params}, icon=":material/arrow_forward:")


def cards(*pages: tuple[str, str, str]) -> None:
    """Draw a card a page: its file, its name, and what is found there."""
    with st.container(horizontal=True):
        for page, name, sentence in pages:
            with st.container(border=True, width=BOX, height="stretch", gap="xsmall"):
                link(page, f"**{name}**")
                st.caption(sentence)
