"""The predictor: a picture in, faces with calibrated expressions out. ONNX Runtime only; threads may share it."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import calibration, faces, features, images, onnxfile, preprocess
from .errors import FerError, RunError
from .faces import Detections, Detector
from .runs import Head, Run

REDUCED_SIDE = 720
"""Least shorter side in pixels of a JPEG that is decoded at a reduced scale: the detector's tiles then still see what they
would see of the whole picture, since a tile of 0.6 of it has more pixels than the detector takes."""


@dataclasses.dataclass(frozen=True)
class Face:
    """One face of a picture and what the network makes of it."""

    box: tuple[float, float, float, float]
    """Left, top, width, height in pixels of the picture (after its EXIF rotation)."""
    score: float
    """The detector's confidence that this is a face, 0 to 1."""
    label: str
    confidence: float
    """Calibrated probability of ``label``."""
    probabilities: dict[str, float]
    uncertain: bool
    """True where ``confidence`` is below the threshold that validation chose: show the label with reserve."""
    keypoints: tuple[tuple[float, float], ...] = ()
    """Six points in pixels, in the order of ``faces.KEYPOINTS``."""

    def to_dict(self) -> dict[str, Any]:
        """Return what ``predict --json`` prints: coordinates to a tenth of a pixel, probabilities to four digits."""
        return {
            "box": [round(value, 1) for value in self.box],
            "score": round(self.score, 4),
            "label": self.label,
            "confidence": round(self.confidence, 4),
            "probabilities": {label: round(value, 4) for label, value in self.probabilities.items()},
            "uncertain": self.uncertain,
        }


class Network:
    """One run's ONNX file: grey crops in, logits of a head or features out."""

    def __init__(self, run: Run, *, threads: int = 1) -> None:
        """Open the session and let it answer once.

        Raises:
            RunError: the file is hostile (see ``onnxfile``), ONNX Runtime refuses it or cannot run it on faces of the run's
                size, or its outputs are not those that the run's heads promise.
        """
        import onnxruntime

        if run.kind != "network":
            raise RunError(f"run {run.name}: is an {run.kind}, which has no network of its own")
        self.run = run
        self.spec = run.input
        options = onnxfile.session_options(threads)
        file = run.file("model.onnx")
        try:
            data = file.read_bytes()
        except OSError as error:
            raise RunError(f"{file}: cannot be read ({error.strerror}); copy the run again") from error
        onnxfile.check(data, str(file))
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
            self._input = self._session.get_inputs()[0].name
            self.outputs = [output.name for output in self._session.get_outputs()]
            blank = np.zeros((2, self.spec.size, self.spec.size), np.uint8)
            answers = self._session.run(None, {self._input: features.network_input(blank, self.spec)})
        except FerError:  # of what a run's features need
            raise
        except Exception as error:
            if onnxfile.is_too_large(error):
                size = onnxfile.MAX_MEMORY >> 30
                raise RunError(
                    f"{file}: takes more than {size} GiB of memory for two faces; use a smaller one"
                ) from None
            raise RunError(f"{file}: ONNX Runtime refuses it: {' '.join(str(error).split())[:200]}") from error
        self._shapes = {name: np.shape(value) for name, value in zip(self.outputs, answers, strict=True)}
        for name, head in run.heads.items():
            if name not in self.outputs:
                raise RunError(f"{file}: no output {name!r}, which run.json names as a head")
            if self._shapes[name] != (2, len(head.labels)):
                raise RunError(
                    f"{file}: output {name!r} of two faces is {self._shapes[name]}, but run.json lists "
                    f"{len(head.labels)} labels"
                )

    def crops(self, image: np.ndarray, boxes: np.ndarray, framing: str) -> np.ndarray:
        """Cut the faces of a picture as this network wants them: uint8 (N, size, size)."""
        return preprocess.cut_faces(image, boxes, self.framing(framing), self.spec.size)

    def infer(self, crops: np.ndarray, output: str, *, batch: int = 64) -> np.ndarray:
        """Run crops (N, size, size) through the network: float32 (N, D) of the named output."""
        return self.answers(crops, [output], batch=batch)[output]

    def answers(self, crops: np.ndarray, outputs: Sequence[str], *, batch: int = 64) -> dict[str, np.ndarray]:
        """Run crops (N, size, size) through the network once: float32 (N, D) of each named output."""
        parts = [
            self._session.run(
                list(outputs), {self._input: features.network_input(crops[start : start + batch], self.spec)}
            )
            for start in range(0, len(crops), batch)
        ]
        empty = {name: np.zeros((0, *self._shapes[name][1:]), np.float32) for name in outputs}
        return {
            name: np.concatenate([empty[name], *(part[number] for part in parts)]).astype(np.float32)
            for number, name in enumerate(outputs)
        }

    def framing(self, name: str) -> preprocess.Framing:
        """Return how the run frames a kind of box. Raises ``FerError`` where it does not know that kind."""
        try:
            return self.run.framings[name]
        except KeyError:
            known = ", ".join(self.run.framings)
            raise FerError(f"framing {name!r} is unknown to run {self.run.name}; it knows {known}") from None


class Predictor:
    """Finds faces and classifies them with one run.

    >>> predictor = Predictor.load()  # the default run
    >>> for face in predictor.predict("photo.jpg"):
    ...     print(face.label, face.confidence)
    """

    def __init__(
        self, run: Run, networks: Sequence[Network], detector: Detector | None, head: Head, *, flip: bool = False
    ) -> None:
        """Use ``load``; this constructor serves tests and callers that bring their own detector."""
        self.run = run
        self.networks = list(networks)
        self.head = head
        self.flip = flip
        self._detector = detector

    @classmethod
    def load(
        cls,
        run: str | os.PathLike[str] | Run | None = None,
        head: str | None = None,
        *,
        detector: Detector | str | os.PathLike[str] | None = None,
        threads: int = 1,
        flip: bool = False,
    ) -> Predictor:
        """Load a run.

        Args:
            run: a folder, a name in ``artifacts/``, a ``Run``, ``hf://user/name`` or ``hf://user/name@revision`` for one on
                the Hugging Face Hub, or None for the one that ``$FER_RUN`` or ``artifacts/DEFAULT`` names.
            head: which label source's answer to give; None for the run's default.
            detector: a detector, or the path of a YuNet ONNX file; None for ``$FER_DETECTOR``, else the BlazeFace that
                is shipped.
            threads: ONNX Runtime threads for one picture.
            flip: look at each face and at its mirror image, and average the two (test-time augmentation): a little more
                accurate, for twice the time a face.

        Raises:
            RunError: the run, or a member of it, is missing, changed or invalid, or has no such head.
        """
        loaded = run if isinstance(run, Run) else Run.load(run)
        chosen = loaded.head(head)
        networks = [Network(each, threads=threads) for each in loaded.networks()]
        for network in networks:
            if network.run.head(chosen.name).labels != chosen.labels:
                raise RunError(f"run {loaded.name}: member {network.run.name} has other labels in head {chosen.name!r}")
        if detector is None or isinstance(detector, (str, os.PathLike)):
            detector = faces.load_detector(detector)
        _give_back_memory()
        return cls(loaded, networks, detector, chosen, flip=flip)

    @property
    def labels(self) -> tuple[str, ...]:
        """The K class names, in the order of every probability."""
        return self.head.labels

    def predict(self, image: images.Source, *, turn: bool = True) -> list[Face]:
        """Find the faces of a picture and classify them, largest first.

        A picture in which no face stands upright is turned by a quarter, by three and by two. A large JPEG is decoded at a
        reduced scale, unless a face in it is then smaller than what the network sees.

        Args:
            image: a path, bytes, an open file or stream (read once), a PIL image, or an RGB uint8 array (H, W, 3).
            turn: look at the picture turned where no face stands upright; a camera's frames do without.

        Returns:
            The faces; an empty list where there is none.

        Raises:
            ImageError: the picture cannot be read, in one line.
        """
        pixels, scale, whole = images.open_scaled(image, REDUCED_SIDE)
        found, turns = faces.detect_turned(self._detector, pixels) if turn else (self._detector.detect(pixels), 0)
        picture = np.rot90(pixels, turns)
        boxes = found.boxes
        if scale < 1 and self._loses(boxes):
            picture, boxes = np.rot90(whole(), turns), boxes / scale
        probabilities = self.classify(np.ascontiguousarray(picture), boxes)
        height, width = pixels.shape[:2]
        upright = faces.turned_back(found, turns, height, width)
        original = Detections(upright.boxes / scale, upright.scores, upright.keypoints / scale)
        order = _largest_first(original)
        return self.describe(original.select(order), probabilities[order])

    def _loses(self, boxes: np.ndarray) -> bool:
        """Tell whether a network would see a face of a reduced picture coarser than it could."""
        return any(
            preprocess.face_square(box, network.framing("detector"))[2] < network.spec.size
            for network in self.networks
            for box in boxes
        )

    def detect(self, image: np.ndarray) -> Detections:
        """Find faces in an RGB uint8 array (H, W, 3), largest first."""
        found = self._detector.detect(image)
        return found.select(_largest_first(found))

    def classify(self, image: images.Source, boxes: Sequence | np.ndarray, framing: str = "detector") -> np.ndarray:
        """Classify given boxes of a picture.

        Args:
            image: as for ``predict``.
            boxes: (N, 4) left, top, width, height in pixels.
            framing: the kind of box: ``detector``, ``expw``, or ``crop`` (the box is the face square already).

        Returns:
            (N, K) float32 calibrated probabilities.
        """
        pixels = images.load_image(image)
        return self.probabilities([network.crops(pixels, boxes, framing) for network in self.networks])

    def probabilities(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Return (N, K) probabilities for crops, one array (N, size, size) for each of ``self.networks``."""
        return self.calibrate(self.logits(crops))

    def calibrate(self, logits: np.ndarray) -> np.ndarray:
        """Turn logits (N, K) into probabilities with the head's temperature."""
        return calibration.softmax(logits, self.head.temperature)

    def logits(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Return (N, K) logits before this run's temperature.

        An ensemble's are the logarithms of the average of its members' calibrated probabilities, weighted by their shares.
        """
        if self.run.kind == "network":
            return self._infer(self.networks[0], crops[0])
        mean = sum(
            share * calibration.softmax(self._infer(network, part), network.run.head(self.head.name).temperature)
            for network, share, part in zip(self.networks, self.run.shares, crops, strict=True)
        )
        return calibration.logarithms(mean)

    def _infer(self, network: Network, crops: np.ndarray) -> np.ndarray:
        """Return a network's logits (N, K); with ``flip`` their average over each face and its mirror image."""
        logits = network.infer(crops, self.head.name)
        if not self.flip:
            return logits
        return (logits + network.infer(np.ascontiguousarray(crops[:, :, ::-1]), self.head.name)) / 2

    def embed(self, image: images.Source, boxes: Sequence | np.ndarray, framing: str = "detector") -> np.ndarray:
        """Return the network's features of given boxes: (N, D) float32; an ensemble's are its members' side by side.

        Raises:
            RunError: a network gives no features.
        """
        pixels = images.load_image(image)
        parts = []
        for network in self.networks:
            if "features" not in network.outputs:
                raise RunError(f"run {network.run.name}: its network gives no features")
            parts.append(network.infer(network.crops(pixels, boxes, framing), "features"))
        return np.concatenate(parts, axis=1)

    def describe(self, found: Detections, probabilities: np.ndarray) -> list[Face]:
        """Join detections and their (N, K) probabilities into faces."""
        described = []
        for box, score, points, row in zip(found.boxes, found.scores, found.keypoints, probabilities, strict=True):
            best = int(row.argmax())
            described.append(
                Face(
                    box=tuple(float(value) for value in box),
                    score=float(score),
                    label=self.labels[best],
                    confidence=float(row[best]),
                    probabilities={label: float(value) for label, value in zip(self.labels, row, strict=True)},
                    uncertain=bool(row[best] < self.head.threshold),
                    keypoints=tuple((float(x), float(y)) for x, y in points),
                )
            )
        return described


def _largest_first(found: Detections) -> np.ndarray:
    return np.argsort(-found.boxes[:, 2] * found.boxes[:, 3], kind="stable")


def _give_back_memory() -> None:
    """Give what loading a network took and freed, some 20 MB, back to the system, where the C library keeps it (glibc)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
