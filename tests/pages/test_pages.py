"""Every page as every identity: it draws, shows what it should, offers only what that person may do, and keeps deep links."""

from __future__ import annotations

import ast
from datetime import UTC, datetime

import pytest
from streamlit.testing.v1 import AppTest

from app import menu
from backend.access.service import DEMO
from backend.bootstrap import Backend
from backend.core.errors import ExternalFailure
from tests.found import found_lately
from tests.pages.conftest import ROOT, Open, raw, words

NAMES = [name for name, _, _ in DEMO]
READERS = {"otto", "nora", "audra"}


DETAILS = {"model", "card", "register"}
"""Pages that show one thing, or need a registry: their own tests open them with what they need (test_models.py)."""


@pytest.mark.parametrize("entry", [one for one in menu.PAGES if one.file not in DETAILS], ids=lambda one: one.file)
def test_every_page_draws_for_every_identity(page: Open, entry: menu.Entry) -> None:
    test = page(entry.file, NAMES[0], **({"row": "1"} if entry.file == "ledger_row" else {}))
    for identity in NAMES:
        test.session_state["identity.name"] = identity
        test.run()
        assert not test.exception
        assert not test.error, words(test)
        assert len(test.header) == 1
        barred = entry.file in ("audit", "ledger_row") and identity not in READERS
        assert len(test.warning) == barred, words(test)


def test_overview_says_what_is_there_and_what_is_not(page: Open) -> None:
    test = page("overview", "otto")
    said = words(test)
    assert [one.value for one in test.header] == ["Overview"]
    assert "production@1" in said
    assert "There is no endpoint yet" in said
    assert "saved policy production@1" in said


def test_overview_and_the_list_show_what_was_found_the_worst_first(full: Backend, full_page: Open) -> None:
    found_lately(full)
    said = words(full_page("overview", "ana"))
    assert "PSI of dep_delay is 0.31" in said
    assert said.index("schema") < said.index("PSI of dep_delay")
    test = full_page("findings", "ana")
    assert list(test.dataframe[0].value["Finding"]) == [4, 1, 2, 3]
    assert not offered(test, "Test the alarm")
    test.selectbox(key="severity").set_value("Critical").run()
    assert list(test.dataframe[0].value["Finding"]) == [4]
    test.selectbox(key="severity").set_value("Any").run()
    test.text_input(key="endpoint").set_value("nothing-there").run()
    assert "No finding is like that" in words(test)
    assert offered(full_page("findings", "olga"), "Test the alarm")


def test_a_finding_shows_its_evidence_and_offers_what_each_may_do(full: Backend, full_page: Open) -> None:
    found_lately(full)
    said = words(full_page("finding", "audra", finding="1"))
    for expected in ("PSI of dep_delay is 0.31", "0.2", "Nobody has answered it yet", "was opened"):
        assert expected in said, expected
    first = {name: [one.label for one in full_page("finding", name, finding="1").button if one.key == "finding.first"]
             for name in ("ana", "ben", "olga", "otto", "audra")}  # fmt: skip
    assert first == {
        "ana": ["Acknowledge"],
        "ben": ["Acknowledge"],
        "olga": ["Acknowledge"],
        "otto": ["Acknowledge"],
        "audra": [],
    }
    full.findings.resolve(full.identities.act_as("ben"), 1, "The feed was late.", "false_alarm")
    assert "It is over (a false alarm). Ben (reviewer) said so: The feed was late." in words(
        full_page("finding", "ana", finding="1")
    )
    for wrong in ("", "77", "x", "9" * 40):
        test = full_page("finding", "ana", finding=wrong)
        assert not test.exception
        assert "No finding is called" in words(test), wrong


def test_who_may_not_read_the_ledger_sees_no_row_of_it(page: Open) -> None:
    said = words(page("overview", "ana"))
    assert "The whole ledger is for auditors and admins" in said
    assert "saved policy" not in said


def test_the_audit_page_filters_by_person_action_subject_and_moment(page: Open, backend: Backend) -> None:
    olga = backend.identities.act_as("olga")
    backend.policies.freeze(olga, "production", "Week of the election")
    test = page("audit", "audra")
    everything = len(test.dataframe[0].value)
    test.selectbox(key="who").set_value(olga.id).run()
    assert list(test.dataframe[0].value["Action"]) == ["freeze.set"]
    assert list(test.dataframe[0].value["Who"]) == ["Olga (platform engineer)"]
    test.selectbox(key="who").set_value("").run()
    test.text_input(key="subject").set_value("environment/production").run()
    assert list(test.dataframe[0].value["Action"]) == ["environment.create"]
    test.text_input(key="subject").set_value("").run()
    test.text_input(key="until").set_value("2020-01-01").run()
    assert not test.dataframe
    assert "No row matches" in words(test)
    test.text_input(key="until").set_value(f"{datetime.now(UTC):%Y-%m-%d}").run()
    assert len(test.dataframe[0].value) == everything


@pytest.mark.parametrize(("field", "typed"), [("until", "2026-13-45"), ("until", "soon"), ("subject", "production")])
def test_a_filter_that_says_nothing_is_refused_and_not_ignored(page: Open, field: str, typed: str) -> None:
    test = page("audit", "audra", **{field: typed})
    assert len(test.warning) == 1, words(test)
    assert not test.dataframe


def test_the_audit_page_walks_to_older_rows_and_back_and_begins_anew_with_a_new_filter(page: Open, backend: Backend) -> None:
    olga, otto = backend.identities.act_as("olga"), backend.identities.act_as("otto")
    for number in range(25):
        backend.policies.lift(otto, backend.policies.freeze(olga, "dev", f"Stop {number}").id, "Enough")
    test = page("audit", "otto")
    first = list(test.dataframe[0].value["Row"])
    test.button(key="before.older").click().run()
    second = list(test.dataframe[0].value["Row"])
    assert second == list(range(first[-1] - 1, 0, -1))
    assert test.button(key="before.older").disabled
    test.button(key="before.newer").click().run()
    assert list(test.dataframe[0].value["Row"]) == first
    test.button(key="before.older").click().run()
    test.text_input(key="action").set_value("freeze.set").run()
    assert len(test.dataframe[0].value) == 25
    assert list(page("audit", "otto", before=str(first[-1])).dataframe[0].value["Row"]) == second


def test_the_chain_is_verified_and_a_rewritten_row_is_named(page: Open, backend: Backend) -> None:
    test = page("audit", "audra")
    verify = next(one for one in test.button if one.label == "Verify the chain")
    verify.click().run()
    assert "hold from the first to the last" in test.success[0].value
    with backend.database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER ledger_no_UPDATE")
        connection.exec_driver_sql("UPDATE ledger SET actor_id = 'idn_other' WHERE seq = 3")
    next(one for one in test.button if one.label == "Verify the chain").click().run()
    assert "row 3 was altered" in test.error[0].value
    assert "Not intact" in words(test)


def test_a_ledger_row_has_a_deep_link_and_shows_before_and_after(page: Open, backend: Backend) -> None:
    otto = backend.identities.act_as("otto")
    policy = backend.policies.set_policy(otto, "dev", {"schema": 1, "approvals_needed": 1})
    assert policy.id == "dev@2"
    rows = page("audit", "otto", action="environment.set_policy").dataframe[0].value
    test = page("ledger_row", "otto", row=str(rows["Row"][0]))
    assert "environment" in test.header[0].value
    table = test.table[0].value
    assert list(table["Before"]) == ["1"]
    assert list(table["After"]) == ["2"]


def test_a_row_that_is_not_there_is_refused(page: Open) -> None:
    test = page("ledger_row", "otto", row="1")
    assert not test.warning
    for row in ("", "0", "abc", "99999", "1; DROP TABLE ledger", "9" * 40, "-1", "１"):
        test.query_params["row"] = row
        test.run()
        assert not test.exception, row
        assert "No ledger row is called" in words(test), row


def test_the_admin_page_shows_environments_policies_and_identities(page: Open) -> None:
    test = page("admin", "otto", part="Policies")
    said = words(test)
    for expected in ("production@1", "1 from reviewer", "One person alone", "could request, approve and apply"):
        assert expected in said, expected
    test.selectbox(key="environment").set_value("dev").run()
    assert "dev@1" in words(test)


def test_the_freeze_dialog_speaks_in_absolute_words_and_asks_why(page: Open) -> None:
    """What comes after the click is a live part, which only a browser runs: tests/pages/test_browser.py."""
    test = page("admin", "olga", part="Policies")
    press(test, "Freeze starts")
    assert "**no change starts anywhere**, until an admin lifts the freeze" in words(test)
    assert test.text_area(key="reason.Freeze starts").label == "Reason (goes to the ledger)"
    assert test.button(key="confirm.Freeze starts").label == "Freeze all starts"


def test_a_page_offers_what_the_role_allows(page: Open, backend: Backend) -> None:
    backend.policies.freeze(backend.identities.act_as("olga"), "production", "Provider outage")
    test = page("admin", "olga", part="Policies")
    for identity, freezes, lifts in (("olga", True, False), ("otto", True, True), ("ana", False, False)):
        test.session_state["identity.name"] = identity
        test.run()
        assert "Production frozen" in words(test)
        assert (offered(test, "Freeze starts"), offered(test, "Lift")) == (freezes, lifts), identity
    assert "Export CSV" in str(page("audit", "audra").main)
    assert "Export CSV" not in str(page("audit", "otto").main), "an auditor exports, an admin reads"


def test_hostile_names_are_shown_as_what_they_are(page: Open, backend: Backend) -> None:
    otto = backend.identities.act_as("otto")
    name = "![x](http://evil.example/a.png) :green-badge[Approved] <script>alert(1)</script>"
    backend.identities.create(otto, "mallory", display_name=name)
    said = raw(page("person", "otto", person="mallory")).replace("\u2060", "")
    assert r"\!\[x\]\(http\:\/\/evil\.example\/a\.png\)" in said
    assert r"\:green\-badge\[Approved\]" in said
    assert "](http://evil" not in said


def test_a_defect_shows_a_short_id_and_no_detail(page: Open, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.record_pages.ledger.page", lambda *_: 1 / 0)
    test = page("audit", "otto")
    assert "Something went wrong here" in test.error[0].value
    assert "division" not in words(test)
    assert not test.exception


def test_an_outage_says_what_was_kept(page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object) -> None:
        raise ExternalFailure("Triton *prod*", "answered 500 to the load", retryable=True)

    monkeypatch.setattr("app.record_pages.ledger.page", down)
    said = page("audit", "otto").error[0].value
    assert r"Triton \*prod\* answered 500" in said
    assert "Nothing was changed there" in said
    assert "Try again" in said


@pytest.mark.parametrize("file", sorted((ROOT / "pages").glob("*.py")), ids=lambda one: one.stem)
def test_pages_are_thin(file) -> None:
    """No SQL, no `try`, no arithmetic, under 80 lines: whatever decides or computes lives below."""
    text = file.read_text()
    tree = ast.parse(text)
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert len(text.splitlines()) <= 80
    assert not any(one.split(".")[0] in ("sqlmodel", "sqlalchemy", "httpx") for one in imported)
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Try | ast.AugAssign)]
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.BinOp)], "arithmetic"
    assert ast.get_docstring(tree)


def test_every_page_is_in_the_menu() -> None:
    assert {one.file for one in menu.PAGES} == {file.stem for file in (ROOT / "pages").glob("*.py")}


def test_what_takes_a_second_person_waits_for_everybody_who_may_be_it(page: Open, backend: Backend) -> None:
    otto = backend.identities.act_as("otto")
    backend.identities.grant(otto, "ana", "operator")
    said = {name: words(page("overview", name)) for name in ("nora", "otto", "ana")}
    asks = "Otto (administrator) [otto] asks"
    assert asks in said["nora"]
    assert "the role operator everywhere" in said["nora"]
    assert asks not in said["otto"], "he asked for it himself"
    assert asks not in said["ana"]
    assert "asked for a role :gray" in said["nora"], "no id of a request in a feed"


def press(test: AppTest, label: str) -> None:
    """Clicks the enabled button of that name."""
    next(one for one in test.button if one.label == label and not one.disabled).click().run()


def offered(test: AppTest, label: str) -> bool:
    """Whether a button of that name can be clicked."""
    return any(one.label == label and not one.disabled for one in test.button)
