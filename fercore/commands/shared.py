"""What the commands share: options, errors as one line, recipes from options, progress on stderr."""

from __future__ import annotations

import contextlib
import errno
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..cards import interval
from ..errors import FerError

if TYPE_CHECKING:
    from ..datasets.base import Dataset
    from ..runs import Run

DATA = click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Data folder, or the dataset's own. Default: $FER_DATA, else ./data.",
)
PROBLEMS = 20
"""Lines and pictures of a dataset that a training names; it counts the others."""
FLIP = click.option(
    "--flip", is_flag=True, help="Look at each face's mirror image too: a little more accurate, twice the time a face."
)
HEAD = click.option("--head", help="Which label source's answer to give. Default: the run's own choice.")


class Group(click.Group):
    """Prints our own errors, the machine's and wrong options as one line, with exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what it refuses becomes a line on stderr."""
        try:
            return super().invoke(ctx)
        except FerError as error:
            line = str(error)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else ctx.command_path
            line = f"{error.format_message().rstrip('.')}; see {command} --help"
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # whoever reads our output has seen enough; click ends quietly
            line = f"{error.filename or 'disk'}: {error.strerror or error}"
        except ModuleNotFoundError as error:
            if not error.name or error.name.partition(".")[0] == "fercore":
                raise
            line = f"the package {error.name} is not installed; pip install '.[app,train]' brings all that is needed"
        complain(line)
        ctx.exit(2)


def recipe_from(
    model: str | None,
    names: tuple[str, ...],
    like: str | None,
    numbers: dict[str, int | None],
    settings: tuple[str, ...],
) -> Any:
    """Return the recipe that the options of ``train`` ask for."""
    from ..training import models
    from ..training.recipe import Recipe

    if like:
        from ..runs import Run

        run = Run.load(like, verify=False)
        if not isinstance(run.info.get("recipe"), dict):
            raise FerError(f"--like {like}: run {run.name} ({run.kind}) has no recipe; name one that was trained")
        base = run.info["recipe"]
    elif not model or not names:
        raise FerError("--model and --dataset: name a network and at least one dataset, or repeat a run with --like")
    else:
        base = dict(models.get(model).recipe)
    changes = {"model": model, "datasets": list(names) or None, **numbers}
    given = {key: value for key, value in changes.items() if value is not None}
    return Recipe.from_dict({**base, **given, **settings_from(settings)})


def need_training() -> None:
    """Say which packages training needs, where they are not installed."""
    from .. import jobs

    if missing := jobs.missing():
        raise FerError(f"train: {', '.join(missing)} not installed; they come with pip install '.[train]'")


def settings_from(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Read ``key=value`` options, whose values are JSON, or text where they are not."""
    result: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator:
            raise FerError(f"--set {pair!r}: expected KEY=VALUE, such as batch_size=32")
        try:
            result[key] = json.loads(text)
        except ValueError:
            result[key] = text
    return result


def complain(line: str) -> None:
    """Print an error to stderr: one line, whatever it quotes."""
    click.echo(f"error: {' '.join(line.splitlines())}", err=True)


def tell_problems(dataset: Dataset) -> None:
    """Print a line to stderr for each of the first things in a dataset that could not be used, and count the others."""
    for problem in dataset.problems[:PROBLEMS]:
        click.echo(f"{dataset.name}: left out: {' '.join(str(problem).splitlines())}", err=True)
    more = Counter(problem.kind for problem in dataset.problems[PROBLEMS:])
    if more:
        kinds = ", ".join(f"{count} {kind}" for kind, count in more.items())
        click.echo(f"{dataset.name}: ... and {more.total()} more ({kinds}); see 'datasets --problems'", err=True)


def tell_run(run: Run) -> None:
    """Print the main scores of a run that was just written, and where it is."""
    for name, measured in run.info["metrics"].items():
        click.echo(f"{name}: {headline(measured)}")
    click.echo(f"written: {run.path}")


def headline(measured: dict[str, Any]) -> str:
    """Return the main scores of an evaluation in one line."""
    parts = [
        f"{text} {interval(measured[key], missing='no face')}"
        for key, text in (
            ("accuracy", "accuracy"),
            ("balanced_accuracy", "balanced"),
            ("macro_f1", "macro F1"),
            ("release_accuracy", "under the whole release's class shares, estimated,"),
        )
        if key in measured
    ]
    return ", ".join(parts)


def averages(measured: Mapping[str, Any]) -> Iterator[str]:
    """Yield the further scores of an evaluation: averages over the classes, log loss and calibration error."""
    for key, text in (("precision", "precision"), ("recall", "recall"), ("f1", "F1")):
        cells = [f"{kind} {interval(measured[f'{kind}_{key}'], missing='no face')}" for kind in ("macro", "weighted")]
        yield f"{text} {', '.join(cells)}"
    loss = measured["log_loss"]
    yield (
        f"log loss {loss['value']:.3f} ({loss['low']:.3f} to {loss['high']:.3f}), "
        f"calibration error {interval(measured['ece'], missing='no face')}"
    )


def confusion(measured: Mapping[str, Any]) -> Iterator[str]:
    """Yield the confusion matrix of an evaluation, a line a true class and a column a predicted one, in the same order."""
    names, counts = measured["classes"], measured["confusion"]["value"]
    width = max(*(len(str(count)) for row in counts for count in row), min(8, max(map(len, names))))
    margin = max(len("labelled"), *map(len, names))
    yield f"{'labelled':<{margin}}  called {' '.join(name[:width].rjust(width) for name in names)}"
    for name, row in zip(names, counts, strict=True):
        yield f"{name:<{margin}}         {' '.join(str(count).rjust(width) for count in row)}"


def listed(files: Mapping[str, int]) -> None:
    """Print files with their sizes in bytes, and what they come to."""
    for name, size in files.items():
        click.echo(f"{size:>12,}  {name}")
    click.echo(f"{sum(files.values()):>12,}  bytes in {len(files)} files")


def progress(unit: str) -> Callable[[Iterable], Iterable]:
    """Return a wrapper of loops that draws a bar with the time left on stderr."""
    from tqdm import tqdm

    return partial(tqdm, unit=f" {unit}", file=sys.stderr, disable=None, leave=False)


@contextlib.contextmanager
def epochs_bar(total: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a report that draws a bar over all epochs, with the time left, and prints a line an epoch."""
    from tqdm import tqdm

    bar: tqdm | None = None

    def report(row: dict[str, Any]) -> None:
        nonlocal bar
        if "step" in row:
            bar = bar or tqdm(total=total * row["steps"], unit=" batches", file=sys.stderr, disable=None)
            bar.n = (row["epoch"] - 1) * row["steps"] + row["step"]
            bar.set_postfix(epoch=f"{row['epoch']}/{total}", loss=f"{row['loss']:.3f}", refresh=False)
            bar.refresh()
            return
        cells = "  ".join(f"{key} {value:.4g}" for key, value in row.items() if key != "epoch")
        tqdm.write(f"epoch {row['epoch']}/{total}  {cells}", file=sys.stderr)

    try:
        yield report
    finally:
        if bar is not None:
            bar.close()
