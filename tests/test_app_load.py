"""The benchmark of the app under load, in small: visitors over the websocket, no error, and a memory that comes back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc, which tells a process's memory"),
]


def test_a_few_visitors_at_once_get_their_answers_and_the_memory_comes_back() -> None:
    command = [sys.executable, "benchmarks/app_load.py", "--json", "--visitors", "4", "--soak", "20", "--side", "800"]
    options = ["--forget", "2", "--think", "0.1", "--patience", "300"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["errors"] == []
    assert {kind: row["n"] for kind, row in result["times"].items()} == {"first page": 4, "page": 24, "upload": 4}
    assert result["soak"]["times"]["n"] == 20
    assert len(result["soak"]["levels"]) == 5
    assert result["memory"]["after"] < result["memory"]["before"] + 300
    assert result["soak"]["growth"] < 100, "20 photos of 800 x 800 pixels, decoded, have 38 MB"


def test_what_a_visitor_would_see_go_wrong_is_an_error(tmp_path: Path) -> None:
    """A server that has no run answers no photo."""
    command = [sys.executable, "benchmarks/app_load.py", "--json", "--visitors", "1", "--side", "200", "--forget", "1"]
    environment = {"PATH": "/usr/bin:/bin", "FER_ARTIFACTS": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1
    assert json.loads(done.stdout)["errors"]
