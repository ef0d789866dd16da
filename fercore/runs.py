"""Runs: what training leaves behind and everything else reads.

A run is a folder::

    run.json             what it is: heads, input, framings, datasets, recipe, metrics, versions, file hashes
    model.onnx           inputs: faces; outputs: one of logits a head, and ``features`` (an ensemble has none)
    history.csv          one row an epoch
    predictions.parquet  one row a test face and head
    dataset.json         class counts per split, duplicates, problems
    study.json           the search that found the recipe, where there was one

It is written into a hidden folder beside its place and renamed when whole, so that a full disk or a kill never leaves
half a run that loads. Each file's sha256 stands in ``run.json``; a file that does not match is refused by name.

Beside the runs, ``DEFAULT`` names the run that is opened when none is named, and ``SHIPPED`` those that came with the
project, a name a line.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import math
import os
import re
import reprlib
import shutil
import unicodedata
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import config, hub
from .errors import RunError
from .labels import LABELS
from .preprocess import Framing, InputSpec
from .study import FILE as STUDY
from .study import Study

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
KINDS = ("network", "ensemble")
FILES = ("model.onnx", "history.csv", "predictions.parquet", "dataset.json")
TEMPERATURES = (1e-3, 1e3)
"""Least and greatest temperature that a head may state."""
MAX_JSON = 4 << 20
"""Bytes that a run's JSON file may have; honest ones have some tens of thousands."""
MAX_LABEL = 255
"""Characters that a label may have: as many as a folder's name."""
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class Head:
    """One answer of a network: the labels of a source, and how its logits become honest probabilities."""

    name: str
    labels: tuple[str, ...]
    temperature: float = 1.0
    threshold: float = 0.0
    """Below this confidence an answer is reported as uncertain."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, without the name, which is its key in ``run.json``."""
        return {"labels": list(self.labels), "temperature": self.temperature, "threshold": self.threshold}


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that was read and validated. ``info`` is its ``run.json``."""

    path: Path
    info: dict[str, Any]
    heads: dict[str, Head]
    default_head: str
    input: InputSpec | None
    framings: dict[str, Framing]

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, *, verify: bool = True) -> Run:
        """Read a run.

        Args:
            path: its folder, the name of a folder in ``artifacts/``, ``hf://user/name`` on the Hub, or None for the default
                run (see ``find``).
            verify: compare each file with its sha256.

        Raises:
            RunError: missing, incomplete, of a newer schema, or changed since it was written; the line names the file.
        """
        folder = find(path)
        file = folder / "run.json"
        info = _read_json(file)
        schema = info.get("schema")
        if type(schema) is not int or schema < 1:
            raise RunError(f"{file}: schema {reprlib.repr(schema)} is none; expected a number from 1 to {SCHEMA}")
        if schema > SCHEMA:
            raise RunError(f"{file}: schema {reprlib.repr(schema)}, this version reads up to {SCHEMA}; update fercore")
        try:
            run = cls(
                path=folder,
                info=info,
                heads={name: _head(name, values) for name, values in info["heads"].items()},
                default_head=info["default_head"],
                input=InputSpec.from_dict(info["input"]) if info.get("input") else None,
                framings={name: Framing.from_dict(values) for name, values in info["framings"].items()},
            )
            _check(run)
        except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise RunError(f"{file}: not a valid run: {_line(what)}") from error
        if verify:
            run.verify()
        return run

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def kind(self) -> str:
        """``network`` or ``ensemble``."""
        return self.info["kind"]

    @property
    def members(self) -> list[str]:
        """Names of the runs that an ensemble averages, folders beside it; empty for a network."""
        return list(self.info["members"]) if self.kind == "ensemble" else []

    @property
    def shares(self) -> list[float]:
        """How much each of ``networks()`` counts, 1 in all; equal where the run says nothing."""
        count = len(self.members) or 1
        return list(self.info.get("shares", [1 / count] * count))

    def networks(self, *, verify: bool = True) -> list[Run]:
        """Return the runs whose networks answer: this one, or an ensemble's members.

        Raises:
            RunError: a member is missing, invalid, or another network than the one that was averaged; its files are compared
                with their hashes unless ``verify`` is false.
        """
        if self.kind == "network":
            return [self]
        found = [Run.load(self.path.parent / name, verify=verify) for name in self.members]
        known = self.info.get("networks", {})
        for run in found:
            if known.get(run.name, run.network_hash) != run.network_hash:
                raise RunError(
                    f"{run.path}: not the network that ensemble {self.name} was made of; make the ensemble again, with "
                    f"python -m fercore ensemble {' '.join(self.members)}"
                )
        return found

    @property
    def network_hash(self) -> str | None:
        """The sha256 of the network; None for an ensemble."""
        return self.info["files"].get("model.onnx")

    def head(self, name: str | None = None) -> Head:
        """Return a head by name, or the default one.

        Raises:
            RunError: the run has no such head; the line lists those it has.
        """
        name = name or self.default_head
        if name not in self.heads:
            raise RunError(f"run {self.name}: no head {name!r}; it has {', '.join(self.heads)}")
        return self.heads[name]

    def head_for(self, dataset: str) -> Head:
        """Return the head of a dataset if there is one, else the default head."""
        return self.heads.get(dataset) or self.head()

    def file(self, name: str) -> Path:
        """Return the path of one of the run's files.

        Raises:
            RunError: the run does not have it.
        """
        if name not in self.info["files"]:
            raise RunError(f"run {self.name}: has no {name}")
        return self.path / name

    def verify(self) -> None:
        """Compare every file with its hash, and the heads' labels with what the files say of them.

        Raises:
            RunError: a file is missing or differs, or ``run.json`` gives labels that training did not; the line names it.
        """
        for name, expected in self.info["files"].items():
            file = self.path / name
            if not file.is_file():
                raise RunError(f"{file}: missing from the run; copy the run again or train it again")
            try:
                found = sha256(file)
            except OSError as error:
                raise RunError(f"{file}: cannot be read ({error.strerror}); mend its permissions") from error
            if found != expected:
                raise RunError(f"{file}: changed since the run was written (sha256 differs); copy the run again")
        self._verify_labels()

    def _verify_labels(self) -> None:
        """Refuse labels in another order or of other names than those the network was trained with.

        ``dataset.json``, whose hash was compared, lists those of each dataset; a consensus over the seven classes has the
        project's order.
        """
        facts = self.dataset_info() if "dataset.json" in self.info["files"] else {}
        for name, head in self.heads.items():
            about = facts.get(name)
            trained = about.get("labels") if isinstance(about, dict) else None
            source = "dataset.json"
            if name == "consensus" and set(head.labels) == set(LABELS):
                trained, source = list(LABELS), "this project"
            if trained is not None and trained != list(head.labels):
                found, wanted = (reprlib.repr(labels) for labels in (list(head.labels), trained))
                raise RunError(
                    f"{self.path / 'run.json'}: head {reprlib.repr(name)} has the labels {found}, but {source} has {wanted}; "
                    "copy the run again"
                )

    def history(self) -> pd.DataFrame:
        """Return ``history.csv``: a row an epoch with ``epoch``, ``loss``, ``accuracy``, ``val_loss``, ..."""
        import pandas as pd

        with _readable(self.file("history.csv")) as file:
            return pd.read_csv(file)

    def predictions(self) -> pd.DataFrame:
        """Return ``predictions.parquet``: a row a test face and head.

        Columns: ``dataset, split, head, locator, left, top, width, height, label, prediction, confidence`` and
        ``p_<label>`` for each label of the head.
        """
        import pandas as pd

        with _readable(self.file("predictions.parquet")) as file:
            return pd.read_parquet(file)

    def dataset_info(self) -> dict[str, Any]:
        """Return ``dataset.json``: ``{dataset: {"counts": {split: {label: n}}, "duplicates": {}, "problems": {}}}``."""
        return _read_json(self.file("dataset.json"))

    def study(self) -> Study | None:
        """Return the search that found the run's recipe; None where there was none.

        Raises:
            RunError: ``study.json`` cannot be read, or contradicts itself.
        """
        if STUDY not in self.info["files"]:
            return None
        file = self.file(STUDY)
        try:
            return Study.from_dict(_read_json(file))
        except RunError as error:
            raise RunError(f"{file}: {error}".replace(f"{file}: {file}", str(file))) from error

    def metrics(self, dataset: str | None = None) -> dict[str, Any]:
        """Return the metrics of a dataset's test split (default: the first one's); see ``evaluation.score``."""
        found = self.info.get("metrics", {})
        return found.get(dataset or next(iter(found), ""), {})


def find(run: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of a run: a path, a name in ``artifacts/``, an address on the Hub, or None for the default run.

    The default is what ``$FER_RUN`` names, else the first line of ``artifacts/DEFAULT``. A name that is also that of a
    folder in the working directory means that one only if it is a run. ``hf://user/name`` is downloaded (see ``hub``).

    Raises:
        RunError: there is no such folder.
    """
    artifacts = config.artifacts_dir()
    if run is None:
        run = os.environ.get("FER_RUN") or artifacts / _default_name(artifacts)
    if hub.is_address(run):
        return hub.fetch(run)
    folder = config.expanded(run)
    if not os.path.isfile(folder / "run.json") and _NAME.fullmatch(str(run)) and os.path.isdir(artifacts / str(run)):
        folder = artifacts / str(run)
    if not os.path.isdir(folder):
        known = ", ".join(path.name for path in run_folders(artifacts)) or "none"
        raise RunError(f"{_line(str(run))}: no such run; give a folder or one of those in {artifacts}: {known}")
    return Path(os.path.abspath(folder))


def run_folders(directory: str | os.PathLike[str] | None = None) -> list[Path]:
    """Return the folders that hold a ``run.json``, by name; hidden ones (half-written) are left out."""
    root = Path(directory) if directory else config.artifacts_dir()
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.name[0] != "." and os.path.isfile(path / "run.json"))


def list_runs(directory: str | os.PathLike[str] | None = None) -> tuple[list[Run], list[str]]:
    """Return the runs of a folder (default ``artifacts/``), and one line for each that could not be read.

    Hashes are not compared here, so that a list stays quick; ``Run.load`` and ``Run.verify`` do.
    """
    runs: list[Run] = []
    refused: list[str] = []
    for folder in run_folders(directory):
        try:
            runs.append(Run.load(folder, verify=False))
        except RunError as error:
            refused.append(str(error))
    return runs, refused


def write(
    path: str | os.PathLike[str],
    info: Mapping[str, Any],
    files: Mapping[str, Path | bytes],
    *,
    overwrite: bool = False,
) -> Run:
    """Write a run in one step: staged in a hidden folder beside its place, renamed when whole.

    Args:
        path: the run's folder; its name may hold letters, digits, ``.``, ``_`` and ``-``.
        info: everything of ``run.json`` but ``schema`` and ``files``, which are set here.
        files: contents by file name, as bytes or as a file to copy.
        overwrite: replace a run that stands there; without it an existing folder is refused.

    Raises:
        RunError: the name is not allowed, the place is taken, or what was written does not load.
        OSError: the disk is full or not writable. After any error nothing is left behind.
    """
    target = Path(path)
    check_place(target, overwrite=overwrite)
    for name in files:
        check_name(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = _hidden(target)
    try:
        staging.mkdir()
        for name, content in files.items():
            if isinstance(content, bytes):
                (staging / name).write_bytes(content)
            else:
                shutil.copyfile(content, staging / name)
        hashes = {name: sha256(staging / name) for name in sorted(files)}
        document = {"schema": SCHEMA} | dict(info) | {"schema": SCHEMA, "files": hashes}
        try:
            text = json.dumps(document, indent=1, allow_nan=False)
        except ValueError as error:
            raise RunError(f"{target / 'run.json'}: {error}; a number in it is NaN or infinite") from error
        (staging / "run.json").write_text(text + "\n", encoding="utf-8")
        run = Run.load(staging)
        run.study()
        _replace(staging, target, overwrite=overwrite)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return dataclasses.replace(run, path=Path(os.path.abspath(target)))


def rename(run: Run, name: str) -> Run:
    """Rename a run's folder, and the run in ``DEFAULT`` and ``SHIPPED`` beside it.

    Raises:
        RunError: the name is taken or not allowed, an ensemble relies on the run, or it is gone.
        OSError: the folder cannot be changed; the run keeps its name.
    """
    check_name(name)
    _check_no_ensemble(run)
    target = run.path.parent / name
    if os.path.lexists(target):
        raise RunError(f"{name}: there is a run of that name already; choose another")
    _move(run, target)
    try:
        for listing in ("SHIPPED", "DEFAULT"):
            _list_as(run.path.parent / listing, run.name, [name])
    except OSError:
        target.rename(run.path)
        raise
    return Run.load(target, verify=False)


def delete(run: Run) -> None:
    """Delete a run's folder, and its name in ``SHIPPED`` beside it.

    Raises:
        RunError: it is the default run, an ensemble relies on it, or it is gone already.
        OSError: the folder cannot be changed.
    """
    _check_no_ensemble(run)
    if _listed(run.path.parent / "DEFAULT")[:1] == [run.name]:
        raise RunError(f"{run.name}: it is the default run; name another in {run.path.parent / 'DEFAULT'} first")
    doomed = _hidden(run.path)
    _move(run, doomed)
    _list_as(run.path.parent / "SHIPPED", run.name, [])
    if doomed.is_symlink():
        doomed.unlink()
    else:
        shutil.rmtree(doomed)


def is_shipped(run: Run) -> bool:
    """Tell whether the run came with the project: its name stands in ``SHIPPED`` beside it, a name a line."""
    return run.name in _listed(run.path.parent / "SHIPPED")


def check_name(name: str) -> None:
    """Raise ``RunError`` unless a run, or a file in it, may be called so."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RunError(
            f"{reprlib.repr(name)}: a name has 1 to 80 letters (a to z), digits, '.', '_' or '-' "
            "and starts with a letter or digit"
        )


def check_place(path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Raise ``RunError`` unless a run may be written to this folder.

    With ``overwrite`` a run that stands there may be replaced; a folder that holds anything else never is.
    """
    target = Path(path)
    check_name(target.name)
    if not os.path.lexists(target):
        return
    if not overwrite:
        raise RunError(f"{target}: already exists; choose another --out, or delete it first")
    try:
        there = os.listdir(target)
    except FileNotFoundError:  # another process took it away meanwhile
        return
    except NotADirectoryError:
        there = [target.name]
    if there and "run.json" not in there:
        raise RunError(f"{target}: is not a run, so it is not overwritten; choose another --out")


def sha256(file: Path) -> str:
    """Return the hexadecimal sha256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _default_name(artifacts: Path) -> str:
    listing = artifacts / "DEFAULT"
    names = _listed(listing)
    if not names:
        raise RunError(f"{listing}: missing or empty; name a run there, in $FER_RUN or with --run")
    check_name(names[0])
    return names[0]


def _read_json(file: Path) -> dict[str, Any]:
    if not os.path.isfile(file):
        raise RunError(f"{file}: missing; this folder is not a run")
    try:
        if file.stat().st_size > MAX_JSON:
            raise RunError(f"{file}: larger than {MAX_JSON >> 20} MiB, which no run needs; copy the run again")
        document = json.loads(file.read_text(encoding="utf-8"), parse_constant=_no_number)
    except RunError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{file}: not readable as JSON ({type(error).__name__}); copy the run again") from error
    if not isinstance(document, dict):
        raise RunError(f"{file}: expected a JSON object; copy the run again")
    return document


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


@contextlib.contextmanager
def _readable(file: Path) -> Iterator[Path]:
    """Turn whatever a parser raises about a file into a ``RunError`` that names it."""
    try:
        yield file
    except Exception as error:
        raise RunError(f"{file}: cannot be read ({_line(str(error))}); copy the run again") from error


def _line(text: str) -> str:
    """Return a text on one line of bearable length."""
    text = " ".join(text.split())
    return text if len(text) <= 300 else f"{text[:297]}..."


def _head(name: str, values: Mapping[str, Any]) -> Head:
    where = f"head {reprlib.repr(name)}"
    if name in ("", "features"):
        raise RunError(f"{where}: not a head's name")
    labels, temperature, threshold = values["labels"], values["temperature"], values["threshold"]
    if not (
        isinstance(labels, list) and len(labels) >= 2 and all(label and isinstance(label, str) for label in labels)
    ):
        raise RunError(f"{where}: labels must be a list of two or more names")
    if len(set(labels)) != len(labels):
        raise RunError(f"{where}: a label stands there twice")
    for label in labels:
        if len(label) > MAX_LABEL or label.isspace() or any(map(_disturbs, label)):
            allowed = f"labels have 1 to {MAX_LABEL} characters that can be shown on a line"
            raise RunError(f"{where}: label {_line(ascii(label[:40]))}: {allowed}")
    for what, value, (low, high) in (("temperature", temperature, TEMPERATURES), ("threshold", threshold, (0, 1))):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise RunError(f"{where}: {what} {reprlib.repr(value)} is not a number from {low} to {high}")
    return Head(name, tuple(labels), float(temperature), float(threshold))


def _disturbs(character: str) -> bool:
    """Tell whether a character breaks a line, controls a terminal, turns the writing around it, or is none at all.

    What joins and separates letters in some scripts is invisible too, but belongs to names.
    """
    return unicodedata.category(character) in ("Cc", "Cs", "Cn", "Zl", "Zp") or character in _TURNING


def _check(run: Run) -> None:
    """Refuse what later code would stumble over."""
    if run.info["kind"] not in KINDS:
        raise RunError(f"kind {reprlib.repr(run.info['kind'])} is none of {', '.join(KINDS)}")
    run.head()
    files = run.info["files"]
    if not isinstance(files, dict):
        raise RunError("files: expected file names with their sha256")
    for name, digest in files.items():
        check_name(name)
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise RunError(f"files: {name}: {reprlib.repr(digest)} is not a sha256")
    if run.kind == "network" and (run.input is None or "model.onnx" not in files):
        raise RunError("a network needs an input and model.onnx")
    if run.kind == "ensemble":
        members = run.info["members"]
        if not isinstance(members, list) or len(members) < 2:
            raise RunError("an ensemble needs a list of two members or more")
        for member in members:
            check_name(member)
        if len(set(members)) < len(members) or run.name in members:
            raise RunError("an ensemble's members must be different runs, and not itself")
        shares = run.info.get("shares", run.shares)
        numbers = isinstance(shares, list) and all(type(share) in (int, float) and 0 <= share <= 1 for share in shares)
        if not numbers or len(shares) != len(members) or abs(math.fsum(shares) - 1) > 1e-6:
            raise RunError(f"shares: expected {len(members)} numbers from 0 to 1 that sum to 1")
        if not isinstance(run.info.get("networks", {}), dict):
            raise RunError("networks: expected an object of members and hashes")
    for framing in ("detector", "crop"):
        run.framings[framing]
    for section in ("datasets", "metrics"):
        values = run.info.get(section, {})
        if not isinstance(values, dict) or not all(isinstance(value, dict) for value in values.values()):
            raise RunError(f"{section}: expected an object by dataset")


def _check_no_ensemble(run: Run) -> None:
    for other in list_runs(run.path.parent)[0]:
        if run.name in other.members:
            raise RunError(f"{run.name}: ensemble {other.name} is made of it; delete that one first")


def _listed(listing: Path) -> list[str]:
    """Return the names in a file with a name a line; none where there is no such file."""
    if not os.path.isfile(listing):
        return []
    return listing.read_text(encoding="utf-8", errors="replace").split()


def _list_as(listing: Path, name: str, instead: list[str]) -> None:
    """Put other names, or none, in place of a name in such a file, if it stands there."""
    names = _listed(listing)
    if name not in names:
        return
    at = names.index(name)
    staging = _hidden(listing)
    try:
        staging.write_text("".join(f"{each}\n" for each in [*names[:at], *instead, *names[at + 1 :]]), encoding="utf-8")
        staging.replace(listing)
    finally:
        staging.unlink(missing_ok=True)


def _hidden(place: Path) -> Path:
    """Return a free hidden name beside a place, for what is half done."""
    return place.parent / f".{place.name}.{uuid.uuid4().hex[:8]}"


def _move(run: Run, target: Path) -> None:
    try:
        run.path.rename(target)
    except FileNotFoundError as error:
        raise RunError(f"{run.name}: this run is gone already; look at the list again") from error


def _replace(staging: Path, target: Path, *, overwrite: bool) -> None:
    """Move a whole staged folder to its place; what stood there goes away only after.

    Another process may write the same run meanwhile: without ``overwrite`` the first wins, with it the last.
    """
    for _ in range(100):
        try:
            staging.rename(target)
            return
        except OSError as error:
            if not _taken(error, target):
                raise
        check_place(target, overwrite=overwrite)
        old = _hidden(target)
        try:
            target.rename(old)
        except OSError:
            continue
        try:
            staging.rename(target)
            placed = True
        except BaseException as error:
            if not (isinstance(error, OSError) and _taken(error, target)):
                old.rename(target)
                raise
            placed = False
        shutil.rmtree(old, ignore_errors=True)
        if placed:
            return
    raise RunError(f"{target}: another process keeps using or writing this run; choose another --out")


def _taken(error: OSError, target: Path) -> bool:
    """Tell whether a move failed because something stands at its target, or stood there at that moment."""
    return error.errno in (errno.ENOTEMPTY, errno.EEXIST) or os.path.lexists(target)
