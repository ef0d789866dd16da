"""What surrounds every page: its style, the run picker, private uploads, and errors told in words."""

from __future__ import annotations

import logging
from pathlib import Path

import streamlit as st
from starlette.formparsers import MultiPartParser
from streamlit.navigation.page import Page

from ..errors import FerError
from . import departed, picker, uploads, url
from .text import plain

STYLE = Path(__file__).with_name("style.css")
PAGES = Path(__file__).resolve().parents[2] / "pages"
_INSIDE = "page_runs_inside_the_app"


def run(page: Page) -> None:
    """Run the page that the visitor chose, under the run picker; whatever goes wrong becomes a sentence, never a traceback."""
    keep_uploads_in_memory()
    uploads.bound()
    departed.watch()
    st.html(STYLE)
    url.settle()
    try:
        picker.choose()
        st.session_state[_INSIDE] = True
        page.run()
    except FerError as error:
        st.error(plain(str(error)), icon=":material/error:")
    except Exception:
        logging.getLogger(__name__).exception("page %s", page.title)
        st.error(
            "Something went wrong here, and it is our fault. Reload the page; if that does not help, the server's log "
            "says what it was.",
            icon=":material/error:",
        )
    finally:
        st.session_state.pop(_INSIDE, None)


def require() -> None:
    """Start the whole app where Streamlit runs a page's file alone.

    Until ``st.navigation`` is called for the first time, Streamlit takes a folder ``pages/`` for its older kind of menu:
    whoever opens a link to a page before anybody has opened the app would get the bare page.
    """
    if not st.session_state.get(_INSIDE):
        menu = [st.Page(PAGES.with_name("app.py"), default=True), *map(st.Page, PAGES.glob("*.py"))]
        st.navigation(menu, position="hidden")
        st.rerun()


def keep_uploads_in_memory() -> None:
    """Let no upload touch the disk: Starlette writes files of over 1 MiB to a temporary file while it receives them."""
    MultiPartParser.spool_max_size = (st.get_option("server.maxUploadSize") + 1) << 20
