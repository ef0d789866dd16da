"""Uploaded archives: honest ones are unpacked, attacks refused, and what is of no use is left out with a line."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fercore import datasets, zips
from fercore.errors import DataError
from hostile import NOT_PICTURES, encoded

PICTURE = encoded(np.full((48, 48), 90, np.uint8), "PNG")
HONEST = {"happy/1.png": PICTURE, "happy/2.png": PICTURE, "sad/1.png": PICTURE}


def archive(
    files: dict[str, bytes], *, links: dict[str, str] | None = None, method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """Return a zip of files, and of links with their targets."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in files.items():
            file.writestr(name, content)
        for name, target in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            file.writestr(info, target)
    return buffer.getvalue()


def below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def refused(data: bytes, folder: Path, limits: zips.Limits = zips.LIMITS) -> str:
    """Return the one line with which an archive is refused, of which nothing may be unpacked."""
    with pytest.raises(DataError) as told:
        zips.extract(data, folder / "unpacked", limits=limits)
    assert below(folder) == []
    assert "\n" not in str(told.value)
    return str(told.value)


def left_out(files: dict[str, bytes], **options: dict[str, str]) -> list[str]:
    """Return a line for each file that is left out beside honest ones."""
    contents = zips.inspect(archive({**HONEST, **files}, **options))
    assert [picture.name for picture in contents.pictures] == list(HONEST)
    return [str(problem) for problem in contents.left_out]


def test_pictures_are_unpacked_into_class_folders_that_the_reader_takes(tmp_path: Path) -> None:
    contents = zips.extract(archive(HONEST), tmp_path / "own")
    assert below(tmp_path / "own") == sorted(HONEST)
    assert (tmp_path / "own" / "happy" / "1.png").read_bytes() == PICTURE
    assert contents.counts() == {"unsplit": {"happy": 2, "sad": 1}}
    assert not contents.left_out
    assert stat.S_IMODE((tmp_path / "own").stat().st_mode) == 0o700
    assert len(datasets.load("folder", tmp_path / "own", strict=False)) == 3


@pytest.mark.parametrize("top", ["", "my faces/", "a/b/c/", "a\\b\\"])
def test_folders_around_the_classes_do_not_matter(top: str) -> None:
    names = {f"{top}{name}": content for name, content in HONEST.items()}
    places = [str(picture.place) for picture in zips.inspect(archive(names)).pictures]
    assert places == list(HONEST)


def test_splits_are_kept_and_synonyms_understood() -> None:
    files = {f"x/{split}/{label}/1.png": PICTURE for split in ("training", "val") for label in ("joy", "Sadness")}
    contents = zips.inspect(archive({**files, "x/joy/2.png": PICTURE}))
    assert contents.labels == ("happy", "sad")
    assert contents.counts() == {"train": {"happy": 1, "sad": 1}, "validation": {"happy": 1, "sad": 1}}
    assert [str(problem) for problem in contents.left_out] == [
        "x/joy/2.png: left out: lies in no class folder of train, val or test"
    ]


@pytest.mark.parametrize(
    "name", ["../happy/1.png", "happy/../../1.png", "/etc/happy/1.png", "C:/happy/1.png", "..\\happy\\1.png", "c:1.png"]
)
def test_a_path_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    assert "leads out of the archive" in refused(archive({**HONEST, name: PICTURE}), tmp_path)


def test_a_bomb_by_what_it_states_is_refused(tmp_path: Path) -> None:
    bomb = archive({**HONEST, "sad/2.bmp": b"BM" + bytes(20 << 20)})
    assert len(bomb) < 100_000
    assert "times as large when unpacked" in refused(bomb, tmp_path)
    many = archive({f"{label}/{number}.bmp": b"BM" + bytes(1 << 19) for label in ("a", "b") for number in range(20)})
    assert "times as large when unpacked" in refused(many, tmp_path)


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (zips.Limits(files=2), "more than 2 files"),
        (zips.Limits(archive=100), "the archive has more than 0 MB"),
        (zips.Limits(file=len(PICTURE) - 1), "happy/1.png: more than 0 MB when unpacked"),
        (zips.Limits(total=3 * len(PICTURE) - 1), "the archive has more than 0 MB when unpacked"),
    ],
)
def test_what_is_too_much_is_refused(limits: zips.Limits, told: str, tmp_path: Path) -> None:
    assert told in refused(archive(HONEST), tmp_path, limits)
    zips.inspect(archive(HONEST), zips.Limits(files=3, file=len(PICTURE), total=3 * len(PICTURE)))


def restated(data: bytes, name: str, size: int) -> bytes:
    """Return an archive whose list states another size for a file than it has."""
    changed = bytearray(data)
    at = data.rindex(name.encode()) - 46
    assert changed[at : at + 4] == b"PK\1\2"
    struct.pack_into("<I", changed, at + 24, size)
    return bytes(changed)


def test_a_bomb_that_lies_about_its_size_is_stopped(tmp_path: Path) -> None:
    huge = PICTURE + bytes(8 << 20)
    lying = restated(archive({**HONEST, "sad/2.png": huge}), "sad/2.png", 9000)
    assert zips.inspect(lying).counts() == {"unsplit": {"happy": 2, "sad": 2}}
    contents = zips.extract(lying, tmp_path)
    assert below(tmp_path) == sorted(HONEST)
    assert [str(problem) for problem in contents.left_out] == [
        "sad/2.png: damaged: cannot be unpacked (BadZipFile); pack the folder again"
    ]


def test_sizes_are_counted_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ``zipfile`` would let through: here it gives more bytes than the archive states."""
    blocks = zips._blocks
    monkeypatch.setattr(zips, "_blocks", lambda *given: iter([*blocks(*given), *([b"more"] if len(given) < 3 else [])]))
    with pytest.raises(DataError, match=r"^happy/1\.png: longer than the archive says"):
        zips.extract(archive(HONEST), tmp_path)


def test_overlapping_files_are_refused(tmp_path: Path) -> None:
    """As in the bomb of D. Fifield (2019): many names for the same packed bytes."""
    data = bytearray(archive(HONEST))
    first, second = (bytes(data).index(name, bytes(data).index(b"PK\1\2")) - 46 for name in (b"happy/1", b"happy/2"))
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    contents = zips.extract(bytes(data), tmp_path)
    assert below(tmp_path) == ["happy/1.png", "sad/1.png"]
    assert [(problem.kind, problem.where) for problem in contents.left_out] == [("damaged", "happy/2.png")]


def test_links_are_left_out(tmp_path: Path) -> None:
    told = left_out({}, links={"sad/9.png": "/etc/passwd", "fear": "/etc"})
    assert told == [f"{name}: link: a link; put the picture itself there" for name in ("sad/9.png", "fear")]
    zips.extract(archive(HONEST, links={"sad/9.png": "/etc/passwd"}), tmp_path)
    assert below(tmp_path) == sorted(HONEST)


@pytest.mark.parametrize("name", ["more.zip", "happy/more.tar.gz", "happy/x.7z", "sad/y.RAR"])
def test_nested_archives_are_left_out(name: str) -> None:
    told = left_out({name: archive(HONEST)})
    assert told == [f"{name}: nested archive: an archive in the archive; put its pictures into class folders"]


@pytest.mark.parametrize("what", NOT_PICTURES)
def test_what_only_claims_to_be_a_picture_is_left_out(what: str) -> None:
    content, word = NOT_PICTURES[what]
    (line,) = left_out({"happy/no.jpg": content})
    assert line.startswith("happy/no.jpg: not a picture: ")
    assert word in line


def test_other_files_are_left_out_with_a_line_and_junk_without() -> None:
    junk = ("__MACOSX/happy/._1.png", "happy/.DS_Store", "happy/Thumbs.db", ".git/config")
    told = left_out({"happy/notes.txt": b"x", "happy/noname": PICTURE, **dict.fromkeys(junk, b"x")})
    assert [line.split(":")[0] for line in told] == ["happy/notes.txt", "happy/noname"]


@pytest.mark.parametrize(
    "name", ["happy/a:b.png", "happy/con.png", "happy/x\n.png", f"happy/{'x' * 90}.png", "x?/1.png"]
)
def test_names_that_not_every_system_bears_are_left_out(name: str) -> None:
    (line,) = left_out({name: PICTURE})
    assert line.endswith("left out: a name that not every system can bear; rename it")
    assert "\n" not in line
    assert len(line) < 220


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_counts_once(tmp_path: Path) -> None:
    buffer = io.BytesIO(archive(HONEST))
    with zipfile.ZipFile(buffer, "a") as file:
        file.writestr("happy/1.png", encoded(np.zeros((50, 50), np.uint8), "PNG"))
        file.writestr("HAPPY/2.png", PICTURE)
    contents = zips.extract(buffer.getvalue(), tmp_path)
    assert (tmp_path / "happy" / "1.png").read_bytes() == PICTURE
    assert [problem.what for problem in contents.left_out] == ["a second file of this name; rename one of them"] * 2


@pytest.mark.parametrize("data", [b"", b"PK", b"no zip at all" * 9, archive(HONEST)[:-30]])
def test_what_is_no_zip_is_refused(data: bytes, tmp_path: Path) -> None:
    assert refused(data, tmp_path).startswith("this is not a zip archive, or a damaged one")


@pytest.mark.parametrize("length", [0, 10_000])
def test_a_damaged_picture_is_left_out(length: int, tmp_path: Path) -> None:
    """A short one is found while the archive is looked into, a long one when it is unpacked."""
    picture = PICTURE + bytes(length)
    whole = archive({**HONEST, "sad/2.png": picture}, method=zipfile.ZIP_STORED)
    at = whole.index(b"sad/2.png") + 9 + len(picture) - 5
    contents = zips.extract(whole[:at] + b"\x77" + whole[at + 1 :], tmp_path)
    assert below(tmp_path) == sorted(HONEST)
    assert len(contents.pictures) == 3
    assert [str(problem) for problem in contents.left_out] == [
        "sad/2.png: damaged: cannot be unpacked (BadZipFile); pack the folder again"
    ]


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    locked = bytearray(archive(HONEST))
    locked[locked.index(b"PK\1\2") + 8] |= 1
    assert "encrypted; pack the folder again without a password" in refused(bytes(locked), tmp_path)


def test_other_methods_of_packing_are_refused(tmp_path: Path) -> None:
    assert "a method other than deflate" in refused(archive(HONEST, method=zipfile.ZIP_LZMA), tmp_path)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"notes.txt": b"x"}, "it has none; first problem: notes.txt: not a picture: .txt"),
        ({"happy/1.png": PICTURE}, "the only class is 'happy'"),
        ({"1.png": PICTURE, "2.png": PICTURE}, "it has none; first problem: 1.png: left out: lies in no class folder"),
    ],
)
def test_an_archive_without_two_classes_is_refused(files: dict[str, bytes], told: str, tmp_path: Path) -> None:
    assert told in refused(archive(files), tmp_path)
