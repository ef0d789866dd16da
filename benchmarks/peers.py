"""Photos a second from file bytes to labels on one thread: this project and its peers, one after the other on the same photos.

    python benchmarks/peers.py                                        # photos made from the shippable portrait
    python benchmarks/peers.py --peer-python /path/to/venv/bin/python  # with peers installed in another environment
    python benchmarks/peers.py --expw 60 --data ../shared/data        # photos of ExpW's validation split, with accuracy

Peers: `fer` (with its Haar cascade, and with MTCNN), `deepface` where its weights are there, and OpenCV's own pieces without
any classifier: its decoder alone, and its decoder and Haar cascade. OpenCV 5 has no cascades any more, so the latter is
measured only where the peers' environment has OpenCV 4. A peer that cannot be imported is left out by name. Each runs in a
process of its own, kept to one processor where the system allows it, sees every photo once before the clock runs, and is then
timed photo by photo, by the processor time that it takes, which other programs on the machine disturb least. With labelled
faces, a face counts as right where a box's centre lies within 0.3 of the labelled box's size and its label is the annotators';
a face that was not found is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PEERS = ("fercore", "fer-haar", "fer-mtcnn", "deepface", "opencv-haar", "opencv-decode")
NEAR = 0.3
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "TF_NUM_INTRAOP_THREADS",
        "TF_NUM_INTEROP_THREADS",
    ),
    "1",
)
Answer = list[dict[str, Any]]
"""The faces of a photo: ``box`` (left, top, width, height) and ``label``."""


def fercore_road() -> Callable[[bytes], Answer]:
    """This project's default run."""
    sys.path.insert(0, str(ROOT))
    from fercore import Predictor

    predictor = Predictor.load()
    return lambda data: [{"box": list(face.box), "label": face.label} for face in predictor.predict(data)]


def fer_road(mtcnn: bool) -> Callable[[bytes], Answer]:
    """`fer` from PyPI: the emotion of each face is the likeliest one."""
    import cv2
    import numpy as np
    from fer.fer import FER

    cv2.setNumThreads(1)
    detector = FER(mtcnn=mtcnn)

    def road(data: bytes) -> Answer:
        with contextlib.redirect_stdout(io.StringIO()):
            faces = detector.detect_emotions(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
        return [
            {"box": [float(v) for v in face["box"]], "label": max(face["emotions"], key=face["emotions"].get)}
            for face in faces
        ]

    return road


def deepface_road() -> Callable[[bytes], Answer]:
    """`deepface` with its own detector; raises where its weights were never downloaded."""
    import cv2
    import numpy as np
    from deepface import DeepFace

    if not (Path.home() / ".deepface/weights/facial_expression_model_weights.h5").is_file():
        raise ImportError("deepface's weights are not on this machine")

    def road(data: bytes) -> Answer:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        found = DeepFace.analyze(picture, actions=["emotion"], enforce_detection=False, silent=True)
        return [
            {"box": [face["region"][k] for k in "xywh"], "label": face["dominant_emotion"]}
            for face in found
            if face["face_confidence"] > 0
        ]

    return road


def opencv_road() -> Callable[[bytes], Answer]:
    """OpenCV's decoder and Haar cascade alone: how far one gets before any classifier."""
    import cv2
    import numpy as np

    folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
    file = os.path.join(folder, "haarcascade_frontalface_default.xml")
    if not hasattr(cv2, "CascadeClassifier") or not os.path.isfile(file):
        raise ImportError(f"OpenCV {cv2.__version__} has no cascades")
    cv2.setNumThreads(1)
    cascade = cv2.CascadeClassifier(file)

    def road(data: bytes) -> Answer:
        grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        return [{"box": [float(v) for v in box], "label": ""} for box in cascade.detectMultiScale(grey, 1.1, 5)]

    return road


def decoding_road() -> Callable[[bytes], Answer]:
    """OpenCV's decoder alone, in colour and at full scale: what is spent before anybody looks for a face."""
    import cv2
    import numpy as np

    cv2.setNumThreads(1)

    def road(data: bytes) -> Answer:
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        return []

    return road


ROADS: dict[str, Callable[[], Callable[[bytes], Answer]]] = {
    "fercore": fercore_road,
    "fer-haar": lambda: fer_road(False),
    "fer-mtcnn": lambda: fer_road(True),
    "deepface": deepface_road,
    "opencv-haar": opencv_road,
    "opencv-decode": decoding_road,
}


def work(peer: str, folder: Path) -> dict[str, Any]:
    """Time one peer on the photos of a folder; called in a process of its own."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    try:
        road = ROADS[peer]()
    except Exception as error:  # whatever a peer does when it is imported, the others go on
        return {"left_out": f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"}
    files = [path.read_bytes() for path in sorted(folder.iterdir())]
    answers = [road(data) for data in files]
    seconds = []
    for data in files:
        start = time.process_time()
        road(data)
        seconds.append(time.process_time() - start)
    return {"seconds": seconds, "answers": answers}


def made_photos(folder: Path) -> None:
    """Compose photos from the shippable portrait: one face to eight, close and far, and one picture without a face."""
    sys.path.insert(0, str(ROOT))
    import cv2
    import numpy as np

    from fercore.images import load_image

    portrait = load_image(ROOT / "static" / "portrait.jpg")
    scenes = [
        (480, 640, [(80, 0, 480)]),
        (640, 480, [(40, 100, 400)]),
        (720, 1280, [(100, 100, 500), (700, 150, 420)]),
        (659, 545, [(0, 60, 300), (250, 300, 280)]),
        (1080, 1920, [(60 + 460 * i, 200 + 60 * (i % 2), 420) for i in range(4)]),
        (900, 1200, [(20 + 290 * (i % 4), 60 + 420 * (i // 4), 270) for i in range(8)]),
        (512, 512, [(0, 0, 512)]),
        (480, 640, []),
    ]
    for number, (height, width, places) in enumerate(scenes):
        rng = np.random.default_rng(number)
        small = rng.integers(60, 200, (height // 40 + 1, width // 40 + 1, 3), dtype=np.uint8)
        canvas = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        for left, top, side in places:
            canvas[top : top + side, left : left + side] = cv2.resize(
                portrait, (side, side), interpolation=cv2.INTER_AREA
            )
        cv2.imwrite(str(folder / f"{number}.jpg"), canvas[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])


def expw_photos(folder: Path, count: int, data: str | None) -> list[list[tuple[list[float], str]]]:
    """Copy photos spread over ExpW's validation split; return the labelled boxes and labels of each."""
    sys.path.insert(0, str(ROOT))
    import numpy as np

    from fercore import datasets

    dataset = datasets.load("expw", data).split("validation")
    boxes, labels = dataset.boxes(), dataset.table["label"].to_numpy()
    photos = list(dataset.table.groupby("image", sort=False).indices.items())
    truth = []
    for number, at in enumerate(np.linspace(0, len(photos) - 1, count).round().astype(int)):
        image, positions = photos[at]
        (folder / f"{number:05}.jpg").write_bytes((dataset.root / image).read_bytes())
        truth.append([(boxes[position].tolist(), str(labels[position])) for position in positions])
    return truth


def right(answers: list[Answer], truth: list[list[tuple[list[float], str]]]) -> dict[str, float]:
    """Return the share of labelled faces found, and found with the annotators' label."""
    found = correct = total = 0
    for faces, known in zip(answers, truth, strict=True):
        for (left, top, width, height), label in known:
            total += 1
            near = [
                face
                for face in faces
                if abs(face["box"][0] + face["box"][2] / 2 - left - width / 2) <= NEAR * width
                and abs(face["box"][1] + face["box"][3] / 2 - top - height / 2) <= NEAR * height
            ]
            found += bool(near)
            correct += any(face["label"] == label for face in near[:1])
    return {"labelled": total, "found": found / total, "right": correct / total}


def main() -> None:
    """Parse the command line, run each peer in its own process, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs (default: photos made from the portrait)")
    parser.add_argument("--expw", type=int, default=0, help="so many photos of ExpW's validation split, with accuracy")
    parser.add_argument("--data", help="the data folder (default: $FER_DATA, else ./data)")
    parser.add_argument("--peer-python", default=sys.executable, help="the Python whose environment has the peers")
    parser.add_argument("--peers", default=",".join(PEERS), help=f"which, of {', '.join(PEERS)}")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        result = work(options.worker, options.photos)
        print("\n" + json.dumps(result))
        return
    if options.photos and options.expw:
        parser.error("--photos and --expw exclude each other")
    if unknown := sorted(set(options.peers.split(",")) - set(PEERS)):
        parser.error(f"unknown peers: {', '.join(unknown)}; known: {', '.join(PEERS)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder, truth = options.photos or Path(temporary), []
        if options.expw:
            truth = expw_photos(folder, options.expw, options.data)
        elif not options.photos:
            made_photos(folder)
        results = {}
        for peer in options.peers.split(","):
            python = sys.executable if peer == "fercore" else options.peer_python
            command = [python, __file__, "--worker", peer, "--photos", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, env=os.environ | ONE_THREAD, check=False)
            lines = done.stdout.strip().splitlines()
            if done.returncode == 0 and lines:
                results[peer] = json.loads(lines[-1])
            elif done.returncode < 0:
                results[peer] = {"left_out": f"its process was ended by {signal.Signals(-done.returncode).name}"}
            else:
                results[peer] = {"left_out": done.stderr.strip()[-160:]}
    table = summary(results, truth)
    print(json.dumps(table) if options.json else text(table))


def summary(results: dict[str, Any], truth: list[Any]) -> dict[str, Any]:
    """Return photos a second, milliseconds, faces and accuracy for each peer."""
    table = {}
    for peer, result in results.items():
        if "left_out" in result:
            table[peer] = result
            continue
        seconds = result["seconds"]
        table[peer] = {
            "photos": len(seconds),
            "photos_per_second": len(seconds) / sum(seconds),
            "milliseconds_median": 1e3 * sorted(seconds)[len(seconds) // 2],
            "faces": sum(map(len, result["answers"])),
            **(right(result["answers"], truth) if truth else {}),
        }
    return table


def text(table: dict[str, Any]) -> str:
    """Return the table as aligned text, with each peer's photos a second relative to ours."""
    ours = table.get("fercore", {}).get("photos_per_second")
    lines = [f"{'':13} {'photos/s':>9} {'ms median':>10} {'faces':>6} {'ours is':>9} {'found':>7} {'right':>7}"]
    for peer, row in table.items():
        if "left_out" in row:
            lines.append(f"{peer:13} left out: {row['left_out']}")
            continue
        ratio = f"{ours / row['photos_per_second']:.1f} x" if ours else ""
        shares = "".join(f" {row[key]:7.1%}" if key in row else "" for key in ("found", "right"))
        lines.append(
            f"{peer:13} {row['photos_per_second']:9.1f} {row['milliseconds_median']:10.1f} {row['faces']:6} {ratio:>9}{shares}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
