"""Build step: carry the face detector and the default run inside the wheel, where ``fercore.config.artifacts_dir`` looks.

Everything else about the package stands in ``pyproject.toml``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ARTIFACTS = Path(__file__).resolve().parent / "artifacts"


def shipped(artifacts: Path) -> list[str]:
    """Return what a wheel carries of ``artifacts/``: the detector, ``DEFAULT``, the run it names and that run's members."""
    names = ["detector"]
    default = artifacts / "DEFAULT"
    if default.is_file():
        run = default.read_text(encoding="utf-8").strip()
        info = json.loads((artifacts / run / "run.json").read_text(encoding="utf-8"))
        names += ["DEFAULT", run, *info.get("members", [])]
    return names


class BuildWithArtifacts(build_py):
    """``build_py`` that also copies artifacts; an editable install finds them in the checkout."""

    def run(self) -> None:
        """Build as usual, then copy."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "fercore" / "artifacts"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in shipped(ARTIFACTS):
            source = ARTIFACTS / name
            if source.is_dir():
                shutil.copytree(source, target / name, ignore=shutil.ignore_patterns(".*"))
            else:
                shutil.copy2(source, target / name)


setup(cmdclass={"build_py": BuildWithArtifacts})
