"""Many photos on many machines: ``batch.answers`` through Ray Data, an optional extra (``pip install 'fercore[ray]'``).

Without a cluster Ray starts one on this machine; ``$RAY_ADDRESS`` names another. Nothing else differs: each actor keeps a
process that loads the run once and answers photos in portions, and the answers come back in the order of the photos. A photo
that takes that process down, or keeps it busy for more than a minute, costs one line: the actor stays and starts another. An
actor that is lost with its machine is Ray's business, which starts it again. Each machine needs fercore, and sees the photos
and the run (a default run comes with fercore) under the same paths, such as those of a shared disk.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

from . import batch
from .batch import Answer, Setup
from .errors import ConfigError, FerError
from .inference import Face

_PORTION = 16  # photos that an actor takes at a time


class _Actor:
    """What Ray keeps in each process."""

    def __init__(self, setup: Setup, patience: float) -> None:
        self.guarded = batch.Guarded(setup, patience)

    def __call__(self, portion: dict[str, Any]) -> dict[str, Any]:
        """Answer a portion; answers travel as JSON, which keeps every digit."""
        found = [self.guarded.answer(json.loads(str(photo))) for photo in portion["image"]]
        return {"answer": [json.dumps(dataclasses.asdict(each)) for each in found]}


def answers(setup: Setup, photos: Sequence[str | os.PathLike[str]], *, workers: int = 0) -> Iterator[Answer]:
    """Yield the answer of each photo, in the order of the photos.

    Args:
        setup: the run and the detector, which must be there under the same path on every machine.
        photos: paths, likewise.
        workers: actors that share them; 0 for as many as the cluster has processor cores.

    Raises:
        FerError: ray is not installed, no cluster can be had, the run or the detector cannot be loaded, or the cluster
            gives up.
    """
    if workers < 0:
        raise ConfigError(f"workers: expected a number of actors, 0 for one a core, got {workers}")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise FerError(
            f"engine ray: needs {error.name or 'ray'}, which is missing; pip install 'fercore[ray]', or leave --engine out"
        ) from None
    setup.predictor()  # what is wrong with the run is told here, in one line
    if setup.detector:
        setup = dataclasses.replace(setup, detector=os.path.abspath(setup.detector))
    names = [os.fspath(photo) for photo in photos]
    return _stream(ray, setup, names, workers)


def _stream(ray: Any, setup: Setup, photos: list[str], workers: int) -> Iterator[Answer]:
    ours = not ray.is_initialized()
    if ours:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            raise FerError(
                f"engine ray: no cluster ({' '.join(str(error).split())[:200]}); check RAY_ADDRESS"
            ) from error
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        size = min(workers or cores, cores, len(photos)) or 1
        blocks = max(1, min(len(photos) // _PORTION, 8 * size))
        # The workers' folder may be another than ours. JSON, because a file's name may be no text.
        rows = [{"image": json.dumps(os.path.abspath(photo))} for photo in photos]
        table = ray.data.from_items(rows, override_num_blocks=blocks)
        table = table.map_batches(
            _Actor,
            fn_constructor_args=(setup, batch.PATIENCE),
            batch_size=_PORTION,
            compute=ray.data.ActorPoolStrategy(size=size),
        )
        for photo, row in zip(photos, table.iter_rows(), strict=True):
            values = json.loads(row["answer"])
            faces = [_face(face) for face in values["faces"]]
            error = values["error"] and values["error"].replace(os.path.abspath(photo), photo, 1)
            yield Answer(photo, tuple(faces), error)
    except ray.exceptions.RayError as error:
        detail = " ".join(str(error).split())[-300:]
        raise FerError(f"engine ray: the cluster gave up ({detail})") from error
    finally:
        if ours:
            ray.shutdown()


def _face(values: dict[str, Any]) -> Face:
    points = tuple((x, y) for x, y in values["keypoints"])
    return Face(**values | {"box": tuple(values["box"]), "keypoints": points})
