"""Eight bits: near what float32 says, refused where they cost too much, and a run like any other."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from fercore.cli import main
from fercore.errors import ConfigError
from fercore.inference import Network, Predictor
from fercore.runs import Run
from fercore.training.data import Faces
from made_faces import make_folder
from made_run import made_ensemble, made_run

pytest.importorskip("keras")

from fercore.training.models import folded
from fercore.training.quantise import Cost, cost, in_eight_bits, quantised, refuse
from fercore.training.recipe import Recipe
from fercore.training.train import train

ROOT = Path(__file__).resolve().parent.parent
SMALL = {"widths": [8, 8], "blocks": [1, 1]}


def answers(data: bytes, faces: np.ndarray) -> list[np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: faces})


def chain(weights: list[np.ndarray]) -> bytes:
    """Return a network of convolutions 1 x 1 with ReLU, then the mean over space."""
    nodes, name = [], "faces"
    for number in range(len(weights)):
        nodes.append(helper.make_node("Conv", [name, f"w{number}"], [f"c{number}"], name=f"conv{number}"))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"], name=f"relu{number}"))
        name = f"r{number}"
    nodes.append(helper.make_node("GlobalAveragePool", [name], ["features"], name="pool"))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["n", weights[0].shape[1], 4, 4])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", weights[-1].shape[0], 1, 1])],
        [numpy_helper.from_array(each.astype(np.float32), f"w{number}") for number, each in enumerate(weights)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def test_sums_of_the_largest_products_do_not_overflow():
    """All inputs and weights at the top of their ranges: with signed weights, processors without VNNI would answer half."""
    ones = np.ones((64, 64, 1, 1)) / 64
    network = chain([ones, ones, ones, ones])
    faces = np.ones((32, 64, 4, 4), np.float32)
    (exact,), (found,) = answers(network, faces), answers(quantised(network, faces), faces)
    np.testing.assert_allclose(exact, 1, atol=1e-5)
    np.testing.assert_allclose(found, 1, atol=0.02)


def test_both_ends_stay_in_float32():
    rng = np.random.default_rng(0)
    widths = [8, 8, 8, 100, 100]  # 64 and 64 of 10,928 weights are early, with 800 more it is too much
    network = chain([rng.normal(size=(out, own, 1, 1)) for own, out in itertools.pairwise(widths)])
    made = onnx.load_from_string(quantised(network, rng.normal(size=(40, 8, 4, 4)).astype(np.float32)))
    kinds = {each.name: each.data_type for each in made.graph.initializer}
    makers = {output: node for node in made.graph.node for output in node.output}
    weights = [node.input[1] for node in made.graph.node if node.op_type == "Conv"]
    assert [name in kinds and kinds[name] == TensorProto.FLOAT for name in weights] == [True, True, False, False]
    assert [makers[name].op_type for name in weights[2:]] == ["DequantizeLinear"] * 2
    assert {kinds[makers[name].input[0]] for name in weights[2:]} == {TensorProto.UINT8}
    (pool,) = [node for node in made.graph.node if node.op_type == "GlobalAveragePool"]
    assert pool.output[0] == "features"


def test_the_default_run_says_what_its_source_says():
    run = Run.load(ROOT / "artifacts" / "distilled-int8")
    source = Run.load(ROOT / "artifacts" / run.info["quantised"]["from"])
    assert run.info["quantised"]["network"] == source.network_hash
    assert run.file("model.onnx").stat().st_size < 0.3 * source.file("model.onnx").stat().st_size
    photo = ROOT / "static" / "portrait.jpg"
    (one,), (other,) = (Predictor.load(each).predict(photo) for each in (run, source))
    assert one.label == other.label
    assert list(one.probabilities.values()) == pytest.approx(list(other.probabilities.values()), abs=0.06)
    with pytest.raises(ConfigError, match=r"model.onnx: in eight bits, from which no training goes on"):
        folded.read(run.file("model.onnx"), ["fer2013"])


def test_the_cost_by_hand():
    """Four faces that the head knows: three right before, two after, the same label for three of them."""
    faces = Faces((), np.zeros(5, int), np.arange(5), {}, {}, np.array(["made"] * 5))
    faces.targets["made"] = np.eye(3, dtype=np.float32)[[0, 1, 2, 1, 0]]
    faces.weights["made"] = np.array([1, 1, 2, 1, 0], np.float32)
    before, after = (np.eye(3)[labels] for labels in ([0, 1, 2, 0, 1], [0, 1, 1, 0, 2]))
    found = cost(before, after, faces, "made")
    assert found == Cost(4, 75.0, 50.0, 75.0)
    assert found.points == 25.0
    refuse({"a": found, "b": Cost(12, 50.0, 58.0, 90.0)}, 0.3, "made")  # 100 lost, 96 won: 0.25 points of 16 labels
    with pytest.raises(
        ConfigError, match=r"run made: eight bits cost 25.00 points of accuracy on 4 labels of validation"
    ):
        refuse({"a": found}, 0.3, "made")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of faces and a small network that was trained on them."""
    root = tmp_path_factory.mktemp("eight")
    make_folder(root / "faces", ("angry", "happy", "sad"), 14)
    values = {"model": "attention", "datasets": ["folder"], "epochs": 2, "options": SMALL, "precision": "float32"}
    train(Recipe.from_dict(values), data=root / "faces", out=root / "runs" / "made")
    return root


@pytest.mark.long
def test_a_run_in_eight_bits_is_a_run_like_any_other(place: Path):
    made = place / "runs" / "made"
    out = place / "runs" / "eight"
    arguments = ["quantise", made, "--data", place / "faces", "--out", out, "--most", "100"]
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert "validation, folder: " in result.output
    run, source = Run.load(out), Run.load(made)
    assert run.info["quantised"]["from"] == "made"
    assert run.info["model"]["summary"] == f"{source.info['model']['summary']}, in eight bits"
    assert set(run.info["files"]) == set(source.info["files"])
    assert run.info["recipe"] == source.info["recipe"]
    assert run.history().equals(source.history())
    crops = np.random.default_rng(0).integers(0, 256, (6, 48, 48), dtype=np.uint8)
    for name in ("folder", "features"):
        one, other = (Network(each).infer(crops, name) for each in (run, source))
        assert not np.array_equal(one, other)
        np.testing.assert_allclose(one, other, atol=0.1 * np.abs(other).max())
    assert run.info["quantised"]["validation"]["folder"]["faces"] > 0
    assert "python -m fercore quantise made" in run.file("README.md").read_text(encoding="utf-8")
    assert len(run.predictions()) == len(source.predictions())
    with pytest.raises(ConfigError, match="run eight: is in eight bits already"):
        in_eight_bits(run, data=place / "faces", out=place / "again", most=0.3)


@pytest.mark.long
def test_another_dataset_is_refused(place: Path, tmp_path: Path):
    more = tmp_path / "faces"
    shutil.copytree(place / "faces", more)
    make_folder(more, ("angry", "happy", "sad"), 16, seed=7)
    arguments = ["quantise", place / "runs" / "made", "--data", more, "--out", tmp_path / "out"]
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    assert result.exit_code == 2
    assert "dataset 'folder' is not the one that run made was trained on" in result.stderr
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_quantised_is_one_line(tmp_path: Path):
    members = [made_run(tmp_path, "one"), made_run(tmp_path, "two", seed=1)]
    with pytest.raises(ConfigError, match="run both: is no network that was trained here"):
        in_eight_bits(made_ensemble(tmp_path, "both", members), data=tmp_path, out=tmp_path / "out", most=0.3)
    with pytest.raises(ConfigError, match="run fer2013-hog-cnn: sees hog features; only networks that see pixels gain"):
        in_eight_bits(Run.load(ROOT / "artifacts" / "fer2013-hog-cnn"), data=tmp_path, out=tmp_path / "out", most=0.3)
