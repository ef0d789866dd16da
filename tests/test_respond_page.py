"""The Respond page: what it answers by hand and before a camera, its table of rules, and the five lines that do the same."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from playwright.sync_api import Page, expect
from streamlit.testing.v1 import AppTest

import chromium
import live_page
from fercore import Predictor, config
from fercore.browser import assets
from fercore.respond import EXAMPLE
from fercore.ui import live
from fercore.ui.text import plain
from live_page import Recorder, part, quiet_console, scene, start, wait_for_pictures  # noqa: F401
from made_run import made_run
from scripted import write_clip
from test_pages import assert_sound, texts, visit, warm  # noqa: F401

HEADS = {"consensus": ("angry", "neutral", "sad", "happy"), "fer2013": ("happy", "sad")}
"""In an order in which the made network calls the portrait happy."""
GREETING = "Lovely to see you smile!"
RULE = {"expression": "happy", "seconds": 2.0, "greeting": "Hi", "suggestion": "", "colour": "#112233"}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    shutil.copytree(config.artifacts_dir() / "detector", folder / "detector")
    made_run(folder, "smiling", heads=HEADS, faces=60, seed=4, threshold=0.2)
    made_run(folder, "strange", heads={"folder": ("<b>odd", "even")}, faces=60, threshold=0.2)
    (folder / "DEFAULT").write_text("smiling\n", encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def surroundings(artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_ARTIFACTS", str(artifacts))
    monkeypatch.setattr(live, "STATIC", tmp_path)
    monkeypatch.delenv("FER_RUN", raising=False)


def answer(app: AppTest) -> str:
    (card,) = [element.proto.body for element in app.get("html") if 'class="fer-response"' in element.proto.body]
    return card


def test_the_seconds_by_hand_live_in_the_url() -> None:
    app = visit("respond", source="hand", expression="happy", held="1.5")
    assert app.slider(key="held").value == 1.5
    app.slider(key="held").set_value(4.5).run()
    assert app.query_params["held"] in ("4.5", ["4.5"])
    app.slider(key="held").set_value(3.0).run()
    assert "held" not in app.query_params
    for wrong in ("-1", "11", "nan", "soon"):
        assert visit("respond", source="hand", held=wrong).slider(key="held").value == 3.0


def test_by_hand_an_expression_is_answered_once_it_has_lasted() -> None:
    app = visit("respond", source="hand", expression="happy")
    assert_sound(app)
    assert GREETING in answer(app)
    assert "--fer-colour:#E69F00;--fer-ink:#000000" in answer(app)
    app.slider(key="held").set_value(0.5).run()
    assert "no rule for happy of 0.5 s" in answer(app)
    assert "--fer-colour" not in answer(app)
    app.selectbox(key="expression").set_value("angry").run()
    app.slider(key="held").set_value(2.0).run()
    assert "Something in the way?" in answer(app)
    assert app.query_params == {"run": "smiling", "source": "hand", "held": "2"}, (
        "the first expression has no place there"
    )


def test_labels_without_rules_of_their_own_get_a_first_one_and_no_markup() -> None:
    app = visit("respond", run="strange", source="hand")
    assert_sound(app)
    assert "&lt;b&gt;odd for 1 s" in answer(app)
    assert "<b>" not in answer(app)


def test_before_the_camera_speaks_there_is_nothing_to_respond_to() -> None:
    app = visit("respond")
    assert_sound(app)
    assert "Nothing to respond to yet." in answer(app)
    assert EXAMPLE in [code.value + "\n" for code in app.code] + [code.value for code in app.code]


def test_a_changed_rule_is_followed_and_a_broken_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [RULE, {**RULE, "expression": "sad", "colour": "red"}]
    monkeypatch.setattr(st, "data_editor", lambda *_, **__: pd.DataFrame(rows))
    app = visit("respond", source="hand", expression="happy")
    assert "<strong>Hi</strong>" in answer(app)
    assert "#112233;--fer-ink:#FFFFFF" in answer(app)
    assert plain("Row 2: a rule's colour is written as #E69F00, not 'red'.") in texts(app)


@pytest.mark.parametrize(
    ("told", "heard"),
    [
        ({"label": "sad", "seconds": 2}, ("sad", 2.0)),
        ({"label": None, "seconds": 0}, (None, 0.0)),
        ({"label": "bored", "seconds": 2}, (None, 0.0)),
        ({"label": ["sad"], "seconds": 2}, (None, 0.0)),
        ({"label": "sad", "seconds": "2"}, (None, 0.0)),
        ({"label": "sad", "seconds": -1}, (None, 0.0)),
        ({"label": "sad"}, (None, 0.0)),
        ("sad", (None, 0.0)),
        (None, (None, 0.0)),
    ],
)
def test_what_the_camera_tells_is_checked(told: Any, heard: tuple[str | None, float]) -> None:
    assert live.lasting(told, ("happy", "sad")) == heard


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_camera_tells_only_what_is_news() -> None:
    """A new label, each second that a rule waits for, other rules, and the end; nothing in between."""
    script = """
      const { Lasting } = await import(process.argv[1]);
      const lasting = new Lasting();
      const moments = [
        [[1, 3], null, NaN], [[1, 3], "sad", 0], [[1, 3], "sad", 0.9], [[1, 3], "sad", 1.2], [[1, 3], "sad", 2.9],
        [[1, 3], "sad", 3], [[1, 3], "sad", 9], [[1, 5], "sad", 9.5], [[1, 5], "happy", 0], [[1, 5], null, 0], [[1], null, 0],
      ];
      console.log(JSON.stringify(moments.map((moment) => lasting.update(...moment) ?? null)));
    """
    command = ["node", "--input-type=module", "-e", script, (assets.HERE / "track.mjs").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    news = [told and (told["label"], told["seconds"]) for told in json.loads(done.stdout)]
    none = None
    assert news == [
        *(none, ("sad", 0), none, ("sad", 1.2), none),
        *(("sad", 3), none, ("sad", 9.5), ("happy", 0), (None, 0), none),
    ]


@pytest.mark.long
def test_the_five_lines_print_the_rule_that_a_video_calls_for(
    portrait: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A face that is called happy for 3 s: no rule at first, then the one that waits for a second."""
    assert EXAMPLE.count("\n") == 5
    (found,) = Predictor.load().predict(scene(portrait))
    assert found.label == "happy"
    clip = write_clip(tmp_path / "clip.avi", [scene(portrait)] * 30, fps=10)
    exec(EXAMPLE.replace("run(0)", f"run({str(clip)!r})"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "None"
    assert printed[-1].startswith("Rule(expression='happy', seconds=1, ")
    assert len(set(printed)) == 2


@pytest.fixture
def opened(artifacts: Path, portrait: np.ndarray, tmp_path: Path) -> Iterator[tuple[Page, Recorder]]:
    """The page, before a camera that shows the portrait, and what it sends."""
    video = chromium.write_y4m(tmp_path / "portrait.y4m", [scene(portrait)] * 2)
    (tmp_path / "app").mkdir()
    with (
        live_page.served(artifacts, tmp_path / "app", "respond") as address,
        chromium.driver() as driver,
        chromium.browser(driver, *chromium.camera(video)) as browser,
        browser.new_context() as context,
    ):
        page = context.new_page()
        recorder = Recorder(page)
        yield live_page.visit(context, address, page), recorder


@pytest.mark.long
@pytest.mark.browser
@chromium.ort_is_here
def test_a_lasting_expression_before_the_camera_is_answered_until_the_camera_is_off(
    opened: tuple[Page, Recorder],
) -> None:
    page, recorder = opened
    card = page.locator(".fer-response")
    expect(card).to_contain_text("Nothing to respond to yet.")
    start(page)
    wait_for_pictures(page, 3)
    expect(card).to_contain_text(GREETING)
    expect(card).to_have_css("background-color", "rgb(230, 159, 0)")
    wait_for_pictures(page, 5)
    expect(card).to_contain_text(GREETING)
    part(page, "finish").click()
    expect(card).to_contain_text("Nothing to respond to yet.")
    assert recorder.sent
    assert recorder.pictures() == []
