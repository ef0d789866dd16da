"""Drawing faces: what stands where, in which colour, and what is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from fercore.labels import COLOURS, FERPLUS_LABELS, LABELS
from fercore.overlay import Mark, draw
from scripted import towards

GROUND = 128


def frame(height: int = 360, width: int = 480) -> np.ndarray:
    return np.full((height, width, 3), GROUND, np.uint8)


def mark(
    box: tuple[float, ...],
    label: str | None = "happy",
    number: int = 1,
    labels: tuple[str, ...] = LABELS,
    p: float = 0.6,
) -> Mark:
    row = towards(label or labels[0], p, labels)
    return Mark(number, box, label, p if label else 0.0, dict(zip(labels, row.tolist(), strict=True)))


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def where(picture: np.ndarray, colour: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the bounds of the pixels that have exactly this colour: left, top, right, bottom."""
    rows, columns = np.nonzero((picture == colour).all(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_the_frame_itself_is_not_touched() -> None:
    original = frame()
    drawn = draw(original, [mark((100, 100, 80, 80))])
    assert (original == GROUND).all()
    assert drawn.shape == original.shape
    assert drawn.dtype == np.uint8
    assert (draw(original, []) == original).all()


@pytest.mark.parametrize("label", LABELS)
def test_box_and_caption_have_the_colour_of_the_class(label: str) -> None:
    drawn = draw(frame(), [mark((100, 100, 80, 90), label)])
    assert tuple(drawn[145, 100]) == tuple(drawn[145, 180]) == tuple(drawn[190, 140]) == rgb(COLOURS[label])
    assert (drawn[110:180, 110:170] == GROUND).all(), "the face itself stays free"
    caption = drawn[84:98, 102:170]
    ink = caption[(caption != rgb(COLOURS[label])).any(axis=2)]
    assert len(ink) > 50, "there is text on the caption"


@pytest.mark.parametrize("top", [-30, 0, 10])
def test_at_the_upper_edge_the_caption_moves_into_the_box(top: int) -> None:
    drawn = draw(frame(), [mark((100, top, 80, 90))])
    first = max(0, top) + 1
    assert ((drawn[first : first + 15, 102:170] == rgb(COLOURS["happy"])).all(axis=2).mean()) > 0.4


@pytest.mark.parametrize("label", FERPLUS_LABELS)
def test_the_caption_can_be_read(label: str) -> None:
    """Its ink has a contrast of 4.5 or more with the class's colour (WCAG 2 AA)."""

    def luminance(colour: tuple[int, ...]) -> float:
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in np.array(colour) / 255]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    drawn = draw(frame(), [mark((100, 100, 80, 90), label, labels=FERPLUS_LABELS)])
    caption = drawn[84:97, 102:170].reshape(-1, 3)
    ground = luminance(rgb(COLOURS[label]))
    ink = max((luminance(tuple(pixel)) for pixel in caption), key=lambda value: abs(value - ground))
    assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) >= 4.5


def bar(drawn: np.ndarray, colour: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the bounds of the bar of a colour right of a face that is at most 200 pixels wide from the left."""
    left, top, right, bottom = where(drawn[:, 200:], colour)
    return left + 200, top, right + 200, bottom


def test_bars_are_as_long_as_the_probabilities() -> None:
    face = Mark(1, (100, 100, 80, 90), "happy", 0.5, {"happy": 0.5, "sad": 0.25, "angry": 1.0, "fear": 0.0})
    drawn = draw(frame(), [face])
    lengths = {label: np.subtract(*bar(drawn, rgb(COLOURS[label]))[2::-2]) for label in ("happy", "sad", "angry")}
    assert lengths["happy"] == pytest.approx(lengths["angry"] / 2, abs=1.5)
    assert lengths["sad"] == pytest.approx(lengths["angry"] / 4, abs=1.5)
    assert not (drawn == rgb(COLOURS["fear"])).all(axis=2).any()
    tops = [bar(drawn, rgb(COLOURS[label]))[1] for label in ("happy", "sad", "angry")]
    assert tops == sorted(tops), "in the order of the labels"


def test_a_face_without_a_label_is_grey_and_one_of_several_has_its_number() -> None:
    nobody = draw(frame(), [mark((100, 100, 80, 90), None)])
    assert tuple(nobody[145, 100]) == (0x55, 0x55, 0x55)
    alone = draw(frame(), [mark((100, 100, 80, 90))])
    several = draw(frame(), [mark((100, 100, 80, 90)), mark((100, 260, 70, 80), "sad", 2)])
    assert (alone[84:98, 102:108] != several[84:98, 102:108]).any()


def test_bars_cover_no_other_face() -> None:
    """The right is taken by a neighbour, so they go left; where no side is free there are none."""
    left = draw(frame(), [mark((200, 100, 80, 90)), mark((290, 100, 70, 80), "sad", 2)])
    assert (left[104:176, 294:356] == GROUND).all()
    assert (left[100:190, 60:190] != GROUND).any()
    crowd = [mark((200, 100, 90, 90)), mark((110, 110, 80, 80), "sad", 2), mark((300, 110, 80, 80), "fear", 3)]
    squeezed = draw(frame(230), crowd)
    assert sum((squeezed[:, columns] == (88, 88, 96)).all(axis=2).any() for columns in (slice(196, 296),)) == 0


def test_more_than_three_faces_have_no_bars() -> None:
    faces = [mark((20 + 110 * n, 200, 50, 50), label, n) for n, label in enumerate(LABELS[:4])]
    assert (draw(frame(), faces)[:170] == GROUND).all()
    assert (draw(frame(), faces[:3])[:170] != GROUND).any() or (draw(frame(), faces[:3])[270:] != GROUND).any()


def test_a_face_that_fills_the_frame_has_its_bars_in_the_corner() -> None:
    drawn = draw(frame(), [mark((10, 5, 460, 350), "sad")])
    assert (drawn[250:340, 20:110] != GROUND).any()
    assert (drawn[40:200, 20:460] == GROUND).all()


def test_text_grows_with_the_frame() -> None:
    heights = []
    for scale in (1, 2, 3):
        drawn = draw(frame(360 * scale, 480 * scale), [mark((100 * scale, 100 * scale, 80 * scale, 90 * scale))])
        heights.append(100 * scale - where(drawn[: 99 * scale, : 200 * scale], rgb(COLOURS["happy"]))[1])
    assert np.array(heights) / heights[0] == pytest.approx([1, 2, 3], rel=0.15)


@pytest.mark.parametrize("size", [(1, 1), (8, 300), (300, 8), (48, 64), (2000, 1000)])
def test_any_frame_and_box_can_be_drawn(size: tuple[int, int]) -> None:
    """Boxes in, across and far outside the frame; names in any script, and more than there are colours."""
    labels = ("happy", "Überraschung", "радость", "驚き", *(f"class {number}" for number in range(12)))
    boxes = [(0, 0, 9, 9), (-50, -60, 100, 90), (1e5, -1e5, 20, 20), (0.4, 0.4, 0.2, 0.2), (5, 5, 1e4, 1e4)]
    for box in boxes:
        drawn = draw(frame(*size), [mark(box, labels[2], labels=labels)])
        assert drawn.shape == (*size, 3)
    assert draw(frame(*size)[::-1, ::-1], [mark(boxes[0])]).shape == (*size, 3)
