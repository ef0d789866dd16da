"""How a visitor hands over pictures: uploads, the clipboard, the camera, the sample portrait, and a video."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import streamlit as st

from .. import images
from ..video import SUFFIXES as VIDEOS
from . import classification, loaders

SOURCES: dict[str, str] = {
    "photos": "Photos",
    "camera": "Camera",
    "video": "Video",
    "sample": "Sample portrait",
}
"""Where a picture comes from, as the URL names it and as the page does."""
MOST_PHOTO = 32
MOST_VIDEO = 64
"""Megabytes of one photo, and of one video: the largest that the server takes."""
FORGOTTEN = (
    "What you give stays in this server's memory, never touches its disk, and is gone within a minute of your leaving."
)
_HERE = Path(__file__)
_HTML = """<div class="paste"><button type="button">Paste a picture</button><span role="status"></span></div>"""

Given = list[tuple[str, bytes]]
"""Names of pictures and their bytes."""


def pictures(source: str) -> Given:
    """Draw what a source needs, and return the pictures that the visitor has handed over."""
    match source:
        case "photos":
            return _photos()
        case "camera":
            shot = st.camera_input("Snapshot", resolution="720p")
            return [("snapshot.jpg", shot.getvalue())] if shot else []
        case _:
            st.caption("Astronaut Eileen Collins, photographed by NASA; the picture is in the public domain.")
            return [(loaders.PORTRAIT.name, loaders.PORTRAIT.read_bytes())]


def _photos() -> Given:
    kinds = [suffix.removeprefix(".") for suffix in images.SUFFIXES]
    uploads = st.file_uploader("Photos", kinds, accept_multiple_files=True, max_upload_size=MOST_PHOTO)
    _paste()(key="paste")
    most = classification.MOST_PHOTOS
    if len(uploads) > most:
        st.warning(
            f"These are the first {most} of {len(uploads)} photos. For more at once use `python -m fercore predict FOLDER`.",
            icon=":material/filter_none:",
        )
    return [(upload.name, upload.getvalue()) for upload in uploads[:most]]


def video() -> Any | None:
    """Draw the uploader of a video and return what it holds."""
    return st.file_uploader("Video", [suffix.removeprefix(".") for suffix in VIDEOS], max_upload_size=MOST_VIDEO)


@functools.cache
def _paste() -> Any:
    html, css, js = (
        _HTML,
        _HERE.with_name("paste.css").read_text("utf-8"),
        _HERE.with_name("paste.js").read_text("utf-8"),
    )
    return st.components.v2.component("fercore_paste", html=html, css=css, js=js)
