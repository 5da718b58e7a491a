"""Changes in Chromium, in an installation full of work: dialogs, live parts, double clicks, deep links, the way back."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest
from playwright.sync_api import Browser, Locator, expect
from sqlmodel import select

from backend import bootstrap
from backend.bootstrap import Backend
from backend.changes.rows import Change, Comment
from backend.changes.view import ChangeView, view
from backend.registry import queries as registry
from backend.registry.service import Versions
from backend.settings import Settings
from tests.browsers import _SERVE, Server, Visit, serve, visit
from tests.installations import HOSTILE_TITLE, PRODUCTION, TITLES, copied, number_of, put_back

_REGISTERED = """
from backend.registry import queries
from backend.registry.service import Versions

def digest_now(self, model, number):
    with self._database.read() as session:
        return queries.registered(session, model, number).artifact_digest

Versions.digest_now = digest_now
"""
"""The registry still has what was registered: these pages run without one."""


@pytest.fixture(scope="module")
def served(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path, Path]]:
    """The web app on a filled folder of its own, that folder, and a copy of it as it was."""
    folder = tmp_path_factory.mktemp("served")
    data = copied(filled, folder / "data")
    kept = shutil.copytree(data, folder / "kept")
    with serve(data, folder, _REGISTERED + _SERVE) as server:
        yield server, data, kept


@pytest.fixture
def world(served: tuple[Server, Path, Path]) -> Iterator[tuple[Server, Backend]]:
    """That app on its folder as it was, and the services in this process, as other people use them."""
    server, data, kept = served
    put_back(kept, data)
    backend = bootstrap.build(Settings(data_dir=data, demo_identities=True))
    with closing(backend), mock.patch.object(Versions, "digest_now", _digest_now):
        yield server, backend


def _digest_now(self: Versions, model: str, number: int) -> str:
    with self._database.read() as session:
        return str(registry.registered(session, model, number).artifact_digest)


def looked(backend: Backend, part: str) -> ChangeView:
    with backend.database.read() as session:
        actor = backend.identities.act_as("ben")
        return view(session, actor, number_of(backend, part), backend.database.now(session))


def opened(seen: Visit, backend: Backend, part: str, who: str) -> Visit:
    """The change by a deep link, opened cold."""
    seen.open(f"/change?change={number_of(backend, part)}", title="Whom do you act as?")
    return seen.act_as(who, title=TITLES[part].split(" <")[0].replace("*", "*"))


def dialog(seen: Visit) -> Locator:
    return seen.page.get_by_role("dialog")


def wrote(seen: Visit, reason: str) -> None:
    dialog(seen).get_by_label("Reason").fill(reason)


def test_the_pages_are_clean_in_both_themes_and_fit(chromium: Browser, world: tuple[Server, Backend]) -> None:
    server, backend = world
    review, walks = number_of(backend, "REVIEW"), number_of(backend, "ROLLOUT")
    with visit(chromium, server.url, policy=False) as seen:
        seen.open("/approvals", title="Whom do you act as?").act_as("carla", title="Approvals")
        assert seen.axe() == []
        for path, title in (
            (f"/change?change={review}", "Better"),
            (f"/change?change={walks}", "Version 2"),
            (f"/propose?endpoint={PRODUCTION}&version=3", "Propose"),
        ):
            seen.open(path, title=title).clean(path)
        assert seen.wrong == []


def test_a_reviewer_approves_in_a_dialog_and_a_double_click_votes_once(
    chromium: Browser, world: tuple[Server, Backend]
) -> None:
    server, backend = world
    with visit(chromium, server.url) as seen:
        opened(seen, backend, "REVIEW", "carla")
        seen.page.get_by_role("button", name="Approve", exact=True).dblclick()
        expect(dialog(seen)).to_contain_text("version 1 gets 90 %, version 2 gets 10 %")
        expect(dialog(seen)).to_contain_text("going back to version 1 at 100 %")
        dialog(seen).get_by_role("button", name="Approve this plan").click()
        expect(dialog(seen)).to_contain_text("Not done: write the reason")
        wrote(seen, "Read all of it.")
        dialog(seen).get_by_role("button", name="Approve this plan").dblclick()
        expect(seen.page.get_by_test_id("stToast").first).to_contain_text("You approved change")
        expect(dialog(seen)).to_have_count(0)
        seen.drawn()
        assert "Approved" in seen.say()
        assert seen.wrong == []
    votes = [(one.voter, one.comment) for one in looked(backend, "REVIEW").votes if one.counts]
    assert votes == [("Ben (reviewer)", "The evidence is sound. *Go.*"), ("Carla (reviewer)", "Read all of it.")]
    assert looked(backend, "REVIEW").line.state == "approved"


def test_a_reviewer_rejects_with_a_reason(chromium: Browser, world: tuple[Server, Backend]) -> None:
    server, backend = world
    with visit(chromium, server.url) as seen:
        opened(seen, backend, "REVIEW", "carla")
        seen.page.get_by_role("button", name="More").click()
        seen.page.get_by_role("menuitem", name="Reject", exact=True).click()
        expect(dialog(seen)).to_contain_text("ends for good")
        wrote(seen, "July is missing.")
        dialog(seen).get_by_role("button", name="Reject it").click()
        expect(seen.page.get_by_role("heading", name="It was rejected: July is missing.")).to_be_visible()
        assert seen.wrong == []
    assert looked(backend, "REVIEW").line.state == "rejected"


def test_a_plan_that_was_edited_while_the_dialog_stood_open_is_not_approved(
    chromium: Browser, world: tuple[Server, Backend]
) -> None:
    server, backend = world
    with visit(chromium, server.url) as seen:
        opened(seen, backend, "REVIEW", "carla")
        seen.page.get_by_role("button", name="Approve", exact=True).click()
        wrote(seen, "Read all of it.")
        backend.changes.edit(backend.identities.act_as("ana"), number_of(backend, "REVIEW"), bake_seconds=7_200)
        dialog(seen).get_by_role("button", name="Approve this plan").click()
        expect(dialog(seen)).to_contain_text("was edited while you looked, and nothing was done")
        expect(dialog(seen)).to_contain_text("Stays loaded afterwards: 2 h; it was 30 min.")
        expect(dialog(seen).get_by_label("Reason")).to_have_value("Read all of it.")
    assert not [one for one in looked(backend, "REVIEW").votes if one.counts]


def test_what_others_do_appears_and_what_is_being_typed_stays(chromium: Browser, world: tuple[Server, Backend]) -> None:
    server, backend = world
    number = number_of(backend, "REVIEW")
    with visit(chromium, server.url) as seen:
        opened(seen, backend, "REVIEW", "carla")
        field = seen.page.get_by_label("Comment")
        field.press_sequentially("I have only begun to")
        backend.changes.comment(backend.identities.act_as("ben"), number, "A word from the side")
        expect(seen.page.get_by_text("A word from the side")).to_be_visible(timeout=20_000)
        expect(field).to_have_value("I have only begun to")
        shown = looked(backend, "REVIEW")
        backend.changes.reject(
            backend.identities.act_as("ben"),
            number,
            plan_digest=shown.plan_digest,
            base_digest=shown.base_digest,
            comment="No.",
        )
        expect(seen.page.get_by_role("heading", name="It was rejected: No.")).to_be_visible(timeout=20_000)
        expect(field).to_have_value("I have only begun to")
        field.press_sequentially(" say this")
        seen.page.get_by_role("button", name="Send").click()
        expect(seen.page.get_by_test_id("stToast").first).to_contain_text("is kept")
        expect(seen.page.get_by_label("Comment")).to_have_value("")
        assert seen.wrong == []
    with backend.database.read() as session:
        assert "I have only begun to say this" in set(session.exec(select(Comment.text)))


def test_a_plan_that_is_edited_is_not_swapped_under_the_eyes_of_its_reader(
    chromium: Browser, world: tuple[Server, Backend]
) -> None:
    server, backend = world
    with visit(chromium, server.url) as seen:
        opened(seen, backend, "REVIEW", "carla")
        backend.changes.edit(backend.identities.act_as("ana"), number_of(backend, "REVIEW"), bake_seconds=7_200)
        expect(seen.page.get_by_text("It was edited while you looked.")).to_be_visible(timeout=20_000)
        assert "Since the plan before" not in seen.say()
        seen.page.get_by_role("button", name="Show it as it is now").click()
        expect(seen.page.get_by_text("Since the plan before")).to_be_visible()
        expect(seen.page.get_by_role("row", name="Stays loaded afterwards 30 min 2 h")).to_be_visible()


def test_a_rollout_is_watched_live_and_paused_in_absolute_terms(chromium: Browser, world: tuple[Server, Backend]) -> None:
    server, backend = world
    with visit(chromium, server.url) as seen:
        opened(seen, backend, "ROLLOUT", "olga")
        seen.page.get_by_role("button", name="More").click()
        seen.page.get_by_role("menuitem", name="Pause the rollout").click()
        expect(dialog(seen)).to_contain_text("version 1 keeps 90 %, version 2 keeps 10 %")
        wrote(seen, "p99 looks odd")
        dialog(seen).get_by_role("button", name="Pause the rollout").click()
        expect(seen.page.get_by_role("heading", name=re.compile("It is paused: p99 looks odd"))).to_be_visible()
        backend.rollouts.resume(backend.identities.act_as("olga"), "taxi-fare", "it was the load test")
        expect(seen.page.get_by_role("heading", name=re.compile("held until"))).to_be_visible(timeout=20_000)
        assert seen.wrong == []


def test_a_suspended_change_is_drawn_anew_by_its_requester(chromium: Browser, world: tuple[Server, Backend]) -> None:
    server, backend = world
    with visit(chromium, server.url) as seen:
        opened(seen, backend, "SUSPENDED", "ana")
        assert "What moved" in seen.say()
        seen.page.get_by_role("button", name="Draw anew").click()
        expect(dialog(seen)).to_contain_text("The plan is drawn anew on what is live now: version 3 keeps 100 %.")
        wrote(seen, "Still better than version 3")
        dialog(seen).get_by_role("button", name="Draw it anew").click()
        expect(seen.page.get_by_test_id("stToast").first).to_contain_text("was drawn anew")
        assert seen.wrong == []
    shown = looked(backend, "SUSPENDED")
    assert (shown.line.state, shown.base["champion"]) == ("review", "v3")
    assert shown.comments[-1].text == "Draw anew: Still better than version 3"


def test_the_list_keeps_its_filter_through_a_detail_and_the_back_button(
    chromium: Browser, world: tuple[Server, Backend]
) -> None:
    server, backend = world
    with visit(chromium, server.url) as seen:
        seen.open("/approvals?state=In+review", title="Whom do you act as?").act_as("carla", title="Approvals")
        assert "2 changes shown" in seen.say()
        seen.page.get_by_role("button", name="Open").first.click()
        expect(seen.page).to_have_url(re.compile(rf"/change\?change={number_of(backend, 'STALE')}$"))
        seen.drawn(TITLES["STALE"]).page.go_back()
        seen.drawn("Approvals")
        expect(seen.page).to_have_url(re.compile(r"/approvals\?state=In(\+|%20)review$"))
        expect(seen.page.get_by_text("2 changes shown")).to_be_visible()
        seen.page.get_by_label("Text", exact=True).fill("summer")
        seen.page.get_by_label("Text", exact=True).press("Enter")
        expect(seen.page).to_have_url(re.compile("text=summer"))
        assert seen.wrong == []


@pytest.mark.parametrize("filters", ["?state=In+review", pytest.param("", marks=pytest.mark.slow)])
def test_back_and_forward_lead_to_and_fro_as_often_as_one_likes(
    chromium: Browser, world: tuple[Server, Backend], filters: str
) -> None:
    server, _ = world
    plan = re.compile("Plan against live|What it changed")
    with visit(chromium, server.url) as seen:
        seen.open(f"/approvals{filters}", title="Whom do you act as?").act_as("carla", title="Approvals")
        for _ in range(2):
            seen.open_row(r"/change\?change=")
            seen.page.get_by_text(plan).first.wait_for()
            change = seen.drawn().page.url
            for _ in range(3):
                seen.page.evaluate("history.back()")
                seen.drawn("Approvals")
                expect(seen.page.get_by_text("2 changes shown" if filters else "changes shown")).to_be_visible()
                seen.page.evaluate("history.forward()")
                expect(seen.page).to_have_url(change)
                seen.page.get_by_text(plan).first.wait_for()
            seen.page.evaluate("history.back()")
            seen.drawn("Approvals")
        seen.page.get_by_label("Text", exact=True).fill("summer")
        seen.page.get_by_label("Text", exact=True).press("Enter")
        expect(seen.page).to_have_url(re.compile("text=summer"))
        expect(seen.page.get_by_label("Text", exact=True)).to_have_value("summer")
        assert seen.wrong == []


def test_hostile_words_run_nothing_and_fetch_nothing(chromium: Browser, world: tuple[Server, Backend]) -> None:
    server, backend = world
    with visit(chromium, server.url) as seen:
        opened(seen, backend, "REVIEW", "ben")
        assert HOSTILE_TITLE in seen.say()
        assert seen.page.locator("[data-testid=stMain] img[src='x'], [data-testid=stMain] script").count() == 0
        assert seen.page.locator("[data-testid=stMain] a[href^='javascript']").count() == 0
        assert seen.wrong == []


def test_a_change_is_proposed_once_by_a_double_click(chromium: Browser, world: tuple[Server, Backend]) -> None:
    server, backend = world
    with visit(chromium, server.url) as seen:
        seen.open(f"/propose?endpoint={PRODUCTION}&version=3", title="Whom do you act as?").act_as(
            "ana", title="Propose a change"
        )
        seen.page.get_by_label("Title").fill("Once and only once")
        seen.page.get_by_label("Reason").fill("It holds.")
        seen.page.get_by_label("Reason").press("Control+Enter")
        button = seen.page.get_by_role("button", name="Propose it")
        expect(button).to_be_enabled()
        button.dblclick()
        expect(seen.page.get_by_role("heading", name="Once and only once")).to_be_visible()
        expect(seen.page).to_have_url(re.compile(r"/change\?change=\d+$"))
        assert seen.wrong == []
    with backend.database.read() as session:
        assert len(session.exec(select(Change.id).where(Change.title == "Once and only once")).all()) == 1
