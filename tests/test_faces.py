"""Face detection: against reference numbers of the portrait, on pictures composed of it, and on malformed input."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from fercore import faces
from fercore.config import artifacts_dir
from fercore.errors import FerError
from fercore.faces import BlazeFace, Detections, YuNet, load_detector, suppress

FACE = (172.0, 74.2, 105.4, 105.4)
"""Left, top, width and height of the portrait's face, and its key points, as computed from the original network."""
KEYPOINTS = [(202.6, 102.2), (247.6, 103.2), (223.8, 128.1), (223.2, 149.7), (177.1, 111.4), (272.8, 114.4)]


@pytest.fixture(scope="module")
def detector() -> BlazeFace:
    return BlazeFace()


def centres(found: Detections) -> np.ndarray:
    return found.boxes[:, :2] + found.boxes[:, 2:] / 2


def moved(scale: float, left: float, top: float) -> np.ndarray:
    """The portrait's box after scaling the portrait and moving its corner there."""
    return np.array(FACE) * scale + [left, top, 0, 0]


def scaled(portrait: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)


def looks(detector: BlazeFace, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the side of every square that the detector looks at."""
    sides: list[float] = []
    look = detector._look

    def recorded(image: np.ndarray, left: float, top: float, side: float) -> Detections:
        sides.append(side)
        return look(image, left, top, side)

    monkeypatch.setattr(detector, "_look", recorded)
    return sides


def test_portrait_has_the_reference_face_in_one_look(
    detector: BlazeFace, portrait: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = looks(detector, monkeypatch)
    found = detector.detect(portrait)
    assert sides == [512]
    assert len(found) == 1
    assert found.boxes[0] == pytest.approx(FACE, abs=2)
    assert found.keypoints[0] == pytest.approx(np.array(KEYPOINTS), abs=2)
    assert found.scores[0] == pytest.approx(1 / (1 + np.exp(-1.98)), abs=0.002)
    assert (found.boxes.dtype, found.scores.dtype, found.keypoints.dtype) == (np.float32,) * 3
    assert (found.boxes.shape, found.scores.shape, found.keypoints.shape) == ((1, 4), (1,), (1, 6, 2))


@pytest.mark.parametrize(("height", "width"), [(512, 900), (900, 512)])
def test_boxes_are_in_pixels_of_the_picture_whatever_its_shape(portrait: np.ndarray, height: int, width: int) -> None:
    canvas = np.full((height, width, 3), 90, np.uint8)
    top, left = height - 512, width - 512
    canvas[top:, left:] = portrait
    found = BlazeFace(tiles=False).detect(canvas)
    assert found.boxes[0] == pytest.approx(moved(1, left, top), abs=8)


def test_several_faces(detector: BlazeFace, portrait: np.ndarray) -> None:
    small = scaled(portrait, 160)
    found = detector.detect(np.tile(small, (2, 3, 1)))
    expected = np.array([moved(160 / 512, 160 * x, 160 * y) for y in range(2) for x in range(3)])
    assert len(found) == 6
    order = np.lexsort([centres(found)[:, 0], centres(found)[:, 1] > 160])
    assert centres(found)[order] == pytest.approx(expected[:, :2] + expected[:, 2:] / 2, abs=5)
    assert found.boxes[:, 2:] == pytest.approx(expected[:, 2:], rel=0.25)
    assert (np.diff(found.scores) <= 0).all()


def test_tiles_find_a_face_that_the_whole_photo_hides(portrait: np.ndarray) -> None:
    canvas = np.full((2000, 3000, 3), 128, np.uint8)
    small = scaled(portrait, 320)
    canvas[1500:1820, 700:1020] = small
    expected = moved(320 / 512, 700, 1500)
    assert 60 < expected[2] < 70  # 2% of the longer side
    found = BlazeFace().detect(canvas)
    assert len(found) == 1
    assert centres(found)[0] == pytest.approx(expected[:2] + expected[2:] / 2, abs=8)
    assert found.boxes[0, 2:] == pytest.approx(expected[2:], rel=0.25)
    whole = BlazeFace(tiles=False).detect(canvas)
    assert not (np.abs(whole.boxes - expected).max(axis=1, initial=0) < 8).any()


def test_tiles_are_for_large_pictures_without_a_sure_large_face(
    detector: BlazeFace, portrait: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look is enough for a selfie of 640 x 480; a face of 1/25 of the picture calls for tiles, as does none at all."""
    sides = looks(detector, monkeypatch)
    canvas = np.full((480, 640, 3), 90, np.uint8)
    canvas[:, 80:560] = scaled(portrait, 480)
    assert len(detector.detect(canvas)) == 1
    assert sides == [640]
    sides.clear()
    crowd = np.full((960, 1280, 3), 90, np.uint8)
    crowd[:256, :256] = scaled(portrait, 256)
    assert len(detector.detect(crowd)) == 1
    assert sides[0] == 1280
    assert set(sides[1:]) == {576}
    sides.clear()
    assert len(detector.detect(np.full((480, 640, 3), 90, np.uint8))) == 0
    assert sides[:3] == [640, 960, 1280]
    assert set(sides[3:]) == {288}


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (512, 512, (0, 256, 0, 256)),
        (480, 640, (32, 224, 0, 256)),  # 192 rows of picture, 32 of nothing above and below
        (640, 480, (0, 256, 32, 224)),
        (500, 600, (0, 256, 0, 256)),  # 213 rows touch every cell
        (1, 2000, (96, 128, 0, 256)),
    ],
)
def test_the_network_is_shown_the_cells_that_hold_picture(
    detector: BlazeFace, height: int, width: int, expected: tuple[int, ...]
) -> None:
    side = max(height, width)
    left, top = -((side - width) // 2), -((side - height) // 2)
    assert faces.window(np.zeros((height, width, 3), np.uint8), left, top, side, detector.settings) == expected


def test_anchors_of_a_window_are_those_of_the_whole_input_that_lie_in_it(detector: BlazeFace) -> None:
    whole = faces.anchors(detector.settings, 0, 256, 0, 256)
    part = faces.anchors(detector.settings, 32, 224, 64, 256)
    inside = (whole[:, 0] > 64) & (whole[:, 1] > 32) & (whole[:, 1] < 224)
    assert (len(whole), len(part)) == (16 * 16 * 2 + 8 * 8 * 6, 12 * 12 * 2 + 6 * 6 * 6)
    assert part.tolist() == whole[inside].tolist()


def test_close_up_gets_a_second_look(
    detector: BlazeFace, portrait: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, top, side = 160, 55, 140
    sides = looks(detector, monkeypatch)
    found = detector.detect(portrait[top : top + side, left : left + side])
    assert len(sides) == 2
    assert sides[1] > 1.5 * side
    assert len(found) == 1
    assert centres(found)[0] == pytest.approx(centres(_reference())[0] - [left, top], abs=0.1 * FACE[2])
    assert found.boxes[0, 2] == pytest.approx(FACE[2], rel=0.2)


def test_a_picture_that_is_a_face_of_48_pixels(detector: BlazeFace, portrait: np.ndarray) -> None:
    left, top, side = 165, 60, 125
    crop = cv2.resize(portrait[top : top + side, left : left + side], (48, 48), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    found = detector.detect(grey)
    assert len(found) == 1
    expected = (centres(_reference())[0] - [left, top]) * 48 / side
    assert centres(found)[0] == pytest.approx(expected, abs=0.15 * 48)


def test_a_border_is_tried_where_nothing_is_found(detector: BlazeFace, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = looks(detector, monkeypatch)
    assert len(detector.detect(np.full((100, 80, 3), 200, np.uint8))) == 0
    assert sides == [100, 150, 200]


@pytest.mark.parametrize(("share", "count"), [(0.45, 0), (0.55, 1)])
def test_only_large_faces_are_taken_from_a_border(monkeypatch: pytest.MonkeyPatch, share: float, count: int) -> None:
    """Faces that the network sees only within a border: by this, one of 45% of the picture is no close-up, one of 55% is."""
    detector = BlazeFace()
    face = made([[0, 0, share * 100, share * 100]], [0.9])
    none = face.select(np.zeros(0, int))
    monkeypatch.setattr(detector, "_look", lambda image, left, top, side: face if side > 100 else none)
    assert len(detector.detect(np.zeros((100, 100, 3), np.uint8))) == count


def _reference() -> Detections:
    return Detections(np.array([FACE], np.float32), np.ones(1, np.float32), np.array([KEYPOINTS], np.float32))


@pytest.mark.parametrize("shape", [(1, 1), (1, 20000), (20000, 1), (3, 700), (0, 0), (0, 40), (480, 640), (900, 1400)])
def test_blank_pictures_of_any_size_have_no_face(detector: BlazeFace, shape: tuple[int, int]) -> None:
    found = detector.detect(np.full((*shape, 3), 117, np.uint8))
    assert len(found) == 0
    assert (found.boxes.shape, found.scores.shape, found.keypoints.shape) == ((0, 4), (0,), (0, 6, 2))


def test_noise_has_no_face(detector: BlazeFace) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    assert len(detector.detect(noise)) == 0


def test_views_of_arrays_are_taken(detector: BlazeFace, portrait: np.ndarray) -> None:
    backwards = np.ascontiguousarray(portrait[..., ::-1])[..., ::-1]
    assert detector.detect(backwards).boxes == pytest.approx(detector.detect(portrait).boxes)


@pytest.mark.parametrize("image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3))])
def test_other_arrays_are_refused(detector: BlazeFace, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"RGB uint8 \(H, W, 3\), got (uint8|float64) \(8, 8"):
        detector.detect(image)


def test_threads_share_a_detector(detector: BlazeFace, portrait: np.ndarray) -> None:
    pictures = [scaled(portrait, side) for side in (512, 400, 300, 200)]
    expected = [detector.detect(picture) for picture in pictures]
    wrong: list[int] = []

    def work(start: int) -> None:
        for i in range(8):
            which = (start + i) % len(pictures)
            if not np.array_equal(detector.detect(pictures[which]).boxes, expected[which].boxes):
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(found) == 1 for found in expected)
    assert wrong == []


def made(boxes: list[list[float]], scores: list[float]) -> Detections:
    keypoints = np.repeat(np.array(boxes, np.float32)[:, None, :2], 6, axis=1)
    return Detections(np.array(boxes, np.float32), np.array(scores, np.float32), keypoints)


def test_suppression_by_hand() -> None:
    """Boxes 1 and 0 share 80 x 100 of 12,000: 2/3, one face. Box 2 shares nothing, box 3 shares 20 x 100 of 18,000 with 1."""
    found = suppress(
        made([[20, 0, 100, 100], [0, 0, 100, 100], [500, 0, 50, 50], [-80, 0, 100, 100]], [0.6, 0.9, 0.7, 0.5]), 0.3
    )
    left = (0.9 * 0 + 0.6 * 20) / 1.5
    assert found.boxes == pytest.approx(np.array([[left, 0, 100, 100], [500, 0, 50, 50], [-80, 0, 100, 100]]))
    assert found.scores == pytest.approx([0.9, 0.7, 0.5])
    assert found.keypoints[0] == pytest.approx(np.array([[left, 0]] * 6))


def test_suppression_drops_what_lies_on_the_same_face() -> None:
    """A small box inside (1% of the union) and a large one around are dropped, not averaged in."""
    found = suppress(made([[0, 0, 100, 100], [40, 60, 10, 10], [-200, -200, 500, 500]], [0.9, 0.8, 0.7]), 0.3)
    assert found.boxes.tolist() == [[0, 0, 100, 100]]


def test_suppression_of_nothing() -> None:
    assert len(suppress(Detections(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 6, 2))), 0.3)) == 0


@pytest.mark.parametrize(("height", "width"), [(600, 600), (2000, 3000), (1, 20000), (20000, 300), (513, 700)])
def test_tiles_cover_the_picture_with_overlap(detector: BlazeFace, height: int, width: int) -> None:
    squares = faces.tiles(height, width, detector.settings)
    assert len(squares) <= 50
    side = squares[0][2]
    assert all(square[2] == side for square in squares)
    assert side >= 0.6 * min(height, width)
    for length, starts in ((width, sorted({s[0] for s in squares})), (height, sorted({s[1] for s in squares}))):
        assert starts[0] <= 0
        assert starts[-1] + side >= length
        assert (np.diff(starts) <= 0.75 * side + 1).all()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifacts_dir() / "detector", tmp_path / "detector"))


def refused(path: Path) -> str:
    with pytest.raises(FerError) as caught:
        load_detector(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_tampered_file_is_refused_by_name(copy: Path) -> None:
    data = bytearray((copy / "blazeface.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "blazeface.onnx").write_bytes(data)
    message = refused(copy)
    assert str(copy / "blazeface.onnx") in message
    assert "sha256 differs" in message
    assert "conversion/blazeface.py" in message


def test_missing_and_malformed_files_are_told(copy: Path) -> None:
    description = copy / "detector.json"
    values = json.loads(description.read_text())
    description.write_text(json.dumps({**values, "settings": {**values["settings"], "scores": 0.4}}))
    assert "unknown option 'scores'; did you mean 'score'?" in refused(copy)
    description.write_text("{")
    assert "detector.json: not a detector's description" in refused(copy)
    description.write_text(json.dumps({"file": "blazeface.onnx"}))
    assert "detector.json: not a detector's description" in refused(copy)
    description.unlink()
    assert "detector.json: cannot be read" in refused(copy)
    description.write_text(json.dumps(values))
    (copy / "blazeface.onnx").unlink()
    assert "blazeface.onnx: cannot be read" in refused(copy)


def described(folder: Path, network: onnx.ModelProto | None = None, **settings: object) -> None:
    """Put another network, with its true hash, or other settings into a detector's folder."""
    description = folder / "detector.json"
    values = json.loads(description.read_text())
    if network:
        data = network.SerializeToString()
        (folder / "blazeface.onnx").write_bytes(data)
        values["sha256"] = hashlib.sha256(data).hexdigest()
    values["settings"] |= settings
    description.write_text(json.dumps(values))


def test_a_hostile_network_is_refused_however_well_described(copy: Path, tmp_path: Path) -> None:
    """One that reads weights elsewhere, promises a huge tensor, or takes all memory when it runs; for both detectors."""
    honest = onnx.load(copy / "blazeface.onnx")
    elsewhere, huge = (onnx.ModelProto.FromString(honest.SerializeToString()) for _ in range(2))
    elsewhere.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    huge.graph.initializer.add(name="huge", dims=[1 << 20, 1 << 20], data_type=1)
    for network, told in (
        (elsewhere, "blazeface.onnx: its weights lie in another file"),
        (huge, "blazeface.onnx: 'huge' has the shape 1048576 x 1048576"),
    ):
        described(copy, network)
        assert f"{copy / told}" in refused(copy)
        file = tmp_path / "yunet.onnx"
        file.write_bytes(network.SerializeToString())
        assert f"{file}: {told.partition(': ')[2]}" in refused(file)
    described(copy, made_greedy(honest))
    assert "the ONNX file takes more than 2 GiB of memory for one picture" in refused(copy)
    other = onnx.helper.make_graph([], "other", [], [])
    described(copy, onnx.helper.make_model(other, ir_version=8))
    assert "the ONNX file is not BlazeFace" in refused(copy)


def made_greedy(honest: onnx.ModelProto) -> onnx.ModelProto:
    """Return a detector whose scores are spread over 64 GiB, from a shape of a few bytes, before they are summed up again."""
    greedy = onnx.ModelProto.FromString(honest.SerializeToString())
    for node in greedy.graph.node:
        node.output[:] = ["scores" if name == "logits" else name for name in node.output]
    numbers = {"shape": [1 << 24, 1, 1], "axis": [0]}
    greedy.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array(values, np.int64), name) for name, values in numbers.items()
    )
    greedy.graph.node.append(onnx.helper.make_node("Expand", ["scores", "shape"], ["spread"]))
    greedy.graph.node.append(onnx.helper.make_node("ReduceSum", ["spread", "axis"], ["logits"], keepdims=0))
    return greedy


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 1 << 20},
        {"size": "256"},
        {"grids": [[16, 1 << 20]]},
        {"grids": [[0, 2]]},
        {"score": 0},
        {"tile_overlap": 1.0},
        {"borders": ["0.25"]},
        {"tiles_along": 1 << 15},
        {"overlap": -1},
    ],
)
def test_settings_that_would_fail_or_never_end_are_refused(copy: Path, settings: dict) -> None:
    described(copy, **settings)
    assert "detector.json: not a detector's description: " in refused(copy)


def test_a_detector_reads_no_file_outside_its_folder(copy: Path) -> None:
    (copy.parent / "outside.onnx").write_bytes((copy / "blazeface.onnx").read_bytes())
    values = json.loads((copy / "detector.json").read_text())
    (copy / "detector.json").write_text(json.dumps(values | {"file": "../outside.onnx"}))
    assert "the file '../outside.onnx' is not named as one in this folder" in refused(copy)


def test_the_environment_names_the_detector(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FER_DETECTOR", raising=False)
    assert isinstance(load_detector(), BlazeFace)
    monkeypatch.setenv("FER_DETECTOR", str(tmp_path / "nowhere.onnx"))
    with pytest.raises(FerError, match=r"nowhere\.onnx: no such file or folder"):
        load_detector()
    assert isinstance(load_detector(copy), BlazeFace)
    monkeypatch.setenv("FER_DETECTOR", str(copy))
    assert isinstance(load_detector(), BlazeFace)


def test_yunet_refuses_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "yunet.onnx").write_bytes(b"no network")
    assert "yunet.onnx: not an ONNX file" in refused(tmp_path / "yunet.onnx")
    (tmp_path / "yunet.onnx").write_bytes(of_one_step("NoSuchStep"))
    message = refused(tmp_path / "yunet.onnx")
    assert "yunet.onnx: OpenCV cannot read it as YuNet's ONNX file" in message


def of_one_step(operator: str) -> bytes:
    """Return an ONNX file with a picture as input, one step, and its answer as output."""
    made = [onnx.helper.make_tensor_value_info(name, 1, [1, 3, 64, 64]) for name in ("image", "answer")]
    node = onnx.helper.make_node(operator, ["image"], ["answer"])
    graph = onnx.helper.make_graph([node], "made", made[:1], made[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


class FakeYuNet:
    """Stands for ``cv2.FaceDetectorYN``: answers with two faces in pixels of the picture it was given."""

    def __init__(self) -> None:
        self.size = (0, 0)

    def setInputSize(self, size: tuple[int, int]) -> None:
        self.size = size

    def detect(self, image: np.ndarray) -> tuple[int, np.ndarray | None]:
        assert image.shape[:2] == self.size[::-1]
        if not image.any():
            return 1, None
        assert image[0, 0].tolist() == [3, 2, 1]  # BGR
        eyes_nose_mouth = [20, 30, 40, 30, 30, 40, 24, 50, 36, 52]
        return 1, np.array([[0, 0, 9, 9, *[1] * 10, 0.7], [10, 20, 40, 50, *eyes_nose_mouth, 0.9]], np.float32)


def test_yunet_in_our_terms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "yunet.onnx").write_bytes(of_one_step("Relu"))
    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *arguments: FakeYuNet())
    detector = load_detector(tmp_path / "yunet.onnx")
    assert isinstance(detector, YuNet)
    image = np.tile(np.array([1, 2, 3], np.uint8), (960, 1280, 1))  # twice the 640 pixels that YuNet is given
    found = detector.detect(image)
    assert found.scores == pytest.approx([0.9, 0.7])
    assert found.boxes[0].tolist() == [20, 40, 80, 100]
    assert found.keypoints[0, :4].tolist() == [[40, 60], [80, 60], [60, 80], [60, 102]]
    assert np.isnan(found.keypoints[:, 4:]).all()
    assert found.keypoints.shape == (2, 6, 2)
    assert len(detector.detect(np.zeros((40, 40, 3), np.uint8))) == 0
    assert len(detector.detect(np.zeros((0, 40, 3), np.uint8))) == 0


def test_halving_by_hand() -> None:
    """Averages of 2 x 2; of 5 rows the last is left out, of one row there is nothing to halve."""
    rows = [[0, 4, 10, 20], [8, 4, 30, 40], [1, 1, 9, 9], [1, 1, 9, 9], [200, 200, 200, 200]]
    image = np.repeat(np.array(rows, np.uint8)[..., None], 3, axis=2)
    assert faces.halved(image, 0) is image
    once = faces.halved(image, 1)
    assert once.dtype == np.uint8
    assert once[..., 0].tolist() == [[4, 25], [1, 9]]
    assert faces.halved(image, 2)[..., 1].tolist() == [[10]]  # of 4, 25, 1 and 9: 9.75
    line = np.repeat(np.array([[10, 20, 30, 40, 50]], np.uint8)[..., None], 3, axis=2)
    assert faces.halved(line, 1)[..., 2].tolist() == [[15, 35]]
    assert faces.halved(line, 3).shape == (1, 1, 3)


@pytest.mark.parametrize(
    ("height", "width", "seen"),
    [
        (1704, 1704, (1704, 1704)),  # tiles of 0.6 of the side: 1,023 pixels, then 1,024, four times 256
        (1706, 1706, (853, 853)),
        (3001, 4001, (1500, 2000)),
        (5770, 8660, (1442, 2165)),
        (1, 20000, (1, 10000)),
    ],
)
def test_large_pictures_are_halved_for_all_looks(
    monkeypatch: pytest.MonkeyPatch, height: int, width: int, seen: tuple[int, int]
) -> None:
    detector, shapes = BlazeFace(), []

    def blind(image: np.ndarray, left: float, top: float, side: float) -> Detections:
        shapes.append(image.shape[:2])
        return made([[0, 0, 1, 1]], [0.9]).select(np.zeros(0, int))

    monkeypatch.setattr(detector, "_look", blind)
    assert len(detector.detect(np.zeros((height, width, 3), np.uint8))) == 0
    assert len(shapes) > 3, "with borders and tiles"
    assert set(shapes) == {seen}


def test_boxes_of_a_halved_picture_are_in_pixels_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = BlazeFace(tiles=False)
    monkeypatch.setattr(detector, "_look", lambda image, left, top, side: made([[10, 20, 30, 40]], [0.9]))
    found = detector.detect(np.zeros((4000, 4000, 3), np.uint8))  # tiles of 2,400: halved twice
    assert found.boxes.tolist() == [[40, 80, 120, 160]]
    assert found.keypoints[0].tolist() == [[40, 80]] * 6
    assert found.scores == pytest.approx([0.9])


def test_a_group_photo_is_searched_in_half_its_pixels(portrait: np.ndarray) -> None:
    """Thirty faces in 12 megapixels: all are found, where the search of all pixels finds them.

    Two pixels of the halved picture are four of the photo. A few boxes may be further away, by up to a tenth of the face:
    those in whose average a candidate at the threshold of the score is, or is not.
    """
    rng = np.random.default_rng(0)
    photo = np.full((3000, 4000, 3), 90, np.uint8)
    expected = []
    for row, column in np.ndindex(5, 6):
        side = int(rng.integers(480, 601))
        top, left = 600 * row + int(rng.integers(0, 601 - side)), 660 * column + int(rng.integers(0, 661 - side))
        photo[top : top + side, left : left + side] = cv2.resize(portrait[:330, 60:390], (side, side))
        expected.append(moved(side / 330, left - 60 * side / 330, top))
    expected = np.array(expected)
    middles = expected[:, :2] + expected[:, 2:] / 2
    detector = BlazeFace()
    boxes = []
    for found in (detector.detect(photo), detector._search(photo)):
        away = np.hypot(*(centres(found) - middles[:, None]).transpose(2, 0, 1)) / expected[:, 2:3]
        assert len(found) == 30
        assert (away.min(axis=1) < 0.25).all()
        boxes.append(found.boxes[away.argmin(axis=1)])
    assert boxes[0][:, 2:] == pytest.approx(expected[:, 2:], rel=0.3)
    apart = np.abs(boxes[0] - boxes[1]).max(axis=1)
    assert (apart <= 4).sum() >= 27
    assert (apart <= 0.1 * expected[:, 2]).all()


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_large_picture_is_turned_by_a_small_one_and_searched_whole(portrait: np.ndarray, turns: int) -> None:
    upright = np.full((2600, 3000, 3), 255, np.uint8)
    upright[300:1836, 1000:2536] = cv2.resize(portrait, (1536, 1536))
    (wanted,) = BlazeFace().detect(upright).boxes[:1]
    found, quarters = faces.detect_turned(BlazeFace(), np.ascontiguousarray(np.rot90(upright, -turns)))
    assert quarters == turns
    assert np.array_equal(found.boxes[0], wanted)  # the same looks at the same pixels


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_picture_without_a_face_is_turned_by_one_look_a_turn(
    detector: BlazeFace, monkeypatch: pytest.MonkeyPatch, quarters: int
) -> None:
    """640 x 480: one look, two borders, six tiles of 288 pixels, then one look at each turn of a picture half that size."""
    sides = looks(detector, monkeypatch)
    found, turns = faces.detect_turned(detector, np.rot90(np.full((480, 640, 3), 117, np.uint8), quarters))
    assert (len(found), turns) == (0, 0)
    assert sides == [640, 960, 1280, *[288] * 6, 320, 320, 320]


@pytest.mark.parametrize(("width", "height"), [(640, 480), (480, 640), (1280, 720)])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_photo_on_its_side_is_searched_whole_in_the_turn_that_is_taken(
    detector: BlazeFace, portrait: np.ndarray, monkeypatch: pytest.MonkeyPatch, width: int, height: int, turns: int
) -> None:
    """After the picture as it lies: a look at a small copy in each turn, then what the upright picture gets."""
    upright = np.full((height, width, 3), 90, np.uint8)
    upright[40:400, 60:420] = scaled(portrait, 360)
    lying = np.ascontiguousarray(np.rot90(upright, -turns))
    sides = looks(detector, monkeypatch)
    wanted = detector.detect(upright)
    upright_looks = sides.copy()
    sides.clear()
    detector.detect(lying)
    lying_looks = sides.copy()
    sides.clear()
    found, quarters = faces.detect_turned(detector, lying)
    assert quarters == turns
    assert np.array_equal(found.boxes, wanted.boxes)
    small = max(width, height) // (2 if width + height < 2000 else 4)
    assert sides == [*lying_looks, *[small] * 3, *upright_looks]


def test_a_glance_is_one_look_and_a_closer_one_at_a_large_face(
    detector: BlazeFace, portrait: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = looks(detector, monkeypatch)
    assert len(detector.glance(np.full((900, 1200, 3), 117, np.uint8))) == 0
    assert sides == [1200]
    sides.clear()
    assert detector.glance(portrait).boxes[0] == pytest.approx(FACE, abs=2)
    assert sides == [512]
    sides.clear()
    close_up = detector.glance(portrait[55:195, 160:300])
    assert len(sides) == 2
    assert close_up.boxes[0, 2] == pytest.approx(FACE[2], rel=0.2)
    assert len(detector.glance(np.zeros((0, 40, 3), np.uint8))) == 0
    with pytest.raises(ValueError, match="RGB uint8"):
        detector.glance(np.zeros((8, 8), np.uint8))


def test_a_detector_without_a_glance_is_asked_for_all_it_does() -> None:
    """One that sees an upright face only where the picture's bright corner is at the top left."""

    class Plain:
        def detect(self, image: np.ndarray) -> Detections:
            points = np.zeros((1, 6, 2), np.float32)
            points[0, 1] = [10, 0]
            face = Detections(np.array([[0, 0, 20, 20]], np.float32), np.array([0.9], np.float32), points)
            return face.select(np.arange(int(image[0, 0, 0] > 0)))

    picture = np.zeros((40, 60, 3), np.uint8)
    picture[-1, 0] = 255  # a quarter counterclockwise takes it to the bottom right, three to the top left
    found, turns = faces.detect_turned(Plain(), picture)
    assert (len(found), turns) == (1, 3)


@pytest.mark.parametrize(("width", "height"), [(320, 240), (640, 480), (800, 600), (1024, 768), (1280, 720)])
def test_faces_of_24_pixels_are_found(detector: BlazeFace, portrait: np.ndarray, width: int, height: int) -> None:
    side = round(512 * 24 / FACE[2])
    for x, y in ((0.05, 0.05), (0.3, 0.4), (0.5, 0.9), (0.95, 0.4)):
        left, top = int(x * (width - side)), int(y * (height - side))
        canvas = np.full((height, width, 3), 90, np.uint8)
        canvas[top : top + side, left : left + side] = scaled(portrait, side)
        expected = moved(side / 512, left, top)
        assert expected[2] == pytest.approx(24, abs=0.2)
        away = np.abs(centres(detector.detect(canvas)) - expected[:2] - expected[2:] / 2).max(axis=1, initial=0)
        assert away.min(initial=np.inf) < 0.3 * 24, f"the face at {left}, {top}"


@pytest.mark.parametrize("edge", ["left", "right", "top", "bottom"])
@pytest.mark.parametrize("scale", [0.5, 1, 1.5])
def test_faces_that_an_edge_cuts_by_a_fifth_are_found(
    detector: BlazeFace, portrait: np.ndarray, edge: str, scale: float
) -> None:
    left, top, width, height = FACE
    start, end = (round(length) for length in (left + 0.2 * width, left + 0.8 * width))
    high, low = (round(length) for length in (top + 0.2 * height, top + 0.8 * height))
    cropped, x, y = {
        "left": (portrait[:, start:], start, 0),
        "right": (portrait[:, :end], 0, 0),
        "top": (portrait[high:], 0, high),
        "bottom": (portrait[:low], 0, 0),
    }[edge]
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture = cv2.resize(np.ascontiguousarray(cropped), None, fx=scale, fy=scale, interpolation=method)
    found = detector.detect(picture)
    expected = moved(scale, -x * scale, -y * scale)
    assert len(found) == 1
    assert centres(found)[0] == pytest.approx(expected[:2] + expected[2:] / 2, abs=0.1 * expected[2])


@pytest.mark.long
def test_recall_on_labelled_photos(data_dir: Path) -> None:
    """97% of ExpW's labelled faces have a box whose centre lies within 0.3 of the labelled box's size of theirs."""
    from fercore import datasets

    dataset = datasets.load("expw", data_dir)
    step = max(1, len(dataset) // 600)
    dataset = dataset.select(np.arange(0, len(dataset), step))
    detector = BlazeFace()
    hits = []
    for _, positions, pixels in dataset.images():
        found = detector.detect(pixels if pixels.ndim == 3 else np.stack([pixels] * 3, axis=2))
        for left, top, width, height in dataset.boxes()[positions]:
            away = (centres(found) - [left + width / 2, top + height / 2]) / [width, height]
            hits.append(np.hypot(*away.T).min(initial=np.inf) <= 0.3)
    assert len(hits) >= 600
    assert np.mean(hits) >= 0.97
