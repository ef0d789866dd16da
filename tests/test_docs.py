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


def test_pictures_of_the_readme_are_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for part in text.split("](docs/")[1:]:
        assert (ROOT / "docs" / part.split(")")[0]).is_file()
