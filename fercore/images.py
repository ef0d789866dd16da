"""Safe decoding: whatever a visitor uploads becomes an RGB uint8 picture, or one clear line.

An upload is hostile until its pixels are out, so four rules hold here:

- The format is told by the first bytes, never by the name, and only the formats of ``FORMATS`` reach a decoder.
- JPEG, PNG, GIF and TIFF are first cut down to what their pixels need. The decoders then never see metadata, which is where
  they warn (``warnings`` cannot be silenced for one thread alone) and where lies cost an attacker least.
- The size that the header states is checked before anything is decoded, and no decoder's global setting is touched.
- A file that ends early is refused, not padded with grey.

JPEGs, nearly all that a visitor has, go to OpenCV, which answers sooner than Pillow with the same pixels; the rest go to
Pillow.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import os
import re
import stat
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from . import containers
from .errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

    Source = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | np.ndarray

FORMATS: dict[str, tuple[str, str]] = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "WebP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "HEIC": ("pillow_heif", "HeifImageFile"),
}
"""The formats that are read, each with the module and the class that decode it, imported when the first such file comes."""

SUFFIXES: tuple[str, ...] = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp"),
    *(".tif", ".tiff", ".gif", ".avif", ".heic", ".heif"),
)
"""The file names that ``find_images`` takes for pictures."""

MAX_PIXELS = 50_000_000
"""The most pixels that a picture may have, unless the caller allows more: a phone's largest photos."""
MAX_BYTES = 256 << 20
"""The most bytes that a file may have."""
MAX_MEMORY = 380_000_000
"""The most bytes that a file and its decoded pixels may take together: a process with a network then stays below 500 MB."""

MAX_SECONDS = 1.0
"""The most processor time in which a JPEG may be decoded, as ``containers.Jpeg.seconds`` estimates it: with the search for
faces a photo then takes less than 2 s."""
_SLOW = 0.4
"""A JPEG that takes longer is decoded once alone: whole, and reduced from there."""

_BAND = 1 << 18
"""Pixels that are converted at a time, so that a large picture is in memory twice and not five times."""

_MEND = f"use a {', '.join(list(FORMATS)[:-1])} or {list(FORMATS)[-1]} picture"
_TOO_LONG = f"larger than {MAX_BYTES >> 20} MiB; save it smaller"

_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript file"),
    (b"8BPS", "a Photoshop file"),
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a Linux program"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (b"\x00\x00\x01\x00", "a Windows icon"),
)


def load_image(source: Source, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Return a picture as RGB uint8 (H, W, 3), C-contiguous.

    Args:
        source: a path, the bytes of a file, a binary file object (read from its start), a PIL image or an array.
            Files: the first frame or page, turned upright as EXIF says; transparency is laid on white; CMYK, palette
            and grey become RGB; 16- and 32-bit grey follows the rule for arrays.
            Arrays: (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA, of any strides. ``bool`` is black and white;
            ``uint16`` spans 0 to 65535; other numbers count as 0..1 (floats alone), 0..255 or 0..65535, the smallest
            range that holds the largest. What interpolation leaves beyond the ends is clipped, up to a tenth of the
            range above and of the largest value below. An array that is RGB uint8 and contiguous already is returned
            itself, without a copy.
        max_pixels: the most pixels (width x height, as a file's header states them) that the picture may have.

    Raises:
        ImageError: the source cannot be read, is no picture of a known format, is damaged or too large.
    """
    return _load(source, max_pixels, None).pixels


class Scaled(NamedTuple):
    """A picture that may have been reduced, and the way to the whole one without a second look at its source."""

    pixels: np.ndarray
    """RGB uint8 (H, W, 3)."""
    scale: float
    """1, 0.5, 0.25 or 0.125."""
    whole: Callable[[], np.ndarray]
    """Returns the whole picture: decodes the bytes of a reduced JPEG again, which are kept until then."""


def load_scaled(source: Source, min_side: int, *, max_pixels: int = MAX_PIXELS) -> tuple[np.ndarray, float]:
    """Return a picture like ``load_image``, a JPEG reduced while its shorter side keeps ``min_side`` pixels, and the scale.

    The scale is exactly 1, 0.5, 0.25 or 0.125: divide coordinates in the returned picture by it to get those in the
    original. Sizes are rounded up, so the last row and column may stand for less than a whole step of the original.
    Decoding at a reduced scale takes a fraction of the time. All that is not a JPEG file comes whole, with scale 1.

    Raises:
        ImageError: as ``load_image``.
    """
    return open_scaled(source, min_side, max_pixels=max_pixels)[:2]


def open_scaled(source: Source, min_side: int, *, max_pixels: int = MAX_PIXELS) -> Scaled:
    """Return what ``load_scaled`` does, and with it the whole picture for who turns out to need it.

    The source is read once, so it may be a stream that cannot go back to its start.

    Raises:
        ImageError: as ``load_image``; so does ``whole`` of what is returned.
    """
    return _load(source, max_pixels, max(1, min_side))


def find_images(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the pictures that paths stand for: files as they are, a folder's as the sorted pictures anywhere below it.

    Below a folder, names that start with a dot and names without one of ``SUFFIXES`` are skipped, and links to folders
    are not followed. A path that does not exist is kept: ``load_image`` says what is wrong with it.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    result: list[Path] = []
    for path in map(Path, paths):
        if not os.path.isdir(path):
            result.append(path)
            continue
        found: list[Path] = []
        for folder, subfolders, names in os.walk(path):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            found += [
                Path(folder, name)
                for name in names
                if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
            ]
        result += sorted(found)
    return result


def _load(source: Source, max_pixels: int, min_side: int | None) -> Scaled:
    """Decode any source; whatever goes wrong becomes an ``ImageError`` that says where."""
    place = _Place()
    with place.told():
        if isinstance(source, np.ndarray):
            place.where = "array"
            return _unscaled(_from_array(source, max_pixels=max_pixels))
        if "PIL.Image" in sys.modules and isinstance(source, sys.modules["PIL.Image"].Image):
            place.where = "PIL image"
            return _unscaled(_from_pillow([source], max_pixels))
        if isinstance(source, (bytes, bytearray, memoryview)):
            held = [bytes(source)]
        elif isinstance(source, (str, os.PathLike)):
            place.where = _printable(os.fspath(source))
            held = [_read_path(source)]
        elif hasattr(source, "read"):
            name = getattr(source, "name", None)
            place.where = _printable(name) if isinstance(name, str) and name else "uploaded file"
            held = [_read_file(source)]
        else:
            raise ImageError(f"no picture but {type(source).__name__}; give a path, bytes, an open file or an array")
        place.kind = format_of(held[0])
        if place.kind != "JPEG":
            return _unscaled(_decode(place.kind, held, max_pixels))  # a large file's bytes make room for its pixels
        jpeg = containers.read_jpeg(held.pop())
        pixels, scale, whole = _scaled_jpeg(jpeg, max_pixels, min_side)
        return Scaled(pixels, scale, functools.partial(place.run, whole))


class _Place:
    """Where a picture comes from and what it is, for the line that says what is wrong with it."""

    def __init__(self) -> None:
        self.where, self.kind = "uploaded bytes", ""

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Turn whatever goes wrong inside into an ``ImageError``."""
        try:
            yield
        except ImageError as error:
            raise ImageError(f"{self.where}: {error}") from None
        except struct.error:
            raise ImageError(f"{self.where}: {containers.TRUNCATED}") from None
        except Exception as error:
            detail = " ".join(str(error).split())[:200] or type(error).__name__
            what = f"damaged {self.kind or 'picture'} ({detail}); save or copy it again"
            raise ImageError(f"{self.where}: {what}") from error

    def run(self, decode: Callable[[], np.ndarray]) -> np.ndarray:
        """Return what a function returns, its errors told."""
        with self.told():
            return decode()


def _unscaled(pixels: np.ndarray) -> Scaled:
    return Scaled(pixels, 1.0, lambda: pixels)


def _printable(name: str | bytes) -> str:
    """Return a file name that fits on one line, whatever its author put into it."""
    text = os.fsdecode(name)
    text = text if len(text) <= 300 else f"{text[:140]}...{text[-140:]}"
    return text if text.isprintable() else ascii(text)


def _read_path(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a regular file."""
    try:
        state = os.stat(path)
        problem = "is a folder; name a picture in it" if stat.S_ISDIR(state.st_mode) else ""
        if not problem and not stat.S_ISREG(state.st_mode):
            problem = "is not a regular file; name a picture file"
        if not problem and state.st_size <= MAX_BYTES:
            with open(path, "rb") as file:
                return file.read()
    except (FileNotFoundError, ValueError):
        problem = "no such file; check the path"
    except OSError as error:
        problem = f"cannot be opened ({error.strerror}); check the path and its permissions"
    raise ImageError(problem or _TOO_LONG)


def _read_file(file: IO[bytes]) -> bytes:
    """Return the bytes of a file object, from its start where it can go there."""
    if hasattr(file, "seekable") and file.seekable():
        file.seek(0)
    parts, left = [], MAX_BYTES
    while left >= 0 and (part := file.read(left + 1)):
        if not isinstance(part, (bytes, bytearray)):
            raise ImageError("does not give bytes; open the file in binary mode")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def format_of(data: bytes) -> str:
    """Return which of ``FORMATS`` a file's first bytes announce; 4096 of them are enough.

    Raises:
        ImageError: they announce none; the line says what they are instead.
    """
    if not data:
        raise ImageError("empty, 0 bytes; copy or upload it again")
    if len(data) > MAX_BYTES:
        raise ImageError(_TOO_LONG)
    head = data[:4096]
    if head[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head[:2] == b"BM":
        return "BMP"
    what = next((name for magic, name in _OTHERS if head.startswith(magic)), "")
    if head[4:8] == b"ftyp":
        brands = head[8 : int.from_bytes(head[:4], "big")]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        if any(brand in brands for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")):
            return "HEIC"
        what = "a video or a camera's raw file"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text:
        what = "an SVG drawing"
    elif text.startswith((b"<!doctype html", b"<html")):
        what = "a web page"
    elif not what and not re.search(rb"[\x00-\x08\x0e-\x1f]", head):
        what = "text"
    raise ImageError(f"{what or 'no picture of a known format'}; {_MEND}")


def _check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture with no or with too many pixels."""
    if width < 1 or height < 1:
        raise ImageError(f"{width} x {height} pixels, which is no picture; save or copy it again")
    if width * height > max_pixels:
        raise ImageError(f"{width} x {height} pixels, more than the {max_pixels:,} allowed; scale it down")


def _scaled_jpeg(jpeg: containers.Jpeg, max_pixels: int, min_side: int | None) -> Scaled:
    """Decode a JPEG, at a reduced scale if ``min_side`` allows, and turn it upright."""
    import cv2

    _check_size(jpeg.width, jpeg.height, max_pixels)
    _check_cost(jpeg)
    divisor = 1
    if min_side is not None:
        divisor = next((d for d in (8, 4, 2) if min(jpeg.width, jpeg.height) // d >= min_side), 1)
    if divisor == 1:
        return _unscaled(_decode_jpeg(jpeg, max_pixels, 1))
    if jpeg.seconds < _SLOW:
        whole = functools.partial(_decode_jpeg, jpeg, max_pixels, 1)
        return Scaled(_decode_jpeg(jpeg, max_pixels, divisor), 1 / divisor, whole)
    pixels = _decode_jpeg(jpeg, max_pixels, 1)
    size = -(-pixels.shape[1] // divisor), -(-pixels.shape[0] // divisor)
    return Scaled(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), 1 / divisor, lambda: pixels)


def _check_cost(jpeg: containers.Jpeg) -> None:
    """Refuse a JPEG that would take too much time or memory."""
    pixels, size = jpeg.width * jpeg.height, len(jpeg.data)
    if jpeg.seconds > MAX_SECONDS:
        passes = f"{jpeg.scans} {'pass' if jpeg.scans == 1 else 'passes'} over {pixels / 1e6:,.0f} megapixels"
        raise ImageError(f"takes too long ({passes}, {size / 1e6:,.1f} MB); save it as an ordinary JPEG, or smaller")
    held = 2 * jpeg.samples * pixels if jpeg.held_whole else 0
    _check_bytes(2 * size + held + (4 if jpeg.components == 4 else 3) * pixels)


def _decode_jpeg(jpeg: containers.Jpeg, max_pixels: int, divisor: int) -> np.ndarray:
    """Decode a JPEG at a scale of 1, 1/2, 1/4 or 1/8; return the upright picture."""
    import cv2

    size = -(-jpeg.width // divisor), -(-jpeg.height // divisor)
    pixels = None
    if jpeg.frame <= 0xC2 and jpeg.components in (1, 3):
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        if divisor > 1:  # the flag named after grey is the scale alone; the one named after colour would add BGR
            flags |= getattr(cv2, f"IMREAD_REDUCED_GRAYSCALE_{divisor}")
        pixels = cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), flags)
        if pixels is None and jpeg.seconds >= _SLOW:
            raise ValueError("it cannot be decoded")  # the other decoder would take as long again
    if pixels is None or pixels.shape != (size[1], size[0], 3):
        from PIL.JpegImagePlugin import JpegImageFile

        image = JpegImageFile(io.BytesIO(jpeg.data))
        image.draft(None, (jpeg.width // divisor, jpeg.height // divisor))
        pixels = _from_pillow([image], max_pixels)
    return _upright(pixels, jpeg.orientation)


def _decode(kind: str, held: list[bytes], max_pixels: int) -> np.ndarray:
    """Decode a file of any other format, taken out of a list, with its plug-in, chosen by us rather than by trial."""
    data, orientation = held.pop(), 1
    if kind in ("PNG", "TIFF", "AVIF"):  # there are two of it for a moment
        _check_memory(2 * len(data), 0)
    if kind == "PNG":
        data, orientation = containers.slim_png(data)
    elif kind == "TIFF":
        data, orientation = containers.slim_tiff(data)
    elif kind == "GIF":
        data, size = containers.slim_gif(data)
        _check_size(*size, max_pixels)
    elif kind == "WebP":
        size = containers.webp_size(data)
        _check_size(*size, max_pixels)
        if len(data) + 16 * size[0] * size[1] > MAX_MEMORY:  # which Pillow takes, ready for alpha and animation
            return _large_webp(data, size)
    elif kind == "BMP" and data[30:34] in (b"\1\0\0\0", b"\2\0\0\0") and data[14] >= 40:
        return _run_length_bmp(data, max_pixels)
    elif kind == "AVIF":
        before, mark, rest = data.partition(b"mdat")
        data = before.replace(b"Exif", b"skip") + mark + rest  # AVIF turns pictures by properties of its own
        del before, rest
    module, name = FORMATS[kind]
    try:
        opener = getattr(importlib.import_module(module), name)
    except ImportError:
        package = module.split(".")[0].replace("_", "-")
        raise ImageError(f"{kind} pictures need the package {package}; install it or save as JPEG") from None
    stream = io.BytesIO(data)
    try:
        held_image = [opener(stream)]
    except SyntaxError as error:
        if "unknown pixel mode" not in str(error):  # Pillow's word for a TIFF of, for instance, floats in colour
            raise
        raise ImageError("an unsupported kind of TIFF; save it with 8 bits a channel, or as a PNG") from None
    _check_size(*held_image[0].size, max_pixels)
    times = 2 if any(tile[0] == "libtiff" for tile in held_image[0].tile) else 1  # it is read in one piece
    pixels = held_image[0].width * held_image[0].height
    _check_memory(times * len(data), pixels * 9 // 4 if kind == "AVIF" else pixels)  # whose decoder keeps them twice
    del data
    return _upright(_from_pillow(held_image, max_pixels, stream), orientation)


def _large_webp(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """Return a WebP that has neither transparency nor frames, in less memory."""
    import cv2

    special = data[20] & 0x12 if data[12:16] == b"VP8X" else data[12:16] == b"VP8L" and data[24] & 0x10
    if special:
        _check_memory(len(data), 4 * size[0] * size[1])
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)  # turns it as EXIF says
    if pixels is None or sorted(pixels.shape) != sorted((*size, 3)):
        raise ValueError("it cannot be decoded")
    return pixels


def _check_memory(size: int, pixels: int) -> None:
    """Refuse a file whose bytes and decoded pixels (4 bytes each) would take too much memory together."""
    _check_bytes(size + 4 * pixels)


def _check_bytes(needed: float) -> None:
    """Refuse what would take more memory than a picture may."""
    if needed > MAX_MEMORY:
        amount = f"needs {needed / 1e6:,.0f} MB of memory, more than the {MAX_MEMORY // 10**6} allowed"
        raise ImageError(f"{amount}; save it as an ordinary JPEG, or smaller")


def _run_length_bmp(data: bytes, max_pixels: int) -> np.ndarray:
    """Return a run-length coded BMP, which Pillow decodes in Python: seconds for a hostile file of a few kilobytes."""
    import cv2

    width, height = struct.unpack_from("<ii", data, 18)
    _check_size(width, abs(height), max_pixels)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if pixels is None or pixels.shape != (abs(height), width, 3):
        raise ValueError("its runs do not fill it")
    return pixels


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return a picture turned and mirrored as its EXIF orientation (1 to 8) asks."""
    if orientation == 1:
        return pixels
    import cv2

    if orientation in (2, 4):
        return cv2.flip(pixels, 1 if orientation == 2 else 0)
    if orientation == 5:
        return cv2.transpose(pixels)
    if orientation == 7:
        return cv2.transpose(cv2.rotate(pixels, cv2.ROTATE_180))
    return cv2.rotate(
        pixels, {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}[orientation]
    )


def _from_pillow(held: list[Image.Image], max_pixels: int, stream: io.BytesIO | None = None) -> np.ndarray:
    """Return the current frame of a PIL image, taken out of a list, turned upright if the image itself carries EXIF."""
    image = held.pop()
    _check_size(*image.size, max_pixels)
    tiles = [extents for _, extents, *_ in getattr(image, "tile", ()) if extents]
    if sum((right - left) * (bottom - top) for left, top, right, bottom in tiles) > 8 * image.width * image.height:
        raise ImageError("its parts cover the picture many times over; save it again in a picture editor")
    image.load()
    if stream:
        stream.close()
    _check_size(*image.size, max_pixels)
    orientation = containers.exif_orientation(image.info.get("exif") or b"")
    extremes = image.getextrema() if image.mode in ("I", "F") else None
    rows = max(1, _BAND // image.width)
    if image.height <= rows:
        return _upright(_band(image, extremes), orientation)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        pixels[top:bottom] = _band(image.crop((0, top, image.width, bottom)), extremes)
    del image
    return _upright(pixels, orientation)


def _band(image: Image.Image, extremes: tuple[float, float] | None) -> np.ndarray:
    """Return a PIL image, or some rows of one that has these extremes, as RGB uint8."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _from_array(np.asarray(image), extremes)
    if image.has_transparency_data:
        image = _on_white(image.convert("RGBA"))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _on_white(image: Image.Image) -> Image.Image:
    """Return an RGBA image laid on white."""
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image.convert("RGB")
    from PIL import Image

    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=alpha)
    return white


def _from_array(
    array: np.ndarray, extremes: tuple[float, float] | None = None, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Return an array as RGB uint8, by the rule that ``load_image`` states; a part of a picture comes with its extremes."""
    shape = array.shape
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (1, 3, 4)):
        hint = "; put the channels last" if array.ndim == 3 and shape[0] in (1, 3, 4) else ""
        raise ImageError(f"shape {shape}, but (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) is needed{hint}")
    if array.size == 0:
        raise ImageError(f"shape {shape}, which is empty; give at least one pixel")
    _check_size(shape[1], shape[0], max_pixels)
    array = _to_uint8(np.asarray(array), extremes)
    if array.ndim == 2 or shape[2] == 1:
        return np.repeat(array.reshape(*shape[:2], 1), 3, axis=2)
    if shape[2] == 4:
        from PIL import Image

        return np.array(_on_white(Image.fromarray(np.ascontiguousarray(array))))
    return np.ascontiguousarray(array)


def _to_uint8(array: np.ndarray, extremes: tuple[float, float] | None) -> np.ndarray:
    """Return numbers as uint8, 0 to 255, by the rule that ``load_image`` states."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind not in "uif":
        raise ImageError(f"values of type {array.dtype}; give uint8, or floats from 0 to 1")
    low, high = map(float, extremes or (array.min(), array.max()))
    if not np.isfinite([low, high]).all():
        raise ImageError("has values that are NaN or infinite; replace them")
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        spans: tuple[int, ...] = (65535,)
    else:
        spans = (1, 255, 65535) if array.dtype.kind == "f" else (255, 65535)
    span = next((span for span in spans if high <= span * 1.1), None)
    if span is None or low < -high / 10:
        raise ImageError(f"values from {low:g} to {high:g} have no known scale; bring them to 0..255 (uint8)")
    result = np.empty(array.shape, np.uint8)
    rows = max(1, _BAND * len(array) // array.size)
    for top in range(0, len(array), rows):
        part = array[top : top + rows].astype(np.float32) * np.float32(255 / span)
        result[top : top + rows] = np.rint(np.clip(part, 0, 255))
    return result
