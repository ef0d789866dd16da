"""The command line: ``python -m fercore COMMAND --help``.

Bad input prints one line and exits with code 2. Each command imports what it needs, so that ``--help`` answers at once
and prediction never waits for a training framework.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import __version__
from .cards import interval
from .commands.compare import compare
from .commands.ensemble import ensemble
from .commands.gpu import gpu
from .commands.papers import papers
from .commands.push import push
from .commands.quantise import quantise
from .commands.shared import (
    DATA,
    FLIP,
    HEAD,
    Group,
    averages,
    complain,
    confusion,
    epochs_bar,
    headline,
    need_training,
    progress,
    recipe_from,
    tell_problems,
    tell_run,
)
from .commands.space import space
from .commands.tune import tune
from .config import data_dir
from .errors import FerError

if TYPE_CHECKING:
    from . import batch
    from .runs import Run


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fercore")
def main() -> None:
    """Train, evaluate and serve classifiers of facial expressions."""
    os.environ.setdefault(
        "OPENCV_FFMPEG_LOGLEVEL", "-8"
    )  # a damaged video gets our one line, not the decoder's hundred
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")


main.add_command(compare)
main.add_command(ensemble)
main.add_command(gpu)
main.add_command(papers)
main.add_command(push)
main.add_command(quantise)
main.add_command(space)
main.add_command(tune)


@main.command()
@DATA
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--problems", is_flag=True, help="List each line and picture that cannot be used.")
def datasets(data: Path | None, as_json: bool, problems: bool) -> None:
    """List the datasets found, with their faces per split and class."""
    from . import datasets as readers

    root = data_dir(data)
    names = readers.find_datasets(root)
    if not names:
        raise FerError(f"{root}: no dataset found; give --data or set FER_DATA (see 'Data' in the README)")
    result: dict[str, Any] = {}
    lines: list[str] = []
    for name in progress("datasets")(names):
        try:
            dataset = readers.load(name, root, strict=False)
        except FerError as error:
            result[name] = {"error": str(error)}
            continue
        if problems:
            found = readers.damaged(dataset, progress=progress("headers"))
            dataset = dataclasses.replace(dataset, problems=(*dataset.problems, *found))
        result[name] = {"counts": dataset.counts(), "faces": len(dataset), "problems": dataset.problem_counts()}
        if problems:
            result[name]["lines"] = [str(problem) for problem in dataset.problems]
        lines += _listing(name, dataset)
        lines += [f"  {problem}" for problem in dataset.problems if problems]
    click.echo(json.dumps(result) if as_json else "\n".join(lines))
    refused = {name: facts["error"] for name, facts in result.items() if "error" in facts}
    for name, what in refused.items():
        complain(f"{name}: {what}")
    if refused:
        sys.exit(2)


@main.command()
@click.option("--model", "model_name", help="Which network; 'train --models' lists them.")
@click.option("--dataset", "dataset_names", multiple=True, help="Label source; repeat it for a head each.")
@DATA
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder, such as artifacts/my-run.")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the faces.")
@click.option("--limit", type=click.IntRange(min=1), help="Faces a split at most: a rehearsal.")
@click.option("--seed", type=click.IntRange(min=0), help="Decides every random choice. Default: 0.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=JSON", help="Any other field of the recipe, such as batch_size=32."
)
@click.option("--like", help="Repeat a run: its recipe, from its run.json; other options change it.")
@click.option("--resume", is_flag=True, help="Go on from the last whole epoch of an interrupted training.")
@click.option("--overwrite", is_flag=True, help="Replace the run if --out exists.")
@click.option("--models", "list_models", is_flag=True, help="List the networks and exit.")
def train(
    model_name: str | None,
    dataset_names: tuple[str, ...],
    data: Path | None,
    out: Path | None,
    epochs: int | None,
    limit: int | None,
    seed: int | None,
    settings: tuple[str, ...],
    like: str | None,
    resume: bool,
    overwrite: bool,
    list_models: bool,
) -> None:
    """Train a network, calibrate, evaluate and export it, and write the run.

    \b
    python -m fercore train --model report-cnn --dataset expw --data data --out artifacts/my-run
    """
    from .training import models

    if list_models:
        for name, entry in models.MODELS.items():
            click.echo(f"{name:<12} {entry.summary}")
        return
    if out is None:
        raise FerError("--out: missing; name the run's folder, such as artifacts/my-run")
    recipe = recipe_from(model_name, dataset_names, like, {"epochs": epochs, "limit": limit, "seed": seed}, settings)
    need_training()
    from .training.train import train as run_training

    with epochs_bar(recipe.epochs) as report:
        run = run_training(
            recipe,
            data=data_dir(data),
            out=out,
            resume=resume,
            overwrite=overwrite,
            report=report,
            progress=progress("pictures"),
            seen=tell_problems,
        )
    tell_run(run)


@main.command()
@click.argument("run")
@click.option("--dataset", "dataset_name", help="Another dataset than the run's own.")
@DATA
@HEAD
@FLIP
@click.option("--split", default="test", show_default=True, help="train, validation, test or all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with every metric and interval.")
def evaluate(
    run: str, dataset_name: str | None, data: Path | None, head: str | None, flip: bool, split: str, as_json: bool
) -> None:
    """Evaluate a run on its own test split, or on another dataset, with 95% intervals."""
    from . import datasets as readers
    from . import evaluation
    from .inference import Predictor
    from .runs import Run

    loaded = Run.load(run)
    name = dataset_name or next(iter(loaded.info.get("datasets", {})), None)
    if name is None:
        raise FerError(f"run {loaded.name}: names no dataset; give --dataset")
    dataset = readers.load(name, data_dir(data), strict=False)
    if split != "all":
        if split not in dataset.counts():
            raise FerError(f"--split {split!r}: dataset {name!r} has {', '.join(dataset.counts())}, or all")
        dataset = dataset.split(split)
    if split == "test" and (others := _others_than_tested(loaded, name, dataset.locators())):
        click.echo(f"note: {others}", err=True)
    predictor = Predictor.load(loaded, head=head or loaded.head_for(name).name, flip=flip)
    answers = evaluation.answer(predictor, dataset, progress=progress(name))
    measured = {"run": loaded.name, "dataset": name, "split": split, "flip": flip, "unreadable": answers.unreadable}
    measured |= evaluation.score(answers)
    if as_json:
        click.echo(json.dumps(measured))
        return
    how = " with their mirror images" if flip else ""
    click.echo(f"{loaded.name}, head {measured['head']}, {name} {split}: {measured['faces']} faces{how}")
    click.echo(headline(measured))
    if measured["unreadable"]:
        click.echo(f"  not among them: {measured['unreadable']} whose picture cannot be read or shows no face")
    if measured["left_out"]:
        click.echo(f"  not among them: {measured['left_out']} of classes that the head does not know")
    for line in averages(measured):
        click.echo(f"  {line}")
    for label, scores in measured["per_class"].items():
        cells = "  ".join(f"{key} {interval(scores[key], missing='no face')}" for key in ("precision", "recall", "f1"))
        click.echo(f"  {label:<10} {cells}  of {scores['support']}")
    for line in confusion(measured):
        click.echo(f"  {line}")


def _others_than_tested(run: Run, dataset: str, faces: list[str]) -> str:
    """Return in words that these are not the faces a run was tested on when it was made; empty if they are, or nobody knows."""
    if not run.metrics(dataset) or "predictions.parquet" not in run.info["files"]:
        return ""
    table = run.predictions()
    tested = set(table["locator"][table["dataset"] == dataset].astype(str))
    if not (new := [face for face in faces if face not in tested]):
        return ""
    return (
        f"{len(new)} of these {len(faces)} faces are not among those that {run.name} was tested on when it was made, such as "
        f"{new[0]}; the pictures were changed or split anew since, so it may have been trained on some"
    )


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--run", help="A run's folder or name. Default: $FER_RUN, else the one that artifacts/DEFAULT names.")
@HEAD
@FLIP
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a photo.")
@click.option("--detector", help="A YuNet ONNX file to find faces with. Default: $FER_DETECTOR, else BlazeFace.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Write the faces, or a video's timeline, to a .csv, .parquet or .jsonl file. One of photos is continued.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Processes that share the photos; 0 for one a processor core. Default: 1; with ray, 0.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where they run: here, or through Ray Data on a cluster (the extra 'ray').",
)
@click.option(
    "--render", "copy", type=click.Path(path_type=Path), help="A copy of the video, faces marked: .mp4, .webm, ..."
)
@click.option(
    "--fps", type=click.FloatRange(0, min_open=True), help="Frames of a video to look at a second. Default: all."
)
def predict(
    paths: tuple[Path, ...],
    run: str | None,
    head: str | None,
    flip: bool,
    as_json: bool,
    detector: str | None,
    out: Path | None,
    workers: int | None,
    engine: str,
    copy: Path | None,
    fps: float | None,
) -> None:
    """Find and classify the faces of photos and folders of photos, or of one video.

    A file that cannot be read costs one line; the others go on. Exit code 2 if there was one.

    \b
    python -m fercore predict photo.jpg holiday/ --json
    python -m fercore predict holiday/ --workers 0 --out faces.parquet
    python -m fercore predict clip.mp4 --out timeline.csv --render marked.mp4
    """
    from . import batch
    from .images import find_images
    from .video import find_videos, is_video

    setup = batch.Setup(run, head, detector or os.environ.get("FER_DETECTOR"), flip)
    if copy or fps or any(map(is_video, paths)):
        if len(paths) != 1 or not is_video(paths[0]):
            raise FerError("--render, --fps and videos: give exactly one video, and photos in another call")
        if workers is not None or engine != "local":
            raise FerError("--workers and --engine: share out photos; leave them away for a video")
        _predict_video(paths[0], setup, as_json=as_json, out=out, copy=copy, fps=fps)
        return
    files, videos = find_images(paths), find_videos(paths)
    some = f"{videos[0]}{f' and {len(videos) - 1} more' if len(videos) > 1 else ''}" if videos else ""
    if not files:
        advice = f"; a video in a folder is looked at when it is named itself: {some}" if videos else ""
        raise FerError(f"{', '.join(map(str, paths))}: no photo in there{advice}")
    if videos:
        click.echo(f"note: left out, since a video is looked at when it is named itself: {some}", err=True)
    if not _predict_photos(files, setup, as_json=as_json, out=out, workers=workers, engine=engine):
        sys.exit(2)


def _predict_photos(
    files: list[Path],
    setup: batch.Setup,
    *,
    as_json: bool,
    out: Path | None,
    workers: int | None,
    engine: str,
) -> bool:
    """Print the faces of photos, or write them to a file; tell whether every photo could be read."""
    from tqdm import tqdm

    from . import batch, cluster
    from .output import FaceFile
    from .runs import Run

    loaded = Run.load(setup.run)
    head = loaded.head(setup.head)
    setup = dataclasses.replace(setup, run=str(loaded.path), head=head.name)
    photos = [str(file) for file in files]
    file = FaceFile(out, f"{loaded.name}/{head.name}{' flip' if setup.flip else ''}", head.labels) if out else None
    if file:
        photos = [photo for photo in dict.fromkeys(photos) if photo not in file]
    counts = {"photos": 0, "faces": 0, "unreadable": 0}
    with file or contextlib.nullcontext():
        if not photos:
            found: Iterable[batch.Answer] = ()
        elif engine == "ray":
            found = cluster.answers(setup, photos, workers=workers or 0)
        else:
            found = batch.answers(setup, photos, workers=1 if workers is None else workers)
        if file or (sys.stderr.isatty() and len(photos) > 20 and not sys.stdout.isatty()):
            found = progress("photos")(found, total=len(photos))
        try:
            for answer in found:
                counts["photos"] += 1
                counts["faces"] += len(answer.faces)
                counts["unreadable"] += bool(answer.error)
                if file:
                    file.write(answer)
                if answer.error and (file or not as_json):
                    with tqdm.external_write_mode(file=sys.stderr):
                        complain(answer.error)
                elif not file:
                    click.echo(json.dumps(answer.to_dict()) if as_json else "\n".join(_lines(answer)))
        except KeyboardInterrupt:
            if not file:
                raise
            with tqdm.external_write_mode(file=sys.stderr):
                complain(f"stopped after {counts['photos']} of {len(photos)} photos; the same command goes on")
            sys.exit(130)
    if file:
        before = f", {file.skipped} more were in it already" if file.skipped else ""
        told = f"{counts['photos']} photos, {counts['faces']} faces, {counts['unreadable']} unreadable{before}"
        click.echo(f"written: {click.format_filename(out)} ({told})", err=True)
    return not counts["unreadable"]


def _lines(answer: Any) -> Iterator[str]:
    """Yield what ``predict`` prints of a photo: a line, then a line a face."""
    count = len(answer.faces)
    yield f"{click.format_filename(answer.image)}: {count or 'no'} face{'' if count == 1 else 's'}"
    for face in answer.faces:
        left, top, width, height = (round(value) for value in face.box)
        doubt = "  (uncertain)" if face.uncertain else ""
        yield f"  {face.label:<9} {face.confidence:>4.0%}  {width}x{height} at {left},{top}{doubt}"


def _predict_video(
    video: Path,
    setup: batch.Setup,
    *,
    as_json: bool,
    out: Path | None,
    copy: Path | None,
    fps: float | None,
) -> None:
    """Write a video's timeline, and a copy with its faces marked where one is asked for."""
    from .faces import BlazeFace
    from .inference import Predictor
    from .output import check
    from .timeline import check_copy, render, save, timeline

    if out:  # told before an hour's work, not after
        check(out)
    if copy:
        check_copy(video, copy)
    # One look a frame: tiles, which find small faces in large photos, take six times as long.
    finder = setup.detector or BlazeFace(tiles=False)
    predictor = Predictor.load(setup.run, head=setup.head, detector=finder, flip=setup.flip)
    with warnings.catch_warnings(record=True) as told:
        table = timeline(predictor, video, fps=fps, progress=progress("frames"))
    for text in {str(warning.message) for warning in told}:
        click.echo(f"note: {text}", err=True)
    if out:
        save(table, out)
        click.echo(f"written: {out} ({len(table)} rows)", err=True)
    elif as_json:
        click.echo(table.to_json(orient="records", lines=True, double_precision=6, force_ascii=False), nl=False)
    else:
        click.echo(table.to_csv(index=False, float_format="%.6g"), nl=False)
    if copy:
        render(video, table, copy, progress=progress("frames"))
        click.echo(f"written: {copy}", err=True)


def _listing(name: str, dataset: Any) -> Iterator[str]:
    """Yield what ``datasets`` prints of one: a line a split, then a line a kind of problem."""
    yield f"{name}: {len(dataset)} faces in {dataset.root}"
    for split, counts in dataset.counts().items():
        cells = "  ".join(f"{label} {count:>6}" for label, count in counts.items())
        yield f"  {split:<10} {sum(counts.values()):>6}   {cells}"
    for kind, count in dataset.problem_counts().items():
        first = str(next(problem for problem in dataset.problems if problem.kind == kind))
        yield f"  {count} x {kind}; the first: {first[:160]}"
