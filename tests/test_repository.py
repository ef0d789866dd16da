"""What the repository must not hold: faces of the datasets, names of package registries' hosts, paths of somebody's machine."""

from __future__ import annotations

import functools
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent

PICTURES = {
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
    ".y4m",
}
PICTURE_FOLDERS = ("docs", "static")
"""Where pictures may lie: documents' screenshots, and what the app serves."""

REGISTRY = re.compile(rb"\b(?:pypi|pythonhosted|npmjs|yarnpkg|deb\.debian|rubygems|crates)\.(?:org|com|io)\b")
PRIVATE = re.compile(rb"(?<![\w.$}])/(?:root|work|Users/\w+|home/(?!user\b)\w+)/|\b[A-Z]:\\+Users\\")
"""Absolute paths of a developer's machine. ``/home/user`` is the account that hosted containers run as."""

PIXEL_ROW = re.compile(rb"(?:\d{1,3}[ ,;]+){1000}")
"""A thousand small numbers in a row, as FER2013 writes its faces."""

EMBEDDED = re.compile(rb"data:image/(?:jpeg|png|webp);base64,[A-Za-z0-9+/]{4000}")


@functools.cache
def repository_files() -> tuple[Path, ...]:
    """Return the files that are tracked or would be: what a commit can hold. Skips outside git."""
    git = shutil.which("git")
    if not git or not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    command = [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return tuple(ROOT / name for name in names if name and (ROOT / name).is_file())


def holding(pattern: re.Pattern[bytes], files: tuple[Path, ...]) -> list[str]:
    """Return ``file: what was found`` for the files in which a pattern occurs."""
    found = ((path, pattern.search(path.read_bytes())) for path in files)
    return [f"{path}: {match[0][:80].decode(errors='replace')}" for path, match in found if match]


@pytest.mark.parametrize(
    "pattern", [REGISTRY, PRIVATE, PIXEL_ROW, EMBEDDED], ids=["registry", "path", "pixels", "embedded"]
)
def test_no_file_holds(pattern: re.Pattern[bytes]) -> None:
    assert holding(pattern, repository_files()) == []


def test_patterns_find_what_they_are_for(tmp_path: Path) -> None:
    """The forbidden words are put together here, so that this file does not hold them."""
    slash = "/"
    bad = {
        REGISTRY: ["https://files." + "pythonhosted" + ".org/packages/x.whl", "http://" + "deb.debian" + ".org"],
        PRIVATE: [
            f"open('{slash}root{slash}x')",
            f" {slash}home{slash}ann{slash}x",
            "C:" + "\\Users\\ann",
            f"{slash}work{slash}a",
        ],
        PIXEL_ROW: ["0," + "70 80 " * 1152 + ",Training"],
        EMBEDDED: ["<img src='data:image/" + "png;base64," + "A" * 4000],
    }
    good = {
        REGISTRY: ["pypi", "https://www.debian.org", "see npmjs"],
        PRIVATE: [
            f"https://example.org{slash}work{slash}x",
            "../root/x",
            f"{slash}home{slash}user{slash}app",
            f"$DIR{slash}work{slash}x",
            "roots/",
        ],
        PIXEL_ROW: ["1 2 3 " * 100, "0.12 0.33 " * 1000],
        EMBEDDED: ["data:image/" + "png;base64,AAAA"],
    }
    file = tmp_path / "file.txt"
    for expected, cases in ((True, bad), (False, good)):
        for pattern, texts in cases.items():
            for text in texts:
                file.write_text(text, encoding="utf-8")
                assert bool(holding(pattern, (file,))) is expected, text[:80]


def test_pictures_lie_only_where_they_may() -> None:
    pictures = [path.relative_to(ROOT) for path in repository_files() if path.suffix.lower() in PICTURES]
    assert [str(path) for path in pictures if path.parts[0] not in PICTURE_FOLDERS] == []


def test_no_dataset_picture_is_in_the_repository(data_dir: Path) -> None:
    """Byte for byte, whatever the copy is called; only files of equal size are hashed."""

    def digest(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    ours: dict[int, list[Path]] = {}
    for path in repository_files():
        ours.setdefault(path.stat().st_size, []).append(path)
    hashes = {digest(path): path for paths in ours.values() for path in paths}
    faces = [path for path in data_dir.rglob("*") if path.suffix.lower() in PICTURES and path.stat().st_size in ours]
    assert [f"{hashes[key]} is {path}" for path in faces if (key := digest(path)) in hashes] == []


def may_be_pixels(array: np.ndarray) -> bool:
    return array.dtype.kind in "iu" and array.itemsize < 3 and array.size >= 24 * 24


def test_tables_and_arrays_hold_no_pixels() -> None:
    """Parquet without binary or list columns; no array of bytes as large as a small face."""
    from pyarrow import parquet, types

    found = []
    for path in repository_files():
        if path.suffix == ".parquet":
            for field in parquet.read_schema(path):
                if types.is_nested(field.type) or types.is_binary(field.type) or types.is_large_binary(field.type):
                    found.append(f"{path}: column {field.name} is {field.type}")
        elif path.suffix in (".npy", ".npz"):
            loaded = np.load(path, allow_pickle=False)
            arrays = dict(loaded) if path.suffix == ".npz" else {"array": loaded}
            large = {
                name: a.shape
                for name, a in arrays.items()
                if a.dtype.kind in "iu" and a.itemsize < 3 and a.size >= 24 * 24
            }
            found += [f"{path}: {name} {shape}" for name, shape in large.items()]
    assert found == []
