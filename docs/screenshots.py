"""Take the README's pictures of the app anew: python docs/screenshots.py [PAGE...]

Starts the app on the shipped runs without any data, so that no face but the sample portrait can show, opens each page in
headless Chromium and writes docs/PAGE.png. With ``--look FOLDER`` it writes every page at 1440 and 390 pixels, light and dark,
into that folder instead, to be looked at.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

DOCS = Path(__file__).resolve().parent
PAGES = {
    "overview": "",
    "classify": "classify?from=sample",
    "evaluation": "evaluation",
    "mistakes": "mistakes",
    "training": "training",
    "dataset": "dataset",
    "compare": "compare",
    "live": "live",
}
STEPS = {"live": ("Try it on a portrait", re.compile(r"^happy \d+%"))}
"""The button that is pressed once a page is there, and the words that are waited for then."""
OTHERS = {"papers": "papers", "respond": "respond?source=hand", "train": "train"}
SHOWN = (1280, 1100)
"""Pixels of the window for the README; its pictures are three quarters of that wide."""
WARMING = 12
"""Seconds that a moving page gets, so that its timeline has something to show."""
PATIENCE = 120_000
"""Milliseconds a page may take on a crowded machine."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("pages", nargs=-1)
@click.option(
    "--look", type=click.Path(path_type=Path, file_okay=False), help="Folder for pictures of every width and theme."
)
def main(pages: tuple[str, ...], look: Path | None) -> None:
    """Take pictures of the app's pages, for the README or to be looked at."""
    known = PAGES | (OTHERS if look else {})
    if unknown := set(pages) - set(known):
        raise click.UsageError(f"{', '.join(sorted(unknown))}: no such page; there are {', '.join(known)}")
    chosen = pages or tuple(known)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        raise click.UsageError("Chromium is missing; install it (Debian: apt-get install chromium)")
    with _app() as address, sync_playwright() as engine:
        browser = engine.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"]
        )
        for name in chosen:
            url = f"{address}/{known[name]}"
            steps = STEPS.get(name)
            if look:
                look.mkdir(parents=True, exist_ok=True)
                for width in (1440, 768, 390):
                    for theme in ("light", "dark"):
                        picture = _picture(browser, url, (width, 900), theme, steps, whole=True)
                        picture.save(look / f"{name}-{width}-{theme}.png")
            else:
                picture = _picture(browser, url, SHOWN, "light", steps, whole=False)
                small = picture.resize((picture.width * 3 // 4, picture.height * 3 // 4), Image.Resampling.LANCZOS)
                small.save(DOCS / f"{name}.png", optimize=True)
        browser.close()


def _picture(
    browser: Browser,
    url: str,
    window: tuple[int, int],
    theme: str,
    steps: tuple[str, re.Pattern] | None,
    *,
    whole: bool,
) -> Image.Image:
    """Return a page as it looks when nothing moves any more; ``whole``: all that there is to scroll to, in one picture."""
    page = browser.new_page(viewport={"width": window[0], "height": window[1]}, color_scheme=theme)
    page.goto(url, timeout=PATIENCE)
    page.wait_for_selector("[data-testid=stAppViewContainer] h1", timeout=PATIENCE)
    if steps:
        page.get_by_role("button", name=steps[0]).click(timeout=PATIENCE)
        page.get_by_text(steps[1]).first.wait_for(timeout=PATIENCE)
        page.wait_for_timeout(1000 * WARMING)
    if whole:
        height = _settled(page, "document.querySelector('[data-testid=stMain]').scrollHeight")
        page.set_viewport_size({"width": window[0], "height": min(int(height) + 40, 6000)})
    _settled(page, "document.images.length + document.querySelectorAll('canvas, svg').length")
    shot = page.screenshot()
    page.close()
    with Image.open(io.BytesIO(shot)) as picture:
        return picture.convert("RGB")


def _settled(page, measure: str) -> object:
    """Wait until the page has stopped working and a measure of it is the same for two seconds; return it."""
    last, since, until = None, time.monotonic(), time.monotonic() + PATIENCE / 1000
    while time.monotonic() < until:
        busy = page.evaluate("!!document.querySelector('[data-testid=stSkeleton], [data-testid=stStatusWidget]')")
        now = page.evaluate(measure)
        if busy or now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > 2:
            break
        page.wait_for_timeout(200)
    return last


@contextmanager
def _app() -> Iterator[str]:
    """Run the app without data; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = [f"--server.port={port}", "--server.address=127.0.0.1", "--server.headless=true"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FER_")}
    command = [sys.executable, "-m", "streamlit", "run", str(DOCS.parent / "app.py"), *options]
    server = subprocess.Popen(
        [*command, "--server.fileWatcherType=none"],
        cwd=DOCS.parent,
        env=environment | {"FER_DATA": "my-data"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(PATIENCE // 250):
            with suppress(OSError), urllib.request.urlopen(f"{address}/_stcore/health", timeout=5):
                break
            time.sleep(0.25)
        yield address
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    main()
