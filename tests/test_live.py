"""The Live page: a face as Chromium's camera, read in the browser; and what Python makes of what comes back."""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect
from streamlit.testing.v1 import AppTest

import chromium
import live_page
from fercore import Predictor, faces
from fercore.browser import assets
from fercore.labels import COLOURS, FURTHER_COLOURS
from fercore.runs import Run
from fercore.timeline import COLUMNS
from fercore.ui import live
from live_page import HEADS, Recorder, count, part, quiet_console, scene, start, visit, wait_for_pictures  # noqa: F401
from test_theme import contrast

ROOT = chromium.ROOT
REFUSE = "name => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', name)); }"
"""Let the camera be refused with an error of that name from now on."""


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return live_page.made_artifacts(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="module")
def app(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with live_page.served(artifacts, tmp_path_factory.mktemp("app")) as address:
        yield address


@pytest.fixture(scope="module")
def driver() -> Iterator[Playwright]:
    with chromium.driver() as driver:
        yield driver


@pytest.fixture(scope="module")
def mirror(driver: Playwright, portrait: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser whose camera shows the portrait, on the left as the camera sees it."""
    pictures = [scene(portrait, aside=True)] * 2
    video = chromium.write_y4m(tmp_path_factory.mktemp("camera") / "portrait.y4m", pictures)
    with chromium.browser(driver, *chromium.camera(video)) as browser:
        yield browser


@pytest.fixture
def context(mirror: Browser) -> Iterator[BrowserContext]:
    with mirror.new_context(viewport={"width": 1200, "height": 900}, accept_downloads=True) as context:
        yield context


@pytest.mark.browser
@chromium.ort_is_here
def test_the_camera_is_read_in_the_browser_and_no_frame_leaves_it(
    context: BrowserContext, app: str, artifacts: Path, portrait: np.ndarray
) -> None:
    """The label is Python's, pictures are read at a pace, none is sent, and all this goes on without a network."""
    detector = faces.BlazeFace(artifacts / "detector", tiles=False)
    (expected,) = Predictor.load(Run.load(artifacts / "first"), detector=detector).predict(scene(portrait, aside=True))
    assert sorted(expected.probabilities.values())[-1] > sorted(expected.probabilities.values())[-2] + 0.15
    page = context.new_page()
    recorder = Recorder(page)
    visit(context, app, page)
    start(page)
    wait_for_pictures(page, 12)
    expect(part(page, "answer")).to_contain_text(re.compile(rf"^{expected.label} \d+%"))
    numbers = part(page, "bars").locator(".number").all_inner_texts()
    told = [float(number.rstrip("%")) / 100 for number in numbers]
    assert told == pytest.approx(list(expected.probabilities.values()), abs=0.06), (
        "the camera's colours differ a little"
    )
    assert float(page.locator(".live").get_attribute("data-rate")) > 0.5
    expect(part(page, "place")).to_have_text("Everything stays on this device")
    context.set_offline(True)
    wait_for_pictures(page, 6)
    expect(part(page, "answer")).to_contain_text(expected.label)
    context.set_offline(False)
    assert recorder.sent, "the recorder heard nothing, not even the page's own messages"
    assert recorder.pictures() == []


def seen(page: Page) -> np.ndarray:
    """Return what a visitor sees in the camera's place, as RGB of the camera's size."""
    code = np.frombuffer(part(page, "picture").screenshot(), np.uint8)
    return cv2.resize(cv2.imdecode(code, cv2.IMREAD_COLOR_RGB), (640, 480), interpolation=cv2.INTER_AREA)


def assert_mirrored(picture: np.ndarray, portrait: np.ndarray) -> None:
    """The picture and the box in it stand as in a mirror: the face, on the camera's left, is seen on the right."""
    given = scene(portrait, aside=True)
    mirrored = given[:, ::-1]
    ((left, top, width, height),) = (face.box for face in Predictor.load().predict(given))
    assert left + width < 320
    assert picture.shape == given.shape
    far, near = (np.abs(picture.astype(int) - other).mean() for other in (given, mirrored))
    assert near < 12 < 30 < far, "differences of grey values"
    middle = slice(round(top + 0.3 * height), round(top + 0.7 * height))  # of the box's own sides, without its caption
    drawn = np.abs(picture[middle].astype(int) - mirrored[middle]).max(axis=2) > 60
    (columns,) = np.nonzero(drawn.mean(axis=0) > 0.35)
    assert [columns.min(), columns.max()] == pytest.approx([640 - left - width, 640 - left], abs=14)


@pytest.mark.browser
@chromium.ort_is_here
def test_without_a_camera_the_sample_portrait_shows_what_live_does(context: BrowserContext, app: str) -> None:
    """Nobody is asked for a camera; the picture is called a sample while it is shown and in what it leaves behind."""
    page = context.new_page()
    recorder = Recorder(page)
    visit(context, app, page)
    page.evaluate(REFUSE, "NotAllowedError")
    part(page, "sample").click()
    expect(part(page, "say")).to_contain_text("This is a sample picture", timeout=chromium.SLOW)
    expect(part(page, "badge")).to_have_text("Sample picture, not your camera")
    wait_for_pictures(page, 3)
    expect(part(page, "answer")).to_contain_text("%")
    expect(part(page, "teach")).to_be_hidden()
    first, second = (seen(page), page.wait_for_timeout(700), seen(page))[::2]
    assert np.abs(first.astype(int) - second).mean() > 0.2, "it moves"
    part(page, "finish").click()
    expect(part(page, "finding")).to_contain_text("Last sitting, of the sample picture: ")
    expect(part(page, "details")).to_contain_text("1 face. Share of the time in view: ")
    expect(part(page, "start")).to_have_text("Start the camera")
    part(page, "start").click()
    expect(part(page, "invitation")).to_contain_text("The camera is not allowed here.")
    expect(part(page, "badge")).to_be_hidden()
    expect(page.get_by_text("Sittings of this visit")).to_have_count(0)
    assert recorder.sent
    assert recorder.pictures() == []


@pytest.mark.browser
@chromium.ort_is_here
def test_a_sitting_is_summed_up_and_python_hears_only_its_probabilities(
    context: BrowserContext, app: str, portrait: np.ndarray
) -> None:
    page = visit(context, app)
    start(page)
    expect(part(page, "answer")).to_contain_text("%")  # a face has a box once it was seen for a while
    wait_for_pictures(page, 4)
    part(page, "pause").click()
    expect(page.locator('.live[data-state="paused"]')).to_be_visible()
    paused = count(page)
    page.wait_for_timeout(700)
    assert count(page) == paused, "the picture that was being read when the pause began counts no more"
    with page.expect_download() as snapshot:
        part(page, "snapshot").click()
    picture = cv2.imread(str(snapshot.value.path()))
    assert_mirrored(picture[..., ::-1], portrait)
    assert_mirrored(seen(page), portrait)
    part(page, "pause").click()
    wait_for_pictures(page, 10)
    recorder = Recorder(page)
    part(page, "finish").click()
    expect(part(page, "details")).to_contain_text("1 face. Share of the time in view: ")
    with page.expect_download() as table:
        part(page, "csv").click()
    rows = list(csv.DictReader(io.StringIO(Path(table.value.path()).read_text(encoding="utf-8"))))
    labels = HEADS["consensus"]
    assert list(rows[0]) == [*COLUMNS, *(f"p_{name}" for name in labels), *(f"smooth_{name}" for name in labels)]
    assert {row["face"] for row in rows} == {"1"}
    assert sum(float(rows[-1][f"smooth_{name}"]) for name in labels) == pytest.approx(1, abs=1e-3)
    with page.expect_download() as chart:
        part(page, "png").click()
    assert cv2.imread(str(chart.value.path())).shape == (840, 2000, 3)
    expect(page.get_by_text("Sittings of this visit")).to_be_visible()
    assert recorder.pictures() == []


def table_of(page: Page) -> list[str]:
    """Return the lines of the table that the summary offers."""
    with page.expect_download() as table:
        part(page, "csv").click()
    return Path(table.value.path()).read_text(encoding="utf-8").splitlines()


@pytest.mark.browser
@chromium.ort_is_here
def test_another_run_takes_over_while_the_camera_runs_and_what_no_browser_can_serve_is_greyed_out(
    context: BrowserContext, app: str
) -> None:
    page = visit(context, app)
    options = part(page, "run").locator("option")
    assert options.all_inner_texts() == ["first", "hog (not in a browser)", "second"]
    assert [option.is_disabled() for option in options.all()] == [False, True, False]
    start(page)
    wait_for_pictures(page, 3)
    part(page, "run").select_option("second")
    expect(part(page, "say")).to_contain_text("second answers now, with the labels of ferplus")
    wait_for_pictures(page, 3)
    expect(part(page, "bars")).to_contain_text("even")
    expect(page).to_have_url(re.compile("run=second"), timeout=chromium.SLOW)
    part(page, "finding").click()
    assert table_of(page)[0].endswith(",".join(f"smooth_{name}" for name in HEADS["consensus"]))
    expect(page.get_by_text("Sittings of this visit")).to_be_visible()
    page.goto(f"{app}/?run=hog")
    expect(part(page, "invitation")).to_contain_text("hog cannot be served by a browser: its handcrafted features")
    expect(part(page, "start")).to_be_disabled()


@pytest.mark.long
@pytest.mark.browser
@chromium.ort_is_here
@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        ("video.srcObject.getTracks()[0].dispatchEvent(new Event('ended'))", "The camera is gone"),
        ("Worker.prototype.postMessage = () => { throw new Error('lost'); }", "cannot run the network: lost"),
    ],
    ids=["camera unplugged", "network lost"],
)
def test_a_sitting_that_breaks_off_is_summed_up_as_well(
    context: BrowserContext, app: str, break_it: str, sentence: str
) -> None:
    page = visit(context, app)
    start(page)
    wait_for_pictures(page, 5)
    part(page, "video").evaluate(f"video => {{ {break_it}; }}")
    expect(part(page, "invitation")).to_contain_text(sentence)
    expect(part(page, "details")).to_contain_text("1 face. Share of the time in view: ")
    assert len(table_of(page)) > 1
    expect(page.get_by_text("Sittings of this visit")).to_be_visible()
    if "Worker" in break_it:  # the server takes over; the sitting before stays
        part(page, "agree").click()
        wait_for_pictures(page, 2)
        expect(part(page, "details")).to_be_hidden()
        part(page, "finding").click()
        expect(part(page, "details")).to_be_visible()


@pytest.mark.long
@pytest.mark.browser
@chromium.ort_is_here
def test_a_device_that_is_too_slow_is_offered_the_server_and_sends_nothing_before(
    context: BrowserContext, app: str
) -> None:
    """Each of a picture's two answers comes 300 ms late, so there are fewer than two pictures a second."""
    context.add_init_script("""
      const post = Worker.prototype.postMessage;
      Worker.prototype.postMessage = function (...given) { setTimeout(() => post.apply(this, given), 300); };
    """)
    page = context.new_page()
    recorder = Recorder(page)
    visit(context, app, page)
    start(page)
    expect(part(page, "question")).to_contain_text("This device reads only about 1 picture a second.")
    expect(part(page, "question")).to_contain_text("May they be sent?")
    wait_for_pictures(page, 2)
    assert recorder.sent
    assert recorder.pictures() == []
    part(page, "decline").click()
    expect(part(page, "question")).to_be_hidden()
    wait_for_pictures(page, 6)
    expect(part(page, "question")).to_be_hidden()
    assert recorder.pictures() == []


@pytest.mark.long
@pytest.mark.browser
@chromium.ort_is_here
def test_live_goes_on_when_the_server_is_gone(context: BrowserContext, artifacts: Path, tmp_path: Path) -> None:
    """Streamlit's dialog comes once, can be closed, and Live answers beneath it and after it."""
    live_page.CONSOLE.expected = (
        "ERR_CONNECTION_REFUSED|_stcore|server is not responding|disconnected from server|WebSocket"
    )
    with contextlib.ExitStack() as server:
        page = visit(context, server.enter_context(live_page.served(artifacts, tmp_path)))
        start(page)
        wait_for_pictures(page, 3)
        server.close()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("Connection error")
        wait_for_pictures(page, 3)
        dialog.get_by_role("button", name="Close").click()
        expect(dialog).to_have_count(0)
        wait_for_pictures(page, 3)
        page.wait_for_timeout(5000)
        expect(dialog).to_have_count(0)
        part(page, "finish").click()
        expect(part(page, "details")).to_contain_text("1 face")
        assert len(table_of(page)) > 1


@pytest.mark.long
@pytest.mark.browser
@chromium.ort_is_here
def test_a_load_tells_how_long_it_still_takes(context: BrowserContext, app: str) -> None:
    """The runtime's 14 MB come in thirty parts, one each 200 ms."""
    context.add_init_script("""
      const get = fetch;
      fetch = async (url, ...rest) => {
        const answer = await get(url, ...rest);
        if (!String(url).endsWith(".wasm")) return answer;
        const data = new Uint8Array(await answer.arrayBuffer());
        let at = 0;
        const size = Math.ceil(data.length / 30);
        const pull = (controller) => new Promise((done) => setTimeout(done, 200)).then(() => {
          controller.enqueue(data.slice(at, (at += size)));
          if (at >= data.length) controller.close();
        });
        return new Response(new ReadableStream({ pull }, { highWaterMark: 0 }));
      };
    """)
    page = visit(context, app)
    part(page, "sample").click()
    expect(part(page, "eta")).to_have_text(re.compile(r"^about \d+ s left$"))
    expect(page.locator('.live[data-state="running"]')).to_be_visible(timeout=chromium.SLOW)
    expect(part(page, "eta")).to_have_text("")


@pytest.mark.long
@pytest.mark.browser
@chromium.ort_is_here
def test_a_hidden_tab_pauses_and_goes_on(context: BrowserContext, app: str) -> None:
    page = visit(context, app)
    start(page)
    wait_for_pictures(page, 2)
    hide = """hidden => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(hide, True)
    expect(part(page, "say")).to_have_text("Paused while this tab was hidden.")
    page.evaluate(hide, False)
    expect(page.locator('.live[data-state="running"]')).to_be_visible()
    wait_for_pictures(page, 2)


@pytest.mark.long
@pytest.mark.browser
@chromium.ort_is_here
def test_without_our_copy_the_pinned_release_comes_from_the_cdn(context: BrowserContext, app: str) -> None:
    asked = []

    def serve(route: Any) -> None:
        asked.append(route.request.url)
        kind = "text/javascript" if route.request.url.endswith("mjs") else "application/wasm"
        name = route.request.url.rsplit("/", 1)[1]
        headers = {"Access-Control-Allow-Origin": "*"}
        route.fulfill(body=(ROOT / "static" / "ort" / name).read_bytes(), content_type=kind, headers=headers)

    context.route("**/app/static/ort/*", lambda route: route.abort())
    context.route("https://cdn.jsdelivr.net/**", serve)
    live_page.CONSOLE.expected = "ERR_FAILED"
    page = visit(context, app)
    start(page)
    wait_for_pictures(page, 2)
    assert len(asked) == 2
    assert all("/onnxruntime-web@1.30.0/dist/" in url for url in asked)


@pytest.mark.browser
@chromium.ort_is_here
def test_the_server_helps_only_after_asking(context: BrowserContext, app: str, artifacts: Path) -> None:
    """With neither our copy nor an honest CDN the page asks; it sends nothing before, small JPEGs after, and stops again."""
    context.route("**/app/static/ort/*", lambda route: route.abort())
    headers = {"Access-Control-Allow-Origin": "*"}
    context.route("https://cdn.jsdelivr.net/**", lambda route: route.fulfill(body="export {};", headers=headers))
    live_page.CONSOLE.expected = "ERR_FAILED"
    page = context.new_page()
    recorder = Recorder(page)
    visit(context, app, page)
    part(page, "start").click()
    expect(part(page, "question")).to_contain_text("May they be sent?", timeout=chromium.SLOW)
    expect(part(page, "invitation")).to_contain_text("could not be loaded, or was not the file it should be")
    assert recorder.pictures() == []
    part(page, "agree").click()
    wait_for_pictures(page, 3)
    expect(part(page, "place")).to_have_text("Small pictures go to this app's server")
    expect(part(page, "answer")).to_contain_text("%")
    sizes = recorder.pictures()
    assert len(sizes) >= 3
    assert max(sizes) < 120_000
    part(page, "withdraw").click()
    expect(part(page, "question")).to_contain_text("May they be sent?")
    recorder.sent.clear()
    page.wait_for_timeout(1000)
    assert recorder.pictures() == []
    part(page, "decline").click()
    expect(part(page, "question")).to_be_hidden()


@pytest.mark.long
@pytest.mark.browser
@chromium.ort_is_here
def test_several_faces_each_get_a_number(driver: Playwright, app: str, portrait: np.ndarray, tmp_path: Path) -> None:
    video = chromium.write_y4m(tmp_path / "two.y4m", [scene(portrait, two=True)] * 2)
    with chromium.browser(driver, *chromium.camera(video)) as browser, browser.new_context() as context:
        page = visit(context, app)
        start(page)
        expect(part(page, "say")).to_contain_text("2 faces in view; the timeline follows face")
        part(page, "faces").get_by_text("Face 2").click()
        expect(part(page, "caption")).to_have_text("The last half minute of face 2")


@pytest.mark.long
@pytest.mark.browser
@chromium.ort_is_here
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            chromium.camera(None),
            "The camera is not allowed here. Allow it in the browser's address bar, then try again.",
        ),
        ([], "There is no camera. Connect one, then try again."),
    ],
    ids=["denied", "absent"],
)
def test_a_camera_that_cannot_be_had_is_told_in_a_sentence(
    driver: Playwright, app: str, arguments: list[str], sentence: str
) -> None:
    with chromium.browser(driver, *arguments) as browser, browser.new_context() as context:
        page = visit(context, app)
        part(page, "start").click()
        expect(part(page, "invitation")).to_have_text(sentence)
        expect(part(page, "start")).to_have_text("Try again")


@pytest.mark.browser
@chromium.ort_is_here
def test_what_a_camera_refuses_with_is_told_in_a_sentence(context: BrowserContext, app: str) -> None:
    page = visit(context, app)
    for error, words in (
        ("NotAllowedError", "The camera is not allowed here."),
        ("NotReadableError", "The camera is busy: another program uses it."),
        ("OddError", "The camera did not start (OddError)."),
    ):
        page.evaluate(REFUSE, error)
        part(page, "start").click()
        expect(part(page, "invitation")).to_contain_text(words)
        expect(part(page, "start")).to_have_text("Try again")


def node(module: str, script: str, given: Any = None) -> Any:
    """Run a script with a module of the page as ``here`` and a value as ``given``; return what it prints as JSON."""
    start = "const here = await import(process.argv[1]); const given = JSON.parse(process.argv[2]);"
    command = ["node", "--input-type=module", "-e", start + script]
    command += [(assets.HERE / module).as_uri(), json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")


@needs_node
def test_captions_can_be_read_on_every_colour() -> None:
    known = [*COLOURS.values(), *FURTHER_COLOURS]
    found = node("draw.mjs", "console.log(JSON.stringify(given.map(here.ink)))", known)
    assert [colour for colour, ink in zip(known, found, strict=True) if contrast(colour, ink) < 4.5] == []


@needs_node
def test_what_is_left_of_a_load_follows_from_its_last_seconds() -> None:
    """A tenth a second; then, after a stop, four hundredths a second; nothing before a second or once all is there."""
    moments = [(0, 0), (0.5, 0.05), (1, 0.1), (2, 0.2), (9, 0.2), (12, 0.32), (12.1, 1)]
    script = """
      let now;
      const pace = new here.Pace(() => now);
      console.log(JSON.stringify(given.map(([time, share]) => { now = time; return pace.left(share); })));
    """
    assert node("record.mjs", script, moments) == [
        "",
        "",
        "about 9 s left",
        "about 8 s left",
        "",
        "about 17 s left",
        "",
    ]


@needs_node
def test_the_sample_picture_is_shown_without_leaving_its_edges() -> None:
    script = "console.log(JSON.stringify(given.map(here.sampleView)))"
    views = np.array(node("camera.mjs", script, [second / 10 for second in range(300)]))
    left, top, width, height = views.T
    assert np.stack([left, top]).min() >= 0
    assert np.stack([left + width, top + height]).max() <= 1
    assert width.max() - width.min() > 0.1
    assert width / height == pytest.approx(640 / 480)


@pytest.mark.long
@pytest.mark.browser
@chromium.ort_is_here
def test_the_benchmark_measures_a_visit() -> None:
    command = [sys.executable, "benchmarks/live.py", "--json", "--seconds", "5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["seconds to create the sessions"] > 0
    assert found["seconds from the click to the first picture"] > 0
    assert 0 < found["pictures a second"] < 31, "the camera gives 30"
    assert 0 < found["milliseconds an answer of a network"] <= found["milliseconds of networks a picture"] * 1.5
    assert 5e6 < found["bytes loaded"] < 60e6, "the runtime, compressed, the detector and a network"


def jpeg(picture: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(".jpg", picture[..., ::-1])[1].tobytes()).decode()


def test_a_frame_is_answered_like_a_photo(artifacts: Path, portrait: np.ndarray) -> None:
    run = Run.load(artifacts / "first")
    found = live.answer(run, "consensus", {"number": 7, "jpeg": jpeg(portrait)})
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(jpeg(portrait)), np.uint8), cv2.IMREAD_COLOR_RGB)
    expected = Predictor.load(run).predict(decoded)
    assert found["number"] == 7
    assert [face["box"] for face in found["faces"]] == [pytest.approx(face.box) for face in expected]
    assert found["faces"][0]["probabilities"] == pytest.approx(list(expected[0].probabilities.values()))


@pytest.mark.parametrize(
    "frame", [None, "x", 3, {}, {"number": "1", "jpeg": ""}, {"jpeg": "/9j/"}, [1, 2]], ids=lambda value: str(value)
)
def test_what_is_no_frame_gets_no_answer(artifacts: Path, frame: Any) -> None:
    assert live.answer(Run.load(artifacts / "first"), "consensus", frame) is None


@pytest.mark.parametrize(
    "text",
    [
        None,
        "not base64!",
        base64.b64encode(b"no picture").decode(),
        "A" * (live.MOST_TEXT + 4),
        jpeg(np.zeros((1100, 1100, 3), np.uint8)),
    ],
    ids=["missing", "not base64", "no picture", "too long", "too large"],
)
def test_a_frame_that_cannot_be_read_is_answered_in_words(artifacts: Path, text: str | None) -> None:
    found = live.answer(Run.load(artifacts / "first"), "consensus", {"number": 1, "jpeg": text})
    assert set(found) == {"number", "error"}
    assert found["error"].startswith("The server could not read the picture: ")


GOOD = {
    "run": "first",
    "labels": ["happy", "sad"],
    "seconds": 61.5,
    "faces": 2,
    "share": [0.75, 0.2],
    "mean": [0.7, 0.3],
}


def test_a_sitting_becomes_a_row() -> None:
    assert live.sitting(GOOD) == {"run": "first", "seconds": 61.5, "faces": 2, "happy": 0.75, "sad": 0.2}


@pytest.mark.parametrize(
    "change",
    [
        {"run": None},
        {"run": "x" * 81},
        {"labels": "happy"},
        {"labels": ["happy"]},
        {"labels": []},
        {"share": [0.75, float("nan")]},
        {"share": [0.75, "0.2"]},
        {"share": [0.75, 1.2]},
        {"share": None},
        {"seconds": -1},
        {"seconds": True},
        {"faces": None},
        {"labels": ["l"] * 200, "share": [0.0] * 200},
        {"labels": ["run", "seconds"]},
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_sitting_is_dropped(change: dict[str, Any]) -> None:
    assert live.sitting({**GOOD, **change}) is None
    assert live.sitting([GOOD]) is None


def script() -> None:
    from fercore.ui import live, picker

    picker.choose()
    live.camera(picker.current())


@pytest.mark.parametrize("name", ["first", "hog"])
def test_the_page_is_drawn_and_publishes_what_the_browser_needs(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("FER_ARTIFACTS", str(artifacts))
    monkeypatch.setattr(live, "STATIC", tmp_path)
    test = AppTest.from_function(script, default_timeout=60)
    test.query_params["run"] = name
    test.run()
    assert not test.exception
    published = {path.name for path in (tmp_path / "models").glob("*")}
    first = Run.load(artifacts / "first")
    wanted = f"{first.info['files']['model.onnx'][:32]}.onnx"
    assert (wanted in published) is (name == "first")
    assert bool(assets.refusal(Run.load(artifacts / name))) is (name == "hog")
