"""``python -m fercore tune``: search a recipe, train the best one fully, write its run with the search in it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..config import artifacts_dir, data_dir
from .shared import DATA, epochs_bar, need_training, progress, recipe_from, settings_from, tell_problems, tell_run

if TYPE_CHECKING:
    from ..study import Study, Trial


@click.command()
@click.option("--model", "model_name", required=True, help="Which network; 'train --models' lists them.")
@click.option(
    "--dataset", "dataset_names", multiple=True, required=True, help="Label source; repeat it for a head each."
)
@click.option("--trials", type=click.IntRange(1, 10_000), required=True, help="Short trainings to try, in all.")
@DATA
@click.option(
    "--out", type=click.Path(path_type=Path), help="The run's folder. Default: artifacts/DATASET-MODEL-tuned."
)
@click.option("--trial-epochs", type=click.IntRange(min=1), default=5, show_default=True, help="Passes of a trial.")
@click.option(
    "--trial-limit",
    type=click.IntRange(min=0),
    default=6000,
    show_default=True,
    help="Faces a split of a trial; 0: all.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Passes of the training at the end.")
@click.option("--limit", type=click.IntRange(min=1), help="Faces a split of the training at the end: a rehearsal.")
@click.option("--seed", type=click.IntRange(min=0), help="Decides every random choice. Default: 0.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=JSON", help="A field of the recipe, which is then not searched."
)
@click.option("--resume", is_flag=True, help="Go on with an interrupted search, or with the training at its end.")
@click.option("--overwrite", is_flag=True, help="Replace the run if --out exists.")
def tune(
    model_name: str,
    dataset_names: tuple[str, ...],
    trials: int,
    data: Path | None,
    out: Path | None,
    trial_epochs: int,
    trial_limit: int,
    epochs: int | None,
    limit: int | None,
    seed: int | None,
    settings: tuple[str, ...],
    resume: bool,
    overwrite: bool,
) -> None:
    """Search a network's recipe with many short trainings, then train the best one.

    Trials are judged on the validation split alone; what each network may change stands in fercore/training/space.py.

    \b
    python -m fercore tune --model report-cnn --dataset fer2013 --trials 24 --data data
    """
    final = recipe_from(model_name, dataset_names, None, {"epochs": epochs, "limit": limit, "seed": seed}, settings)
    need_training()
    from ..training.space import space_for
    from ..training.tune import tune as run_search

    fixed = settings_from(settings)
    shortest = min(filter(None, (trial_limit, final.limit)), default=0)
    short = {"epochs": trial_epochs, "limit": shortest, "patience": 0}
    space = space_for(final, fixed)
    target = out or artifacts_dir() / f"{'-'.join(dataset_names)}-{model_name}-tuned"
    click.echo(f"searching {', '.join(space)}", err=True)
    with _trials(trials) as told, epochs_bar(final.epochs) as report:
        run = run_search(
            final.replace(**short),
            final,
            space,
            trials=trials,
            data=data_dir(data),
            out=target,
            resume=resume,
            overwrite=overwrite,
            told=told,
            final_report=report,
            progress=progress("pictures"),
            seen=tell_problems,
        )
    study = run.study()
    click.echo(
        f"{len(study.trials)} trials: {len(study.of('complete'))} complete, {len(study.of('pruned'))} stopped early, "
        f"{len(study.of('failed'))} failed; best is trial {study.best.number} with {describe(study.best)}"
    )
    for name, share in sorted(study.importance.items(), key=lambda item: -item[1]):
        click.echo(f"  importance of {name:<18} {share:>4.0%}")
    tell_run(run)


def describe(trial: Trial) -> str:
    """Return a trial's parameters in one line."""
    return ", ".join(f"{name} {_short(value)}" for name, value in trial.params.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@contextlib.contextmanager
def _trials(total: int) -> Iterator[Callable[[Study], None]]:
    """Yield what draws a bar over the trials, with the time left, and prints a line a trial."""
    from tqdm import tqdm

    bar: tqdm | None = None

    def told(study: Study) -> None:
        nonlocal bar
        trial = study.trials[-1]
        if bar is None:  # trials of an interrupted search count as done, and not for the speed
            bar = tqdm(total=total, initial=trial.number, unit=" trials", file=sys.stderr, disable=None)
        bar.update(1)
        left = sum(each.seconds for each in study.trials) / len(study.trials) * (total - len(study.trials))
        best = f"best so far {study.best.value:.1%} (trial {study.best.number})" if study.best else "none complete yet"
        reached = f"{max(trial.epochs):.1%}" if trial.epochs else "-"
        tqdm.write(
            f"trial {trial.number + 1}/{total}  {trial.state} {reached} in {trial.seconds:.0f} s; {best}; "
            f"about {left / 60:.0f} min left  [{describe(trial)}]",
            file=sys.stderr,
        )
        if len(study.trials) >= total:
            bar.close()

    try:
        yield told
    finally:
        if bar is not None:
            bar.close()
