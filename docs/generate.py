"""What the README shows of the project itself, made by the project: `make docs` writes it, a test fails when it is stale.

The README calls these functions from comments that cog (https://cog.readthedocs.io) runs.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

STATES = {"complete": "complete", "pruned": "stopped early", "failed": "failed"}
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def runs_table() -> str:
    """Return a Markdown table of the shipped runs, a row a run and dataset, with 95% intervals."""
    from fercore.cards import interval
    from fercore.runs import is_shipped, list_runs

    rows = ["| run | network | test split of | accuracy | balanced accuracy | macro F1 | calibration error |"]
    rows.append("| --- | --- | --- | --- | --- | --- | --- |")
    for run in filter(is_shipped, list_runs(ROOT / "artifacts")[0]):
        for dataset, measured in run.info["metrics"].items():
            cells = [interval(measured[key]) for key in ("accuracy", "balanced_accuracy", "macro_f1", "ece")]
            name = f"[`{run.name}`](artifacts/{run.name}/README.md)"
            rows.append(f"| {name} | `{run.info['model']['name']}` | {dataset} | {' | '.join(cells)} |")
    return _block("\n".join(rows))


def command(line: str) -> str:
    """Return a command of ``python -m fercore`` and what it prints, as a console block."""
    from click.testing import CliRunner

    from fercore.cli import main

    result = CliRunner().invoke(main, line.split(), prog_name="python -m fercore", terminal_width=100)
    printed = result.output.replace(str(ROOT) + "/", "").rstrip()
    return _block(f"```console\n$ python -m fercore {line}\n{printed}\n```")


def folder() -> str:
    """Return how a folder of photos is classified into a file, and what the file holds, as a console block."""
    with tempfile.TemporaryDirectory() as place:
        album = Path(place, "album")
        album.mkdir()
        shutil.copy(ROOT / "static" / "portrait.jpg", album)
        with Image.open(album / "portrait.jpg") as portrait:
            portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(album / "mirrored.png")
        Image.new("RGB", (640, 480), "skyblue").save(album / "sky.jpg")
        (album / "letter.jpg").write_text("Dear all,", encoding="utf-8")
        lines = ["predict album --workers 2 --out faces.csv", "predict album --workers 2 --out faces.csv"]
        printed = []
        for line in lines:
            printed += [f"$ python -m fercore {line}", _python(line, place)]
        with open(Path(place, "faces.csv"), encoding="utf-8", newline="") as file:
            rows = [[row[at] for at in (0, 2, 3, 4, 5, 9, 10, 11)] for row in csv.reader(file)]
    return _block("```console\n" + "\n".join(printed) + "\n```") + _block(
        "Some columns of `faces.csv`:\n\n```\n" + _aligned(rows) + "\n```"
    )


def video() -> str:
    """Return how a video becomes a timeline, and the first rows of it, as a console block."""
    line = "predict clip.mp4 --out timeline.csv --render marked.mp4"
    with tempfile.TemporaryDirectory() as place:
        with Image.open(ROOT / "static" / "portrait.jpg") as portrait:
            frame = np.ascontiguousarray(np.asarray(portrait.convert("RGB"))[:, :, ::-1])
        size = (frame.shape[1], frame.shape[0])
        writer = cv2.VideoWriter(str(Path(place, "clip.mp4")), cv2.VideoWriter.fourcc(*"mp4v"), 10, size)
        for _ in range(20):
            writer.write(frame)
        writer.release()
        done = _python(line, place)
        with open(Path(place, "timeline.csv"), encoding="utf-8", newline="") as file:
            rows = [[row[at] for at in (0, 1, 7, 8)] for row in csv.reader(file)]
    some = [rows[0], *([*row[:3], f"{float(row[3]):.2f}"] for row in rows[4:8])]
    return _block(f"```console\n$ python -m fercore {line}\n{done}\n```") + _block(
        "Some of `timeline.csv`, where an expression stands once it has lasted for half a second:\n\n```\n"
        + _aligned(some)
        + "\n```"
    )


def study() -> str:
    """Return what the searches of shipped runs found: the best trial, and which parameters mattered; nothing without one."""
    from fercore.commands.tune import describe
    from fercore.runs import is_shipped, list_runs

    blocks = []
    for run in filter(is_shipped, list_runs(ROOT / "artifacts")[0]):
        if (found := run.study()) is None:
            continue
        counts = ", ".join(f"{len(found.of(state))} {word}" for state, word in STATES.items() if found.of(state))
        weights = sorted(found.importance.items(), key=lambda item: -item[1])[:3]
        mattered = ", ".join(f"`{name}` ({share:.0%})" for name, share in weights)
        blocks.append(
            f"[`{run.name}`](artifacts/{run.name}/README.md) came out of {len(found.trials)} trials of "
            f"{found.recipe['epochs']} epochs on {found.recipe['limit'] or 'all'} faces ({counts}). Best was trial "
            f"{found.best.number}, {found.best.value:.1%} on validation: {describe(found.best)}."
            + (f" What mattered most: {mattered}." if weights else "")
        )
    return _block("\n\n".join(textwrap.fill(block, 120, break_long_words=False) for block in blocks)) if blocks else ""


def goals() -> str:
    """Return how far the default run is on its own test splits from what the project is after, as a Markdown table."""
    from fercore.cards import interval
    from fercore.runs import Run, find

    run, first = Run.load(find()), Run.load(ROOT / "artifacts" / "expw-report-cnn")
    expw, report = (each.metrics("expw")["balanced_accuracy"]["value"] for each in (run, first))
    fer2013 = run.metrics("fer2013")
    rows = [
        (f"| `{run.name}` |", "measured", "wanted"),
        ("| FER2013 PrivateTest, accuracy |", interval(fer2013["accuracy"]), "71%"),
        ("| FER+ test, majority of the votes, accuracy |", interval(run.metrics("ferplus")["accuracy"]), "85%"),
        (f"| ExpW subset, balanced accuracy over that of `{first.name}` |", f"{expw / report:.2f} times", "1.65 times"),
        ("| FER2013 PrivateTest, calibration error |", interval(fer2013["ece"]), "3.0%"),
    ]
    lines = [f"{name} {measured} | {wanted} |" for name, measured, wanted in rows]
    return _block("\n".join([lines[0], "| --- | --- | --- |", *lines[1:]]))


def papers() -> str:
    """Return what the papers claim on CK+ beside what was measured under both ways to split; nothing without a measurement."""
    from fercore import papers
    from fercore.cards import interval

    measured = papers.load(ROOT / "artifacts" / papers.FILE)
    if measured is None:
        return ""
    claims = {claim.model: f"{claim.ckplus:.2%}" for claim in papers.CLAIMS}
    rows = [
        f"| network | the paper | {' | '.join(papers.PROTOCOLS.values())} | epochs |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, result in measured["results"].items():
        cells = [interval(result[protocol]["accuracy"]) for protocol in papers.PROTOCOLS]
        rows.append(f"| `{name}` | {claims.get(name, 'none')} | {' | '.join(cells)} | {result['epochs']} |")
    told = (
        f"{measured['folds']}-fold cross-validation over {measured['faces']} frames of {measured['subjects']} people; in "
        "brackets 95% intervals, by bootstrap over people."
    )
    return _block("\n".join(rows)) + f"{told}\n\n"


def source(path: str) -> str:
    """Return a Python file of the project as a code block."""
    return _block(f"```python\n{(ROOT / path).read_text(encoding='utf-8').rstrip()}\n```")


def commands_table() -> str:
    """Return a Markdown table of the commands with the first line of their help."""
    from fercore.cli import main

    rows = ["| command | does |", "| --- | --- |"]
    rows += [f"| `{name}` | {command.get_short_help_str(120)} |" for name, command in sorted(main.commands.items())]
    return _block("\n".join(rows))


def models_table() -> str:
    """Return a Markdown table of the networks that ``train --model`` knows."""
    from fercore.training.models import MODELS

    rows = ["| `--model` | is |", "| --- | --- |"]
    rows += [f"| `{name}` | {model.summary} |" for name, model in MODELS.items()]
    return _block("\n".join(rows))


def _python(line: str, place: str) -> str:
    """Run a command of ``python -m fercore`` in a folder and return what it prints, without progress bars."""
    done = subprocess.run(
        [sys.executable, "-m", "fercore", *line.split()],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    return "\n".join(part.split("\r")[-1].rstrip() for part in (done.stdout + done.stderr).strip().splitlines())


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _block(text: str) -> str:
    return f"\n{text}\n\n"
