"""The search: reproducible, resumed after a kill as if nothing had happened, refusals in one line, networks that stay small."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fercore.cli import main
from fercore.config import Config
from fercore.errors import ConfigError, RunError
from fercore.runs import Run
from fercore.study import Dimension, Study
from made_faces import make_folder

keras = pytest.importorskip("keras")
pytest.importorskip("optuna")

from fercore.training import models, tune  # noqa: E402
from fercore.training import space as spaces  # noqa: E402
from fercore.training.fit import Diverged  # noqa: E402
from fercore.training.recipe import Recipe  # noqa: E402
from test_train import cache, in_process  # noqa: E402, F401

SPACE = {
    "learning_rate": Dimension(low=1e-4, high=1e-2, log=True),
    "options.units": Dimension(choices=([8, 8], [16, 16])),
}
RECIPE = Recipe(
    model="report-cnn", datasets=("folder",), epochs=2, batch_size=16, options={"filters": [4, 8]}, limit=20, seed=3
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("data") / "faces", ("anger", "happiness", "zen"), 20)


def search(data: Path, folder: Path, trials: int = 4, **options: object) -> Study:
    return tune.search(RECIPE, SPACE, trials=trials, data=data, folder=folder, **options)


def outcome(study: Study) -> list[tuple]:
    """Return everything about the trials but their time."""
    return [(each.number, each.params, each.state, each.value, each.epochs) for each in study.trials]


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A search that nothing disturbed."""
    return search(data, tmp_path_factory.mktemp("whole"))


def test_a_search_writes_its_study(whole: Study) -> None:
    assert [trial.number for trial in whole.trials] == [0, 1, 2, 3]
    for trial in whole.trials:
        assert 1e-4 <= trial.params["learning_rate"] <= 1e-2
        assert trial.params["options.units"] in ([8, 8], [16, 16])
        assert len(trial.epochs) == 2, "none is stopped before four are complete"
        assert trial.value == max(trial.epochs)
    assert len({trial.params["learning_rate"] for trial in whole.trials}) == 4
    assert set(whole.importance) == set(SPACE)
    assert sum(whole.importance.values()) == pytest.approx(1, abs=1e-6)
    assert whole.recipe["limit"] == 20


def test_a_search_that_breaks_off_in_a_trial_goes_on_as_if_nothing_had_happened(
    whole: Study, data: Path, tmp_path: Path
) -> None:
    epochs = itertools.count(1)

    def breaking(row: dict) -> None:
        if "val_accuracy" in row and next(epochs) == 4:  # the second epoch of the second trial
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(data, tmp_path, report=breaking)
    kept = Study.from_dict(json.loads((tmp_path / "study.json").read_text()))
    assert outcome(kept) == outcome(whole)[:1]
    with pytest.raises(RunError, match="a search was interrupted here; go on with --resume"):
        search(data, tmp_path)
    told: list[int] = []
    study = search(data, tmp_path, resume=True, told=lambda study: told.append(len(study.trials)))
    assert told == [2, 3, 4]
    assert outcome(study) == outcome(whole)
    assert study.importance == whole.importance


def test_a_study_of_another_search_or_a_damaged_one_is_refused(whole: Study, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "study.json"
    file.write_text(whole.to_json().replace(whole.fingerprint, "0" * 64))
    with pytest.raises(RunError, match="of a search with another recipe, space or other data"):
        search(data, tmp_path, resume=True)
    file.write_text(whole.to_json()[:-100])
    with pytest.raises(RunError, match="after deleting"):
        search(data, tmp_path, resume=True)


def test_hopeless_trials_are_stopped_early_and_divergent_ones_fail(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first four reach 50%; of the others one is below their median after its first epoch, one diverges."""
    curves = iter([[0.4, 0.5], [0.4, 0.5], [0.4, 0.5], [0.4, 0.5], [0.1, 0.9], None, [0.5, 0.6]])

    def pretended(recipe: Recipe, parts: object, report: object) -> None:
        curve = next(curves)
        if curve is None:
            raise Diverged("epoch 1: the loss is no longer a number")
        for epoch, value in enumerate(curve, 1):
            report({"epoch": epoch, "val_accuracy": value})

    monkeypatch.setattr(tune, "_train", pretended)
    study = search(data, tmp_path, trials=7)
    assert [trial.state for trial in study.trials] == ["complete"] * 4 + ["pruned", "failed", "complete"]
    assert study.trials[4].epochs == (0.1,)
    assert study.trials[5].epochs == ()
    assert study.best.number == 6


def test_the_sampler_learns(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where small rates are best, later trials try smaller ones than the random first ones do."""

    def pretended(recipe: Recipe, parts: object, report: object) -> None:
        report({"epoch": 1, "val_accuracy": 1 / (1 + 1000 * recipe.learning_rate)})
        report({"epoch": 2, "val_accuracy": 1 / (1 + 1000 * recipe.learning_rate)})

    monkeypatch.setattr(tune, "_train", pretended)
    study = search(data, tmp_path, trials=30)
    rates = [trial.params["learning_rate"] for trial in study.trials]
    first, last = sorted(rates[:8]), sorted(rates[-8:])
    assert last[4] < first[4]
    assert study.importance["learning_rate"] > 0.9


def test_every_space_fits_its_network() -> None:
    """Each name is a field of the recipe or an option of the builder, and each value is one that the recipe takes."""
    for name in models.MODELS:
        recipe = Recipe.from_dict({"model": name, "datasets": ["x"], **models.get(name).recipe})
        space = spaces.space_for(recipe)
        assert "learning_rate" in space
        for key, of in space.items():
            for value in of.choices or (of.low, of.high):
                changed = spaces.apply(recipe, {key: value})
                if key.startswith("options."):
                    assert changed.options[key.removeprefix("options.")] == value
                else:
                    assert getattr(changed, key) == value
                assert isinstance(changed, Config)
    with pytest.raises(ConfigError, match="nothing is left to search"):
        spaces.space_for(recipe, fixed=space)


def test_no_report_cnn_of_the_space_is_heavier_than_4_mb() -> None:
    space = spaces.SPACES["report-cnn"]
    for filters, units in itertools.product(space["options.filters"].choices, space["options.units"].choices):
        a, b = filters
        c, d = units
        # by hand: two 3x3 convolutions, 48 px halved twice to 12x12, three dense layers, each with biases
        parameters = (9 * a + a) + (9 * a * b + b) + (144 * b * c + c) + (c * d + d) + (7 * d + 7)
        assert 4 * parameters < 3_900_000
    model = models.get("report-cnn").build({"x": 7}, filters=filters, units=units)
    assert model.count_params() == parameters


def test_what_is_set_is_not_searched() -> None:
    recipe = Recipe(model="report-cnn", datasets=("x",))
    assert "batch_size" not in spaces.space_for(recipe, fixed=["batch_size"])
    assert not [name for name in spaces.space_for(recipe, fixed=["options"]) if name.startswith("options.")]
    assert spaces.space_for(recipe)["learning_rate"].high < spaces.space_for(recipe.replace(optimizer="sgd"))[
        "learning_rate"
    ].high  # fmt: skip


def command(*arguments: object) -> list[str]:
    return ["tune", "--model", "report-cnn", "--dataset", "folder", *map(str, arguments)]


def refused(*arguments: object) -> str:
    result: Result = CliRunner().invoke(main, command(*arguments))
    assert result.exit_code == 2, result.output
    return result.stderr.splitlines()[-1]


def test_what_cannot_be_done_is_one_line(data: Path, tmp_path: Path) -> None:
    usual = ["--data", data, "--out", tmp_path / "x"]
    assert "Missing option '--trials'" in refused(*usual)
    assert "trial" in refused(*usual, "--trials", 0)
    assert "unknown option 'epoch'" in refused(*usual, "--trials", 1, "--set", "epoch=1")
    (tmp_path / "x").mkdir()
    assert "already exists" in refused(*usual, "--trials", 1)


SHORT = ["--trials", 2, "--trial-epochs", 1, "--trial-limit", 12, "--epochs", 1, "--set", 'options={"filters": [4, 8]}']


def test_the_command_leaves_a_run_that_says_how_it_was_found(data: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, command("--data", data, "--out", tmp_path / "found", *SHORT))
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert "2 trials: 2 complete, 0 stopped early, 0 failed; best is trial" in result.output
    assert "trial 2/2" in result.stderr
    run = Run.load(tmp_path / "found")
    study = run.study()
    assert len(study.trials) == 2
    assert study.recipe["limit"] == 12
    assert run.info["recipe"]["limit"] == 0, "the training at the end sees all faces"
    for name, value in study.best.params.items():
        assert run.info["recipe"][name] == value
    assert [path.name for path in tmp_path.iterdir()] == ["found"]


@pytest.mark.long
def test_a_killed_process_resumes(data: Path, tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "fercore", *command("--data", data, "--out", tmp_path / "x", *SHORT)]
    root = Path(__file__).resolve().parent.parent
    study = tmp_path / ".x.tuning" / "study.json"
    process = subprocess.Popen(arguments, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not study.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    assert process.wait() != 0, "it was over before it could be killed"
    before = Study.from_dict(json.loads(study.read_text()))
    done = subprocess.run([*arguments, "--resume"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after = Run.load(tmp_path / "x").study()
    assert after.trials[: len(before.trials)] == before.trials
    assert len(after.trials) == 2
