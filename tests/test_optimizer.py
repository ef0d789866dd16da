"""Learning rates against values worked out by hand; the heads' own rate and the moving averages against arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fercore.training.recipe import Recipe

keras = pytest.importorskip("keras")

from fercore.training.optimizer import Statistics, averaged, ema_momentum, learning_rate, make_optimizer  # noqa: E402


def recipe(**changes: object) -> Recipe:
    return Recipe.from_dict({"model": "report-cnn", "datasets": ["expw"], **changes})


def rates(steps: int, **changes: object) -> list[float]:
    made = recipe(**changes)
    return [learning_rate(made, step, steps) for step in range(steps)]


def test_constant():
    assert rates(5, learning_rate=0.3, warmup=0.5) == [0.3] * 5


def test_cosine_by_hand():
    """Ten steps, two of them rising: 0.5, 1, then (1 + cos(pi k / 8)) / 2 for k = 0 to 7."""
    expected = [0.5, 1.0] + [(1 + math.cos(math.pi * k / 8)) / 2 for k in range(8)]
    assert rates(10, learning_rate=1.0, schedule="cosine", warmup=0.2) == pytest.approx(expected)


def test_one_cycle_by_hand():
    """Starts towards the peak from a tenth of it: 0.1 + 0.9 / 2, 1, then the same cosine."""
    expected = [0.55, 1.0] + [(1 + math.cos(math.pi * k / 8)) / 2 for k in range(8)]
    assert rates(10, learning_rate=1.0, schedule="one_cycle", warmup=0.2) == pytest.approx(expected)


def test_without_warmup_the_peak_comes_first():
    assert rates(4, learning_rate=0.2, schedule="cosine", warmup=0.0)[0] == pytest.approx(0.2)


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7, 25, 33])
def test_the_peak_is_the_highest_rate_and_every_rate_is_positive(schedule, warmup, steps):
    found = rates(steps, learning_rate=0.02, schedule=schedule, warmup=warmup)
    assert max(found) <= 0.02 * (1 + 1e-12)
    assert min(found) > 0
    top = found.index(max(found))
    assert found[: top + 1] == sorted(found[: top + 1])
    assert found[top:] == sorted(found[top:], reverse=True)


def test_the_average_reaches_back_over_a_fifth_of_the_training_at_most():
    assert ema_momentum(0.999, 100_000) == 0.999
    assert ema_momentum(0.999, 50) == pytest.approx(0.9)
    assert ema_momentum(0.5, 50) == 0.5
    assert ema_momentum(0.999, 3) == 0.0


def tiny() -> keras.Model:
    """A body of one layer and two heads, with fixed weights."""
    inputs = keras.Input((3,), name="faces")
    x = keras.layers.Dense(4, name="body", kernel_initializer="ones")(inputs)
    outputs = {
        head: keras.layers.Dense(2, name=head, kernel_initializer=keras.initializers.Constant([[0.1, -0.2]] * 4))(x)
        for head in ("expw", "fer")
    }
    return keras.Model(inputs, outputs)


def values(model: keras.Model) -> dict[str, np.ndarray]:
    return {weight.path: keras.ops.convert_to_numpy(weight).copy() for weight in model.trainable_weights}


def stepped(
    made: Recipe, steps: int = 1
) -> tuple[keras.Model, list[dict[str, np.ndarray]], keras.optimizers.Optimizer]:
    """Train the tiny model some steps; return it, its weights before and after each step, and the optimiser."""
    keras.utils.set_random_seed(0)
    model = tiny()
    optimizer = make_optimizer(made, ["expw", "fer"], steps * 1000)
    model.compile(
        optimizer=optimizer,
        loss={head: keras.losses.CategoricalCrossentropy(from_logits=True) for head in ("expw", "fer")},
        jit_compile=False,
    )
    rng = np.random.default_rng(1)
    history = [values(model)]
    for _ in range(steps):
        x = rng.normal(size=(6, 3)).astype(np.float32)
        y = np.eye(2, dtype=np.float32)[rng.integers(0, 2, 6)]
        model.train_on_batch(x, {"expw": y, "fer": y})
        history.append(values(model))
    return model, history, optimizer


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_heads_step_is_as_many_times_longer(optimizer):
    _, plain, _ = stepped(recipe(optimizer=optimizer, learning_rate=0.01))
    _, faster, _ = stepped(recipe(optimizer=optimizer, learning_rate=0.01, head_rate=3.0))
    for path in plain[0]:
        step = plain[1][path] - plain[0][path]
        assert np.abs(step).max() > 1e-5
        factor = 3.0 if path.split("/")[0] in ("expw", "fer") else 1.0
        np.testing.assert_allclose(faster[1][path] - faster[0][path], factor * step, rtol=1e-3, atol=1e-7)


def test_the_rate_set_between_steps_acts():
    """As ``fit`` sets it for each step, also inside TensorFlow's graph."""
    made = recipe(optimizer="adam", learning_rate=0.01, head_rate=2.0)
    model, history, optimizer = stepped(made)
    optimizer.learning_rate = 0.0
    model.train_on_batch(np.ones((2, 3), np.float32), {head: np.eye(2, dtype=np.float32) for head in ("expw", "fer")})
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, history[-1][path])


def test_weight_decay_shrinks_kernels_only():
    _, plain, _ = stepped(recipe(optimizer="sgd", learning_rate=0.1))
    _, decayed, _ = stepped(recipe(optimizer="sgd", learning_rate=0.1, weight_decay=0.5))
    for path, value in plain[1].items():
        shrunk = 0.1 * 0.5 * plain[0][path] if path.endswith("kernel") else 0.0
        np.testing.assert_allclose(decayed[1][path], value - shrunk, atol=1e-6)


@pytest.mark.parametrize("head_rate", [1.0, 3.0])
def test_moving_averages_by_hand(head_rate):
    """The first average is the weights after the first step; then 0.75 old and 0.25 new."""
    made = recipe(optimizer="adam", learning_rate=0.05, ema=0.75, head_rate=head_rate)
    model, history, optimizer = stepped(made, steps=4)
    expected = history[1]
    for weights in history[2:]:
        expected = {path: 0.75 * expected[path] + 0.25 * weights[path] for path in expected}
    with averaged(model, optimizer, made, Statistics(model, made, 4)):
        inside = values(model)
    for path, value in expected.items():
        np.testing.assert_allclose(inside[path], value, atol=1e-6)
        assert not np.allclose(inside[path], history[-1][path], atol=1e-4)
        np.testing.assert_array_equal(values(model)[path], history[-1][path])  # put back afterwards


def test_averages_are_put_back_after_an_error():
    made = recipe(optimizer="sgd", learning_rate=0.05, ema=0.5)
    model, history, optimizer = stepped(made, steps=2)
    with pytest.raises(RuntimeError), averaged(model, optimizer, made, Statistics(model, made, 4)):
        raise RuntimeError
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, history[-1][path])


def test_without_averages_the_model_stays_as_it_is():
    made = recipe(optimizer="sgd")
    model, history, optimizer = stepped(made)
    with averaged(model, optimizer, made, Statistics(model, made, 4)):
        for path, value in values(model).items():
            np.testing.assert_array_equal(value, history[-1][path])


def test_statistics_of_batch_normalisation_are_averaged_by_hand():
    """They start where the model stands; then 0.75 old and 0.25 new, and the model has its own again afterwards."""
    made = recipe(optimizer="sgd", ema=0.75)
    model = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization(momentum=0.5)])
    norm = model.layers[0]
    optimizer = keras.optimizers.SGD(use_ema=True, ema_momentum=0.75)
    optimizer.build(model.trainable_variables)
    statistics = Statistics(model, made, 1000)
    mean, variance = np.zeros(3), np.ones(3)
    for step in (1.0, 2.0):
        norm.moving_mean.assign([step, 2 * step, 3 * step])
        norm.moving_variance.assign([1 + step] * 3)
        statistics.update()
        mean = 0.75 * mean + 0.25 * step * np.array([1.0, 2.0, 3.0])
        variance = 0.75 * variance + 0.25 * (1 + step)
    with averaged(model, optimizer, made, statistics):
        np.testing.assert_allclose(norm.moving_mean, mean, atol=1e-6)
        np.testing.assert_allclose(norm.moving_variance, variance, atol=1e-6)
    np.testing.assert_array_equal(norm.moving_mean, [2.0, 4.0, 6.0])
    np.testing.assert_array_equal(norm.moving_variance, [3.0] * 3)
