"""The quick layers compute what Keras's own compute, under the backend of the tests and under PyTorch where it is installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from fercore.training.layers import Conv2D, DepthwiseConv2D, with_fast_layers  # noqa: E402


def small(plain: bool) -> keras.Model:
    """Convolutions as a MobileNet has them: padded by hand before a stride, depthwise with and without one, pointwise."""
    inputs = keras.Input((13, 13, 3))
    x = keras.layers.ZeroPadding2D(((0, 1), (0, 1)))(inputs)
    x = keras.layers.Conv2D(8, 3, 2, padding="valid", use_bias=True, activation="relu", name="first")(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="deep")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.DepthwiseConv2D(3, 2, padding="valid", use_bias=True, name="deep_strided")(x)
    x = keras.layers.Conv2D(5, 1, padding="same", name="point")(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    return model if plain else with_fast_layers(model)


def check() -> None:
    """Compare answers and one training step of the two; called here and in a process with PyTorch."""
    rng = np.random.default_rng(0)
    plain, quick = small(True), small(False)
    weights = [rng.normal(0, 0.5, value.shape).astype(np.float32) for value in plain.get_weights()]
    weights = [
        np.abs(value) if plain.weights[at].path.endswith("variance") else value for at, value in enumerate(weights)
    ]
    faces, targets = rng.normal(size=(6, 13, 13, 3)).astype(np.float32), rng.normal(size=(6, 5)).astype(np.float32)
    results = []
    for model in (plain, quick):
        model.set_weights(weights)
        answers = keras.ops.convert_to_numpy(model(faces, training=False))
        model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
        model.train_on_batch(faces, targets)
        results.append([answers, *model.get_weights()])
    paths = ["answers", *(variable.path for variable in plain.weights)]
    for path, one, other in zip(paths, *results, strict=True):
        # PyTorch keeps the unbiased variance as the moving one.
        slack = 1e-2 if path.endswith("moving_variance") else 1e-3
        np.testing.assert_allclose(other, one, rtol=slack, atol=2e-5, err_msg=path)
    assert not np.allclose(results[0][1], weights[0], atol=1e-4), "the step moved nothing"


def test_the_copy_has_the_quick_layers_and_the_names():
    quick = small(False)
    assert isinstance(quick.get_layer("first"), Conv2D)
    assert isinstance(quick.get_layer("deep_strided"), DepthwiseConv2D)
    assert {"first", "deep", "norm", "deep_strided", "point"} <= {layer.name for layer in quick.layers}
    assert [value.shape for value in quick.get_weights()] == [value.shape for value in small(True).get_weights()]


def test_answers_and_gradients_are_keras_own():
    check()


@pytest.mark.long
def test_answers_and_gradients_are_keras_own_under_pytorch():
    if importlib.util.find_spec("torch") is None:
        pytest.skip("needs PyTorch: pip install torch")
    here = Path(__file__).resolve().parent
    paths = os.pathsep.join([str(here.parent), str(here)])
    environment = {**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
    code = "import test_training_layers; test_training_layers.check()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
