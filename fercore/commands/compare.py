"""``python -m fercore compare``: runs side by side on the same test faces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ..cards import interval
from .shared import progress

if TYPE_CHECKING:
    from ..comparison import Row


@click.command()
@click.argument("names", metavar="[RUN]...", nargs=-1)
@click.option("--dataset", help="Whose test faces. Default: the first that all runs were tested on.")
@click.option(
    "--reference",
    help="What the others are tested against. Default: a run of the report's CNN on that dataset, else the first.",
)
@click.option("--speed/--no-speed", default=True, help="Measure the time for a face, on one thread of this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with every number.")
def compare(names: tuple[str, ...], dataset: str | None, reference: str | None, speed: bool, as_json: bool) -> None:
    """Compare runs on the same test faces: scores, McNemar's test, classes gained and lost, cost.

    Needs no dataset: runs carry their answers. Without a RUN, all that were tested on the dataset are compared.

    \b
    python -m fercore compare transfer fer2013-report-cnn --dataset fer2013
    """
    from .. import comparison
    from ..runs import Run, list_runs

    base = Run.load(reference) if reference else None
    runs = [Run.load(name) for name in names]
    if not runs:
        known = list_runs()[0]
        dataset = dataset or comparison.most_tested(known)
        runs = [run for run in known if dataset in (run.info.get("metrics") or {})]
    result = comparison.compare(runs, dataset, reference=base)
    loaded = {
        run.name: run for run in (*runs, *([base] if base else []), comparison.reference_of(runs, result.dataset))
    }
    times = {}
    if speed:
        for row in progress("runs")(result.rows):
            times[row.run] = comparison.milliseconds(loaded[row.run], result.dataset)
    if as_json:
        rows = [row.to_dict() | {"milliseconds": times.get(row.run)} for row in result.rows]
        click.echo(
            json.dumps(
                {"dataset": result.dataset, "reference": result.reference, "reason": result.reason, "runs": rows}
            )
        )
        return
    click.echo(f"{result.dataset}, test faces; McNemar's exact test against {result.reference}, {result.reason}")
    for row in result.rows:
        click.echo("\n".join(_lines(row, times.get(row.run))))


def _lines(row: Row, milliseconds: float | None) -> Iterator[str]:
    head = f", head {row.head}" if row.head != row.run else ""
    yield f"{row.run} ({row.model}{head})"
    names = {"accuracy": "accuracy", "balanced_accuracy": "balanced", "macro_f1": "macro F1"}
    yield "  " + ", ".join(f"{text} {interval(row.scores[key])}" for key, text in names.items())
    cost = [f"{row.parameters:,} parameters"] if row.parameters else []
    cost += [f"{row.bytes / 1e6:.1f} MB"] + ([f"{milliseconds:.2f} ms a face"] if milliseconds else [])
    yield "  " + ", ".join(cost)
    if row.test is None:
        yield "  the reference"
        return
    gap = {key: 100 * value for key, value in row.difference.items()}
    yield (
        f"  {gap['value']:+.1f} points ({gap['low']:+.1f} to {gap['high']:+.1f}) on {row.faces:,} faces: "
        f"{row.test.only_a:,} only this run has right, {row.test.only_b:,} only the reference; {p_value(row.test.p_value)}"
    )
    yield f"  recall in points: {', '.join(f'{each.label} {each.change:+.0f}' for each in _sorted(row))}"


def _sorted(row: Row) -> list[Any]:
    """Return the classes, the greatest gain first, with attribute names that Python allows."""
    table = row.classes.rename(columns={"class": "label"}).sort_values("change", ascending=False, kind="stable")
    return list(table.itertuples())


def p_value(value: float) -> str:
    """Return a p-value as text: ``p = 0.03``, ``p < 0.001``."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"
