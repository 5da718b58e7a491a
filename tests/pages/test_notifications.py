"""One's own messages, everybody's routes on the Admin page, and links from messages."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from sqlmodel import select
from streamlit.testing.v1 import AppTest

from app.deep_links import encoded, kept
from backend.access.rows import Identity
from backend.access.service import actor_of
from backend.bootstrap import Backend
from backend.changes.rows import Change
from backend.core.context import SYSTEM, Actor
from backend.notify import links
from backend.notify.rows import Attempt, Link, Message
from tests.installations import number_of
from tests.pages.conftest import Open, offered, press, words


def link_for(backend: Backend, name: str, part: str = "REVIEW") -> tuple[str, int]:
    """A link as the worker makes it, and the change's number."""
    number = number_of(backend, part)
    with backend.database.unit(SYSTEM) as tx:
        whose = tx.session.exec(select(Identity).where(Identity.name == name)).one()
        change = tx.session.exec(select(Change).where(Change.number == number)).one()
        message = tx.add(
            Message(
                id=tx.new_id("msg"), route_key="mail", identity_id=whose.id, event="change.waiting", seq=1, at=tx.now,
                subject_kind="change", subject_id=change.id, told={}, same="", state="sent", due_at=tx.now, created_at=tx.now,
            )
        )  # fmt: skip
        tx.session.flush()
        return links.make(tx, message.id, whose.id, change.id)[0], number


def used(backend: Backend) -> list[bool]:
    with backend.database.read() as session:
        return [one.used_at is not None for one in session.exec(select(Link))]


def test_a_link_opens_its_change_once_and_then_offers_the_plain_way(full: Backend, full_page: Open) -> None:
    token, number = link_for(full, "carla")
    assert kept(encoded(f"/open?link={token}"), "") == f"/open?link={token}", "kept over the way to the provider and back"
    opened = full_page("open", "carla", link=token)
    assert not opened.exception
    assert opened.query_params["change"] == str(number)
    again = full_page("open", "carla", link=token)
    assert "This link does not open any more" in words(again)
    assert offered(again, "Open the change")
    press(again, "Open the change")
    assert again.query_params["change"] == str(number)


@pytest.mark.parametrize("who", ["ben", "ana"])
def test_a_link_of_somebody_else_says_so_and_is_not_used_up(full: Backend, full_page: Open, who: str) -> None:
    token, _ = link_for(full, "carla")
    test = full_page("open", who, link=token)
    assert "This link is not one of yours" in words(test)
    assert not offered(test, "Open the change")
    assert offered(test, "What waits for me")
    assert used(full) == [False]


def test_hostile_tokens_are_no_link(full_page: Open) -> None:
    for token in ("", "x", "<script>", "x" * 5_000, "%00"):
        test = full_page("open", "ben", link=token)
        assert not test.exception, token
        assert offered(test, "What waits for me"), token


def test_one_sets_how_one_is_told_and_takes_subscriptions_back(page: Open, backend: Backend) -> None:
    ana = backend.identities.act_as("ana")
    backend.routes.subscribe(ana, ("change.proved",), object_kind="model", object_name="*churn* <b>")
    test = page("notifications", "ana")
    assert "change.proved" in words(test)
    test.text_input(key="zone").set_value("Europe/Berlin")
    test.text_input(key="quiet.from").set_value("22:00")
    test.text_input(key="quiet.to").set_value("07:00")
    test.checkbox(key="wants.change.approved").uncheck()
    press(test, "Save")
    assert not test.warning
    assert "quiet 22:00 to 07:00 Europe/Berlin" in words(test)
    assert not test.checkbox(key="wants.change.approved").value
    test.text_input(key="zone").set_value("Mars")
    press(test, "Save")
    assert "not a time zone" in words(test)
    press(test, "Take back")
    assert "No subscription yet" in words(test)


def test_routes_show_how_they_do_and_no_secret(page: Open, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend.routes._guard, "allowed", (ip_network("127.0.0.0/8"),))
    otto, ana = backend.identities.act_as("otto"), backend.identities.act_as("ana")
    backend.routes.add(otto, "release-room", "http://127.0.0.1:9/PLANTED", everybody=True)
    backend.routes.add(ana, "mine", "http://127.0.0.1:9/PLANTED")
    seen = words(page("notifications", "ana"))
    assert "mine" in seen
    assert "release-room" not in seen
    for name in ("ana", "otto"):
        assert "PLANTED" not in words(page("notifications", name))
    test = page("notifications", "ana")
    press(test, "Test my mail")
    assert "A test message" in words(test)
    assert _messages(backend, ana) == ["test"]


def test_the_log_tells_every_try_and_sends_again_whoever_may(
    page: Open, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend.routes._guard, "allowed", (ip_network("127.0.0.0/8"),))
    otto = backend.identities.act_as("otto")
    backend.routes.add(otto, "release-room", "http://127.0.0.1:9/hook", everybody=True)
    message = backend.routes.test(otto, "release-room")
    with backend.database.unit(SYSTEM) as tx:
        row = tx.get(Message, message)
        row.state, row.says, row.settled_at = "dead", "The receiver answered 500.", tx.now
        for number in range(2):
            tx.add(
                Attempt(
                    id=f"try-{number}", message_id=message, at=tx.now, seconds=1.5, ok=False, status=500, says="It said *500*"
                )
            )
    test = page("notifications", "otto", became="Given up")
    assert "The receiver answered 500" in words(test)
    press(test, "Details")
    assert words(test).count("It said *500*") == 2
    assert offered(test, "Send it again")
    assert "No message is like this" in words(page("notifications", "otto", became="Sent"))
    looked_at = page("admin", "audra", part="Messages")
    press(looked_at, "Details")
    assert message in looked_at.code[0].value
    assert not offered(looked_at, "Send it again"), "an auditor looks"
    assert "A test message" not in words(page("notifications", "ana")), "somebody else's"


def test_a_route_is_removed_only_after_a_question(page: Open, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend.routes._guard, "allowed", (ip_network("127.0.0.0/8"),))
    backend.routes.add(backend.identities.act_as("ana"), "mine", "http://127.0.0.1:9/hook")
    test = page("notifications", "ana")
    menu = next(one for one in test.get("menu_button") if one.proto.label == "More")
    menu.set_value("Remove").run()
    assert "This cannot be undone" in words(test)
    assert "mine" in words(page("notifications", "ana")), "nothing was done yet"
    assert offered(test, "Remove it")


def test_admins_act_on_the_routes_of_teams_and_of_everybody_auditors_look_and_others_are_told_where_theirs_are(
    page: Open, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend.routes._guard, "allowed", (ip_network("127.0.0.0/8"),))
    otto, ana = backend.identities.act_as("otto"), backend.identities.act_as("ana")
    backend.teams.create(otto, "flights")
    backend.routes.add(otto, "release-room", "http://127.0.0.1:9/PLANTED", everybody=True)
    backend.routes.add(otto, "flights-room", "http://127.0.0.1:9/PLANTED", team="flights")
    backend.routes.add(ana, "of-ana", "http://127.0.0.1:9/PLANTED")
    backend.routes.pause(otto, "flights-room", "It moves today.")
    managed = page("admin", "otto", part="Messages")
    looked_at = page("admin", "audra", part="Messages")
    for test in (managed, looked_at):
        assert not test.exception
        for told in ("release-room", "flights-room", "team flights", "of-ana", "It moves today."):
            assert told in words(test), told
        assert "PLANTED" not in words(test)
    assert _acts(managed) == [
        ["Send a test", "Resume", "Change the secret", "Remove"], ["Send a test", "Pause", "Change the secret", "Remove"],
    ]  # fmt: skip
    assert offered(managed, "Add a route")
    assert _acts(looked_at) == []
    assert not offered(looked_at, "Add a route")
    told = words(page("admin", "ben", part="Messages"))
    assert "This is for admins and auditors" in told
    assert "release-room" not in told


def _acts(test: AppTest) -> list[list[str]]:
    """What the menu of each route offers."""
    return [list(one.proto.options) for one in test.get("menu_button") if one.proto.label == "More"]


def test_whoever_follows_a_link_signs_in_first_and_uses_nothing_up_before(full: Backend, full_page: Open) -> None:
    token, number = link_for(full, "carla")
    with pytest.raises(ValueError, match=r"Could not find a navigation page for .*pages/open\.py"):
        full_page("open", None, link=token)  # every address leads to the sign-in page, and that page to it again
    assert used(full) == [False]
    assert full_page("open", "carla", link=token).query_params["change"] == str(number)


def _messages(backend: Backend, actor: Actor) -> list[str]:
    with backend.database.read() as session:
        row = session.get(Identity, actor.id)
        assert row is not None
        return [one.event for one in session.exec(select(Message).where(Message.identity_id == actor_of(row).id))]
