"""What visitors give never reaches disk or log, and is gone when they are: the running server is watched from inside."""

from __future__ import annotations

import base64
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from chromium import ROOT, SLOW, browser, driver, streamlit
from scripted import write_clip
from test_app_browser import PASTE

pytestmark = pytest.mark.browser

PHOTO, CLIP, ZIP = "holiday-4711.jpg", "birthday-4712.mp4", "family-4713.zip"
WATCH = """
import json, os, sys, tempfile, threading, time
told = open(os.environ["TOLD"], "a", buffering=1)
def tell(what, which):
    told.write(json.dumps([what, which]) + "\\n")
def hear(event, given):
    if event == "open":
        path, mode, flags = given
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and path not in (os.devnull, "/dev/null"):
            tell("open", repr(path))
rollover = tempfile.SpooledTemporaryFile.rollover
def trap(file):
    tell("rollover", "")
    return rollover(file)
tempfile.SpooledTemporaryFile.rollover = trap
sys.addaudithook(hear)
with tempfile.SpooledTemporaryFile(max_size=10) as file:
    file.write(bytes(11))
tell("ready", "")
def look():
    before = None
    while True:
        time.sleep(0.3)
        runtime = getattr(sys.modules.get("streamlit.runtime"), "Runtime", None)
        manager = getattr(runtime and runtime._instance, "_uploaded_file_mgr", None)
        if manager is not None:
            files = [file for some in list(manager.file_storage.values()) for file in list(some.values())]
            names = sorted(file.name for file in files)
            if names != before:
                tell("kept", names)
            before = names
threading.Thread(target=look, daemon=True).start()
"""
"""Tells every file that is opened for writing; first, as a proof that it does, one that is too large to be kept in memory.
Tells as well, when they change, the names of the uploads that the server keeps."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, Path]]:
    """The app with a watch inside: address, what the watch tells, and the log."""
    place = tmp_path_factory.mktemp("watched")
    (place / "sitecustomize.py").write_text(WATCH, encoding="utf-8")
    (place / "tmp").mkdir()
    told, log = place / "told", place / "log"
    environment = {
        **{"PYTHONPATH": str(place), "TOLD": str(told), "TMPDIR": str(place / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"},
        **{"FER_DATA": str(place / "none"), "STREAMLIT_LOGGER_LEVEL": "info"},
        **{"STREAMLIT_SERVER_DISCONNECTED_SESSION_TTL": "2", "FER_TRAINING": "1"},
    }
    with streamlit(ROOT / "app.py", log, **environment) as address:
        yield address, told, log


def heard(told: Path) -> list[tuple[str, str]]:
    """Return what the watch has told of files that were written."""
    return [(what, which) for what, which in all_told(told) if what != "kept"]


def all_told(told: Path) -> list[list]:
    return [json.loads(line) for line in told.read_text(encoding="utf-8").splitlines()]


def kept(told: Path, wanted: list[str]) -> None:
    """Wait until the server keeps these uploads and no others."""
    names: list[list[str]] = []
    for _ in range(SLOW // 300):
        names = [which for what, which in all_told(told) if what == "kept"]
        if names and names[-1] == wanted:
            return
        time.sleep(0.3)
    pytest.fail(f"the server keeps {names[-1:]}, not {wanted}")


def silent(log: Path, *given: bytes) -> None:
    """Check that the log holds nothing of what a visitor gave."""
    spoken = log.read_bytes()
    assert spoken, "the server says nothing at all: is this its log?"
    assert b"Traceback" not in spoken
    for content in given:
        for at in (0, len(content) // 2):
            piece = content[at + 20 : at + 44]
            assert piece not in spoken
            assert base64.b64encode(piece) not in spoken
            assert repr(piece)[2:-1].encode() not in spoken
    for name in (PHOTO, CLIP, ZIP, "pasted"):
        assert name.split(".")[0].encode() not in spoken


def large_photo(portrait: np.ndarray) -> bytes:
    """Return the portrait as a JPEG of more than 3 MB."""
    large = cv2.resize(portrait, (2400, 2400), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    noise = np.random.default_rng(0).integers(-20, 21, large.shape)
    pixels = np.clip(large + noise, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def test_photos_and_videos_touch_neither_disk_nor_log(
    server: tuple[str, Path, Path], portrait: np.ndarray, tmp_path: Path
) -> None:
    address, told, log = server
    (tmp_path / PHOTO).write_bytes(large_photo(portrait))
    rng = np.random.default_rng(1)
    frames = [np.clip(portrait + rng.integers(-20, 20, portrait.shape), 0, 255).astype(np.uint8) for _ in range(24)]
    write_clip(tmp_path / CLIP, frames, fps=12, codec="mp4v")
    data = {name: (tmp_path / name).read_bytes() for name in (PHOTO, CLIP)}
    assert len(data[PHOTO]) > 3_000_000
    assert len(data[CLIP]) > 1 << 20, "smaller ones would be kept in memory anyway"
    with driver() as playwright, browser(playwright) as chromium:
        page = chromium.new_page()
        page.set_default_timeout(SLOW)
        page.goto(f"{address}/classify")
        page.locator("input[type=file]").wait_for(state="attached")
        page.get_by_text("never touches its disk").wait_for()
        before = heard(told)
        page.locator("input[type=file]").set_input_files(tmp_path / PHOTO)
        page.locator(".fer-bars").first.wait_for()
        page.get_by_text("Video", exact=True).click()
        page.get_by_role("heading", name="Video").or_(page.get_by_text("The first 60 seconds")).first.wait_for()
        page.locator("input[type=file]").set_input_files(tmp_path / CLIP)
        page.get_by_text("its time").first.wait_for()
        after = heard(told)
        page.close()
    proof = [what for what, _ in before]
    assert {"rollover", "open"} == set(proof[: proof.index("ready")]), "the watch itself does not work"
    written = after[len(before) :]
    assert written == [], "files were opened for writing"
    assert list((told.parent / "tmp").iterdir()) == []
    silent(log, *data.values())


def test_a_pasted_picture_and_an_archive_that_is_looked_into_touch_neither_disk_nor_log(
    server: tuple[str, Path, Path], portrait: np.ndarray, tmp_path: Path
) -> None:
    address, told, log = server
    noise = np.random.default_rng(2).integers(-20, 21, (1024, 1024, 3))
    large = cv2.resize(portrait, (1024, 1024), interpolation=cv2.INTER_CUBIC)
    picture = cv2.imencode(".png", np.clip(large + noise, 0, 255).astype(np.uint8)[:, :, ::-1])[1].tobytes()
    with zipfile.ZipFile(tmp_path / ZIP, "w") as archive:
        for label in ("glad", "sad"):
            for number in range(3):
                archive.writestr(f"{label}/{number}.png", picture)
    given = (tmp_path / ZIP).read_bytes()
    assert min(len(picture), len(given)) > 1 << 20, "smaller ones would be kept in memory anyway"
    with driver() as playwright, browser(playwright) as chromium:
        page = chromium.new_page()
        page.set_default_timeout(SLOW)
        page.goto(f"{address}/classify")
        page.get_by_role("button", name="Paste a picture").wait_for()
        before = heard(told)
        page.evaluate(PASTE, base64.b64encode(picture).decode())
        page.locator(".fer-bars").first.wait_for()
        page.goto(f"{address}/train?data=zip")
        page.get_by_text("The archive stays in memory").wait_for()
        page.locator("input[type=file]").set_input_files(tmp_path / ZIP)
        page.get_by_text("Few pictures of").or_(page.get_by_text("Training needs")).wait_for()
        after = heard(told)
        page.close()
    assert after[len(before) :] == [], "files were opened for writing"
    assert list((told.parent / "tmp").iterdir()) == []
    silent(log, picture, given)


@pytest.mark.long
def test_what_a_visitor_gave_is_gone_when_they_are(
    server: tuple[str, Path, Path], portrait: np.ndarray, tmp_path: Path
) -> None:
    """The only visitor leaves, and no other comes: the time to live is 2 s here, and the server looks every 10 s."""
    address, told, _ = server
    (tmp_path / PHOTO).write_bytes(cv2.imencode(".jpg", portrait[:, :, ::-1])[1].tobytes())
    kept(told, [])
    with driver() as playwright, browser(playwright) as chromium:
        page = chromium.new_page()
        page.set_default_timeout(SLOW)
        page.goto(f"{address}/classify")
        page.locator("input[type=file]").set_input_files(tmp_path / PHOTO)
        page.locator(".fer-bars").first.wait_for()
        kept(told, [PHOTO])
        page.close()
        kept(told, [])


def test_nothing_is_sent_to_anybody_else(server: tuple[str, Path, Path]) -> None:
    """The page asks no other server for anything: no usage statistics, no fonts, no scripts."""
    address, *_ = server
    asked: list[str] = []
    with driver() as playwright, browser(playwright) as chromium:
        page = chromium.new_page()
        page.set_default_timeout(SLOW)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}/classify?from=sample")
        page.locator(".fer-bars").first.wait_for()
    assert any("/_stcore/" in url for url in asked)
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
