"""Headless Chromium for tests: found or skipped by name, with a face as its camera, and the servers that pages come from."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SLOW = 120_000
"""Milliseconds that a page may take on a crowded machine."""

ort_is_here = pytest.mark.skipif(
    not (ROOT / "static" / "ort" / "ort.wasm.bundle.min.mjs").is_file(), reason="needs static/ort: run make browser"
)


def find_chromium() -> str:
    """Return the browser's path; skip where there is none."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        pytest.skip(f"needs Chromium: none of {', '.join(NAMES)} is installed, and $CHROMIUM names none")
    return found


@contextlib.contextmanager
def driver() -> Iterator[Playwright]:
    """Start Playwright, of which a process has one at a time; skip where there is no browser for it."""
    find_chromium()
    with sync_playwright() as playwright:
        yield playwright


@contextlib.contextmanager
def browser(playwright: Playwright, *arguments: str) -> Iterator[Browser]:
    """Open a browser."""
    found = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox", *arguments])
    try:
        yield found
    finally:
        found.close()


def camera(video: Path | None) -> list[str]:
    """Return the arguments that make a video (see ``write_y4m``) the camera; None: there is one, but it is never allowed."""
    device = "--use-fake-device-for-media-stream"
    if video is None:
        return [device, "--deny-permission-prompts"]
    return [device, "--use-fake-ui-for-media-stream", f"--use-file-for-fake-video-capture={video}"]


def write_y4m(path: Path, frames: Iterable[np.ndarray], *, rate: int = 30) -> Path:
    """Write RGB frames (H, W, 3) of one size, even in both directions, as the raw video that Chromium takes for a camera."""
    frames = list(frames)
    height, width = frames[0].shape[:2]
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{rate}:1 Ip A1:1 C420jpeg\n".encode())
        for frame in frames:
            file.write(b"FRAME\n" + cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420).tobytes())
    return path


class _Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}  # noqa: RUF012

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def files(folder: Path) -> Iterator[str]:
    """Serve a folder; yield its address."""
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def streamlit(script: Path, log: Path, **environment: str) -> Iterator[str]:
    """Run a Streamlit script in its folder; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--server.port", str(port), "--server.address", "127.0.0.1", "--server.headless", "true"]
    command = [sys.executable, "-m", "streamlit", "run", script.name, *options, "--server.fileWatcherType", "none"]
    address = f"http://127.0.0.1:{port}"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=script.parent, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _wait(f"{address}/_stcore/health", process, log)
            yield address
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait(url: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(SLOW // 200):
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.2)
    raise RuntimeError(f"the server did not start:\n{log.read_text()}")
