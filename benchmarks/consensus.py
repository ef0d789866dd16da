"""How should a network's heads join for photos from anywhere? Each source in turn is held back and plays the unknown one.

    python benchmarks/consensus.py --data ../shared/data [--run RUN] [--limit 400]

Of each source's validation faces, the heads of the other sources answer, joined in one of several ways; the source's own head
is not asked. Accuracy is over the seven basic expressions. Every way answers about the same faces, so each difference to the
plain average has a paired interval: 95%, by bootstrap over photos. FER2013 and FER+ label the same faces, so only their labels
are held back, not their pictures: ExpW's row is the nearest to photos from elsewhere.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fercore import Predictor, datasets, evaluation, metrics
from fercore.config import data_dir
from fercore.errors import DataError, FerError
from fercore.labels import LABELS
from fercore.runs import Run
from fercore.training import consensus
from fercore.training.shipped import DATASETS

Join = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""From what each head says (N, 7) to what they say together (N, 7), in any scale."""
PLAIN = "plain average"
FAVOUR = 2.0


def weighted(favourite: str) -> Join:
    """Return the average in which one head, where it is asked, counts ``FAVOUR`` times."""
    return lambda said: sum((FAVOUR if name == favourite else 1.0) * each for name, each in said.items())


def geometric(said: Mapping[str, np.ndarray]) -> np.ndarray:
    """Average the logarithms: a head that rules an expression out is heard."""
    return np.exp(np.mean([np.log(np.maximum(each, consensus.LEAST)) for each in said.values()], axis=0))


def surest(said: Mapping[str, np.ndarray]) -> np.ndarray:
    """Take for each expression the head that believes in it most."""
    return np.max(list(said.values()), axis=0)


def ways(heads: tuple[str, ...]) -> dict[str, Join]:
    """Return the ways to join these heads."""
    favours = {f"{name} counts {FAVOUR:g} times": weighted(name) for name in heads}
    return {PLAIN: lambda said: sum(said.values()), "geometric average": geometric, "the surest": surest, **favours}


def measure(run: Run, parts: Mapping[str, datasets.Dataset]) -> pd.DataFrame:
    """Return a row for each source and way: accuracy, its difference to the plain average with interval, and log loss.

    Raises:
        DataError: fewer than three heads know the seven expressions.
    """
    heads = tuple(name for name in parts if name in run.heads and set(LABELS) <= set(run.heads[name].labels))
    if len(heads) < 3:
        raise DataError(f"run {run.name}: holding one source back needs three heads that know the seven expressions")
    rows = []
    for source in heads:
        said = {}
        for head in heads:
            if head != source:
                answers = evaluation.answer(Predictor.load(run, head=head), parts[source])
                said[head] = metrics.map_probabilities(answers.pred_probs, answers.labels, LABELS)
        table = answers.dataset.table
        known = table["label"].isin(LABELS).to_numpy()
        codes = pd.Categorical(table["label"][known], categories=list(LABELS)).codes.astype(np.int64)
        groups = pd.factorize(table["group"][known])[0]
        joined = {way: join(said)[known] for way, join in ways(heads).items()}
        right = {way: each.argmax(axis=1) == codes for way, each in joined.items()}
        for way, each in joined.items():
            likely = (each / each.sum(axis=1, keepdims=True))[np.arange(len(codes)), codes]
            rows.append(
                {
                    "source": source,
                    "way": way,
                    "faces": len(codes),
                    "accuracy": float(right[way].mean()),
                    "log_loss": float(-np.log(np.maximum(likely, consensus.LEAST)).mean()),
                    **metrics.paired_difference(right[way], right[PLAIN], groups),
                }
            )
    return pd.DataFrame(rows)


def report(rows: pd.DataFrame) -> str:
    """Return the rows as Markdown, a column a source."""
    sources = list(rows["source"].unique())
    faces = rows.groupby("source")["faces"].first()
    title = [
        "heads joined by",
        *(f"held back: {name}, {faces[name]:,} faces" for name in sources),
        "mean",
        "mean log loss",
    ]
    lines = [f"| {' | '.join(title)} |", "| --- " * len(title) + "|"]
    for way, own in rows.groupby("way", sort=False):
        cells = []
        for row in own.set_index("source").loc[sources].to_dict("records"):
            gap = f" ({100 * row['value']:+.1f}: {100 * row['low']:+.1f} to {100 * row['high']:+.1f})"
            cells.append(f"{row['accuracy']:.1%}{'' if way == PLAIN else gap}")
        cells += [f"{own['accuracy'].mean():.1%}", f"{own['log_loss'].mean():.3f}"]
        lines.append(f"| {' | '.join([way, *cells])} |")
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--run", help="a run with a head for each of three sources; the default run if left out")
    parser.add_argument("--limit", type=int, default=0, help="faces of each source; 0 for all")
    options = parser.parse_args()
    try:
        run = Run.load(options.run)
        parts = {}
        for name in DATASETS:
            faces = datasets.load(name, data_dir(options.data)).split("validation")
            parts[name] = faces.select(np.arange(min(options.limit or len(faces), len(faces))))
        print(report(measure(run, parts)))
    except FerError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
