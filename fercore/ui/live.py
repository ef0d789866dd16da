"""The Live camera: a component whose JavaScript (``fercore/browser``) finds and classifies faces in the visitor's own browser.

What comes back is a visitor's browser speaking, so everything is checked before it is used. No frame reaches this server unless
its owner agreed to server mode; such a frame is read in memory and forgotten with the answer.
"""

from __future__ import annotations

import base64
import binascii
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from .. import images, runs
from ..browser import assets
from ..errors import FerError
from ..runs import Run
from . import loaders, picker, url, widgets

KEY = "live"
HEAD = "head"
"""The head's name in the URL, as on the Classify page."""
STATIC = Path(__file__).resolve().parents[2] / "static"
MOST_PIXELS = 1 << 20
"""The largest frame that server mode reads; the component sends about a fifth of that."""
MOST_TEXT = 1 << 20
"""The longest JPEG in base64 that is decoded."""
MOST_SITTINGS = 50
MOST_LABELS = 100
_ANSWER = "live_answer"
_SITTINGS = "live_sittings"
_CHOSEN = "live_chosen"


Respond = Callable[[str | None, float], None]
"""Draws what follows an expression that has lasted so many seconds; of None there is none."""


def chosen_head(run: Run) -> str:
    """Return the head that the URL names, or the run's default."""
    asked = st.query_params.get(HEAD)
    return asked if asked in run.heads else run.default_head


def camera(run: Run, *, marks: Sequence[float] = (), respond: Respond | None = None) -> None:
    """Draw the camera, and below it the sittings of this visit.

    Args:
        run: the run that answers; one that a browser cannot serve is named, with the reason, and the others are offered. The
            URL may name a head of it.
        marks: after how many seconds of an expression the page wants to hear of it again; it hears of each new one.
        respond: called above the camera at each rerun; without it the page hears nothing of expressions.

    Raises:
        FerError: the detector is missing or damaged.
    """
    st.session_state[_CHOSEN] = False
    head = chosen_head(run)
    known, _ = runs.list_runs(run.path.parent)
    assets.sweep(STATIC, [digest for other in known for digest in other.info["files"].values()])
    refusal = assets.refusal(run)
    data = {
        "chosen": run.name,
        "refusal": refusal,
        "run": None if refusal else assets.settings(run, head, STATIC),
        "heads": list(run.heads),
        "runs": [{"name": other.name, "refusal": assets.refusal(other)} for other in known],
        "runtime": assets.runtime(STATIC),
        "sample": assets.sample(STATIC),
    }
    if respond:
        data["marks"] = list(marks)
    _mounted(run, head, data, respond)


@st.fragment
def _mounted(run: Run, head: str, data: dict[str, Any], respond: Respond | None) -> None:
    if st.session_state.get(_CHOSEN):
        st.rerun(scope="app")
    if respond:
        respond(*lasting(_told("lasting"), run.head(head).labels))
    _component()(
        key=KEY,
        data=data,
        on_run_change=_choose_run,
        on_head_change=functools.partial(_choose_head, run),
        on_frame_change=functools.partial(_look, run, head),
        on_sitting_change=_keep,
        on_lasting_change=lambda: None,
    )
    if found := st.session_state.pop(_ANSWER, None):
        _messenger()(key=f"{KEY}_answer", data=found)
    if (sittings := st.session_state.get(_SITTINGS)) and not respond:
        widgets.section(
            "Sittings of this visit",
            "The share of the time that each expression lasted. Only these numbers came here; they go when you leave.",
        )
        widgets.table(
            pd.DataFrame(sittings),
            "sittings",
            "Length, faces and share of each expression of the sittings of this visit",
            column_config={
                "seconds": st.column_config.NumberColumn(format="%.0f s"),
                **{name: st.column_config.NumberColumn(format="percent") for name in _labels(sittings)},
            },
        )


@functools.cache
def _component() -> Any:
    return st.components.v2.component("fercore_live", html=assets.markup(), css=assets.style(), js=assets.script())


@functools.cache
def _messenger() -> Any:
    """Hand an answer to the camera's component, which stays as it is: the browser has it already and gets a reference."""
    tell = f"dispatchEvent(new CustomEvent({assets.ANSWER!r}, {{detail: data}}));"
    js = f"export default ({{data}}) => {{ {tell} }};\n"  # returns nothing: Streamlit would call it to clean up
    return st.components.v2.component("fercore_live_answer", js=js)


def _told(event: str) -> Any:
    """Return what the component said, or None."""
    state = st.session_state.get(KEY)
    return state.get(event) if isinstance(state, Mapping) else None


def _choose_run() -> None:
    name = _told("run")
    if name in [folder.name for folder in runs.run_folders()]:
        _choose(picker.KEY, name)


def _choose_head(run: Run) -> None:
    name = _told("head")
    if isinstance(name, str) and name in run.heads:
        _choose(HEAD, name)


def _choose(key: str, name: str) -> None:
    """Write a choice into the URL; the fragment then has the whole page follow it, and tries again until it has."""
    url.put(key, name)
    st.session_state[_CHOSEN] = True


def _look(run: Run, head: str) -> None:
    """Answer a frame of server mode."""
    if (frame := _told("frame")) is not None:
        st.session_state[_ANSWER] = answer(run, head, frame)


def answer(run: Run, head: str, frame: Any) -> dict[str, Any] | None:
    """Return what a frame shows: ``{"number", "faces": [{"box", "score", "probabilities"}, ...]}``, or an ``error`` in words.

    Args:
        run: the run that answers.
        head: whose labels.
        frame: ``{"number": ..., "jpeg": base64}`` as the component sends it; anything else gives None.
    """
    if not isinstance(frame, Mapping) or not isinstance(frame.get("number"), int):
        return None
    number, text = frame["number"], frame.get("jpeg")
    try:
        if not isinstance(text, str) or len(text) > MOST_TEXT:
            raise FerError("the picture is missing or too large")
        pixels = images.load_image(base64.b64decode(text, validate=True), max_pixels=MOST_PIXELS)
        faces = loaders.predictor(run, head).predict(pixels)
    except (FerError, binascii.Error) as error:
        return {"number": number, "error": f"The server could not read the picture: {error}."}
    return {
        "number": number,
        "faces": [
            {"box": list(face.box), "score": face.score, "probabilities": list(face.probabilities.values())}
            for face in faces
        ],
    }


def _keep() -> None:
    row = sitting(_told("sitting"))
    if row:
        kept = st.session_state.setdefault(_SITTINGS, [])
        kept.append(row)
        del kept[:-MOST_SITTINGS]


def sitting(told: Any) -> dict[str, Any] | None:
    """Return a finished sitting as a row: ``run, seconds, faces`` and the share of each label; None for anything else."""
    if not isinstance(told, Mapping):
        return None
    run, labels, shares = told.get("run"), told.get("labels"), told.get("share")
    if not (isinstance(labels, list) and isinstance(shares, list) and 0 < len(labels) == len(shares) <= MOST_LABELS):
        return None
    if not all(isinstance(text, str) and 0 < len(text) <= 80 for text in (run, *labels)):
        return None
    numbers = (told.get("seconds"), told.get("faces"), *shares)
    if not all(_is_number(number) for number in numbers) or max(shares) > 1:
        return None
    row = {"run": run, "seconds": float(numbers[0]), "faces": int(numbers[1])}
    shared = dict(zip(labels, shares, strict=True))
    return {**row, **shared} if len({*row, *shared}) == len(row) + len(labels) else None


def lasting(told: Any, labels: Sequence[str]) -> tuple[str | None, float]:
    """Return the expression that lasts and for how many seconds it has; None and 0 for anything else than those."""
    if isinstance(told, Mapping) and told.get("label") in labels and _is_number(told.get("seconds")):
        return told["label"], float(told["seconds"])
    return None, 0.0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value < 1e7


def _labels(sittings: list[dict[str, Any]]) -> list[str]:
    return [
        name
        for name in dict.fromkeys(key for row in sittings for key in row)
        if name not in ("run", "seconds", "faces")
    ]
