"""Packed faces are the faces; a crew changes them as one process does; pack, train and finish on this machine's processor."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fercore.errors import ConfigError, DataError
from fercore.inference import Predictor
from fercore.labels import FERPLUS_LABELS, LABELS
from fercore.preprocess import InputSpec
from fercore.runs import Run
from made_faces import picture

keras = pytest.importorskip("keras")

from fercore.commands.gpu import gpu as main  # noqa: E402
from fercore.training import pack, shipped  # noqa: E402
from fercore.training.crew import Crew  # noqa: E402
from fercore.training.data import batches  # noqa: E402
from fercore.training.prepare import Prepared, prepare_all, split_faces  # noqa: E402
from fercore.training.recipe import Recipe  # noqa: E402
from fercore.training.trained import Trained  # noqa: E402
from test_train import in_process  # noqa: E402, F401

ROOT = Path(__file__).resolve().parent.parent
FER2013_ORDER = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
VOTES = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
VOTED = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")


def make_data(root: Path) -> Path:
    """Write FER2013 with FER+ (eight classes, the last of which FER2013 calls neutral), and ExpW without a face in it."""
    rng = np.random.default_rng(0)
    (root / "fer2013").mkdir(parents=True)
    rows, votes = ["emotion,pixels,Usage"], [f"Usage,Image name,{VOTES}"]
    for usage, each in (("Training", 5), ("PublicTest", 3), ("PrivateTest", 3)):
        for number in range(8 * each):
            label = FERPLUS_LABELS[number % 8]
            own = FER2013_ORDER.index(label if label in FER2013_ORDER else "neutral")
            rows.append(f"{own},{' '.join(map(str, picture(number % 8, rng).ravel()))},{usage}")
            counts = ["9" if name == label else "1" if name == "neutral" else "0" for name in VOTED]
            votes.append(f"{usage},fer{len(votes):07}.png,{','.join(counts)},0,0")
    (root / "fer2013" / "fer2013.csv").write_text("\n".join(rows) + "\n")
    (root / "fer2013" / "fer2013new.csv").write_text("\n".join(votes) + "\n")
    (root / "expw" / "images").mkdir(parents=True)
    lines = []
    for number in range(84):
        photo = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8).repeat(30, 0).repeat(30, 1)
        photo[40:136, 50:146] = picture(number % 7, rng, 96)[:, :, None]
        Image.fromarray(photo).save(root / "expw" / "images" / f"p{number}.png")
        lines.append(f"p{number}.png 0 40 50 146 136 0.9 {number % 7}")
    (root / "expw" / "label.lst").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return shipped.GPU[0].recipe().replace(class_weight=0.5, batch_size=16)


@pytest.fixture(scope="module")
def parts(data: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> list[Prepared]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_CACHE", str(tmp_path_factory.mktemp("cache")))
        return prepare_all(recipe, data)


@pytest.fixture(scope="module")
def packed(parts: list[Prepared], recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> pack.Pack:
    """A pack that loses nothing, opened."""
    folder = tmp_path_factory.mktemp("pack")
    pack.write(folder / "pack.npz", recipe, parts, quality=101)
    return pack.opened(folder / "pack.npz", folder / "open")


@pytest.mark.parametrize("split", pack.SPLITS)
def test_packed_faces_are_the_faces(packed, parts, recipe, split):
    expected = split_faces(parts, split, recipe)
    faces = packed.faces(split, class_weight=recipe.class_weight if split == "train" else 0.0)
    assert len(faces) == len(expected) > 20
    assert faces.origin.tolist() == expected.origin.tolist()
    assert {"fer2013", "expw"} == set(faces.origin)
    for head in recipe.datasets:
        np.testing.assert_array_equal(faces.targets[head], expected.targets[head])
        np.testing.assert_allclose(faces.weights[head], expected.weights[head], rtol=1e-6)
    differ = 0
    for index in range(len(faces)):
        for other in (False, True) if split == "train" else (False,):
            found, crop = (each.crop(index, other=other) for each in (faces, expected))
            np.testing.assert_array_equal(found[0], crop[0])
            assert found[1] == crop[1]
        differ += not np.array_equal(faces.crop(index)[0], faces.crop(index, other=True)[0])
    # Without a face to be found, both kinds of box are the labelled one.
    assert differ == 0


def test_what_a_pack_says_of_itself(packed, parts):
    assert packed.labels == {"fer2013": list(LABELS), "ferplus": list(FERPLUS_LABELS), "expw": list(LABELS)}
    digests = {name: each["digest"] for name, each in packed.facts["datasets"].items()}
    assert digests == {part.dataset.name: part.dataset.digest() for part in parts}
    sources = packed.facts["sources"]
    assert sources["ferplus"]["faces"] == 0  # FER2013 brought them all
    train, validation = ((part.dataset.table["split"] == name).sum() for part in parts[2:] for name in pack.SPLITS)
    assert sources["expw"]["faces"] == train + validation
    assert sources["expw"]["labelled_faces"] == train


def test_the_loss_of_a_pack_is_small(packed, parts, recipe, tmp_path):
    """Hard edges and noise, as here, are the worst case; photos come out within a grey value or two."""
    pack.write(tmp_path / "small.npz", recipe, parts)
    small = pack.opened(tmp_path / "small.npz", tmp_path / "open").faces("train")
    whole = packed.faces("train")
    gaps = [small.crop(row)[0].astype(float) - whole.crop(row)[0] for row in range(len(whole))]
    assert 0 < np.mean([np.abs(gap).mean() for gap in gaps]) < 4


@pytest.mark.parametrize("damage", ["cut", "no pack", "another version"])
def test_a_damaged_pack_is_one_line(packed, tmp_path, damage):
    file = tmp_path / "pack.npz"
    if damage == "cut":
        file.write_bytes((packed.folder.parent.parent / "pack.npz").read_bytes()[:5000])
    elif damage == "no pack":
        np.savez(file, faces=np.zeros(3))
    else:
        np.savez(file, facts=np.frombuffer(json.dumps({"version": 99}).encode(), np.uint8))
    with pytest.raises(DataError, match=r"pack.npz: (no whole pack|a pack of version 99, expected 1)") as caught:
        pack.opened(file, tmp_path / "open")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "open").glob("*")) == list((tmp_path / "open").glob(".*")) == []


def test_a_crew_changes_faces_as_one_process_does(packed, recipe):
    faces = packed.faces("train", class_weight=0.5)
    spec = InputSpec(size=40, mean=115.0, std=1.0)
    mixed = recipe.replace(mixup=0.3)
    with Crew(functools.partial(packed.faces, "train"), 2) as crew:
        for epoch in (0, 3):
            found = list(crew.batches(faces, mixed, spec, epoch))
            expected = list(batches(faces, mixed, spec, epoch))
            assert len(found) == len(expected) > 1
            for left, right in zip(found, expected, strict=True):
                np.testing.assert_array_equal(left[0], right[0])
                for head in faces.targets:
                    np.testing.assert_array_equal(left[1][head], right[1][head])
                    np.testing.assert_array_equal(left[2][head], right[2][head])
        assert crew.shown == 2 * sum(len(each[0]) for each in expected)
        assert crew.waited > 0


# The shipped set


@pytest.mark.parametrize("made", [shipped.PROCESSOR, shipped.GPU], ids=["processor", "gpu"])
def test_each_can_be_made_from_those_before_it(made):
    names = [each.name for each in made]
    assert len(set(names)) == len(names)
    for number, each in enumerate(made):
        before = names[:number]
        assert {*each.members, *filter(None, [each.source])} <= set(before)
        if each.model:
            recipe = each.recipe()
            assert recipe.datasets == shipped.DATASETS
            assert recipe.teacher in ("", *before)
            assert recipe.options.get("weights", "faces") in ("faces", *before)


def test_two_roads_lead_to_the_same_networks():
    """A GPU's road ends in runs that a processor can make as well; their teachers differ."""
    for each in shipped.GPU:
        if not each.step:
            own, other = each.recipe(), shipped.get(each.name).recipe()
            assert (own.model, own.size) == (other.model, other.size)
            assert own.teacher != other.teacher
    with pytest.raises(ConfigError, match=r"ensemble: is made of other runs"):
        shipped.get("ensemble").recipe()
    with pytest.raises(ConfigError, match=r"'micro' is not made here; there are transfer, "):
        shipped.get("micro")
    with pytest.raises(ConfigError, match=r"'nano' is not made here; there are middle, "):
        shipped.get("nano", shipped.GPU)


@pytest.mark.parametrize("each", [each for each in shipped.PROCESSOR if each.model], ids=lambda each: each.name)
def test_the_printed_command_gives_the_recipe(each, monkeypatch):
    """Read by the real command line, which is stopped where it would train."""
    import shlex

    from fercore import cli

    class Caught(Exception):
        pass

    def caught(recipe, **options):
        raise Caught(recipe)

    import fercore.training.train as module

    monkeypatch.setattr(module, "train", caught)
    words = shlex.split(shipped.command(each))
    assert words[:3] == ["python", "-m", "fercore"]
    result = CliRunner().invoke(cli.main, words[3:])
    assert isinstance(result.exception, Caught), result.output
    assert result.exception.args[0] == each.recipe()


def test_what_is_made_of_others_is_made_by_a_command_of_its_own():
    assert shipped.command(shipped.get("distilled-int8")) == (
        "python -m fercore quantise distilled --out artifacts/distilled-int8"
    )
    assert shipped.command(shipped.get("ensemble")) == (
        "python -m fercore ensemble transfer attention --out artifacts/ensemble"
    )


# The commands


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


def refused(*arguments: object) -> str:
    result = call(*arguments)
    assert result.exit_code == 2, result.output + repr(result.exception)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_what_cannot_be_done_is_one_line(tmp_path):
    (tmp_path / "there.npz").write_bytes(b"no pack")
    (tmp_path / "empty").mkdir()
    assert "there.npz: is there already" in refused("pack", tmp_path / "there.npz", "--data", tmp_path)
    assert "name a pack *.npz" in refused("pack", tmp_path / "pack.zip", "--data", tmp_path)
    assert "no dataset 'fer2013' here" in refused("pack", tmp_path / "new.npz", "--data", tmp_path / "empty")
    assert "no whole pack" in refused("train", tmp_path / "there.npz", "--out", tmp_path / "out", "--workers", 1)
    assert "does not exist" in refused("train", tmp_path / "none.npz", "--out", tmp_path / "out")
    assert "distilled: no trained network" in refused("finish", tmp_path / "there.npz", tmp_path / "empty")


ABSENT = ("onnxruntime", "tf2onnx", "onnx", "PIL", "pillow_heif", "pandas", "sklearn", "scipy", "skimage", "optuna")
"""What the machine with the GPU need not have, beside TensorFlow."""


def train_elsewhere(*arguments: object, backend: str, expect: int = 0) -> str:
    """Call ``gpu train`` in a process in which those packages cannot be imported."""
    absent = [*ABSENT, *(["tensorflow"] if backend != "tensorflow" else [])]
    code = f"import sys; sys.modules.update(dict.fromkeys({absent})); from fercore.commands.gpu import gpu; gpu()"
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", code, "train", *map(str, arguments), "--workers", "1"]
    pipe = subprocess.PIPE  # not subprocess.run, which exports in this process here
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        out, told = process.communicate()
    assert process.returncode == expect, out + told[-3000:]
    return out + told


@pytest.mark.long
def test_pack_train_and_finish(data, tmp_path):
    file, out, artifacts = tmp_path / "pack.npz", tmp_path / "trained", tmp_path / "artifacts"
    result = call("pack", file, "--data", data)
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert "labels of 3 datasets" in result.output
    backend = "torch" if importlib.util.find_spec("torch") else "tensorflow"
    options = ["--epochs", "2", "--set", "batch_size=24", "--set", "precision=float32", "--out", out]
    teachers = shipped.get("panel", shipped.GPU).members
    first = [name for name in teachers for _ in (0, 1)][: -len(teachers)]  # all but the last, and each of them twice
    said = train_elsewhere(file, *options, *(word for name in first for word in ("--only", name)), backend=backend)
    assert "middle 2/2: loss " in said
    assert "middle: done already" in said
    assert "of it waiting for faces" in said
    assert not (out / teachers[-1]).exists()
    said = train_elsewhere(file, *options, backend=backend)
    assert "distilled 2/2: loss " in said
    names = [each.name for each in shipped.GPU if each.model]
    assert {path.name for path in out.iterdir() if not path.name.startswith("faces-")} == set(names)

    # Done is done; a network that is gone is trained again, and another recipe is refused.
    os.rename(out / "distilled", tmp_path / "first")
    again = train_elsewhere(file, *options, backend=backend)
    assert "wide: done already" in again
    first, second = Trained.load(tmp_path / "first"), Trained.load(out / "distilled")
    assert first.recipe == second.recipe
    assert second.history[-1]["loss"] == pytest.approx(first.history[-1]["loss"], rel=1e-2)
    other = train_elsewhere(file, *options, "--set", "seed=5", backend=backend, expect=2)
    assert "middle: trained by another recipe or from another pack; choose another --out" in other
    unknown = train_elsewhere(file, *options, "--only", "nana", backend=backend, expect=2)
    assert "'nana' is not made here; there are middle, " in unknown

    result = call("finish", file, out, "--data", data, "--out", artifacts)
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert [path.name for path in artifacts.iterdir()] == ["distilled"]
    run = Run.load(artifacts / "distilled")
    assert set(run.heads) == {*shipped.DATASETS, "consensus"}
    assert set(run.info["metrics"]) == set(shipped.DATASETS)
    Predictor.load(run)
    assert run.info["backend"] == backend
    assert run.info["recipe"] == Trained.load(out / "distilled").recipe.to_dict()
    assert run.history()["epoch"].tolist() == [1, 2]
    assert run.info["export"]["difference"] <= 1e-4
    # The student began as a teacher, so its answers are near it, but it was trained on.
    student, start = (Trained.load(out / name) for name in ("distilled", "middle"))
    assert not all(np.array_equal(a, b) for a, b in zip(student.weights, start.weights, strict=True))
    again = call("finish", file, out, "--data", data, "--out", artifacts)
    assert again.output.count("is there already") == 1


@pytest.mark.long
def test_finish_wants_the_same_pack_and_datasets(parts, recipe, data, tmp_path):
    """Before anything is exported: a folder of networks that were trained on something else."""
    pack.write(tmp_path / "pack.npz", recipe, parts)
    facts = {"sha256": "0" * 64, "digests": dict.fromkeys(shipped.DATASETS, "1" * 64)}
    for each in shipped.GPU:
        if each.model:
            row = {"epoch": 1, "val_accuracy": 0.5, "seconds": 1.0}
            Trained(each.name, each.recipe(), [np.zeros(2)], [row], 1, {}, {}, facts).save(tmp_path / "out" / each.name)
    line = refused("finish", tmp_path / "pack.npz", tmp_path / "out", "--data", data)
    assert "pack.npz: not the pack from which distilled was trained" in line
    for path in (tmp_path / "out").rglob("trained.json"):
        text = path.read_text().replace("0" * 64, pack.sha256(tmp_path / "pack.npz"))
        path.write_text(text)
    line = refused("finish", tmp_path / "pack.npz", tmp_path / "out", "--data", data)
    assert "dataset 'fer2013' is not the one that was packed" in line
