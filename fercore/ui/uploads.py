"""What the server keeps of visitors' uploads: in memory alone, bounded a visitor, and no longer than a page shows them."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import streamlit as st
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import DeletedFile, UploadedFileRec

MOST_FILES = 64
MOST_MEGABYTES = 256
"""Files and megabytes that the server keeps of one visitor, whatever pages they were given to: the photos of Classify, a video,
and an archive fit in together. What comes after that is received and thrown away."""
_HELD = "uploads_that_the_page_shows"


def bound() -> None:
    """Let the server keep no more of a visitor than ``MOST_FILES`` and ``MOST_MEGABYTES``; does nothing the second time."""
    keep = MemoryUploadedFileManager.add_file
    if getattr(keep, "bounded", False):
        return

    @functools.wraps(keep)
    def add_file(manager: MemoryUploadedFileManager, session_id: str, file: UploadedFileRec) -> None:
        others = [
            kept for kept in list(manager.file_storage.get(session_id, {}).values()) if kept.file_id != file.file_id
        ]
        size = sum(len(kept.data) for kept in others) + len(file.data)
        if len(others) < MOST_FILES and size <= MOST_MEGABYTES << 20:
            keep(manager, session_id, file)

    add_file.bounded = True
    MemoryUploadedFileManager.add_file = add_file


def fitting(sizes: Iterable[int], most_files: int, most_bytes: int) -> int:
    """Return how many of the first files keep both bounds."""
    count = total = 0
    for size in sizes:
        total += size
        if count == most_files or total > most_bytes:
            break
        count += 1
    return count


def thrown_away(key: str) -> int:
    """Return how many of the files that an uploader lists are no longer kept."""
    return sum(isinstance(file, DeletedFile) for file in st.session_state.get(key) or ())


def let_go(key: str, files: Iterable[Any]) -> None:
    """Remove uploads of this visitor from the server's memory: what the manager keeps, and the uploader's own copy."""
    gone = {file.file_id for file in files}
    _remove(gone)
    for file in st.session_state.get(key) or ():
        if file.file_id in gone and not isinstance(file, DeletedFile):
            file.truncate(0)


def hold(files: Iterable[Any]) -> None:
    """Say which uploads the page shows now; those that it showed before and no longer does leave the server's memory.

    Streamlit keeps the files of an uploader that is not drawn any more until their visitor leaves.
    """
    now = {file.file_id for file in files}
    _remove(set(st.session_state.get(_HELD, ())) - now)
    st.session_state[_HELD] = now


def _remove(file_ids: Iterable[str]) -> None:
    context = get_script_run_ctx()
    for file_id in file_ids:
        context.uploaded_file_mgr.remove_file(context.session_id, file_id)
