"""The training loop: what a history says, when it stops, what it keeps, and that a killed one ends like an undisturbed one."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fercore.errors import ConfigError, RunError
from fercore.training import models
from fercore.training.data import Faces, join
from fercore.training.recipe import Recipe
from made_faces import made_dataset

keras = pytest.importorskip("keras")

from fercore.training import fit as fit_module  # noqa: E402
from fercore.training.fit import State, checkpoint_file, fit  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
ENTRY = models.MODELS["report-cnn"]
SMALL = {"filters": [4, 8], "units": [16, 16], "dropout": 0.3}
LABELS = ("angry", "happy", "zen")
EVERYTHING = {
    "epochs": 3,
    "augment": "strong",
    "ema": 0.9,
    "head_rate": 2.0,
    "schedule": "one_cycle",
    "learning_rate": 3e-3,
    "weight_decay": 0.01,
    "mixup": 0.2,
    "label_smoothing": 0.1,
    "class_weight": 0.5,
    "shares": {"b": 0.25},
}


def recipe(**changes: object) -> Recipe:
    return Recipe.from_dict(
        {"model": "report-cnn", "datasets": ["a", "b"], "batch_size": 8, "epochs": 2, "options": SMALL, **changes}
    )


def two_sources(seed: int, each: int) -> Faces:
    """Faces of two sources; "b" has a class more."""
    one = made_dataset([0, 1, 2] * each, LABELS, name="a", root="a", seed=seed)
    two = made_dataset([0, 1, 2, 3] * (each // 2), (*LABELS, "odd"), name="b", root="b", seed=seed + 1)
    return join([one, two], class_weight=0.5)


def sources() -> tuple[Faces, Faces]:
    """Faces to learn from and to check with."""
    return two_sources(0, 4), two_sources(10, 4)


@pytest.fixture(scope="module")
def learn() -> Faces:
    return sources()[0]


@pytest.fixture(scope="module")
def check() -> Faces:
    return sources()[1]


def built(made: Recipe) -> keras.Model:
    keras.utils.set_random_seed(made.seed)
    return ENTRY.build({"a": 3, "b": 4}, **made.options)


def run(made: Recipe, learn: Faces, check: Faces, folder: Path, **options) -> tuple[State, keras.Model]:
    model = built(made)
    state = fit(model, learn, check, made, ENTRY.input, folder=folder, **{"fingerprint": "same", **options})
    return state, model


def same(first: list[dict], second: list[dict]) -> None:
    """Two histories agree to 1e-4, but for the seconds."""
    assert len(first) == len(second)
    for left, right in zip(first, second, strict=True):
        assert set(left) == set(right)
        for name in set(left) - {"seconds"}:
            assert left[name] == pytest.approx(right[name], abs=1e-4), name


@pytest.fixture(autouse=True)
def eager(request) -> Iterator[None]:
    """Without tracing, which takes longer than these few steps; one test, and all of ``test_train.py``, go without this."""
    if keras.backend.backend() != "tensorflow" or "graph" in request.node.name:
        yield
        return
    import tensorflow

    tensorflow.config.run_functions_eagerly(True)
    yield
    tensorflow.config.run_functions_eagerly(False)


class Stop(Exception):
    pass


def stop_after(epoch: int):
    """A report that interrupts the training once an epoch is whole."""

    def report(row: dict) -> None:
        if "step" not in row and row["epoch"] == epoch:
            raise Stop

    return report


def test_history_and_its_file(learn, check, tmp_path):
    seen = []
    state, _ = run(recipe(), learn, check, tmp_path, report=seen.append)
    assert [row["epoch"] for row in state.history] == [1, 2]
    assert list(state.history[0]) == [
        "epoch",
        "loss",
        "accuracy",
        "learning_rate",
        "val_loss",
        "val_accuracy",
        "val_loss_a",
        "val_accuracy_a",
        "val_loss_b",
        "val_accuracy_b",
        "seconds",
    ]
    for row in state.history:
        assert row["val_accuracy"] == pytest.approx((row["val_accuracy_a"] + row["val_accuracy_b"]) / 2)
        assert 0 <= row["accuracy"] <= 1
        assert row["learning_rate"] == pytest.approx(1e-3)
    table = pd.read_csv(tmp_path / "history.csv")
    pd.testing.assert_frame_equal(table, pd.DataFrame(state.history), check_dtype=False)
    assert [row for row in seen if "step" not in row] == state.history
    assert {row["steps"] for row in seen if "step" in row} == {2}  # 12 + 8 faces in batches of 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.npz", "history.csv"]


def test_validation_values_are_those_of_the_model(learn, check, tmp_path):
    """After one epoch the model has that epoch's weights: loss and accuracy worked out here from its logits."""
    state, model = run(recipe(epochs=1), learn, check, tmp_path)
    answers = model.predict(check.inputs(range(len(check)), ENTRY.input), verbose=0)
    for head, labels in (("a", 12), ("b", 8)):
        known = np.flatnonzero(check.weights[head])
        assert len(known) == labels
        logits = answers[head][known].astype(float)
        probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        codes = check.targets[head][known].argmax(axis=1)
        assert state.history[0][f"val_accuracy_{head}"] == pytest.approx((probs.argmax(1) == codes).mean())
        expected = -np.log(probs[np.arange(labels), codes]).mean()
        assert state.history[0][f"val_loss_{head}"] == pytest.approx(expected, rel=1e-4)


def test_training_accuracy_and_loss_are_those_of_the_faces_shown(learn, check, tmp_path):
    """With a learning rate of next to nothing the model stays as it was built; so do its answers to the epoch's faces."""
    made = recipe(epochs=1, batch_size=4, learning_rate=1e-9, options={**SMALL, "dropout": 0.0})
    state, model = run(made, learn, check, tmp_path)
    answers = model.predict(learn.inputs(range(len(learn)), ENTRY.input), verbose=0)
    accuracies, loss = [], 0.0
    for head in ("a", "b"):
        weight = learn.weights[head].astype(float)
        right = answers[head].argmax(1) == learn.targets[head].argmax(1)
        accuracies.append((weight * right).sum() / weight.sum())
        logits = answers[head].astype(float)
        log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        loss += -(weight * (learn.targets[head] * log_probs).sum(axis=1)).sum() / len(learn)
    assert state.history[0]["accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-5)
    assert state.history[0]["loss"] == pytest.approx(loss, rel=1e-4)


def test_learning_happens_in_a_graph(tmp_path):
    """Three clear shapes are told apart after a few epochs."""
    learn, check = (join([made_dataset([0, 1, 2] * n, LABELS, seed=s)]) for n, s in ((24, 1), (10, 2)))
    made = recipe(datasets=["made"], epochs=8, batch_size=16, learning_rate=5e-3, options={**SMALL, "dropout": 0.0})
    keras.utils.set_random_seed(0)
    model = ENTRY.build({"made": 3}, **made.options)
    state = fit(model, learn, check, made, ENTRY.input, folder=tmp_path, fingerprint="x")
    assert max(row["val_accuracy"] for row in state.history) >= 0.8
    assert state.history[-1]["loss"] < 0.5 * state.history[0]["loss"]
    assert set(state.history[0]) == {
        "epoch",
        "loss",
        "accuracy",
        "learning_rate",
        "val_loss",
        "val_accuracy",
        "seconds",
    }


@pytest.fixture(scope="module")
def undisturbed(learn, check, tmp_path_factory) -> tuple[State, list[np.ndarray]]:
    """Three epochs with dropout, augmentation, mixup, averages, shares and a schedule, in one go."""
    state, model = run(recipe(**EVERYTHING), learn, check, tmp_path_factory.mktemp("undisturbed"))
    return state, model.get_weights()


def test_the_same_recipe_gives_the_same_training(undisturbed, learn, check, tmp_path):
    """Whatever an earlier training left in the folder, where it is not to be resumed."""
    (tmp_path / "checkpoint.npz").write_bytes(b"of another training")
    state, model = run(recipe(**EVERYTHING), learn, check, tmp_path)
    same(state.history, undisturbed[0].history)
    for left, right in zip(model.get_weights(), undisturbed[1], strict=True):
        np.testing.assert_allclose(left, right, atol=1e-4)
    other, _ = run(recipe(**EVERYTHING, seed=1).replace(epochs=1), learn, check, tmp_path / "other")
    assert other.history[0]["loss"] != pytest.approx(state.history[0]["loss"], abs=1e-4)


@pytest.mark.parametrize("epoch", [1, 2])
def test_an_interrupted_training_ends_like_an_undisturbed_one(undisturbed, learn, check, tmp_path, epoch):
    with pytest.raises(Stop):
        run(recipe(**EVERYTHING), learn, check, tmp_path, report=stop_after(epoch))
    assert len(pd.read_csv(tmp_path / "history.csv")) == epoch
    seen = []
    state, model = run(recipe(**EVERYTHING), learn, check, tmp_path, resume=True, report=seen.append)
    assert [row["epoch"] for row in seen if "step" not in row] == list(range(epoch + 1, 4))
    same(state.history, undisturbed[0].history)
    assert state.best_epoch == undisturbed[0].best_epoch
    for left, right in zip(model.get_weights(), undisturbed[1], strict=True):
        np.testing.assert_allclose(left, right, atol=1e-4)
    assert len(pd.read_csv(tmp_path / "history.csv")) == 3


def test_a_finished_training_is_not_trained_again(undisturbed, learn, check, tmp_path):
    made = recipe(**EVERYTHING)
    run(made, learn, check, tmp_path)
    (tmp_path / "history.csv").unlink()  # killed between the checkpoint and this file
    seen = []
    state, model = run(made, learn, check, tmp_path, resume=True, report=seen.append)
    assert seen == []
    same(state.history, undisturbed[0].history)
    for left, right in zip(model.get_weights(), undisturbed[1], strict=True):
        np.testing.assert_allclose(left, right, atol=1e-4)
    assert len(pd.read_csv(tmp_path / "history.csv")) == 3


def test_resume_without_a_checkpoint_starts(learn, check, tmp_path):
    state, _ = run(recipe(epochs=1), learn, check, tmp_path / "new", resume=True)
    assert len(state.history) == 1


def test_a_checkpoint_of_other_data_is_refused_by_name(learn, check, tmp_path):
    run(recipe(epochs=1), learn, check, tmp_path)
    with pytest.raises(RunError) as caught:
        run(recipe(epochs=1), learn, check, tmp_path, resume=True, fingerprint="other")
    assert str(checkpoint_file(tmp_path)) in str(caught.value)
    assert "another recipe or other data; train without --resume, or delete" in str(caught.value)


def test_a_damaged_checkpoint_is_refused_by_name(learn, check, tmp_path):
    run(recipe(epochs=1), learn, check, tmp_path)
    file = checkpoint_file(tmp_path)
    whole = file.read_bytes()
    model = built(recipe())
    for damaged in (whole[: len(whole) // 2], b"", b"hello"):
        file.write_bytes(damaged)
        with pytest.raises(
            RunError, match=r"checkpoint.npz: damaged, or of another version .*; train without --resume"
        ):
            fit(model, learn, check, recipe(epochs=1), ENTRY.input, folder=tmp_path, fingerprint="same", resume=True)


def test_a_full_disk_leaves_the_last_whole_checkpoint(undisturbed, learn, check, tmp_path, monkeypatch):
    """The second checkpoint breaks off in the middle; the first one still carries on."""
    whole = np.savez
    calls = []

    def full(stream, **arrays):
        calls.append(1)
        if len(calls) == 2:
            stream.write(b"PK half a checkpoint")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole(stream, **arrays)

    monkeypatch.setattr(fit_module.np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        run(recipe(**EVERYTHING), learn, check, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.npz", "history.csv"]
    state, _ = run(recipe(**EVERYTHING), learn, check, tmp_path, resume=True)
    same(state.history, undisturbed[0].history)


def scripted(monkeypatch, accuracies: list[float]) -> list[list[np.ndarray]]:
    """Let validation say so; return where each epoch's weights will be kept."""
    weights = []

    def validate(trainer, *_):
        weights.append([np.array(value) for value in trainer.get_weights()])
        return {"val_loss": 1.0, "val_accuracy": accuracies[len(weights) - 1]}

    monkeypatch.setattr(fit_module, "_validate", validate)
    return weights


def test_the_best_epochs_weights_are_kept(learn, check, tmp_path, monkeypatch):
    weights = scripted(monkeypatch, [0.2, 0.6, 0.6])
    state, model = run(recipe(epochs=3), learn, check, tmp_path)
    assert state.best_epoch == 2  # of equal ones the first
    assert len(weights) == 3
    trained = keras.Model(model.input, {head: model.output[head] for head in ("a", "b")}).get_weights()
    for value, best, last in zip(trained, weights[1], weights[2], strict=True):
        np.testing.assert_array_equal(value, best)
        assert not np.array_equal(value, last)


def test_early_stopping(learn, check, tmp_path, monkeypatch):
    weights = scripted(monkeypatch, [0.2, 0.6, 0.5, 0.55, 0.9, 0.9])
    state, _ = run(recipe(epochs=6, patience=2), learn, check, tmp_path)
    assert len(state.history) == len(weights) == 4
    assert state.best_epoch == 2


def test_averages_are_what_is_validated_and_kept(learn, check, tmp_path):
    """With averages the training itself goes the same way, but the weights kept are others."""
    plain, without = run(recipe(batch_size=4), learn, check, tmp_path / "plain")
    smooth, averages = run(recipe(batch_size=4, ema=0.5), learn, check, tmp_path / "smooth")
    for left, right in zip(plain.history, smooth.history, strict=True):
        assert left["loss"] == pytest.approx(right["loss"], abs=1e-5)
        assert left["val_loss"] != pytest.approx(right["val_loss"], abs=1e-6)
    assert not np.allclose(without.get_weights()[0], averages.get_weights()[0], atol=1e-6)


@pytest.mark.parametrize("where", ["step 2 of 2", "validation"])
def test_a_loss_that_is_no_number_is_one_line(learn, check, tmp_path, monkeypatch, where):
    if where == "validation":
        monkeypatch.setattr(fit_module, "_validate", lambda *_: {"val_loss": float("nan"), "val_accuracy": 0.5})
    else:
        original = fit_module.batches

        def batches(*arguments):
            for step, (x, y, weight) in enumerate(original(*arguments)):
                yield (x * np.nan if step == 1 else x), y, weight

        monkeypatch.setattr(fit_module, "batches", batches)
    with pytest.raises(ConfigError) as caught:
        run(recipe(epochs=3), learn, check, tmp_path)
    assert str(caught.value) == (
        f"epoch 1, {where}: the loss is no longer a number; lower learning_rate, which is 0.001"
    )
    assert not checkpoint_file(tmp_path).exists()


def test_a_model_of_one_size_refuses_other_resolutions(learn, check, tmp_path):
    with pytest.raises(ConfigError, match="resolutions: model 'report-cnn' sees 48 pixels only"):
        run(recipe(resolutions=[32, 48]), learn, check, tmp_path)


def test_small_faces_come_first_where_the_model_takes_them(tmp_path, monkeypatch):
    """A model of any size is shown 32, then 48 pixels, and validated at its own."""
    learn, check = (join([made_dataset([0, 1, 2] * 4, LABELS, seed=seed)]) for seed in (1, 2))
    inputs = keras.Input((None, None, 1), name="faces")
    features = keras.layers.GlobalAveragePooling2D(name="features")(keras.layers.Conv2D(4, 3, name="conv")(inputs))
    outputs = {"made": keras.layers.Dense(3, name="made")(features), "features": features}
    seen = []
    original = fit_module.batches

    def batches(faces, recipe, spec, epoch):
        seen.append(spec.size)
        return original(faces, recipe, spec, epoch)

    monkeypatch.setattr(fit_module, "batches", batches)
    made = recipe(datasets=["made"], resolutions=[32, 48], epochs=2)
    fit(keras.Model(inputs, outputs), learn, check, made, ENTRY.input, folder=tmp_path, fingerprint="x")
    assert seen == [32, 48]


def test_large_seeds_work(learn, check, tmp_path):
    state, _ = run(recipe(epochs=1, seed=2**32 - 1), learn, check, tmp_path)
    assert len(state.history) == 1


CHILD = """
import sys
sys.path[:0] = [{tests!r}, {root!r}]
from pathlib import Path
import test_fit
state, _ = test_fit.run(
    test_fit.recipe(**test_fit.EVERYTHING), *test_fit.sources(), Path({folder!r}), resume=True,
    report=lambda row: print("epoch" if "step" not in row else "step", row["epoch"], flush=True),
)
"""


@pytest.mark.long
def test_a_killed_process_ends_like_an_undisturbed_one(undisturbed, tmp_path):
    """A real ``kill -9`` in the middle of the third epoch; another process goes on."""
    code = CHILD.format(tests=str(ROOT / "tests"), root=str(ROOT), folder=str(tmp_path))
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    for line in process.stdout:
        if line.split() == ["step", "3"]:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.stdout.close()
    assert process.wait(timeout=60) == -signal.SIGKILL
    with np.load(checkpoint_file(tmp_path)) as arrays:
        assert len(json.loads(arrays["facts"].tobytes())["history"]) == 2
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line for line in done.stdout.splitlines() if line.startswith("epoch")] == ["epoch 3"]
    assert time.monotonic() - started < 600
    table = pd.read_csv(tmp_path / "history.csv").to_dict("records")
    same(table, undisturbed[0].history)
