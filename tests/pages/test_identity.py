"""Who acts: the choice stands before every page, outlives nothing that it should not, and is asked of the backend each run."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from app import wiring
from backend.access.service import DEMO
from backend.bootstrap import Backend
from tests.pages.conftest import ROOT, Open, words


def fresh() -> AppTest:
    return AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=60)


def test_a_stranger_chooses_first_and_then_sees_the_page(backend: Backend) -> None:
    test = fresh().run()
    assert [one.label for one in test.button] == [f"Act as {name.capitalize()}" for name, _, _ in DEMO]
    assert "What changed lately" not in words(test)
    test.button(key="act-as-audra").click().run()
    assert [one.value for one in test.header] == ["Overview"]
    assert "**Audra (auditor)**" in "".join(one.value for one in test.sidebar.markdown).replace("\\", "")


def test_somebody_else_can_take_over(page: Open) -> None:
    test = page("overview", "ana")
    menu = test.main.get("menu_button") or test.sidebar.get("menu_button")
    assert menu, "the switcher stands in the sidebar"
    test.session_state["identity.name"] = "otto"
    test.run()
    assert "Otto" in "".join(one.value for one in test.sidebar.markdown)


def test_an_identity_that_was_deactivated_is_told_so_on_the_next_click(page: Open, backend: Backend) -> None:
    test = page("admin", "ben")
    backend.identities.deactivate(backend.identities.act_as("otto"), "ben")
    test.run()
    assert "was deactivated" in words(test)
    assert "production@1" not in words(test)
    next(one for one in test.button if one.label == "Act as somebody else").click().run()
    assert test.button(key="act-as-ana")


def test_an_unknown_name_in_the_session_is_no_way_in(page: Open) -> None:
    test = fresh()
    test.session_state["identity.name"] = "idn_system"
    test.run()
    assert "No demo identity is called" in words(test)
    assert not [one for one in test.header if one.value == "Overview"]


def test_without_demo_identities_nobody_gets_in(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSIGN_DEMO_IDENTITIES", "false")
    wiring.forget()
    test = fresh()
    test.session_state["identity.name"] = "otto"
    test.run()
    assert "There is no way in" in words(test)
    assert not test.button


def test_a_missing_database_is_said_and_found_once_it_is_there(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.setenv("COUNTERSIGN_DATA_DIR", str(tmp_path / "elsewhere"))
    wiring.forget()
    test = fresh().run()
    assert "There is no Countersign database" in words(test)
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    next(one for one in test.button if one.label == "Try again").click().run()
    assert test.button(key="act-as-ana")


def test_a_page_out_of_the_menu_still_says_why_it_refuses(page: Open) -> None:
    test = page("audit", "carla")
    assert [one.value for one in test.header] == ["Audit"]
    assert "Ask an admin for the role" in test.warning[0].value
