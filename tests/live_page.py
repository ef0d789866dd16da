"""The Live page for tests in a browser: an app of its own with made runs, and what is done and seen on the page."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect

import chromium
from fercore import config, runs
from fercore.browser import assets
from made_run import made_run

ROOT = chromium.ROOT
HEADS = {"consensus": ("angry", "happy", "sad", "neutral"), "fer2013": ("happy", "sad")}
SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
import streamlit as st
from fercore.ui import frame, live
live.STATIC = Path(__file__).parent / "static"
st.set_page_config(layout="wide")
frame.run(st.navigation([st.Page({page!r}, title="Live", default=True)]))
"""
STEADY = 45_000
"""Milliseconds within which something is there on a crowded machine, once the page is."""

PROBE = re.compile(r"/_stcore/(health|host-config)$")
"""Streamlit's page asks for these below a page's own path first; the 404 that it then gets is no fault of ours."""

expect.set_options(timeout=STEADY)


class Console:
    """What the browser called an error on the pages that a test opened with ``visit``."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget the test before."""
        self.said: list[str] = []
        self.expected = "(?!)"
        """A regular expression of what a test provokes itself."""

    def listen(self, page: Page) -> None:
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.said.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not PROBE.search(message.location["url"]):
            self.said.append(f"{message.text} ({message.location['url']})")

    def unexpected(self) -> list[str]:
        return [text for text in self.said if not re.search(self.expected, text)]


CONSOLE = Console()


@pytest.fixture(autouse=True)
def quiet_console() -> Iterator[None]:
    """Fail a test on whose pages something went wrong; a test file that imports this has it for all of its tests."""
    CONSOLE.begin()
    yield
    if said := CONSOLE.unexpected():
        pytest.fail("the console said: " + "; ".join(said))


def made_artifacts(folder: Path) -> Path:
    """Fill a folder with two made runs, one that no browser can serve, and the real detector; return it."""
    shutil.copytree(config.artifacts_dir() / "detector", folder / "detector")
    first = made_run(folder, "first", heads=HEADS, faces=60, seed=4, threshold=0.2)
    made_run(folder, "second", heads={"ferplus": ("odd", "even")}, faces=60, seed=5, threshold=0.2)
    info = {key: value for key, value in first.info.items() if key not in ("schema", "files")}
    files = {name: first.path / name for name in first.info["files"]}
    runs.write(folder / "hog", {**info, "browser": False}, files)
    (folder / "DEFAULT").write_text("first\n", encoding="utf-8")
    return folder


@contextlib.contextmanager
def served(artifacts: Path, folder: Path, page: str = "live") -> Iterator[str]:
    """Serve a page by an app of its own whose static files lie in ``folder``; yield its address."""
    chromium.find_chromium()
    script = SCRIPT.format(root=str(ROOT), page=str(ROOT / "pages" / f"{page}.py"))
    (folder / "main.py").write_text(script, encoding="utf-8")
    shutil.copytree(ROOT / ".streamlit", folder / ".streamlit")
    shutil.copytree(ROOT / "static" / "ort", folder / "static" / "ort")
    shutil.copy(ROOT / "static" / assets.SAMPLE, folder / "static")
    with chromium.streamlit(folder / "main.py", folder / "log.txt", FER_ARTIFACTS=str(artifacts)) as address:
        yield address


def scene(portrait: np.ndarray, *, two: bool = False, aside: bool = False) -> np.ndarray:
    """Return what the camera sees, 640 x 480: the portrait, the portrait on the left, or two of it beside each other."""
    canvas = np.full((480, 640, 3), 110, np.uint8)
    if two:
        canvas[90:390, 5:305] = portrait[10:310, 80:380]
        canvas[90:390, 335:635] = portrait[10:310, 380:80:-1]
    else:
        left = 0 if aside else 80
        canvas[:, left : left + 480] = cv2.resize(portrait[:320, 64:384], (480, 480), interpolation=cv2.INTER_CUBIC)
    return canvas


def part(page: Page, name: str) -> Any:
    return page.locator(f'[data-id="{name}"]')


def visit(context: BrowserContext, address: str, page: Page | None = None) -> Page:
    """Open the page in a new tab, or in one that is watched already."""
    page = page or context.new_page()
    CONSOLE.listen(page)
    page.set_default_timeout(chromium.SLOW)
    page.goto(address)
    expect(part(page, "start")).to_be_enabled(timeout=chromium.SLOW)
    return page


def start(page: Page, state: str = "running") -> None:
    part(page, "start").click()
    expect(page.locator(f'.live[data-state="{state}"]')).to_be_visible(timeout=chromium.SLOW)


def count(page: Page) -> int:
    """Return how many pictures have been read."""
    return int(page.locator(".live").get_attribute("data-count") or 0)


def wait_for_pictures(page: Page, more: int) -> None:
    page.wait_for_function(
        "least => Number(document.querySelector('[data-testid=stBidiComponentIsolated]').shadowRoot"
        ".querySelector('.live').dataset.count) >= least",
        arg=count(page) + more,
        timeout=STEADY,
    )


class Recorder:
    """Everything that a page sends from now on; of websockets, through those that it opens from now on."""

    def __init__(self, page: Page) -> None:
        self.sent: list[bytes] = []
        page.context.on("request", lambda request: self._note(request.post_data_buffer))
        page.on("websocket", lambda socket: socket.on("framesent", self._note))

    def _note(self, data: str | bytes | None) -> None:
        if data:
            self.sent.append(data.encode() if isinstance(data, str) else data)

    def pictures(self) -> list[int]:
        """Return the sizes of what may be a picture: long, or with the first bytes of a JPEG, PNG or WebP in it."""
        marks = (b"/9j/", b"\xff\xd8\xff", b"\x89PNG", b"iVBORw", b"WEBP", b"UklGR")
        return [len(data) for data in self.sent if len(data) > 8000 or any(mark in data for mark in marks)]
