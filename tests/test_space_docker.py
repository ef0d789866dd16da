"""The Docker Space, built as its Dockerfile says but without Docker: a fresh environment, its own files alone, in a frame."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

import chromium
from fercore import space
from fercore.space import docker

pytestmark = [pytest.mark.browser, pytest.mark.long]

ROOT = chromium.ROOT
PORTRAIT = ROOT / "static" / "portrait.jpg"
INSTALL = 1500
"""Seconds that the installation may take."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as it would be uploaded, with the shipped runs, and what the Dockerfile's first stage adds."""
    target = tmp_path_factory.mktemp("docker") / "app"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_ARTIFACTS", str(ROOT / "artifacts"))
        patch.delenv("FER_RUN", raising=False)
        space.build("docker", target, "ann/expressions")
    if (ROOT / "static" / "ort").is_dir():
        shutil.copytree(ROOT / "static" / "ort", target / "static" / "ort")
    return target


@pytest.fixture(scope="module")
def python(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment that holds the folder's requirements and nothing else."""
    venv = tmp_path_factory.mktemp("fresh") / "venv"
    found = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--python", sys.executable, venv], check=True, capture_output=True, timeout=INSTALL)
    command = [*uv, "pip", "install", "--python", found, "-r", folder / "requirements-serve.txt"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL)
    except subprocess.TimeoutExpired:
        pytest.skip(f"needs the package index: not installed after {INSTALL} s")
    if done.returncode and ("error sending request" in done.stderr or "Network" in done.stderr):
        pytest.skip(f"needs the package index: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return found


@pytest.fixture(scope="module")
def served(folder: Path, python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app's address, started by the Dockerfile's command on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    first, *rest = (part.replace(str(docker.PORT), str(port)) for part in docker.command())
    assert first == "python"
    home = tmp_path_factory.mktemp("home")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONUNBUFFERED": "1"}
    log = home / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [python, *rest], cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            for _ in range(chromium.SLOW // 200):
                assert process.poll() is None, log.read_text()
                with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health"):
                    break
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
            assert "Traceback" not in log.read_text(), log.read_text()
        finally:
            process.terminate()
            process.wait(timeout=30)


def test_no_training_framework_is_installed(python: Path) -> None:
    code = "import importlib.util as u; print([m for m in ('tensorflow', 'keras', 'torch', 'jax') if u.find_spec(m)])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=chromium.SLOW / 1000)
    assert done.stdout.strip() == "[]", done.stderr


def test_framed_by_another_site_it_classifies_an_upload(served: str, tmp_path: Path) -> None:
    frame = f'<iframe src="{served}/classify" style="width: 100%; height: 95vh" title="Space"></iframe>'
    page = f'<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><title>Hub</title>{frame}'
    (tmp_path / "index.html").write_text(page, encoding="utf-8")
    with chromium.files(tmp_path) as outer, chromium.driver() as driver, chromium.browser(driver) as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(chromium.SLOW)
        refused = []
        page.on("response", lambda answer: refused.append(answer.url) if answer.status == 403 else None)
        page.goto(outer.replace("127.0.0.1", "localhost"))  # another host, so another site to the browser
        inside = page.frame_locator("iframe")
        inside.locator('[data-testid="stFileUploaderDropzone"] input[type=file]').first.set_input_files(PORTRAIT)
        expect(inside.locator("img[alt^='portrait.jpg with 1 marked: face 1 happy (']")).to_be_visible(
            timeout=chromium.SLOW
        )
        assert refused == []


def test_dockerfile_builds(folder: Path) -> None:
    """Where there is Docker and it can reach its images; elsewhere the tests above follow the Dockerfile by hand."""
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, timeout=60).returncode:
        pytest.skip("needs Docker")
    done = subprocess.run(["docker", "build", "--quiet", folder], capture_output=True, text=True, timeout=INSTALL)
    unreachable = ("failed to resolve source metadata", "dial tcp", "i/o timeout", "no such host", "pull access denied")
    if done.returncode and any(text in done.stderr for text in unreachable):
        pytest.skip(f"needs the images' registry: {done.stderr.strip().splitlines()[-1][:200]}")
    assert done.returncode == 0, done.stderr
