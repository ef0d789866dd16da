"""How a visitor hands over pictures: uploads, the clipboard, the camera, the sample portrait, and a video."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import streamlit as st

from .. import images
from ..video import SUFFIXES as VIDEOS
from . import classification, loaders, uploads

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
MOST_TOGETHER = 128
"""Megabytes of all photos that a visitor gives at once: what goes beyond leaves the server's memory."""
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
            uploads.hold([shot] if shot else [])
            return [("snapshot.jpg", shot.getvalue())] if shot else []
        case _:
            uploads.hold([])
            st.caption("Astronaut Eileen Collins, photographed by NASA; the picture is in the public domain.")
            return [(loaders.PORTRAIT.name, loaders.PORTRAIT.read_bytes())]


def _photos() -> Given:
    kinds = [suffix.removeprefix(".") for suffix in images.SUFFIXES]
    given = st.file_uploader("Photos", kinds, accept_multiple_files=True, max_upload_size=MOST_PHOTO, key="photos")
    _paste()(key="paste")
    count = uploads.fitting((photo.size for photo in given), classification.MOST_PHOTOS, MOST_TOGETHER << 20)
    kept, surplus = given[:count], given[count:]
    uploads.let_go("photos", surplus)
    uploads.hold(kept)
    if lost := len(surplus) + uploads.thrown_away("photos"):
        st.warning(
            f"These are the first {count} of {count + lost} photos; the others were forgotten, since this server keeps "
            f"{classification.MOST_PHOTOS} photos and {MOST_TOGETHER} MB at most: `python -m fercore predict FOLDER` takes any "
            "number.",
            icon=":material/filter_none:",
        )
    return [(photo.name, photo.getvalue()) for photo in kept]


def video() -> Any | None:
    """Draw the uploader of a video and return what it holds."""
    given = st.file_uploader("Video", [suffix.removeprefix(".") for suffix in VIDEOS], max_upload_size=MOST_VIDEO)
    uploads.hold([given] if given else [])
    return given


@functools.cache
def _paste() -> Any:
    html, css, js = (
        _HTML,
        _HERE.with_name("paste.css").read_text("utf-8"),
        _HERE.with_name("paste.js").read_text("utf-8"),
    )
    return st.components.v2.component("fercore_paste", html=html, css=css, js=js)
