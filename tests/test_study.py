"""Studies: what was written comes back, what contradicts itself is refused by one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fercore import runs
from fercore.errors import RunError
from fercore.runs import Run
from fercore.study import Dimension, Study, Trial
from made_run import made_run, made_study


def document(**changes: Any) -> dict[str, Any]:
    return {**json.loads(made_study().to_json()), **changes}


def test_a_study_comes_back_as_it_was() -> None:
    study = made_study()
    assert Study.from_dict(json.loads(study.to_json())) == study


def test_the_best_trial_is_the_first_of_the_best_complete_ones() -> None:
    def trial(number: int, state: str, *epochs: float) -> Trial:
        value = max(epochs) if state == "complete" else None
        return Trial(number=number, params={"x": 1.0}, state=state, value=value, epochs=epochs, seconds=1.0)

    trials = (trial(0, "pruned", 0.9), trial(1, "complete", 0.3, 0.5), trial(2, "complete", 0.5), trial(3, "failed"))
    study = Study(
        metric="val_accuracy", seed=0, sampler="", pruner="", recipe={}, fingerprint="", trials=trials,
        space={"x": Dimension(low=0, high=2)},
    )  # fmt: skip
    assert study.best.number == 1
    assert [len(study.of(state)) for state in ("complete", "pruned", "failed")] == [2, 1, 1]
    assert Study.from_dict(json.loads(study.to_json())) == study


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.update(schema=2), "schema 2 is unknown; this version reads 1"),
        (lambda d: d.pop("space"), "no 'space'"),
        (lambda d: d.update(best=1), "trial 1 is not its best"),
        (lambda d: d.update(surprise=1), "surprise"),
        (lambda d: d["trials"][2].update(number=7), "trial 2 calls itself 7"),
        (
            lambda d: d["trials"][0].update(state="running"),
            "trial 0: state 'running' is none of complete, pruned, failed",
        ),
        (lambda d: d["trials"][0]["params"].update(learning_rate=9), "trial 0: learning_rate 9 is outside the space"),
        (lambda d: d["trials"][0]["params"].update(augment="huge"), "trial 0: augment 'huge' is outside the space"),
        (lambda d: d["trials"][0]["params"].pop("augment"), "its parameters are not those of the space"),
        (lambda d: d["trials"][0].update(value=0.99), "trial 0: its value is not the best of its epochs"),
        (lambda d: d["trials"][0].update(value=None), "trial 0 is complete, but its value is None"),
        (lambda d: d["trials"][0].update(seconds="long"), "epochs and seconds must be numbers"),
        (lambda d: d["space"]["learning_rate"].update(low=1.0), "1 to 0.01 is no logarithmic interval"),
        (lambda d: d["space"].update(learning_rate={"low": "a", "high": 1}), "'a' is not a number"),
        (lambda d: d["space"].update(learning_rate={"low": 0, "choices": [1]}), "either choices or low and high"),
        (lambda d: d["importance"].update(momentum=0.5), "importance must be a share for parameters of the space"),
    ],
)
def test_what_contradicts_itself_is_refused(change: Any, told: str) -> None:
    broken = document()
    change(broken)
    with pytest.raises(RunError) as caught:
        Study.from_dict(broken)
    assert told in str(caught.value)


def test_a_run_gives_its_study(tmp_path: Path) -> None:
    run = made_run(tmp_path, "searched", study=True)
    assert run.study() == made_study()
    assert made_run(tmp_path, "plain").study() is None


def test_a_run_with_a_damaged_study_is_refused_when_it_is_written_and_when_it_is_read(tmp_path: Path) -> None:
    run = made_run(tmp_path, "searched", study=True)
    info = {key: value for key, value in run.info.items() if key not in ("schema", "files")}
    files: dict[str, Path | bytes] = {name: run.file(name) for name in run.info["files"]}
    text = json.dumps(document(best=1)).encode()
    with pytest.raises(RunError, match=r"study\.json: not a valid study: trial 1 is not its best"):
        runs.write(tmp_path / "wrong", info, {**files, "study.json": text})
    assert not (tmp_path / "wrong").exists()
    run.file("study.json").write_bytes(text)
    with pytest.raises(RunError, match=r"study\.json: changed since the run was written"):
        Run.load(run.path)
    with pytest.raises(RunError, match=r"study\.json: not a valid study"):
        Run.load(run.path, verify=False).study()
