"""Results as pages of the static site: every figure of a run, drawn by the browser from the numbers in the page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from .. import cards, charts, comparison
from ..browser import assets
from ..charts import Figure, dataset_title, interval, percent
from ..errors import FerError
from ..runs import Run

HEADLINE = {
    "accuracy": "Accuracy",
    "release_accuracy": "Whole release, estimated",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "ece": "Calibration error",
}
TERMS = {
    "Accuracy": "the share of test faces whose most likely class is the labelled one.",
    "Balanced accuracy": "the mean of the recalls of all classes; rare classes count as much as frequent ones.",
    "Recall": "how many of the faces of a class are found.",
    "Precision": "how many of the answers that name a class are right.",
    "F1 and macro F1": "F1 is the harmonic mean of precision and recall; macro F1 is its mean over the classes.",
    "Calibration error": (
        "how far the confidence lies from the share of right answers, on average over ten confidence bins (ECE). At 0% an "
        "answer that is 70% sure is right 70% of the time."
    ),
    "Whole release, estimated": (
        "the accuracy to be expected on all of ExpW, where neutral and happy prevail; the test set has equally many faces of "
        "each class."
    ),
    "Head": "the part of a network that answers with the classes of one label source; sources disagree about faces.",
    "Temperature": "what the network's scores are divided by, so that its confidence is honest.",
}
"""What a visitor of the results may not know."""
INTERVAL = "Ranges are 95% intervals: how far chance in the choice of test faces goes."


def page_name(run: Run) -> str:
    """Return the file of a run's page."""
    return f"run-{run.name}.html"


def overview(runs: Sequence[Run]) -> str:
    """Return the page that compares the runs, as the HTML of its main part."""
    measured = dict.fromkeys(name for run in runs for name in run.info.get("metrics") or {})
    tested = {name: [run for run in runs if name in (run.info.get("metrics") or {})] for name in measured}
    parts = ["<h1>Results</h1>", _lead(f"Every run was tested on faces that it had never seen. {INTERVAL}")]
    parts += [_figures((f"accuracy-{name}", charts.accuracies(found, name), "") for name, found in tested.items())]
    parts += ["<h2>Runs</h2>", _lead("A run is one trained network with its results.", "note"), _runs(runs)]
    changes = [figure for name, found in tested.items() for figure in _changes(found, name)]
    if changes:
        parts += ["<h2>Gains and losses, class by class</h2>", _figures(changes)]
    parts.append(glossary())
    return "\n".join(parts)


def page(run: Run) -> str:
    """Return a run's page, as the HTML of its main part."""
    model = run.info.get("model", {})
    told = model.get("summary") or ("the average of other runs" if run.members else "a network")
    parts = [
        f"<h1>{escape(run.name)}</h1>",
        _lead(f"{told[:1].upper()}{told[1:]}. {cards.when(run.info)}".strip()),
        _facts(_training(run)),
    ]
    tried = "" if assets.refusal(run) else f'<a href="index.html?run={run.name}" data-own>Try it on a photo</a> · '
    parts.append(f'<p>{tried}<a href="results.html">All runs</a></p>')
    answers = run.predictions() if "predictions.parquet" in run.info["files"] else pd.DataFrame()
    for name, metrics in (run.info.get("metrics") or {}).items():
        parts.append(f"<h2>On test faces of {escape(dataset_title(name))}</h2>")
        parts.append(_facts({text: _score(metrics[key]) for key, text in HEADLINE.items() if key in metrics}))
        parts.append(_lead(f"{metrics['faces']:,} faces, answered by the head {metrics['head']}. {INTERVAL}", "note"))
        parts.append(_figures(_evaluation(run, name, metrics, answers)))
    if training := list(_learning(run)):
        parts += ["<h2>Training</h2>", _figures(training)]
    if facts := run.dataset_info() if "dataset.json" in run.info["files"] else {}:
        parts += ["<h2>What it learned from</h2>", _figures(_data(facts)), _sources(facts)]
    answered = table(_heads(run), "Heads of the network", f"heads-{run.name}")
    parts += ["<h2>Answers</h2>", _lead(_HEADS, "note"), answered, glossary()]
    return "\n".join(part for part in parts if part)


_HEADS = (
    "A head answers with the classes of one label source. Its temperature makes the confidence honest; below its threshold an "
    "answer is given with reserve."
)


def glossary() -> str:
    """Return the terms of the results with their meanings, folded up."""
    terms = "\n".join(
        f"<dt>{escape(term)}</dt><dd>{escape(meaning[:1].upper() + meaning[1:])}</dd>"
        for term, meaning in TERMS.items()
    )
    return f'<details class="help"><summary>What the terms mean</summary>\n<dl class="terms">\n{terms}\n</dl></details>'


def table(data: pd.DataFrame, caption: str, name: str = "") -> str:
    """Return a table as HTML, in a box that scrolls where it is too wide; one with a name gets a button to download it."""
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in data.columns)
    rows = ("".join(f"<td>{_cell(value)}</td>" for value in row) for row in data.itertuples(index=False, name=None))
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    file = f' data-name="{escape(name)}"' if name else ""
    box = f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"{file}>'
    return f"{box}<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"


def _cell(value: Any) -> str:
    if isinstance(value, Link):
        return f'<a href="{escape(value.address)}">{escape(value)}</a>'
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.4g}"
    return escape(str(value))


class Link(str):
    """A text with an address."""

    address = ""

    @classmethod
    def to(cls, address: str, text: str) -> Link:
        """Return a text that leads to an address."""
        link = cls(text)
        link.address = address
        return link


def _lead(text: str, kind: str = "lead") -> str:
    return f'<p class="{kind}">{escape(text)}</p>'


def _figures(figures: Iterable[tuple[str, Figure | None, str]]) -> str:
    """Return figures side by side where there is room; each has a name, its chart and an explanation."""
    drawn = [_figure(*each) for each in figures if each[1]]
    return '<div class="charts">\n' + "\n".join(drawn) + "\n</div>" if drawn else ""


def _figure(name: str, figure: Figure, explanation: str) -> str:
    spec = figure.chart.properties(width="container").to_dict()
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    text = json.dumps(spec, separators=(",", ":"), default=str).replace("<", "\\u003c")
    caption = f"<figcaption>{escape(explanation)}</figcaption>" if explanation else ""
    numbers = table(figure.data, f"Numbers of the chart: {figure.title}")
    return (
        f'<figure class="chart" data-name="{escape(name)}"><h3>{escape(figure.title)}</h3>\n'
        f'<div class="plot" role="img" aria-label="{escape(figure.alt)}"></div>\n{caption}\n'
        f'<div class="tools"><details><summary>Show the numbers</summary>{numbers}</details></div>\n'
        f'<script type="application/json">{text}</script></figure>'
    )


def _evaluation(
    run: Run, name: str, metrics: Mapping[str, Any], answers: pd.DataFrame
) -> Iterator[tuple[str, Figure | None, str]]:
    yield (
        f"confusion-{name}",
        charts.confusion(metrics),
        "A row holds the faces of one class in percent, a column what the run calls them; the diagonal is right.",
    )
    yield f"recall-{name}", charts.per_class(metrics), "Recall: how many faces of the class are found."
    yield f"mistakes-{name}", charts.confusions(metrics), ""
    if answers.empty:
        return
    own = answers[(answers["dataset"] == name) & (answers["head"] == metrics["head"])].dropna(axis="columns", how="all")
    if own.empty:
        return
    yield (
        f"reliability-{name}",
        charts.reliability(own, run.heads[metrics["head"]].labels),
        "A dot stands for all answers of about the same confidence and grows with their number; the stroke through it is its "
        "95% interval. On the dashed line an answer that is 70% sure is right 70% of the time.",
    )
    yield f"confidence-{name}", charts.confidences(own), ""


def _learning(run: Run) -> Iterator[tuple[str, Figure | None, str]]:
    if "history.csv" in run.info["files"]:
        history = run.history()
        yield "loss", charts.losses(history), "The loss is what training lowers; the best epoch's weights were kept."
        yield "accuracy", charts.accuracy_curves(history), ""
    study = run.study()
    if study and study.best:
        yield "search-parameters", charts.search_parameters(study), "A line is one short training of the search."
        yield "search-history", charts.search_history(study), ""
        yield "search-importance", charts.importances(study), ""


def _data(facts: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Figure | None, str]]:
    for name, about in facts.items():
        yield f"classes-{name}", charts.class_counts(about, name), ""
        yield f"faces-per-photo-{name}", charts.faces_per_photo(about), ""
        yield f"face-sizes-{name}", charts.face_sizes(about), ""


def _sources(facts: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        f"{dataset_title(name)}: {about.get('source') or 'source not given'}. Licence: {about.get('licence') or 'not given'}."
        for name, about in facts.items()
    ]
    return "\n".join(_lead(line.replace("..", "."), "note") for line in lines)


def _changes(runs: Sequence[Run], name: str) -> Iterator[tuple[str, Figure | None, str]]:
    """Yield the figure that sets runs against the reference; none where they cannot be compared."""
    try:
        reference = comparison.reference_of(runs, name)
        alike = [run for run in runs if run.path == reference.path or comparison.alike(run, reference, name)]
        result = comparison.compare(alike, name, reference=reference)
    except FerError:
        return
    told = f"Recall in percentage points beyond that of {reference.name}, on the test faces of {dataset_title(name)}."
    yield f"changes-{name}", charts.class_changes(result), told


def _runs(runs: Sequence[Run]) -> str:
    rows = [
        {
            "Run": Link.to(page_name(run), run.name),
            "Test faces of": dataset_title(name),
            "Faces": f"{scores['faces']:,}",
            "Accuracy (95% interval)": interval(scores["accuracy"]),
            "Macro F1": interval(scores["macro_f1"]),
            "Calibration error": interval(scores["ece"]),
        }
        for run in runs
        for name, scores in (run.info.get("metrics") or {}).items()
    ]
    unmeasured = [{"Run": Link.to(page_name(run), run.name)} for run in runs if not run.info.get("metrics")]
    return table(pd.DataFrame([*rows, *unmeasured], dtype=object).fillna(""), "Scores of every run and dataset", "runs")


def _heads(run: Run) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "Head": head.name,
                "Classes": ", ".join(head.labels),
                "Temperature": f"{head.temperature:.2f}",
                "Uncertain below": percent(head.threshold),
            }
            for head in run.heads.values()
        ]
    )


def _training(run: Run) -> dict[str, str]:
    model, facts = run.info.get("model", {}), {}
    if "parameters" in model:
        facts["Parameters"] = f"{model['parameters']:,}"
    if run.input:
        facts["Input"] = f"{run.input.size} × {run.input.size}"
    if "epoch" in run.info.get("validation", {}):
        facts["Best epoch"] = str(run.info["validation"]["epoch"])
    if "seconds" in run.info:
        facts["Training time"] = f"{max(1, round(run.info['seconds'] / 60)):,} min"
    return {name: escape(text) for name, text in facts.items()}


def _score(score: Mapping[str, float | None]) -> str:
    if score["value"] is None:
        return "none"
    return f"{percent(score['value'], 1)}<small>{100 * score['low']:.1f} to {percent(score['high'], 1)}</small>"


def _facts(values: Mapping[str, str]) -> str:
    cells = "\n".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in values.items())
    return f'<dl class="facts">\n{cells}\n</dl>' if values else ""
