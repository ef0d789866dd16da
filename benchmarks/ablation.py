"""What each ingredient of the recipe brings: short trainings that differ in one thing each, judged on validation alone.

    python benchmarks/ablation.py --data ../shared/data --out ablation.json [--epochs 4] [--limit 4000] [--only NAME]...
    python benchmarks/ablation.py --out ablation.json --table        # the Markdown table of what is done so far

Each variant has the same seed, faces and passes. The file is replaced after each, so that a killed command goes on where it
was. Numbers are points of validation accuracy, from the best epoch, so short that they say which way an ingredient pulls, not
how far it would in a full training; two seeds (``--seed``) tell how much of that is chance.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fercore.config import data_dir  # noqa: E402
from fercore.errors import FerError  # noqa: E402

DATASETS = ("fer2013", "ferplus", "expw")
BASE: dict[str, Any] = {
    "size": 64,
    "options": {},
    "shares": {"expw": 0.25},
    "class_weight": 0.25,
    "precision": "bfloat16",
}
"""What every variant sets in place of the transfer network's own recipe."""
Train = Callable[[Mapping[str, Any], bool], dict[str, float]]
"""From the changes of a recipe, and whether one head learns the blended labels, to the accuracy by source."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """A training that differs in one thing."""

    name: str
    words: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    blended: bool = False
    """One head learns the average of the sources' labels, instead of a head a source."""


VARIANTS: tuple[Variant, ...] = (
    Variant("base", "the recipe, at 64 pixels"),
    Variant("random-weights", "no pre-trained weights", {"options": {"weights": None}}),
    Variant("frozen-3", "first 3 of 13 blocks frozen", {"options": {"frozen": 3}}),
    Variant("frozen-8", "first 8 of 13 blocks frozen", {"options": {"frozen": 8}}),
    Variant("one-head", "one head on blended labels instead of a head a source", blended=True),
    Variant("augment-none", "no augmentation", {"augment": "none"}),
    Variant("augment-light", "light augmentation", {"augment": "light"}),
    Variant("no-class-weights", "no class weights", {"class_weight": 0.0}),
    Variant("class-weights-0.5", "class weights n^-0.5", {"class_weight": 0.5}),
    Variant("no-ema", "no averages of the weights", {"ema": 0.0}),
    Variant("no-smoothing", "no label smoothing", {"label_smoothing": 0.0}),
    Variant("mixup", "mixup 0.2", {"mixup": 0.2}),
    Variant("cutmix", "CutMix 1.0", {"cutmix": 1.0}),
    Variant("head-rate-1", "heads at the body's rate", {"head_rate": 1.0}),
    Variant("expw-none", "ExpW's share of a batch by its size", {"shares": {}}),
    Variant("expw-half", "half of a batch from ExpW", {"shares": {"expw": 0.5}}),
    Variant("size-48", "48 pixels", {"size": 48}),
    Variant("size-96", "96 pixels", {"size": 96}),
)


def run(
    file: Path, train: Train, chosen: tuple[Variant, ...], facts: dict[str, Any], tell: Callable[[str], None] = print
) -> dict[str, Any]:
    """Train the variants that the file does not hold yet, and return all it then holds.

    Raises:
        FerError: the file is of another budget or seed.
    """
    done = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"facts": facts, "results": {}}
    if done["facts"] != facts:
        raise FerError(f"{file}: made with {done['facts']}, not {facts}; choose another --out")
    for variant in chosen:
        if variant.name in done["results"]:
            continue
        started = time.monotonic()
        accuracy = train(variant.changes, variant.blended)
        seconds = round(time.monotonic() - started, 1)
        done["results"][variant.name] = {"accuracy": accuracy, "seconds": seconds}
        staged = file.with_suffix(".part")
        staged.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
        staged.replace(file)
        tell(f"{variant.name}: {', '.join(f'{k} {v:.1%}' for k, v in accuracy.items())} in {seconds:.0f} s")
    return done


def table(done: Mapping[str, Any]) -> str:
    """Return the results as Markdown: accuracy by source and their mean, and the difference to the base in points."""
    results = done["results"]
    facts = ", ".join(f"{key} {value}" for key, value in done["facts"].items())
    sources = list(next(iter(results.values()))["accuracy"]) if results else []
    lines = [f"Validation, {facts}; in brackets points above the first row.", ""]
    lines.append(f"| {' | '.join(['variant', *sources, 'mean', 'seconds'])} |")
    lines.append("| --- " * (len(sources) + 3) + "|")
    base = results.get("base", {}).get("accuracy")
    for variant in VARIANTS:
        if variant.name not in results:
            continue
        accuracy = results[variant.name]["accuracy"]
        cells = [*(accuracy[name] for name in sources), float(np.mean(list(accuracy.values())))]
        before = [*(base[name] for name in sources), float(np.mean(list(base.values())))] if base else None
        texts = [
            f"{value:.1%}" + (f" ({100 * (value - before[at]):+.1f})" if before and variant.name != "base" else "")
            for at, value in enumerate(cells)
        ]
        seconds = f"{results[variant.name]['seconds']:.0f}"
        lines.append(f"| {' | '.join([variant.words, *texts, seconds])} |")
    return "\n".join(lines)


def trainer(data: Path, facts: Mapping[str, Any]) -> Train:
    """Return what trains a variant on the real faces, which are prepared once."""
    import keras

    from fercore.training import models
    from fercore.training.building import adapt, build, input_of, policy_of
    from fercore.training.fit import fit
    from fercore.training.prepare import prepare_all, split_faces
    from fercore.training.recipe import Recipe

    own = {**models.get("transfer").recipe, **BASE, **facts, "model": "transfer", "datasets": DATASETS}
    parts = prepare_all(Recipe.from_dict(own), data)

    def train(changes: Mapping[str, Any], one_head: bool) -> dict[str, float]:
        recipe = Recipe.from_dict({**own, **changes})
        learn, check = (split_faces(parts, name, recipe) for name in ("train", "validation"))
        labels = {part.dataset.name: part.dataset.labels for part in parts}
        seen = check
        if one_head:
            learn, seen = blended(learn, labels), blended(check, labels)
        classes = {head: values.shape[1] for head, values in learn.targets.items()}
        keras.backend.clear_session()
        keras.utils.set_random_seed(recipe.seed)
        spec = input_of(recipe)
        model = build(models.get(recipe.model), spec, classes, recipe, policy_of(recipe))
        if recipe.options.get("weights", "faces") is not None:
            adapt(model, recipe, learn)
        with tempfile.TemporaryDirectory() as folder:
            fit(model, learn, seen, recipe, spec, folder=Path(folder), fingerprint="")
        answers = model.predict(check.inputs(range(len(check)), spec), batch_size=128, verbose=0)
        return {name: accuracy(answers, check, name, labels) for name in labels}

    return train


BLENDED = "blended"


def union(labels: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return every label of the sources once."""
    return list(dict.fromkeys(label for each in labels.values() for label in each))


def blended(faces: Any, labels: Mapping[str, tuple[str, ...]]) -> Any:
    """Return faces with one head: the average of what the sources say of each, over all their labels."""
    every = union(labels)
    total = np.zeros((len(faces), len(every)), np.float32)
    weight, known = np.zeros(len(faces), np.float32), np.zeros(len(faces), np.float32)
    for name, own in labels.items():
        rows = (faces.weights[name] > 0).astype(np.float32)
        total[:, [every.index(label) for label in own]] += rows[:, None] * faces.targets[name]
        weight, known = weight + faces.weights[name], known + rows
    count = np.maximum(known, 1)
    return dataclasses.replace(faces, targets={BLENDED: total / count[:, None]}, weights={BLENDED: weight / count})


def accuracy(answers: Mapping[str, np.ndarray], check: Any, name: str, labels: Mapping[str, tuple[str, ...]]) -> float:
    """Return the share of a source's faces of which its head, or else the blended one, says its label."""
    known = check.weights[name] > 0
    if name in answers:
        logits = answers[name][known]
    else:
        logits = answers[BLENDED][known][:, [union(labels).index(label) for label in labels[name]]]
    return float((logits.argmax(axis=1) == check.targets[name][known].argmax(axis=1)).mean())


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("ablation.json"))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--limit", type=int, default=4000, help="faces a split and dataset; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=[each.name for each in VARIANTS], help="repeat it")
    parser.add_argument("--table", action="store_true", help="only print the table of what is done")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.out.read_text(encoding="utf-8"))))
        return
    facts = {"epochs": options.epochs, "limit": options.limit, "seed": options.seed}
    chosen = tuple(each for each in VARIANTS if not options.only or each.name in options.only)
    ready: list[Train] = []

    def train(changes: Mapping[str, Any], one_head: bool) -> dict[str, float]:
        if not ready:
            ready.append(trainer(data_dir(options.data), facts))
        return ready[0](changes, one_head)

    try:
        print(table(run(options.out, train, chosen, facts)))
    except FerError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
