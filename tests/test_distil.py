"""What a teacher says is blended into the labels as worked out by hand, and networks start from runs that were read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fercore import runs
from fercore.calibration import softmax
from fercore.errors import ConfigError
from fercore.inference import Network, Predictor
from fercore.preprocess import InputSpec
from made_faces import made_dataset
from made_run import made_ensemble, made_run

pytest.importorskip("keras")

from fercore.training import distil
from fercore.training.data import Faces, batches, join
from fercore.training.recipe import Recipe

LABELS = ("angry", "happy", "sad")


@pytest.fixture
def faces() -> Faces:
    return join([made_dataset([0, 1, 2, 1], LABELS, name="made")])


@pytest.fixture
def teacher(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """What the teacher says of the four faces, instead of asking a network."""
    said = np.array([[0.2, 0.3, 0.5], [0.6, 0.2, 0.2], [0.1, 0.1, 0.8], [0.0, 1.0, 0.0]], np.float32)
    monkeypatch.setattr(distil, "probabilities", lambda faces, run, progress=None: {"made": said})
    return said


def test_labels_and_teacher_share_a_face_by_hand(faces, teacher):
    """A face of weight 1: a quarter of 0.5, 0.3, 0.2 and three quarters of the label."""
    taught = distil.taught(faces, None, 0.25)
    np.testing.assert_allclose(taught.weights["made"], 1.0, atol=1e-6)
    np.testing.assert_allclose(taught.targets["made"][0], [0.75 + 0.05, 0.075, 0.125], atol=1e-6)
    np.testing.assert_allclose(taught.targets["made"][2], [0.025, 0.025, 0.75 + 0.2], atol=1e-6)
    np.testing.assert_array_equal(faces.targets["made"][0], [1, 0, 0])  # what came in stays as it was


def test_a_weight_of_two_counts_the_label_twice(faces, teacher):
    faces.weights["made"][1] = 2.0
    taught = distil.taught(faces, None, 0.5)
    assert taught.weights["made"][1] == pytest.approx(0.5 * 2 + 0.5)
    np.testing.assert_allclose(taught.targets["made"][1], [0.3 / 1.5, (1 + 0.1) / 1.5, 0.1 / 1.5], atol=1e-6)


def test_a_head_that_knows_nothing_of_a_face_learns_from_the_teacher_alone(faces, teacher):
    faces.weights["made"][3] = 0.0
    faces.targets["made"][3] = 0.0
    taught = distil.taught(faces, None, 0.4)
    assert taught.weights["made"][3] == pytest.approx(0.4)
    np.testing.assert_allclose(taught.targets["made"][3], teacher[3], atol=1e-6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("teachers")
    members = [made_run(root, "one", heads={"made": LABELS}), made_run(root, "two", heads={"made": LABELS}, seed=1)]
    made_ensemble(root, "both", members)
    made_run(root, "other", heads={"other": LABELS})
    return root


def test_the_teacher_is_asked_about_the_face_and_its_mirror_image(folder, faces):
    predictor = Predictor.load(folder / "one", head="made")
    pixels = faces.sources[0].pixels
    boxes = [[0, 0, 48, 48]]
    upright = np.concatenate([predictor.classify(np.stack([each] * 3, -1), boxes, "crop") for each in pixels])
    turned = np.concatenate([predictor.classify(np.stack([each[:, ::-1]] * 3, -1), boxes, "crop") for each in pixels])
    said = distil.probabilities(faces, runs.Run.load(folder / "one"))
    np.testing.assert_allclose(said["made"], (upright + turned) / 2, atol=1e-5)


def test_an_ensemble_teaches_with_all_its_members(folder, faces):
    each = [distil.probabilities(faces, runs.Run.load(folder / name))["made"] for name in ("one", "two")]
    both = distil.probabilities(faces, runs.Run.load(folder / "both"))["made"]
    assert not np.allclose(each[0], each[1], atol=1e-4)
    np.testing.assert_allclose(both, (each[0] + each[1]) / 2, atol=1e-6)


def test_members_teach_by_their_shares(folder, faces):
    pair = [runs.Run.load(folder / name) for name in ("one", "two")]
    each = [distil.probabilities(faces, run)["made"] for run in pair]
    said = distil.probabilities(faces, made_ensemble(folder, "uneven", pair, shares=(0.8, 0.2)))["made"]
    np.testing.assert_allclose(said, 0.8 * each[0] + 0.2 * each[1], atol=1e-6)


def test_a_teachers_labels_are_compared_by_name(folder):
    teacher = runs.Run.load(folder / "one")
    distil.check(teacher, {"made": LABELS})
    with pytest.raises(ConfigError, match=r"teacher one: head 'made' knows .*, but the faces are labelled a, b, c"):
        distil.check(teacher, {"made": ("a", "b", "c")})
    with pytest.raises(ConfigError, match="teacher one: head 'folder' knows nothing, but"):
        distil.check(teacher, {"folder": LABELS})


def test_a_teacher_without_the_head_is_refused(folder, faces):
    with pytest.raises(ConfigError, match=r"teacher other: no labels in head 'made', expected 3"):
        distil.probabilities(faces, runs.Run.load(folder / "other"))


def test_a_consistent_teacher_is_asked_about_the_very_pictures_that_are_shown(faces):
    """Changed and mixed ones; its answers then share the batch with the mixed labels."""
    recipe = Recipe(model="transfer", datasets=("made",), batch_size=4, augment="strong", mixup=0.4)
    spec = InputSpec(size=40, mean=100.0, std=50.0)
    asked = []

    def teach(inputs, own):
        asked.append((inputs.copy(), own))
        return {"made": np.full((len(inputs), 3), [0.2, 0.3, 0.5], np.float32)}

    ((inputs, targets, weights),) = distil.following(batches, teach, 0.25)(faces, recipe, spec, 3)
    ((plain_inputs, plain_targets, plain_weights),) = batches(faces, recipe, spec, 3)
    np.testing.assert_array_equal(inputs, plain_inputs)
    np.testing.assert_array_equal(asked[0][0], inputs)
    assert [own for _, own in asked] == [spec]
    np.testing.assert_allclose(weights["made"], 0.75 * plain_weights["made"] + 0.25, atol=1e-6)
    expected = 0.75 * plain_weights["made"][:, None] * plain_targets["made"] + 0.25 * np.array([0.2, 0.3, 0.5])
    np.testing.assert_allclose(targets["made"] * weights["made"][:, None], expected, atol=1e-6)


@pytest.mark.parametrize("size", [48, 80])
def test_a_teacher_sees_a_students_input_at_its_own_size(folder, faces, size):
    """Asked about the faces as they are, at another size than its own or not, it says what it says of them elsewhere."""
    run = runs.Run.load(folder / "both")
    spec = InputSpec(size=size, mean=100.0, std=50.0)
    said = distil.teaching(run, {"made": 3})(faces.inputs(range(4), spec), spec)["made"]
    crops = faces.pictures(range(4), 48)
    networks = [Network(one) for one in run.networks()]
    each = [softmax(one.answers(crops, ["made"])["made"], one.run.head("made").temperature) for one in networks]
    assert not np.allclose(each[0], each[1], atol=1e-3)
    np.testing.assert_allclose(said, np.mean(each, axis=0), atol=1e-5 if size == 48 else 0.1)
    with pytest.raises(ConfigError, match=r"teacher one: 3 labels in head 'made', expected 4"):
        distil.teaching(run, {"made": 4})
