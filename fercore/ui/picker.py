"""The run picker: one choice that every page follows, that lives in the URL, and where runs are renamed and deleted."""

from __future__ import annotations

import os

import streamlit as st

from .. import runs
from ..errors import RunError
from ..runs import Run
from . import loaders, training_access, url
from .text import plain

KEY = "run"
_NOTE = "run_note"
_NOT_YOURS = "Only whoever may train here may rename or delete runs."


def choose() -> None:
    """Draw the picker into the sidebar; pages then ask ``current`` for the run."""
    known, refused = loaders.known()
    names = [run.name for run in known]
    asked = st.query_params.get(KEY)
    if names and asked and asked not in names:
        st.warning(f"There is no run “{plain(asked)}”; this is {plain(_default(names))}.", icon=":material/info:")
        url.forget(KEY)
        st.session_state.pop(KEY, None)
    with st.sidebar:
        if names:
            name = st.selectbox(
                "Run",
                names,
                help="A run is one trained network with its results. Every page shows the run that is chosen here.",
                **url.choice(KEY, names, _default(names), sticky=True),
            )
            _manage(known[names.index(name)])
        if note := st.session_state.pop(_NOTE, ""):
            st.info(note, icon=":material/info:")
        if refused:
            with st.expander(f"{len(refused)} of the run folders cannot be read", icon=":material/warning:"):
                for line in refused:
                    st.caption(plain(line))


def current() -> Run:
    """Return the chosen run, its files verified; where there is none, say how to get one and stop the page.

    Raises:
        RunError: one of the run's files is not the one that was written.
    """
    folders = {folder.name: folder for folder in runs.run_folders()}
    name = st.session_state.get(KEY)
    if name not in folders:
        st.info(
            "There is no run yet, so there is nothing to show here. Train one with "
            "`python -m fercore train --model report-cnn --dataset fer2013 --out artifacts/my-run`, then reload the page.",
            icon=":material/info:",
        )
        st.stop()
    return loaders.run(folders[name])


def _default(names: list[str]) -> str:
    try:
        name = runs.find().name
    except RunError:
        return names[0]
    return name if name in names else names[0]


def _manage(run: Run) -> None:
    """Offer to rename and to delete a run: to visitors who may make runs, where the folder of runs may be changed at all."""
    if not _may_manage() or not os.access(run.path.parent, os.W_OK):
        return
    with st.popover("Rename or delete", type="tertiary", icon=":material/edit:"):
        st.text_input("New name", value=run.name, key=_field(run), max_chars=80)
        st.button("Rename", on_click=_rename, args=(run,))
        if st.button("Delete this run", icon=":material/delete:"):
            _ask(run)


@st.dialog("Delete this run?")
def _ask(run: Run) -> None:
    st.markdown(f"**{plain(run.name)}** and all its files will be gone.")
    if runs.is_shipped(run):
        st.markdown("It came with the project: only the project's repository can bring it back.")
    with st.container(horizontal=True):
        if st.button("Keep it"):
            st.rerun()
        if st.button("Delete it", type="primary", on_click=_delete, args=(run,)):
            st.rerun()


def _may_manage() -> bool:
    """Tell whether this visitor may change the runs; asked again at each change, since a page may be older than the answer."""
    return training_access.access().train


def _rename(run: Run) -> None:
    if not _may_manage():
        st.session_state[_NOTE] = _NOT_YOURS
        return
    name = st.session_state[_field(run)].strip()
    try:
        st.query_params[KEY] = runs.rename(run, name).name
        st.session_state[_NOTE] = f"{plain(run.name)} is called {plain(name)} now."
    except (RunError, OSError) as error:
        st.session_state[_NOTE] = plain(_why(error))


def _delete(run: Run) -> None:
    if not _may_manage():
        st.session_state[_NOTE] = _NOT_YOURS
        return
    try:
        runs.delete(run)
        url.forget(KEY)
        st.session_state[_NOTE] = f"{plain(run.name)} is deleted."
    except (RunError, OSError) as error:
        st.session_state[_NOTE] = plain(_why(error))


def _field(run: Run) -> str:
    return f"new_name_of_{run.name}"


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, RunError) else "This folder cannot be changed on this machine."
