"""``python -m fercore ensemble``: several runs that answer together."""

from __future__ import annotations

from pathlib import Path

import click

from .shared import DATA, need_training, progress, tell_run


@click.command()
@click.argument("members", metavar="RUN RUN...", nargs=-1, required=True)
@DATA
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The ensemble's folder, beside its members."
)
@click.option("--overwrite", is_flag=True, help="Replace the run if --out exists.")
def ensemble(members: tuple[str, ...], data: Path | None, out: Path, overwrite: bool) -> None:
    """Average what runs say: calibrate that on validation, evaluate it, and write a run that names them.

    \b
    python -m fercore ensemble transfer attention --data data --out artifacts/ensemble
    """
    need_training()
    from ..config import data_dir
    from ..training.ensemble import combine

    run = combine(members, data=data_dir(data), out=out, overwrite=overwrite, progress=progress("pictures"))
    tell_run(run)
