"""The app's pages without a browser: every page with every kind of run, filters in the URL, runs managed, photos classified."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from PIL import Image
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartParser
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest

from fercore import Predictor, charts, comparison, runs
from fercore.inference import Face
from fercore.labels import LABELS
from fercore.ui import classification, clip, frame, live, picker, progress, tables, training_access
from fercore.ui.text import plain
from made_run import made_ensemble, made_run
from scripted import write_clip

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "overview",
    "dataset",
    "training",
    "evaluation",
    "compare",
    "papers",
    "mistakes",
    "classify",
    "live",
    "respond",
)
OWN = ("happy", "sad", "bored")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: one head, three heads, an ensemble, twelve classes without extras, and a folder of pictures."""
    artifacts = tmp_path_factory.mktemp("made") / "artifacts"
    shutil.copytree(ROOT / "artifacts" / "detector", artifacts / "detector")
    single = made_run(artifacts, "single", threshold=0.0, study=True)
    several = made_run(artifacts, "several", heads={"fer2013": LABELS, "expw": LABELS, "consensus": LABELS}, seed=1)
    made_ensemble(artifacts, "ensemble", [single, several])
    twelve = {"folder": [f"class {number}" for number in range(12)]}
    made_run(artifacts, "twelve", heads=twelve, history=False, averages=False, layers=False)
    pictures = made_pictures(artifacts.parent / "data" / "folder")
    labels = [name.split("/")[0] for name in pictures]
    locators = {"folder": [f"{name}#0" for name in pictures]}
    made_run(artifacts, "own", heads={"folder": OWN}, locators=locators, labels={"folder": labels}, threshold=0.99)
    (artifacts / "DEFAULT").write_text("single\n", encoding="utf-8")
    (artifacts / "SHIPPED").write_text("single\nseveral\n", encoding="utf-8")
    return artifacts


def made_pictures(root: Path) -> list[str]:
    """Write 40 grey pictures a class and return their names below ``root``."""
    names = [f"{label}/{number}.png" for label in OWN for number in range(40)]
    for shade, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((48, 48), 40 + shade, np.uint8)).save(root / name)
    return names


@pytest.fixture(autouse=True)
def surroundings(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the app at the made runs, and at a data folder without anything in it."""
    monkeypatch.setenv("FER_ARTIFACTS", str(made))
    monkeypatch.setenv("FER_DATA", str(tmp_path))
    monkeypatch.setattr(live, "STATIC", tmp_path / "static")
    monkeypatch.delenv("FER_RUN", raising=False)


@pytest.fixture(autouse=True)
def warm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``AppTest`` remember that ``st.navigation`` was called once, as a server does; ``cold`` tests go without."""
    begin = PagesManager.__init__

    def remember(self: PagesManager, *given: Any, **options: Any) -> None:
        PagesManager.uses_pages_directory = False
        begin(self, *given, **options)

    if "cold" not in request.node.name:
        monkeypatch.setattr(PagesManager, "__init__", remember)


@pytest.fixture
def own_artifacts(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the made runs that a test may change."""
    copy = tmp_path / "artifacts"
    shutil.copytree(made, copy)
    monkeypatch.setenv("FER_ARTIFACTS", str(copy))
    comes_from(monkeypatch, "localhost:8501", None)
    return copy


def comes_from(monkeypatch: pytest.MonkeyPatch, host: str, address: str | None) -> None:
    """Let visitors ask for the app by ``host`` and have an IP address; None is what Streamlit gives for this machine."""
    for name in (training_access.SETTING, *training_access.HOSTS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(type(st.context), "headers", property(lambda _: {"Host": host, "Origin": f"http://{host}"}))
    monkeypatch.setattr(type(st.context), "ip_address", property(lambda _: address))


def visit(page: str = "overview", /, **params: str) -> AppTest:
    """Open a page by its URL."""
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    if page != "overview":
        app.switch_page(f"pages/{page}.py")
    app.query_params.update(params)
    return app.run()


def elements(block: Any) -> Iterator[Any]:
    """Yield everything on a page."""
    for child in block.children.values():
        yield child
        if hasattr(child, "children"):
            yield from elements(child)


def pictures(app: AppTest) -> list[Any]:
    return [picture for element in app.get("image") for picture in element.proto.imgs]


def texts(app: AppTest) -> str:
    parts = (app.title, app.subheader, app.markdown, app.caption, app.info, app.warning, app.error)
    return "\n".join(element.value for kind in parts for element in kind)


def assert_sound(app: AppTest) -> None:
    """Check what holds on every page: no error, a title, one sentence, and a description of each picture, chart and table."""
    assert not app.exception
    assert not app.error, app.error
    assert len(app.title) == 1
    assert app.markdown[0].value.endswith(".")
    for element in elements(app.main):
        if element.type in ("vega_lite_chart", "dataframe"):
            assert element.proto.alt.strip(), f"a {element.type} without a description"
    assert all(picture.alt.strip() for picture in pictures(app))


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("run", ["single", "several", "ensemble", "twelve", "own"])
def test_every_page_bears_every_run(page: str, run: str) -> None:
    app = visit(page, run=run)
    assert_sound(app)
    assert app.selectbox(key="run").value == run
    assert app.query_params["run"] == run


@pytest.mark.parametrize("page", PAGES)
def test_pages_without_any_run_say_how_to_get_one(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_ARTIFACTS", str(tmp_path))
    app = visit(page)
    assert_sound(app)
    assert "run" in app.info[0].value


@pytest.mark.parametrize("page", PAGES[1:])
def test_a_link_to_a_page_works_on_a_cold_server(page: str) -> None:
    app = visit(page, run="several", head="expw")
    assert_sound(app)
    assert app.title[0].value.lower() == page
    assert app.selectbox(key="run").value == "several"
    assert app.query_params == {"run": "several", "head": "expw"}


def test_the_default_run_is_chosen_and_written_into_the_url() -> None:
    app = visit()
    assert app.selectbox(key="run").value == "single"
    assert app.query_params == {"run": "single"}


def test_a_chosen_run_goes_along_to_other_pages() -> None:
    app = visit("training")
    app.selectbox(key="run").set_value("several").run()
    assert app.query_params["run"] == "several"
    app.query_params.clear()  # as a click in the navigation does
    app.switch_page("pages/evaluation.py").run()
    assert app.selectbox(key="run").value == "several"
    assert app.query_params["run"] == "several"


def test_a_run_that_is_not_there_is_told_in_a_sentence() -> None:
    app = visit("training", run="no<b>such")
    assert not app.error
    assert app.selectbox(key="run").value == "single"
    assert app.warning[0].value == f"There is no run “{plain('no<b>such')}”; this is single."


def test_a_damaged_file_is_told_in_a_sentence(own_artifacts: Path) -> None:
    (own_artifacts / "single" / "history.csv").write_text("epoch\n1\n", encoding="utf-8")
    app = visit("training")
    assert not app.exception
    assert "history" in app.error[0].value
    assert "changed since the run was written" in app.error[0].value


def test_an_unreadable_run_is_listed_and_the_others_go_on(own_artifacts: Path) -> None:
    (own_artifacts / "several" / "run.json").write_text("{", encoding="utf-8")
    app = visit()
    assert not app.error
    assert "several" not in app.selectbox(key="run").options
    assert app.sidebar.expander[0].label == "1 of the run folders cannot be read"


def test_our_own_mistake_is_never_a_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(charts, "losses", broken)
    app = visit("training")
    assert not app.exception
    assert "it is our fault" in app.error[0].value
    assert "secret detail" not in texts(app)
    assert "secret detail" in caplog.text


def test_a_mistake_in_the_picker_is_never_a_traceback_either(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(picker, "choose", broken)
    app = visit("training")
    assert not app.exception
    assert "it is our fault" in app.error[0].value


def test_overview_compares_the_runs() -> None:
    app = visit()
    table = app.dataframe[0].value
    assert set(table["Run"]) == {"single", "several", "ensemble", "twelve", "own"}
    row = table[(table["Run"] == "several") & (table["Test faces of"] == "ExpW")].iloc[0]
    accuracy = runs.Run.load("several").metrics("expw")["accuracy"]
    assert row["Accuracy (95% interval)"].startswith(f"{100 * accuracy['value']:.1f}% ({100 * accuracy['low']:.1f} to ")
    assert {"Classify", "Dataset", "Training", "Evaluation", "Mistakes"} <= {
        link.label.strip("*") for link in app.get("page_link")
    }


@pytest.mark.parametrize(("page", "accuracy"), [("overview", "Accuracy (95% interval)"), ("compare", "Accuracy")])
def test_tables_of_scores_explain_their_terms(page: str, accuracy: str) -> None:
    told = json.loads(visit(page, run="single").dataframe[0].proto.columns)
    helps = {name: column.get("help", "") for name, column in told.items()}
    assert "most likely class is the labelled one" in helps[accuracy]
    assert "harmonic mean" in helps["Macro F1"]
    if page == "overview":
        assert "calibration error" in helps["ECE"]
    else:
        assert "rare classes count as much" in helps["Balanced accuracy"]
        assert "chance" in helps["p (McNemar)"]


def test_dataset_page_chooses_a_dataset_in_the_url() -> None:
    app = visit("dataset", run="several", dataset="expw")
    assert app.subheader[0].value.startswith("ExpW has")
    app.segmented_control(key="dataset").set_value("fer2013").run()
    assert app.subheader[0].value.startswith("FER2013 has")
    assert "dataset" not in app.query_params, "what is shown without it needs no place in the URL"


def test_dataset_page_shows_faces_where_the_data_is(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "which is not here" in texts(visit("dataset", run="own"))
    monkeypatch.setenv("FER_DATA", str(made.parent / "data"))
    app = visit("dataset", run="own", **{"class": "bored"})
    assert_sound(app)
    assert sum("labelled bored: bored" in picture.alt for picture in pictures(app)) == 18


def test_training_page_shows_the_layers_and_the_members() -> None:
    app = visit("training", run="several")
    layers = next(table.value for table in app.dataframe if "Output shape" in table.value)
    assert layers.iloc[0].tolist() == ["faces (InputLayer)", "48 × 48 × 1", 0]
    assert layers["Parameters"].sum() == 3 * 37 * 7
    assert [link.label for link in visit("training", run="ensemble").get("page_link")] == ["single", "several"]


def test_training_page_draws_the_search_where_there_was_one() -> None:
    app = visit("training", run="single")
    headings = [heading.value.replace("\\", "") for heading in app.subheader]
    assert "What decides most is learning rate: 80% of how the trials differ" in headings
    assert "The best of 12 trials, number 10, reaches 52.3% on validation; 4 were stopped early" in headings
    assert any(heading.startswith("The best 5 trials have learning rate") for heading in headings)
    trials = next(table.value for table in app.dataframe if "Outcome" in table.value)
    assert trials["Trial"].tolist()[:2] == [10, 9]
    assert trials["filters"].tolist()[0] == "8, 16"
    assert "Search" not in [heading.value for heading in visit("training", run="several").subheader]


def test_compare_pairs_the_runs_of_a_dataset() -> None:
    app = visit("compare", run="single", runs="single,several")
    row = app.dataframe[0].value.set_index("Run").loc["several"]
    result = comparison.compare([runs.Run.load("several")], "fer2013", reference=runs.Run.load("single"))
    measured = result.row("several")
    assert (row["Only it is right"], row["Only the reference"]) == (measured.test.only_a, measured.test.only_b)
    assert row["Difference (points)"].startswith(f"{100 * measured.difference['value']:+.1f} (")
    assert app.query_params["runs"] == ["single,several"] or app.query_params["runs"] == "single,several"
    app.multiselect(key="runs").set_value(["several"]).run()
    assert app.query_params["runs"] in ("several", ["several"])
    assert set(app.dataframe[0].value["Run"]) == {"several"}
    assert "Choose a second run" in texts(app)


def test_compare_with_one_run_and_reference_from_the_url() -> None:
    app = visit("compare", run="single", runs="several", against="single")
    assert set(app.dataframe[0].value["Run"]) == {"single", "several"}
    assert any(heading.value.startswith("Several gains most on") for heading in app.subheader)


def test_compare_measures_time_on_a_click_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, told = [], []
    monkeypatch.setattr(comparison, "milliseconds", lambda run, dataset: calls.append(run.name) or 1.5)
    monkeypatch.setattr(progress, "told", lambda *given: told.append(given[:3]) or "")
    app = visit("compare", run="single", runs="single,several")
    assert not calls
    press(app, "Measure the time for a face")
    assert sorted(calls) == ["several", "single"]
    assert told[0] == (0, 2, "Measuring network"), "a bar is there from the beginning"
    assert set(app.dataframe[0].value["Milliseconds a face"]) == {"1.50"}
    app.run()
    assert len(calls) == 2


def test_evaluation_shows_scores_with_intervals_and_help() -> None:
    app = visit("evaluation", run="several", dataset="expw")
    found = {metric.label: metric for metric in app.metric}
    expected = runs.Run.load("several").metrics("expw")["macro_f1"]
    assert found["Macro F1"].value == f"{100 * expected['value']:.1f}%"
    assert found["Macro F1"].delta == f"{100 * expected['low']:.1f} to {100 * expected['high']:.1f}%"
    assert "harmonic mean" in found["Macro F1"].proto.help
    assert "calibration error" in found["ECE"].proto.help
    measured = runs.Run.load("several").metrics("expw")
    loss = measured["log_loss"]
    assert found["Log loss"].value == f"{loss['value']:.2f}", "no percent: it is no share"
    assert found["Log loss"].delta == f"{loss['low']:.2f} to {loss['high']:.2f}"
    (table,) = [each.value for each in app.dataframe if "Recall" in each.value]
    rows = table.set_index("Class")
    assert list(rows.index)[-2:] == ["mean of the classes", "mean weighted by faces"]
    for kind, name in (("macro", "mean of the classes"), ("weighted", "mean weighted by faces")):
        for score, title in (("recall", "Recall"), ("precision", "Precision"), ("f1", "F1")):
            assert rows.loc[name, title].startswith(f"{100 * measured[f'{kind}_{score}']['value']:.1f}% (")
    assert set(rows["Test faces"][-2:]) == {measured["faces"]}
    assert found["Whole release"].value == "64.0%"
    assert "Whole release" not in {metric.label for metric in visit("evaluation", run="several").metric}


def test_evaluation_keeps_its_choices_in_the_url() -> None:
    app = visit("evaluation", show="counts", score="precision")
    assert app.subheader[0].value.startswith("The most frequent mistake is")
    assert any("most to be trusted" in heading.value for heading in app.subheader)
    app.segmented_control(key="show").set_value("shares").run()
    assert app.query_params == {"run": "single", "score": "precision"}


def test_evaluation_links_to_the_faces_of_a_mistake() -> None:
    app = visit("evaluation", run="several", dataset="expw")
    link = app.get("page_link")[0]
    assert link.label.startswith("fear → sad")
    params = link.proto.query_string
    assert {"run=several", "dataset=expw", "true=fear", "predicted=sad"} <= set(params.removeprefix("?").split("&"))


def test_mistakes_are_the_wrong_answers_the_most_confident_first() -> None:
    app = visit("mistakes")
    table, run = app.dataframe[0].value, runs.Run.load("single")
    wrong = run.predictions().query("label != prediction")
    assert len(table) == len(wrong)
    assert (table["Labelled"] != table["Answer"]).all()
    assert table["Confidence (%)"].is_monotonic_decreasing
    assert table.loc[0, "Face"] == wrong.sort_values("confidence").iloc[-1]["locator"]
    assert f"{len(wrong):,} faces with a wrong answer" in [
        plain(heading.value).replace("\\", "") for heading in app.subheader
    ]
    assert "are not shipped" in texts(app)
    assert any("fear → sad" in picture.caption for picture in pictures(app))


@pytest.mark.parametrize(
    ("params", "query"),
    [
        ({"true": "fear", "predicted": "sad"}, "label == 'fear' and prediction == 'sad'"),
        ({"predicted": "sad"}, "label != 'sad' and prediction == 'sad'"),
        ({"true": "fear"}, "label == 'fear' and prediction != 'fear'"),
        ({"true": "sad", "predicted": "sad"}, "label == 'sad' and prediction == 'sad'"),
        ({"confidence": "50-70"}, "label != prediction and 0.5 <= confidence <= 0.7"),
        ({"true": "nobody", "confidence": "70-20"}, "label != prediction"),
    ],
)
def test_mistakes_follow_the_filter_in_the_url(params: dict[str, str], query: str) -> None:
    table = visit("mistakes", **params).dataframe[0].value
    assert set(table["Face"]) == set(runs.Run.load("single").predictions().query(query)["locator"])


def test_changing_a_filter_writes_the_url() -> None:
    app = visit("mistakes")
    app.selectbox(key="true").set_value("fear").run()
    app.slider(key="confidence").set_value((20, 60)).run()
    assert {key: app.query_params[key] for key in ("true", "confidence")} == {"true": "fear", "confidence": "20-60"}
    app.selectbox(key="true").set_value("any").run()
    assert "true" not in app.query_params


def test_a_chosen_face_lives_in_the_url(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tables.answers(runs.Run.load("single").predictions(), "any", "any", (0, 100))
    face = table.iloc[7]
    app = visit("mistakes", run="single", face=face["locator"])
    assert_sound(app)
    told = texts(app).replace("\\", "")
    assert f"Labelled **{face['label']}**, called **{face['prediction']}**" in told
    assert f"FER2013 test: {face['locator']}" in told
    table_state = "face-of-answers-single-fer2013"
    assert app.session_state[table_state]["selection"]["rows"] == [7]
    press(app, "Close")
    assert "face" not in app.query_params
    assert app.session_state[table_state]["selection"]["rows"] == [], "the row can be chosen again"
    assert "Labelled **" not in texts(app)
    other = visit("mistakes", run="single", face="nobody")
    assert_sound(other)
    assert "Close" not in [button.label for button in other.button]
    monkeypatch.setenv("FER_DATA", str(made.parent / "data"))
    wrong = tables.answers(runs.Run.load("own").predictions(), "any", "any", (0, 100))["locator"].iloc[12]
    shown = visit("mistakes", run="own", face=wrong)
    assert_sound(shown)
    assert sum("that the run calls" in picture.alt for picture in pictures(shown)) == 11, "ten cards and the chosen one"


def test_another_filter_lets_go_of_the_face() -> None:
    face = tables.answers(runs.Run.load("single").predictions(), "any", "any", (0, 100)).iloc[0]["locator"]
    app = visit("mistakes", run="single", face=face)
    app.selectbox(key="true").set_value("fear").run()
    assert "face" not in app.query_params


def test_other_samples_live_in_the_url(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_DATA", str(made.parent / "data"))
    first, second = (visit("dataset", run="own", others=number) for number in ("0", "1"))
    sampled = [[picture.alt for picture in pictures(app) if "labelled" in picture.alt] for app in (first, second)]
    assert sampled[0] != sampled[1]
    press(first, "Show others")
    assert first.query_params["others"] in ("1", ["1"])
    assert [picture.alt for picture in pictures(first) if "labelled" in picture.alt] == sampled[1]
    assert_sound(visit("dataset", run="own", others="-x"))


def test_an_empty_filter_says_so() -> None:
    app = visit("mistakes", confidence="0-1")
    assert_sound(app)
    assert "No face fits this filter" in app.info[0].value


def test_mistakes_show_faces_where_the_data_is(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_DATA", str(made.parent / "data"))
    wrong = tables.answers(runs.Run.load("own").predictions(), "any", "any", (0, 100))
    assert len(wrong) > 10, "the made run is too good for this test"
    first = visit("mistakes", run="own")
    assert_sound(first)
    assert "are not shipped" not in texts(first)
    assert shown(first) == wrong["locator"][:10].tolist()
    assert shown(visit("mistakes", run="own", page="2")) == wrong["locator"][10:20].tolist()
    first.selectbox(key="true").set_value("sad").run()
    assert len(shown(first)) == min(10, (wrong["label"] == "sad").sum())


def shown(app: AppTest) -> list[str]:
    """Return where the faces on the cards of a page come from."""
    told = [caption.value.replace("\\", "") for caption in app.caption]
    return [text.removeprefix("your folder test: ") for text in told if text.startswith("your folder test: ")]


def test_a_run_can_be_renamed(own_artifacts: Path) -> None:
    app = visit("training", run="twelve")
    app.text_input(key="new_name_of_twelve").set_value("dozen")
    press(app, "Rename")
    assert app.selectbox(key="run").value == app.query_params["run"] == "dozen"
    assert (own_artifacts / "dozen" / "run.json").is_file()
    assert not (own_artifacts / "twelve").exists()


@pytest.mark.parametrize(
    ("name", "why"), [("../evil", "starts with a letter or digit"), ("several", "there is a run of that name already")]
)
def test_a_bad_name_is_refused_in_a_sentence(own_artifacts: Path, name: str, why: str) -> None:
    app = visit("training", run="twelve")
    app.text_input(key="new_name_of_twelve").set_value(name)
    press(app, "Rename")
    assert why in app.sidebar.info[0].value.replace("\\", "")
    assert (own_artifacts / "twelve").is_dir()


def test_a_run_is_deleted_only_after_a_question(own_artifacts: Path) -> None:
    app = visit("training", run="twelve")
    press(app, "Delete this run")
    assert (own_artifacts / "twelve").is_dir(), "asking must not delete"
    assert "It came with the project" not in texts(app)
    press(app, "Delete it")
    assert not (own_artifacts / "twelve").exists()
    assert app.selectbox(key="run").value == "single"


def test_the_question_names_a_run_that_was_shipped(own_artifacts: Path) -> None:
    app = visit("training", run="several")
    press(app, "Delete this run")
    assert "It came with the project" in texts(app)
    press(app, "Delete it")
    assert "ensemble ensemble is made of it" in app.sidebar.info[0].value.replace("\\", "")
    assert (own_artifacts / "several").is_dir()


def test_visitors_from_elsewhere_are_not_offered_to_change_runs(
    own_artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {"Rename", "Delete this run"} <= {button.label for button in visit("training").button}
    comes_from(monkeypatch, "studio.example", "203.0.113.7")
    assert not {"Rename", "Delete this run"} & {button.label for button in visit("training").button}
    monkeypatch.setenv("FER_TRAINING", "1")
    assert "Rename" in {button.label for button in visit("training").button}


def test_a_change_is_refused_where_it_is_made_not_only_where_it_is_offered(
    own_artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that was drawn while the buttons were there, and pressed when its visitor may not change anything."""
    for first, then in (("Rename", ""), ("Delete this run", "Delete it")):
        comes_from(monkeypatch, "localhost:8501", None)
        app = visit("training", run="twelve")
        app.text_input(key="new_name_of_twelve").set_value("mine")
        if then:
            press(app, first)
        comes_from(monkeypatch, "studio.example", "203.0.113.7")
        press(app, then or first)
        assert (own_artifacts / "twelve" / "run.json").is_file()
        assert not (own_artifacts / "mine").exists()
        assert app.sidebar.info[0].value == "Only whoever may train here may rename or delete runs."


def test_runs_that_nobody_may_change_are_not_offered_for_change(
    own_artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Rename" in [button.label for button in visit().button]
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "Rename" not in [button.label for button in visit().button]


def press(app: AppTest, label: str) -> None:
    next(button for button in app.button if button.label == label).click().run()


def jpeg(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def test_uploaded_photos_are_classified_and_a_bad_one_does_not_stop_the_others(portrait: np.ndarray) -> None:
    app = visit("classify")
    data = jpeg(portrait)
    app.file_uploader[0].set_value(
        [("me_*.jpg", data, "image/jpeg"), ("broken.jpg", data[:900], "image/jpeg"), ("empty.png", b"", "image/png")]
    ).run()
    face, *others = Predictor.load("single").predict(data)
    assert f"1. {face.label} ({face.confidence:.0%})" in texts(app).replace("\\", "").replace("*", "")
    errors = [error.value.replace("\\", "") for error in app.error]
    assert [error.split("**")[1] for error in errors] == ["broken.jpg", "empty.png"]
    assert "the file ends before the picture does" in errors[0]
    [picture] = pictures(app)
    assert (
        picture.alt.split(";")[0]
        == f"me_*.jpg with {1 + len(others)} marked: face 1 {face.label} ({face.confidence:.0%})"
    )
    assert any(face.label in element.value for element in app.get("html") if "fer-bars" in str(element.value))
    assert {"Results (JSON)", "Results (CSV)"} <= {button.label for button in app.get("download_button")}
    table = app.dataframe[0].value
    assert table["Photo"].tolist() == ["me_*.jpg", "broken.jpg", "empty.png"]
    assert table["Faces"].tolist() == [1 + len(others), 0, 0]
    assert table.loc[0, "Expressions"].startswith(f"{face.label} ({face.confidence:.0%})")
    assert "cannot be read: the file ends" in table.loc[1, "Expressions"]


def test_several_runs_answer_the_same_photo_side_by_side(portrait: np.ndarray) -> None:
    app = visit("classify", run="single", by="single,several,ensemble")
    app.file_uploader[0].set_value([("me.jpg", jpeg(portrait), "image/jpeg")]).run()
    assert_sound(app)
    told = texts(app).replace("\\", "").replace("*", "")
    labels = []
    for name in ("single", "several", "ensemble"):
        run = runs.Run.load(name)
        head = "fer2013" if "fer2013" in run.heads else run.default_head
        face = Predictor.load(name, head=head).predict(jpeg(portrait))[0]
        labels.append(face.label)
        assert f"{name}: {classification.spoken(face)}" in told
    assert ("Face 1: all say" in told) == (len(set(labels)) == 1)
    assert len(pictures(app)) == 1, "the photo is shown once"


def test_answers_of_several_runs_are_told_apart_in_the_downloads(portrait: np.ndarray) -> None:
    data = jpeg(portrait)
    face = Predictor.load("single").predict(data)[0]
    two = [classification.Photo("me.jpg", (face,), run=name) for name in ("single", "several")]
    assert [row["run"] for row in json.loads(classification.as_json(two))] == ["single", "several"]
    assert classification.as_table(two)["run"].tolist() == ["single", "several"]
    alone = [classification.Photo("me.jpg", (face,))]
    assert "run" not in json.loads(classification.as_json(alone))[0]
    assert "run" not in classification.as_table(alone)


def test_the_picked_run_alone_answers_unless_others_are_asked() -> None:
    app = visit("classify", run="several", **{"from": "sample"})
    assert app.multiselect(key="by").value == ["several"]
    app.multiselect(key="by").set_value(["several", "single"]).run()
    assert app.query_params["by"] in ("several,single", ["several,single"])
    assert "Face 1" in texts(app)


def test_a_photo_without_a_face_gets_an_explanation() -> None:
    app = visit("classify")
    app.file_uploader[0].set_value([("wall.png", jpeg(np.full((200, 300, 3), 128, np.uint8)), "image/png")]).run()
    assert_sound(app)
    assert "No face was found" in app.info[0].value


def test_an_uncertain_answer_is_given_with_reserve() -> None:
    app = visit("classify", run="own", **{"from": "sample"})
    told = texts(app)
    assert "1. perhaps " in told
    assert "Here the threshold is 99%" in told
    assert "perhaps" not in texts(visit("classify", run="single", **{"from": "sample"}))


def test_a_snapshot_is_classified(portrait: np.ndarray) -> None:
    app = visit("classify", **{"from": "camera"})
    app.camera_input[0].set_value(("snapshot.jpg", jpeg(portrait), "image/jpeg")).run()
    assert_sound(app)
    assert len(pictures(app)) == 1


def clip_of(portrait: np.ndarray, folder: Path, frames: int = 20, fps: float = 10) -> bytes:
    """Return a video of the portrait that moves a little."""
    moved = [np.roll(portrait, 2 * (number % 5), axis=1) for number in range(frames)]
    return write_clip(folder / "clip.mp4", moved, fps=fps, codec="mp4v").read_bytes()


def test_a_video_gets_its_timeline(portrait: np.ndarray, tmp_path: Path) -> None:
    app = visit("classify", run="single", **{"from": "video"})
    assert_sound(app)
    assert "never touches its disk" in texts(app)
    app.file_uploader[0].set_value(("me.mp4", clip_of(portrait, tmp_path), "video/mp4")).run()
    assert_sound(app)
    [chart] = app.get("vega_lite_chart")
    assert "face 1, seen for 2.0 s" in chart.proto.alt, "20 frames at 10 a second"
    faces, frames = (table.value for table in app.dataframe)
    assert faces.iloc[0]["Face"] == 1
    assert frames["time"].drop_duplicates().tolist() == pytest.approx(np.arange(10) / 5, abs=0.01)
    assert {f"p_{label}" for label in LABELS} <= set(frames.columns)
    assert {"Numbers (CSV)", "Picture (PNG)", "Download this table (CSV)"} <= {
        button.label for button in app.get("download_button")
    }


def test_a_video_is_looked_at_once(portrait: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, look = [], clip.look
    monkeypatch.setattr(clip, "look", lambda *given, **options: looks.append(1) or look(*given, **options))
    app = visit("classify", run="several", **{"from": "video"})
    app.file_uploader[0].set_value(("me.mp4", clip_of(portrait, tmp_path), "video/mp4")).run()
    app.run()
    assert len(looks) == 1
    app.selectbox(key="head").set_value("expw").run()
    assert len(looks) == 2, "another head gives another answer"


def test_only_the_beginning_of_a_long_video_is_looked_at(
    portrait: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip, "LONGEST", 1.0)
    app = visit("classify", run="single", **{"from": "video"})
    app.file_uploader[0].set_value(("me.mp4", clip_of(portrait, tmp_path), "video/mp4")).run()
    assert "Only the first 1 seconds were looked at" in texts(app)
    assert app.dataframe[1].value["time"].max() == pytest.approx(1.0)


def test_one_video_at_a_time_is_looked_at_and_the_others_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    lane, told, order = threading.Semaphore(1), [], []
    waiting = threading.Event()

    class Place:
        def info(self, text: str, icon: str) -> None:
            told.append(text)
            waiting.set()

        def empty(self) -> None:
            told.append("")

    monkeypatch.setattr(clip, "_lane", lambda: lane)
    monkeypatch.setattr(clip.st, "empty", Place)

    def second() -> None:
        with clip._turn():
            order.append("second")

    visitor = threading.Thread(target=second)
    with contextlib.suppress(ValueError), clip._turn():
        visitor.start()
        assert waiting.wait(60)
        order.append("first")
        raise ValueError("a damaged video lets the next one in all the same")
    visitor.join(60)
    assert order == ["first", "second"]
    assert told[-2:] == ["Another visitor's video comes first …", ""]
    assert lane.acquire(blocking=False), "the lane is free again"


def test_a_video_without_a_face_and_what_is_no_video_are_told(tmp_path: Path) -> None:
    app = visit("classify", run="single", **{"from": "video"})
    wall = write_clip(tmp_path / "wall.avi", [np.full((240, 320, 3), 128, np.uint8)] * 10, fps=5)
    app.file_uploader[0].set_value(("wall.avi", wall.read_bytes(), "video/avi")).run()
    assert_sound(app)
    assert "No face was found" in texts(app)
    app.file_uploader[0].set_value(("notes.mp4", b"no video at all", "video/mp4")).run()
    assert not app.exception
    assert "no video of a known format; use an MP4" in app.error[0].value.replace("\\", "")


def test_many_photos_are_counted_and_paged(portrait: np.ndarray) -> None:
    app = visit("classify", run="single")
    data = jpeg(portrait)
    app.file_uploader[0].set_value([(f"{number}.jpg", data, "image/jpeg") for number in range(26)]).run()
    assert_sound(app)
    assert "These are the first 24 of 26 photos" in texts(app)
    faces = 24 * len(Predictor.load("single").predict(data))
    assert f"{faces} faces in 24 photos" in [plain(heading.value).replace("\\", "") for heading in app.subheader]
    assert len(app.dataframe[0].value) == 24
    assert [picture.alt.split()[0] for picture in pictures(app)] == [f"{number}.jpg" for number in range(6)]


@pytest.mark.parametrize(
    ("done", "elapsed", "text"),
    [
        (0, 0.5, "Photo 1 of 10"),
        (4, 0.5, "Photo 5 of 10"),
        (4, 8.0, "Photo 5 of 10, 12 s left"),
        (10, 20.0, "Photo 10 of 10, 1 s left"),
    ],
)
def test_progress_tells_what_is_left(done: int, elapsed: float, text: str) -> None:
    assert progress.told(done, 10, "Photo", elapsed) == text


def test_another_head_can_be_asked() -> None:
    app = visit("classify", run="several", head="expw", **{"from": "sample"})
    assert app.selectbox(key="head").value == "expw"
    face, *_ = Predictor.load("several", head="expw").predict(ROOT / "static" / "portrait.jpg")
    assert f"{face.label} ({face.confidence:.0%})" in texts(app).replace("\\", "")


def found(label: str = "sad", *, uncertain: bool = True, box: tuple[float, ...] = (10, 20, 60, 80)) -> Face:
    return Face(box, 0.9, label, 0.3125, {"happy": 0.25, "sad": 0.3125, "bored": 0.4375}, uncertain)


def test_downloads_hold_every_face_and_every_error() -> None:
    photos = [
        classification.Photo("a.jpg", (found(), found("happy", uncertain=False))),
        classification.Photo("b", error="no"),
    ]
    told = json.loads(classification.as_json(photos))
    assert told[1] == {"image": "b", "error": "no"}
    assert told[0]["faces"][0]["box"] == [10, 20, 60, 80]
    assert told[0]["faces"][0]["probabilities"] == {"happy": 0.25, "sad": 0.3125, "bored": 0.4375}
    table = classification.as_table(photos)
    assert " ".join(table.columns) == (
        "image face left top width height score label confidence uncertain p_happy p_sad p_bored"
    )
    assert table[["image", "face", "label", "uncertain"]].to_numpy().tolist() == [
        ["a.jpg", 1, "sad", True],
        ["a.jpg", 2, "happy", False],
    ]


def test_boxes_are_drawn_where_the_faces_are_and_an_uncertain_one_is_dashed() -> None:
    photo = np.zeros((200, 300, 3), np.uint8)
    whole, dashed = (classification.draw(photo, [found(uncertain=value)]) for value in (False, True))
    sad = np.array([0x00, 0x72, 0xB2])
    side = (whole[20:100, 70] == sad).all(axis=1)
    assert side.mean() > 0.9
    assert 0.3 < (dashed[20:100, 70] == sad).all(axis=1).mean() < 0.7
    assert not whole[:, 80:].any()
    assert not photo.any(), "the photo itself is left alone"


def test_a_large_photo_is_shown_smaller_with_its_boxes_in_place() -> None:
    shown_photo = classification.draw(
        np.zeros((2560, 1280, 3), np.uint8), [found(uncertain=False, box=(200, 400, 400, 600))]
    )
    assert shown_photo.shape == (1280, 640, 3)
    rows, columns = np.nonzero(shown_photo[190:].any(axis=2))  # the number stands above the box
    assert (190 + rows.max(), columns.min(), columns.max()) == pytest.approx((500, 100, 300), abs=4)
    assert (shown_photo[200, 160:240] == [0x00, 0x72, 0xB2]).all()


def upload(size: int) -> None:
    """Let Starlette receive a file as Streamlit's upload route does."""
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'

    async def stream() -> Any:
        yield head
        for _ in range(size >> 16):
            yield bytes(1 << 16)
        yield b"\r\n--x--\r\n"

    async def receive() -> None:
        form = await MultiPartParser(Headers({"content-type": "multipart/form-data; boundary=x"}), stream()).parse()
        await form.close()

    asyncio.run(receive())


def test_an_upload_never_touches_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    touched = []
    rollover = tempfile.SpooledTemporaryFile.rollover
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", lambda file: (touched.append(1), rollover(file)))
    monkeypatch.setattr(MultiPartParser, "spool_max_size", 1 << 20)
    upload(3 << 20)
    assert touched, "this trap must see a file that goes to the disk"
    touched.clear()
    frame.keep_uploads_in_memory()
    upload(31 << 20)
    assert not touched


@pytest.mark.parametrize("text", ["a_b*c*.jpg", "[x](http://y)", ":material/home:", "$x$", "# a", "`c`", "<b>"])
def test_names_from_outside_are_shown_as_they_are(text: str) -> None:
    import re

    assert re.sub(r"\\(.)", r"\1", plain(text)) == text
    assert not re.search(r"(?<!\\)[*_`\[\]<>#$:]", plain(text))


@pytest.mark.parametrize(("seconds", "text"), [(45, "45 s"), (700, "12 min"), (7500, "2 h 5 min")])
def test_durations(seconds: float, text: str) -> None:
    assert tables.duration(seconds) == text
