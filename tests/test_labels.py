"""Class names, their order and their colours."""

from __future__ import annotations

import re

import pytest

from fercore import labels
from test_theme import contrast


def test_order_is_that_of_expw_and_fer2013() -> None:
    assert labels.LABELS == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert (*labels.LABELS, "contempt") == labels.FERPLUS_LABELS


def test_every_synonym_means_a_known_class_and_is_none_itself() -> None:
    assert set(labels.SYNONYMS.values()) == set(labels.FERPLUS_LABELS)
    assert not set(labels.SYNONYMS) & set(labels.FERPLUS_LABELS)
    assert all(name == name.lower().strip() for name in labels.SYNONYMS)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("Anger", "angry"),
        (" HAPPINESS\n", "happy"),
        ("FEA", "fear"),
        ("SU", "surprise"),
        ("Sad", "sad"),
        ("_calm_", "neutral"),
        ("Very_Bored", "very bored"),
        ("7", "7"),
        ("", ""),
    ],
)
def test_canonical(name: str, ours: str) -> None:
    assert labels.canonical(name) == ours


def test_canonical_is_stable() -> None:
    for name in (*labels.SYNONYMS, *labels.FERPLUS_LABELS, "bored", "_x_y_"):
        once = labels.canonical(name)
        assert labels.canonical(once) == once


def test_ordered_puts_known_classes_first_and_drops_repeats() -> None:
    assert labels.ordered(["zeal", "sad", "contempt", "angry", "awe", "sad"]) == (
        *("angry", "sad", "contempt"),
        *("awe", "zeal"),
    )
    assert labels.ordered(iter([])) == ()


def test_colours_of_the_known_classes_are_fixed() -> None:
    expected = {
        "angry": "#D55E00",
        "disgust": "#009E73",
        "fear": "#CC79A7",
        "happy": "#E69F00",
        "sad": "#0072B2",
        "surprise": "#56B4E9",
        "neutral": "#999999",
    }
    assert labels.colours(labels.LABELS) == expected
    assert labels.colours(["x", *labels.LABELS, "y"]).items() >= expected.items()


def test_a_dozen_unknown_classes_get_colours_of_their_own() -> None:
    names = [f"class {number}" for number in range(12)]
    given = labels.colours([*labels.FERPLUS_LABELS, *names])
    assert list(given) == [*labels.FERPLUS_LABELS, *names]
    assert len(set(given.values())) == 20
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour in given.values())


def test_colours_do_not_run_out_and_a_repeated_label_takes_one() -> None:
    assert len(labels.colours(str(number) for number in range(100))) == 100
    assert labels.colours(["x", "x", "y"]) == labels.colours(["x", "y"])


@pytest.mark.parametrize(
    ("colour", "ink"), [("#FFFFFF", "#000000"), ("#000000", "#FFFFFF"), ("#E69F00", "#000000"), ("#0072B2", "#FFFFFF")]
)
def test_text_on_a_colour_is_black_or_white(colour: str, ink: str) -> None:
    assert labels.ink(colour) == ink


@pytest.mark.parametrize("colour", [*labels.COLOURS.values(), *labels.FURTHER_COLOURS])
def test_text_on_the_colour_of_a_class_can_be_read(colour: str) -> None:
    """WCAG 2 AA asks for 4.5."""
    assert contrast(colour, labels.ink(colour)) >= 4.5
