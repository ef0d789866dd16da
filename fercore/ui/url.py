"""Filters that live in the URL: a link to a page shows what its sender saw.

The URL is the truth. Before a widget is made, its value is taken from the URL; when a visitor changes the widget, a callback
writes the URL. ``bind="query-params"`` would do the same, but makes ``st.switch_page`` raise.

>>> st.segmented_control("Show", ["shares", "counts"], required=True, **url.choice("show", ["shares", "counts"]))
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

SETTLING = 3.0
"""Seconds from the page's next start in which a value that was ``put`` outlasts the one it replaced."""
_PUT = "url_put"


def put(key: str, value: str) -> None:
    """Write a value that a component chose, so that it lasts.

    A component's next event may leave the browser before the page has followed: it brings back the old URL, or the old value
    of a widget that shows the same choice. ``settle`` and the widgets' callback know such a value for an old one.
    """
    st.session_state.setdefault(_PUT, {})[key] = _Put(value, st.query_params.get(key))
    st.query_params[key] = value


def settle() -> None:
    """Write again what was ``put`` a moment ago, where the old value came back; called once as a page starts."""
    kept = st.session_state.get(_PUT, {})
    for key, each in list(kept.items()):
        each.until = min(each.until, time.monotonic() + SETTLING)
        if each.is_over():
            del kept[key]
        elif st.query_params.get(key) == each.before:
            st.query_params[key] = each.value


@dataclasses.dataclass
class _Put:
    value: str
    before: str | None
    until: float = math.inf

    def is_over(self) -> bool:
        return time.monotonic() > self.until


def choice(
    key: str, options: Sequence[str], default: str | None = None, *, sticky: bool = False, resets: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the arguments that tie a widget for one of several options to ``?key=``.

    Args:
        key: the name in the URL and in the session.
        options: what may be chosen.
        default: what a URL without the key means; the first option if None. It is left out of the URL.
        sticky: keep the last choice where the URL says nothing, as after a click in the navigation, and always write it.
        resets: keys that leave the URL when this one changes, such as the number of a page of results.
    """
    options = list(options)
    first = default if default in options else options[0]
    kept = st.session_state.get(key) if sticky else None
    value = _valid(st.query_params.get(key), options) or (kept if kept in options else first)
    if sticky and st.query_params.get(key) != value:
        st.query_params[key] = value
    return _tied(key, value, str, None if sticky else first, resets)


def several(key: str, options: Sequence[str], default: Sequence[str] = (), *, most: int = 100) -> dict[str, Any]:
    """Return the arguments that tie a widget for some of several options to ``?key=A,B``.

    Args:
        key: the name in the URL and in the session.
        options: what may be chosen; none of them holds a comma.
        default: what a URL without the key means, and one that names nothing known; all options if empty.
        most: options that may be chosen at once.
    """
    first = [name for name in options if not default or name in default][:most]
    asked = st.query_params.get(key, "").split(",")
    value = [name for name in dict.fromkeys(asked) if name in options][:most] or first
    return _tied(key, value, ",".join, first)


def span(key: str, low: int, high: int, *, resets: Sequence[str] = ()) -> dict[str, Any]:
    """Return the arguments that tie a slider with two ends to ``?key=LOW-HIGH``; ``resets`` as for ``choice``."""
    value = (low, high)
    try:
        start, end = (int(part) for part in st.query_params.get(key, "").split("-"))
        if low <= start <= end <= high:
            value = (start, end)
    except ValueError:
        pass
    return _tied(key, value, lambda ends: f"{ends[0]}-{ends[1]}", (low, high), resets)


def amount(key: str, low: float, high: float, default: float) -> dict[str, Any]:
    """Return the arguments that tie a widget for a number from ``low`` to ``high`` to ``?key=``; whole if ``default`` is."""
    kind, value = type(default), default
    try:
        given = kind(st.query_params.get(key, ""))
        value = given if low <= given <= high else default
    except ValueError:
        pass
    return _tied(key, value, lambda number: f"{number:g}" if kind is float else str(number), default)


def number(key: str, count: int) -> dict[str, Any]:
    """Return the arguments that tie a widget for a number from 1 to ``count``, with a ``default``, to ``?key=``."""
    given = st.query_params.get(key, "")
    value = int(given) if given.isascii() and given.isdecimal() and 1 <= int(given) <= count else 1
    kept = st.session_state.get(key)
    tied = _tied(key, value, str, 1)
    if kept in (None, value):  # Streamlit warns of a value that is both a default and set in the session
        del st.session_state[key]
    return {**tied, "default": value}


def whole(key: str) -> int:
    """Return the whole number, 0 to 9999, that ``?key=`` holds; 0 where it holds none."""
    given = st.query_params.get(key, "")
    return int(given) if given.isascii() and given.isdecimal() and len(given) < 5 else 0


def forget(*keys: str) -> None:
    """Take keys out of the URL, so that their widgets start anew."""
    for key in keys:
        st.query_params.pop(key, None)


def _valid(given: str | None, options: Sequence[str]) -> str | None:
    return given if given in options else None


def _tied(
    key: str, value: Any, write: Callable[[Any], str], default: Any, resets: Sequence[str] = ()
) -> dict[str, Any]:
    st.session_state[key] = value
    return {"key": key, "on_change": _store, "args": (key, write, default, resets)}


def _store(key: str, write: Callable[[Any], str], default: Any, resets: Sequence[str]) -> None:
    value = st.session_state[key]
    newer = st.session_state.get(_PUT, {}).get(key)
    if newer and value == newer.before and not newer.is_over():
        return
    forget(*resets)
    if value is None or value == default:
        forget(key)
    else:
        st.query_params[key] = write(value)
