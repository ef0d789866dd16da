"""Studies: what a hyperparameter search tried, as the ``study.json`` of a run and as the file that a search resumes from.

A study is JSON: the searched space, the recipe that all trials share, each trial's parameters and what became of it. It is
read back with every number checked, so that a page or a resumed search never stumbles over a damaged one.
"""

from __future__ import annotations

import dataclasses
import json
import math
import reprlib
from collections.abc import Mapping
from typing import Any

from .errors import RunError

SCHEMA = 1
STATES = ("complete", "pruned", "failed")
FILE = "study.json"
MAX_TRIALS = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dimension:
    """The values that a search may give one parameter: an interval of numbers, or a list."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    """Drawn evenly on a logarithmic scale."""
    choices: tuple[Any, ...] = ()
    """JSON values; empty for an interval."""

    def __post_init__(self) -> None:
        if self.choices:
            if self.low is not None or self.high is not None or self.log:
                raise RunError("a parameter has either choices or low and high")
            return
        for bound in (self.low, self.high):
            if not _is_number(bound):
                raise RunError(f"{reprlib.repr(bound)} is not a number")
        if not self.low < self.high or (self.log and self.low <= 0):
            raise RunError(f"{self.low:g} to {self.high:g} is no {'logarithmic ' if self.log else ''}interval")

    def holds(self, value: Any) -> bool:
        """Tell whether a value lies in the interval or among the choices."""
        if self.choices:
            return value in self.choices
        return _is_number(value) and self.low <= value <= self.high

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        if self.choices:
            return {"choices": list(self.choices)}
        return {"low": self.low, "high": self.high, "log": self.log}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Dimension:
        """Read the JSON form; raises ``RunError`` or ``TypeError`` where it is none."""
        values = dict(values)
        return cls(**values | ({"choices": tuple(values["choices"])} if "choices" in values else {}))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of the search."""

    number: int
    params: dict[str, Any]
    state: str
    """``complete``, ``pruned`` (stopped, since it was worse than most at the same epoch) or ``failed``."""
    value: float | None
    """The best value of the metric over the epochs of a complete trial; None for the others."""
    epochs: tuple[float, ...]
    """The metric after each epoch that was trained."""
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**dataclasses.asdict(self), "epochs": list(self.epochs)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """A search: what it could choose from, how it chose, and every trial in order."""

    metric: str
    """What is maximised: a column of the training's history, measured on the validation split."""
    seed: int
    sampler: str
    pruner: str
    recipe: dict[str, Any]
    """Of every trial; a trial's parameters replace values in it."""
    fingerprint: str
    """Digest of recipe, space and data: a search goes on only with those that it began with."""
    space: dict[str, Dimension]
    trials: tuple[Trial, ...] = ()
    importance: dict[str, float] = dataclasses.field(default_factory=dict)
    """Share of each parameter in how the complete trials differ; empty while there are too few of them."""

    @property
    def best(self) -> Trial | None:
        """The complete trial with the highest value, the first of equals; None while there is none."""
        complete = self.of("complete")
        return max(complete, key=lambda trial: trial.value) if complete else None

    def of(self, state: str) -> list[Trial]:
        """Return the trials of a state."""
        return [trial for trial in self.trials if trial.state == state]

    def to_json(self) -> str:
        """Return the text of ``study.json``."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["space"] = {name: dimension.to_dict() for name, dimension in self.space.items()}
        values["trials"] = [trial.to_dict() for trial in self.trials]
        best = self.best
        document = {"schema": SCHEMA, **values, "best": best.number if best else None}
        return json.dumps(document, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Study:
        """Read what ``to_json`` wrote.

        Raises:
            RunError: a newer schema, a part that is missing or of another kind, or parts that contradict each other.
        """
        values = dict(document)
        schema = values.pop("schema", None)
        if schema != SCHEMA:
            raise RunError(f"schema {reprlib.repr(schema)} is unknown; this version reads {SCHEMA}")
        best = values.pop("best", None)
        try:
            space = {name: Dimension.from_dict(of) for name, of in values.pop("space").items()}
            trials = tuple(_trial(number, of, space) for number, of in enumerate(values.pop("trials")))
            study = cls(**values, space=space, trials=trials)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise RunError(f"not a valid study: {what}") from error
        study._check(best)
        return study

    def _check(self, best: Any) -> None:
        texts = (self.metric, self.sampler, self.pruner, self.fingerprint)
        if not all(isinstance(text, str) for text in texts) or not isinstance(self.recipe, dict) or not self.space:
            raise RunError("not a valid study: its settings are not those of a search")
        if len(self.trials) > MAX_TRIALS:
            raise RunError(f"not a valid study: {len(self.trials):,} trials, more than {MAX_TRIALS:,}")
        if not isinstance(self.importance, dict) or not all(
            name in self.space and _is_number(share) and 0 <= share <= 1 for name, share in self.importance.items()
        ):
            raise RunError("not a valid study: importance must be a share for parameters of the space")
        if best != (self.best.number if self.best else None):
            raise RunError(f"not a valid study: trial {reprlib.repr(best)} is not its best")


def _trial(number: int, values: Mapping[str, Any], space: Mapping[str, Dimension]) -> Trial:
    trial = Trial(**{**values, "epochs": tuple(values["epochs"])})
    where = f"trial {number}"
    if type(trial.number) is not int or trial.number != number:
        raise RunError(f"not a valid study: {where} calls itself {reprlib.repr(trial.number)}")
    if trial.state not in STATES:
        raise RunError(f"not a valid study: {where}: state {reprlib.repr(trial.state)} is none of {', '.join(STATES)}")
    if set(trial.params) != set(space):
        raise RunError(f"not a valid study: {where}: its parameters are not those of the space")
    for name, value in trial.params.items():
        if not space[name].holds(value):
            raise RunError(f"not a valid study: {where}: {name} {reprlib.repr(value)} is outside the space")
    if not all(map(_is_number, (*trial.epochs, trial.seconds))):
        raise RunError(f"not a valid study: {where}: epochs and seconds must be numbers")
    if (trial.state == "complete") != (trial.value is not None):
        raise RunError(f"not a valid study: {where} is {trial.state}, but its value is {reprlib.repr(trial.value)}")
    if trial.value is not None and (not _is_number(trial.value) or trial.value != max(trial.epochs, default=None)):
        raise RunError(f"not a valid study: {where}: its value is not the best of its epochs")
    return trial


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
