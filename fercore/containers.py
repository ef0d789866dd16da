"""What picture files are made of: JPEG, PNG, GIF, TIFF and WebP, walked before a decoder sees them.

Each reader takes a file's bytes, refuses what ends early or was made to waste time, and returns the file without metadata and
further pictures. It raises ``ImageError`` for what it can name, and ``ValueError``, ``KeyError`` or ``struct.error`` for what
is not such a file at all; ``images.load_image`` turns those into its one line.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from .errors import ImageError

TRUNCATED = "the file ends before the picture does; copy or upload it again"

_MAX_PARTS = 1 << 18  # chunks of a PNG, segments of a JPEG, strips or tiles of a TIFF
_MAX_SCANS = 64  # of a JPEG of any size; a progressive one usually has ten


class Jpeg(NamedTuple):
    """What the markers of a JPEG say, and the JPEG without its metadata."""

    width: int
    height: int
    components: int
    frame: int
    """The marker of the frame: 0xC0 and 0xC1 sequential, 0xC2 progressive, others rare."""
    orientation: int
    data: bytes
    scans: int
    samples: float
    """Numbers that are coded for a pixel: 3 in full colour, 1.5 where the colours are kept at half the size."""

    @property
    def held_whole(self) -> bool:
        """Tell whether a decoder keeps the coefficients of the whole picture, two bytes each, until the last pass."""
        return self.frame == 0xC2 or self.scans > 1

    @property
    def seconds(self) -> float:
        """Estimate the processor time of decoding it once, at any scale; honest files take less, seldom more.

        A pass over coefficients that are held costs a step for every pixel even where it changes nothing, and what a
        byte brings is spread over them. Measured with OpenCV on one core of a crowded machine: 0.8 ns for a pixel of a
        pass, 20 to 45 ns for a byte of it; without passes 3 ns for a pixel and 6 to 9 for a byte.
        """
        pixels, size = self.width * self.height, len(self.data)
        if self.held_whole:
            return (0.8 * self.scans * pixels + 40 * size) / 1e9
        return (3 * pixels + 9 * size) / 1e9


_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")


def read_jpeg(data: bytes) -> Jpeg:
    """Walk the markers of a JPEG up to its end of image.

    Between markers and inside a scan, 0xFF is followed by 0, by a restart marker or by another 0xFF, so the next marker
    is found by a search. What follows the end (a second picture, a film) and the application data are left out, but for
    JFIF's and Adobe's segments, which say what the colours are.
    """
    view, kept, frame, orientation, scans, position = memoryview(data), [data[:2]], None, 1, 0, 2
    samples = 0.0
    for _ in range(_MAX_PARTS):
        found = _MARKER.search(data, position)
        if not found:
            raise ImageError(TRUNCATED)
        start, marker = found.start(), found[1][0]
        if marker == 0xD9:
            break
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if end > len(data):
            raise ImageError(TRUNCATED)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if frame:
                raise ValueError("two frames")
            frame = (marker, *struct.unpack_from(">BHHB", data, start + 4))
            samples = _samples(data[start + 10 : end])
        if marker == 0xDA:
            scans += 1
        if marker == 0xE1 and data[start + 4 : start + 10] == b"Exif\0\0":
            orientation = exif_orientation(data[start + 10 : end])
        elif scans or not (0xE1 <= marker <= 0xED or marker in (0xEF, 0xFE)):
            following = _MARKER.search(data, end) if marker == 0xDA else None
            end = following.start() if following else end
            kept.append(view[start:end])
        position = end
    else:
        raise ValueError("too many segments")
    if not frame or not scans:
        raise ValueError("no picture in it")
    if scans > _MAX_SCANS:
        raise ImageError(f"a JPEG of {scans} passes, made to waste time; save it again in a picture editor")
    marker, _, height, width, components = frame
    slim = b"".join([*kept, b"\xff\xd9"])
    return Jpeg(width, height, components, marker, orientation, slim, scans, samples)


def _samples(components: bytes) -> float:
    """Return how many numbers a frame codes for each pixel, from its components: three bytes each, the second the sampling."""
    sampling = [(factors >> 4, factors & 15) for factors in components[1::3]]
    if not sampling or not all(across and down for across, down in sampling):
        raise ValueError("no components in it")
    most = max(across for across, _ in sampling) * max(down for _, down in sampling)
    return sum(across * down for across, down in sampling) / most


def slim_png(data: bytes) -> tuple[bytes, int]:
    """Return a PNG's header, palette, transparency and default picture, and its orientation."""
    view, kept, orientation, position = memoryview(data), [data[:8]], 1, 8
    for _ in range(_MAX_PARTS):
        if position == len(data):
            break
        length, name = struct.unpack(">I4s", data[position : position + 8].ljust(8, b"\xff"))
        end = position + 12 + length
        if end > len(data):
            raise ImageError(TRUNCATED)
        if name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            kept.append(view[position:end])
        elif name == b"eXIf":
            orientation = exif_orientation(data[position + 8 : end - 4])
        if name == b"IEND":
            break
        position = end
    else:
        raise ValueError("too many chunks")
    return b"".join(kept), orientation


def slim_gif(data: bytes) -> tuple[bytes, tuple[int, int]]:
    """Return a GIF's screen, palette, transparency and first frame, and the width and height that the frame makes it.

    Further frames follow the first, but no decoder asks for them.
    """
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + (6 << (flags & 7) if flags & 0x80 else 0)
    screen, control = data[:position], b""
    inside = False  # an extension: its parts follow one another up to an empty one
    for _ in range(_MAX_PARTS):
        head = data[position : position + 1]
        if not head:
            raise ImageError(TRUNCATED)
        if inside:
            inside = head != b"\0"
            position += 1 + head[0]
        elif head == b"!":
            if data[position + 1 : position + 3] == b"\xf9\4" and data[position + 7 : position + 8] == b"\0":
                control = data[position : position + 8]
            inside = True
            position += 2
        elif head == b",":
            left, top, across, down = struct.unpack_from("<4H", data, position + 1)
            return screen + control + data[position:], (max(width, left + across), max(height, top + down))
        else:
            raise ValueError("no picture in it")
    raise ValueError("too many blocks")


def _directory(data: bytes) -> tuple[str, bool, list[tuple[int, int, int, bytes]]]:
    """Return the first directory of TIFF data (EXIF is such): byte order, whether it is a BigTIFF, its entries.

    An entry is tag, type, count, and the value or the offset of the values as bytes.
    """
    order = {b"II": "<", b"MM": ">"}[data[:2]]
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    if start >= len(data):
        raise ImageError(TRUNCATED)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    entry = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
    start += 8 if big else 2
    count = min(count, (len(data) - start) // entry.size, _MAX_PARTS)
    return order, big, [entry.unpack_from(data, start + i * entry.size) for i in range(count)]


def exif_orientation(exif: bytes) -> int:
    """Return the EXIF orientation, 1 to 8; 1 (upright) where there is none or it cannot be read."""
    try:
        order, _, entries = _directory(exif.removeprefix(b"Exif\0\0"))
    except (KeyError, ValueError, struct.error):
        return 1
    for tag, kind, _, value in entries:
        if tag == 0x0112:
            (found,) = struct.unpack_from(order + ("I" if kind == 4 else "H"), value)
            return found if 1 <= found <= 8 else 1
    return 1


_TIFF_TAGS = frozenset(
    # size, samples, compression, photometric, fill order, strips, planes, fax options, predictor, palette, tiles, inks,
    # extra samples, sample format, JPEG tables and intervals, YCbCr
    [
        *(256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332, 338, 339),
        *(347, *range(512, 522), 529, 530, 531, 532),
    ]
)
_TIFF_SINGLE = frozenset([256, 257, 259, 266, 277, 278, 284, 292, 293, 317, 322, 323, 332])
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}


def slim_tiff(data: bytes) -> tuple[bytes, int]:
    """Return a TIFF whose only directory is the first page's, with only the tags that pixels need; and its orientation.

    The new directory is put at the end, so that no offset in it changes.
    """
    order, big, entries = _directory(data)
    word, room = ("Q", 8) if big else ("I", 4)
    kept: dict[int, bytes] = {}
    total = 0
    for tag, kind, count, value in entries:
        if tag not in _TIFF_TAGS or tag in kept or kind not in _TIFF_SIZES:
            continue
        if not count or count > (1 if tag in _TIFF_SINGLE else _MAX_PARTS):
            raise ValueError(f"tag {tag} has {count} values")
        size = count * _TIFF_SIZES[kind]
        if size > room:
            total += size
            if struct.unpack(order + word, value)[0] + size > len(data) or total > len(data):
                raise ImageError(TRUNCATED)
        kept[tag] = struct.pack(f"{order}HH{word}{room}s", tag, kind, count, value)
    start = len(data) + len(data) % 2
    header = data[:8] + struct.pack(order + "Q", start) if big else data[:4] + struct.pack(order + "I", start)
    directory = struct.pack(order + ("Q" if big else "H"), len(kept)) + b"".join(kept[tag] for tag in sorted(kept))
    filled = bytes(start - len(data))
    slim = b"".join([header, memoryview(data)[len(header) :], filled, directory, bytes(room)])
    return slim, exif_orientation(data)


def webp_size(data: bytes) -> tuple[int, int]:
    """Return width and height of a WebP, whose decoder takes memory for them as soon as it is made."""
    name, body = data[12:16], data[20:30]
    if len(data) < max(30, 8 + int.from_bytes(data[4:8], "little")):
        raise ImageError(TRUNCATED)
    if name == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if name == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if name == b"VP8 ":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    raise ValueError("no picture in it")
