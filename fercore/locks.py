"""A lock on a file that the operating system holds: a process that ends, however it ends, leaves it open."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import IO, Self

if os.name == "nt":
    import msvcrt
else:
    import fcntl


class Lock:
    """A lock that one process, and one thread in it, holds at a time.

    >>> with Lock(path) as lock:
    ...     if lock.held: ...
    """

    def __init__(self, path: Path, *, patience: float = 0.0):
        """Args: the file, which is made and never removed; and seconds for which to try again."""
        self.path = path
        self.patience = patience
        self.held = False
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "ab")
        until = time.monotonic() + self.patience
        self.held = _take(self._file)
        while not self.held and time.monotonic() < until:
            time.sleep(0.05)
            self.held = _take(self._file)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let it go; nothing happens where it is not held."""
        if self._file is not None:
            self._file.close()  # with which the system opens the lock
        self._file, self.held = None, False


def is_held(path: Path) -> bool:
    """Tell whether a process holds a lock. Asking does not keep others from asking."""
    try:
        with open(path, "rb+") as file:
            for _ in range(3):
                if _take(file, shared=True):
                    return False
                time.sleep(0.02)
            return True
    except FileNotFoundError:
        return False


def _take(file: IO[bytes], *, shared: bool = False) -> bool:
    try:
        if os.name == "nt":
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
