"""How fast Live is in a browser: from a click on "Start the camera" to pictures that are read, and how many a second then.

    python benchmarks/live.py [--seconds 15] [--limits] [--json]

Serves the app's page with the shipped runs on this machine and opens it as a new visitor in headless Chromium, whose camera
shows the sample portrait. Prints the seconds that the networks' sessions take to be created, those from the click to the first
picture that was read, the milliseconds that an answer of a network and all those of a picture take, pictures a second end to
end, and the bytes that were loaded for it. With ``--limits`` it fails below 15 pictures a second and above 3 seconds from the
click to the first picture. Needs `make browser`, the tests' requirements and Chromium, and a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import cv2  # noqa: E402

import chromium  # noqa: E402
import live_page  # noqa: E402
from fercore import config  # noqa: E402
from fercore.browser import assets  # noqa: E402

LEAST_RATE = 15.0
"""Pictures a second."""
MOST_START = 3.0
"""Seconds from the click to the first picture that was read."""
WARM = 3
"""Seconds that are left out before the pace is measured."""
WATCH = """
window.watched = { asked: new Map(), sessions: [], runs: [] };
const post = Worker.prototype.postMessage;
Worker.prototype.postMessage = function (message, ...rest) {
  if (!this.watched) {
    this.watched = true;
    this.addEventListener("message", ({ data }) => {
      const asked = watched.asked.get(data?.type)?.shift();
      if (asked === undefined) return;
      if (data.type === "create") watched.sessions.push(performance.now() - asked);
      if (data.type === "run") watched.runs.push([asked, performance.now()]);
    });
  }
  if (message?.type) watched.asked.set(message.type, [...(watched.asked.get(message.type) ?? []), performance.now()]);
  return post.call(this, message, ...rest);
};
"""
"""Notes when ONNX Runtime's worker is asked for a session or an answer, and when it gives it."""
CLICK = """() => {
  const root = document.querySelector("[data-testid=stBidiComponentIsolated]").shadowRoot;
  const live = root.querySelector(".live");
  watched.clicked = performance.now();
  watched.pictures = [];
  new MutationObserver(() => {
    const count = Number(live.dataset.count ?? 0);
    if (count && watched.first === undefined) watched.first = performance.now();
    watched.pictures.push([performance.now(), count]);
  }).observe(live, { attributes: true, attributeFilter: ["data-count"] });
  root.querySelector("[data-id=start]").click();
}"""

SEEN = """() => {
  const root = document.querySelector("[data-testid=stBidiComponentIsolated]").shadowRoot;
  return { ...watched, asked: null, run: root.querySelector("[data-id=run]").value };
}"""


def measure(seconds: float) -> dict[str, Any]:
    """Return what a visit of so many seconds shows."""
    portrait = cv2.imread(str(ROOT / "static" / assets.SAMPLE))[..., ::-1]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        video = chromium.write_y4m(folder / "portrait.y4m", [live_page.scene(portrait)] * 2)
        with (
            live_page.served(config.artifacts_dir(), folder) as address,
            chromium.driver() as driver,
            chromium.browser(driver, *chromium.camera(video)) as browser,
            browser.new_context(viewport={"width": 1200, "height": 900}) as context,
        ):
            context.add_init_script(WATCH)
            page = live_page.visit(context, address)
            loaded: list[int] = []
            network = context.new_cdp_session(page)
            network.on("Network.loadingFinished", lambda told: loaded.append(told["encodedDataLength"]))
            network.send("Network.enable")
            page.evaluate(CLICK)
            page.wait_for_function("watched.first !== undefined", timeout=chromium.SLOW)
            page.wait_for_timeout(1000 * (WARM + seconds))
            seen = page.evaluate(SEEN)
    return summary(seen, round(sum(loaded)))


def summary(seen: dict[str, Any], bytes_loaded: int) -> dict[str, Any]:
    """Return the numbers that a visit's times, in milliseconds, amount to."""
    begun = seen["first"] + 1000 * WARM
    pictures = [(time, count) for time, count in seen["pictures"] if time >= begun]
    (since, before), (until, after) = pictures[0], pictures[-1]
    runs = [(asked, answered) for asked, answered in seen["runs"] if asked >= begun]
    read = max(after - before, 1)
    return {
        "run": seen["run"],
        "seconds to create the sessions": sum(seen["sessions"]) / 1000,
        "seconds from the click to the first picture": (seen["first"] - seen["clicked"]) / 1000,
        "milliseconds an answer of a network": statistics.median(answered - asked for asked, answered in runs),
        "milliseconds of networks a picture": sum(answered - asked for asked, answered in runs) / read,
        "pictures a second": 1000 * (after - before) / (until - since),
        "bytes loaded": bytes_loaded,
    }


def failures(found: dict[str, Any]) -> list[str]:
    """Return which limits a visit is beyond, as sentences."""
    rate, start = found["pictures a second"], found["seconds from the click to the first picture"]
    slow = f"{rate:.1f} pictures a second, fewer than {LEAST_RATE:g}"
    late = f"the first picture was read after {start:.1f} s, more than {MOST_START:g}"
    return [slow] * (rate < LEAST_RATE) + [late] * (start > MOST_START)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15, help="for which pictures are counted")
    parser.add_argument("--limits", action="store_true", help="fail beyond the limits")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.seconds)
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:<44} {f'{value:,.2f}' if isinstance(value, float) else value}")
    if options.limits and (beyond := failures(found)):
        sys.exit("; ".join(beyond))


if __name__ == "__main__":
    main()
