"""The app in a real browser: links into a cold server, clicks, a photo, a telephone's screen, and no error on the console."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Playwright, TimeoutError

import chromium
from fercore import Predictor
from fercore.labels import LABELS
from live_page import scene
from made_run import made_run

pytestmark = pytest.mark.browser

ROOT = chromium.ROOT
PORTRAIT = ROOT / "static" / "portrait.jpg"
PATIENCE = 60_000
SHOWN = """document.images.length + ' ' + document.querySelectorAll('[data-testid=stVegaLiteChart]').length
    + (document.querySelector('[data-testid=stSkeleton]') ? ' waiting' : '')"""
PAGES = (
    *("", "dataset", "training", "evaluation", "compare", "papers", "mistakes", "classify?from=sample"),
    *("respond?source=hand", "train", "live"),
)
WIDTHS = (390, 768, 1440)
BACKGROUND = {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 21, 29)"}
PASTE = """base64 => {
    const bytes = Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File([bytes], "image.png", {type: "image/png"}));
    document.dispatchEvent(new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true}));
}"""
"""What a browser does when a picture is pasted."""
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
    log = artifacts.parent / "server.log"
    with chromium.streamlit(
        ROOT / "app.py", log, FER_ARTIFACTS=str(artifacts), FER_DATA=str(artifacts / "no-data"), FER_RUN=""
    ) as url:
        yield url
        assert "Traceback" not in (told := log.read_text(encoding="utf-8")), told


@pytest.fixture(scope="module")
def driver() -> Iterator[Playwright]:
    with chromium.driver() as driver:
        yield driver


@pytest.fixture(scope="module")
def browser(driver: Playwright, portrait: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser whose camera shows the portrait."""
    video = chromium.write_y4m(tmp_path_factory.mktemp("camera") / "portrait.y4m", [scene(portrait)] * 2)
    with chromium.browser(driver, "--disable-background-networking", *chromium.camera(video)) as browser:
        yield browser


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


def test_every_page_fits_every_screen_in_light_and_dark_and_describes_its_pictures(
    telephone: Page, address: str
) -> None:
    page, seen = telephone, {"images": 0, "charts": 0}
    for name in PAGES:
        if name == "live" and not (ROOT / "static" / "ort" / "ort.wasm.bundle.min.mjs").is_file():
            continue  # it would ask a CDN, which this machine may not reach
        page.goto(f"{address}/{name}")
        settled(page)
        drawn(page)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            until(page, "main.scrollWidth <= main.clientWidth", f"{name}: wider than a screen of {width} pixels")
        for scheme, colour in BACKGROUND.items():
            page.emulate_media(color_scheme=scheme)
            until(page, f"getComputedStyle(document.body).backgroundColor === '{colour}'", f"{name}: not {scheme}")
        page.set_viewport_size({"width": WIDTHS[0], "height": 900})
        for kind, all_of_them, words in (
            ("images", "[...document.images]", "alt"),
            ("charts", "[...document.querySelectorAll('[data-testid=stVegaLiteChart]')]", "ariaLabel"),
        ):
            described = page.evaluate(f"{all_of_them}.map(each => Boolean(each.{words}))")
            assert all(described), f"{name}: {kind} without a description"
            seen[kind] += len(described)
    assert seen["images"] > 7, "average faces and the portrait"
    assert seen["charts"] > 6


def until(page: Page, condition: str, otherwise: str) -> None:
    """Wait for a condition on the page and its ``main`` part: what has changed is drawn a little later."""
    script = f"() => {{ const main = document.querySelector('[data-testid=stMain]'); return {condition}; }}"
    try:
        page.wait_for_function(script, timeout=20_000)
    except TimeoutError:
        pytest.fail(otherwise)


def test_a_pasted_picture_is_classified(page: Page, address: str, artifacts: Path, portrait: np.ndarray) -> None:
    face = Predictor.load(artifacts / "several", detector=artifacts / "detector").predict(portrait)[0]
    picture = base64.b64encode(cv2.imencode(".png", portrait[:, :, ::-1])[1].tobytes()).decode()
    page.goto(f"{address}/classify?run=several")
    settled(page)
    page.get_by_role("button", name="Paste a picture").wait_for()
    uploader = page.locator("[data-testid=stFileUploaderDropzoneInput]")
    uploader.evaluate("input => { input.dataset.testid = 'hidden'; }")
    page.evaluate(PASTE, picture)
    page.get_by_text("The field for photos is not there yet: wait a moment and paste again.").wait_for()
    page.locator("[data-testid=hidden]").evaluate("input => { input.dataset.testid = 'stFileUploaderDropzoneInput'; }")
    page.evaluate(PASTE, picture)
    page.get_by_text(f"1. {face.label} ({face.confidence:.0%})").wait_for()
    page.get_by_role("img", name=re.compile(r"pasted [\d-]+\.png with \d+ marked")).wait_for()


def test_a_snapshot_is_taken_and_classified(page: Page, address: str, artifacts: Path, portrait: np.ndarray) -> None:
    face = Predictor.load(artifacts / "several", detector=artifacts / "detector").predict(scene(portrait))[0]
    page.goto(f"{address}/classify?run=several&from=camera")
    page.get_by_role("button", name="Take Photo").wait_for()
    page.wait_for_function("document.querySelector('video')?.currentTime > 0.2")
    page.get_by_role("button", name="Take Photo").click()
    page.get_by_text(re.compile(rf"^1\. {face.label} \(\d+%\)$")).wait_for()
    page.get_by_role("img", name=re.compile(rf"snapshot\.jpg with 1 marked: face 1 {face.label}")).wait_for()


def test_the_keyboard_alone_chooses_a_run_and_classifies_the_portrait(
    page: Page, address: str, artifacts: Path
) -> None:
    face = Predictor.load(artifacts / "several", detector=artifacts / "detector").predict(PORTRAIT)[0]
    page.goto(f"{address}/classify")
    settled(page)
    tab_to(page, "it.role === 'combobox' && it.ariaLabel === 'Run'")
    page.keyboard.type("several")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("run=several"))
    settled(page)
    tab_to(page, "it.textContent === 'Photos'")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.textContent") == "Sample portrait"
    page.keyboard.press("Enter")
    page.get_by_text(f"1. {face.label} ({face.confidence:.0%})").wait_for()
    assert params(page) == {"run": "several", "from": "sample"}


def tab_to(page: Page, condition: str) -> None:
    """Press Tab until what has the focus is ``it``."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate(f"(it => {condition})(document.activeElement)"):
            return
    pytest.fail(f"Tab never leads to where {condition}")
