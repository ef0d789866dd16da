"""What a browser is given: one script, a run's constants, published files, and ONNX Runtime's pinned release."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from fercore import config, preprocess, runs
from fercore.browser import assets
from fercore.errors import FerError
from made_run import made_ensemble, made_run

ROOT = Path(__file__).resolve().parent.parent


def test_modules_become_one_without_imports_between_them() -> None:
    script = assets.script()
    assert not re.search(r"^\s*import\b(?!\()", script, re.MULTILINE)
    assert re.findall(r"export default \w+ (\w+)", script) == ["mount"]
    names = re.findall(r"^(?:export )?(?:default )?(?:async )?(?:function|class|const|let) (\w+)", script, re.MULTILINE)
    assert len(names) > 40
    assert len(names) == len(set(names)), "two modules use one name"


def test_every_module_is_in_the_script_and_imports_only_earlier_ones() -> None:
    assert sorted(path.name for path in assets.HERE.glob("*.mjs")) == sorted(assets.MODULES)
    for place, name in enumerate(assets.MODULES):
        text = (assets.HERE / name).read_text(encoding="utf-8")
        assert set(re.findall(r'from "\./([^"]+)"', text)) <= set(assets.MODULES[:place]), name


def test_the_events_name_is_the_same_on_both_sides() -> None:
    assert f'const ANSWER = "{assets.ANSWER}";' in assets.script()


def test_every_part_that_the_script_names_is_in_the_page() -> None:
    there = set(re.findall(r'data-id="(\w+)"', assets.markup()))
    own = "".join((assets.HERE / name).read_text(encoding="utf-8") for name in ("panel.mjs", "teach.mjs"))
    named = set(re.findall(r"\bpart\.(\w+)", own))
    named |= set(re.findall(r"\bpanel\.part\.(\w+)", (assets.HERE / "live.mjs").read_text(encoding="utf-8")))
    assert len(named) > 20
    assert named <= there, f"not in live.html: {named - there}"


def test_settings_hold_what_the_engine_reads(tmp_path: Path) -> None:
    run = made_run(tmp_path, "made", heads={"consensus": ("happy", "odd"), "fer2013": ("sad", "happy")}, faces=30)
    found = assets.settings(run, "consensus", tmp_path / "static")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["name"], found["head"], found["labels"]) == ("made", "consensus", ["happy", "odd"])
    assert found["colours"][0] == "#E69F00"
    assert (found["temperature"], found["threshold"]) == (1.5, 0.3)
    (network,) = found["networks"]
    assert network["input"] == {"size": 48, "mean": 0.0, "std": 255.0}
    assert network["framing"] == preprocess.FRAMINGS["detector"].to_dict()
    assert network["file"]["bytes"] == (run.path / "model.onnx").stat().st_size
    shipped = json.loads((config.artifacts_dir() / "detector" / "detector.json").read_text(encoding="utf-8"))
    assert found["detector"]["settings"] == shipped["settings"]
    for file in (network["file"], found["detector"]["file"]):
        (url,) = file["urls"]
        data = (tmp_path / "static" / url.removeprefix("app/static/")).read_bytes()
        assert file["integrity"] == "sha256-" + base64.b64encode(hashlib.sha256(data).digest()).decode()


def test_an_ensemble_names_its_members_networks(tmp_path: Path) -> None:
    members = [made_run(tmp_path, name, faces=30, seed=seed) for seed, name in enumerate(("one", "two"))]
    pair = made_ensemble(tmp_path, "pair", members)
    found = assets.settings(pair, "fer2013", tmp_path / "static")
    assert len({network["file"]["integrity"] for network in found["networks"]}) == 2
    assert assets.refusal(pair) == ""
    shutil.rmtree(members[1].path)
    assert "missing" in assets.refusal(pair)


def test_a_run_with_handcrafted_features_is_refused_with_the_reason(tmp_path: Path) -> None:
    run = made_run(tmp_path, faces=30)
    assert assets.refusal(run) == ""
    info = {key: value for key, value in run.info.items() if key not in ("schema", "files")}
    files = {name: run.path / name for name in run.info["files"]}
    hog = runs.write(tmp_path / "hog", {**info, "browser": False}, files)
    assert assets.refusal(hog) == "its handcrafted features are computed in Python"


def test_publishing_twice_keeps_the_first_file_and_two_runs_do_not_meet(tmp_path: Path) -> None:
    first, second = tmp_path / "a.onnx", tmp_path / "b.onnx"
    first.write_bytes(b"first")
    second.write_bytes(b"second")
    hashes = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, second)}
    static = tmp_path / "static"
    once = assets.publish(hashes, static)
    inodes = {path.name: path.stat().st_ino for path in (static / "models").iterdir()}
    assert assets.publish(hashes, static) == once
    assert {path.name: path.stat().st_ino for path in (static / "models").iterdir()} == inodes
    assert len(inodes) == 2
    assert all((static / file["urls"][0].removeprefix("app/static/")).is_file() for file in once.values())


def test_publishing_copies_where_files_cannot_be_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", refuse)
    file = tmp_path / "a.onnx"
    file.write_bytes(b"network")
    found = assets.publish({file: hashlib.sha256(b"network").hexdigest()}, tmp_path / "static")
    (published,) = (tmp_path / "static" / "models").iterdir()
    assert published.read_bytes() == b"network"
    assert found[file]["urls"] == [f"app/static/models/{published.name}"]


def test_a_folder_that_cannot_be_written_gives_no_address(tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(b"network")
    (tmp_path / "static").write_text("a file where the folder should be")
    found = assets.publish({file: hashlib.sha256(b"network").hexdigest()}, tmp_path / "static")
    assert found[file]["urls"] == []


def test_sweeping_spares_what_is_wanted_and_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(b"network")
    digest = hashlib.sha256(b"network").hexdigest()
    assets.publish({file: digest}, tmp_path / "static")
    stray = tmp_path / "static" / "models" / "0123.onnx"
    stray.write_bytes(b"of a run that is gone")
    assets.sweep(tmp_path / "static", [digest])
    assert stray.is_file(), "a visitor may still load it"
    later = time.time() + 2 * assets.FORGOTTEN
    monkeypatch.setattr(time, "time", lambda: later)
    assets.sweep(tmp_path / "static", [digest])
    assert [path.name for path in stray.parent.iterdir()] == [f"{digest[:32]}.onnx"]
    assets.sweep(tmp_path / "nowhere", [])


def test_a_damaged_detector_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made_run(tmp_path, faces=30)
    monkeypatch.setenv("FER_DETECTOR", str(tmp_path))
    with pytest.raises(FerError, match="not a face detector's folder"):
        assets.settings(run, "fer2013", tmp_path / "static")


def test_our_own_copy_of_onnx_runtime_comes_before_the_cdn(tmp_path: Path) -> None:
    version = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["devDependencies"]["onnxruntime-web"]
    cdn = f"https://cdn.jsdelivr.net/npm/onnxruntime-web@{version}/dist/ort.wasm.bundle.min.mjs"
    assert assets.runtime(tmp_path)["code"]["urls"] == [cdn]
    (tmp_path / "ort").mkdir()
    (tmp_path / "ort" / "ort.wasm.bundle.min.mjs").write_bytes(b"")
    assert assets.runtime(tmp_path)["code"]["urls"] == ["app/static/ort/ort.wasm.bundle.min.mjs", cdn]
    assert len(assets.runtime(tmp_path)["wasm"]["urls"]) == 1


def test_one_release_of_onnx_runtime_is_pinned() -> None:
    """package.json, the lock file, the hashes for the CDN and the files that are served all mean the same one."""
    pinned = json.loads((assets.HERE / "onnxruntime-web.json").read_text(encoding="utf-8"))
    package = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))
    lock = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))
    assert package["devDependencies"] == {pinned["package"]: pinned["version"]}
    assert lock["packages"][f"node_modules/{pinned['package']}"]["version"] == pinned["version"]
    for key in ("code", "wasm"):
        file = ROOT / "static" / "ort" / pinned[key]["file"]
        if not file.is_file():
            pytest.skip("needs static/ort: run make browser")
        data = file.read_bytes()
        assert pinned[key]["integrity"] == "sha384-" + base64.b64encode(hashlib.sha384(data).digest()).decode()
        assert pinned[key]["bytes"] == len(data)


NPM = """#!/bin/sh
echo "$@" >> npm.log
mkdir -p node_modules/onnxruntime-web/dist
for name in ort.wasm.bundle.min.mjs ort-wasm-simd-threaded.wasm other.js; do
    echo "$name" > node_modules/onnxruntime-web/dist/$name
done
"""


@pytest.mark.skipif(os.name == "nt" or not shutil.which("make"), reason="needs make and a POSIX shell")
def test_make_browser_copies_two_files_once(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path / "Makefile")
    (tmp_path / "package-lock.json").write_text("{}")
    (tmp_path / "npm").write_text(NPM)
    (tmp_path / "npm").chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}

    def make(npm: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "browser", f"NPM={npm}"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )

    refused = make("./nowhere")
    assert refused.returncode != 0
    assert "npm is missing" in refused.stderr
    for _ in range(2):
        done = make("./npm")
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "npm.log").read_text().count("ci --ignore-scripts") == 1
    copied = [path.name for path in (tmp_path / "static" / "ort").iterdir() if not path.name.startswith(".")]
    assert sorted(copied) == ["ort-wasm-simd-threaded.wasm", "ort.wasm.bundle.min.mjs"]
    assert not (tmp_path / "node_modules").exists()


def test_settings_are_small_enough_to_send_to_every_visitor(tmp_path: Path) -> None:
    run = made_run(tmp_path, faces=30)
    assert len(json.dumps(assets.settings(run, "fer2013", tmp_path / "static"))) < 4096
    assert np.char.str_len(assets.script()) < 130_000
