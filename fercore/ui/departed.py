"""Forget visitors who have left: their pictures, and the memory that they took.

Streamlit keeps the session of a closed tab for ``server.disconnectedSessionTTL`` seconds, so that a broken connection can be
taken up again, but lets go of it only when the next visitor leaves. On a quiet server that may be days later.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import time
from typing import Any

import streamlit as st
from streamlit.runtime import Runtime

EVERY = 10.0
"""Seconds between two looks."""
HEAPS = 2
OWN_PAGES = 1 << 19
"""Bytes from which on a buffer lives outside the heaps and returns to the system when it is freed."""
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # glibc's malloc.h


@st.cache_resource(show_spinner=False)
def watch() -> threading.Thread | None:
    """Start looking, once a server."""
    runtime = Runtime.instance() if Runtime.exists() else None
    if type(runtime) is not Runtime:  # tests of pages have no server, or a stand-in
        return None
    bound_heaps()
    thread = threading.Thread(target=_look, args=(runtime,), name="departed visitors", daemon=True)
    thread.start()
    return thread


def forget(storage: Any) -> int:
    """Shut down the sessions whose time is up; return how many. To be called on the server's event loop."""
    removed = storage._cache.expire()
    for _, info in removed:
        info.session.shutdown()
    count = len(removed)
    del removed
    if count:
        gc.collect()
        give_back()
    return count


def bound_heaps() -> None:
    """Let threads share a few heaps, and pictures have pages of their own.

    Every click runs in a thread of its own. glibc would give each a heap, and let pictures grow it: where a small thing stays
    behind, the whole heap does, so that memory grew by more than 1 MB with each photo.
    """
    if adjust := _libc("mallopt"):
        adjust(_M_ARENA_MAX, HEAPS)
        adjust(_M_MMAP_THRESHOLD, OWN_PAGES)


def give_back() -> None:
    """Return freed memory to the system, where the C library would keep it."""
    if trim := _libc("malloc_trim"):
        trim(0)


def _libc(name: str) -> Any | None:
    """Return a function of glibc; None on other systems and with other C libraries."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


def _look(runtime: Runtime) -> None:
    while True:
        time.sleep(EVERY)
        objects = runtime._async_objs
        if objects is None or objects.eventloop.is_closed():
            return
        objects.eventloop.call_soon_threadsafe(forget, runtime._session_mgr._session_storage)
