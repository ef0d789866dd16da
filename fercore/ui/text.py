"""Words: terms that need a help text, and names that come from outside."""

from __future__ import annotations

import re

GLOSSARY: dict[str, str] = {
    "Accuracy": "The share of test faces whose most likely class is the labelled one.",
    "Balanced accuracy": "The mean of the recalls of all classes: rare classes count as much as frequent ones.",
    "Macro F1": (
        "F1 is the harmonic mean of precision (how many of the faces called sad are sad) and recall (how many of the "
        "sad faces are found). Macro F1 is its mean over the classes: rare ones count as much as frequent ones."
    ),
    "Log loss": (
        "How far the probabilities lie from the labels (nats): 0 if the labelled class always gets 100%; 1.95 if each of seven "
        "classes always gets as much as the next. Confident mistakes cost most."
    ),
    "ECE": (
        "Expected calibration error: how far the confidence lies from the share of right answers, on average over ten "
        "confidence bins. At 0% an answer that is 70% sure is right 70% of the time."
    ),
    "Whole release": (
        "An estimate of the accuracy on ExpW's whole release. This test set has equally many faces of each class, the "
        "release is mostly neutral and happy: each class's recall is weighted by the release's class shares."
    ),
    "Score": (
        "Recall: how many faces of the class are found. Precision: how many of the answers that name it are right. F1: "
        "their harmonic mean."
    ),
    "Uncertain": (
        "The confidence lies below the threshold that the validation faces chose: down there answers are wrong more "
        "often than right, so the label is given with reserve."
    ),
    "Head": (
        "Label sources disagree about faces, so the network has one head for each and gives its answer with that source's "
        "classes; “consensus” is meant for photos from anywhere."
    ),
    "Imbalance": (
        "Faces of the largest class to faces of the smallest. A network that sees few faces of a class rarely names that class."
    ),
    "Left out": (
        "Training faces that stand, nearly the same, in validation or test too. They would make the test too easy, so "
        "the network never sees them."
    ),
    "Run": "A run is one trained network with its results.",
    "Reference": "What the other runs are tested against, face by face.",
    "McNemar": (
        "McNemar's test looks at the faces that only one of two runs has right: a p-value below 0.05 means that chance "
        "alone would rarely make them differ so much."
    ),
    "Parameters": "The numbers that training sets.",
}
"""Terms that a visitor may not know, each in one or two sentences."""

INTERVAL = "Ranges are 95% intervals: how far chance in the choice of test faces goes."
CAUTION = (
    "An expression is not a feeling. The network says which of a few expressions a face resembles to the people who "
    "labelled its training data; it does not know what anyone feels, and it errs more often with some people than with "
    "others. Do not judge anyone by it."
)


def plain(text: str) -> str:
    """Return text from outside (a file name, an error) so that Markdown shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])", r"\\\1", text)
