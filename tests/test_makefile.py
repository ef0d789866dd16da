"""The Makefile's own logic, with a stand-in for Python that only notes what it is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(os.name == "nt" or not shutil.which("make"), reason="needs make and a POSIX shell")

STAND_IN = """#!/bin/sh
case "$1" in
    -c) exit {supported} ;;
    --version) echo "Python {version}" ;;
    *) echo "$@" >> "{log}" ;;
esac
if [ "$2" = venv ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; fi
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with the Makefile and the requirement lists, all an hour old."""
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt", "requirements-serve.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
        os.utime(tmp_path / name, (time.time() - 3600,) * 2)
    stand_in(tmp_path)
    return tmp_path


def stand_in(tree: Path, *, supported: bool = True, version: str = "3.12.1") -> None:
    script = STAND_IN.format(supported=0 if supported else 1, version=version, log=tree / "log")
    (tree / "python").write_text(script, encoding="utf-8")
    (tree / "python").chmod(0o755)


def make(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PYTEST_"))
    }
    return subprocess.run(
        ["make", "PYTHON=./python", *arguments], cwd=tree, env=environment, capture_output=True, text=True, timeout=60
    )


def asked(tree: Path) -> list[str]:
    """Return what Python was asked since the last call, one command a line."""
    log = tree / "log"
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    log.unlink(missing_ok=True)
    return [line.replace(" --disable-pip-version-check", "") for line in lines]


def test_app_installs_once_and_opens_the_app(tree: Path) -> None:
    assert make(tree, "app").returncode == 0
    start = "-m streamlit run app.py"
    assert [line.strip() for line in asked(tree)] == ["-m venv .venv", "-m pip install -r requirements.txt", start]
    make(tree, "app", "APP_ARGS=--server.port 9000")
    assert asked(tree) == [f"{start} --server.port 9000"]


def test_app_installs_again_when_its_list_changes(tree: Path) -> None:
    make(tree, "app")
    asked(tree)
    (tree / "requirements.txt").touch()
    os.utime(tree / "requirements.txt", (time.time() + 60,) * 2)
    make(tree, "app")
    assert asked(tree)[0] == "-m pip install -r requirements.txt"


def test_tests_share_the_environment_and_choose_what_to_run(tree: Path) -> None:
    make(tree, "test")
    assert [line.strip() for line in asked(tree)] == [
        "-m venv .venv",
        "-m pip install -r requirements-dev.txt",
        "-m pytest",
    ]
    make(tree, "test-all")
    assert [line.rstrip() for line in asked(tree)] == ["-m pytest -m"], "every test: an empty -m overrides pyproject's"
    make(tree, "test-all", "PYTEST_ARGS=-m long -x")
    assert asked(tree) == ["-m pytest -m  -m long -x"]
    make(tree, "app")
    assert [line.rstrip() for line in asked(tree)] == ["-m streamlit run app.py"], (
        "the test list holds all that the app needs"
    )


@pytest.mark.parametrize("target", ["test", "test-all"])
def test_tests_fetch_what_browsers_need_and_go_on_without(tree: Path, target: str) -> None:
    (tree / "package-lock.json").write_text("{}", encoding="utf-8")
    npm = tree / "npm"
    npm.write_text(f'#!/bin/sh\necho "npm $@" >> "{tree / "log"}"\nexit 1\n', encoding="utf-8")
    npm.chmod(0o755)
    done = make(tree, target, "NPM=./npm")
    assert done.returncode == 0
    assert "Going on without" in done.stdout
    fetched, tested = [line for line in asked(tree) if line.startswith(("npm", "-m pytest"))]
    assert fetched.startswith("npm ci")
    assert tested.startswith("-m pytest")


def test_unsupported_python_is_named_with_the_remedy(tree: Path) -> None:
    stand_in(tree, supported=False, version="3.9.2")
    done = make(tree, "test")
    assert done.returncode != 0
    assert "Python 3.11, 3.12 or 3.13 is needed, but ./python is Python 3.9.2" in done.stderr
    assert "PYTHON=/path/to/python3.12" in done.stderr
    assert asked(tree) == []
    assert "./nowhere is missing" in make(tree, "test", "PYTHON=./nowhere").stderr


def test_help_lists_every_target(tree: Path) -> None:
    lines = (tree / "Makefile").read_text(encoding="utf-8").splitlines()
    (targets,) = (line.split()[1:] for line in lines if line.startswith(".PHONY:"))
    listed = [line.split()[1] for line in make(tree).stdout.splitlines()]
    assert sorted(listed) == sorted(targets)


def test_ci_script_is_valid_and_runs_what_the_readme_names() -> None:
    script = ROOT / ".ci" / "run"
    subprocess.run(["bash", "-n", script], check=True)
    lines = script.read_text(encoding="utf-8").splitlines()
    assert "make test" in lines
    assert any(line.startswith("make test-all") for line in lines)


def test_interpreter_running_the_tests_is_supported() -> None:
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    (check,) = (line.split(":= ", 1)[1] for line in lines if line.startswith("SUPPORTED :="))
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
