"""What is shipped: every run is whole, small enough, served without a training framework, and opens on every page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest

from fercore import papers
from fercore.labels import LABELS
from fercore.runs import Run
from fercore.training import models, shipped

ROOT = Path(__file__).resolve().parent.parent
ARTIFACTS = ROOT / "artifacts"
SHIPPED = (ARTIFACTS / "SHIPPED").read_text(encoding="utf-8").split()
DEFAULT = (ARTIFACTS / "DEFAULT").read_text(encoding="utf-8").strip()
MIB = 2**20
OF_A_RUN = ("overview", "dataset", "training", "evaluation", "mistakes", "classify", "compare", "papers")
TRAINING = ("tensorflow", "keras", "torch", "jax", "sklearn", "optuna", "pandas", "streamlit")
ASK = f"""
import json, sys
from fercore.cli import main
main(["predict", "static/portrait.jpg", "--run", sys.argv[1], "--json"], standalone_mode=False)
print(json.dumps([name for name in {TRAINING!r} if name in sys.modules]))
"""


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("name", SHIPPED)
def test_a_run_is_whole(name: str) -> None:
    run = Run.load(ARTIFACTS / name)
    files = {"dataset.json", "predictions.parquet", "README.md"}
    if run.kind == "network":
        files |= {"model.onnx", "history.csv"}
    assert files <= set(run.info["files"])
    assert size(ARTIFACTS / name) <= 13 * MIB
    if layers := run.info["model"].get("layers"):
        assert sum(layer["parameters"] for layer in layers) == run.info["model"]["parameters"]
    for head in run.heads.values():
        assert set(head.labels) >= set(LABELS)
        assert head.temperature > 0
    for dataset in run.info["datasets"]:
        for score in ("accuracy", "balanced_accuracy", "macro_f1", "ece"):
            bounds = run.info["metrics"][dataset][score]
            assert 0 <= bounds["low"] <= bounds["value"] <= bounds["high"] <= 1
    card = (ARTIFACTS / name / "README.md").read_text(encoding="utf-8")
    for said in ("licence", "AI Act", "not an emotion", "released for research"):
        assert said.lower() in card.lower(), f"{name}: its card does not say {said!r}"


def test_all_of_it_is_small_and_the_default_is_calibrated() -> None:
    assert size(ARTIFACTS) <= 90 * MIB
    assert DEFAULT in SHIPPED
    assert Run.load(ARTIFACTS / DEFAULT).info["metrics"]["fer2013"]["ece"]["value"] <= 0.03


def test_nano_is_small_enough_for_a_phone() -> None:
    assert Run.load(ARTIFACTS / "nano").file("model.onnx").stat().st_size <= 1_500_000


def test_each_network_of_the_papers_has_a_run() -> None:
    trained = {Run.load(ARTIFACTS / name).info["model"]["name"] for name in SHIPPED}
    assert {claim.model for claim in papers.CLAIMS} <= trained <= {*models.MODELS, "ensemble"}
    measured = papers.load(ARTIFACTS / papers.FILE)["results"]
    assert {claim.model for claim in papers.CLAIMS} == set(measured)


def test_the_shipped_set_is_there() -> None:
    assert {each.name for each in shipped.PROCESSOR if not each.step} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_predict_serves_it_without_a_training_framework(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", ASK, name], cwd=ROOT, capture_output=True, text=True, check=True)
    answer, loaded = map(json.loads, done.stdout.splitlines())
    (face,) = answer["faces"]
    assert set(face["probabilities"]) >= set(LABELS)
    assert sum(face["probabilities"].values()) == pytest.approx(1, abs=0.001)
    assert loaded == []


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == DEFAULT else pytest.mark.long) for name in SHIPPED]
)
def test_every_page_opens_on_it_without_data(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = PagesManager.__init__

    def remember(self: PagesManager, *given: Any, **options: Any) -> None:
        PagesManager.uses_pages_directory = False  # as on a server, where st.navigation has run once
        begin(self, *given, **options)

    monkeypatch.setattr(PagesManager, "__init__", remember)
    monkeypatch.setenv("FER_DATA", str(tmp_path))
    monkeypatch.delenv("FER_RUN", raising=False)
    for page in OF_A_RUN:
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
        if page != "overview":
            app.switch_page(f"pages/{page}.py")
        app.query_params.update({"run": name} | ({"from": "sample"} if page == "classify" else {}))
        app.run()
        assert not app.exception, f"{page}: {app.exception}"
        assert not app.error, f"{page}: {[each.value for each in app.error]}"
        assert app.title[0].value
