"""Publishing: a run as a repository on the Hugging Face Hub, and the project as a Space there, static or with the whole app."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .. import config
from ..errors import FerError
from ..runs import Run
from . import bundle, docker, static


def build(kind: str, target: Path, repo: str, names: Sequence[str] = (), *, root: Path = bundle.ROOT) -> None:
    """Write the folder of a Space.

    Args:
        kind: ``static`` or ``docker``.
        target: the folder; it may exist.
        repo: ``user/name`` on the Hub.
        names: runs to take along; none: those that ``SHIPPED`` names.
        root: the project's own folder.

    Raises:
        FerError: this is not the project's own folder, or a run cannot be taken along.
    """
    missing = [
        name
        for name in ("app.py", "pages", "static/portrait.jpg", ".streamlit/config.toml")
        if not (root / name).exists()
    ]
    if missing:
        raise FerError(f"{root}: has no {', '.join(missing)}; a Space is built in the project's own folder (git clone)")
    runs = bundle.with_members(chosen(names))
    builder = {"static": static.build, "docker": docker.build}[kind]
    target.mkdir(parents=True, exist_ok=True)
    builder(target, repo, runs, root)


def chosen(names: Sequence[str] = ()) -> list[Run]:
    """Return the runs that go into a Space: the named ones, else those that ``SHIPPED`` names, the default one first."""
    artifacts = config.artifacts_dir()
    listing, default = artifacts / "SHIPPED", artifacts / "DEFAULT"
    if not names:
        names = listing.read_text(encoding="utf-8").split() if listing.is_file() else []
        if not names:
            raise FerError(f"{listing}: missing or empty; name the runs with --run")
    runs = [Run.load(name) for name in dict.fromkeys(names)]
    first = default.read_text(encoding="utf-8").split()[:1] if default.is_file() else []
    return sorted(runs, key=lambda run: [run.name] != first)
