"""Model cards: what a run is, what it was made of, what it may be used for and where it fails, in Markdown.

The sections follow Mitchell et al., "Model Cards for Model Reporting" (FAccT 2019); the block at the top is what the Hugging
Face Hub reads. Everything that is a number comes from the run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

WEAK = 3
"""How many of the weakest classes and most frequent confusions a card names."""

USE = """\
Meant for research, teaching, demonstrations and applications that respond to a face **with the knowledge and consent of the
person**, such as a game, an art installation, or an aid that someone chose for themselves.

**An expression is not an emotion.** The network says which of a few posed categories a face resembles to the annotators of
its training data; it cannot know what a person feels (Barrett et al., "Emotional Expressions Reconsidered", Psychological
Science in the Public Interest 2019). Do not use it to judge, select, monitor or diagnose people. In the European Union,
inferring emotions of people **at work and in education** is forbidden (Regulation (EU) 2024/1689, the AI Act, Article
5(1)(f)), and other emotion recognition must be announced to those exposed to it (Article 50(3))."""

LIMITS = """\
- The faces come from web searches and from laboratories, mostly of adults; skin colours, ages and cultures are not balanced,
  and no audit by group was possible, since the datasets carry no such labels. Expect errors to differ between groups.
- Labels are opinions of annotators and disagree between datasets; `fear`, `disgust` and `sad` most of all.
- Side views, covered faces, very small faces (under 24 pixels), strong make-up and hard shadows fail more often.
- Class shares matter: the probabilities are calibrated on the validation data named above, not on your place of use."""


def model_card(name: str, info: Mapping[str, Any]) -> str:
    """Return the Markdown card of a run.

    Args:
        name: the run's name.
        info: its ``run.json``, with ``metrics``.
    """
    model = info["model"]
    parts = [
        _front_matter(info),
        f"# {name}\n\n{_sentence(model['summary'])} {model['parameters']:,} parameters{_input(info)}. "
        f"Trained on {_names(info['datasets'])}, served by ONNX Runtime.",
        "## Results\n\n" + _results(info),
        "## Where it fails\n\n" + _failures(info) + "\n" + LIMITS,
        "## Use\n\n" + USE,
        "## Data and licences\n\n" + _data(info),
        "## How it was made\n\n" + _making(name, info),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(info: Mapping[str, Any]) -> str:
    lines = ["---", "license: other", "license_name: research-only", "pipeline_tag: image-classification"]
    lines += ["library_name: onnx", "tags:", "- facial-expression-recognition", f"- {info['model']['name']}", "---"]
    return "\n".join(lines)


def _results(info: Mapping[str, Any]) -> str:
    rows = ["| test split of | head | faces | accuracy | balanced accuracy | macro F1 | calibration error |"]
    rows.append("| --- | --- | --- | --- | --- | --- | --- |")
    for dataset, measured in info["metrics"].items():
        cells = [interval(measured[key]) for key in ("accuracy", "balanced_accuracy", "macro_f1", "ece")]
        rows.append(f"| {dataset} | {measured['head']} | {measured['faces']:,} | {' | '.join(cells)} |")
    note = "In brackets: 95% intervals, by bootstrap over photos or subjects."
    estimates = [
        f"Under the class shares of the whole ExpW release, an accuracy of {interval(measured['release_accuracy'])} is to be "
        "expected: an estimate, from each class's recall."
        for measured in info["metrics"].values()
        if "release_accuracy" in measured
    ]
    return "\n".join(rows) + "\n\n" + " ".join([note, *estimates])


def _failures(info: Mapping[str, Any]) -> str:
    lines = []
    for dataset, measured in info["metrics"].items():
        recalls = [(scores["recall"]["value"], label) for label, scores in measured["per_class"].items()]
        weakest = sorted((value, label) for value, label in recalls if value is not None)[:WEAK]
        names = measured["classes"]
        cells = [
            (count, true, predicted)
            for true, row in zip(names, measured["confusion"]["value"], strict=True)
            for predicted, count in zip(names, row, strict=True)
            if true != predicted
        ]
        worst = sorted(cells, reverse=True)[:WEAK]
        lines.append(
            f"- {dataset}: found least often are {', '.join(f'`{label}` ({value:.0%})' for value, label in weakest)}; "
            f"taken for another most often: "
            + ", ".join(f"`{true}` for `{predicted}` ({count} faces)" for count, true, predicted in worst)
            + "."
        )
    return "\n".join(lines)


def _data(info: Mapping[str, Any]) -> str:
    lines = [f"- **{name}**: {facts['source']} Licence: {facts['licence']}" for name, facts in info["datasets"].items()]
    if note := info["model"].get("origin"):
        lines.append(f"- **Pre-trained weights**: {note}")
    lines.append(
        "- The weights carry the terms of the data above: research, not commerce, unless you have cleared them."
    )
    return "\n".join(lines)


def starts_from(info: Mapping[str, Any]) -> list[str]:
    """Return the runs that are needed to make a network: its teacher, the one whose weights it goes on from, or its source."""
    recipe, source = info.get("recipe", {}), _source(info)
    named = (
        {source} if source else {recipe.get("teacher"), recipe.get("options", {}).get("weights")} - {"", None, "faces"}
    )
    return sorted(name for name in named if _is_name(name) and not name.endswith(".h5"))


def when(info: Mapping[str, Any]) -> str:
    """Return in a sentence when a run was made, and of which one if it is another in eight bits; empty if it does not say."""
    if not info.get("created"):
        return ""
    if source := _source(info):
        return f"Made from {source} on {info['created']}."
    return f"{'Made' if info.get('members') else 'Trained'} on {info['created']}."


def command(name: str, info: Mapping[str, Any]) -> str:
    """Return what makes a run again, as arguments of ``python -m fercore`` without the folders."""
    if source := _source(info):
        return f"quantise {source}"
    if members := info.get("members"):
        return f"ensemble {' '.join(members)}"
    return f"train --like {name}"


def _source(info: Mapping[str, Any]) -> str:
    """Return the run that this one is in eight bits; empty for none."""
    source = (info.get("quantised") or {}).get("from", "")
    return source if _is_name(source) else ""


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[\w.-]+", value, re.ASCII))


def starting_note(before: Sequence[str]) -> str:
    """Return in words that a run starts from others, and how to get those of this project."""
    return (
        f"It starts from {' and '.join(f'`{name}`' for name in before)}, which must stand beside it; "
        "`python -m fercore.training.shipped` prints the commands that make every run of this project, in order."
    )


def _making(name: str, info: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{package} {version}" for package, version in info["packages"].items())
    if source := _source(info):
        how = f"put into eight bits from `{source}`, calibrated and evaluated; nothing was trained"
    elif info.get("members"):
        how = "averaged, calibrated and evaluated; nothing was trained"
    else:
        how = f"Keras on {info['backend']}, {info['seconds'] / 60:.0f} minutes of training"
    before = starts_from(info)
    needs = f" {starting_note(before)}" if before else ""
    return (
        f"{info['created']}, {info['machine']}, {how}; {packages}. `run.json` holds "
        f"{'its members' if info.get('members') else 'the recipe, the seeds'} and a digest of every split.{needs} "
        "To make it again:\n\n"
        f"```\npython -m fercore {command(name, info)} --data DATA --out artifacts/{name}-again\n```"
    )


def _input(info: Mapping[str, Any]) -> str:
    """Return what a network sees, as the end of a list; nothing for an ensemble, whose members may differ."""
    if not info.get("input"):
        return ""
    size = info["input"]["size"]
    return f", input {size}x{size} grey"


def _names(names: Mapping[str, Any]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def interval(score: Mapping[str, Any], *, missing: str = "none") -> str:
    """Return a share with its 95% interval, such as ``50.4% (48.8% to 52.0%)``; ``missing`` where it has no value."""
    if score["value"] is None:
        return missing
    return f"{score['value']:.1%} ({score['low']:.1%} to {score['high']:.1%})"
