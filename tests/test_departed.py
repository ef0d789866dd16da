"""Visitors who have left are forgotten, though no other one leaves after them."""

from __future__ import annotations

from types import SimpleNamespace

from streamlit.runtime import Runtime
from streamlit.runtime.memory_session_storage import MemorySessionStorage

from fercore.ui import departed


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
