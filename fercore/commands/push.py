"""``python -m fercore push``: a run into a model repository on the Hugging Face Hub."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from .shared import listed


@click.command()
@click.argument("name", metavar="RUN")
@click.argument("repo", metavar="USER/NAME")
@click.option("--private", is_flag=True, help="Create the repository so that only you see it.")
@click.option("--dry-run", is_flag=True, help="List what would be uploaded, and upload nothing.")
def push(name: str, repo: str, private: bool, dry_run: bool) -> None:
    """Upload a run to the Hugging Face Hub, from where hf://USER/NAME loads it.

    Needs the extra 'hub' and a login (hf auth login, or HF_TOKEN). What the repository held before stays in its history.

    \b
    python -m fercore push transfer user/expressions
    python -m fercore predict photo.jpg --run hf://user/expressions
    """
    from .. import hub
    from ..errors import FerError
    from ..runs import Run
    from ..space import bundle

    if not hub.is_repo(repo):
        raise FerError(f"{repo}: expected USER/NAME, as on the Hub")
    run = Run.load(name)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bundle.stage_model(run, folder)
        listed(bundle.check(folder))
        if dry_run:
            click.echo("dry run: nothing was uploaded", err=True)
            return
        address = hub.upload(folder, repo, message=f"Run {run.name}", private=private)
    click.echo(f"pushed: {address}; load it with hf://{repo}", err=True)
