"""Teach it your face: the lesson's stretches and file in Node, and a whole lesson in a browser whose camera follows it."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Page, Playwright, expect

import chromium
import live_page
from fercore import Predictor, faces, personal
from fercore.browser import assets
from live_page import HEADS, Recorder, part, quiet_console, scene, start, visit, wait_for_pictures  # noqa: F401
from made_run import made_run

LABELS = HEADS["consensus"]
CALM = ("angry", "neutral", "sad", "happy")
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
STEERED = """(pictures => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [640, 480];
  const images = pictures.map((url) => Object.assign(new Image(), { src: url }));
  window.picture = 0;
  setInterval(() => {
    const coach = document.querySelector("[data-testid=stBidiComponentIsolated]")?.shadowRoot?.querySelector(".coach");
    if (coach && !coach.hidden) window.picture = Number(coach.dataset.at);
    canvas.getContext("2d").drawImage(images[window.picture], 0, 0);
  }, 40);
  navigator.mediaDevices.getUserMedia = async () => canvas.captureStream();
})"""
"""A camera that shows the picture of the expression that the lesson asks for."""


def node(script: str, given: Any = None) -> Any:
    """Run a script with ``lesson`` and ``teach`` imported; return what it prints as JSON."""
    start = "const [lesson, teach] = await Promise.all([import(process.argv[1]), import(process.argv[2])]);"
    read = "const given = JSON.parse(await new Response(process.stdin).text());"
    command = ["node", "--input-type=module", "-e", start + read + script]
    command += [(assets.HERE / f"{name}.mjs").as_uri() for name in ("lesson", "teach")]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
def test_a_hold_is_cut_into_a_part_that_is_fitted_and_a_later_one_that_judges() -> None:
    """Two expressions, a picture every 50 ms; then one whose face is lost for the whole hold, which is asked for again."""
    times = node("""
      const held = new lesson.Lesson([0, 2]);
      for (let time = 0; !held.done; time += 0.05) held.update(time, { features: [1], probabilities: [0.5, 0.3, 0.2] });
      const lost = new lesson.Lesson([1]);
      for (let time = 0; time < 10.5; time += 0.05) lost.update(time, time < 2.5 ? { probabilities: [1] } : undefined);
      const rows = (some) => some.map(({ time, label }) => [time, label]);
      console.log(JSON.stringify([rows(held.fitted), rows(held.heldBack), lost.again, lost.phase, lost.at]));
    """)
    fitted, judging, again, phase, at = times
    for label, begin in ((0, 2.0), (2, 7.05)):
        first = [time - begin for time, of in fitted if of == label]
        second = [time - begin for time, of in judging if of == label]
        assert 0.25 <= min(first) < max(first) < 2.0 < min(second) < max(second) < 3.1
        assert 12 <= len(first) <= 20, "about ten pictures a second"
        assert 6 <= len(second) <= 11
    assert (again, phase, at) == (True, "ready", 0)


RUN = {
    "name": "first",
    "head": "fer2013",
    "labels": ["happy", "neutral"],
    "networks": [{"file": {"integrity": "sha256-x"}}],
}
TAUGHT = {
    "own": {"weights": [[0.25, -1.5]], "bias": [0.5, 0.125]},
    "kind": "expressions",
    "labels": ["happy", "neutral"],
    "judged": {
        "before": 0.5,
        "after": 0.75,
        "pictures": 8,
        "each": [{"before": 1, "after": 1, "pictures": 4}, {"before": 0, "after": 0.5, "pictures": 4}],
    },
}


@needs_node
def test_a_taught_face_is_the_same_after_it_was_saved_and_read() -> None:
    script = "console.log(JSON.stringify(lesson.fromFile(lesson.toFile(given.taught, given.run), given.run)))"
    assert node(script, {"taught": TAUGHT, "run": RUN}) == TAUGHT


@needs_node
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (None, "is no JSON"),
        ({"format": "x"}, "holds no taught face"),
        ({"version": 2}, "is of version 2; this page reads version 1"),
        ({"labels": ["happy", "sad"]}, "other labels; first with the labels of fer2013 is chosen"),
        ({"head": "expw"}, "other labels"),
        ({"networks": ["sha256-y"]}, "not with the network of first that is loaded"),
        ({"own": {"weights": [[1]], "bias": [0, 0]}}, "is damaged"),
        ({"own": {"weights": [], "bias": [0, "1e400"]}}, "is damaged"),
        ({"own": {"weights": [], "bias": [0, 1e300]}}, "is damaged"),
        ({"own": None}, "is damaged"),
        ({"taught": ["happy", "x"]}, "is damaged"),
        ({"judged": {"before": 2, "after": 1, "pictures": 3, "each": []}}, "is damaged"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_file_that_does_not_belong_here_is_refused_in_a_sentence(change: dict[str, Any] | None, words: str) -> None:
    script = """
      const text = lesson.toFile(given.taught, given.run);
      const changed = given.change ? JSON.stringify({ ...JSON.parse(text), ...given.change }) : text.slice(5);
      try { lesson.fromFile(changed, given.run); console.log('"read"'); }
      catch (error) { console.log(JSON.stringify(error.message)); }
    """
    assert words in node(script, {"taught": TAUGHT, "run": RUN, "change": change})


@needs_node
def test_what_brought_nothing_or_harm_is_told_so() -> None:
    def told(before: float, after: float, used: bool) -> str:
        judged = {"before": before, "after": after, "pictures": 20}
        script = "console.log(JSON.stringify(teach.verdict(given.taught, given.used)))"
        return node(script, {"taught": {"kind": "expressions", "judged": judged}, "used": used})

    numbers = "The answer was yours in 50% of 20 held-back pictures before, and is in {} now."
    assert told(0.5, 0.8, True) == numbers.format("80%")
    assert told(0.5, 0.5, True) == "It brought nothing. " + numbers.format("50%")
    assert told(0.5, 0.3, True) == "It got worse. " + numbers.format("30%")
    assert told(0.5, 0.3, False).endswith("30% now. So it is not used, unless you tick the box.")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made runs, and one more whose network is the first one's and calls the portrait happy where that says neutral."""
    folder = live_page.made_artifacts(tmp_path_factory.mktemp("artifacts"))
    made_run(folder, "calm", heads={**HEADS, "consensus": CALM}, faces=60, seed=4, threshold=0.2)
    return folder


@pytest.fixture(scope="module")
def app(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with live_page.served(artifacts, tmp_path_factory.mktemp("app")) as address:
        yield address


@pytest.fixture(scope="module")
def driver() -> Iterator[Playwright]:
    with chromium.driver() as driver:
        yield driver


def lit(portrait: np.ndarray) -> list[np.ndarray]:
    """Return the camera's picture under four lights, one for each label: even, from the left, from the right, from above."""
    picture = scene(portrait).astype(np.float32)
    across, down = np.linspace(1.25, 0.25, 640)[None, :, None], np.linspace(1.3, 0.3, 480)[:, None, None]
    return [np.clip(picture * light, 0, 255).astype(np.uint8) for light in (1.0, across, across[:, ::-1], down)]


@pytest.fixture
def tab(driver: Playwright, portrait: np.ndarray) -> Iterator[Page]:
    """An empty tab before a camera that follows the lesson."""
    codes = [cv2.imencode(".png", picture[..., ::-1])[1].tobytes() for picture in lit(portrait)]
    urls = [f"data:image/png;base64,{base64.b64encode(code).decode()}" for code in codes]
    with chromium.browser(driver) as browser, browser.new_context(accept_downloads=True) as context:
        context.add_init_script(f"{STEERED}({json.dumps(urls)})")
        yield context.new_page()


@pytest.fixture
def recorder(tab: Page) -> Recorder:
    return Recorder(tab)


@pytest.fixture
def page(tab: Page, recorder: Recorder, app: str) -> Page:
    """The Live page, running, all that it sends being recorded."""
    visit(tab.context, app, tab)
    start(tab)
    wait_for_pictures(tab, 3)
    assert recorder.sent, "the recorder heard nothing, not even the page's own messages"
    return tab


def answers(page: Page, label: str, position: int) -> None:
    """Let the camera show the picture of a position, and wait until the page names a label."""
    page.evaluate("position => { window.picture = position; }", position)
    expect(part(page, "answer")).to_contain_text(label)


@pytest.mark.long
@pytest.mark.browser
@chromium.ort_is_here
def test_a_face_is_taught_without_a_network_saved_forgotten_and_read_again(
    page: Page, recorder: Recorder, artifacts: Path, portrait: np.ndarray, tmp_path: Path
) -> None:
    """Before and after are what Python says of the same pictures; the lesson needs no network and sends nothing."""
    predictor = Predictor.load(artifacts / "first", detector=faces.BlazeFace(artifacts / "detector", tiles=False))
    boxes = [predictor.detect(picture).boxes for picture in lit(portrait)]
    assert [len(found) for found in boxes] == [1] * 4
    seen = [(predictor.classify(*pair), predictor.embed(*pair)) for pair in zip(lit(portrait), boxes, strict=True)]
    shared, features = (np.concatenate(rows) for rows in zip(*seen, strict=True))
    assert np.diff(np.sort(shared, axis=1)[:, -2:]).min() > 0.1, "the camera's colours differ a little"
    before = shared.argmax(axis=1) == np.arange(4)
    assert not before.all()
    assert (personal.fit(features, shared, range(4)).correct(features, shared).argmax(axis=1) == np.arange(4)).all()

    page.context.set_offline(True)
    part(page, "teach").locator("summary").click()
    part(page, "teachAll").click()
    expect(part(page, "coach")).to_be_visible()
    expect(part(page, "verdict")).to_contain_text("held-back pictures before", timeout=chromium.SLOW)
    cells = part(page, "each").locator("tr").all()
    assert [row.locator("th").inner_text() for row in cells] == list(LABELS)
    for position, row in enumerate(cells):
        assert row.locator("td").all_inner_texts() == ["100%" if before[position] else "0%", "100%"]
    expect(part(page, "verdict")).to_contain_text("and is in 100% now.")
    expect(part(page, "own")).to_be_visible()
    for position, label in enumerate(LABELS):
        answers(page, label, position)
    assert recorder.pictures() == []
    page.context.set_offline(False)

    with page.expect_download() as download:
        part(page, "saved").click()
    file = tmp_path / "my-face.json"
    download.value.save_as(file)
    saved = json.loads(file.read_text(encoding="utf-8"))
    assert np.shape(saved["own"]["weights"]) == (36, 4)
    assert saved["taught"] == list(LABELS)
    wrong = int(np.flatnonzero(~before)[0])
    part(page, "forget").click()
    expect(part(page, "taught")).to_be_hidden()
    answers(page, LABELS[int(shared[wrong].argmax())], wrong)
    part(page, "file").set_input_files(file)
    answers(page, LABELS[wrong], wrong)
    part(page, "use").uncheck()
    answers(page, LABELS[int(shared[wrong].argmax())], wrong)

    part(page, "run").select_option("second")
    expect(part(page, "lessonNote")).to_contain_text("belonged to the run or the labels before, and is forgotten")
    part(page, "file").set_input_files(file)
    expect(part(page, "lessonNote")).to_contain_text("second with the labels of ferplus is chosen")
    page.reload()
    start(page)
    wait_for_pictures(page, 2)
    expect(part(page, "taught")).to_be_hidden()


@pytest.mark.long
@pytest.mark.browser
@chromium.ort_is_here
def test_a_resting_face_is_called_neutral_afterwards(page: Page, artifacts: Path, portrait: np.ndarray) -> None:
    predictor = Predictor.load(artifacts / "calm", detector=faces.BlazeFace(artifacts / "detector", tiles=False))
    (shown,) = predictor.predict(lit(portrait)[CALM.index("neutral")], turn=False)
    assert shown.label == "happy"
    part(page, "run").select_option("calm")
    answers(page, "happy", CALM.index("neutral"))
    part(page, "teach").locator("summary").click()
    part(page, "teachResting").click()
    expect(part(page, "verdict")).to_contain_text(
        "Your resting face was called neutral in 0% of", timeout=chromium.SLOW
    )
    expect(part(page, "verdict")).to_contain_text("100% now")
    answers(page, "neutral", CALM.index("neutral"))


@pytest.mark.long
@pytest.mark.browser
@chromium.ort_is_here
def test_a_lesson_that_is_stopped_or_skipped_leaves_nothing(page: Page) -> None:
    part(page, "teach").locator("summary").click()
    for box in part(page, "lessonLabels").locator("input").all()[1:]:
        box.uncheck()
    expect(part(page, "teachAll")).to_be_disabled()
    part(page, "lessonLabels").locator("input").nth(1).check()
    part(page, "teachAll").click()
    expect(part(page, "wanted")).to_have_text("angry")
    part(page, "leave").click()
    expect(part(page, "coach")).to_be_hidden()
    part(page, "teachAll").click()
    expect(part(page, "wanted")).to_have_text("angry")
    part(page, "skip").click()
    expect(part(page, "wanted")).to_have_text("happy")
    part(page, "skip").click()
    expect(part(page, "lessonNote")).to_have_text("Everything was skipped, so nothing was taught.")
    expect(part(page, "taught")).to_be_hidden()
