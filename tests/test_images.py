"""Decoding: the right pixels from every format, one clear line for everything else, and nothing else ever."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, PngImagePlugin, features

from fercore.errors import ImageError
from fercore.images import FORMATS, SUFFIXES, find_images, load_image, load_scaled, open_scaled
from hostile import (
    NOT_PICTURES,
    bombs,
    encoded,
    exif,
    jpeg_with,
    png_chunk,
    png_with,
    progressive_with_scans,
    rle_bmp,
    tiff,
)

QUADRANTS = np.zeros((32, 48, 3), np.uint8)
QUADRANTS[:16, :24] = 220, 40, 40
QUADRANTS[:16, 24:] = 40, 200, 60
QUADRANTS[16:, :24] = 50, 60, 210
QUADRANTS[16:, 24:] = 240, 240, 240


@pytest.fixture(scope="module")
def small(portrait: np.ndarray) -> np.ndarray:
    """The portrait at 96x80."""
    return np.asarray(Image.fromarray(portrait).resize((96, 80)))


def heic(pixels: np.ndarray, **options: object) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(buffer, **options)
    return buffer.getvalue()


def refusal(source: object, **options: object) -> str:
    """Return the line with which a source is refused."""
    with pytest.raises(ImageError) as caught:
        load_image(source, **options)
    message = str(caught.value)
    assert message.isprintable(), "more than one line"
    return message


def difference(one: np.ndarray, other: np.ndarray) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other).max())


# The right pixels


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"big_tiff": True}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_lossless_formats_come_back_exactly(small: np.ndarray, kind: str, options: dict) -> None:
    result = load_image(encoded(small, kind, **options))
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    assert result.flags.writeable
    assert np.array_equal(result, small)


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 90},
        {"quality": 90, "subsampling": 0},
        {"quality": 60, "progressive": True},
        {"quality": 90, "restart_marker_rows": 1},
        {"quality": 90, "keep_rgb": True},
        {"quality": 90, "comment": b"\xff\xd9\xff\xda" * 20},
        {"quality": 90, "icc_profile": b"\xff\xd9" * 50_000},
    ],
)
def test_jpeg_agrees_with_pillow(small: np.ndarray, options: dict) -> None:
    file = encoded(small, "JPEG", **options)
    expected = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    assert difference(load_image(file), expected) <= 2
    assert difference(load_image(file + b"\xff\xd8\xff a second picture or a film"), expected) <= 2


def test_heic(small: np.ndarray) -> None:
    assert np.abs(load_image(heic(small, quality=95)).astype(int) - small).mean() < 6


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif(small: np.ndarray) -> None:
    assert np.abs(load_image(encoded(small, "AVIF", quality=95)).astype(int) - small).mean() < 6


def stored_as(upright: np.ndarray, orientation: int) -> np.ndarray:
    """Lay a picture out as EXIF defines the orientation: where its stored first row and first column are seen."""
    row_side, column_side = {
        1: ("top", "left"),
        2: ("top", "right"),
        3: ("bottom", "right"),
        4: ("bottom", "left"),
        5: ("left", "top"),
        6: ("right", "top"),
        7: ("right", "bottom"),
        8: ("left", "bottom"),
    }[orientation]
    lines = {"top": upright, "bottom": upright[::-1]}
    columns = upright.transpose(1, 0, 2)
    lines |= {"left": columns, "right": columns[::-1]}
    return np.ascontiguousarray(lines[row_side] if column_side in ("left", "top") else lines[row_side][:, ::-1])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    stored, block = stored_as(QUADRANTS, orientation), exif(orientation)
    files = {
        "JPEG": encoded(stored, "JPEG", quality=95, subsampling=0, exif=b"Exif\0\0" + block),
        "PNG": encoded(stored, "PNG", exif=block),
        "WebP": encoded(stored, "WEBP", lossless=True, exif=block),
        "TIFF": encoded(stored, "TIFF", tiffinfo={274: orientation}),
        "deflated TIFF": encoded(stored, "TIFF", tiffinfo={274: orientation}, compression="tiff_adobe_deflate"),
        "HEIC": heic(stored, quality=95, exif=b"Exif\0\0" + block),
    }
    if features.check("avif"):
        files["AVIF"] = encoded(stored, "AVIF", quality=95, exif=b"Exif\0\0" + block)
    for name, file in files.items():
        upright = load_image(file)
        assert upright.flags.c_contiguous
        assert upright.shape == QUADRANTS.shape, name
        for row, column in ((8, 12), (8, 36), (24, 12), (24, 36)):
            assert difference(upright[row, column], QUADRANTS[row, column]) < 25, (name, row, column)
    assert np.array_equal(load_image(Image.open(io.BytesIO(files["PNG"]))), QUADRANTS)
    assert load_scaled(files["JPEG"], 8)[0].shape == (8, 12, 3)


@pytest.mark.parametrize(
    "block", [b"", b"II", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0\x2a\0\0\0\x08\xff\xff", exif(9)]
)
def test_unusable_exif_means_upright(small: np.ndarray, block: bytes) -> None:
    assert load_image(jpeg_with(encoded(small, "JPEG"), 0xE1, b"Exif\0\0" + block)).shape == small.shape
    assert np.array_equal(load_image(png_with(encoded(small, "PNG"), png_chunk(b"eXIf", block))), small)


def test_transparency_is_laid_on_white() -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0] = (200, 100, 0, 255), (200, 100, 0, 0), (200, 100, 0, 51)  # 51 of 255 is a fifth
    expected = [[200, 100, 0], [255, 255, 255], [244, 224, 204]]
    assert load_image(encoded(rgba, "PNG"))[0].tolist() == expected
    assert load_image(encoded(rgba, "WEBP", lossless=True, exact=True))[0].tolist() == expected
    assert load_image(rgba)[0].tolist() == expected
    assert load_image(Image.fromarray(rgba))[0].tolist() == expected
    grey = Image.fromarray(np.uint8([[[90, 255], [90, 0]]]), "LA")
    assert load_image(encoded(grey, "PNG"))[0].tolist() == [[90] * 3, [255] * 3]


def test_palettes_and_their_transparency() -> None:
    image = Image.fromarray(np.uint8([[0, 1, 2]]), "P")
    image.putpalette([10, 20, 30, 200, 0, 0, 0, 0, 250])
    expected = [[10, 20, 30], [200, 0, 0], [0, 0, 250]]
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        assert load_image(encoded(image, kind))[0].tolist() == expected, kind
    see_through = [[10, 20, 30], [255, 255, 255], [0, 0, 250]]
    assert load_image(encoded(image, "GIF", transparency=1))[0].tolist() == see_through
    assert load_image(encoded(image, "PNG", transparency=1))[0].tolist() == see_through
    assert load_image(encoded(image, "PNG", transparency=bytes([255, 0, 255])))[0].tolist() == see_through
    key = png_with(encoded(np.uint8([[[1, 2, 3], [4, 5, 6]]]), "PNG"), png_chunk(b"tRNS", struct.pack(">3H", 1, 2, 3)))
    assert load_image(key)[0].tolist() == [[255, 255, 255], [4, 5, 6]]


def test_cmyk_of_adobe_is_not_a_negative(small: np.ndarray) -> None:
    file = encoded(Image.fromarray(small).convert("CMYK"), "JPEG", quality=95, subsampling=0)
    assert b"Adobe" in file
    result, scale = load_scaled(file, 1)
    assert np.abs(load_image(file).astype(int) - small).mean() < 4
    assert scale == 0.125
    assert result.shape == (10, 12, 3)
    assert np.array_equal(load_image(encoded(Image.fromarray(small).convert("CMYK"), "TIFF")), small)


def test_deep_grey_is_scaled() -> None:
    deep = np.uint16([[0, 257, 128 * 257, 65535]])
    for kind in ("PNG", "TIFF"):
        assert load_image(encoded(deep, kind))[0, :, 0].tolist() == [0, 1, 128, 255], kind
    whole = Image.fromarray(deep.astype(np.int32))
    assert whole.mode == "I"
    assert load_image(encoded(whole, "TIFF"))[0, :, 1].tolist() == [0, 1, 128, 255]
    real = Image.fromarray(np.float32([[0, 0.2, 1]]))
    assert real.mode == "F"
    assert load_image(encoded(real, "TIFF"))[0, :, 2].tolist() == [0, 51, 255]
    big_endian = Image.frombytes("I;16B", (2, 1), b"\xff\xff\x01\x01")
    assert load_image(big_endian)[0, :, 0].tolist() == [255, 1]
    black_and_white = Image.fromarray(np.array([[True, False]]))
    for kind in ("PNG", "TIFF", "BMP"):
        assert load_image(encoded(black_and_white, kind))[0, :, 0].tolist() == [255, 0], kind


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_or_page(kind: str) -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    file = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(file)).n_frames == 3
    assert (load_image(file) == (255, 0, 0)).all()


def test_run_length_coded_bmp() -> None:
    runs = b"\x03\x01\x00\x03\x02\x01\x00\x00\x00\x00" + b"\x06\x02\x00\x00" + b"\x00\x01"  # bottom row first
    palette = [(0, 0, 0), (250, 10, 20), (30, 240, 40)]
    upper, lower = [2] * 6, [1, 1, 1, 2, 1, 0]
    expected = [[palette[i] for i in row] for row in (upper, lower)]
    assert load_image(rle_bmp(6, 2, runs, palette)).tolist() == np.array(expected).tolist()
    start = time.perf_counter()
    load_image(rle_bmp(3000, 3000, b"\x01\x00\x00\x00" * 3000, palette))
    assert time.perf_counter() - start < 1
    assert "damaged BMP" in refusal(rle_bmp(6, 2, runs[:6], palette))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 20_000), (20_000, 1)])
def test_extreme_shapes(width: int, height: int) -> None:
    pixels = np.full((height, width, 3), 77, np.uint8)
    for file in (encoded(pixels, "JPEG"), encoded(pixels, "PNG"), pixels):
        assert load_image(file).shape == (height, width, 3)
    assert load_scaled(encoded(pixels, "JPEG"), 1)[1] == 1


def test_photos_of_a_dataset_agree_with_pillow(data_dir: Path) -> None:
    photos = sorted((data_dir / "expw" / "images").glob("*.jpg"))[::300]
    assert len(photos) > 5
    for photo in photos:
        assert difference(load_image(photo), np.asarray(Image.open(photo).convert("RGB"))) <= 2


# Where a picture may come from


def test_every_kind_of_source(small: np.ndarray, tmp_path: Path) -> None:
    file = encoded(small, "PNG")
    path = tmp_path / "portrait.jpg"  # the name lies, the bytes do not
    path.write_bytes(file)
    stream = io.BytesIO(file)
    stream.seek(0, os.SEEK_END)
    for source in (path, str(path), file, bytearray(file), memoryview(file), stream, Image.open(path)):
        assert np.array_equal(load_image(source), small), type(source)
    with open(path, "rb") as opened, open(path, "rb", buffering=0) as raw:
        assert np.array_equal(load_image(opened), small)
        assert np.array_equal(load_image(raw), small)

    class Pipe:
        """A stream that gives little at a time and cannot go back."""

        def __init__(self) -> None:
            self.parts = [file[:100], file[100:101], file[101:]]

        def read(self, size: int) -> bytes:
            return self.parts.pop(0) if self.parts else b""

    assert np.array_equal(load_image(Pipe()), small)


def test_arrays_of_any_layout(small: np.ndarray) -> None:
    assert load_image(small) is small or np.shares_memory(load_image(small), small)
    mirrored = small[::-1, ::-2]
    result = load_image(mirrored)
    assert result.flags.c_contiguous
    assert np.array_equal(result, mirrored)
    assert np.array_equal(load_image(small.transpose(1, 0, 2)), small.swapaxes(0, 1))
    grey = small[..., 0]
    for array in (grey, grey[..., None]):
        result = load_image(array)
        assert result.flags.c_contiguous
        assert (result == grey[..., None]).all()
        assert result.shape == small.shape
    opaque = np.dstack([small, np.full(small.shape[:2], 255, np.uint8)])
    assert np.array_equal(load_image(opaque[:, ::-1]), small[:, ::-1])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[True, False]]), [255, 0]),
        (np.array([[0, 128 * 257, 65535]], np.uint16), [0, 128, 255]),
        (np.array([[0, 100]], ">u2"), [0, 0]),
        (np.array([[0.0, 0.5, 1.0]]), [0, 128, 255]),
        (np.array([[0.0, 0.2, 1.0]], np.float16), [0, 51, 255]),
        (np.array([[-0.05, 1.05]], np.float32), [0, 255]),
        (np.array([[0.0, 99.6, 255.0]]), [0, 100, 255]),
        (np.array([[-3.0, 258.0]]), [0, 255]),
        (np.array([[0.0, 25700.0]]), [0, 100]),
        (np.array([[0, 7, 255]], np.int64), [0, 7, 255]),
        (np.array([[0, 25700]], np.int32), [0, 100]),
        (np.array([[0, 7]], np.int8), [0, 7]),
    ],
)
def test_rule_for_numbers(values: np.ndarray, expected: list[int]) -> None:
    assert load_image(values)[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([[0.1, np.nan]]), "NaN"),
        (np.array([[0.1, -np.inf]]), "infinite"),
        (np.zeros(5), "(H, W)"),
        (np.zeros((2, 5, 5, 3)), "(H, W, 3)"),
        (np.zeros((3, 50, 60)), "channels last"),
        (np.zeros((5, 5, 2)), "(H, W, 4)"),
        (np.zeros((0, 5)), "empty"),
        (np.zeros((5, 0, 3), np.uint8), "empty"),
        (np.array([[None, 1]]), "object"),
        (np.array([["a"]]), "type"),
        (np.zeros((2, 2), complex), "complex"),
        (np.array([[-1.0, 1.0]]), "from -1 to 1"),
        (np.array([[-1.0, -0.5]]), "no known scale"),
        (np.array([[0, 1 << 30]]), "no known scale"),
    ],
)
def test_arrays_that_are_no_picture(array: np.ndarray, words: str) -> None:
    message = refusal(array)
    assert message.startswith("array: ")
    assert words in message


# One clear line for everything else


@pytest.mark.parametrize("name", NOT_PICTURES)
def test_what_is_not_a_picture_is_named(name: str, tmp_path: Path) -> None:
    data, word = NOT_PICTURES[name]
    path = tmp_path / f"{name}.jpg"
    path.write_bytes(data)
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert word in message
    assert name == "empty" or all(kind in message for kind in FORMATS)
    assert refusal(data).startswith("uploaded bytes: ")


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "missing.jpg")
    assert "is a folder" in refusal(tmp_path)
    (tmp_path / "file").touch()
    assert "check the path" in refusal(tmp_path / "file" / "below.jpg")
    assert "no such file" in refusal("nul\0inside.jpg")
    assert "no such file" in refusal("two\nlines.jpg")
    assert len(refusal("x" * 5000 + ".jpg")) < 500
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.jpg")
        assert "not a regular file" in refusal(tmp_path / "pipe.jpg")


def test_sources_of_the_wrong_type() -> None:
    for source in (None, 5, ["photo.jpg"], object()):
        assert type(source).__name__ in refusal(source)
    assert "binary mode" in refusal(io.StringIO("text"))
    closed = io.BytesIO(b"gone")
    closed.close()
    assert "closed" in refusal(closed)

    class Named(io.BytesIO):
        name = "holiday.png"

    assert refusal(Named(b"text")).startswith("holiday.png: text")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "GIF", "WebP"])
def test_bombs_are_refused_by_their_header(kind: str) -> None:
    start = time.perf_counter()
    message = refusal(bombs(60_000, 50_000)[kind])
    assert "60000 x 50000 pixels" in message
    assert "50,000,000" in message
    assert time.perf_counter() - start < 0.5


def test_limit_on_pixels_is_exact_and_may_be_changed(small: np.ndarray) -> None:
    sources = {kind: encoded(small, kind) for kind in ("JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP")}
    sources |= {"HEIC": heic(small), "RLE": rle_bmp(96, 80, b"\x60\x00\x00\x00" * 80, [(0, 0, 0)])}
    if features.check("avif"):
        sources["AVIF"] = encoded(small, "AVIF")
    for kind, file in sources.items():
        assert load_image(file, max_pixels=96 * 80).shape == small.shape
        assert "96 x 80 pixels" in refusal(file, max_pixels=96 * 80 - 1), kind
    assert "96 x 80 pixels" in refusal(Image.open(io.BytesIO(sources["PNG"])), max_pixels=100)


def test_gif_frame_larger_than_its_screen(small: np.ndarray) -> None:
    file = bytearray(encoded(small, "GIF"))
    at = file.index(b",", 13 + 768)
    struct.pack_into("<HH", file, at + 5, 60_000, 60_000)
    assert "60000 x 60000 pixels" in refusal(bytes(file))


@pytest.mark.parametrize("share", [0.03, 0.5, 0.9, 0.99])
def test_truncated_files_are_refused(small: np.ndarray, share: float) -> None:
    image = Image.fromarray(small)
    files = {
        "JPEG": encoded(small, "JPEG"),
        "progressive JPEG": encoded(small, "JPEG", progressive=True),
        "PNG": encoded(small, "PNG"),
        "GIF": encoded(image.quantize(16), "GIF"),
        "WebP": encoded(small, "WEBP"),
        "TIFF": encoded(small, "TIFF"),
        "LZW TIFF": encoded(small, "TIFF", compression="tiff_lzw"),
        "BMP": encoded(small, "BMP"),
        "HEIC": heic(small),
    }
    for name, file in files.items():
        message = refusal(file[: int(len(file) * share)])
        assert "again" in message, name  # how to mend it
    assert "ends before the picture does" in refusal(files["JPEG"][: int(len(files["JPEG"]) * share)])
    assert "ends before the picture does" in refusal(files["JPEG"][:-2])


def test_files_made_to_waste_time(small: np.ndarray) -> None:
    assert "200 passes" in refusal(progressive_with_scans(small, 200))
    wide = [(256, 4, (2000,)), (257, 4, (2000,)), (258, 3, (8,)), (262, 3, (1,)), (278, 4, (1999,))]
    strips = tiff([*wide, (273, 4, (8,) * 5000), (279, 4, (4_000_000,))], bytes(4_000_000))
    files = {
        "many times over": strips,
        "too many segments": b"\xff\xd8" + b"\xff\xe1\x00\x02" * 300_000,
        "too many chunks": png_with(encoded(small, "PNG"), png_chunk(b"IDAT", b"") * 300_000),
        "too many blocks": b"GIF89a" + bytes(7) + b"!\xfe" + b"\x01A" * 300_000,
    }
    for words, file in files.items():
        start = time.process_time()
        assert words in refusal(file)
        assert time.process_time() - start < 2, words


def test_a_jpeg_that_takes_too_long_or_too_much_memory_is_refused_before_it_is_decoded(
    small: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty passes over a small picture are read, over a large one they are not; nor are a large one's coefficients held."""
    many = progressive_with_scans(small, 60)
    assert load_image(many).shape == small.shape
    monkeypatch.setattr("fercore.images._decode_jpeg", None)
    message = refusal(sized(many, 7000, 7000))
    assert "takes too long (60 passes over 49 megapixels, 0.0 MB); save it as an ordinary JPEG, or smaller" in message
    full = encoded(small, "JPEG", progressive=True, subsampling=0)  # 3 numbers of 2 bytes a pixel, and 3 bytes of it
    assert "needs 441 MB of memory, more than the 380 allowed" in refusal(sized(full, 7000, 7000))
    halved = encoded(small, "JPEG", progressive=True, subsampling=2)  # 1.5 numbers
    assert "'NoneType' object is not callable" in refusal(sized(halved, 7000, 7000))  # which stands for a decoder


def test_a_slow_jpeg_is_decoded_once_and_reduced_from_there(small: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    large = np.repeat(np.repeat(small, 20, axis=0), 20, axis=1)
    file = encoded(large, "JPEG", quality=95)
    expected, scale, _ = open_scaled(file, large.shape[0] // 4)
    assert scale == 0.25
    monkeypatch.setattr("fercore.images._SLOW", 0.0)
    pixels, scale, whole = open_scaled(file, large.shape[0] // 4)
    monkeypatch.setattr("fercore.images._decode_jpeg", None)
    assert scale == 0.25
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 3
    assert np.array_equal(whole(), load_whole(file))


def load_whole(file: bytes) -> np.ndarray:
    """Decode a JPEG without the code under test."""
    return np.array(Image.open(io.BytesIO(file)))


def sized(jpeg: bytes, width: int, height: int) -> bytes:
    """Return a JPEG whose frame states another size."""
    frame = re.search(rb"\xff[\xc0-\xc2]", jpeg).start() + 5
    return jpeg[:frame] + struct.pack(">HH", height, width) + jpeg[frame + 4 :]


def test_a_tiff_of_an_unsupported_kind_is_not_called_damaged() -> None:
    def made(bits: int, form: int, samples: int) -> bytes:
        pixels = np.linspace(0, 1, 16 * samples).astype(np.float32).tobytes()
        photometric = 2 if samples == 3 else 1
        shape = [(256, 4, (4,)), (257, 4, (4,)), (258, 3, (bits,) * samples), (262, 3, (photometric,))]
        rest = [(273, 4, (8,)), (277, 3, (samples,)), (278, 4, (4,)), (279, 4, (len(pixels),))]
        return tiff([*shape, *rest, (339, 3, (form,) * samples)], pixels)

    assert load_image(made(32, 3, 1)).shape == (4, 4, 3)  # grey floats are read
    for file in (made(32, 3, 3), made(32, 1, 3)):  # floats in colour, whole numbers of 32 bits
        message = refusal(file)
        assert "an unsupported kind of TIFF; save it with 8 bits a channel, or as a PNG" in message
        assert "damaged" not in message


def test_size_of_a_file_is_limited(monkeypatch: pytest.MonkeyPatch, small: np.ndarray, tmp_path: Path) -> None:
    monkeypatch.setattr("fercore.images.MAX_BYTES", 1000)
    path = tmp_path / "large.png"
    path.write_bytes(encoded(small, "PNG"))
    for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
        assert "larger than" in refusal(source)


def test_metadata_neither_warns_nor_matters(small: np.ndarray) -> None:
    bad_exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\x00\x05" + struct.pack(">HHIHH", 0x0112, 3, 1, 1, 0)
    text, too_long = struct.pack("<HHI", 270, 2, 5001), struct.pack("<HHI", 270, 2, 1 << 30)
    make_pillow_warn = {
        "JPEG with cut EXIF": jpeg_with(encoded(small, "JPEG"), 0xE1, bad_exif),
        "CMYK JPEG with cut EXIF": jpeg_with(encoded(Image.fromarray(small).convert("CMYK"), "JPEG"), 0xE1, bad_exif),
        "JPEG with bad index of pictures": jpeg_with(encoded(small, "JPEG"), 0xE2, b"MPF\0" + bytes(20)),
        "PNG with bad animation": png_with(encoded(small, "PNG"), png_chunk(b"acTL", bytes(8))),
        "TIFF with endless text": encoded(small, "TIFF", tiffinfo={270: "x" * 5000}).replace(text, too_long),
    }
    if features.check("avif"):
        block = Image.Exif()
        block[274] = 3
        block[305] = "Camera of a stranger"
        stored, too_long = struct.pack(">HHI", 305, 2, 21), struct.pack(">HHI", 305, 2, 1 << 30)
        make_pillow_warn["AVIF"] = encoded(small, "AVIF", exif=block.tobytes()).replace(stored, too_long)
    bloated = zlib.compress(bytes(PngImagePlugin.MAX_TEXT_CHUNK + 1))
    others = {
        "PNG with a text that Pillow refuses": png_with(
            encoded(small, "PNG"), png_chunk(b"zTXt", b"key\0\0" + bloated)
        ),
        "CMYK JPEG with a cut Photoshop block that Pillow refuses": jpeg_with(
            encoded(Image.fromarray(small).convert("CMYK"), "JPEG"), 0xED, b"Photoshop 3.0\x008BIM\4\4"
        ),
        "WebP": encoded(small, "WEBP", exif=bad_exif),
        "GIF": encoded(np.full((4, 4), 9, np.uint8), "GIF", comment=b"x" * 70_000),
    }
    for name, file in (make_pillow_warn | others).items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert load_image(file).ndim == 3, name
        assert not caught, name
    for name, file in make_pillow_warn.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            Image.open(io.BytesIO(file)).load()
        assert caught, f"{name}: Pillow no longer warns, and the test has lost its point"


def test_global_state_is_left_alone(small: np.ndarray) -> None:
    def state() -> tuple:
        settings_ = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK)
        return (*settings_, "HEIF" in Image.OPEN, list(warnings.filters))

    before = state()
    load_image(heic(small))
    for file in (*bombs(60_000, 60_000).values(), encoded(small, "TIFF")[:-500]):
        refusal(file)
    assert state() == before


def test_threads_do_not_disturb_each_other(small: np.ndarray) -> None:
    files = [encoded(small, kind) for kind in ("PNG", "BMP", "TIFF")] + [encoded(small, "WEBP", lossless=True)]
    wrong: list[object] = []

    def work(number: int) -> None:
        for turn in range(20):
            try:
                if not np.array_equal(load_image(files[(number + turn) % 4]), small):
                    wrong.append("pixels")
                refusal(files[(number + turn) % 4][:-300])
            except BaseException as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_missing_package_is_named(small: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    file = heic(small)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert "pillow-heif" in refusal(file)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_mutated_files_give_a_picture_or_a_line(kind: str, small: np.ndarray) -> None:
    tiny = Image.fromarray(small).resize((48, 40))
    file = encoded(tiny.quantize(32) if kind == "GIF" else tiny, kind)
    place = st.one_of(st.integers(0, min(400, len(file) - 1)), st.integers(0, len(file) - 1))
    flips = st.lists(st.tuples(place, st.integers(0, 255)), max_size=6)
    cut = st.one_of(st.none(), st.tuples(place, st.integers(1, 40)))

    @settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(
        flips=flips, removed=cut, inserted=st.tuples(place, st.binary(max_size=6)), length=st.one_of(st.none(), place)
    )
    def check(flips: list, removed: tuple | None, inserted: tuple, length: int | None) -> None:
        data = bytearray(file)
        for at, value in flips:
            data[at] = value
        if removed:
            del data[removed[0] : sum(removed)]
        data[inserted[0] : inserted[0]] = inserted[1]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            message, result = "", None
            try:
                result = load_image(bytes(data[:length]), max_pixels=1_000_000)
            except ImageError as error:
                message = str(error)
        assert message.isprintable()
        if result is None:
            assert message.startswith("uploaded bytes: ")
        else:
            assert result.dtype == np.uint8
            assert result.shape[2:] == (3,)
            assert result.flags.c_contiguous
            assert 0 < result.size <= 3_000_000

    check()


# Reduced scale


def test_scaled_jpeg_is_the_picture_made_smaller(portrait: np.ndarray) -> None:
    file = encoded(portrait, "JPEG", quality=95)
    for min_side, scale in ((64, 0.125), (65, 0.25), (128, 0.25), (256, 0.5), (257, 1.0), (9999, 1.0)):
        result, found = load_scaled(file, min_side)
        assert found == scale
        assert result.shape == (512 * scale, 512 * scale, 3)
        assert result.flags.c_contiguous
        step = round(1 / scale)
        means = portrait.reshape(512 // step, step, 512 // step, step, 3).mean(axis=(1, 3))
        assert np.abs(result - means).mean() < 3
    assert np.array_equal(load_scaled(file, 9999)[0], load_image(file))


def test_scaled_sizes_are_rounded_up() -> None:
    for kind in ("RGB", "CMYK", "L"):
        file = encoded(Image.new(kind, (643, 481)), "JPEG")
        for min_side, shape in ((240, (241, 322, 3)), (120, (121, 161, 3)), (60, (61, 81, 3))):
            assert load_scaled(file, min_side)[0].shape == shape, kind


def test_scaled_of_anything_else_is_whole(small: np.ndarray) -> None:
    for source in (small, encoded(small, "PNG"), Image.fromarray(small)):
        result, scale = load_scaled(source, 10)
        assert scale == 1
        assert np.array_equal(result, small)
    with pytest.raises(ImageError, match="pixels"):
        load_scaled(encoded(small, "JPEG"), 10, max_pixels=100)


# Finding pictures


def test_find_images(tmp_path: Path) -> None:
    names = [
        "b.JPG",
        "a.png",
        "notes.txt",
        ".hidden.jpg",
        "deep/er/c.heic",
        ".git/d.png",
        "deep/z.webp",
        "deep/_e.tiff",
    ]
    for name in names:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "photos" / "folder.jpg").mkdir()
    expected = ["a.png", "b.JPG", "deep/_e.tiff", "deep/er/c.heic", "deep/z.webp"]
    assert find_images(tmp_path / "photos") == [tmp_path / "photos" / name for name in expected]
    odd, missing = tmp_path / "photos" / "notes.txt", tmp_path / "missing.jpg"
    assert find_images([str(missing), odd, tmp_path / "photos" / "deep" / "er"]) == [
        missing,
        odd,
        tmp_path / "photos" / "deep" / "er" / "c.heic",
    ]
    assert find_images([]) == []
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    try:
        (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    except OSError:
        pytest.skip("links cannot be made here")
    assert find_images(str(tmp_path)) == [tmp_path / "a.png"]


def test_importing_is_cheap() -> None:
    code = "import sys, fercore.images; print(sorted({'PIL', 'cv2', 'pillow_heif'} & set(sys.modules)))"
    root = Path(__file__).resolve().parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True).stdout.strip() == "[]"
