"""What is published: a folder's listing, and the last look at it before it leaves the machine.

Builders copy what they name and nothing else; this look is there for the day on which one of them is wrong.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from ..errors import FerError
from ..runs import Run

ROOT = Path(__file__).resolve().parents[2]
"""The project's own folder, where the package is a checkout's."""
PICTURES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".webp",
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".heic",
    ".avif",
    ".pgm",
    ".mp4",
    ".webm",
)
SHOWN = "portrait.jpg"
"""The one picture that may be published (``static/README.md`` says where it is from)."""
MOST_BYTES = 1 << 30
"""A free Space holds this much."""

_SECRET_NAME = re.compile(
    r"(?:^|/)(?:secrets?\.toml|\.env(?:\..*)?|\.netrc|\.git|\.ssh|id_[a-z0-9]+|.*\.(?:pem|key|p12))(?:/|$)"
)
_SECRET = re.compile(
    rb"\b(?:hf_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|AKIA[0-9A-Z]{16}|sk-[A-Za-z0-9_-]{32,})\b"
    rb"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_FRAMEWORK = re.compile(r"^(?:tensorflow|keras|torch|jax|tf2onnx)\b", re.MULTILINE)
_DATA = re.compile(r"(?:^|/)(?:label\.lst|(?:i?cml_)?fer2013(?:new)?\.csv[.\w]*|data/.*|cache/.*)$")


def listing(folder: Path) -> dict[str, int]:
    """Return the files of a folder, by their path in it, with their size in bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def check(folder: Path) -> dict[str, int]:
    """Return the listing of a folder that may be published.

    Raises:
        FerError: it holds a secret, a dataset or a face of one, a training framework, a link, or more than a Space may.
    """
    files = listing(folder)
    for name in files:
        path = folder / name
        if path.is_symlink():
            raise FerError(f"{name}: is a link; only files of their own are published")
        if _SECRET_NAME.search(name) or _SECRET.search(path.read_bytes()):
            raise FerError(f"{name}: holds, or is named like, a secret; it is not published")
        if path.suffix.lower() in PICTURES and path.name != SHOWN:
            raise FerError(f"{name}: a picture; none but {SHOWN} is published, so that no dataset's face is")
        if _DATA.search(name):
            raise FerError(f"{name}: looks like part of a dataset, which is not published")
        if path.name.startswith("requirements") and _FRAMEWORK.search(path.read_text(encoding="utf-8")):
            raise FerError(f"{name}: asks for a training framework, which a Space has no use for")
    if sum(files.values()) > MOST_BYTES:
        raise FerError(f"{sum(files.values()) / 1e9:.1f} GB in all; a Space holds 1 GB: name fewer runs with --run")
    return files


def copy(source: Path, target: Path) -> None:
    """Copy a file, making the folders above it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def copy_run(run: Run, target: Path) -> None:
    """Copy a run's own files, those that ``run.json`` names, and nothing that lies beside them."""
    for name in ("run.json", *run.info["files"]):
        copy(run.path / name, target / name)


def with_members(runs: list[Run]) -> list[Run]:
    """Return runs and, behind each ensemble, the runs that it is made of; each once, its files compared with their hashes."""
    found: dict[str, Run] = {}
    for run in runs:
        for each in (run, *run.networks()):
            if each.name in found and found[each.name].path != each.path:
                raise FerError(f"{each.name}: two runs of this name; rename one")
            found[each.name] = each
    return list(found.values())


def stage_model(run: Run, target: Path) -> None:
    """Lay out a run as the content of a model repository, as ``hub.fetch`` expects it."""
    if run.kind == "network":
        copy_run(run, target)
        return
    for each in with_members([run]):
        copy_run(each, target / each.name)
    (target / "DEFAULT").write_text(f"{run.name}\n", encoding="utf-8")
    if "README.md" in run.info["files"]:
        copy(run.file("README.md"), target / "README.md")
