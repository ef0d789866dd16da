"""Several processes that change training faces at random, so that a GPU need not wait for them.

They make the very faces that ``data.batches`` makes: what a step shows follows from seed, epoch and step alone. Each process
opens the faces itself, memory-mapped, and sends back grey crops, a quarter of the size of network input.
"""

from __future__ import annotations

import collections
import concurrent.futures
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from ..preprocess import InputSpec
from .data import Batch, Faces, batch, changed, order
from .recipe import Recipe

_faces: Faces | None = None
"""In a process of the crew, the faces that it opened."""


class Crew:
    """A pool of such processes; use it in a ``with`` block. ``batches`` is what ``fit`` takes as its feed."""

    def __init__(self, open_faces: Callable[[], Faces], workers: int | None = None) -> None:
        """Start the processes.

        Args:
            open_faces: called in each process; a function of a module, or a ``functools.partial`` of one.
            workers: how many; None for one less than there are processor cores, 16 at most.
        """
        self.workers = workers or max(1, min(16, (os.cpu_count() or 2) - 1))
        self.waited = 0.0
        """Seconds in which no batch was ready, since the crew started."""
        self.shown = 0
        """Faces that were handed out; whoever measures may set it back."""
        self._pool = concurrent.futures.ProcessPoolExecutor(
            self.workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start,
            initargs=(open_faces,),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def batches(self, faces: Faces, recipe: Recipe, spec: InputSpec, epoch: int) -> Iterator[Batch]:
        """Yield what ``data.batches`` yields, from these faces, which are those that the processes opened."""
        steps = list(enumerate(order(faces, recipe, epoch)))
        ahead = 2 * self.workers
        waiting: collections.deque[concurrent.futures.Future[np.ndarray]] = collections.deque()
        for step, indices in steps:
            for later, chosen in steps[step + len(waiting) : step + ahead]:
                waiting.append(self._pool.submit(_change, recipe, spec.size, epoch, later, chosen))
            started = time.monotonic()
            crops = waiting.popleft().result()
            self.waited += time.monotonic() - started
            self.shown += len(indices)
            yield batch(faces, recipe, spec, epoch, step, indices, crops)


def _start(open_faces: Callable[[], Faces]) -> None:
    global _faces
    cv2.setNumThreads(1)
    _faces = open_faces()


def _change(recipe: Recipe, size: int, epoch: int, step: int, indices: np.ndarray) -> np.ndarray:
    assert _faces is not None
    return changed(_faces, recipe, size, epoch, step, indices)
