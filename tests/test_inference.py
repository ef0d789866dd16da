"""The predictor: which network answers, with which probabilities, and which files it will not open."""

from __future__ import annotations

import dataclasses
import io
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import fercore
from fercore import preprocess, runs
from fercore.errors import FerError, ImageError, RunError
from fercore.faces import Detections
from fercore.inference import Network, Predictor
from fercore.labels import FERPLUS_LABELS, LABELS
from fercore.runs import Run
from made_run import made_ensemble, made_onnx, made_run

HEADS = {"fer2013": LABELS, "ferplus": FERPLUS_LABELS, "consensus": LABELS}
BOXES = np.array([[170, 70, 105, 105], [20.5, 300, 80, 60], [400, -20, 60, 90]])


class Finder:
    """A detector that finds the same boxes in every picture."""

    def __init__(self, boxes: Sequence[Sequence[float]]) -> None:
        self.boxes = np.array(boxes, np.float32).reshape(-1, 4)

    def detect(self, image: np.ndarray) -> Detections:
        count = len(self.boxes)
        points = np.arange(count * 12, dtype=np.float32).reshape(count, 6, 2)
        return Detections(self.boxes, np.linspace(0.9, 0.5, count, dtype=np.float32), points)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs ``one`` (a head), ``three`` (two sources and a consensus), ``other`` (as three), and ``both`` of those."""
    root = tmp_path_factory.mktemp("artifacts")
    made_run(root, "one", faces=20, seed=3)
    members = [made_run(root, name, heads=HEADS, faces=20, seed=seed) for name, seed in (("three", 1), ("other", 2))]
    made_ensemble(root, "both", members)
    return root


def load(run: Path | Run, head: str | None = None, boxes: Sequence[Sequence[float]] = ()) -> Predictor:
    return Predictor.load(run, head=head, detector=Finder(boxes))


def by_hand(run: Path, head: str, crops: np.ndarray, temperature: float = 1.5) -> np.ndarray:
    """Return probabilities (N, K) computed from the weights in the ONNX file with NumPy alone."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(run / "model.onnx").graph.initializer}
    features = (crops / 255.0).reshape(-1, 6, 8, 6, 8).mean(axis=(2, 4)).reshape(-1, 36)
    powers = np.exp((features @ weights[f"{head}/kernel"] + weights[f"{head}/bias"]) / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def detector_crops(picture: np.ndarray, boxes: np.ndarray = BOXES) -> np.ndarray:
    return preprocess.cut_faces(picture, boxes, preprocess.FRAMINGS["detector"], 48)


def rewritten(folder: Path, name: str, source: str, model: bytes, **changes: Any) -> Run:
    """Write a run like ``source`` with another ONNX file."""
    run = Run.load(folder / source)
    if (folder / name).is_dir():
        runs.delete(Run.load(folder / name, verify=False))
    return runs.write(folder / name, run.info | changes, {"model.onnx": model})


def graph(nodes: list[Any], outputs: dict[str, list[Any]], *, batch: int | str = "N", **tensors: np.ndarray) -> bytes:
    """Return an ONNX file with ``faces`` (batch, 48, 48, 1) as its input, unchecked."""
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "odd",
            [helper.make_tensor_value_info("faces", TensorProto.FLOAT, [batch, 48, 48, 1])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            [numpy_helper.from_array(value, name) for name, value in tensors.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    return model.SerializeToString()


def refusal(run: Run) -> str:
    with pytest.raises(RunError) as caught:
        load(run)
    text = str(caught.value)
    assert "\n" not in text
    return text.replace(str(run.path), "")


# What it answers


def test_probabilities_are_the_softmax_of_the_networks_logits(folder: Path, portrait: np.ndarray) -> None:
    found = load(folder / "one").classify(portrait, BOXES)
    assert found.dtype == np.float32
    assert found.shape == (3, 7)
    assert np.allclose(found, by_hand(folder / "one", "fer2013", detector_crops(portrait)), atol=1e-5)


def test_a_head_is_chosen_by_name_and_brings_its_labels(folder: Path, portrait: np.ndarray) -> None:
    default = load(folder / "three")
    assert default.head.name == "consensus"
    crops = detector_crops(portrait)
    for name, labels in HEADS.items():
        predictor = load(folder / "three", head=name)
        assert predictor.labels == labels
        assert np.allclose(predictor.classify(portrait, BOXES), by_hand(folder / "three", name, crops), atol=1e-5)
    assert np.array_equal(
        default.classify(portrait, BOXES), load(folder / "three", head="consensus").classify(portrait, BOXES)
    )
    with pytest.raises(RunError, match="run three: no head 'expw'; it has fer2013, ferplus, consensus"):
        load(folder / "three", head="expw")


@pytest.mark.parametrize("head", HEADS)
def test_an_ensemble_is_the_average_of_its_members_calibrated_probabilities(
    folder: Path, portrait: np.ndarray, head: str
) -> None:
    crops = detector_crops(portrait)
    wanted = (by_hand(folder / "three", head, crops) + by_hand(folder / "other", head, crops)) / 2
    info = Run.load(folder / "both").info
    plain = {name: values | {"temperature": 1.0} for name, values in info["heads"].items()}
    files = {"dataset.json": b"{}"}
    run = runs.write(folder / "plain", info | {"heads": plain}, files, overwrite=True)
    assert np.allclose(load(run, head=head).classify(portrait, BOXES), wanted, atol=1e-5)
    # With a temperature of its own the averages are sharpened or flattened: p^(1/T), made to sum to 1.
    flat = wanted ** (1 / 1.5)
    found = load(folder / "both", head=head).classify(portrait, BOXES)
    assert np.allclose(found, flat / flat.sum(axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("name", ["three", "both"])
def test_with_flip_a_face_and_its_mirror_image_get_the_same_answer(
    folder: Path, portrait: np.ndarray, name: str
) -> None:
    once, twice = Predictor.load(folder / name), Predictor.load(folder / name, flip=True)
    crops = [network.crops(portrait, BOXES, "detector") for network in once.networks]
    mirrored = [np.ascontiguousarray(part[:, :, ::-1]) for part in crops]
    assert not np.allclose(once.logits(crops), once.logits(mirrored), atol=1e-2)
    assert np.allclose(twice.logits(crops), twice.logits(mirrored), atol=1e-5)
    if name == "three":
        assert np.allclose(twice.logits(crops), (once.logits(crops) + once.logits(mirrored)) / 2, atol=1e-5)


def test_an_ensembles_members_count_by_their_shares(folder: Path, portrait: np.ndarray) -> None:
    crops = detector_crops(portrait)
    three, other = (by_hand(folder / name, "fer2013", crops) for name in ("three", "other"))
    info = Run.load(folder / "both").info | {"shares": [0.9, 0.1]}
    run = runs.write(folder / "uneven", info, {"dataset.json": b"{}"}, overwrite=True)
    flat = (0.9 * three + 0.1 * other) ** (1 / run.head("fer2013").temperature)
    found = load(run, head="fer2013").classify(portrait, BOXES)
    assert np.allclose(found, flat / flat.sum(axis=1, keepdims=True), atol=1e-5)
    assert not np.allclose(found, load(folder / "both", head="fer2013").classify(portrait, BOXES), atol=1e-3)


@pytest.mark.parametrize("shares", [[0.5], [0.9, 0.2], [1.5, -0.5], ["0.5", "0.5"], "half"])
def test_shares_that_cannot_be_are_refused(folder: Path, shares: object) -> None:
    with pytest.raises(RunError, match="shares: expected 2 numbers from 0 to 1 that sum to 1"):
        runs.write(folder / "unfair", Run.load(folder / "both").info | {"shares": shares}, {}, overwrite=True)


def test_many_faces_are_answered_as_one_by_one(folder: Path, portrait: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.uniform(0, 400, (150, 2)), rng.uniform(10, 150, (150, 2))], axis=1)
    predictor = load(folder / "both")
    together = predictor.classify(portrait, boxes)
    assert together.shape == (150, 7)
    alone = np.concatenate([predictor.classify(portrait, box[None]) for box in boxes[::15]])
    assert np.allclose(together[::15], alone, atol=1e-6)


def test_the_framing_of_boxes_decides_the_crop(folder: Path, portrait: np.ndarray) -> None:
    predictor = load(folder / "one")
    for name, framing in predictor.run.framings.items():
        crops = preprocess.cut_faces(portrait, BOXES, framing, 48)
        found = predictor.classify(portrait, BOXES, framing=name)
        assert np.allclose(found, by_hand(folder / "one", "fer2013", crops), atol=1e-5)
    with pytest.raises(FerError, match="framing 'yunet' is unknown to run one; it knows detector, expw, crop"):
        predictor.classify(portrait, BOXES, framing="yunet")


def test_a_run_keeps_the_framing_that_it_was_trained_with(folder: Path, portrait: np.ndarray) -> None:
    framings = {"detector": {"scale": 2.0}, "crop": {"scale": 1.0}}
    run = rewritten(folder, "framed", "one", (folder / "one" / "model.onnx").read_bytes(), framings=framings)
    crops = preprocess.cut_faces(portrait, BOXES, preprocess.Framing(scale=2), 48)
    assert np.allclose(load(run).classify(portrait, BOXES), by_hand(folder / "one", "fer2013", crops), atol=1e-5)


def test_bad_boxes_are_refused_in_one_line(folder: Path, portrait: np.ndarray) -> None:
    for boxes in ([1, 2, 3, 4], [[0, 0, 0, 10]], [[0, 0, 1e300, 1e300]], [["a"]]):
        with pytest.raises(FerError, match=r"^boxes: "):
            load(folder / "one").classify(portrait, boxes)


def test_no_boxes_give_no_rows(folder: Path, portrait: np.ndarray) -> None:
    for name in ("one", "both"):
        predictor = load(folder / name)
        for none in ([], np.zeros((0, 4))):
            assert predictor.classify(portrait, none).shape == (0, 7)
            assert predictor.classify(portrait, none).dtype == np.float32
    assert load(folder / "one").embed(portrait, []).shape == (0, 36)
    assert load(folder / "both").embed(portrait, []).shape == (0, 72)


def test_features_of_faces(folder: Path, portrait: np.ndarray) -> None:
    crops = detector_crops(portrait)
    blocks = (crops / 255.0).reshape(3, 6, 8, 6, 8).mean(axis=(2, 4)).reshape(3, 36)
    found = load(folder / "one").embed(portrait, BOXES)
    assert found.dtype == np.float32
    assert np.allclose(found, blocks, atol=1e-5)
    assert np.allclose(load(folder / "both").embed(portrait, BOXES), np.hstack([blocks, blocks]), atol=1e-5)


# Whole pictures


def test_predict_describes_each_face_largest_first(folder: Path, portrait: np.ndarray) -> None:
    boxes = [[20, 300, 80, 60], [170, 70, 105, 105], [400, 20, 60, 90]]
    predictor = load(folder / "one", boxes=boxes)
    faces = predictor.predict(portrait)
    assert [face.box for face in faces] == [
        (170.0, 70.0, 105.0, 105.0),
        (400.0, 20.0, 60.0, 90.0),
        (20.0, 300.0, 80.0, 60.0),
    ]
    assert [round(face.score, 3) for face in faces] == [0.7, 0.5, 0.9]
    assert faces[0].keypoints == tuple((float(x), float(x + 1)) for x in range(12, 24, 2))
    crops = detector_crops(portrait, np.array([face.box for face in faces]))
    for face, row in zip(faces, by_hand(folder / "one", "fer2013", crops), strict=True):
        assert list(face.probabilities) == list(LABELS)
        assert np.allclose(list(face.probabilities.values()), row, atol=1e-5)
        assert face.label == LABELS[row.argmax()]
        assert face.confidence == face.probabilities[face.label] == max(face.probabilities.values())


def test_a_face_as_json(folder: Path, portrait: np.ndarray) -> None:
    (face,) = load(folder / "one", boxes=[[170.26, 70, 105.04, 105]]).predict(portrait)
    values = face.to_dict()
    assert list(values)[:5] == ["box", "score", "label", "confidence", "probabilities"]
    assert values["box"] == [170.3, 70.0, 105.0, 105.0]
    assert values["score"] == 0.9
    assert values["confidence"] == values["probabilities"][values["label"]]
    assert sum(values["probabilities"].values()) == pytest.approx(1, abs=4e-4)
    assert values["uncertain"] is face.uncertain


def test_below_the_threshold_a_face_is_uncertain(folder: Path, portrait: np.ndarray) -> None:
    predictor = load(folder / "one", boxes=BOXES)
    confidences = [face.confidence for face in predictor.predict(portrait)]
    assert [face.uncertain for face in predictor.predict(portrait)] == [value < 0.3 for value in confidences]
    middle = sorted(confidences)[1]
    predictor.head = dataclasses.replace(predictor.head, threshold=middle)
    assert [face.uncertain for face in predictor.predict(portrait)] == [value < middle for value in confidences]
    predictor.head = dataclasses.replace(predictor.head, threshold=0.0)
    assert not any(face.uncertain for face in predictor.predict(portrait))
    predictor.head = dataclasses.replace(predictor.head, threshold=1.0)
    assert all(face.uncertain for face in predictor.predict(portrait))


def test_every_kind_of_picture_gives_the_same_faces(folder: Path, tmp_path: Path, portrait: np.ndarray) -> None:
    file = tmp_path / "portrait.png"
    Image.fromarray(portrait).save(file)
    predictor = load(folder / "one", boxes=BOXES)
    wanted = predictor.predict(portrait)
    stream = io.BytesIO(file.read_bytes())
    for source in (file, str(file), file.read_bytes(), stream, Image.fromarray(portrait)):
        assert predictor.predict(source) == wanted
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(ImageError, match=r"text\.jpg: text; use a JPEG"):
        predictor.predict(tmp_path / "text.jpg")


def test_the_shipped_detector_finds_the_face_of_the_portrait_and_none_on_a_blank(
    folder: Path, portrait: np.ndarray
) -> None:
    predictor = Predictor.load(folder / "one")
    (face,) = predictor.predict(portrait[20:276, 96:352])
    left, top, width, height = face.box
    assert left < 128 < left + width  # her nose is at about (128, 100) of this part
    assert top < 100 < top + height
    assert 60 < width < 160
    assert predictor.predict(np.full((240, 320, 3), 255, np.uint8)) == []
    assert predictor.predict(np.zeros((1, 1, 3), np.uint8)) == []
    faces = predictor.predict(np.concatenate([portrait[40:200, 140:300]] * 3, axis=1))
    assert sorted((face.box[0] + face.box[2] / 2) // 160 for face in faces) == [0, 1, 2]


def test_eight_threads_get_the_answers_of_one(folder: Path, portrait: np.ndarray) -> None:
    predictor = Predictor.load(folder / "both")
    pictures = [np.ascontiguousarray(portrait[20:276, 96 + shift : 352 + shift]) for shift in range(0, 80, 10)]
    wanted = [predictor.predict(picture) for picture in pictures]
    assert all(wanted)
    found: list[list[Any]] = [[] for _ in range(8)]

    def work(number: int) -> None:
        for turn in range(4):
            found[number].append(predictor.predict(pictures[(number + turn) % 8]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[wanted[(number + turn) % 8] for turn in range(4)] for number in range(8)]


def resident() -> float:
    """Return the memory that this process holds now, in MB."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def run_threads(predictor: Predictor, pictures: Sequence[Any], count: int) -> list[tuple[int, list[Any]]]:
    """Let eight threads answer that many pictures, taken in turn; return which picture got which faces."""
    found: list[tuple[int, list[Any]]] = []
    turns = iter(range(count))  # taking a number from it is one step for the interpreter

    def work() -> None:
        for turn in turns:
            found.append((turn % len(pictures), predictor.predict(pictures[turn % len(pictures)])))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("count", [240, pytest.param(2000, marks=pytest.mark.long)])
def test_eight_threads_answer_many_photos_as_alone_and_without_growing(portrait: np.ndarray, count: int) -> None:
    """Files of several formats and sizes, some of them damaged, with the shipped run and detector."""
    pictures: list[bytes] = []
    for number in range(20):
        part = Image.fromarray(portrait[: 256 + 12 * number, 90:400])
        buffer = io.BytesIO()
        part.save(buffer, ("JPEG", "PNG", "WEBP", "BMP")[number % 4])
        pictures.append(buffer.getvalue())
    predictor = Predictor.load()
    wanted = [predictor.predict(picture) for picture in pictures]
    assert sum(map(len, wanted)) >= 20
    run_threads(predictor, pictures, 160)  # each thread has had its share of memory
    before = resident() if Path("/proc/self/status").is_file() else 0.0
    found = run_threads(predictor, pictures, count)
    assert len(found) == count
    assert all(faces == wanted[number] for number, faces in found)
    if before:
        assert resident() - before < 60  # 30 KB a photo of the long test; a picture that stays has 300


def test_the_default_run_is_loaded_without_a_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_RUN", str(folder / "three"))
    assert Predictor.load(detector=Finder([])).run.name == "three"
    assert fercore.Predictor is Predictor
    assert fercore.Run is Run
    with pytest.raises(AttributeError, match="module 'fercore' has no attribute 'Preditcor'"):
        _ = fercore.Preditcor


# Files that it will not open


def test_garbage_in_place_of_a_network_is_refused(folder: Path) -> None:
    for data in (b"", b"garbage", b"\x08\x07" * 500, (folder / "one" / "model.onnx").read_bytes()[:-500]):
        assert refusal(rewritten(folder, "odd", "one", data)).startswith("/model.onnx: not an ONNX file (")
    unknown = [helper.make_node("Fresnel", ["faces"], ["fer2013"])]
    assert refusal(rewritten(folder, "odd", "one", graph(unknown, {"fer2013": ["N", 7]}))).startswith(
        "/model.onnx: ONNX Runtime refuses it: "
    )


def test_a_network_that_fills_the_memory_is_refused(folder: Path) -> None:
    """Few bytes that become 64 GB when the network runs: 128,000 x 128,000 numbers."""
    grow = [
        helper.make_node("Expand", ["one", "sides"], ["plane"]),
        helper.make_node("ReduceMax", ["plane"], ["fer2013"], keepdims=1),
    ]
    model = graph(grow, {"fer2013": [1, 1]}, one=np.ones((1, 1), np.float32), sides=np.array([128_000, 128_000]))
    told = refusal(rewritten(folder, "odd", "one", model))
    assert told.startswith("/model.onnx: takes more than 2 GiB of memory for two faces; ")


def test_a_changed_network_is_refused_before_it_is_opened(folder: Path) -> None:
    run = rewritten(folder, "odd", "one", made_onnx({"fer2013": LABELS}))
    (run.path / "model.onnx").write_bytes(made_onnx({"fer2013": LABELS}, seed=9))
    with pytest.raises(RunError, match=r"model\.onnx: changed since the run was written"):
        Predictor.load(run.path)
    (run.path / "model.onnx").unlink()
    with pytest.raises(RunError, match=r"model\.onnx: missing from the run"):
        Predictor.load(run.path)
    assert refusal(run) == "/model.onnx: cannot be read (No such file or directory); copy the run again"


def test_a_network_without_a_heads_output_is_refused(folder: Path) -> None:
    model = made_onnx({"fer2013": LABELS})
    assert refusal(rewritten(folder, "odd", "three", model)) == (
        "/model.onnx: no output 'ferplus', which run.json names as a head"
    )


def test_a_network_with_other_classes_than_its_run_is_refused(folder: Path) -> None:
    model = made_onnx({"fer2013": FERPLUS_LABELS})
    assert refusal(rewritten(folder, "odd", "one", model)) == (
        "/model.onnx: output 'fer2013' of two faces is (2, 8), but run.json lists 7 labels"
    )


def test_a_network_of_another_input_is_refused(folder: Path) -> None:
    model = (folder / "one" / "model.onnx").read_bytes()
    run = rewritten(folder, "odd", "one", model, input={"size": 64})
    assert refusal(run).startswith("/model.onnx: ONNX Runtime refuses it: ")
    flat = [helper.make_node("Flatten", ["faces"], ["all"]), helper.make_node("MatMul", ["all", "w"], ["fer2013"])]
    weights = np.zeros((48 * 48, 7), np.float32)
    one_face = graph(flat, {"fer2013": [1, 7]}, batch=1, w=weights)
    assert "ONNX Runtime refuses it: " in refusal(rewritten(folder, "odd", "one", one_face))
    assert np.allclose(
        load(rewritten(folder, "odd", "one", graph(flat, {"fer2013": ["N", 7]}, w=weights))).classify(
            np.zeros((9, 9), np.uint8), [[0, 0, 9, 9]]
        ),
        1 / 7,
    )


def test_weights_outside_the_file_are_refused_even_where_they_are(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = np.zeros((48 * 48, 7), np.float32)
    flat = [helper.make_node("Flatten", ["faces"], ["all"]), helper.make_node("MatMul", ["all", "w"], ["fer2013"])]
    model = onnx.load_from_string(graph(flat, {"fer2013": ["N", 7]}, w=weights))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    (tmp_path / "weights.bin").write_bytes(weights.tobytes())
    monkeypatch.chdir(tmp_path)
    run = rewritten(folder, "odd", "one", model.SerializeToString())
    assert refusal(run) == "/model.onnx: its weights lie in another file; export the network into one"


def test_damaged_weights_give_an_error_not_an_answer(folder: Path, portrait: np.ndarray) -> None:
    flat = [helper.make_node("Flatten", ["faces"], ["all"]), helper.make_node("MatMul", ["all", "w"], ["fer2013"])]
    weights = np.full((48 * 48, 7), np.nan, np.float32)
    predictor = load(rewritten(folder, "odd", "one", graph(flat, {"fer2013": ["N", 7]}, w=weights)))
    with pytest.raises(FerError, match="the network or its input is damaged"):
        predictor.classify(portrait, BOXES)
    with pytest.raises(RunError, match="run odd: its network gives no features"):
        predictor.embed(portrait, BOXES)


# Ensembles that do not hold together


def broken(folder: Path, **changes: Any) -> str:
    info = Run.load(folder / "both").info
    run = runs.write(folder / "broken", info | changes, {}, overwrite=True)
    return refusal(run)


def test_a_member_that_is_missing_changed_or_no_network_is_named(folder: Path) -> None:
    assert broken(folder, members=["three", "gone"]).startswith(f"{folder / 'gone'}: no such run")
    assert broken(folder, members=["three", "both"]) == "run both: is an ensemble, which has no network of its own"
    run = rewritten(folder, "odd", "three", made_onnx(HEADS))
    (run.path / "model.onnx").write_bytes(b"changed")
    assert f"{run.path / 'model.onnx'}: changed since" in broken(folder, members=["three", "odd"])


def test_a_member_that_was_replaced_is_no_longer_the_one_that_was_averaged(folder: Path) -> None:
    info = Run.load(folder / "both").info
    own = {name: Run.load(folder / name).network_hash for name in info["members"]}
    assert load(runs.write(folder / "pinned", info | {"networks": own}, {}, overwrite=True)).run.name == "pinned"
    said = broken(folder, networks=own | {"other": "0" * 64})
    assert said.startswith(
        f"{folder / 'other'}: not the network that ensemble broken was made of; make the ensemble again"
    )


def test_members_must_have_the_ensembles_heads_with_its_labels(folder: Path) -> None:
    assert broken(folder, members=["three", "one"]) == "run one: no head 'consensus'; it has fer2013"
    heads = Run.load(folder / "both").info["heads"]
    heads = heads | {"consensus": heads["consensus"] | {"labels": [*LABELS[:-1], "bored"]}}
    assert broken(folder, heads=heads) == "run broken: member three has other labels in head 'consensus'"


def test_a_network_of_an_ensemble_is_opened_only_by_its_members(folder: Path) -> None:
    with pytest.raises(RunError, match="run both: is an ensemble"):
        Network(Run.load(folder / "both"))


def test_a_detector_that_is_missing_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FerError, match=r"yunet\.onnx: no such file"):
        Predictor.load(folder / "one", detector=os.path.join("nowhere", "yunet.onnx"))
    monkeypatch.setenv("FER_DETECTOR", "elsewhere.onnx")
    with pytest.raises(FerError, match=r"elsewhere\.onnx: no such file"):
        Predictor.load(folder / "one")


def shipped() -> Predictor:
    return Predictor.load()


def only(faces: list[fercore.inference.Face]) -> fercore.inference.Face:
    (face,) = faces
    return face


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_photo_on_its_side_is_found_out(portrait: np.ndarray, turns: int) -> None:
    """The portrait turned by quarters has the same face, its box turned with it: here by the corners' arithmetic."""
    predictor = shipped()
    upright = only(predictor.predict(portrait))
    turned = only(predictor.predict(np.ascontiguousarray(np.rot90(portrait, turns))))
    left, top, width, height = upright.box
    expected = {
        1: (top, 512 - left - width, height, width),
        2: (512 - left - width, 512 - top - height, width, height),
        3: (512 - top - height, left, height, width),
    }[turns]
    assert turned.box == pytest.approx(expected, abs=0.01)
    assert turned.probabilities == pytest.approx(upright.probabilities, abs=1e-4)
    x, y = upright.keypoints[2]
    assert turned.keypoints[2] == pytest.approx(
        {1: (y, 512 - x), 2: (512 - x, 512 - y), 3: (512 - y, x)}[turns], abs=0.01
    )


def test_a_frame_is_not_turned(portrait: np.ndarray) -> None:
    frame = np.ascontiguousarray(np.rot90(portrait))
    predictor = shipped()
    found = predictor.detect(frame)
    np.testing.assert_allclose([face.box for face in predictor.predict(frame, turn=False)], found.boxes, atol=0.01)
    assert only(predictor.predict(frame)).score > found.scores[0] + 0.1


def encoded_jpeg(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def test_a_large_jpeg_with_a_large_face_is_never_decoded_whole(
    portrait: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = np.array(Image.fromarray(portrait).resize((2400, 2400), Image.Resampling.BICUBIC))
    predictor = shipped()
    expected = only(predictor.predict(large))
    decode = fercore.images._decode_jpeg
    scales = []

    def recorded(jpeg: Any, max_pixels: int, divisor: int) -> np.ndarray:
        scales.append(1 / divisor)
        return decode(jpeg, max_pixels, divisor)

    monkeypatch.setattr(fercore.images, "_decode_jpeg", recorded)
    found = only(predictor.predict(encoded_jpeg(large)))
    assert set(scales) == {0.5}
    assert found.box == pytest.approx(expected.box, abs=30)
    assert found.label == expected.label
    assert found.confidence == pytest.approx(expected.confidence, abs=0.05)


def test_a_small_face_of_a_large_jpeg_is_cut_from_the_whole_picture(portrait: np.ndarray) -> None:
    """A face of 82 pixels, 41 in the reduced picture, is seen as finely as in the array."""
    canvas = np.full((1500, 2000, 3), 120, np.uint8)
    canvas[500:900, 600:1000] = np.array(Image.fromarray(portrait).resize((400, 400), Image.Resampling.BICUBIC))
    predictor = shipped()
    face = only(predictor.predict(encoded_jpeg(canvas)))
    assert face.box[2] == pytest.approx(82, rel=0.25)
    assert face.box[0] + face.box[2] / 2 == pytest.approx(600 + 400 * (173.4 + 51.7) / 512, abs=8)
    pixels = fercore.images.load_image(encoded_jpeg(canvas))
    assert list(face.probabilities.values()) == pytest.approx(predictor.classify(pixels, [face.box])[0], abs=1e-4)


class Once(io.RawIOBase):
    """A stream that gives its bytes once and cannot go back, such as a socket's."""

    def __init__(self, data: bytes) -> None:
        self.left = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self.left.read(min(size, 50_000) if size >= 0 else 50_000)


def test_a_source_is_read_once(portrait: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a small face of a large JPEG is cut from the whole picture."""
    canvas = np.full((1500, 2000, 3), 120, np.uint8)
    canvas[500:900, 600:1000] = np.array(Image.fromarray(portrait).resize((400, 400), Image.Resampling.BICUBIC))
    data = encoded_jpeg(canvas)
    predictor = shipped()
    expected = predictor.predict(data)
    assert len(expected) == 1
    assert predictor.predict(Once(data)) == expected
    reads = []
    read = fercore.images._read_path
    monkeypatch.setattr(fercore.images, "_read_path", lambda path: reads.append(path) or read(path))
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    assert predictor.predict(path) == expected
    assert reads == [path]


def test_a_run_whose_features_need_a_missing_package_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made_run(tmp_path, faces=20)
    spec = dataclasses.replace(run.input, features="hog")
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    with pytest.raises(FerError, match=r"^features 'hog' need scikit-image; pip install scikit-image$"):
        Network(dataclasses.replace(run, input=spec))


def test_no_usage_data_is_written(tmp_path: Path) -> None:
    """ONNX Runtime would leave a device's number in the home folder, to be uploaded."""
    code = "from fercore import Predictor; print(len(Predictor.load().predict('static/portrait.jpg')))"
    root = Path(__file__).resolve().parents[1]
    given = {key: value for key, value in os.environ.items() if not key.startswith(("ORT_", "XDG_", "FER_"))}
    environment = given | {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
