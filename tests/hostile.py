"""Builders of bytes that no honest program writes, for every test that feeds strangers' files to the project.

All of them are made here, from arrays and from format descriptions; nothing is read from a dataset.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

NOT_PICTURES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "text": (b"Dear all,\nplease find my photo attached.\n", "text"),
    "html": (b"<!DOCTYPE html><html><body><img src='a.jpg'></body></html>", "web page"),
    "svg": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><rect width="9"/></svg>', "SVG"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n", "PDF"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "PostScript"),
    "windows program": (b"MZ\x90\x00\x03\x00\x00\x00\x04\x00\x00\x00\xff\xff\x00\x00" + bytes(64), "Windows program"),
    "linux program": (b"\x7fELF\x02\x01\x01" + bytes(64), "Linux program"),
    "zip": (b"PK\x03\x04\x14\x00\x00\x00\x08\x00" + bytes(64), "ZIP"),
    "photoshop": (b"8BPS\x00\x01" + bytes(64), "Photoshop"),
    "video": (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00isommp42" + bytes(64), "video"),
    "zeros": (bytes(4096), "no picture of a known format"),
    "noise": (bytes([0, *range(255, 0, -1)]), "no picture of a known format"),
}
"""What people upload instead of pictures: the bytes, and a word that the refusal must hold."""


def encoded(pixels: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
    """Return a picture as a file of a Pillow format (``JPEG``, ``PNG``, ...)."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    """Return the smallest EXIF block that states an orientation, big-endian."""
    return b"MM\x00\x2a\x00\x00\x00\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


def png_chunk(name: bytes, body: bytes) -> bytes:
    """Return one chunk of a PNG with the right checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_with(png: bytes, *chunks: bytes) -> bytes:
    """Return a PNG with further chunks right behind its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def jpeg_with(jpeg: bytes, marker: int, body: bytes) -> bytes:
    """Return a JPEG with one more segment right behind its start."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + jpeg[2:]


def bombs(width: int, height: int) -> dict[str, bytes]:
    """Return small files of each format whose headers state a size."""
    jpeg = encoded(np.zeros((16, 16, 3), np.uint8), "JPEG")
    frame = jpeg.index(b"\xff\xc0") + 5
    gif = encoded(np.zeros((4, 4), np.uint8), "GIF")
    bmp = encoded(np.zeros((4, 4, 3), np.uint8), "BMP")
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    result = {
        "PNG": b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(bytes(1000)))
        + png_chunk(b"IEND", b""),
        "BMP": bmp[:18] + struct.pack("<ii", width, height) + bmp[26:],
        "TIFF": tiff([(256, 4, (width,)), (257, 4, (height,)), (262, 3, (1,)), (258, 3, (8,)), (273, 4, (8,))]),
    }
    if max(width, height) < 1 << 16:
        result["JPEG"] = jpeg[:frame] + struct.pack(">HH", height, width) + jpeg[frame + 4 :]
        result["GIF"] = gif[:6] + struct.pack("<HH", width, height) + gif[10:]
    if max(width, height) <= 1 << 24:
        canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas + b"VP8L" + bytes(16)
        result["WebP"] = b"RIFF" + struct.pack("<I", len(body)) + body
    return result


def tiff(entries: list[tuple[int, int, tuple[int, ...]]], pixels: bytes = bytes(64)) -> bytes:
    """Return a little-endian TIFF: pixels at offset 8, then one directory of tags of type 3 (short) or 4 (long)."""
    start = 8 + len(pixels) + len(pixels) % 2
    values = start + 2 + 12 * len(entries) + 4
    directory, outside = struct.pack("<H", len(entries)), b""
    for tag, kind, numbers in sorted(entries):
        body = struct.pack(f"<{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(body) > 4:
            body, outside = struct.pack("<I", values + len(outside)), outside + body
        directory += struct.pack("<HHI4s", tag, kind, len(numbers), body)
    return b"II*\x00" + struct.pack("<I", start) + pixels.ljust(start - 8, b"\x00") + directory + bytes(4) + outside


def progressive_with_scans(pixels: np.ndarray, scans: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated until it has that many."""
    jpeg = encoded(pixels, "JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * (scans - jpeg.count(b"\xff\xda")) + jpeg[-2:]


def rle_bmp(width: int, height: int, runs: bytes, palette: list[tuple[int, int, int]]) -> bytes:
    """Return a BMP of 8 bits a pixel in run-length code (2 bytes a run, rows from the bottom up)."""
    colours = b"".join(bytes((blue, green, red, 0)) for red, green, blue in palette)
    start = 14 + 40 + len(colours)
    file_header = b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 2835, 2835, len(palette), 0)
    return file_header + header + colours + runs
