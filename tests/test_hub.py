"""Runs on the Hub: pushed, loaded, refused, taken from the cache; the real ``huggingface_hub`` against a stand-in Hub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from fercore import Predictor, hub
from fercore.errors import FerError, RunError
from fercore.inference import Network
from fercore.runs import Run
from made_hub import TOKEN, Hub, running
from made_run import made_ensemble, made_run

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 300


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    shutil.copytree(ROOT / "artifacts" / "detector", folder / "detector")
    members = [made_run(folder, name, faces=60, seed=seed) for seed, name in enumerate(("made", "other"))]
    made_ensemble(folder, "pair", members)
    return folder


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[Hub, str]]:
    """A Hub for this process: its address, a cache of its own, nobody logged in."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="needs the extra hub")
    with running() as (made, address):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield made, address


@pytest.fixture
def fercore(there: tuple[Hub, str], artifacts: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command as a user does, with the stand-in as its Hub."""

    def run(*arguments: object, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("FER_", "HF_"))}
        environment |= {"HF_ENDPOINT": there[1], "HF_HOME": str(tmp_path / "home"), "FER_ARTIFACTS": str(artifacts)}
        environment |= {"HF_TOKEN": token} if token else {}
        command = [sys.executable, "-m", "fercore", *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS)

    return run


def content(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.path.iterdir()}


def refused(address: str) -> str:
    with pytest.raises(FerError) as caught:
        Predictor.load(address)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_loads_a_run_and_answers_as_the_folder_does(
    there: tuple[Hub, str], artifacts: Path, portrait: np.ndarray
) -> None:
    there[0].commit("models/ann/made", content(Run.load(artifacts / "made")))
    found = Predictor.load("hf://ann/made").predict(portrait)
    assert len(found) == 1
    assert found == Predictor.load(artifacts / "made").predict(portrait)


def test_revision_chooses_a_commit(there: tuple[Hub, str], artifacts: Path) -> None:
    made = there[0]
    first = made.commit("models/ann/made", content(Run.load(artifacts / "made")))
    made.commit("models/ann/made", content(Run.load(artifacts / "other")))
    made.tags["models/ann/made"] = {"v1": first}
    hashes = {name: Run.load(artifacts / name).info["files"]["model.onnx"] for name in ("made", "other")}
    assert hashes["made"] != hashes["other"]
    for address, name in (("", "other"), ("@v1", "made"), (f"@{first}", "made"), ("@main", "other")):
        assert Run.load(f"hf://ann/made{address}").info["files"]["model.onnx"] == hashes[name]
    assert (
        refused("hf://ann/made@v9") == "hf://ann/made@v9: there is no such revision; name a branch, a tag or a commit"
    )


def test_second_time_comes_from_the_cache_and_needs_no_network(there: tuple[Hub, str], artifacts: Path) -> None:
    made = there[0]
    made.commit("models/ann/made", content(Run.load(artifacts / "made")))
    first = Run.load("hf://ann/made")
    made.asked.clear()
    assert Run.load("hf://ann/made").path == first.path
    assert not [line for line in made.asked if "/resolve/" in line], "a file was asked for again"
    made.refuses["/"] = 503
    assert Run.load("hf://ann/made").path == first.path


def test_without_network_and_cache_says_so(there: tuple[Hub, str], monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert refused("hf://ann/made") == (
        "hf://ann/made: the Hub cannot be reached, and the cache does not have it; try again later"
    )


def test_missing_repository(there: tuple[Hub, str]) -> None:
    assert refused("hf://ann/nothing") == (
        "hf://ann/nothing: not found on the Hub, or private; check the name, or log in with `hf auth login`, or set HF_TOKEN"
    )


def test_repository_that_is_no_run(there: tuple[Hub, str]) -> None:
    there[0].commit("models/ann/empty", {"README.md": b"# hello", "pytorch_model.bin": b"not wanted"})
    assert refused("hf://ann/empty").endswith("run.json: missing; this folder is not a run")
    assert not [line for line in there[0].asked if line.endswith(".bin")], "only a run's files are downloaded"


def test_changed_file_is_refused_by_name(there: tuple[Hub, str], artifacts: Path) -> None:
    files = content(Run.load(artifacts / "made"))
    there[0].commit("models/ann/made", {**files, "model.onnx": files["model.onnx"] + b"\0"})
    assert "model.onnx: changed since the run was written (sha256 differs)" in refused("hf://ann/made")


def test_hostile_network_is_refused(there: tuple[Hub, str], artifacts: Path) -> None:
    """Its hash is right: whoever made the repository wrote both. The network would read a file of this machine."""
    files = content(Run.load(artifacts / "made"))
    model = onnx.load_model_from_string(files["model.onnx"])
    tensor = model.graph.initializer[-1]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../../etc/passwd"
    hostile = model.SerializeToString()
    import hashlib

    info = json.loads(files["run.json"])
    info["files"]["model.onnx"] = hashlib.sha256(hostile).hexdigest()
    there[0].commit("models/eve/made", {**files, "model.onnx": hostile, "run.json": json.dumps(info).encode()})
    run = Run.load("hf://eve/made")
    with pytest.raises(RunError, match=r"model\.onnx: "):
        Network(run)
    assert "model.onnx: " in refused("hf://eve/made")


def test_too_large_a_repository_is_not_downloaded(
    there: tuple[Hub, str], artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there[0].commit("models/ann/made", content(Run.load(artifacts / "made")))
    monkeypatch.setattr(hub, "MAX_BYTES", 1000)
    assert "which no run needs; not downloaded" in refused("hf://ann/made")
    assert not [line for line in there[0].asked if line.startswith("GET") and "/resolve/" in line]


@pytest.mark.parametrize("name", ["../../etc", "..", "missing", "", "a b"])
def test_default_must_name_a_folder_of_the_repository(there: tuple[Hub, str], name: str) -> None:
    there[0].commit("models/eve/pair", {"DEFAULT": name.encode(), "README.md": b"x"})
    assert refused("hf://eve/pair") == "hf://eve/pair: its DEFAULT names no run in it; push the run again"


@pytest.mark.parametrize(
    "address",
    [
        "hf://",
        "hf://ann",
        "hf://ann/",
        "hf://ann/made/file",
        "hf://ann/made@",
        "hf://../made",
        "hf://ann/made@../x",
        "hf://a b/c",
    ],
)
def test_malformed_address_is_told(address: str) -> None:
    expected = "not an address on the Hub; expected hf://user/name or hf://user/name@revision"
    assert refused(address) == f"{address}: {expected}"


def test_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert refused("hf://ann/made") == (
        "hf://ann/made: needs the package huggingface_hub; it comes with pip install '.[hub]'"
    )


def test_serving_does_not_load_the_hub() -> None:
    code = "import sys, fercore; fercore.Predictor; print('huggingface_hub' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.long
def test_push_then_predict_with_the_pushed_run(
    fercore: Callable[..., subprocess.CompletedProcess[str]], there: tuple[Hub, str], artifacts: Path
) -> None:
    made = there[0]
    dry = fercore("push", "made", "ann/made", "--dry-run")
    assert (dry.returncode, dry.stderr) == (0, "dry run: nothing was uploaded\n")
    assert not made.asked
    done = fercore("push", "made", "ann/made", "--private")
    assert done.returncode == 0, done.stderr
    assert done.stdout == dry.stdout
    assert done.stderr.splitlines()[-1].endswith("/ann/made; load it with hf://ann/made")
    assert made.created[0]["name"] == "made"
    assert made.created[0]["organization"] == "ann"
    assert made.created[0]["visibility"] == "private"
    _, files = made.files("models/ann/made")
    assert {name: files[name] for name in files if name != ".gitattributes"} == content(Run.load(artifacts / "made"))
    again = fercore("predict", "static/portrait.jpg", "--json", "--run", "hf://ann/made", token="")
    here = fercore("predict", "static/portrait.jpg", "--json", "--run", artifacts / "made")
    assert again.returncode == here.returncode == 0, again.stderr
    assert again.stdout == here.stdout


@pytest.mark.long
def test_push_replaces_what_was_there_and_loads_an_ensemble(
    fercore: Callable[..., subprocess.CompletedProcess[str]],
    there: tuple[Hub, str],
    artifacts: Path,
    portrait: np.ndarray,
) -> None:
    made = there[0]
    made.commit("models/ann/pair", {".gitattributes": b"", "old.bin": b"x"})
    done = fercore("push", "pair", "ann/pair")
    assert done.returncode == 0, done.stderr
    _, files = made.files("models/ann/pair")
    assert "old.bin" not in files
    assert {name.partition("/")[0] for name in files} == {".gitattributes", "DEFAULT", "pair", "made", "other"}
    loaded = Predictor.load("hf://ann/pair")
    assert loaded.run.name == "pair"
    assert loaded.predict(portrait) == Predictor.load(artifacts / "pair").predict(portrait)


@pytest.mark.long
@pytest.mark.parametrize(
    ("status", "line"),
    [
        (402, "error: ann/made: the Hub wants a paying account for this (402); see https://huggingface.co/pricing"),
        (
            403,
            "error: ann/made: the Hub does not allow it (403); log in with `hf auth login`, or set HF_TOKEN of an account",
        ),
        (429, "error: ann/made: the Hub asks for a pause (429); try again in some minutes"),
    ],
)
def test_push_that_the_hub_refuses_is_one_line(
    fercore: Callable[..., subprocess.CompletedProcess[str]], there: tuple[Hub, str], status: int, line: str
) -> None:
    there[0].refuses["/api/repos/create"] = status
    done = fercore("push", "made", "ann/made")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(line)
    assert "Traceback" not in done.stderr


@pytest.mark.long
def test_push_without_login(fercore: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = fercore("push", "made", "ann/made", token="")
    assert done.returncode == 2
    assert "hf auth login" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_upload_wants_user_and_name(tmp_path: Path) -> None:
    for name in ("made", "a/b/c", "hf://ann/made", "../made"):
        with pytest.raises(FerError, match="expected USER/NAME, as on the Hub"):
            hub.upload(tmp_path, name, message="x")
