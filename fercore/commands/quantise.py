"""``python -m fercore quantise``: a run's network in eight bits, as a run of its own."""

from __future__ import annotations

from pathlib import Path

import click

from .shared import DATA, need_training, progress, tell_run


@click.command()
@click.argument("run", metavar="RUN")
@DATA
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The new run's folder.")
@click.option(
    "--most",
    type=click.FloatRange(min=0),
    default=0.3,
    show_default=True,
    help="Points of accuracy on validation that it may cost.",
)
@click.option("--overwrite", is_flag=True, help="Replace the run if --out exists.")
def quantise(run: str, data: Path | None, out: Path, most: float, overwrite: bool) -> None:
    """Put a network into eight bits: a quarter of the size, and quicker.

    Refused where it costs too much accuracy on validation.

    \b
    python -m fercore quantise distilled --data data --out artifacts/distilled-int8
    """
    need_training()
    from ..config import data_dir
    from ..runs import Run
    from ..training.quantise import in_eight_bits

    made, costs = in_eight_bits(
        Run.load(run), data=data_dir(data), out=out, most=most, overwrite=overwrite, progress=progress("pictures")
    )
    for name, each in costs.items():
        click.echo(
            f"validation, {name}: {each.before:.2f}% -> {each.after:.2f}% of {each.faces:,} faces, "
            f"{each.same:.1f}% get the same label"
        )
    tell_run(made)
