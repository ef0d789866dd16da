"""``python -m fercore gpu``: teachers and a student trained on a GPU somewhere else, in three commands.

    python -m fercore gpu pack pack.npz --data data             # where the datasets are
    KERAS_BACKEND=torch python -m fercore gpu train pack.npz --out trained    # where the GPU is
    python -m fercore gpu finish pack.npz trained --data data --out runs      # back again

The machine with the GPU needs this checkout, the pack, NumPy, OpenCV, click, tqdm, Keras 3 and PyTorch or JAX. An interrupted
training goes on when the same command is given again.
"""

from __future__ import annotations

from pathlib import Path

import click

from .shared import DATA, Group, headline, need_training, progress, settings_from

PATH = click.Path(path_type=Path)


@click.group(cls=Group)
def gpu() -> None:
    """Train on a GPU elsewhere: pack the faces here, train there, make runs here."""


@gpu.command()
@click.argument("file", metavar="PACK", type=PATH)
@DATA
@click.option("--quality", type=click.IntRange(1, 101), default=92, show_default=True, help="Of WebP; 101: no loss.")
@click.option("--limit", type=click.IntRange(min=0), default=0, help="Faces of each split and dataset, to rehearse.")
@click.option("--overwrite", is_flag=True, help="Replace PACK if it is there.")
def pack(file: Path, data: Path | None, quality: int, limit: int, overwrite: bool) -> None:
    """Write the training's faces into one file. It holds faces: keep it as you keep the datasets."""
    from ..config import data_dir
    from ..errors import ConfigError
    from ..training import pack as packing
    from ..training.prepare import prepare_all
    from ..training.shipped import GPU

    if file.suffix != ".npz":
        raise ConfigError(f"{file}: name a pack *.npz")
    if file.exists() and not overwrite:
        raise ConfigError(f"{file}: is there already; choose another name, or --overwrite")
    recipe = GPU[0].recipe().replace(limit=limit)
    parts = prepare_all(recipe, data_dir(data), progress=progress("pictures"))
    packing.write(file, recipe, parts, quality=quality)
    faces = sum(len(part.dataset) for part in parts)
    click.echo(f"written: {file}, {file.stat().st_size / 2**20:.1f} MiB, for {faces:,} labels of {len(parts)} datasets")


@gpu.command()
@click.argument("file", metavar="PACK", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--out", type=PATH, required=True, help="Folder for what is trained, and for checkpoints.")
@click.option("--epochs", type=click.IntRange(min=1), help="Of each network, in place of its recipe's.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other value of every recipe.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that change faces. Default: by the cores.")
@click.option("--only", multiple=True, metavar="NAME", help="Train this one. Several processes may train one each.")
def train(
    file: Path, out: Path, epochs: int | None, settings: tuple[str, ...], workers: int | None, only: tuple[str, ...]
) -> None:
    """Train teachers and students, one after the other. Choose the backend with KERAS_BACKEND."""
    from ..training.remote import train_all

    changes = {**settings_from(settings), **({"epochs": epochs} if epochs else {})}
    train_all(file, out, only=only, changes=changes, workers=workers, tell=click.echo, progress=progress("batches"))
    click.echo(f"trained: {out}; bring the folder back for gpu finish")


@gpu.command()
@click.argument("file", metavar="PACK", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("folder", metavar="TRAINED", type=click.Path(path_type=Path, exists=True, file_okay=False))
@DATA
@click.option("--out", type=PATH, help="The folder of runs. Default: artifacts.")
@click.option("--overwrite", is_flag=True, help="Replace runs of the same names; without it they stay.")
def finish(file: Path, folder: Path, data: Path | None, out: Path | None, overwrite: bool) -> None:
    """Make runs of what was trained: calibrate, export, evaluate."""
    need_training()
    from ..config import artifacts_dir, data_dir
    from ..training.returned import finish_all

    for run in finish_all(
        file,
        folder,
        out or artifacts_dir(),
        data=data_dir(data),
        overwrite=overwrite,
        tell=click.echo,
        progress=progress("pictures"),
    ):
        for name, measured in run.info["metrics"].items():
            click.echo(f"{run.name}, {name}: {headline(measured)}")
