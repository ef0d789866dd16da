"""Uploaded archives: a zip of class-named folders of pictures, or one clear line.

An archive is hostile until its pictures lie in a folder of ours, so these rules hold here:

- What marks an attack refuses the whole archive: a path that leads out of it, more files or bytes than ``LIMITS`` allows,
  bytes that shrank more than pictures do. Sizes are checked as the archive states them before anything is unpacked, and as
  they come while it is.
- What is merely of no use is left out, with a line each: links, archives in the archive, what is damaged or no picture.
- A file's format is told by its first bytes. Its name is kept only where every system can bear it.

What computers add by themselves (``__MACOSX``, ``Thumbs.db``, hidden files) is left out without a word.
"""

from __future__ import annotations

import dataclasses
import io
import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from . import images
from .datasets.base import SPLITS, Problem
from .datasets.crops import Progress
from .datasets.folder import SPLIT_FOLDERS, WANTED
from .errors import DataError, ImageError
from .labels import canonical, ordered


@dataclasses.dataclass(frozen=True)
class Limits:
    """The most that an archive may bring."""

    archive: int = 200 << 20
    """Bytes of the archive itself."""
    files: int = 50_000
    file: int = 32 << 20
    """Bytes of one picture."""
    total: int = 1 << 30
    """Bytes of all pictures."""
    ratio: int = 100
    """Bytes of a file, or of all, over those that it takes in the archive. Files below ``SMALL`` may shrink as they like."""


LIMITS = Limits()
SMALL = 1 << 20
ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".cbz", ".jar", ".iso")
_LINK = "a link; put the picture itself there"
_PART = re.compile(r"(?![ .])[^\x00-\x1f\x7f-\x9f<>:\"/\\|?*]{1,80}(?<![ .])")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # names that Windows keeps for devices
_HEAD = 4096
_BLOCK = 1 << 18
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_AGAIN = "pack the folder again"


class _Damaged(DataError):
    """A file of an archive that cannot be unpacked."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture that will be unpacked."""

    name: str
    """In the archive."""
    number: int
    """Of its entry there: names may repeat."""
    split: str
    """``train``, ``validation``, ``test``, or ``""`` where the archive has no splits."""
    label: str
    place: PurePosixPath
    """Where it goes: split folder, class folder and file."""
    size: int


@dataclasses.dataclass(frozen=True)
class Contents:
    """What an archive holds, seen without unpacking it."""

    pictures: tuple[Picture, ...]
    left_out: tuple[Problem, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the project's order."""
        return ordered(picture.label for picture in self.pictures)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return pictures per split and class, as ``Dataset.counts`` does."""
        found = Counter((picture.split, picture.label) for picture in self.pictures)
        return {
            split or "unsplit": {label: found[split, label] for label in self.labels}
            for split in (*SPLITS, "")
            if any(picture.split == split for picture in self.pictures)
        }


def inspect(data: bytes, limits: Limits = LIMITS) -> Contents:
    """Look into an archive; nothing is written.

    Args:
        data: the archive.
        limits: the most that it may bring.

    Raises:
        DataError: it is no zip, is damaged or encrypted, is made to do harm, or holds fewer than two classes of pictures.
    """
    with _opened(data, limits) as archive:
        left_out: list[Problem] = []
        found = [
            (info, path)
            for info in _files(archive, limits)
            if not _junk(path := PurePosixPath(info.filename.replace("\\", "/")))
            and not _useless(archive, info, path, left_out)
        ]
        numbers = {id(info): number for number, info in enumerate(archive.infolist())}
        pictures = list(_placed(found, numbers, left_out))
    labels = {picture.label for picture in pictures}
    if len(labels) < 2:
        held = f"the only class is {next(iter(labels))!r}" if labels else "it has none"
        first = f"; first problem: {left_out[0]}" if left_out else ""
        raise DataError(f"the archive needs {WANTED}; {held}{first}")
    return Contents(tuple(pictures), tuple(left_out))


def extract(data: bytes, folder: Path, *, limits: Limits = LIMITS, progress: Progress | None = None) -> Contents:
    """Unpack the pictures of an archive into a folder, which gets split and class folders.

    Args:
        data: the archive.
        folder: where they go; only its owner may look into it.
        limits: the most that the archive may bring.
        progress: wraps the loop over pictures.

    Raises:
        DataError: see ``inspect``; or a file is longer than the archive says. What was unpacked until then stays in the folder.

    Returns:
        What was unpacked, and what was not.
    """
    contents = inspect(data, limits)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept: list[Picture] = []
    damaged: list[Problem] = []
    total = 0
    with _opened(data, limits) as archive:
        for picture in progress(contents.pictures) if progress else contents.pictures:
            target = folder / picture.place
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with target.open("xb") as file:
                    for block in _blocks(archive, archive.infolist()[picture.number]):
                        total += len(block)
                        if file.tell() + len(block) > picture.size or total > limits.total:
                            raise DataError(f"{_shown(picture.name)}: longer than the archive says; it is not unpacked")
                        file.write(block)
            except _Damaged as error:
                target.unlink()
                damaged.append(Problem("damaged", _shown(picture.name), str(error)))
            else:
                kept.append(picture)
    return Contents(tuple(kept), (*contents.left_out, *damaged))


def _opened(data: bytes, limits: Limits) -> zipfile.ZipFile:
    """Open an archive whose list of files is of bearable length."""
    if len(data) > limits.archive:
        raise DataError(
            f"the archive has more than {_megabytes(limits.archive)}; leave pictures out, or scale them down"
        )
    if data.count(b"PK\1\2") > limits.files:  # before the list is read: each entry costs memory
        raise DataError(f"the archive has more than {limits.files:,} files; leave some out")
    try:
        return zipfile.ZipFile(io.BytesIO(data))
    except _DAMAGED as error:
        raise DataError("this is not a zip archive, or a damaged one; " + _AGAIN) from error


def _files(archive: zipfile.ZipFile, limits: Limits) -> list[zipfile.ZipInfo]:
    """Return the entries that are no folders, all of them checked, or refuse the archive."""
    found = [info for info in archive.infolist() if not info.is_dir()]
    packed = sum(info.compress_size for info in found)
    total = sum(info.file_size for info in found)
    for info in found:
        where = _shown(info.filename)
        parts = info.orig_filename.replace("\\", "/").split("/")
        if ".." in parts or not parts[0] or re.match(r"[A-Za-z]:", parts[0]) or "\0" in info.orig_filename:
            raise DataError(f"{where}: a path that leads out of the archive; it is not unpacked")
        if info.flag_bits & 1:
            raise DataError(f"{where}: encrypted; {_AGAIN} without a password")
        if info.compress_type not in _METHODS:
            raise DataError(f"{where}: packed by a method other than deflate; {_AGAIN} as a plain zip")
        if info.file_size > limits.file:
            raise DataError(
                f"{where}: more than {_megabytes(limits.file)} when unpacked; scale it down or leave it out"
            )
        if info.file_size > max(SMALL, limits.ratio * info.compress_size):
            raise DataError(f"{where}: {info.file_size // max(info.compress_size, 1)} times as large when unpacked, "
                            "as no photo is; leave it out")  # fmt: skip
    if total > limits.total:
        raise DataError(f"the archive has more than {_megabytes(limits.total)} when unpacked; leave pictures out")
    if total > max(SMALL, limits.ratio * packed):
        raise DataError(f"the archive is {total // max(packed, 1)} times as large when unpacked, as photos are not")
    return found


def _junk(path: PurePosixPath) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.parts) or path.name.lower() in (
        "thumbs.db",
        "desktop.ini",
    )


def _useless(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: PurePosixPath, left_out: list[Problem]) -> bool:
    """Tell whether a file is left out, and why in a line."""
    what = _problem(archive, info, path)
    if what:
        left_out.append(Problem(what[0], _shown(info.filename), what[1]))
    return bool(what)


def _problem(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: PurePosixPath) -> tuple[str, str] | None:
    mode = info.external_attr >> 16
    suffix = path.suffix.lower()
    if stat.S_ISLNK(mode):
        return "link", _LINK
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "no file", "a device or a pipe; only pictures are of use"
    if suffix in ARCHIVES:
        return "nested archive", "an archive in the archive; put its pictures into class folders"
    if suffix not in images.SUFFIXES:
        return "not a picture", f"{suffix or 'no suffix'}; pictures are called .jpg, .png and the like"
    try:
        images.format_of(next(_blocks(archive, info, _HEAD), b""))
    except ImageError as error:
        return "not a picture", str(error)
    except _Damaged as error:
        return "damaged", str(error)
    return None


def _placed(
    found: list[tuple[zipfile.ZipInfo, PurePosixPath]], numbers: dict[int, int], left_out: list[Problem]
) -> Iterator[Picture]:
    """Yield the pictures that lie in class folders, without the folders that all of them lie in."""
    paths = [path.parts for _, path in found]
    while len({parts[0] for parts in paths}) == 1 and 2 * sum(len(parts) > 2 for parts in paths) > len(paths):
        paths = [parts[1:] if len(parts) > 1 else parts for parts in paths]
    splits = [SPLIT_FOLDERS.get(parts[0].lower(), "") if len(parts) == 3 else "" for parts in paths]
    taken: set[str] = set()
    for (info, _), parts, split in zip(found, paths, splits, strict=True):
        wanted = 3 if any(splits) else 2
        what = ""
        if len(parts) != wanted or (wanted == 3 and not split):
            what = "lies in no class folder" if wanted == 2 else "lies in no class folder of train, val or test"
        elif not all(_PART.fullmatch(part) and not _RESERVED.fullmatch(part) for part in parts):
            what = "a name that not every system can bear; rename it"
        else:
            place = PurePosixPath(*([split] if split else []), *parts[-2:])
            if str(place).lower() in taken:
                what = "a second file of this name; rename one of them"
        if what:
            left_out.append(Problem("left out", _shown(info.filename), what))
        else:
            taken.add(str(place).lower())
            yield Picture(info.filename, numbers[id(info)], split, canonical(parts[-2]), place, info.file_size)


def _blocks(archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int = _BLOCK) -> Iterator[bytes]:
    """Yield what a file holds, a block at a time. Raises ``_Damaged`` where that cannot be read."""
    try:
        with archive.open(info) as stream:
            while block := stream.read(size):
                yield block
    except _DAMAGED as error:
        raise _Damaged(f"cannot be unpacked ({type(error).__name__}); {_AGAIN}") from error


def _shown(name: str) -> str:
    """Return a name from an archive on one line of bearable length."""
    text = name if len(name) <= 120 else f"{name[:57]}...{name[-57:]}"
    return text if text.isprintable() else ascii(text)


def _megabytes(size: int) -> str:
    return f"{size >> 20:,} MB"
