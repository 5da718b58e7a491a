"""What pages are made of, drawn alone: dialogs, messages, tables, lists, live parts."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from structlog.testing import capture_logs

from app.kit.addresses import number_in
from tests.pages.conftest import words


def draw(script: Any, **kwargs: Any) -> AppTest:
    test = AppTest.from_function(script, default_timeout=60, kwargs=kwargs).run()
    assert not test.exception
    return test


def test_a_dialog_acts_once_and_only_with_a_reason() -> None:
    test = draw(_dialog)
    assert "Version 3 gets 25 %" in words(test)
    test.button(key="confirm.T").click().run()
    assert "write the reason" in words(test)
    test.text_area(key="reason.T").set_value("   \n ")
    test.button(key="confirm.T").click().run()
    assert "write the reason" in words(test)
    assert test.session_state["calls"] == []
    test.text_area(key="reason.T").set_value(" p99 is high ")
    test.button(key="confirm.T").click().run()
    assert test.session_state["calls"] == ["p99 is high"]
    assert test.session_state["feedback.told"] == [("Done.", "check_circle")]


def test_a_refused_dialog_keeps_what_was_typed() -> None:
    test = draw(_dialog, refuses=True)
    test.text_area(key="reason.T").set_value("p99 is high")
    test.button(key="confirm.T").click().run()
    assert "You requested this change. Ask another reviewer." in words(test).replace("  \n", " ").replace("**", "")
    assert test.text_area(key="reason.T").value == "p99 is high"


def test_a_defect_is_logged_under_the_id_that_is_shown() -> None:
    with capture_logs() as logged:
        test = draw(_failing)
    (shown,) = (one.value for one in test.error)
    (entry,) = logged
    assert f"give **{entry['error_id']}**" in shown
    assert "password=hunter2" in str(entry["exc_info"])
    assert "password=hunter2" not in shown


def test_streamlits_own_stops_pass_through() -> None:
    test = draw(_stopping)
    assert [one.value for one in test.markdown] == ["before"]
    assert not test.error


def test_a_live_part_fails_alone() -> None:
    test = draw(_live)
    assert "after" in words(test)
    assert "not now" in test.warning[0].value


def test_a_table_sets_figures_right_and_keeps_its_cells() -> None:
    test = draw(_table)
    frame = test.table[0].value
    assert list(frame.columns) == ["Arm", "Share"]
    assert frame["Share"].dtype.kind == "i", "a column of figures is numeric, so that it is set right"
    assert list(frame["Arm"]) == ["v\u00a01", "v\u00a02"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7", 7),
        ("0", 0),
        ("9" * 9, 999_999_999),
        *((bad, None) for bad in ("1" * 10, "9" * 5_000, "²", "٣", "", "-1", " 1", "1_0")),
    ],
)
def test_a_number_in_an_address_is_a_short_one_in_plain_digits(text: str, number: int | None) -> None:
    assert number_in(text) == number


def test_an_empty_state_says_why_and_offers_a_step() -> None:
    test = draw(_empty)
    assert "No models yet" in words(test)
    test.button(key="empty.step").click().run()
    assert "stepped" in words(test)


def _dialog(refuses: bool = False) -> None:
    import streamlit as st

    from app.kit import dialogs, feedback
    from backend.core.errors import Refusal

    calls = st.session_state.setdefault("calls", [])

    def act(reason: str) -> None:
        if refuses:
            raise Refusal("You requested this change.", "Ask another reviewer.")
        calls.append(reason)

    ask = dialogs.Ask(says=("**Version 3 gets 25 %**, version 2 keeps 75 %.",), confirm="Roll back", done="Done.")
    with feedback.shown():
        dialogs._body("T", ask, act)


def _failing() -> None:
    from app.kit import feedback

    with feedback.shown():
        raise RuntimeError("cannot connect: password=hunter2")


def _stopping() -> None:
    import streamlit as st

    from app.kit import feedback

    with feedback.shown():
        st.markdown("before")
        st.stop()
    st.markdown("never")


def _live() -> None:
    import streamlit as st

    from app.kit.live import live
    from backend.core.errors import Refusal

    def part() -> None:
        raise Refusal("not now", "later")

    live(part)()
    st.markdown("after")


def _table() -> None:
    from app.kit import components

    components.table([("v 1", "75 %"), ("v 2", "25 %")], ["Arm", "Share"], alt="Arms", tight=(0,), right=(1,))


def _empty() -> None:
    import streamlit as st

    from app.kit import components

    if components.empty("No models yet", "Nothing was registered.", step="Register one"):
        st.markdown("stepped")


logging.getLogger("streamlit").setLevel(logging.ERROR)
