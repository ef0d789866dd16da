"""What one photo costs on one thread, step by step, how far that is from the machine's limit, and what starting costs.

    python benchmarks/latency.py [--run RUN] [--json] [--limits [--slack 3]]

The photo is 640 x 480 with one face, made from the shippable portrait. Times of one photo are processor time, the median of
many; times of a fresh process are by the clock, the median of several processes, since waiting for the disk counts there.

The limit of a step is the time that its work would take at this machine's peak, measured in the same run on one thread: its
multiply-adds at the rate of a large float32 matrix product (NumPy), or its bytes at the rate of a memory copy, whichever takes
longer. Multiply-adds are counted from the networks' graphs (convolutions and matrix products); bytes are those that no
implementation could spare: weights, files and pixels, read or written once. Activations between layers are not counted.

With ``--limits`` the exit code is 1 where a goal is missed; ``--slack`` is a factor on the goals' times, for a machine that has
other things to do.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
GOALS = {"import_ms": 50.0, "first_answer_ms": 600.0, "resident_mb": 200.0, "photo_ms": 8.0}
"""The most that each may be."""

FRESH = """
import sys, time
start = time.perf_counter()
import fercore
imported = time.perf_counter()
fercore.Predictor.load(sys.argv[2] or None).predict(sys.argv[1])
answered = time.perf_counter()
try:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
except ImportError:
    peak = float("nan")
print(imported - start, answered - start, peak)
"""


def fresh(photo: Path, run: str, *, processes: int) -> dict[str, float]:
    """Return milliseconds to import and to the first answer, and MB resident at the most, of fresh processes."""
    rows = []
    for _ in range(processes):
        command = [sys.executable, "-c", FRESH, str(photo), run]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        rows.append([float(value) for value in done.stdout.split()])
    imported, answered, peak = (statistics.median(column) for column in zip(*rows, strict=True))
    return {"import_ms": 1e3 * imported, "first_answer_ms": 1e3 * answered, "resident_mb": peak}


def times_ms(call: Callable[[], Any], times: int) -> list[float]:
    """Return the processor times of a call in milliseconds, after one that does not count."""
    call()
    spent = []
    for _ in range(times):
        start = time.process_time()
        call()
        spent.append(1e3 * (time.process_time() - start))
    return spent


def peak(times: int = 7) -> dict[str, float]:
    """Return what one thread of this machine can do at the most: float32 multiply-adds and bytes moved, a second."""
    import numpy as np

    side = 1024
    left, right = np.random.default_rng(0).random((2, side, side), dtype=np.float32)
    source = np.ones(64 << 20, np.uint8)
    target = np.empty_like(source)
    product = min(times_ms(lambda: left @ right, times))
    copy = min(times_ms(lambda: np.copyto(target, source), times))
    return {"multiply_adds": side**3 / product * 1e3, "bytes": 2 * source.nbytes / copy * 1e3}


def multiply_adds(model: onnx.ModelProto, shape: tuple[int, ...]) -> int:
    """Count the multiply-adds of a network's convolutions and matrix products for one input of this shape.

    Raises:
        ValueError: the shapes inside the network do not follow from the input's.
    """
    import onnx

    model = onnx.ModelProto.FromString(model.SerializeToString())
    for dimension, length in zip(model.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        dimension.dim_value = length
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in [*graph.value_info, *graph.input, *graph.output]:
        shapes[value.name] = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]

    def counted(node: onnx.NodeProto) -> int:
        made, weights = (shapes.get(name, []) for name in (node.output[0], node.input[1]))
        if not made or 0 in made or not weights:
            raise ValueError(f"{node.op_type} {node.name}: the shape of its output is not known")
        if node.op_type == "Conv":
            return math.prod(made) * math.prod(weights[1:])
        transposed = any(each.name == "transB" and each.i for each in node.attribute)
        return math.prod(made) * weights[-1 if transposed else -2]

    return sum(counted(node) for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul"))


def weight_bytes(model: onnx.ModelProto) -> int:
    """Return how many bytes the constants of a network have."""
    import onnx

    return sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)


def limit_ms(work: dict[str, float], rates: dict[str, float]) -> float:
    """Return the least time that a step can take: its multiply-adds or its bytes at their peak, whichever is longer."""
    return 1e3 * max(work[key] / rates[key] for key in ("multiply_adds", "bytes"))


def steps(data: bytes, run: str, *, times: int) -> dict[str, dict[str, float]]:
    """Return what each step of the road costs: milliseconds, multiply-adds, bytes."""
    import onnx

    from fercore import Predictor, faces, images
    from fercore.config import artifacts_dir

    predictor = Predictor.load(run or None)
    detector, networks, head = predictor._detector, predictor.networks, predictor.head.name
    picture = images.load_image(data)
    height, width = picture.shape[:2]
    side = max(height, width)
    left, top = -((side - width) // 2), -((side - height) // 2)
    boxes = predictor.detect(picture).boxes
    crops = [network.crops(picture, boxes, "detector") for network in networks]
    settings = detector.settings
    rows, row_end, columns, column_end = faces.window(picture, left, top, side, settings)
    shown = (1, row_end - rows, column_end - columns, 3)
    finder = onnx.load(artifacts_dir() / "detector" / "blazeface.onnx")
    classifiers = [(onnx.load(network.run.file("model.onnx")), network.spec.size) for network in networks]
    input_bytes = math.prod(shown)
    work = {
        "decode": (0, len(data) + picture.nbytes, lambda: images.load_image(data)),
        "scale for the detector": (
            0,
            picture.nbytes + input_bytes,
            lambda: faces.cut(picture, left, top, side, settings.size),
        ),
        "detect, scaling included": (
            multiply_adds(finder, shown),
            weight_bytes(finder) + picture.nbytes + input_bytes,
            lambda: detector.detect(picture),
        ),
        "cut the face": (
            0,
            sum(part.nbytes for part in crops),
            lambda: [network.crops(picture, boxes, "detector") for network in networks],
        ),
        "classify the face": (
            sum(multiply_adds(model, (1, size, size, 1)) for model, size in classifiers) * len(boxes),
            sum(weight_bytes(model) for model, _ in classifiers),
            lambda: [network.infer(part, head) for network, part in zip(networks, crops, strict=True)],
        ),
        "whole": (0, 0, lambda: predictor.predict(data)),
    }
    result = {
        name: {"ms": statistics.median(times_ms(call, times)), "multiply_adds": operations, "bytes": moved}
        for name, (operations, moved, call) in work.items()
    }
    for key in ("multiply_adds", "bytes"):
        result["whole"][key] = sum(row[key] for name, row in result.items() if name != "scale for the detector")
    return result


def made_photo(folder: Path) -> Path:
    """Write the 640 x 480 photo."""
    import cv2
    import numpy as np

    from fercore.images import load_image

    canvas = np.full((480, 640, 3), 90, np.uint8)
    canvas[:, 80:560] = cv2.resize(
        load_image(ROOT / "static" / "portrait.jpg"), (480, 480), interpolation=cv2.INTER_AREA
    )
    file = folder / "photo.jpg"
    cv2.imwrite(str(file), canvas[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    return file


def missed(result: dict[str, Any], slack: float) -> list[str]:
    """Return a line for each goal that is missed; ``slack`` is a factor on times, memory has none."""
    measured = result["fresh"] | {"photo_ms": result["steps"]["whole"]["ms"]}
    lines = []
    for name, goal in GOALS.items():
        most = goal * (slack if name.endswith("_ms") else 1)
        if measured[name] > most:  # NaN where a system does not tell a process's memory
            lines.append(f"{name} is {measured[name]:.1f}, more than {most:g}")
    return lines


def text(result: dict[str, Any]) -> str:
    """Return what was measured as aligned text."""
    start, rates = result["fresh"], result["peak"]
    lines = [
        f"import fercore {start['import_ms']:.0f} ms, first answer in a fresh process {start['first_answer_ms']:.0f} ms",
        f"resident {start['resident_mb']:.0f} MB at the most",
        f"peak of one thread: {rates['multiply_adds'] / 1e9:.1f} thousand million multiply-adds a second, "
        f"{rates['bytes'] / 1e9:.1f} GB a second",
        f"{'step':26} {'ms':>7} {'million multiply-adds':>22} {'MB':>6} {'limit, ms':>10} {'times the limit':>16}",
    ]
    for name, row in result["steps"].items():
        far = f"{row['ms'] / row['limit_ms']:.1f}" if row["limit_ms"] else ""
        lines.append(
            f"{name:26} {row['ms']:7.2f} {row['multiply_adds'] / 1e6:22.1f} {row['bytes'] / 1e6:6.2f} "
            f"{row['limit_ms']:10.3f} {far:>16}"
        )
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, measure, print."""
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", default="", help="a run's name or folder (default: the default run)")
    parser.add_argument("--times", type=int, default=60, help="how often each step is measured (default: 60)")
    parser.add_argument("--processes", type=int, default=7, help="how many fresh processes start (default: 7)")
    parser.add_argument("--limits", action="store_true", help="exit with 1 where a goal is missed")
    parser.add_argument("--slack", type=float, default=1.0, help="a factor on the goals' times (default: 1)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    os.environ.update(ONE_THREAD)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    rates = peak()
    with tempfile.TemporaryDirectory() as folder:
        photo = made_photo(Path(folder))
        started = fresh(photo, options.run, processes=options.processes)
        measured = steps(photo.read_bytes(), options.run, times=options.times)
    for row in measured.values():
        row["limit_ms"] = limit_ms(row, rates)
    result = {"fresh": started, "peak": rates, "steps": measured}
    print(json.dumps(result) if options.json else text(result))
    if options.limits and (lines := missed(result, options.slack)):
        print("\n".join(f"error: {line}" for line in lines), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
