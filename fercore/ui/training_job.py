"""A training that was started from the app, as visitors see it: asked for, watched, cancelled, and how it ended."""

from __future__ import annotations

import dataclasses
import time
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from .. import charts, config, jobs, runs
from ..errors import FerError
from ..jobs import Job, Progress
from . import progress, url, widgets
from .tables import duration
from .text import plain
from .training_source import Source

EVERY = 2.0
"""Seconds between two looks at a training."""
LOG_LINES = 200
STAGES: dict[str, str] = {
    "starting": "Starting",
    "pictures": "Reading the pictures",
    "epochs": "Learning",
    "writing": "Calibrating and writing the network",
    "testing": "Testing it on faces that it has never seen",
}
CHANGES: dict[str, str] = {
    "none": "none",
    "light": "light: mirrored, turned and shifted a little",
    "strong": "strong: light and contrast as well, parts covered",
}


def ask(source: Source) -> None:
    """Draw the choices of a training, and start it."""
    networks = jobs.networks()
    left, right = widgets.side_by_side(2)
    with left:
        model = st.selectbox("Network", list(networks), **url.choice("model", list(networks)))
        st.caption(f"{_sentence(networks[model].summary)}.")
    own = dict(networks[model].recipe)
    with right:
        epochs = st.number_input(
            "Epochs",
            1,
            1000,
            own.get("epochs", 10),
            help="How often the network sees every training picture. The weights of the best epoch are kept.",
            key=f"training_epochs_{model}",
        )
        name = st.text_input("Name of the run", free_name(model), max_chars=80, key=f"training_name_{model}")
    with st.expander("More options"):
        changes = st.selectbox(
            "Random changes to the training pictures",
            list(CHANGES),
            list(CHANGES).index(own.get("augment", "none")),
            format_func=CHANGES.get,
            key=f"training_changes_{model}",
        )
        patience = st.number_input(
            "Stop after so many epochs without a better one",
            0,
            1000,
            own.get("patience", 0),
            help="0: never.",
            key=f"training_patience_{model}",
        )
        limit = st.number_input(
            "Pictures of each split at most",
            0,
            10_000_000,
            0,
            step=100,
            help="0: all of them. A small number is a rehearsal.",
            key="training_limit",
        )
        seed = st.number_input("Seed", 0, 2**32 - 1, 0, help="Decides every random choice.", key="training_seed")
        by = st.text_input("Your name, for other visitors of this page", max_chars=40, key="training_by")
    asked = {"epochs": epochs, "augment": changes, "patience": patience, "limit": limit, "seed": seed}
    sets = [preview.dataset for preview in source.previews]
    if st.button("Start training", type="primary", icon=":material/play_arrow:", disabled=bool(source.refusals)):
        _start({**own, "model": model, "datasets": sets, **asked}, source, name.strip(), by.strip())


def _start(recipe: dict[str, Any], source: Source, name: str, by: str) -> None:
    unpacked = partial(_unpacked, noun="Picture")
    try:
        with st.spinner("Starting …"):
            jobs.start(recipe, data=source.data, name=name, source=source.name, by=by, progress=unpacked)
    except FerError as error:
        st.error(plain(str(error).replace("choose another --out, or delete it first", "choose another name")))
        return
    except OSError as error:
        st.error(
            f"The server cannot write to its disk ({plain(error.strerror or str(error))}).", icon=":material/error:"
        )
        return
    st.rerun()


def _unpacked(pictures: Any, noun: str) -> Any:
    return progress.counted(pictures, len(pictures), noun)


def free_name(model: str) -> str:
    """Return a run's name that is not taken: ``my-report-cnn``, ``my-report-cnn-2``, ..."""
    taken = {path.name for path in runs.run_folders()}
    names = (f"my-{model}" + (f"-{number}" if number > 1 else "") for number in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def watch(job: Job, *, may_cancel: bool) -> None:
    """Draw a training that is on."""
    widgets.section(f"{job.run} is being trained")
    _live(str(job.folder))
    if may_cancel and not job.cancelling and st.button("Cancel the training", icon=":material/stop_circle:"):
        _ask_to_cancel(job)


@st.dialog("Cancel this training?")
def _ask_to_cancel(job: Job) -> None:
    st.markdown(f"What **{plain(job.run)}** has learned so far will be gone. Its log is kept.")
    with st.container(horizontal=True):
        if st.button("Let it go on"):
            st.rerun()
        if st.button("Cancel it", type="primary", on_click=job.cancel):
            st.rerun()


@st.fragment(run_every=EVERY)
def _live(folder: str) -> None:
    """Draw how far a training is, again and again; when it has ended, the whole page."""
    job = Job.load(Path(folder))
    if job is None or job.state != "running" or jobs.latest() != job:
        st.rerun()
    st.markdown(
        f"{origin(job)} It goes on when this page is closed. Everyone who opens this page can watch it; the next "
        "one can start when it has ended."
    )
    now = job.progress()
    st.progress(share(now), told(now, stopping=job.cancelling))
    if now.history:
        curves(now, int(job.request.recipe["epochs"]))


def origin(job: Job) -> str:
    """Return what a training was asked for, by whom and how long ago."""
    request = job.request
    by = f", started by {plain(request.by)}" if request.by else ""
    ago = duration(max(0.0, time.time() - request.started))
    return f"{plain(str(request.recipe['model']))} on {plain(request.source)}{by}, {ago} ago."


def share(now: Progress) -> float:
    """Return how much of its stage a training has done, from 0 to 1."""
    return min(1.0, now.done / now.total) if now.total else 0.0


def told(now: Progress, *, stopping: bool = False) -> str:
    """Return how far a training is in words: ``Learning: epoch 3 of 12, loss 1.234, at most 4 min left``."""
    if stopping:
        return "Stopping …"
    text, left = STAGES[now.stage], now.left()
    if now.stage == "epochs":
        text += f": epoch {min(int(now.done) + 1, now.total)} of {now.total}"
        text += f", loss {now.loss:.3f}" if now.loss is not None else ""
    elif now.total:
        text += f": {now.done:,.0f} of {now.total:,}"
    if left is None:
        return f"{text} …"
    return f"{text}, {'at most ' if now.stage == 'epochs' else ''}{duration(max(1.0, left))} left"


def curves(now: Progress, epochs: int) -> None:
    """Draw the curves of a training so far."""
    history = pd.DataFrame(now.history)
    done = f"after {len(history)} of {epochs} epochs"
    loss = charts.losses(history)
    left, right = widgets.side_by_side(2)
    with left:
        title = f"Loss {done}: {history['val_loss'].iloc[-1]:.2f} on validation faces"
        widgets.show(dataclasses.replace(loss, title=title), "live-loss")
    with right:
        widgets.show(charts.accuracy_curves(history), "live-accuracy")


def ended(job: Job, *, may_train: bool) -> None:
    """Draw how the last training ended."""
    result = job.result()
    name, took = plain(job.run), duration(result["seconds"])
    if result["state"] == "done":
        if (config.artifacts_dir() / job.run / "run.json").is_file():
            st.success(f"**{name}** is trained; it took {took}.", icon=":material/check_circle:")
            with st.container(horizontal=True):
                widgets.link("training", "How it learned", run=job.run)
                widgets.link("evaluation", "How good it is", run=job.run)
                widgets.link("classify", "Try it on a photo", run=job.run)
        return
    if not may_train:
        return
    if result["state"] == "cancelled":
        st.info(f"The training of {name} was cancelled after {took}; nothing is left of it.", icon=":material/cancel:")
    else:
        st.error(f"The training of {name} failed: {plain(result['error'])}.", icon=":material/error:")
    _log(job)


def _log(job: Job) -> None:
    lines = job.log.read_text(encoding="utf-8", errors="replace").splitlines() if job.log.is_file() else []
    if lines:
        with st.expander("Its log", icon=":material/description:"):
            st.code("\n".join(lines[-LOG_LINES:]), language=None, wrap_lines=True, height=320)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
