"""What the Classify page draws into a photo."""

from __future__ import annotations

import numpy as np
import pytest

from fercore.inference import Face
from fercore.labels import COLOURS, FERPLUS_LABELS
from fercore.ui import classification
from test_theme import contrast


@pytest.mark.parametrize("label", FERPLUS_LABELS)
def test_the_number_of_a_face_can_be_read_on_the_colour_of_its_class(label: str) -> None:
    """WCAG 2 AA asks for 4.5; the number is black or white, whichever differs most from the ground."""
    probabilities = {name: 0.9 if name == label else 0.1 / 7 for name in FERPLUS_LABELS}
    face = Face((100.0, 100.0, 200.0, 200.0), 0.9, label, 0.9, probabilities, uncertain=False)
    drawn = classification.draw(np.full((400, 400, 3), 128, np.uint8), [face])
    tag = drawn[80:96, 100:115].reshape(-1, 3)
    ground = "#" + "".join(f"{value:02X}" for value in np.median(tag, axis=0).astype(int))
    assert ground == COLOURS[label]
    inks = ["#" + "".join(f"{value:02X}" for value in pixel) for pixel in tag.tolist()]
    assert max(contrast(ink, ground) for ink in inks) >= 4.5
