"""How an application responds to a lasting expression: rules in a table, of which one is followed.

``EXAMPLE`` is such an application, whole.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from .errors import ConfigError

COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
LONGEST = 200
"""Characters of a greeting or a suggestion."""
EXAMPLE = """\
from fercore import ExpressionStream, Predictor
from fercore.respond import DEFAULT, response
for moment in ExpressionStream(Predictor.load()).run(0):  # 0: the first camera; or a video's path
    for face in moment.faces:
        print(response(DEFAULT, face.label, face.time - face.since))
"""


@dataclasses.dataclass(frozen=True)
class Rule:
    """What to do once an expression has lasted."""

    expression: str
    seconds: float
    """For how long it must have lasted."""
    greeting: str
    suggestion: str
    colour: str
    """As #RRGGBB."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise ConfigError(f"a rule's seconds are a number from 0, not {self.seconds!r}")
        if not COLOUR.fullmatch(self.colour):
            raise ConfigError(f"a rule's colour is written as #E69F00, not {self.colour!r}")
        for name in ("greeting", "suggestion"):
            if len(getattr(self, name)) > LONGEST:
                raise ConfigError(f"a rule's {name} has at most {LONGEST} characters, not {len(getattr(self, name))}")


DEFAULT: tuple[Rule, ...] = (
    Rule("happy", 1, "Lovely to see you smile!", "Shall we go on?", "#E69F00"),
    Rule("sad", 2, "No hurry.", "Would a short break help?", "#0072B2"),
    Rule("angry", 2, "Something in the way?", "The help page may know a way around it.", "#D55E00"),
    Rule("surprise", 1, "That was unexpected!", "Would you like to see what just happened?", "#56B4E9"),
    Rule("neutral", 3, "Hello!", "Everything is ready when you are.", "#999999"),
)


def response(rules: Iterable[Rule], label: str | None, seconds: float) -> Rule | None:
    """Return the rule that an expression which has lasted ``seconds`` calls for: of several, the one that waits longest."""
    fitting = [rule for rule in rules if rule.expression == label and rule.seconds <= seconds]
    return max(fitting, key=lambda rule: rule.seconds, default=None)


def rules_of(rows: Iterable[Mapping[str, Any]]) -> tuple[list[Rule], list[str]]:
    """Return the rules of a table's rows, and a sentence for each row that is none; empty rows are left out."""
    rules, problems = [], []
    for number, row in enumerate(rows, 1):
        if not row.get("expression"):
            continue
        try:
            seconds = row.get("seconds")
            rules.append(
                Rule(
                    str(row["expression"]),
                    0.0 if seconds is None or seconds != seconds else float(seconds),
                    str(row.get("greeting") or ""),
                    str(row.get("suggestion") or ""),
                    str(row.get("colour") or "#999999"),
                )
            )
        except (ConfigError, ValueError, TypeError) as error:
            problems.append(f"Row {number}: {error}.")
    return rules, problems
