"""From box to face square to network input, against computations that share no code with it."""

from __future__ import annotations

import json
import math
import time

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from fercore import preprocess
from fercore.errors import ConfigError, FerError
from fercore.preprocess import FRAMINGS, Framing, InputSpec, as_boxes, cut, cut_faces, face_square, normalise

NOISE = np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)


def positions(square: tuple[float, float, float], size: int, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y in the picture of each pixel of a square turned clockwise on the screen, where y points down."""
    centre_x, centre_y, side = square
    steps = ((np.arange(size) + 0.5) / size - 0.5) * side
    along, down = np.meshgrid(steps, steps)
    turn = math.radians(angle)
    return (
        centre_x + along * math.cos(turn) - down * math.sin(turn),
        centre_y + along * math.sin(turn) + down * math.cos(turn),
    )


def bilinear(grey: np.ndarray, square: tuple[float, float, float], size: int, angle: float = 0.0) -> np.ndarray:
    """Return what SciPy reads there, the picture continued by its edge."""
    x, y = positions(square, size, angle)
    return ndimage.map_coordinates(grey.astype(float), [y - 0.5, x - 0.5], order=1, mode="nearest")


SQUARES = {
    "whole pixels": ((60.0, 45.0, 48.0), 48, 0.0),
    "half a pixel off": ((60.5, 45.5, 48.0), 48, 0.0),
    "between pixels": ((60.37, 44.81, 37.3), 48, 0.0),
    "much enlarged": ((31.2, 70.9, 9.7), 64, 0.0),
    "a little reduced": ((60.2, 45.1, 70.0), 48, 0.0),
    "turned clockwise": ((60.2, 45.1, 40.0), 48, 25.0),
    "turned the other way": ((60.2, 45.1, 40.0), 48, -70.0),
    "beyond left and top": ((5.3, 3.8, 40.0), 48, 0.0),
    "beyond right and bottom": ((118.1, 88.4, 40.0), 48, 10.0),
    "beyond all sides": ((60.0, 45.0, 140.0), 112, 0.0),
    "wholly to the left": ((-80.0, 45.0, 40.0), 32, 0.0),
    "wholly below": ((60.0, 300.0, 40.0), 32, 0.0),
    "wholly off a corner": ((1e6, -1e6, 40.0), 32, 0.0),
    "of no extent": ((60.25, 45.5, 1e-9), 16, 0.0),
}


@pytest.mark.parametrize("case", SQUARES)
def test_cut_is_bilinear_interpolation(case: str) -> None:
    square, size, angle = SQUARES[case]
    found = cut(NOISE, square, size, angle=angle)
    assert found.dtype == np.uint8
    assert found.shape == (size, size)
    assert np.abs(found - bilinear(NOISE, square, size, angle)).max() <= 1


def test_a_square_that_fits_is_the_pixels_themselves() -> None:
    assert np.array_equal(cut(NOISE, (60.0, 45.0, 48.0), 48), NOISE[21:69, 36:84])
    assert np.array_equal(cut(NOISE, (60.0, 45.0, 48.0), 48, angle=90), np.rot90(NOISE[21:69, 36:84]))
    assert np.array_equal(cut(NOISE, (60.0, 45.0, 48.0), 48, angle=180), NOISE[21:69, 36:84][::-1, ::-1])


def test_colour_becomes_grey_as_pillow_says(portrait: np.ndarray) -> None:
    grey = np.asarray(Image.fromarray(portrait).convert("L")).astype(int)
    square = (224.0, 120.0, 64.0)
    assert np.abs(cut(portrait, square, 64) - grey[88:152, 192:256]).max() <= 1
    assert np.array_equal(cut(grey.astype(np.uint8), square, 64), grey[88:152, 192:256])
    flipped = portrait[:, ::-1]  # not contiguous
    assert np.array_equal(cut(flipped, (512 - 224.0, 120.0, 64.0), 64), cut(portrait, square, 64)[:, ::-1])


@pytest.mark.parametrize("block", [2, 3, 5])
def test_a_large_square_is_averaged_over_blocks(block: int) -> None:
    side = 16 * block
    picture = np.random.default_rng(block).integers(0, 256, (side, side), dtype=np.uint8)
    means = picture.reshape(16, block, 16, block).mean(axis=(1, 3))
    assert np.abs(cut(picture, (side / 2, side / 2, float(side)), 16) - means).max() <= 0.51


def test_blocks_begin_at_one_and_a_half_times_the_size() -> None:
    fine = np.indices((200, 200)).sum(axis=0).astype(np.uint8) % 2 * 255
    assert cut(fine, (100.5, 100.5, 71.9), 48).std() > 20
    assert np.ptp(cut(fine, (100.5, 100.5, 96.0), 48)) <= 1  # the mean of every 2 x 2 pixels of a chessboard


@pytest.mark.parametrize("angle", [0.0, 33.0, -90.0, 145.0])
@pytest.mark.parametrize("side", [10.0, 17.3, 20.0, 33.3, 50.0, 65.0])
def test_a_ramp_stays_where_it_is(side: float, angle: float) -> None:
    """Block averages and bilinear interpolation keep a plane as it is, so that any shift or scale would show."""
    row = 2 * np.arange(128, dtype=np.uint8)
    square = (63.3, 64.6, side)
    x, y = positions(square, 12, angle)
    for picture, place in ((np.tile(row, (128, 1)), x), (np.tile(row[:, None], (1, 128)), y)):
        error = cut(picture, square, 12, angle=angle) - 2 * (place - 0.5)
        assert np.abs(error).max() <= 1
        assert abs(error.mean()) < 0.15


@pytest.mark.parametrize("side", [60.0, 65.7, 75.0, 97.3])
@pytest.mark.parametrize("centre", [(130.0, 140.0), (131.2, 139.9), (128.55, 133.35)])
def test_block_averages_are_read_between_their_centres(side: float, centre: tuple[float, float]) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (280, 260), dtype=np.uint8)
    block = round(side / 20)
    for angle in (0.0, 20.0):
        turn = math.radians(angle)
        reach = side / 2 * (math.cos(turn) + math.sin(turn))
        left, top = (math.floor(middle - reach) - block for middle in centre)
        inside = picture[top : top + 50 * block, left : left + 50 * block]
        rows, columns = (length // block for length in inside.shape)
        means = inside[: rows * block, : columns * block].reshape(rows, block, columns, block).mean(axis=(1, 3))
        x, y = positions((*centre, side), 20, angle)
        wanted = ndimage.map_coordinates(means, [(y - top) / block - 0.5, (x - left) / block - 0.5], order=1)
        assert np.abs(cut(picture, (*centre, side), 20, angle=angle) - wanted).max() <= 1.01


@pytest.mark.parametrize("extent", range(120, 126))
def test_the_last_pixels_of_a_picture_count(extent: int) -> None:
    black = np.zeros((extent, extent), np.uint8)
    square = (extent / 2, extent / 2, float(extent))
    for edge in (np.s_[:, -1], np.s_[-1], np.s_[:, 0], np.s_[0]):
        picture = black.copy()
        picture[edge] = 255
        found = cut(picture, square, 24)
        assert found[edge].min() > 255 / 6 / 2  # a sixth of a block of 5, of which the outermost is at least half


def test_only_the_surroundings_of_a_square_matter() -> None:
    for square, size in (((60.3, 44.6, 30.0), 24), ((60.3, 44.6, 52.0), 16)):
        margin = square[2] / 2 + 2 * max(1, round(square[2] / size)) + 1
        elsewhere = NOISE.copy()
        elsewhere[:, : int(60 - margin)] = 0
        elsewhere[:, int(61 + margin) :] = 0
        assert np.array_equal(cut(elsewhere, square, size), cut(NOISE, square, size))


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (1, 3000), (3000, 1, 3), (2, 2)])
def test_tiny_and_thin_pictures(shape: tuple[int, ...]) -> None:
    picture = np.full(shape, 77, np.uint8)
    for side in (0.5, 5.0, 3000.0, 1e6):
        assert np.array_equal(cut(picture, (shape[1] / 2, 0.5, side), 12, angle=5), np.full((12, 12), 77))


def test_hostile_squares_cost_no_time() -> None:
    start = time.process_time()
    for side in (1e5, 1e9, 1.2e11):
        for centre in (0.0, -1e9, 1.1e11):
            cut(NOISE, (centre, centre, side), 512, angle=30)
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("box", "framing", "square"),
    [
        ((10, 20, 30, 30), Framing(scale=1), (25, 35, 30)),
        ((10, 20, 90, 40), Framing(scale=1), (55, 40, 60)),  # the square root of 90 x 40
        ((10, 20, 90, 40), Framing(scale=0.5, shift_x=0.1, shift_y=-0.2), (61, 28, 30)),
        ((-5, -5, 10, 10), Framing(scale=1), (0, 0, 10)),
        ((100, 50, 50, 50), Framing(scale=1.2, shift_y=-0.08), (125, 71, 60)),
    ],
)
def test_face_square(box: tuple[float, ...], framing: Framing, square: tuple[float, ...]) -> None:
    assert face_square(box, framing) == pytest.approx(square)


def test_cut_faces_cuts_the_square_of_each_box() -> None:
    boxes = [[10, 20, 30, 30], [40.5, 10.25, 36, 49]]
    framing = Framing(scale=1.1, shift_y=0.1)
    crops = cut_faces(NOISE, boxes, framing, 32)
    assert crops.shape == (2, 32, 32)
    assert np.abs(crops[0] - bilinear(NOISE, (25, 38, 33), 32)).max() <= 1
    assert np.abs(crops[1] - bilinear(NOISE, (58.5, 34.75 + 4.2, 46.2), 32)).max() <= 1
    for none in ([], np.zeros((0, 4)), ()):
        empty = cut_faces(NOISE, none, framing, 20)
        assert empty.shape == (0, 20, 20)
        assert empty.dtype == np.uint8


@pytest.mark.parametrize(
    ("boxes", "told"),
    [
        ([1, 2, 3, 4], "expected shape (N, 4) of left, top, width, height; got (4,)"),
        ([[1, 2, 3]], "got (1, 3)"),
        ([[]], "got (1, 0)"),
        (np.zeros((0, 7)), "got (0, 7)"),
        (np.zeros((2, 2, 4)), "got (2, 2, 4)"),
        (None, "got ()"),
        ([[1, 2, 3, 4], [5, 6]], "expected numbers, four a box"),
        ([["a", "b", "c", "d"]], "expected numbers, four a box"),
        ([[1, 2, 3, {}]], "expected numbers, four a box"),
        ([[1, 2, 3, 10**400]], "expected numbers, four a box"),
        ([[0, 0, 5, 5], [0, 0, 0, 5]], "row 1 is [0.0, 0.0, 0.0, 5.0]; every number must be finite"),
        ([[0, 0, 5, -5]], "width and height above 0"),
        ([[math.nan, 0, 5, 5]], "row 0 is [nan, 0.0, 5.0, 5.0]"),
        ([[0, math.inf, 5, 5]], "every number must be finite"),
        ([[0, 0, 1e200, 1e200]], "at most 1e+09"),
    ],
)
def test_boxes_that_are_refused(boxes: object, told: str) -> None:
    with pytest.raises(FerError) as caught:
        as_boxes(boxes)
    assert told in str(caught.value)
    assert str(caught.value).startswith("boxes: ")
    assert "\n" not in str(caught.value)


def test_boxes_of_any_kind_of_number() -> None:
    given = as_boxes(np.array([[1, 2, 3, 4]], np.int16))
    assert given.dtype == np.float64
    assert given.tolist() == [[1, 2, 3, 4]]
    assert as_boxes([(0.5, -3, 1e-6, 1e9)]).tolist() == [[0.5, -3, 1e-6, 1e9]]


def test_normalise() -> None:
    crops = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 14
    inputs = normalise(crops, InputSpec(size=8, mean=115.0, std=2.0))
    assert inputs.dtype == np.float32
    assert inputs.shape == (2, 3, 3, 1)
    assert inputs[0, 0, 0, 0] == -57.5
    assert inputs[1, 2, 2, 0] == (17 * 14 - 115) / 2
    assert normalise(crops, InputSpec(size=8)).max() == np.float32(17 * 14 / 255)


@pytest.mark.parametrize(
    "values",
    [
        {"size": 7},
        {"size": 513},
        {"size": 48.0},
        {"size": True},
        {"size": "48"},
        {"size": 48, "std": 0},
        {"size": 48, "std": -1},
        {"size": 48, "std": math.nan},
        {"size": 48, "std": math.inf},
        {"size": 48, "mean": math.nan},
        {"size": 48, "mean": None},
    ],
)
def test_inputs_that_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"^input: "):
        InputSpec.from_dict(values)


@pytest.mark.parametrize(
    "values",
    [
        {"scale": 0},
        {"scale": -1},
        {"scale": math.nan},
        {"scale": math.inf},
        {"scale": 10**400},
        {"scale": "1"},
        {"scale": True},
        {"scale": 1, "shift_x": math.inf},
        {"scale": 1, "shift_y": math.nan},
        {"scale": 1, "shift_y": []},
    ],
)
def test_framings_that_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"^framing: "):
        Framing.from_dict(values)


def test_framings_and_inputs_come_back_from_json() -> None:
    for value in (*FRAMINGS.values(), InputSpec(size=112, mean=115.0, std=1.0)):
        assert type(value).from_dict(json.loads(json.dumps(value.to_dict()))) == value
    assert set(preprocess.FRAMINGS) == {"detector", "expw", "crop"}
