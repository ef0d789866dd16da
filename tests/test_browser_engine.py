"""The engine in the browser against Python's: the same pixels, boxes, probabilities and smoothed labels."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Page

import chromium
from fercore import Predictor, config, faces, preprocess
from fercore.browser import assets
from fercore.faces import BlazeFace
from fercore.images import load_image
from fercore.runs import Run
from fercore.space.static import SITE
from fercore.stream import Smoother
from fercore.tracking import Tracker
from made_run import made_ensemble, made_run

pytestmark = [pytest.mark.browser, chromium.ort_is_here]

ROOT = chromium.ROOT
PIXELS = 2.0
"""How far a side of a box may be from Python's."""
PROBABILITY = 0.02

OPEN = """async ([run, files]) => {
  const engine = await import("/engine.mjs");
  const { openRun } = await import("/runtime.mjs");
  const { detector, networks } = await openRun(run, files);
  window.engine = new engine.Engine(run, detector, networks);
}"""
READ = """
  const read = async ([url, width, height]) => {
    const data = new Uint8ClampedArray(await (await fetch(url, { cache: "no-store" })).arrayBuffer());
    return { data, width, height };
  };
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with our modules, ONNX Runtime and what the tests add."""
    folder = tmp_path_factory.mktemp("site")
    for name in assets.MODULES:
        shutil.copy(assets.HERE / name, folder / name)
    shutil.copytree(ROOT / "static" / "ort", folder / "app" / "static" / "ort")
    shutil.copy(SITE / "look.mjs", folder / "look.mjs")
    (folder / "index.html").write_text("<!doctype html><meta charset='utf-8'><title>Engine</title>")
    return folder


@pytest.fixture(scope="module")
def page(place: Path) -> Iterator[Page]:
    with chromium.files(place) as address, chromium.driver() as driver, chromium.browser(driver) as browser:
        page = browser.new_page()
        page.set_default_timeout(chromium.SLOW)
        page.goto(f"{address}/index.html")
        yield page


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made runs beside the real detector."""
    folder = tmp_path_factory.mktemp("artifacts")
    shutil.copytree(config.artifacts_dir() / "detector", folder / "detector")
    heads = {"consensus": ("angry", "happy", "sad"), "fer2013": ("happy", "sad", "glad", "mad")}
    members = [made_run(folder, f"made-{seed}", heads=heads, faces=60, seed=seed) for seed in (1, 2)]
    made_run(folder, "unused", heads=heads, faces=60, seed=3)
    made_ensemble(folder, "pair", members, shares=(0.7, 0.3))
    return folder


def rooted(value: Any) -> Any:
    """Make addresses relative to the site's root, as the component makes them relative to the app's."""
    if isinstance(value, dict):
        return {key: rooted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rooted(item) for item in value]
    return f"/{value}" if isinstance(value, str) and value.startswith(assets.SERVED) else value


def give(place: Path, picture: np.ndarray, name: str) -> list[Any]:
    """Lay a picture down as the RGBA bytes that a canvas would give; return what ``read`` takes."""
    opaque = np.full((*picture.shape[:2], 1), 255, np.uint8)
    (place / name).write_bytes(np.concatenate([picture, opaque], axis=2).tobytes())
    return [f"/{name}", picture.shape[1], picture.shape[0]]


def open_engine(page: Page, place: Path, run: Run, head: str) -> None:
    settings = assets.settings(run, head, place / "app" / "static")
    page.evaluate(OPEN, [rooted(settings), rooted(assets.runtime(place / "app" / "static"))])


def answers(page: Page, place: Path, picture: np.ndarray, *, tiled: bool = True) -> list[dict[str, Any]]:
    """Return what the browser makes of a picture."""
    script = f"async ([given, options]) => {{ {READ} return window.engine.predict(await read(given), options); }}"
    return page.evaluate(script, [give(place, picture, "picture.rgba"), {"tiled": tiled}])


def photo_answers(page: Page, place: Path, picture: np.ndarray) -> list[dict[str, Any]]:
    """Return what the browser makes of a photo that may lie on its side: the road of a site without a server."""
    script = f"""async ([given, turning]) => {{ {READ}
      const {{ look }} = await import("/look.mjs");
      const image = await read(given);
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [image.width, image.height];
      canvas.getContext("2d").putImageData(new ImageData(image.data, image.width, image.height), 0, 0);
      return look(window.engine, canvas, turning);
    }}"""
    turning = {"sure": faces.SURE, "surer": faces.SURER, "side": faces.TURN_SIDE}
    return page.evaluate(script, [give(place, picture, "photo.rgba"), turning])


def differences(ours: list[dict[str, Any]], theirs: list[Any]) -> tuple[float, float]:
    """Return the largest difference of a box's side, in pixels, and of a probability.

    Boxes whose score is within 0.03 of the detector's threshold do not count: pixels that differ by rounding decide them.
    """
    clear = BlazeFace().settings.score + 0.03
    ours = [face for face in ours if face["score"] > clear]
    theirs = [face for face in theirs if face.score > clear]
    assert len(ours) == len(theirs)
    boxes = [np.abs(np.subtract(a["box"], b.box)).max() for a, b in zip(ours, theirs, strict=True)]
    probs = [
        np.abs(np.subtract(a["probabilities"], list(b.probabilities.values()))).max()
        for a, b in zip(ours, theirs, strict=True)
    ]
    return max(boxes, default=0.0), max(probs, default=0.0)


def variations(portrait: np.ndarray) -> dict[str, np.ndarray]:
    """Eleven pictures of the portrait that ask for every road through the detector and the crop."""
    height, width = portrait.shape[:2]
    turn = cv2.getRotationMatrix2D((224, 125), 12, 1.0)
    small = cv2.resize(portrait, (160, 160), interpolation=cv2.INTER_AREA)
    two = np.concatenate([portrait[:, :400], portrait[:, 390:60:-1]], axis=1)
    return {
        "as it is": portrait,
        "mirrored": portrait[:, ::-1],
        "dark": (portrait * 0.35).astype(np.uint8),
        "grey": np.repeat(cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2),
        "turned": cv2.warpAffine(portrait, turn, (width, height)),
        "a small photo": small,
        "enlarged, with tiles": cv2.resize(portrait, (1100, 1100), interpolation=cv2.INTER_CUBIC),
        "large, halved first": cv2.resize(portrait, (1801, 1801), interpolation=cv2.INTER_CUBIC),
        "a close-up": cv2.resize(portrait[70:195, 165:290], (480, 480), interpolation=cv2.INTER_CUBIC),
        "cut off by the edge": portrait[90:, 120:, :],
        "two faces in a wide picture": two,
    }


@pytest.mark.parametrize("name", ["made-1", "pair"])
def test_answers_are_pythons_on_eleven_variations_of_the_portrait(
    page: Page, place: Path, artifacts: Path, portrait: np.ndarray, name: str
) -> None:
    run = Run.load(artifacts / name)
    predictor = Predictor.load(run, detector=str(artifacts / "detector"))
    open_engine(page, place, run, "consensus")
    seen = 0
    for kind, picture in variations(portrait).items():
        expected = predictor.predict(picture)
        boxes, probs = differences(answers(page, place, np.ascontiguousarray(picture)), expected)
        assert boxes <= PIXELS, f"{kind}: a box is {boxes:.2f} pixels off"
        assert probs <= PROBABILITY, f"{kind}: a probability is {probs:.4f} off"
        seen += len(expected)
    assert seen >= 10, "most variations should show a face"


def test_a_run_chosen_while_another_loads_keeps_its_networks(
    page: Page, place: Path, artifacts: Path, portrait: np.ndarray
) -> None:
    page.reload()
    static = place / "app" / "static"
    runs = [Run.load(artifacts / name) for name in ("made-1", "made-2")]
    settings = [rooted(assets.settings(run, "consensus", static)) for run in runs]
    both = """async ([[first, second], files]) => {
      const { Engine } = await import("/engine.mjs");
      const { openRun } = await import("/runtime.mjs");
      const [, { detector, networks }] = await Promise.all([openRun(first, files), openRun(second, files)]);
      window.engine = new Engine(second, detector, networks);
    }"""
    page.evaluate(both, [settings, rooted(assets.runtime(static))])
    theirs = Predictor.load(runs[1], head="consensus", detector=BlazeFace(artifacts / "detector")).predict(portrait)
    assert differences(answers(page, place, portrait), theirs)[1] < PROBABILITY


def test_live_looks_once_like_the_detector_without_tiles(
    page: Page, place: Path, artifacts: Path, portrait: np.ndarray
) -> None:
    run = Run.load(artifacts / "made-1")
    predictor = Predictor.load(run, detector=faces.BlazeFace(artifacts / "detector", tiles=False))
    open_engine(page, place, run, "fer2013")
    large = cv2.resize(portrait, (960, 960), interpolation=cv2.INTER_CUBIC)
    ours, theirs = answers(page, place, large, tiled=False), predictor.detect(large)
    assert len(ours) == len(theirs) == 1
    assert np.abs(np.subtract(ours[0]["box"], theirs.boxes[0])).max() <= 0.5
    assert len(ours[0]["probabilities"]) == 4, "the head that was asked for"


def test_answers_are_pythons_on_real_photos(page: Page, place: Path, artifacts: Path, data_dir: Path) -> None:
    """The engine takes a picture as it lies, as a camera gives it; the site's road for photos turns it where Python does."""
    found = sorted(data_dir.rglob("*.jpg"))
    photos = found[:: max(1, len(found) // 12)][:12]
    assert photos, "no photo in the data folder"
    run = Run.load(artifacts / "made-1")
    predictor = Predictor.load(run, detector=str(artifacts / "detector"))
    open_engine(page, place, run, "consensus")
    for number, path in enumerate(photos):
        picture = load_image(path)
        upright, turned = answers(page, place, picture), photo_answers(page, place, picture)
        for kind, ours, theirs in (
            ("as it lies", upright, predictor.predict(picture, turn=False)),
            ("turned", turned, predictor.predict(picture)),
        ):
            boxes, probs = differences(ours, theirs)
            assert boxes <= PIXELS, f"photo {number}, {kind}: a box is {boxes:.2f} pixels off"
            assert probs <= PROBABILITY, f"photo {number}, {kind}: a probability is {probs:.4f} off"


def test_a_photo_on_its_side_is_turned_as_in_python(
    page: Page, place: Path, artifacts: Path, portrait: np.ndarray
) -> None:
    """A picture whose face lies on its side in each of the three ways; the engine alone sees it differently."""
    run = Run.load(artifacts / "made-1")
    predictor = Predictor.load(run, detector=str(artifacts / "detector"))
    open_engine(page, place, run, "consensus")
    for quarters in (1, 2, 3):
        picture = np.ascontiguousarray(np.rot90(portrait[:, 40:420], quarters))
        boxes, probs = differences(photo_answers(page, place, picture), predictor.predict(picture))
        assert boxes <= PIXELS, f"{quarters} quarters: a box is {boxes:.2f} pixels off"
        assert probs <= PROBABILITY, f"{quarters} quarters: a probability is {probs:.4f} off"


def test_the_shipped_run_answers_like_python(page: Page, place: Path, portrait: np.ndarray) -> None:
    if not (config.artifacts_dir() / "DEFAULT").is_file():
        pytest.skip("needs a shipped run: artifacts/DEFAULT is missing")
    run = Run.load()
    if why := assets.refusal(run):
        pytest.skip(f"the default run is not for browsers: {why}")
    open_engine(page, place, run, run.default_head)
    boxes, probs = differences(answers(page, place, portrait), Predictor.load(run).predict(portrait))
    assert boxes <= PIXELS
    assert probs <= PROBABILITY


CUTS = f"""async ([given, squares, size, looks]) => {{ {READ}
  const {{ cutFace, cutLook }} = await import("/engine.mjs");
  const image = await read(given);
  return {{
    faces: squares.map(([x, y, side]) => Array.from(cutFace(image, {{ x, y, side }}, size))),
    looks: looks.map(([left, top, side, to]) => Array.from(cutLook(image, left, top, side, to))),
  }};
}}"""


def test_pixels_are_pythons(page: Page, place: Path, portrait: np.ndarray) -> None:
    """Face squares of all sizes, also far outside the picture; the detector's squares, larger and smaller than its input."""
    picture = np.ascontiguousarray(portrait[:301, :417])
    squares = [(224.3, 121.8, side) for side in (20.5, 47.0, 71.9, 96.2, 143.4, 190.0, 700.3)]
    squares += [
        (3.0, 290.5, 120.0),
        (-80.0, 40.0, 100.0),
        (416.9, 300.9, 333.0),
        (900.0, 900.0, 60.0),
        (200, 150, 25000.0),
    ]
    looks = [
        (0, -58, 417, 64),
        (-104.25, -162.25, 625.5, 64),
        (150.4, 60.7, 41.3, 64),
        (300, 200, 200, 64),
        (9e3, 0, 5, 8),
    ]
    found = page.evaluate(CUTS, [give(place, picture, "cut.rgba"), squares, 48, looks])
    for square, ours in zip(squares, found["faces"], strict=True):
        theirs = preprocess.cut(picture, square, 48).reshape(-1)
        assert np.abs(np.array(ours, int) - theirs).max() <= 1, square
    for look, ours in zip(looks, found["looks"], strict=True):
        theirs = faces.cut(picture, *look).reshape(-1)
        assert np.abs(np.array(ours, int) - theirs).max() <= 1, look


def test_smoothed_labels_are_pythons(page: Page) -> None:
    rng = np.random.default_rng(5)
    favourite = np.repeat(rng.integers(0, 4, 12), 15)
    rows = rng.dirichlet([0.6] * 4, len(favourite)) * 0.5
    rows[np.arange(len(rows)), favourite] += 0.5
    times = np.cumsum(rng.uniform(0.02, 0.2, len(rows)))
    script = """async ([rows, times, threshold]) => {
      const { Smoother } = await import("/track.mjs");
      const smoother = new Smoother(threshold);
      return rows.map((row, i) => {
        smoother.update(row, times[i]);
        return [smoother.shown, smoother.uncertain, smoother.average];
      });
    }"""
    found = page.evaluate(script, [rows.tolist(), times.tolist(), 0.4])
    smoother = Smoother(time_constant=0.5, hold=0.5, margin=0.1, threshold=0.4)
    shown = set()
    for (label, uncertain, average), row, time in zip(found, rows, times, strict=True):
        smoother.update(row, time)
        assert (label, uncertain) == (smoother.shown, smoother.uncertain)
        np.testing.assert_allclose(average, smoother.average, atol=1e-9)
        shown.add(label)
    assert len(shown) >= 3, "the labels should have changed"


def test_faces_keep_their_numbers_as_in_python(page: Page) -> None:
    """Two faces that move towards each other and back, one of them missed for a while, and a passing error of the detector."""
    frames = []
    for step in range(60):
        near = 60 * np.sin(np.pi * step / 59)
        boxes = [[100 + near, 100, 60, 60], [300 - near, 110, 70, 70]]
        if 20 <= step < 26:
            boxes.pop(0)
        if step == 40:
            boxes.append([500, 300, 40, 40])
        frames.append(boxes[:: 1 if step % 2 else -1])
    script = """async (frames) => {
      const { Tracker } = await import("/track.mjs");
      const tracker = new Tracker(0.3);
      return frames.map((boxes, i) => {
        const faces = boxes.map((box) => ({ box, probabilities: [0.5, 0.5] }));
        return tracker.update(faces, i / 15).map((track) => [track.id, track.box[0], track.last === i / 15]);
      });
    }"""
    found = page.evaluate(script, frames)
    tracker = Tracker()
    for step, boxes in enumerate(frames):
        tracker.update(boxes, step / 15)
        known = {track.id: track for track in tracker.tracks if tracker.is_face(track)}
        assert {row[0] for row in found[step]} == set(known), f"frame {step}"
        for number, left, seen in found[step]:
            assert left == pytest.approx(known[number].box[0]), f"frame {step}, face {number}"
            assert seen == (known[number].last == step / 15), f"frame {step}, face {number}"
    assert sorted(row[0] for row in found[-1]) == [1, 2]


def test_a_file_that_is_not_what_it_should_be_is_refused(page: Page, place: Path, artifacts: Path) -> None:
    settings = rooted(assets.settings(Run.load(artifacts / "unused"), "consensus", place / "app" / "static"))
    (place / "other.onnx").write_bytes(b"something else")
    settings["networks"][0]["file"]["urls"] = ["/nowhere.onnx", "/other.onnx"]
    script = f"""async (given) => {{
      try {{ await ({OPEN})(given); return "opened"; }} catch (error) {{ return [error.constructor.name, error.message]; }}
    }}"""
    told = page.evaluate(script, [settings, rooted(assets.runtime(place / "app" / "static"))])
    assert told == ["FileError", "other.onnx could not be loaded, or was not the file it should be."]
