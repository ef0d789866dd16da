"""The URL as the place of filters: what a component chose outlasts the old values that its next events bring back."""

from __future__ import annotations

import math

import pytest
from streamlit.testing.v1 import AppTest

from fercore.ui import url


def page() -> None:
    import streamlit as st

    from fercore.ui import url

    url.settle()
    st.selectbox("Run", ["first", "second"], **url.choice("run", ["first", "second"], sticky=True))
    st.button("As a component would", on_click=url.put, args=("run", "second"))


@pytest.fixture
def chosen() -> AppTest:
    """A page that showed the first run, where a component has just chosen the second."""
    app = AppTest.from_function(page).run()
    assert shown(app) == ["first", "first"]
    return app.button[0].click().run()


def shown(app: AppTest) -> list[str]:
    assert not app.exception
    asked = app.query_params["run"]
    return [app.selectbox[0].value, asked if isinstance(asked, str) else asked[0]]


def test_what_a_component_chooses_is_shown_and_stands_in_the_url(chosen: AppTest) -> None:
    assert shown(chosen) == ["second", "second"]


def test_an_event_that_left_before_the_new_url_arrived_changes_nothing(chosen: AppTest) -> None:
    chosen.query_params["run"] = "first"
    assert shown(chosen.run()) == ["second", "second"]


def test_an_event_that_left_before_the_widget_followed_changes_nothing(chosen: AppTest) -> None:
    assert shown(chosen.selectbox[0].set_value("first").run()) == ["second", "second"]


@pytest.mark.parametrize("how", ["widget", "link"])
def test_later_the_old_value_is_a_choice_like_any_other(
    chosen: AppTest, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(url.time, "monotonic", lambda: math.inf)
    if how == "widget":
        chosen.selectbox[0].set_value("first")
    else:
        chosen.query_params["run"] = "first"
    assert shown(chosen.run()) == ["first", "first"]
