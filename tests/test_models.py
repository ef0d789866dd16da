"""Every network of the registry keeps the same promises; the report's CNN is the report's; the transfer network knows faces."""

from __future__ import annotations

import numpy as np
import pytest

from fercore import runs
from fercore.config import artifacts_dir
from fercore.errors import ConfigError
from fercore.inference import Network
from fercore.preprocess import InputSpec, normalise
from fercore.training import models
from fercore.training.data import join
from made_faces import made_dataset, pictures

keras = pytest.importorskip("keras")

from fercore.training.fit import _reseed  # noqa: E402

HEADS = {"expw": 7, "ferplus": 8}


def faces(name: str, count: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Network input (count, ...) as training makes it, and the classes of the shapes in it."""
    codes = np.arange(count) % 4
    known = join([made_dataset(codes.tolist(), ("a", "b", "c", "d"))])
    return known.inputs(range(count), models.MODELS[name].input), codes


@pytest.fixture(scope="module", params=sorted(models.MODELS))
def built(request) -> tuple[str, keras.Model]:
    return request.param, models.get(request.param).build(HEADS)


def answer(model: keras.Model, inputs: np.ndarray) -> dict[str, np.ndarray]:
    return {name: keras.ops.convert_to_numpy(values) for name, values in model(inputs, training=False).items()}


def test_outputs_are_a_head_a_source_and_features(built):
    name, model = built
    inputs, _ = faces(name, 3)
    found = answer(model, inputs)
    assert set(found) == {*HEADS, "features"}
    assert {head: found[head].shape for head in HEADS} == {head: (3, classes) for head, classes in HEADS.items()}
    assert found["features"].ndim == 2
    assert found["features"].shape[0] == 3
    assert all(np.isfinite(values).all() for values in found.values())
    assert len(model.inputs) == 1


def test_heads_give_logits(built):
    """A constant added to a head's bias comes out whole, which a softmax would swallow."""
    name, model = built
    inputs, _ = faces(name, 4)
    before = answer(model, inputs)["expw"]
    layer = model.get_layer("expw")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, bias + 5])
    after = answer(model, inputs)["expw"]
    layer.set_weights([kernel, bias])
    np.testing.assert_allclose(after - before, 5, atol=1e-3)


def test_heads_stay_float32_whatever_the_precision(built):
    _, model = built
    assert {model.get_layer(head).dtype_policy.name for head in HEADS} == {"float32"}


def test_one_step_lowers_the_loss_of_its_batch(built):
    """In training mode, with the same dropout before and after: the very value whose slope the step follows."""
    name, _ = built
    entry = models.get(name)
    model = entry.build({"expw": 7})
    inputs, codes = faces(name)
    if entry.adapts:
        entry.adapt(model, inputs)
    trainer = keras.Model(model.input, model.output["expw"])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Sooner than tracing, for two steps.
    trainer.compile(optimizer=keras.optimizers.SGD(1e-3), loss=loss, run_eagerly=True)
    values = []
    for _ in range(2):
        _reseed(model, 0, 0)
        values.append(float(trainer.train_on_batch(inputs, codes, return_dict=True)["loss"]))
    assert values[1] < values[0]


def test_options_that_a_model_does_not_have_are_refused(built):
    name, _ = built
    with pytest.raises(ConfigError, match=r"options: model .* has no 'colour'; it has"):
        models.get(name).build({"expw": 7}, colour=True)


def test_unknown_model():
    with pytest.raises(ConfigError, match=r"model 'resnet' is unknown; there are .*report-cnn"):
        models.get("resnet")


def test_registry_is_complete():
    for entry in models.MODELS.values():
        assert isinstance(entry.input, InputSpec)
        assert entry.summary
        assert entry.adapts == hasattr(entry._module(), "adapt")


# The report's CNN


def test_reports_cnn_row_by_row():
    """The report's table: layer, output shape, parameters; with seven classes 2,513,543 in all."""
    model = models.get("report-cnn").build({"expw": 7})
    rows = [
        (type(layer).__name__, tuple(layer.output.shape[1:]), layer.count_params())
        for layer in model.layers
        if type(layer).__name__ not in ("InputLayer", "Activation")
    ]
    assert rows == [
        ("Conv2D", (48, 48, 32), 320),
        ("MaxPooling2D", (24, 24, 32), 0),
        ("Conv2D", (24, 24, 64), 18_496),
        ("MaxPooling2D", (12, 12, 64), 0),
        ("Flatten", (9_216,), 0),
        ("Dense", (256,), 2_359_552),
        ("Dense", (512,), 131_584),
        ("Dense", (7,), 3_591),
    ]
    assert model.count_params() == 2_513_543


def test_reports_cnn_with_other_options():
    model = models.get("report-cnn").build({"a": 3}, filters=[4, 8], units=[16, 16], dropout=0.5)
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [0.5, 0.5, 0.5]
    assert model.get_layer("features").output.shape[1:] == (16,)
    with pytest.raises(ConfigError, match=r"options: model 'report_cnn' cannot be built with .*'units': 5"):
        models.get("report-cnn").build({"a": 3}, units=5)


# Transfer


@pytest.fixture(scope="module")
def transfer() -> keras.Model:
    return models.get("transfer").build({"expw": 7}, dropout=0.0)


def body_of(model: keras.Model) -> keras.Model:
    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


def test_grey_kernels_are_the_sum_over_the_colours(transfer):
    with np.load(artifacts_dir() / "pretrained" / "face-mobilenet.npz") as arrays:
        kernel = arrays["conv1/kernel"]
        shift = arrays["conv_pw_13/shift"]
    (got,) = body_of(transfer).get_layer("conv1").get_weights()
    assert got.shape == (3, 3, 1, 32)
    np.testing.assert_allclose(got[:, :, 0], kernel[:, :, 0] + kernel[:, :, 1] + kernel[:, :, 2], rtol=1e-6)
    np.testing.assert_array_equal(body_of(transfer).get_layer("conv_pw_13_bn").get_weights()[1], shift)


def test_features_are_those_of_the_network_it_was_made_from(transfer):
    """Measured with the TensorFlow.js graph on the picture ``(7 y + 3 x) % 256``, 224 pixels, less 115, in three channels."""
    y, x = np.mgrid[:224, :224]
    picture = ((7 * y + 3 * x) % 256 - 115).astype(np.float32)[None, :, :, None]
    features = answer(transfer, picture)["features"][0]
    assert features.argmax() == 394
    assert float(np.linalg.norm(features)) == pytest.approx(3.531, abs=1e-3)
    assert float(features.sum()) == pytest.approx(12.5871, abs=1e-3)
    np.testing.assert_allclose(features[[3, 10, 15]], [0.11184, 0.00201, 0.06816], atol=1e-4)


@pytest.mark.parametrize("size", [48, 64, 96, 112])
def test_transfer_sees_faces_of_any_size(transfer, size):
    found = answer(transfer, np.zeros((2, size, size, 1), np.float32))
    assert found["features"].shape == (2, 1024)


def norms_of(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    return [layer for layer in body_of(model).layers if isinstance(layer, keras.layers.BatchNormalization)]


def test_adapt_changes_the_statistics_but_not_the_answers():
    """And in training mode, where batch statistics count, the network then answers nearly as before instead of anyhow."""
    entry = models.get("transfer")
    model = entry.build({"expw": 7}, frozen=3, dropout=0.0)
    inputs, others = (normalise(pictures(np.arange(16) % 4, seed=seed, side=64), entry.input) for seed in (0, 9))
    before, before_others = answer(model, inputs), answer(model, others)
    norms = norms_of(model)
    assert len(norms) == 27
    for norm in norms:
        norm.momentum = 1.0  # so that training mode leaves the statistics alone
    old = [norm.get_weights() for norm in norms]

    def gap() -> float:
        trained = keras.ops.convert_to_numpy(model(inputs, training=True)["features"])
        return float(np.abs(trained - before["features"]).mean() / np.abs(before["features"]).mean())

    unprepared = gap()
    entry.adapt(model, inputs)
    for found, expected in ((answer(model, inputs), before), (answer(model, others), before_others)):
        for name in expected:
            assert np.abs(found[name] - expected[name]).max() < 1e-3 * np.abs(expected[name]).max(), name
    for norm, (_, _, _, variance) in zip(norms, old, strict=True):
        assert not np.allclose(norm.get_weights()[3], variance, rtol=0.01)
    # The statistics are those of the layer's input over the faces.
    probe = keras.Model(body_of(model).input, [norms[0].input, norms[14].input])
    for values, norm in zip(probe(inputs), (norms[0], norms[14]), strict=True):
        flat = keras.ops.convert_to_numpy(values).reshape(-1, values.shape[-1])
        _, _, mean, variance = norm.get_weights()
        np.testing.assert_allclose(mean, flat.mean(0), atol=1e-2, rtol=1e-3)
        np.testing.assert_allclose(variance, np.maximum(flat.var(0), 1e-6), rtol=2e-2, atol=1e-4)
    prepared = gap()
    assert prepared < 0.1
    assert unprepared > 5 * prepared


def test_frozen_blocks_keep_their_weights():
    model = models.get("transfer").build({"expw": 7}, frozen=3)
    body = body_of(model)
    last = body.layers.index(body.get_layer("conv_pw_3_relu"))
    early = {weight.path for layer in body.layers[: last + 1] for weight in layer.weights}
    assert len(early) == 7 * 5  # seven convolutions, each with its normalisation's four arrays
    before = {weight.path: keras.ops.convert_to_numpy(weight).copy() for weight in body.weights}
    trainer = keras.Model(model.input, model.output["expw"])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trainer.compile(optimizer=keras.optimizers.SGD(0.1), loss=loss, run_eagerly=True)
    inputs, codes = faces("transfer", 4)
    trainer.train_on_batch(inputs[:, ::2, ::2], codes)
    changed = {w.path for w in body.weights if not np.array_equal(keras.ops.convert_to_numpy(w), before[w.path])}
    assert not changed & early
    assert changed == set(before) - early


def test_frozen_is_a_number_of_blocks():
    for wrong in (-1, 14, "all"):
        with pytest.raises(ConfigError, match=r"frozen: .* is not a number of blocks from 0 to 13"):
            models.get("transfer").build({"expw": 7}, frozen=wrong)
    everything = models.get("transfer").build({"expw": 7}, frozen=13, weights=None)
    assert [weight.path for weight in everything.trainable_weights] == ["expw/kernel", "expw/bias"]


def test_missing_weights_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_ARTIFACTS", str(tmp_path))
    with pytest.raises(ConfigError, match=r"face-mobilenet.npz: missing; make it with conversion/face_mobilenet.py"):
        models.get("transfer").build({"expw": 7})
    with pytest.raises(ConfigError, match=r"nowhere.h5: no such weights file; give a MobileNet .h5"):
        models.get("transfer").build({"expw": 7}, weights=str(tmp_path / "nowhere.h5"))
    wrong = tmp_path / "wrong.weights.h5"
    wrong.write_bytes(b"no weights")
    with pytest.raises(ConfigError, match=r"wrong.weights.h5: not the weights of"):
        models.get("transfer").build({"expw": 7}, weights=str(wrong))


@pytest.mark.long
def test_colour_weights_from_a_file_answer_alike(tmp_path):
    """A colour MobileNet shown a grey picture, scaled as it expects, and ours shown the same pixels less 115.

    Only the border differs, where the one pads with its middle grey and the other with ours.
    """
    keras.utils.set_random_seed(1)
    colour = keras.applications.MobileNet(input_shape=(128, 128, 3), include_top=False, pooling="avg", weights=None)
    for layer in colour.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights([gamma, beta + 0.1, mean, variance * 0.05])
    file = tmp_path / "imagenet.weights.h5"
    colour.save_weights(file)
    ours = models.get("transfer").build({"expw": 7}, weights=str(file))
    # Flat near the border, so that what is padded there plays no part.
    grey = np.full((2, 128, 128), 121.25, np.float32)
    grey[:, 32:96, 32:96] = pictures([0, 2], side=64)
    probe = "conv1_relu"
    theirs = keras.Model(colour.input, colour.get_layer(probe).output)(np.stack([grey / 127.5 - 1] * 3, axis=3))
    body = body_of(ours)
    mine = keras.Model(body.input, body.get_layer(probe).output)((grey - 115)[..., None])
    theirs, mine = (keras.ops.convert_to_numpy(values)[:, 4:-4, 4:-4] for values in (theirs, mine))
    assert theirs.std() > 0.01
    np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_attention_weighs_channels():
    """With the weights' bias far below zero every channel is closed, and only the shortcut is left."""
    model = models.get("attention").build(HEADS, widths=[8, 16], blocks=[1, 1])
    inputs, _ = faces("attention", 2)
    name = "stage_2_block_1"
    closed = keras.Model(
        model.input, [model.get_layer(f"{name}_attention").output, model.get_layer(f"{name}_2_bn").output]
    )
    layer = model.get_layer(f"{name}_attention_weights")
    kernel, bias = layer.get_weights()
    layer.set_weights([0 * kernel, bias * 0 + np.log(3.0)])
    weighed, plain = (keras.ops.convert_to_numpy(values) for values in closed(inputs, training=False))
    np.testing.assert_allclose(weighed, 0.75 * plain, rtol=1e-5)


def test_attention_needs_as_many_blocks_as_widths():
    with pytest.raises(ConfigError, match=r"blocks: expected 4 numbers, one for each of widths, got \[1, 2\]"):
        models.get("attention").build(HEADS, blocks=[1, 2])


def test_transfer_starts_from_a_run_with_its_heads(tmp_path):
    """What a run answers, the network that starts from it answers as well, also after batch normalisation is put back."""
    entry = models.get("transfer")
    run = runs.Run.load("transfer")
    model = entry.build(
        {name: len(run.heads[name].labels) for name in run.info["recipe"]["datasets"]}, weights="transfer"
    )
    inputs, _ = faces("transfer", 6)
    network = Network(run)
    crops = np.clip(inputs[..., 0] + run.input.mean, 0, 255).astype(np.uint8)
    crops = np.stack([np.resize(each, (run.input.size, run.input.size)) for each in crops])
    expected = network.answers(crops, [*run.info["recipe"]["datasets"], "features"])
    shown = normalise(crops, run.input)
    for _ in range(2):
        found = answer(model, shown)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=2e-4)
        entry.adapt(model, shown)


def test_heads_that_are_not_the_runs_own_start_anew():
    """Its body is taken over by a training on one's own classes as well."""
    model = models.get("transfer").build({"fer2013": 7, "ferplus": 5, "folder": 3}, weights="transfer")
    kept = models.get("transfer").build({"fer2013": 7}, weights="transfer")
    np.testing.assert_array_equal(
        model.get_layer("fer2013").get_weights()[0], kept.get_layer("fer2013").get_weights()[0]
    )
    assert [model.get_layer(head).get_weights()[1].tolist() for head in ("ferplus", "folder")] == [[0.0] * 5, [0.0] * 3]
    for one, other in zip(body_of(kept).get_weights(), body_of(model).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_run_of_another_network_is_no_start():
    with pytest.raises(ConfigError, match=r"run 'fer2013-report-cnn' is of another network|not a chain"):
        models.get("transfer").build({"fer2013": 7}, weights="fer2013-report-cnn")
