"""Feed a predictor thousands of hostile pictures, in a process of its own, and say what became of it.

    python benchmarks/fuzz.py --cases 10000 [--photos FOLDER] [--seed 0] [--keep FOLDER] [--json]

Each case is a real file (the portrait of this repository in every format, and the photos of a folder of yours) that was
mutated: bytes changed, cut out, repeated or inserted, two files spliced, sizes in headers replaced by huge ones, ends cut off.
Every tenth is an array of any shape, type, strides and values. The predictor must give faces or refuse with one line; anything
else (another exception, a crash, more than 2 s of processor time, a process above 500 MB) is a failure, and its bytes are
kept. What hangs is ended after a minute.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

SECONDS = 2.0
MEGABYTES = 500
_HANGS = 60.0


def seeds(photos: Path | None) -> list[bytes]:
    """Return real files: the portrait in every format that this machine can write, odd files, and a folder's photos."""
    from PIL import Image, features

    from hostile import NOT_PICTURES, bombs, encoded, exif, progressive_with_scans

    image = Image.open(ROOT / "static" / "portrait.jpg").convert("RGB").resize((160, 160))
    alpha = image.convert("RGBA")
    alpha.putalpha(image.convert("L"))
    deep = np.asarray(image.convert("L")).astype(np.uint16) * 257
    files = [encoded(image, kind) for kind in ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")]
    files += [encoded(image, "JPEG", progressive=True, exif=b"Exif\0\0" + exif(6))]
    files += [encoded(image.convert(mode), "JPEG") for mode in ("CMYK", "L")]
    files += [encoded(alpha, kind) for kind in ("PNG", "WEBP", "TIFF")] + [encoded(deep, "PNG"), encoded(deep, "TIFF")]
    files += [encoded(image.quantize(32), kind) for kind in ("PNG", "BMP", "GIF")]
    files += [
        encoded(image, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    ]
    files += [encoded(image, "WEBP", lossless=True), encoded(image, "GIF", save_all=True, append_images=[alpha])]
    if features.check("avif"):
        files.append(encoded(image, "AVIF"))
    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        buffer = io.BytesIO()
        pillow_heif.from_pillow(image).save(buffer)
        files.append(buffer.getvalue())
    files += [data for data, _ in NOT_PICTURES.values()] + list(bombs(9000, 5000).values()) + list(bombs(7, 7).values())
    files.append(progressive_with_scans(np.asarray(image), 60))
    if photos:
        files += [path.read_bytes() for path in sorted(photos.iterdir())[:200] if path.is_file()]
    return files


def mutated(files: list[bytes], rng: np.random.Generator) -> bytes:
    """Return one of the files with up to eight things done to it."""
    data = bytearray(files[rng.integers(len(files))])
    for _ in range(int(rng.integers(0, 9))):
        if not data:
            break
        head = rng.random() < 0.5  # half the damage to the first bytes, where the lies are
        at = int(rng.integers(min(len(data), 400) if head else len(data)))
        size = int(rng.integers(1, 64))
        match int(rng.integers(7)):
            case 0:
                data[at] = int(rng.integers(256))
            case 1:
                del data[at : at + size]
            case 2:
                data[at:at] = rng.bytes(size)
            case 3:
                data[at:at] = data[at : at + size] * int(rng.integers(1, 50))
            case 4:
                data[at : at + 4] = [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x1f\x40\x17\x70"][
                    size % 4
                ]
            case 5:
                other = files[rng.integers(len(files))]
                data[at:] = other[int(rng.integers(len(other) + 1)) :]
            case _:
                del data[at if head else max(at, 1) :]
    return bytes(data)


def odd_array(rng: np.random.Generator) -> np.ndarray:
    """Return an array of any shape, type, strides and values."""
    sides = [0, 1, 2, 3, 4, 48, 300, 20_000]
    shape = [int(rng.choice(sides)) for _ in range(int(rng.integers(0, 5)))]
    if rng.random() < 0.7:
        shape = [
            *(int(rng.choice(sides[1:])) for _ in range(2)),
            *([int(rng.integers(1, 5))] * int(rng.integers(0, 2))),
        ]
    kind = rng.choice(["u1", "u2", ">u2", "i1", "i4", "i8", "f2", "f4", "f8", "?", "c8", "O", "S3", "M8[s]"])
    if np.prod(shape, dtype=float) > 4e6:  # as large as it is said to be, without the memory
        return np.broadcast_to(np.zeros((), kind), shape)
    values = rng.normal(0, float(rng.choice([0.3, 1, 100, 1e6])), shape)
    values = np.abs(values) if rng.random() < 0.7 else values
    with np.errstate(all="ignore"):
        array = (
            np.asarray(values).astype("i8").astype(kind) if kind in ("S3", "M8[s]") else np.asarray(values).astype(kind)
        )
    if kind[0] == "f" and array.size and rng.random() < 0.3:
        array.flat[int(rng.integers(array.size))] = rng.choice([np.nan, np.inf, -np.inf])
    if array.ndim > 1 and rng.random() < 0.5:
        array = array[::-1, :: int(rng.choice([-1, 2, -2]))]
    return array.swapaxes(0, 1) if array.ndim > 1 and rng.random() < 0.2 else array


def cases(count: int, seed: int, photos: Path | None) -> Iterator[bytes | np.ndarray]:
    """Yield the cases, the same for the same arguments."""
    files, rng = seeds(photos), np.random.default_rng(seed)
    for number in range(count):
        yield odd_array(rng) if number % 10 == 9 else mutated(files, rng)


def peak() -> float:
    """Return the most memory that this process has had, in MB (10**6 bytes); 0 where the system does not say."""
    status = Path("/proc/self/status")
    if status.is_file():  # what getrusage says there includes the process that started this one
        return float(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def work(connection: Any, count: int, seed: int, photos: Path | None, start: int) -> None:
    """Run the cases from ``start`` on; send number, outcome, seconds and peak memory of each."""
    import warnings

    from fercore import Predictor
    from fercore.errors import ImageError

    predictor = Predictor.load()
    predictor.predict(ROOT / "static" / "portrait.jpg")
    for number, case in enumerate(cases(count, seed, photos)):
        if number < start:
            continue
        connection.send((number, "started", 0.0, peak()))
        before = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                outcome = "faces" if predictor.predict(case) else "no face"
        except ImageError as error:
            outcome = "refused" if str(error).isprintable() and len(str(error)) < 1000 else f"not one line: {error!r}"
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error}"
        connection.send((number, outcome, time.process_time() - before, peak()))
    connection.send(None)


def fuzz(count: int, seed: int = 0, photos: Path | None = None, keep: Path | None = None) -> dict[str, Any]:
    """Run the cases and return what became of them."""
    context = multiprocessing.get_context("spawn")
    told = {"cases": 0, "faces": 0, "no face": 0, "refused": 0, "slowest_seconds": 0.0, "peak_mb": 0.0}
    failures: list[dict[str, Any]] = []
    start, clock = 0, time.perf_counter()
    while start < count:
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, count, seed, photos, start), daemon=True)
        process.start()
        theirs.close()
        current, outcome = start, ""
        try:
            while True:
                if not ours.poll(_HANGS):
                    outcome = "hangs"
                    process.kill()
                    break
                message = ours.recv()
                if message is None:
                    start = count
                    break
                current, what, seconds, memory = message
                told["peak_mb"] = max(told["peak_mb"], round(memory, 1))
                if what == "started":
                    continue
                told["cases"] += 1
                told["slowest_seconds"] = max(told["slowest_seconds"], round(seconds, 3))
                if what in told:
                    told[what] += 1
                else:
                    failures.append({"case": current, "what": what})
                if seconds > SECONDS:
                    failures.append({"case": current, "what": f"took {seconds:.1f} s"})
        except EOFError:
            process.join()
            outcome = f"ended the process with code {process.exitcode}"
        if outcome:
            failures.append({"case": current, "what": outcome})
            start = current + 1
        process.join()
    if told["peak_mb"] > MEGABYTES:
        failures.append({"case": None, "what": f"the process grew to {told['peak_mb']} MB"})
    told |= {"seconds": round(time.perf_counter() - clock, 1), "seed": seed, "failures": failures}
    bad = {failure["case"] for failure in failures}
    if keep and bad:
        keep.mkdir(parents=True, exist_ok=True)
        for number, case in enumerate(cases(count, seed, photos)):
            if number in bad and isinstance(case, bytes):
                (keep / f"case-{seed}-{number}.bin").write_bytes(case)
    return told


def main() -> None:
    """Run from the command line; exit code 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--photos", type=Path, help="a folder of real photos to mutate as well")
    parser.add_argument("--keep", type=Path, help="where to put the bytes of what failed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    told = fuzz(options.cases, options.seed, options.photos, options.keep)
    if options.json:
        print(json.dumps(told))
    else:
        print(f"{told['cases']} cases in {told['seconds']} s: {told['faces']} with faces, {told['no face']} without,")
        print(f"{told['refused']} refused in one line; slowest {told['slowest_seconds']} s, peak {told['peak_mb']} MB")
        for failure in told["failures"]:
            print(f"FAILED case {failure['case']}: {failure['what'][:200]}")
    sys.exit(bool(told["failures"]))


if __name__ == "__main__":
    main()
