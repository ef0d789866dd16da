"""Progress that a visitor sees: how far long work is, and about how long it will still take."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import streamlit as st

from .tables import duration

Item = TypeVar("Item")
BEAT = 0.2
"""Seconds between two drawings."""
KNOWN_AFTER = 1.0
"""Seconds after which the time that is left can be told."""


def counted(items: Iterable[Item], total: int, noun: str, *, at_once: bool = False) -> Iterator[Item]:
    """Yield items while a bar says how many of them are done; short work has none, and it goes away at the end.

    Args:
        items: what is worked on.
        total: about how many there are.
        noun: what one is called.
        at_once: draw the bar before the first item, where a single one takes long already.
    """
    bar, start = st.empty(), time.monotonic()
    drawn = start - BEAT if at_once else start
    try:
        for done, item in enumerate(items):
            now = time.monotonic()
            if now - drawn >= BEAT:
                bar.progress(min(done / max(total, 1), 1.0), told(done, total, noun, now - start))
                drawn = now
            yield item
    finally:
        bar.empty()


def told(done: int, total: int, noun: str, elapsed: float) -> str:
    """Return how far it is in words: ``Frame 31 of 300, 9 s left``."""
    text = f"{noun} {min(done + 1, total):,} of {total:,}"
    if done and elapsed >= KNOWN_AFTER:
        text += f", {duration(max(1.0, elapsed / done * max(total - done, 0)))} left"
    return text
