"""ONNX files of strangers: read before ONNX Runtime gets them, and kept within bounds when it runs them.

An ONNX file may name other files to read weights from, promise tensors of any size, hold programs with loops, and compute
shapes that fill the memory. ``check`` walks the file (it is a protocol-buffer message, see
https://onnx.ai/onnx/repo-docs/IR.html) without building anything, and refuses what a network for faces has no use for.
What only shows when the network runs, such as a small tensor that is expanded to gigabytes, meets the limit of
``session_options``.
"""

from __future__ import annotations

import contextlib
import math
import reprlib
import threading
from collections.abc import Iterator
from typing import Any

from .errors import RunError

MAX_NUMBERS = 1 << 26
"""Numbers that a tensor, or the known part of a shape, may have: 256 MiB as float32."""
MAX_NODES = 20_000
MAX_FIELDS = 400_000
"""Parts of a file that are looked at; a large network has some ten thousand."""
MAX_MEMORY = 2 << 30
"""Bytes that all networks of a process may take for what they compute."""
DOMAINS = ("", "ai.onnx")
"""Whose operators a network may use: the standard's."""

_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 16: 16}
_BITS |= dict.fromkeys((17, 18, 19, 20), 8) | {21: 4, 22: 4}
_MOST_PACKED = 170  # bytes of the sizes of a tensor that are read: 17 of them at least, which is one too many
_TYPED = (4, 5, 7, 10, 11)  # a tensor's data, where it is not raw
_lock = threading.Lock()
_registered: list[bool] = []


def check(data: bytes, where: str) -> None:
    """Refuse an ONNX file that reaches outside itself, runs programs, or is larger than it looks.

    Args:
        data: the file's bytes.
        where: the file's name, with which the refusal begins.

    Raises:
        RunError: what is wrong, in one line.
    """
    try:
        _Walk().model(memoryview(data))
    except _Refused as error:
        raise RunError(f"{where}: {error}") from None
    except (IndexError, ValueError) as error:
        raise RunError(f"{where}: not an ONNX file ({error}); copy the run again") from None


def session_options(threads: int) -> Any:
    """Return the options of a session whose memory comes from an arena with a limit, one for the whole process."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    memory = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
    with _lock:
        if not _registered:
            _registered.append(True)
            with contextlib.suppress(Exception):  # a program around us may have set a limit of its own
                onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg({"max_mem": MAX_MEMORY}))
    options.add_session_config_entry("session.use_env_allocators", "1")
    return options


def is_too_large(error: Exception) -> bool:
    """Tell whether ONNX Runtime gave up because the arena's limit was reached."""
    return "Available memory of" in str(error) or "Failed to allocate memory" in str(error)


class _Refused(Exception):
    """Says what is wrong with a file, without its name."""


class _Walk:
    """A walk through one file, of at most ``MAX_FIELDS`` steps."""

    def __init__(self) -> None:
        self._left = MAX_FIELDS

    def model(self, view: memoryview) -> None:
        graphs = 0
        for number, value in self._fields(view):
            if number == 7:
                graphs += 1
                self._graph(_part(value))
            elif number in (20, 25):
                raise _Refused("it defines operators or training steps of its own; export the network alone")
        if graphs != 1:
            raise ValueError(f"{graphs} graphs in it")

    def _graph(self, view: memoryview) -> None:
        nodes = 0
        for number, value in self._fields(view):
            if number == 1:
                nodes += 1
                self._node(_part(value))
            elif number == 5:
                self._tensor(_part(value))
            elif number == 15:
                raise _Refused("it has sparse weights; export it with ordinary ones")
            elif number in (11, 12, 13):
                self._value(_part(value))
        if nodes > MAX_NODES:
            raise _Refused(f"{nodes:,} steps, more than the {MAX_NODES:,} allowed; use a smaller network")

    def _node(self, view: memoryview) -> None:
        operator = domain = ""
        attributes = []
        for number, value in self._fields(view):
            if number == 4:
                operator = _text(value)
            elif number == 7:
                domain = _text(value)
            elif number == 5:
                attributes.append(_part(value))
            elif number in (1, 2, 3):
                _text(value)
        if domain not in DOMAINS:
            raise _Refused(
                f"operator {_quoted(operator)} of {_quoted(domain)} is not one of the ONNX standard; export without it"
            )
        for attribute in attributes:
            self._attribute(attribute, operator)

    def _attribute(self, view: memoryview, operator: str) -> None:
        tensors = 0
        for number, value in self._fields(view):
            if number == 1:
                _text(value)
            if number in (6, 11):
                raise _Refused(
                    f"operator {_quoted(operator)} runs a program of its own; export the network without loops"
                )
            if number in (22, 23):
                raise _Refused("it has sparse weights; export it with ordinary ones")
            if number in (5, 10):
                tensors += number == 5
                self._tensor(_part(value))
        if tensors > 1:  # a parser would join them
            raise ValueError("a tensor in parts")

    def _tensor(self, view: memoryview) -> None:
        """Refuse a tensor that lies elsewhere, or promises more than it holds."""
        dims: list[int] = []
        kind, name, raw, typed = 0, "", None, 0
        for number, value in self._fields(view):
            if number == 1:
                dims += [value] if isinstance(value, int) else _packed(value[:_MOST_PACKED])
            elif number == 2:
                kind = value
            elif number == 8:
                name = _text(value)
            elif number == 9:
                if raw is not None:
                    raise ValueError("a tensor in parts")
                raw = len(_part(value))
            elif number == 13 or (number == 14 and value):
                raise _Refused("its weights lie in another file; export the network into one")
            elif number == 3:
                raise ValueError("a tensor in parts")
            elif number in _TYPED:
                typed += len(value) if isinstance(value, memoryview) else 4
            elif number == 6:
                typed += len(_part(value)) + 1
        numbers = _numbers(dims, name)
        size = -(-numbers * _BITS.get(kind, 8) // 8)
        if (raw is None and numbers > 2 * typed) or (raw is not None and raw != size):
            held = typed if raw is None else raw
            raise _Refused(
                f"tensor {_quoted(name)} promises {numbers:,} numbers and holds {held:,} bytes; copy the run again"
            )

    def _value(self, view: memoryview) -> None:
        """Refuse an input, output or step whose stated shape is huge."""
        name, dims = "", []
        for number, value in self._fields(view):
            if number == 1:
                name = _text(value)
            elif number == 2:
                shapes = [part for key, part in self._fields(_part(value)) if key == 1]
                for shape in [part for tensor in shapes for key, part in self._fields(_part(tensor)) if key == 2]:
                    for dimension in [part for key, part in self._fields(_part(shape)) if key == 1]:
                        for key, size in self._fields(_part(dimension)):
                            dims += [size] if key == 1 else []
                            _ = _text(size) if key == 2 else ""
        _numbers(dims, name)

    def _fields(self, view: memoryview) -> Iterator[tuple[int, Any]]:
        """Yield number and value of each field of a message: an int, or the bytes of what is longer."""
        position, end = 0, len(view)
        while position < end:
            self._left -= 1
            if not self._left:
                raise ValueError("too many parts")
            key, position = _varint(view, position)
            number, wire = key >> 3, key & 7
            if wire == 0:
                value, position = _varint(view, position)
            else:
                if wire == 2:
                    length, position = _varint(view, position)
                elif wire in (1, 5):
                    length = 8 if wire == 1 else 4
                else:
                    raise ValueError("a field of no known type")
                if length > end - position:
                    raise ValueError("it ends early")
                value = view[position : position + length]
                position += length
            yield number, value


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    """Read a number of up to 64 bits; return it and the position behind it."""
    value = shift = 0
    while True:
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), position
        shift += 7
        if shift > 63:
            raise ValueError("a number without end")


def _part(value: Any) -> memoryview:
    if not isinstance(value, memoryview):
        raise ValueError("a number in place of a part")
    return value


def _text(value: Any) -> str:
    """Return a name; one that is not UTF-8 raises ``ValueError``, which ONNX Runtime answers with a print to stdout."""
    return bytes(_part(value)).decode("utf-8")


def _quoted(text: str) -> str:
    return reprlib.repr(text)


def _packed(view: memoryview) -> list[int]:
    values, position = [], 0
    while position < len(view):
        value, position = _varint(view, position)
        values.append(value)
    return values


def _numbers(dims: list[int], name: str) -> int:
    """Return the product of sizes; refuse more than a network needs."""
    if not all(isinstance(size, int) for size in dims):
        raise ValueError("a size that is no number")
    if any(size >= 2**63 for size in dims) or len(dims) > 16 or math.prod(dims) > MAX_NUMBERS:
        sizes = " x ".join(str(size - 2**64 if size >= 2**63 else size) for size in dims[:8])
        raise _Refused(
            f"{_quoted(name)} has the shape {sizes}, larger than a network for faces needs; use a smaller one"
        )
    return math.prod(dims)
