"""The static Space: a site that needs no server of ours. Networks run in the visitor's browser, results are drawn there.

The pages hold the same JavaScript as the app's Live page, the figures of ``charts``, and the app's colours. All addresses are
relative, so that it works below any path and inside a frame.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from .. import config, faces
from ..browser import assets
from ..runs import Run
from . import bundle, results, theme

SITE = Path(__file__).parent / "site"
PAGES = {"index.html": "Classify", "live.html": "Live", "results.html": "Results"}
SCRIPTS = ("site", "look", "photo", "camera", "charts")
TITLE = "Facial-expression studio"
DESCRIPTION = (
    "Networks that read facial expressions, in your own browser: try them, and see how good they are and where they err"
)
THEME = (
    '<script>{const theme = new URLSearchParams(location.search).get("__theme");'
    ' if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;}</script>'
)
"""The Hub tells the pages of a Space its own theme so."""

_IMPORT = re.compile(r'(from "\./[\w-]+)\.mjs"')


def build(target: Path, repo: str, runs: Sequence[Run], root: Path) -> None:
    """Write the site.

    Args:
        target: its folder.
        repo: ``user/name`` on the Hub.
        runs: those that visitors can choose, the default one first.
        root: the project's own folder.
    """
    pinned = json.loads((assets.HERE / "onnxruntime-web.json").read_text(encoding="utf-8"))
    for name in (pinned["code"]["file"], pinned["wasm"]["file"]):
        if (own := root / "static" / "ort" / name).is_file():
            bundle.copy(own, target / "ort" / name)
    bundle.copy(root / "static" / bundle.SHOWN, target / bundle.SHOWN)
    _write(target / "js" / "fercore.js", assets.script())
    _write(target / "js" / "vega.js", library())
    for name in SCRIPTS:
        _write(target / "js" / f"{name}.js", _IMPORT.sub(r'\1.js"', (SITE / f"{name}.mjs").read_text(encoding="utf-8")))
    _write(target / "theme.css", theme.variables(root / ".streamlit" / "config.toml"))
    _write(target / "live.css", assets.style())
    bundle.copy(SITE / "site.css", target / "site.css")
    bundle.copy(SITE / "NOTICES.txt", target / "NOTICES.txt")
    bundle.copy(config.artifacts_dir() / "detector" / "LICENSE", target / "models" / "LICENSE-detector.txt")
    _write(target / "README.md", readme(repo))

    data = settings(runs, target)
    photo = (SITE / "photo.html").read_text(encoding="utf-8")
    camera = Template((SITE / "live.html").read_text(encoding="utf-8")).substitute(component=assets.markup())
    _write(target / "index.html", frame("index.html", "Classify", photo, _module("photo"), data))
    _write(target / "live.html", frame("live.html", "Live", camera, _module("camera"), data))
    drawn = '<script defer src="js/vega.js"></script>\n' + _module("charts")
    _write(target / "results.html", frame("results.html", "Results", results.overview(runs), drawn))
    for run in runs:
        _write(target / results.page_name(run), frame("results.html", run.name, results.page(run), drawn))


def settings(runs: Sequence[Run], target: Path) -> dict[str, Any]:
    """Return what the pages' JavaScript needs to know of each run and head, and put the networks into the site."""
    known = []
    for run in runs:
        refusal = assets.refusal(run)
        heads = {} if refusal else {head: assets.settings(run, head, target) for head in run.heads}
        known.append({"name": run.name, "refusal": refusal, "head": run.default_head, "heads": heads or None})
    for file in (target / "models").glob("*.onnx"):  # a link to the run's own file would change with it
        bundle.copy(file, copied := file.with_suffix(".copy"))
        copied.replace(file)
    turning = {"sure": faces.SURE, "surer": faces.SURER, "side": faces.TURN_SIDE}
    found = {"runs": known, "runtime": assets.runtime(target), "sample": assets.sample(target), "turning": turning}
    return _relative(found)


def frame(page: str, title: str, main: str, scripts: str, data: dict[str, Any] | None = None) -> str:
    """Return a whole page around its main part.

    Args:
        page: the file whose link in the navigation is marked.
        title: in the browser's tab.
        main: HTML.
        scripts: HTML of the scripts it needs.
        data: JSON for them.
    """
    links = [
        f'    <a href="{file}"{" aria-current=" + chr(34) + "page" + chr(34) if file == page else ""}>{name}</a>'
        for file, name in PAGES.items()
    ]
    if data is not None:
        text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
        main += f'\n<script type="application/json" id="settings">{text}</script>'
    return Template((SITE / "frame.html").read_text(encoding="utf-8")).substitute(
        title=escape(f"{title} · {TITLE}"),
        description=escape(f"{DESCRIPTION}."),
        head=f"{THEME}\n{scripts}",
        nav="\n".join(links),
        main=main,
    )


@functools.cache
def library() -> str:
    """Return the chart library's JavaScript: Vega, Vega-Lite and Vega-Embed in one, of the version that Altair writes for."""
    import altair
    import vl_convert

    version = ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    return vl_convert.javascript_bundle(vl_version=version)


def readme(repo: str) -> str:
    """Return the Space's README, whose head the Hub reads."""
    return f"""\
---
title: {TITLE}
emoji: 🙂
colorFrom: indigo
colorTo: purple
sdk: static
app_file: index.html
pinned: false
license: other
short_description: Facial expressions, classified in your own browser
---

# {TITLE}

{DESCRIPTION}. No picture leaves the visitor's device: this is a static site, and the networks run in the browser.

Built by `python -m fercore space {repo}`. The weights were trained on data released for research and carry those terms.
"""


def _module(name: str) -> str:
    return f'<script type="module" src="js/{name}.js"></script>'


def _relative(value: Any) -> Any:
    """Make addresses below Streamlit's static folder relative to the site."""
    if isinstance(value, dict):
        return {key: _relative(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_relative(item) for item in value]
    return value.removeprefix(f"{assets.SERVED}/") if isinstance(value, str) else value


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
