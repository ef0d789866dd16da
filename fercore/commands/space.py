"""``python -m fercore space``: the project as a Space on the Hugging Face Hub."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path

import click

from .shared import listed

KINDS = ("static", "docker")


@click.command()
@click.argument("repo", metavar="USER/NAME")
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default="static",
    show_default=True,
    help="static: a site whose networks run in the visitor's browser, for a free account. docker: the whole app.",
)
@click.option(
    "--run", "names", multiple=True, help="A run to take along; repeat it. Default: those in artifacts/SHIPPED."
)
@click.option("--out", type=click.Path(path_type=Path), help="Keep the folder here, to look at it.")
@click.option("--push", "pushed", is_flag=True, help="Upload it; without this nothing leaves the machine.")
@click.option("--private", is_flag=True, help="Create the Space so that only you see it.")
def space(repo: str, kind: str, names: tuple[str, ...], out: Path | None, pushed: bool, private: bool) -> None:
    """Build a Space for the Hugging Face Hub, list its files, and with --push upload it.

    A Space holds no dataset, no training framework and no secret. --push needs the extra 'hub' and a login (hf auth login, or
    HF_TOKEN).

    \b
    python -m fercore space user/expressions --out site && python -m http.server --directory site
    python -m fercore space user/expressions --push
    """
    from .. import hub
    from ..errors import FerError
    from ..space import build, bundle

    if not hub.is_repo(repo):
        raise FerError(f"{repo}: expected USER/NAME, as on the Hub")
    if out and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FerError(f"{out}: is there already and not empty; name a new folder, or delete it first")
    with nullcontext(str(out)) if out else tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        build(kind, folder, repo, names)
        listed(bundle.check(folder))
        if kind == "static" and not (folder / "ort").is_dir():
            click.echo(
                "note: static/ort is missing, so visitors' browsers take ONNX Runtime from a CDN; run `make browser`, then "
                "this again, for a site that holds it",
                err=True,
            )
        if out:
            click.echo(f"written: {out}", err=True)
        if not pushed:
            click.echo("dry run: nothing was uploaded; --push does it", err=True)
            return
        address = hub.upload(folder, repo, message="Facial-expression studio", space=kind, private=private)
    click.echo(f"pushed: {address}", err=True)
