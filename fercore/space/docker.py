"""The Docker Space: the whole app, on the Hub's machines. Creating one needs a paying account; a static one does not."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path

from .. import config
from ..browser import assets
from ..errors import FerError
from ..runs import Run
from . import bundle

PORT = 8501
NAMES = ("app.py", "LICENSE", "requirements-serve.txt", "package.json", "package-lock.json", "static/README.md")
SOURCES = (".py", ".css", ".html", ".mjs", ".js", ".json", ".txt")
"""What is taken of ``fercore/`` and ``pages/``, by suffix."""
FRAMED = """\
# The Hub shows a Space in a frame of another site. The token against forged uploads travels in a cookie, which browsers keep
# from framed pages, so that with this protection on every upload is refused (403). Without it another site could make a
# visitor's browser send a file to this server, but only into a session whose random name it does not know; there is no
# account, no login and no stored data that such a file could reach, and it is gone with the session. Where the app is not
# framed, take this line out.
enableXsrfProtection = false
"""
DOCKERFILE = """\
# The app as the Hub builds and runs it: docker build -t expressions . && docker run -p {port}:{port} expressions

# What the Live page runs networks with: npm compares the package with the lock file.
FROM node:22-slim AS browser
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
RUN mkdir ort && cp {files} ort/

FROM python:3.12-slim
# Not root, and with the number that the Hub runs containers as.
RUN useradd --create-home --uid 1000 user
USER user
ENV PATH=/home/user/.local/bin:$PATH PYTHONUNBUFFERED=1
# No visitor starts a training here, whatever is installed one day.
ENV FER_TRAINING=0
WORKDIR /home/user/app
# No training framework among these: the app on the Hub shows and classifies, it does not train.
COPY --chown=user requirements-serve.txt ./
RUN pip install --user --no-cache-dir -r requirements-serve.txt
COPY --chown=user . .
COPY --chown=user --from=browser /build/ort/ static/ort/
EXPOSE {port}
CMD {command}
"""


def build(target: Path, repo: str, runs: Sequence[Run], root: Path) -> None:
    """Write the Space's folder.

    Args:
        target: the folder.
        repo: ``user/name`` on the Hub.
        runs: those that the app shows, the default one first.
        root: the project's own folder.
    """
    for name in (*NAMES, f"static/{bundle.SHOWN}"):
        bundle.copy(root / name, target / name)
    for folder in ("fercore", "pages"):
        for path in sorted((root / folder).rglob("*")):
            inside = path.relative_to(root)
            hidden = any(part[0] in "._" and part != "__init__.py" and part != "__main__.py" for part in inside.parts)
            if (
                path.is_file()
                and path.suffix in SOURCES
                and not hidden
                and inside.parts[:2] != ("fercore", "artifacts")
            ):
                bundle.copy(path, target / inside)
    artifacts = config.artifacts_dir()
    for path in sorted((artifacts / "detector").iterdir()):
        bundle.copy(path, target / "artifacts" / "detector" / path.name)
    for path in sorted(artifacts.glob("*.json")):  # results that belong to no single run
        bundle.copy(path, target / "artifacts" / path.name)
    for run in runs:
        bundle.copy_run(run, target / "artifacts" / run.name)
    _write(target / "artifacts" / "DEFAULT", f"{runs[0].name}\n")
    _write(target / "artifacts" / "SHIPPED", "".join(f"{run.name}\n" for run in runs))
    _write(
        target / ".streamlit" / "config.toml",
        streamlit_config((root / ".streamlit" / "config.toml").read_text(encoding="utf-8")),
    )
    _write(target / "Dockerfile", dockerfile())
    _write(target / ".dockerignore", "README.md\nDockerfile\n.git\n")
    _write(target / "README.md", readme(repo))


def command() -> list[str]:
    """Return what the container runs."""
    options = [
        f"--server.port={PORT}",
        "--server.address=0.0.0.0",
        "--server.headless=true",
        "--server.fileWatcherType=none",
    ]
    return ["python", "-m", "streamlit", "run", "app.py", *options]


def dockerfile() -> str:
    """Return the Dockerfile."""
    pinned = json.loads((assets.HERE / "onnxruntime-web.json").read_text(encoding="utf-8"))
    files = " ".join(f"node_modules/{pinned['package']}/dist/{pinned[key]['file']}" for key in ("code", "wasm"))
    return DOCKERFILE.format(port=PORT, files=files, command=json.dumps(command()))


def streamlit_config(text: str) -> str:
    """Return the app's settings with those that a frame of another site needs.

    Raises:
        FerError: the settings have no ``[server]`` part, or set the protection themselves.
    """
    changed = text.replace("[server]\n", f"[server]\n{FRAMED}", 1)
    try:
        framed = tomllib.loads(changed)["server"]["enableXsrfProtection"] is False
    except (tomllib.TOMLDecodeError, KeyError):
        framed = False
    if not framed:
        raise FerError(".streamlit/config.toml: needs a [server] part that does not set enableXsrfProtection")
    return changed


def readme(repo: str) -> str:
    """Return the Space's README, whose head the Hub reads."""
    return f"""\
---
title: Facial-expression studio
emoji: 🙂
colorFrom: indigo
colorTo: purple
sdk: docker
app_port: {PORT}
pinned: false
license: other
short_description: Facial expressions, classified and explained
---

# Facial-expression studio

Networks that read facial expressions: what they learned from, how good they are, where they fail, and how they do on your own
photos. Photos stay in the server's memory while the page is open and are never written to its disk; the Live page reads the
camera in the visitor's own browser.

Built by `python -m fercore space {repo} --kind docker`. The weights were trained on data released for research and carry those
terms.
"""


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
