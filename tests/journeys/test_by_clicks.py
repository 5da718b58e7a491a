"""People's whole journeys through the pages of the real stack, in Chromium: MLflow, Triton, Envoy, a worker, flowing flights.

One stack for the whole file; each journey begins and ends with an endpoint that is in sync, and says what else it stands on.
"""

from __future__ import annotations

import csv
import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect

from backend.demo.flights_setup import PRODUCTION
from tests.browsers import Visit, visit
from tests.whole_stack import WholeStack, started

pytestmark = pytest.mark.timeout(900)
WAIT = 180_000
"""Milliseconds for what really happens on servers; a busy machine is no failure."""
IN_SYNC = "What runs equals what was approved."
ENDPOINT = f"/endpoint?endpoint={PRODUCTION}"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeStack]:
    with started(tmp_path_factory.mktemp("journeys")) as running:
        yield running


@contextmanager
def windows(browser: Browser, stack: WholeStack, count: int) -> Iterator[list[Visit]]:
    """Windows of people. At the end no console may have an error, and nothing may have been asked of another host."""
    with ExitStack() as opened:
        seen = [opened.enter_context(visit(browser, stack.web)) for _ in range(count)]
        yield seen
        assert [one.wrong for one in seen] == [[] for _ in seen]
        assert not [one for one in seen if "Something went wrong" in one.say()]


def enters(seen: Visit, name: str, path: str, title: str) -> None:
    """Opens an address, signed out, as somebody."""
    seen.open(path, title="Whom do you act as?").act_as(name, title=title)


def shows(seen: Visit, *texts: str | re.Pattern[str]) -> None:
    """Waits until each of the texts stands on the page."""
    for text in texts:
        expect(seen.page.get_by_text(text).first).to_be_visible(timeout=WAIT)


def headed(seen: Visit, text: str) -> None:
    """Waits for the sentence that answers for a change."""
    expect(seen.page.get_by_role("heading", name=text)).to_be_visible(timeout=WAIT)


def asks(seen: Visit, button: str, *, within: str = "") -> Locator:
    """The dialog behind a button, or behind one line of a menu."""
    if within:
        seen.page.get_by_role("button", name=within).click()
        seen.page.get_by_role("menuitem", name=button, exact=True).click()
    else:
        seen.page.get_by_role("button", name=button, exact=True).click()
    dialog = seen.page.get_by_role("dialog")
    dialog.wait_for()
    return dialog


def confirms(dialog: Locator, reason: str, button: str) -> None:
    """Writes the reason and clicks."""
    dialog.get_by_role("textbox", name="Reason").fill(reason)
    dialog.get_by_role("button", name=button).click()
    expect(dialog).to_have_count(0, timeout=WAIT)


def stays(seen: Visit) -> None:
    """Marks the document: what is drawn from now on was drawn without a reload."""
    seen.page.evaluate("window.stayed = true")


def stayed(seen: Visit) -> bool:
    return bool(seen.page.evaluate("window.stayed === true"))


def test_a_deep_link_opened_cold_by_nobody_leads_to_that_very_page_once_an_identity_is_chosen(
    chromium: Browser, stack: WholeStack
) -> None:
    title = stack.change(stack.told["change"]).title
    for path, name, heading in (
        (f"/change?change={stack.told['change']}", "ben", title),
        (f"/audit?subject=endpoint%2F{stack.endpoint().id}", "audra", "Audit"),
    ):
        with visit(chromium, stack.web) as seen:
            seen.open(path, title="Whom do you act as?").act_as(name, title=heading)
            assert seen.page.url.replace("/audit?subject=endpoint/", "/audit?subject=endpoint%2F") == stack.web + path
            assert seen.wrong == []


def test_two_people_bring_version_2_live_by_clicks_one_takes_it_back_and_an_auditor_finds_all_of_it(
    chromium: Browser, stack: WholeStack, tmp_path: Path
) -> None:
    number, before = int(stack.told["change"]), stack.generations()
    with windows(chromium, stack, 3) as (ben, olga, audra):
        assert stack.answers() == {"1": 12}
        enters(olga, "olga", ENDPOINT, PRODUCTION)
        shows(olga, IN_SYNC, "Version 1 gets 100 %.")
        stays(olga)
        enters(ben, "ben", "/approvals", "Approvals")
        ben.page.get_by_role("button", name="Open").first.click()
        ben.drawn(stack.change(number).title)
        shows(ben, "3 of 3 passed", "Every check passed", "version 1 at 100 %")
        stays(ben)
        dialog = asks(ben, "Approve")
        expect(dialog).to_contain_text("version 2 gets 100 %")
        expect(dialog).to_contain_text("going back to version 1 at 100 %")
        confirms(dialog, "I read the evidence.", "Approve this plan")
        headed(ben, f"It is live and proved: version 2 has 100 % on {PRODUCTION}.")
        for kind in ("Configured", "Answers", "Bytes", "Behaviour"):
            row = ben.page.get_by_role("row").filter(has_text=kind).filter(has_text="Passed")
            expect(row.first).to_be_visible(timeout=WAIT)
        shows(ben, f"{PRODUCTION} runs generation {before[-1][0] + 1}", re.compile("load [0-9.]+ s"))
        assert stack.answers() == {"2": 12}
        shows(olga, IN_SYNC, "Version 2 gets 100 %")
        assert [stayed(ben), stayed(olga)] == [True, True]

        expect(olga.page.get_by_role("button", name="Roll back to version 1", exact=True)).to_be_visible(timeout=WAIT)
        assert stayed(olga)
        dialog = asks(olga, "Roll back to version 1")
        expect(dialog).to_contain_text("at once and in one push")
        stays(ben)
        confirms(dialog, "The summer is over.", "Roll back now")
        headed(ben, "It was rolled back, and what ran before is proved again")
        shows(olga, IN_SYNC, "Version 1 gets 100 %")
        assert stayed(ben)
        assert stack.answers() == {"1": 12}
        _audited(audra, number, stack.change(number).title, tmp_path / "ledger.csv")
    newest = before[-1][0]
    assert stack.generations() == [*before, (newest + 1, "start"), (newest + 2, "rollback")]


def _audited(audra: Visit, number: int, title: str, file: Path) -> None:
    """From the change to its rows in the ledger, kept as a file, and the whole chain verified."""
    enters(audra, "audra", f"/change?change={number}", title)
    audra.page.get_by_role("link", name="Ledger").click()
    audra.drawn("Audit")
    with audra.page.expect_download() as download:
        audra.page.get_by_role("button", name="Export CSV").click()
    download.value.save_as(file)
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = [(one["name"], one["action"]) for one in csv.DictReader(stream)]
    expected = {
        ("Ana (data scientist)", "change.propose"),
        ("Ben (reviewer)", "change.vote"),
        ("Ben (reviewer)", "change.approve"),
        ("Countersign", "change.start"),
        ("Countersign", "change.prove"),
        ("Countersign", "change.roll_back"),
    }
    assert expected <= set(rows)
    audra.page.get_by_role("button", name="Verify the chain").click()
    shows(audra, re.compile("hold from the first to the last"))


@pytest.mark.slow
def test_a_change_proposed_by_clicks_and_rejected_with_a_reason_moves_nothing(chromium: Browser, stack: WholeStack) -> None:
    before = (stack.endpoint().base_digest, stack.generations())
    with windows(chromium, stack, 2) as (ana, ben):
        enters(ana, "ana", "/approvals", "Approvals")
        ana.page.get_by_role("button", name="Propose a change").first.click()
        ana.drawn("Propose a change")
        shows(ana, "Still missing: Choose the endpoint.")
        _choose(ana, "Endpoint", re.compile(f"^{PRODUCTION} "))
        _choose(ana, "Version", re.compile("^Version 2 "))
        ana.page.get_by_label("Title").fill("Half of the summer")
        ana.page.get_by_label("Reason").fill("To compare them.")
        ana.page.get_by_label("Reason").press("Control+Enter")
        shows(ana, "Nothing is missing: it can be proposed.")
        ana.page.get_by_role("button", name="Propose it").click()
        ana.drawn("Half of the summer")
        headed(ana, "It waits: 1 more approval of a reviewer.")
        number = int(ana.page.url.rpartition("=")[2])
        stays(ana)

        enters(ben, "ben", f"/change?change={number}", "Half of the summer")
        dialog = asks(ben, "Reject", within="More")
        expect(dialog).to_contain_text("version 1 keeps 100 %")
        confirms(dialog, "July is missing.", "Reject it")
        for seen in (ben, ana):
            headed(seen, "It was rejected: July is missing.")
        assert stayed(ana)
        expect(ana.page.get_by_role("button", name="Approve", exact=True)).to_have_count(0)
    assert (stack.change(number).state, stack.grants(number)) == ("rejected", [])
    assert (stack.endpoint().base_digest, stack.generations()) == before
    assert stack.answers() == {"1": 12}


def _choose(seen: Visit, label: str, option: re.Pattern[str]) -> None:
    seen.page.get_by_role("combobox", name=label).click()
    seen.page.get_by_role("option", name=option).click()
    seen.drawn()


@pytest.mark.slow
def test_an_approved_change_is_suspended_when_live_is_changed_by_hand_and_drawn_anew_without_its_votes(
    chromium: Browser, stack: WholeStack
) -> None:
    number = stack.propose("When the traffic is low", start_mode="by_hand")
    with windows(chromium, stack, 3) as (ana, ben, olga):
        for seen, name in ((ana, "ana"), (ben, "ben")):
            enters(seen, name, f"/change?change={number}", "When the traffic is low")
        confirms(asks(ben, "Approve"), "I read the evidence.", "Approve this plan")
        shows(ana, "1 of 1")
        assert stack.votes(number) == ["approve"]
        enters(olga, "olga", ENDPOINT, PRODUCTION)
        confirms(asks(olga, "Hand-made changes: report", within="Actions"), "I work on it by hand.", "Only report")
        for seen in (ana, olga):
            stays(seen)

        stack.triton(f"models/{PRODUCTION}/unload")
        shows(olga, "What runs is not what was approved.")
        shows(ana, "What moved", re.compile("Nothing goes on: what is live on"))
        expect(ana.page.get_by_role("row", name="Version 1 100 % none")).to_be_visible()
        assert [stayed(ana), stayed(olga)] == [True, True]
        assert "1" not in stack.answers()

        confirms(asks(olga, "Repair now", within="Actions"), "It was a mistake.", "Repair now")
        shows(olga, IN_SYNC)
        dialog = asks(ana, "Draw anew")
        expect(dialog).to_contain_text("version 1 keeps 100 %")
        confirms(dialog, "It is still right.", "Draw it anew")
        headed(ana, "It waits: 1 more approval of a reviewer.")
        assert (stack.change(number).state, stack.votes(number), stack.grants(number)) == ("review", [], ["revoked"])
        confirms(asks(ana, "Withdraw", within="More"), "Another day.", "Withdraw it")
        confirms(asks(olga, "Hand-made changes: repair", within="Actions"), "Done by hand.", "Repair by itself")
    assert stack.answers() == {"1": 12}


@pytest.mark.slow
def test_a_server_that_hangs_and_dies_while_watched_is_told_and_comes_back_in_sync_by_itself(
    chromium: Browser, stack: WholeStack
) -> None:
    before = stack.child("triton")
    with windows(chromium, stack, 1) as (olga,):
        enters(olga, "olga", ENDPOINT, PRODUCTION)
        shows(olga, IN_SYNC)
        stays(olga)
        os.kill(before.pid, signal.SIGSTOP)  # it hangs first: one that only dies may be back before the next look
        shows(olga, "Nobody can say what runs here now")
        os.kill(before.pid, signal.SIGKILL)
        stack.until(lambda: stack.child("triton").restarts > before.restarts, "Triton was started again")
        shows(olga, IN_SYNC, "Version 1 gets 100 %")
        assert stayed(olga)
        assert stack.child("triton").pid != before.pid
    assert stack.answers() == {"1": 12}


@pytest.mark.slow
def test_reload_back_and_a_double_click_at_the_worst_moment_are_one_effect(chromium: Browser, stack: WholeStack) -> None:
    number, before = stack.propose("Once and only once"), stack.generations()
    with windows(chromium, stack, 1) as (ben,):
        enters(ben, "ben", "/approvals", "Approvals")
        ben.page.get_by_role("button", name="Open").first.click()
        ben.drawn("Once and only once")
        dialog = asks(ben, "Approve")
        dialog.get_by_role("textbox", name="Reason").fill("I read the evidence.")
        dialog.get_by_role("button", name="Approve this plan").dblclick()
        stack.until(lambda: stack.change(number).state in ("applying", "done"), "it is being applied")
        ben.page.reload()
        ben.drawn("Once and only once").page.go_back()
        ben.drawn("Approvals").open(f"/change?change={number}", title="Once and only once")
        headed(ben, f"It is live and proved: version 2 has 100 % on {PRODUCTION}.")
        expect(ben.page.locator("[data-testid=stAlertContentError], [data-testid=stException]")).to_have_count(0)
        ben.page.reload()
        ben.drawn("Once and only once")
    assert (stack.votes(number), stack.grants(number)) == (["approve"], ["valid"])
    assert stack.generations() == [*before, (before[-1][0] + 1, "start")]
    assert stack.answers() == {"2": 12}
