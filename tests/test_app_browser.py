"""The app in a real browser: links into a cold server, clicks, a photo, a telephone's screen, and no error on the console."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from fercore import Predictor
from fercore.labels import LABELS
from made_run import made_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parent.parent
PORTRAIT = ROOT / "static" / "portrait.jpg"
PATIENCE = 60_000
SHOWN = """document.images.length + ' ' + document.querySelectorAll('[data-testid=stVegaLiteChart]').length
    + (document.querySelector('[data-testid=stSkeleton]') ? ' waiting' : '')"""
PAGES = ("", "dataset", "training", "evaluation", "compare", "mistakes", "classify?from=sample", "respond?source=hand")
PROBE = re.compile(r"/_stcore/(health|host-config)$")
"""Streamlit's page asks for these below a page's own path first; the 404 that it then gets is no fault of ours."""


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser") / "artifacts"
    shutil.copytree(ROOT / "artifacts" / "detector", folder / "detector")
    made_run(folder, "made", faces=300, study=True)
    made_run(folder, "several", heads={"fer2013": LABELS, "expw": LABELS}, faces=300, threshold=0.0, seed=1)
    (folder / "DEFAULT").write_text("made\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def address(artifacts: Path) -> Iterator[str]:
    """Start the app for the tests of this file; none has opened it before the first of them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = [
        "--server.headless=true",
        "--server.address=127.0.0.1",
        f"--server.port={port}",
        "--server.fileWatcherType=none",
    ]
    environment = {**os.environ, "FER_ARTIFACTS": str(artifacts), "FER_DATA": str(artifacts / "no-data")}
    environment.pop("FER_RUN", None)
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), *options]
    log = (artifacts.parent / "server.log").open("w+", encoding="utf-8")
    with log, subprocess.Popen(command, cwd=artifacts.parent, env=environment, stdout=log, stderr=log) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}/_stcore/health", server)
            yield f"http://127.0.0.1:{port}"
            log.seek(0)
            assert "Traceback" not in (told := log.read()), told
        finally:
            server.terminate()
            server.wait(20)


def wait_for(health: str, server: subprocess.Popen) -> None:
    for _ in range(240):
        assert server.poll() is None, "the server ended at once"
        try:
            with urllib.request.urlopen(health, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
    pytest.fail("the server did not start within a minute")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as engine:
        arguments = ["--no-sandbox", "--disable-background-networking"]
        browser = engine.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh visitor with a wide screen; whatever the console calls an error fails the test."""
    yield from visitor(browser, 1280, "light")


@pytest.fixture
def telephone(browser: Browser) -> Iterator[Page]:
    """A fresh visitor with a telephone that is set to dark."""
    yield from visitor(browser, 390, "dark")


def visitor(browser: Browser, width: int, scheme: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    complaints: list[str] = []

    def heard(message: object) -> None:
        if message.type == "error" and not PROBE.search(message.location.get("url", "")):
            complaints.append(f"{message.text} {message.location}")

    page.on("console", heard)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert not complaints


def settled(page: Page) -> None:
    """Wait until the page's script has run to its end."""
    page.wait_for_selector("h1")
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')


def drawn(page: Page) -> None:
    """Wait until no more pictures and charts arrive: the browser draws them after the script has ended."""
    before, now = None, page.evaluate(SHOWN)
    while before != now or "waiting" in now:
        page.wait_for_timeout(1500)
        before, now = now, page.evaluate(SHOWN)


def params(page: Page) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(urlsplit(page.url).query).items()}


def test_a_link_into_a_cold_server_opens_its_page_and_run(page: Page, address: str) -> None:
    page.goto(f"{address}/mistakes?run=several&dataset=expw&true=fear&predicted=sad")
    page.get_by_role("heading", name=re.compile("labelled fear and called sad")).wait_for()
    assert page.get_by_role("heading", level=1).inner_text() == "Mistakes"
    assert page.get_by_role("link", name="Evaluation").count() == 1
    assert page.get_by_role("link", name="app").count() == 0, "Streamlit's own menu of files"
    assert params(page) == {"run": "several", "dataset": "expw", "true": "fear", "predicted": "sad"}


def test_a_click_on_a_cell_leads_to_its_faces_and_the_run_stays(page: Page, address: str) -> None:
    page.goto(f"{address}/evaluation?run=several&dataset=expw")
    cell = page.locator('svg.marks path[aria-label*="True: fear"][aria-label*="Predicted: sad"]')
    cell.scroll_into_view_if_needed()
    settled(page)
    faces = re.search(r"Faces: (\d+)", cell.get_attribute("aria-label"))[1]
    cell.click()
    page.get_by_role("heading", name=f"{faces} faces labelled fear and called sad").wait_for()
    assert params(page) == {"run": "several", "dataset": "expw", "true": "fear", "predicted": "sad"}
    page.get_by_role("link", name="Training").click()
    page.get_by_role("heading", level=1, name="Training").wait_for()
    settled(page)
    assert params(page) == {"run": "several"}


def test_a_photo_is_classified(page: Page, address: str, artifacts: Path) -> None:
    face = Predictor.load(artifacts / "several", detector=artifacts / "detector").predict(PORTRAIT)[0]
    page.goto(f"{address}/classify?run=several")
    page.locator("input[type=file]").set_input_files(PORTRAIT)
    page.get_by_text(f"1. {face.label} ({face.confidence:.0%})").wait_for()
    assert page.locator(".fer-bars").first.inner_text().split("\n")[0::2] == list(LABELS)
    page.get_by_role("img", name=re.compile(rf"portrait\.jpg with \d+ marked: face 1 {face.label}")).wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Results (JSON)").click()
    assert f'"label": "{face.label}"' in download.value.path().read_text()


def test_every_page_fits_a_telephone_and_describes_its_pictures(telephone: Page, address: str) -> None:
    seen = {"images": 0, "charts": 0}
    for name in PAGES:
        telephone.goto(f"{address}/{name}")
        settled(telephone)
        drawn(telephone)
        main = "document.querySelector('[data-testid=stMain]')"
        assert telephone.evaluate(f"{main}.scrollWidth - {main}.clientWidth") <= 0, f"{name}: wider than the screen"
        for kind, all_of_them, words in (
            ("images", "[...document.images]", "alt"),
            ("charts", "[...document.querySelectorAll('[data-testid=stVegaLiteChart]')]", "ariaLabel"),
        ):
            described = telephone.evaluate(f"{all_of_them}.map(each => Boolean(each.{words}))")
            assert all(described), f"{name}: {kind} without a description"
            seen[kind] += len(described)
    assert seen["images"] > 7, "average faces and the portrait"
    assert seen["charts"] > 6
