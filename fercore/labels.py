"""Expression classes: their order, their synonyms and their colours.

Every array of labels or probabilities in the project follows the order of the labels that travel with it (a dataset's,
a head's, a run's). For the seven basic expressions that order is ``LABELS``, which is ExpW's and FER2013's.
"""

from __future__ import annotations

from collections.abc import Iterable

LABELS: tuple[str, ...] = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The seven basic expressions, in the order that ExpW and FER2013 number them."""

FERPLUS_LABELS: tuple[str, ...] = (*LABELS, "contempt")
"""FER+ has an eighth class; it comes last so that the first seven columns mean the same everywhere."""

SYNONYMS: dict[str, str] = {
    "anger": "angry",
    "ang": "angry",
    "an": "angry",
    "disgusted": "disgust",
    "disgusting": "disgust",
    "dis": "disgust",
    "di": "disgust",
    "afraid": "fear",
    "fearful": "fear",
    "scared": "fear",
    "fea": "fear",
    "fe": "fear",
    "happiness": "happy",
    "joy": "happy",
    "hap": "happy",
    "ha": "happy",
    "sadness": "sad",
    "sa": "sad",
    "surprised": "surprise",
    "sur": "surprise",
    "su": "surprise",
    "neutrality": "neutral",
    "calm": "neutral",
    "neu": "neutral",
    "ne": "neutral",
    "contemptuous": "contempt",
}
"""Names that datasets use for the classes, lower case, each with ours."""

COLOURS: dict[str, str] = {
    "angry": "#D55E00",
    "disgust": "#009E73",
    "fear": "#CC79A7",
    "happy": "#E69F00",
    "sad": "#0072B2",
    "surprise": "#56B4E9",
    "neutral": "#999999",
    "contempt": "#882255",
}
"""Okabe-Ito colours of the seven classes, which colour-blind people tell apart, and one of Paul Tol's for contempt."""

FURTHER_COLOURS: tuple[str, ...] = (
    *("#332288", "#117733", "#AA4499", "#44AA99", "#DDCC77", "#661100", "#6699CC"),
    *("#999933", "#CC6677", "#4477AA", "#AA3377", "#88CCEE"),
)
"""What classes of a stranger's dataset get, in their order (of Paul Tol's muted and bright schemes)."""


def canonical(name: str) -> str:
    """Return our name of a class: lower case, trimmed, synonyms resolved; an unknown name is kept as it is."""
    cleaned = name.replace("_", " ").strip().lower()
    return SYNONYMS.get(cleaned, cleaned)


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Return distinct class names in the project's order: known ones as in ``FERPLUS_LABELS``, then others by name."""
    found = set(names)
    known = tuple(label for label in FERPLUS_LABELS if label in found)
    return known + tuple(sorted(found - set(known)))


def colours(labels: Iterable[str]) -> dict[str, str]:
    """Return a colour (``#RRGGBB``) for each label: the fixed one of a known class, the next free one of the others.

    More than twelve unknown classes share some.
    """
    result: dict[str, str] = {}
    free = 0
    for label in dict.fromkeys(labels):
        if label in COLOURS:
            result[label] = COLOURS[label]
        else:
            result[label] = FURTHER_COLOURS[free % len(FURTHER_COLOURS)]
            free += 1
    return result


def ink(colour: str) -> str:
    """Return black or white (``#RRGGBB``), whichever is read better on a colour, by WCAG's relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05
    return "#000000" if light / 0.05 >= 1.05 / light else "#FFFFFF"
