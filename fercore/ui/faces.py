"""How faces are shown: galleries, cards of test faces, a visitor's photo, and a bar a class."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import streamlit as st

from .. import config
from ..charts import dataset_title, percent
from ..inference import Face
from ..labels import colours
from . import classification, loaders, tables
from .text import plain

CARD = 170
"""Width of a test face's card in pixels: two stand side by side on a telephone."""
MOST_CARDS = 24
"""Faces of one photo that get a card; all of them are in the downloads."""


def bars(probabilities: Mapping[str, float]) -> None:
    """Draw a bar a class, in its colour; the numbers stand beside them as text."""
    shades = colours(probabilities)
    rows = "".join(
        f"<span>{html.escape(label)}</span>"
        f'<span class="fer-track" aria-hidden="true"><i style="width:{100 * value:.1f}%;background:{shades[label]}"></i></span>'
        f'<span class="fer-number">{percent(value)}</span>'
        for label, value in probabilities.items()
    )
    st.html(f'<div class="fer-bars">{rows}</div>')


def gallery(pictures: Sequence[tuple[np.ndarray, str, str]], width: int = 108) -> None:
    """Draw small pictures side by side; each comes with its caption, which may be empty, and its description."""
    with st.container(horizontal=True):
        for shown, caption, description in pictures:
            st.image(shown, caption=plain(caption) or None, alt=description, width=width)


def answer_card(row: pd.Series) -> None:
    """Draw one test face: its picture, its label and the answer, the probabilities, and where it came from."""
    with st.container(border=True, width=CARD):
        pixels = loaders.face(row["dataset"], row["locator"])
        if pixels is None:
            st.caption("This picture cannot be read.")
        else:
            st.image(
                pixels, width="stretch", alt=f"A face labelled {row['label']} that the run calls {row['prediction']}"
            )
        st.markdown(
            f"Labelled **{plain(row['label'])}**, called **{plain(row['prediction'])}** ({percent(row['confidence'])})"
        )
        bars(tables.probabilities(row))
        st.caption(f"{dataset_title(row['dataset'])} {row['split']}: {plain(row['locator'])}")


def answer_detail(row: pd.Series, close: Callable[[], None]) -> None:
    """Draw one test face large: its picture where it is here, the answer, and a bar a class."""
    with st.container(border=True):
        pixels = loaders.face(row["dataset"], row["locator"])
        left, right = st.columns([1, 2], gap="medium") if pixels is not None else (None, st.container())
        if left is not None:
            told = f"A face labelled {row['label']} that the run calls {row['prediction']}"
            left.image(pixels, width="stretch", alt=told)
        with right:
            st.markdown(
                f"Labelled **{plain(row['label'])}**, called **{plain(row['prediction'])}** "
                f"({percent(row['confidence'])})"
            )
            bars(tables.probabilities(row))
            st.caption(f"{dataset_title(row['dataset'])} {row['split']}: {plain(row['locator'])}")
            st.button("Close", on_click=close, icon=":material/close:")


def photo(taken: classification.Photo, *others: classification.Photo) -> None:
    """Draw a visitor's photo with its boxes, and what was found: beside it, or below it where there is much to show.

    Args:
        taken: the photo with the answers of one run, whose boxes are drawn.
        others: the same photo with the answers of further runs; each face then gets a card a run.
    """
    few = len(taken.faces) <= 2 and not others
    beside = few or (len(taken.faces) == 1 and bool(others))
    left, right = st.columns([3, 2] if few else [2, 3], gap="medium") if beside else (st.container(), st.container())
    left.image(
        taken.picture,
        caption=plain(taken.name),
        alt=classification.describe(taken),
        width="stretch" if beside else "content",
        output_format="JPEG",
    )
    if others:
        with right:
            _by_runs([taken, *others])
    else:
        with right if few else right.container(horizontal=True):
            for number, face in enumerate(taken.faces[:MOST_CARDS], 1):
                _face(f"{number}. {plain(classification.spoken(face))}", face, "stretch" if few else 310)
    if not taken.faces:
        right.info(
            "No face was found. It may be turned away, covered, too dark, or smaller than about 24 pixels.",
            icon=":material/face_retouching_off:",
        )
    if len(taken.faces) > MOST_CARDS:
        st.caption(f"{len(taken.faces) - MOST_CARDS} smaller faces are in the downloads.")


def _by_runs(answers: Sequence[classification.Photo]) -> None:
    """Draw a row a face and in it a card a run, which says whether the runs agree."""
    for number, faces in enumerate(zip(*(photo.faces for photo in answers), strict=False), 1):
        if number > MOST_CARDS:
            break
        labels = list(dict.fromkeys(face.label for face in faces))
        agree = f"all say {labels[0]}" if len(labels) == 1 else f"the runs disagree: {', '.join(labels)}"
        st.markdown(f"**Face {number}**: {plain(agree)}")
        with st.container(horizontal=True):
            for photo, face in zip(answers, faces, strict=True):
                _face(plain(f"{photo.run}: {classification.spoken(face)}"), face, 250)


def _face(title: str, face: Face, width: int | str) -> None:
    """Draw the card of an answer; the title is Markdown."""
    with st.container(border=True, width=width):
        st.markdown(f"**{title}**")
        bars(face.probabilities)


def missing_pictures(dataset: str, source: str = "") -> bool:
    """Tell whether a dataset's pictures are missing here, and say in that case how to get them."""
    found, reason = loaders.pictures(dataset)
    if found is not None:
        return False
    if dataset == "folder":
        how = (
            "The pictures of this run are those of a folder of somebody's own, which is not here. Set `FER_DATA` to the folder "
            "that it was trained on"
        )
    else:
        how = (
            f"The pictures of {dataset_title(dataset)} are not shipped: neither their licence nor the people in them allow "
            f"it. Get the dataset from its makers{f' ({plain(source)})' if source else ''}, put it into "
            f"`{config.data_dir()}` or set `FER_DATA` to its folder"
        )
    st.info(f"{how}, and start the app again: the faces then appear here.", icon=":material/image_not_supported:")
    with st.expander("What was looked for"):
        st.markdown(plain(reason))
    return True
