"""``python -m fercore papers``: the papers' claims on CK+, measured over random frames and over people never seen."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import ConfigError
from .shared import DATA, progress


@click.command()
@click.option(
    "--model", "names", multiple=True, help="A network; repeat it. Default: those of the papers, and the report's."
)
@DATA
@click.option("--out", type=click.Path(path_type=Path), help="The result's file. Default: papers.json beside the runs.")
@click.option("--folds", type=click.IntRange(min=2), default=10, show_default=True, help="Parts to test in turn.")
@click.option("--epochs", type=click.IntRange(min=1), default=20, show_default=True, help="Of each training.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Decides every random choice.")
def papers(names: tuple[str, ...], data: Path | None, out: Path | None, folds: int, epochs: int, seed: int) -> None:
    """Measure the papers' networks on CK+48, over random frames and over people never seen.

    Finished folds are kept beside the result: the same command goes on after an interruption. Results of other networks in the
    file stay.

    \b
    python -m fercore papers --data data
    """
    from .. import config, datasets
    from .. import papers as results
    from ..datasets.base import require_usable
    from ..training import crossval, models

    chosen = list(names) or [*(claim.model for claim in results.CLAIMS), "report-cnn"]
    for name in chosen:
        models.get(name)
    dataset = require_usable(datasets.load("ckplus", config.data_dir(data)))
    if dataset.table["group"].nunique() < folds:
        raise ConfigError(
            f"folds: {folds} are more than the {dataset.table['group'].nunique()} subjects of {dataset.root}"
        )
    target = out or config.artifacts_dir() / results.FILE
    earlier = results.load(target)
    planned = {"dataset": dataset.name, "digest": dataset.digest(), "folds": folds, "seed": seed}
    results.joined({**planned, "results": dict.fromkeys(chosen)}, earlier)  # refused before hours of work, not after
    measured = crossval.cross_validate(
        dataset,
        chosen,
        work=target.parent / f".{target.stem}.folds",
        count=folds,
        epochs=epochs,
        seed=seed,
        report=lambda line: click.echo(line, err=True),
        progress=progress("faces"),
    )
    results.write(results.joined(measured, earlier), target)
    for name, protocols in measured["results"].items():
        shares = ", ".join(
            f"{words} {protocols[protocol]['accuracy']['value']:.1%}" for protocol, words in results.PROTOCOLS.items()
        )
        click.echo(f"{name}: {shares}")
    click.echo(f"written: {target}")
