"""The app under load: many visitors at once, each uploads a photo and clicks through pages; then many uploads in a row.

    python benchmarks/app_load.py                         # 30 visitors at once
    python benchmarks/app_load.py --soak 1000             # and then 1,000 uploads, six visitors at a time
    python benchmarks/app_load.py --visitors 5 --soak 30 --forget 5     # a rehearsal

It starts the app on a free port of this machine, with the shipped runs, and speaks to it as browsers do (see ``visitors.py``);
the visitors themselves take part of the processor. Printed are errors, answer times from the click (or from the beginning of
the upload) until the page is drawn, and the server's memory: before (after one visitor has opened every page), at its peak, and
after all visitors have left and were forgotten. Linux, whose ``/proc`` tells the memory. The exit code is 1 where an error was
seen, or with ``--limits`` a limit passed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent))

from visitors import Failure, Visitor

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("dataset", "training", "evaluation", "compare", "mistakes")
LABEL = "Photos"
A_BATCH = 6
"""Visitors at a time while soaking."""
A_VISIT = 10
"""Uploads of one visitor while soaking."""
LIMITS = {"median": 2.0, "growth": 50.0}
"""Seconds of the median answer, and MB that the memory may grow over a soak."""


def photo(side: int) -> bytes:
    """Return the portrait as a JPEG of this many pixels a side, as a telephone's photo is large."""
    stream = io.BytesIO()
    with Image.open(ROOT / "static" / "portrait.jpg") as portrait:
        portrait.resize((side, side), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=92)
    return stream.getvalue()


def varied(jpeg: bytes, number: int) -> bytes:
    """Return the same picture with a comment in it, so that no cache knows it."""
    text = f"visitor {number} {random.random()}".encode()
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


@contextlib.contextmanager
def server(forget: float, log: Path) -> Iterator[tuple[str, int, int]]:
    """Start the app; yield host, port and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = [f"--server.port={port}", "--server.address=127.0.0.1", "--server.headless=true"]
    options += ["--server.fileWatcherType=none", f"--server.disconnectedSessionTTL={forget:g}"]
    with log.open("w") as output:
        command = [sys.executable, "-m", "streamlit", "run", "app.py", *options]
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        try:
            for _ in range(600):
                if process.poll() is not None:
                    raise SystemExit(f"the server ended at once:\n{log.read_text()}")
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5).close()
                    break
                time.sleep(0.2)
            yield "127.0.0.1", port, process.pid
        finally:
            process.terminate()
            process.wait(timeout=30)


def resident(pid: int) -> float:
    """Return the memory of a process in MB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


class Watch:
    """Keeps the most memory that was seen while it runs."""

    def __init__(self, pid: int) -> None:
        self.pid, self.peak = pid, 0.0

    async def __aenter__(self) -> Watch:
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        self.peak = max(self.peak, resident(self.pid))

    async def _look(self) -> None:
        while True:
            self.peak = max(self.peak, resident(self.pid))
            await asyncio.sleep(0.2)


class Load:
    """One measurement of a running app."""

    def __init__(self, host: str, port: int, pid: int, options: argparse.Namespace) -> None:
        self.host, self.port, self.pid, self.options = host, port, pid, options
        self.jpeg = photo(options.side)
        self.times: dict[str, list[float]] = {}
        self.errors: list[str] = []
        self.count = 0

    def visitor(self) -> Visitor:
        """Return someone who has not come yet."""
        return Visitor(self.host, self.port, patience=self.options.patience)

    async def visit(self, think: float) -> None:
        """Open the app, upload a photo, and click through the pages, with a pause before each click."""
        random_order = random.sample(PAGES, len(PAGES))
        try:
            async with self.visitor() as visitor:
                self.note("first page", (await visitor.open()).seconds)
                await self.pause(think)
                self.note("page", (await visitor.open("classify")).seconds)
                await self.pause(think)
                await self.send(visitor)
                for page in random_order:
                    await self.pause(think)
                    self.note("page", (await visitor.open(page)).seconds)
        except (Failure, OSError, TimeoutError, EOFError) as error:
            self.errors.append(f"{type(error).__name__}: {error}")

    async def send(self, visitor: Visitor) -> None:
        """Upload a photo that no cache knows."""
        self.count += 1
        shown = await visitor.upload(LABEL, f"photo {self.count}.jpg", varied(self.jpeg, self.count))
        if not shown.images:
            raise Failure("the photo was not answered with a picture")
        self.note("upload", shown.seconds)

    async def soak(self, uploads: int) -> list[float]:
        """Upload again and again, a few visitors at a time; return the memory after each fifth, all visitors having left."""
        left, levels = uploads, []
        while left > 0:
            due = uploads * (4 - len(levels)) // 5
            while left > due:
                portion = [min(A_VISIT, max(0, left - due - number * A_VISIT)) for number in range(A_BATCH)]
                await asyncio.gather(*(self._soaker(count) for count in portion if count))
                left -= sum(portion)
            levels.append(await self.settled())
        return levels

    async def _soaker(self, uploads: int) -> None:
        try:
            async with self.visitor() as visitor:
                await visitor.open("classify")
                for _ in range(uploads):
                    await self.send(visitor)
        except (Failure, OSError, TimeoutError, EOFError) as error:
            self.errors.append(f"{type(error).__name__}: {error}")

    async def settled(self) -> float:
        """Return the memory once the visitors who left have been forgotten: when it has not fallen for a while."""
        least, since = resident(self.pid), time.monotonic()
        wait = self.options.forget + 15
        while time.monotonic() - since < wait:
            await asyncio.sleep(1.0)
            now = resident(self.pid)
            if now < least - 1:
                least = now
        return min(least, resident(self.pid))

    async def pause(self, think: float) -> None:
        """Look at a page for about as many seconds."""
        await asyncio.sleep(random.uniform(0.5, 1.5) * think)

    def note(self, kind: str, seconds: float) -> None:
        """Keep an answer's time."""
        self.times.setdefault(kind, []).append(seconds)


def summary(times: list[float]) -> dict[str, float]:
    """Return number, median, 95th percentile and maximum of answer times."""
    ordered = sorted(times)
    at = min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))
    return {"n": len(ordered), "median": statistics.median(ordered), "p95": ordered[at], "max": ordered[-1]}


async def measure(host: str, port: int, pid: int, options: argparse.Namespace) -> dict[str, Any]:
    """Let one visitor warm the app up, then all at once; then soak."""
    warm = Load(host, port, pid, options)
    await warm.visit(0.0)
    if warm.errors:
        return {"errors": warm.errors}
    load = Load(host, port, pid, options)
    before = await load.settled()
    start = time.perf_counter()
    async with Watch(pid) as watch:
        await asyncio.gather(*(load.visit(options.think) for _ in range(options.visitors)))
    result: dict[str, Any] = {
        "visitors": options.visitors,
        "seconds": time.perf_counter() - start,
        "photo": len(load.jpeg),
        "errors": load.errors,
        "times": {kind: summary(times) for kind, times in load.times.items()},
        "all": summary([each for times in load.times.values() for each in times] or [0.0]),
        "memory": {"before": before, "peak": watch.peak, "after": await load.settled()},
    }
    if options.soak:
        soak = Load(host, port, pid, options)
        first = Load(host, port, pid, options)
        await first.soak(
            min(options.soak, A_BATCH * A_VISIT)
        )  # caches of the busiest moment are filled before growth counts
        level = await first.settled()
        async with Watch(pid) as watch:
            levels = await soak.soak(options.soak)
        result["soak"] = {
            "uploads": options.soak,
            "errors": first.errors + soak.errors,
            "times": summary(soak.times.get("upload", [0.0])),
            "before": level,
            "peak": watch.peak,
            "levels": levels,
            "growth": levels[-1] - level if levels else 0.0,
        }
    return result


def tell(result: dict[str, Any]) -> None:
    """Print a result as tables."""
    memory = result["memory"]
    print(
        f"{result['visitors']} visitors at once, a photo of {result['photo'] / 1e6:.1f} MB each, {result['seconds']:.0f} s, "
        f"{len(result['errors'])} errors\n"
    )
    print("| answer | number | median | p95 | longest |\n| --- | --- | --- | --- | --- |")
    for kind, row in {**result["times"], "all": result["all"]}.items():
        print(f"| {kind} | {row['n']} | {row['median']:.2f} s | {row['p95']:.2f} s | {row['max']:.2f} s |")
    print(
        f"\nmemory: {memory['before']:.0f} MB before, {memory['peak']:.0f} MB at its peak, {memory['after']:.0f} MB after"
    )
    if soak := result.get("soak"):
        levels = ", ".join(f"{level:.0f}" for level in soak["levels"])
        print(
            f"\n{soak['uploads']} uploads: {len(soak['errors'])} errors, median {soak['times']['median']:.2f} s; memory "
            f"{soak['before']:.0f} MB before, {soak['peak']:.0f} MB at its peak, then {levels} MB: "
            f"grown by {soak['growth']:+.0f} MB"
        )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=30)
    parser.add_argument("--think", type=float, default=1.0, help="seconds that a visitor looks at a page, on average")
    parser.add_argument("--soak", type=int, default=0, help="uploads in a row after that")
    parser.add_argument("--side", type=int, default=3000, help="pixels of the photo's side")
    parser.add_argument("--forget", type=float, default=10.0, help="seconds until a closed tab is forgotten")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds without a word that are an error")
    parser.add_argument("--limits", action="store_true", help=f"fail beyond {LIMITS}")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, server(options.forget, Path(place) / "log") as (host, port, pid):
        result = asyncio.run(measure(host, port, pid, options))
        log = (Path(place) / "log").read_text()
    errors = [*result["errors"], *result.get("soak", {}).get("errors", [])]
    errors += ["a traceback in the server's log"] if "Traceback" in log else []
    if options.json:
        print(json.dumps(result | {"errors": errors}))
    elif "memory" in result:
        tell(result)
    if errors:
        print("\n".join(["", *sorted(set(errors))[:20], log[-4000:]]), file=sys.stderr)
    over = options.limits and (
        result["all"]["median"] > LIMITS["median"] or result.get("soak", {}).get("growth", 0.0) > LIMITS["growth"]
    )
    sys.exit(1 if errors or over else 0)


if __name__ == "__main__":
    os.environ.setdefault("FER_DATA", str(ROOT / "data"))
    main()
