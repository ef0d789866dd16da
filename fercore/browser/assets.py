"""What the Live page sends to a browser: its text, a run's constants as JSON, and where the networks' files are.

The JavaScript is several modules that become one (``script``), because a Streamlit component has one. ONNX files lie in
``artifacts/``, which no browser can reach, so ``publish`` puts them under ``static/models/``: named by their hash, so that two
visitors, two runs or a run that is trained again never meet each other's file.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .. import config
from ..errors import FerError
from ..faces import Settings
from ..labels import colours
from ..runs import Run

HERE = Path(__file__).parent
MODULES = (
    *("personal.mjs", "lesson.mjs", "engine.mjs", "track.mjs", "runtime.mjs", "record.mjs", "draw.mjs"),
    *("camera.mjs", "panel.mjs", "teach.mjs", "live.mjs"),
)
"""In the order in which they import each other; the last one's default export is the component."""

CDN = "https://cdn.jsdelivr.net/npm/{package}@{version}/dist/{file}"
SAMPLE = "portrait.jpg"
"""The picture in ``static/`` that Live shows to those who have no camera, or none yet."""
SERVED = "app/static"
"""Where Streamlit serves ``static/``, relative to the app's own address."""
ANSWER = "fercore-live-answer"
"""The event of the page's window that carries an answer of server mode."""
FORGOTTEN = 24 * 3600
"""Seconds after which a published file that belongs to no run any more is removed."""

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./[\w-]+\.mjs";\n', re.MULTILINE)


def script() -> str:
    """Return the component's JavaScript: our modules in one, without the imports between them."""
    return "\n".join(_IMPORT.sub("", (HERE / name).read_text(encoding="utf-8")) for name in MODULES)


def markup() -> str:
    """Return the component's HTML."""
    return (HERE / "live.html").read_text(encoding="utf-8")


def style() -> str:
    """Return the component's CSS."""
    return (HERE / "live.css").read_text(encoding="utf-8")


def refusal(run: Run) -> str:
    """Return why a browser cannot serve a run, as the end of a sentence; empty where it can."""
    try:
        networks = run.networks(verify=False)
    except FerError:
        return "one of the runs it is made of is missing"
    for network in networks:
        if not network.info.get("browser", True) or network.input.features:
            return "its handcrafted features are computed in Python"
    return ""


def settings(run: Run, head: str, static: Path) -> dict[str, Any]:
    """Return what ``engine.mjs`` needs to know of a run, and publish its files.

    Args:
        run: a run that a browser can serve (see ``refusal``).
        head: whose labels.
        static: the folder that is served at ``app/static``; where it cannot be written, no file has an address.

    Raises:
        FerError: the detector's description is missing or damaged, or the run has no such head.
    """
    chosen = run.head(head)
    detector, description = _detector()
    networks = run.networks(verify=False)
    hashes = {detector / description["file"]: description["sha256"]}
    hashes |= {network.file("model.onnx"): network.network_hash for network in networks}
    files = publish(hashes, static)
    return {
        "name": run.name,
        "head": chosen.name,
        "labels": list(chosen.labels),
        "colours": list(colours(chosen.labels).values()),
        "temperature": chosen.temperature,
        "threshold": chosen.threshold,
        "detector": {"settings": description["settings"], "file": files[detector / description["file"]]},
        "networks": [
            {
                "file": files[network.file("model.onnx")],
                "input": {"size": network.input.size, "mean": network.input.mean, "std": network.input.std},
                "framing": network.framings["detector"].to_dict(),
                "temperature": network.head(head).temperature,
                "share": share,
            }
            for network, share in zip(networks, run.shares, strict=True)
        ],
    }


def runtime(static: Path) -> dict[str, Any]:
    """Return where ONNX Runtime's two files may be had: our own copies if ``make browser`` was run, then the CDN."""
    pinned = json.loads((HERE / "onnxruntime-web.json").read_text(encoding="utf-8"))
    found = {}
    for key in ("code", "wasm"):
        file = pinned[key]["file"]
        own = [f"{SERVED}/ort/{file}"] if (static / "ort" / file).is_file() else []
        found[key] = {
            "urls": [*own, CDN.format(package=pinned["package"], version=pinned["version"], file=file)],
            "integrity": pinned[key]["integrity"],
            "bytes": pinned[key]["bytes"],
        }
    return found


def sample(static: Path) -> str | None:
    """Return the address of the sample portrait; None where it is missing."""
    return f"{SERVED}/{SAMPLE}" if (static / SAMPLE).is_file() else None


def publish(hashes: Mapping[Path, str], static: Path) -> dict[Path, dict[str, Any]]:
    """Make ONNX files reachable for browsers.

    A file is linked where the disk allows it and copied otherwise, in one step, so that visitors who come at once do not
    disturb each other. A file that is there already is left alone.

    Args:
        hashes: the files with their sha256 in hexadecimal.
        static: the folder that is served at ``app/static``.

    Returns:
        For each file its addresses (none where ``static`` cannot be written), ``sha256-...`` in base64, and its size in bytes.
    """
    folder = static / "models"
    result = {}
    for file, digest in hashes.items():
        target = folder / f"{digest[:32]}.onnx"
        served = _place(file, target)
        result[file] = {
            "urls": [f"{SERVED}/models/{target.name}"] if served else [],
            "integrity": "sha256-" + base64.b64encode(bytes.fromhex(digest)).decode(),
            "bytes": file.stat().st_size,
        }
    return result


def sweep(static: Path, wanted: Iterable[str]) -> None:
    """Remove published files whose sha256 is not among ``wanted`` and that have been there for a day."""
    names = {f"{digest[:32]}.onnx" for digest in wanted}
    for path in (static / "models").glob("*"):
        try:
            if path.name not in names and time.time() - path.stat().st_ctime > FORGOTTEN:
                path.unlink()
        except OSError:
            continue  # somebody else was quicker, or still reads it


def _place(file: Path, target: Path) -> bool:
    if target.is_file() and target.stat().st_size == file.stat().st_size:
        return True
    staging = target.with_name(f".{uuid.uuid4().hex}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, staging)
        except OSError:
            shutil.copyfile(file, staging)
        staging.replace(target)
    except OSError:
        return target.is_file()
    finally:
        with contextlib.suppress(OSError):
            staging.unlink(missing_ok=True)
    return True


def _detector() -> tuple[Path, dict[str, Any]]:
    """Return the folder of the detector that browsers use, and its description: always a BlazeFace, as a folder holds it."""
    given = os.environ.get("FER_DETECTOR")
    folder = Path(given) if given and Path(given).is_dir() else config.artifacts_dir() / "detector"
    try:
        description = json.loads((folder / "detector.json").read_text(encoding="utf-8"))
        Settings.from_dict(description["settings"])
        bytes.fromhex(description["sha256"])
        (folder / description["file"]).stat()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FerError(
            f"{folder}: not a face detector's folder ({type(error).__name__}); restore it with git"
        ) from error
    return folder, description
