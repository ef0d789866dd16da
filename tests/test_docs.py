"""The README shows what the project really prints, and names every command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fercore.cli import main

ROOT = Path(__file__).resolve().parent.parent


def test_generated_parts_are_fresh():
    done = subprocess.run(
        [sys.executable, "-m", "cogapp", "--check", "README.md"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"run `make docs`: {done.stdout}{done.stderr}"


def test_every_command_stands_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in main.commands:
        assert f"`{name}`" in text, f"README.md does not name the command {name!r}"


def test_pictures_of_the_readme_are_those_that_the_script_takes():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = {part.split(")")[0] for part in text.split("](docs/")[1:]}
    assert shown == {file.name for file in (ROOT / "docs").glob("*.png")}
    done = subprocess.run(
        [sys.executable, "docs/screenshots.py", "nowhere"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    known = done.stderr.strip().split("there are ")[1].split(", ")
    assert shown <= {f"{name}.png" for name in known}
