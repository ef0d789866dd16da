"""Visitors who have left are forgotten, though no other one leaves after them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from streamlit.runtime import Runtime
from streamlit.runtime.memory_session_storage import MemorySessionStorage

from fercore.ui import departed

ROOT = Path(__file__).resolve().parent.parent
CLICKS = """
import random, sys, threading
from pathlib import Path
import numpy as np
from fercore.ui import departed

def resident():
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]) >> 10

def click():
    chance = random.Random(len(kept))
    for _ in range(40):
        picture = np.ones(chance.randint(1 << 19, 1 << 22), np.uint8)
        kept.append(np.ones(600, np.uint8))
        del picture

if "bound" in sys.argv:
    departed.bound_heaps()
kept, before = [], resident()
for _ in range(6):
    threads = [threading.Thread(target=click) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
departed.give_back()
print(resident() - before)
"""


class Session:
    def __init__(self, name: str) -> None:
        self.id = name
        self.shut = 0

    def shutdown(self) -> None:
        self.shut += 1


def test_a_session_whose_time_is_up_is_shut_down_and_let_go() -> None:
    now = [0.0]
    storage = MemorySessionStorage(ttl_seconds=45)
    storage._cache._timer = lambda: now[0]
    early, late = Session("early"), Session("late")
    storage.save(SimpleNamespace(session=early))
    now[0] = 30.0
    storage.save(SimpleNamespace(session=late))
    now[0] = 44.0
    assert departed.forget(storage) == 0
    now[0] = 46.0
    assert departed.forget(storage) == 1
    assert (early.shut, late.shut) == (1, 0)
    assert [info.session.id for info in storage.list()] == ["late"]
    assert departed.forget(storage) == 0


def test_streamlit_has_what_the_watch_reaches_for() -> None:
    """These are Streamlit's own affairs: a new release may name them otherwise."""
    assert {"_async_objs", "_session_mgr"} <= set(Runtime.__init__.__code__.co_names)


def grown(*arguments: str) -> int:
    """Return the megabytes that a process of many clicks has grown by once all their pictures are gone."""
    done = subprocess.run(
        [sys.executable, "-c", CLICKS, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(not departed._libc("mallopt"), reason="another C library keeps its memory in another way")
def test_pictures_that_are_gone_leave_no_memory_behind() -> None:
    assert grown("bound") < 15 < grown()
