"""How long the static Space takes to be ready with an empty cache: from the address to the network that takes a photo.

    python benchmarks/space_start.py [--times 5] [--json]

Builds the site of the shipped runs, serves it on this machine (without compression), and opens its first page in headless
Chromium, each time as a new visitor. Needs `make browser`, the tests' requirements and Chromium.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import chromium  # noqa: E402
from fercore import space  # noqa: E402


def measure(times: int) -> dict[str, list[float]]:
    """Return the seconds until the page can be used, and until the network is there, of each visit."""
    seconds: dict[str, list[float]] = {"page": [], "network": []}
    with tempfile.TemporaryDirectory() as scratch:
        space.build("static", Path(scratch), "user/expressions")
        with chromium.files(Path(scratch)) as address, chromium.driver() as driver:
            for _ in range(times):
                with chromium.browser(driver) as browser:
                    page = browser.new_page()
                    page.set_default_timeout(chromium.SLOW)
                    start = time.perf_counter()
                    page.goto(f"{address}/index.html", wait_until="domcontentloaded")
                    seconds["page"].append(time.perf_counter() - start)
                    page.wait_for_selector("body[data-state=ready]")
                    seconds["network"].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    seconds = measure(options.times)
    if options.json:
        print(json.dumps(seconds))
        return
    for name, values in seconds.items():
        print(f"{name:<8} median {statistics.median(values):.2f} s, slowest {max(values):.2f} s of {len(values)}")


if __name__ == "__main__":
    main()
