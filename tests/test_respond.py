"""The rules of a responding page: which is followed, and what is refused."""

from __future__ import annotations

import pytest

from fercore import respond
from fercore.errors import ConfigError
from fercore.respond import Rule

RULES = [
    Rule("happy", 1, "soon", "go on", "#FFFFFF"),
    Rule("happy", 5, "late", "", "#000000"),
    Rule("sad", 2, "sad", "", "#0072B2"),
]


@pytest.mark.parametrize(
    ("label", "seconds", "greeting"),
    [
        ("happy", 0.9, None),
        ("happy", 1, "soon"),
        ("happy", 4.9, "soon"),
        ("happy", 5, "late"),
        ("sad", 60, "sad"),
        ("fear", 60, None),
        (None, 60, None),
    ],
)
def test_the_rule_that_waits_longest_is_followed(label: str | None, seconds: float, greeting: str | None) -> None:
    found = respond.response(RULES, label, seconds)
    assert (found and found.greeting) == greeting


def test_rows_become_rules_and_bad_rows_are_named() -> None:
    rows = [
        {"expression": "happy", "seconds": 2, "greeting": "hello", "suggestion": "rest", "colour": "#e69f00"},
        {"expression": None, "seconds": None, "greeting": "", "colour": None},
        {"expression": "sad", "seconds": float("nan"), "greeting": None, "colour": None},
        {"expression": "sad", "seconds": -1, "greeting": "", "colour": "#000000"},
        {"expression": "sad", "seconds": 1, "greeting": "", "colour": "red"},
        {"expression": "sad", "seconds": 1, "greeting": "x" * 201, "colour": "#000000"},
        {"expression": "sad", "seconds": 1, "suggestion": "x" * 201, "colour": "#000000"},
    ]
    rules, problems = respond.rules_of(rows)
    assert rules == [Rule("happy", 2, "hello", "rest", "#e69f00"), Rule("sad", 0, "", "", "#999999")]
    assert [problem[:6] for problem in problems] == ["Row 4:", "Row 5:", "Row 6:", "Row 7:"]
    assert "is written as #E69F00, not 'red'" in problems[1]


def test_a_colour_that_could_carry_markup_is_refused() -> None:
    with pytest.raises(ConfigError):
        Rule("happy", 1, "", "", '#000000"><script>')
