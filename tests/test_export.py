"""Exported networks answer as Keras does, head by head; a file that does not is refused by name."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from fercore.errors import RunError
from fercore.training import consensus, models
from fercore.training.data import join
from made_faces import made_dataset

keras = pytest.importorskip("keras")
onnxruntime = pytest.importorskip("onnxruntime")

from fercore.labels import FERPLUS_LABELS, LABELS  # noqa: E402
from fercore.training import export as export_module  # noqa: E402
from fercore.training.export import compare, export, main  # noqa: E402

HEADS = {"fer2013": LABELS, "ferplus": FERPLUS_LABELS, "own": ("happy", "zen", "odd")}
CLASSES = {name: len(labels) for name, labels in HEADS.items()}
HOW = consensus.settings(HEADS, {"fer2013": 1.4, "ferplus": 0.8, "own": 1.0})


@pytest.fixture
def in_process(monkeypatch) -> None:
    """Do the order here instead of in a process of its own, which would start TensorFlow once more for each."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("exports run under TensorFlow")

    def run(command, **_):
        main(command[-1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(export_module.subprocess, "run", run)


def faces(name: str, count: int) -> np.ndarray:
    codes = [number % 4 for number in range(count)]
    return join([made_dataset(codes, ("a", "b", "c", "d"), seed=3)]).inputs(range(count), models.MODELS[name].input)


def session(file: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


def answers(file: Path, inputs: np.ndarray) -> dict[str, np.ndarray]:
    opened = session(file)
    names = [output.name for output in opened.get_outputs()]
    return dict(zip(names, opened.run(names, {opened.get_inputs()[0].name: inputs}), strict=True))


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_onnx_runtime_agrees_with_the_trained_network(in_process, name, tmp_path):
    """With weights that are not the initial ones, at any batch size; expected values come from the network in hand."""
    entry = models.get(name)
    options = {"frozen": 2} if name == "transfer" else {}
    model = entry.build(CLASSES, **options)
    rng = np.random.default_rng(0)
    model.set_weights([w * rng.uniform(0.9, 1.1, w.shape) + 0.001 * (w.ndim == 1) for w in model.get_weights()])
    inputs = faces(name, 5)
    file = tmp_path / "model.onnx"
    difference = export(
        file,
        model=name,
        size=entry.input.size,
        heads=CLASSES,
        options=options,
        weights=model.get_weights(),
        faces=inputs,
        consensus=HOW,
    )
    assert difference <= 1e-4
    found = answers(file, inputs)
    assert set(found) == {*HEADS, "features", "consensus"}
    expected = {key: keras.ops.convert_to_numpy(values) for key, values in model(inputs, training=False).items()}
    for key, values in expected.items():
        assert found[key].shape == values.shape
        np.testing.assert_allclose(found[key], values, atol=1e-4 * max(1, np.abs(values).max()), err_msg=key)
    np.testing.assert_allclose(found["consensus"], consensus.logits(expected, HOW), atol=1e-3)
    alone = answers(file, inputs[2:3])
    for key in found:
        np.testing.assert_allclose(
            alone[key], found[key][2:3], atol=1e-4 * max(1, np.abs(found[key]).max()), err_msg=key
        )
    shape = session(file).get_inputs()[0].shape
    assert not isinstance(shape[0], int)  # any number of faces
    assert shape[1:] == [*inputs.shape[1:]]  # of one size


def small(tmp_path: Path, weights: list[np.ndarray] | None = None, **changes) -> float:
    """Export a small CNN without consensus."""
    options = {"filters": [2, 2], "units": [4, 4], "dropout": 0.2}
    model = models.get("report-cnn").build({"own": 3}, **options)
    order = {
        "model": "report-cnn",
        "size": 48,
        "heads": {"own": 3},
        "options": options,
        "weights": weights or model.get_weights(),
        "faces": faces("report-cnn", 4),
        **changes,
    }
    return export(tmp_path / "model.onnx", **order)


def test_without_a_consensus_there_is_no_such_output(in_process, tmp_path):
    small(tmp_path)
    assert set(answers(tmp_path / "model.onnx", faces("report-cnn", 2))) == {"own", "features"}


def test_the_network_is_built_anew_in_float32(in_process, tmp_path):
    """Whatever arithmetic trained: an ONNX file with bfloat16 in it would be refused by ONNX Runtime."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        options = {"filters": [2, 2], "units": [4, 4], "dropout": 0.2}
        mixed = models.get("report-cnn").build({"own": 3}, **options)
    finally:
        keras.config.set_dtype_policy("float32")
    assert mixed.get_layer("conv_1").compute_dtype == "bfloat16"
    small(tmp_path, weights=[np.asarray(value, np.float32) for value in mixed.get_weights()])
    inputs = faces("report-cnn", 3)
    found = answers(tmp_path / "model.onnx", inputs)
    assert found["own"].dtype == found["features"].dtype == np.float32
    expected = keras.ops.convert_to_numpy(keras.ops.cast(mixed(inputs, training=False)["own"], "float32"))
    np.testing.assert_allclose(found["own"], expected, atol=0.05)  # bfloat16 has eight bits


def test_a_process_that_fails_gives_its_last_line(tmp_path, monkeypatch):
    def run(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "Traceback ...\nValueError: no such operator\n")

    monkeypatch.setattr(export_module.subprocess, "run", run)
    with pytest.raises(RunError, match=r"model.onnx: export to ONNX failed: ValueError: no such operator"):
        small(tmp_path)


def test_a_process_that_dies_silently_is_told_too(tmp_path, monkeypatch):
    monkeypatch.setattr(export_module.subprocess, "run", lambda c, **_: subprocess.CompletedProcess(c, -9, "", ""))
    with pytest.raises(RunError, match="export to ONNX failed: no message"):
        small(tmp_path)


def test_answers_that_differ_are_refused_by_name(in_process, tmp_path):
    small(tmp_path)
    file = tmp_path / "model.onnx"
    inputs = faces("report-cnn", 2)
    expected = answers(file, inputs)
    assert compare(file, inputs, expected) == 0
    share = 0.01 / max(1.0, float(np.abs(expected["own"] + 0.01).max()))
    with pytest.raises(RunError, match=f"model.onnx: output 'own' differs from Keras by {share:.1e}, above 1e-04"):
        compare(file, inputs, {**expected, "own": expected["own"] + 0.01})
    with pytest.raises(RunError, match="'own' differs from Keras by nan"):
        compare(file, inputs, {"own": expected["own"] * np.nan})
    with pytest.raises(RunError, match=r"model.onnx: the export has no output 'other'"):
        compare(file, inputs, {"other": expected["own"]})


@pytest.mark.long
def test_a_process_of_its_own_exports_whatever_backend_trained(tmp_path):
    """The same as above, through the real process; nothing of the order is left behind."""
    assert small(tmp_path) <= 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
