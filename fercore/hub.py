"""Runs on the Hugging Face Hub: ``hf://user/name`` in place of a folder, and the upload of a folder.

A run is a model repository that holds the run's files; a revision (branch, tag or commit) may follow: ``hf://user/name@v2``. It
is downloaded into the Hub's own cache, of which a later call takes it, also without a network, and is then checked like any
other folder: nothing in it is trusted because of where it came from. An ensemble's repository has a folder for it and for each
member, and ``DEFAULT``, which names the ensemble.

The package ``huggingface_hub`` (the extra ``hub``) is imported only here, and only when an address is used.
"""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import FerError, RunError

SCHEME = "hf://"
PATTERNS = ("*.json", "*.onnx", "*.csv", "*.parquet", "*.npz", "README.md", "*/README.md", "DEFAULT")
"""What is downloaded of a repository: a run has nothing else."""
MAX_BYTES = 4 << 30
"""The largest repository that is downloaded; a run has some ten megabytes."""
MAX_FILES = 500
LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
PAID = "the Hub wants a paying account for this (402); see https://huggingface.co/pricing"
PAID_DOCKER = (
    "the Hub hosts Docker Spaces for paying accounts only (402); take --kind static, which is free, or upgrade the account at "
    "https://huggingface.co/pricing"
)

_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,94}/[A-Za-z0-9][\w.-]{0,94}", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9_][\w./-]{0,99}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,79}", re.ASCII)


def is_address(run: object) -> bool:
    """Tell whether this is the address of a run on the Hub."""
    return isinstance(run, str) and run.startswith(SCHEME)


def parse(address: str) -> tuple[str, str | None]:
    """Return repository and revision of ``hf://user/name[@revision]``; no revision is None.

    Raises:
        RunError: it is no such address.
    """
    repo, at, revision = address.removeprefix(SCHEME).partition("@")
    if not is_repo(repo) or (at and not (_REVISION.fullmatch(revision) and ".." not in revision)):
        raise RunError(
            f"{_line(address)}: not an address on the Hub; expected hf://user/name or hf://user/name@revision"
        )
    return repo, revision or None


def is_repo(name: str) -> bool:
    """Tell whether a repository on the Hub may be called so: ``user/name``."""
    return bool(_REPO.fullmatch(name)) and ".." not in name and "--" not in name


def fetch(address: str) -> Path:
    """Download a run, unless it is in the Hub's cache already, and return its folder.

    Args:
        address: ``hf://user/name`` or ``hf://user/name@revision``; ``$HF_ENDPOINT`` and ``$HF_HOME`` move Hub and cache.

    Raises:
        RunError: no such address, repository or revision; too large; or neither network nor cache has it.
    """
    repo, revision = parse(address)
    library = _library(address)
    with _explained(address):
        options = {"repo_id": repo, "revision": revision, "allow_patterns": list(PATTERNS)}
        with contextlib.suppress(library.errors.DryRunError):  # no network: what the cache has is tried below
            planned = library.snapshot_download(**options, dry_run=True)
            size = sum(file.file_size or 0 for file in planned)
            if size > MAX_BYTES or len(planned) > MAX_FILES:
                raise RunError(
                    f"{address}: {len(planned)} files of {size / 1e9:.1f} GB, which no run needs; not downloaded"
                )
        folder = Path(library.snapshot_download(**options))
    return _inside(folder, address)


def upload(
    folder: Path, repo: str, *, message: str, space: str | None = None, private: bool = False, replace: bool = True
) -> str:
    """Make a folder the content of a repository on the Hub, in one commit, and return its address on the web.

    Args:
        folder: what to upload.
        repo: ``user/name``; it is created where there is none.
        message: of the commit.
        space: ``static`` or ``docker`` for a Space; None for a model.
        private: create it so that only its owner sees it; one that exists stays as it is.
        replace: delete what is there and not in the folder.

    Raises:
        FerError: not logged in, not allowed, to be paid for, or not reachable, in one line.
    """
    if not is_repo(repo):
        raise FerError(f"{_line(repo)}: expected USER/NAME, as on the Hub")
    library = _library(repo)
    api = library.HfApi()
    kind = "space" if space else "model"
    with _explained(repo, PAID_DOCKER if space == "docker" else PAID), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="It seems that you are about to commit a data file")
        sdk = {"space_sdk": space} if space else {}
        made = api.create_repo(repo, repo_type=kind, private=private or None, exist_ok=True, **sdk)
        api.upload_folder(
            repo_id=repo,
            repo_type=kind,
            folder_path=folder,
            commit_message=message,
            delete_patterns=["*"] if replace else None,
        )
    return str(made)


def _library(what: str) -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ModuleNotFoundError as error:
        raise FerError(f"{what}: needs the package {error.name}; it comes with pip install '.[hub]'") from None
    return huggingface_hub


def _inside(folder: Path, address: str) -> Path:
    """Return the run's folder: the repository's own, or the one in it that ``DEFAULT`` names."""
    listing = folder / "DEFAULT"
    if os.path.isfile(folder / "run.json") or not os.path.isfile(listing):
        return folder
    name = listing.read_bytes()[:200].decode("ascii", "replace").strip()
    if not _NAME.fullmatch(name) or not os.path.isdir(folder / name):
        raise RunError(f"{address}: its DEFAULT names no run in it; push the run again")
    return folder / name


@contextlib.contextmanager
def _explained(what: str, paid: str = PAID) -> Iterator[None]:
    """Turn what the library raises into one line that says what to do; ``paid`` is what a 402 means here."""
    from huggingface_hub import errors

    try:
        yield
    except FerError:
        raise
    except errors.HfHubHTTPError as error:
        raise RunError(f"{what}: {_advice(error, paid)}") from error
    except errors.LocalTokenNotFoundError as error:
        raise RunError(f"{what}: not logged in to the Hub; {LOGIN}") from error
    except (errors.LocalEntryNotFoundError, errors.IncompleteSnapshotError, errors.HTTPError, ConnectionError) as error:
        raise RunError(f"{what}: the Hub cannot be reached, and the cache does not have it; try again later") from error
    except (errors.HFValidationError, errors.FileMetadataError, ValueError) as error:
        raise RunError(f"{what}: {_line(str(error))}") from error


def _advice(error: Any, paid: str) -> str:
    """Return what went wrong with a request and what to do about it."""
    from huggingface_hub import errors

    status = error.response.status_code
    if status == 402:
        return paid
    if isinstance(error, errors.RevisionNotFoundError):
        return "there is no such revision; name a branch, a tag or a commit"
    if isinstance(error, errors.GatedRepoError):
        return f"its owner gives it to those who ask: accept its terms on its page, then {LOGIN}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"not found on the Hub, or private; check the name, or {LOGIN}"
    if status in (401, 403):
        return f"the Hub does not allow it ({status}); {LOGIN} of an account that may write there"
    if status == 429:
        return "the Hub asks for a pause (429); try again in some minutes"
    return f"the Hub answers {status}: {_line(error.server_message or str(error))}"


def _line(text: str) -> str:
    """Return a text on one line of bearable length."""
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:197]}..."
