"""Runs and predictions as the tables that pages show: pure functions, no Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from .. import cards
from ..charts import dataset_title, interval, percent
from ..comparison import Comparison
from ..runs import Run
from ..study import Study

ANY = "any"
SPLIT_NAMES: dict[str, str] = {"train": "Training", "validation": "Validation", "test": "Test"}


def runs(known: Sequence[Run]) -> pd.DataFrame:
    """Return a row a run and dataset that it was measured on, with its headline numbers and intervals."""
    rows = []
    for run in known:
        for name, scores in (run.info.get("metrics") or {}).items():
            rows.append(
                {
                    "Run": run.name,
                    "Model": model_name(run),
                    "Test faces of": dataset_title(name),
                    "Faces": scores["faces"],
                    "Accuracy (95% interval)": interval(scores["accuracy"]),
                    "Macro F1": interval(scores["macro_f1"]),
                    "ECE": interval(scores["ece"]),
                }
            )
    return pd.DataFrame(rows)


def model_name(run: Run) -> str:
    """Return what kind of network a run is."""
    return (
        f"average of {len(run.members)} runs"
        if run.kind == "ensemble"
        else run.info.get("model", {}).get("name", "unnamed")
    )


def summary(run: Run) -> str:
    """Return a run in one or two sentences."""
    model = run.info.get("model", {})
    text = model_name(run)
    if model.get("summary"):
        text += f": {model['summary']}"
    return f"{text[:1].upper()}{text[1:]}. {cards.when(run.info)}".strip()


def training_facts(run: Run) -> dict[str, str]:
    """Return what a training took and brought, in short."""
    info = run.info
    facts = {}
    if "parameters" in info.get("model", {}):
        facts["Parameters"] = short(info["model"]["parameters"])
    if run.input:
        facts["Input"] = f"{run.input.size} × {run.input.size}"
    if "epoch" in info.get("validation", {}):
        facts["Best epoch"] = str(info["validation"]["epoch"])
    if "seconds" in info:
        facts["Training time"] = duration(info["seconds"])
    return facts


def comparison(result: Comparison, milliseconds: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Return a row a compared run: scores with intervals, McNemar's test, size, and where it was measured its time."""
    rows = []
    for row in result.rows:
        gap, test = row.difference, row.test
        told = {"Difference (points)": "the reference", "p (McNemar)": ""}
        if gap is not None and test is not None:
            low, high = 100 * gap["low"], 100 * gap["high"]
            told = {
                "Difference (points)": f"{100 * gap['value']:+.1f} ({low:+.1f} to {high:+.1f})",
                "p (McNemar)": "below 0.001" if test.p_value < 0.001 else f"{test.p_value:.2g}",
            }
        rows.append(
            {
                "Run": row.run,
                "Accuracy": interval(row.scores["accuracy"]),
                **told,
                "Macro F1": interval(row.scores["macro_f1"]),
                "Balanced accuracy": interval(row.scores["balanced_accuracy"]),
                **({"Milliseconds a face": f"{milliseconds[row.run]:.2f}"} if milliseconds else {}),
                "Parameters": short(row.parameters) if row.parameters else "unknown",
                "Size (MB)": round(row.bytes / 1e6, 1),
                "Only it is right": test.only_a if test else None,
                "Only the reference": test.only_b if test else None,
                "Network": row.model,
            }
        )
    return pd.DataFrame(rows)


def headline(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, float | None]]:
    """Return the scores that sum an evaluation up, by the names that the glossary explains."""
    names = {
        "Accuracy": "accuracy",
        "Whole release": "release_accuracy",
        "Balanced accuracy": "balanced_accuracy",
        "Macro F1": "macro_f1",
        "Log loss": "log_loss",
        "ECE": "ece",
    }
    return {name: metrics[key] for name, key in names.items() if key in metrics}


def class_counts(facts: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row a class: its faces in each split, in all, and its share of the dataset."""
    splits = facts["counts"]
    data = pd.DataFrame({SPLIT_NAMES.get(name, name): pd.Series(counts) for name, counts in splits.items()})
    data = data.reindex(facts["labels"]).fillna(0).astype(int)
    data["All"] = data.sum(axis=1)
    data["Share (%)"] = (100 * data["All"] / data["All"].sum()).round(1)
    return data.rename_axis("Class").reset_index()


def imbalance(facts: Mapping[str, Any]) -> str:
    """Return how many times as many faces the largest class has as the smallest: ``16.5 to 1``."""
    totals = class_counts(facts)["All"]
    return f"{totals.max() / totals.min():.1f} to 1" if totals.min() else "a class is empty"


def duplicates(facts: Mapping[str, Any]) -> pd.DataFrame:
    """Return how many near-duplicates lie between which splits, and how many faces have which problem."""
    pairs = {key: count for key, count in facts["duplicates"].items() if key != "left_out"}
    rows = [(f"near-duplicates, {key.replace('-', ' and ')}", count) for key, count in pairs.items()]
    rows += list(facts["problems"].items())
    return pd.DataFrame([row for row in rows if row[1]], columns=["What", "Number"])


def trials(study: Study) -> pd.DataFrame:
    """Return a row a trial of a search, the best first; those that were not complete come after."""
    rows = [
        {
            "Trial": trial.number,
            "Outcome": {"complete": "complete", "pruned": "stopped early", "failed": "failed"}[trial.state],
            "Best epoch (%)": round(100 * max(trial.epochs), 1) if trial.epochs else None,
            **{name.removeprefix("options.").replace("_", " "): _text(value) for name, value in trial.params.items()},
            "Seconds": round(trial.seconds),
        }
        for trial in sorted(study.trials, key=lambda trial: -(trial.value or 0.0))
    ]
    return pd.DataFrame(rows)


def layers(run: Run) -> pd.DataFrame:
    """Return the model's layers: name and type, output shape, parameters."""
    rows = [
        {
            "Layer": f"{layer['name']} ({layer['type']})",
            "Output shape": " × ".join(map(str, layer["output"])),
            "Parameters": layer["parameters"],
        }
        for layer in run.info.get("model", {}).get("layers", [])
    ]
    return pd.DataFrame(rows)


def settings(values: Mapping[str, Any]) -> pd.DataFrame:
    """Return a configuration as a table of texts; options that are off or empty are left out."""
    shown = {key.replace("_", " "): value for key, value in values.items() if value not in (None, "", [], {}, 0, False)}
    return pd.DataFrame({"Setting": list(shown), "Value": [_text(value) for value in shown.values()]})


def heads(run: Run) -> pd.DataFrame:
    """Return the answers a run can give: labels, temperature and threshold of each head."""
    return pd.DataFrame(
        [
            {
                "Head": head.name,
                "Classes": ", ".join(head.labels),
                "Temperature": round(head.temperature, 2),
                "Uncertain below": percent(head.threshold),
            }
            for head in run.heads.values()
        ]
    )


def per_class(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Return recall, precision and F1 of each class with their intervals, and its number of test faces; averages last."""
    titles = {"recall": "Recall", "precision": "Precision", "f1": "F1"}
    rows = [
        {
            "Class": label,
            **{title: interval(scores[key]) for key, title in titles.items()},
            "Test faces": scores["support"],
        }
        for label, scores in metrics["per_class"].items()
    ]
    for kind, name in (("macro", "mean of the classes"), ("weighted", "mean weighted by faces")):
        found = {title: interval(metrics[f"{kind}_{key}"]) for key, title in titles.items()}
        rows.append({"Class": name, **found, "Test faces": metrics["faces"]})
    return pd.DataFrame(rows)


def answers(predictions: pd.DataFrame, true: str, predicted: str, confidence: tuple[int, int]) -> pd.DataFrame:
    """Return the wrong answers that a filter keeps, the most confident first.

    Args:
        predictions: of one dataset and head.
        true: a class or ``ANY``.
        predicted: a class or ``ANY``; the same class on both sides asks for its right answers instead.
        confidence: least and largest, in percent.
    """
    low, high = confidence
    keep = (100 * predictions["confidence"]).between(low, high)
    for column, label in (("label", true), ("prediction", predicted)):
        if label != ANY:
            keep &= predictions[column] == label
    if true == ANY or true != predicted:
        keep &= predictions["label"] != predictions["prediction"]
    return predictions[keep].sort_values("confidence", ascending=False, kind="stable").reset_index(drop=True)


def answer_title(count: int, true: str, predicted: str) -> str:
    """Return what a filter has kept, in words."""
    faces = f"{count:,} {'face' if count == 1 else 'faces'}"
    if true == predicted == ANY:
        return f"{faces} with a wrong answer"
    if true == predicted:
        return f"{faces} rightly called {true}"
    if predicted == ANY:
        return f"{faces} labelled {true} and called something else"
    if true == ANY:
        return f"{faces} wrongly called {predicted}"
    return f"{faces} labelled {true} and called {predicted}"


def answer_table(chosen: pd.DataFrame) -> pd.DataFrame:
    """Return answers as a visitor reads them: where each face is, its label, the answer, its probabilities in percent."""
    data = pd.DataFrame(
        {
            "Face": chosen["locator"],
            "Labelled": chosen["label"],
            "Answer": chosen["prediction"],
            "Confidence (%)": (100 * chosen["confidence"].astype(float)).round(1),
        }
    )
    for column in chosen:
        if column.startswith("p_"):
            data[column.removeprefix("p_")] = (100 * chosen[column].astype(float)).round(1)
    return data


def clip_faces(timeline: pd.DataFrame) -> pd.DataFrame:
    """Return a row a face of a video: when it is seen, for how long, and how long each expression lasts, in percent."""
    times = timeline["time"].drop_duplicates().sort_values()
    step = times.diff().median() if len(times) > 1 else 0.0
    rows = []
    for face, seen in timeline.groupby("face"):
        shares = seen["label"].value_counts(normalize=False) / len(seen)
        rows.append(
            {
                "Face": face,
                "From (s)": round(seen["time"].iat[0], 1),
                "To (s)": round(seen["time"].iat[-1] + step, 1),
                "Seen (s)": round(len(seen) * step, 1),
                **{f"{label} (%)": round(100 * share, 1) for label, share in shares.items()},
            }
        )
    return pd.DataFrame(rows).fillna(0.0)


def probabilities(row: pd.Series) -> dict[str, float]:
    """Return the probabilities of one row of predictions by class."""
    return {name.removeprefix("p_"): float(value) for name, value in row.items() if name.startswith("p_")}


def duration(seconds: float) -> str:
    """Return a time as a person says it: ``45 s``, ``12 min``, ``2 h 5 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def short(number: int) -> str:
    """Return a large number in short: ``2.51 M``."""
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return str(number)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return "yes" if value is True else f"{value:g}" if isinstance(value, float) else str(value)
