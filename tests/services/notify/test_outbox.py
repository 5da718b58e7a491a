"""From the ledger to messages: who hears of what, once, and what is counted together; nobody hears of what he may not see."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from unittest.mock import Mock

import pytest
from sqlmodel import select

from backend.access.rows import RoleGrant
from backend.access.teams import Teams
from backend.core import work
from backend.core.context import SYSTEM
from backend.core.ledger import LedgerHead
from backend.delivery.rows import Endpoint
from backend.experiments.comparing.standing import Standing
from backend.notify.outbox import BATCH, about_of
from backend.notify.rows import Cursor, Message, Route
from backend.policy.rows import Freeze
from backend.rollouts.service import At, judged
from tests.databases import Clock
from tests.services.changes.world import ENDPOINT, MODEL, World
from tests.services.notify.conftest import Post

MAIL = "mailto://127.0.0.1:9?from=countersign@example.com"
EVERYBODY = ("ana", "ben", "carla", "olga", "otto", "nora", "audra")


@pytest.fixture
def mailed(world: World, tmp_path: Path) -> Post:
    post = Post(world, tmp_path, mail_url=MAIL)
    post.addressed(*EVERYBODY)
    return post


def test_a_change_that_waits_is_told_to_those_who_may_vote_and_to_nobody_else(mailed: Post) -> None:
    number = mailed.world.reviewed()
    mailed.fan_out()
    assert mailed.names("change.waiting") == {"ben", "carla"}
    mailed.world.vote(number)
    mailed.fan_out()
    assert mailed.names("change.approved") == {"ana"}


def test_each_row_is_told_once_however_often_and_by_whomever_the_ledger_is_read(mailed: Post) -> None:
    mailed.world.reviewed()
    for _ in range(3):
        mailed.fan_out()
    assert len(mailed.messages(event="change.waiting")) == 2
    with mailed.database.unit(SYSTEM) as tx:
        work.wake(tx, "notify", "ledger")
        claim = work.claim_in(tx, "notify", holder="slow", seconds=60, key="ledger")[0]
    mailed.world.vote(mailed.world.reviewed(3))
    told = mailed.outbox._told

    def overtaken(*args):  # another worker reads the same rows while this one looks them up
        mailed.outbox._told = told
        mailed.outbox.handle(claim)
        return told(*args)

    mailed.outbox._told = overtaken
    with pytest.raises(work.LeaseLost):
        mailed.outbox.handle(claim)
    mailed.fan_out()
    assert len(mailed.messages(event="change.approved")) == 1


def test_rows_that_another_has_told_meanwhile_are_not_told_again(mailed: Post) -> None:
    """The lease alone keeps two readers apart; the cursor does so where it was not held."""
    mailed.world.reviewed()
    told = mailed.outbox._told

    def overtaken(*args):
        with mailed.database.unit(SYSTEM) as tx:
            tx.get(Cursor, "ledger").seq = tx.get(LedgerHead, 1).seq
        mailed.outbox._told = told
        return told(*args)

    mailed.outbox._told = overtaken
    mailed.fan_out()
    assert mailed.messages() == []


def test_the_messages_and_the_cursor_are_written_together_or_not_at_all(mailed: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    mailed.world.reviewed()
    before = _cursor(mailed)
    with monkeypatch.context() as patch:
        patch.setattr("backend.notify.outbox.work.finish", lambda *_args, **_options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            mailed.fan_out()
    assert mailed.messages() == []
    assert _cursor(mailed) == before
    with mailed.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE work_item SET deadline = NULL WHERE kind = 'notify'")
    mailed.fan_out()
    assert len(mailed.messages(event="change.waiting")) == 2
    assert _cursor(mailed) > before


def test_a_rollback_by_itself_is_told_to_all_whom_it_concerns(mailed: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a guardrail: requester, approver, the endpoint's team and its operators hear of it, and where to look."""
    world, teams = mailed.world, Teams(mailed.database, lambda *_: True)
    teams.create(world.otto, "delays", "Delays")
    teams.add_member(world.otto, "delays", "carla")
    if (owning := teams.set_owner(world.otto, "endpoint", ENDPOINT, "delays")) is not None:
        teams.confirm_owner(world.nora, owning.id)
    number = _walking(world)
    failed = Standing("rollback", "Errors: 3 % more than version 1.", False, False, 500, world.database.now())
    monkeypatch.setattr("backend.rollouts.queries.comparisons.standing", lambda *_: failed)
    with world.database.unit(SYSTEM) as tx:
        judged(tx, world.rollout().authorization_id)
    world.run()
    assert (world.rollout().state, world.rollout().reason) == ("rolled_back", failed.reason)
    mailed.fan_out()
    assert mailed.names("rollout.rolled_back") == {"ana", "ben", "carla", "olga"}
    with world.database.read() as session:
        about = about_of(session, mailed.subjects, "rollout", world.rollout().id)
    assert about is not None
    assert (about.endpoint, about.number, about.page, about.query) == (ENDPOINT, number, "change", ("change", str(number)))


def test_a_rollback_by_hand_is_not_told_as_one_by_itself(mailed: Post) -> None:
    _walking(mailed.world)
    mailed.world.rollouts.pause(mailed.world.ben, ENDPOINT, "Have a look")
    mailed.world.rollouts.roll_back(mailed.world.olga, ENDPOINT, "Worse")
    mailed.fan_out()
    assert not {"rollout.rolled_back", "rollout.paused"} & {one.event for one in mailed.messages()}


def test_who_skips_steps_is_told_to_the_others(mailed: Post) -> None:
    mailed.world.policy(may_skip=True)
    _walking(mailed.world)
    row = mailed.world.rollout()
    mailed.world.rollouts.skip(mailed.world.olga, ENDPOINT, "Seen in staging", at=At(row.id, row.step))
    mailed.fan_out()
    assert mailed.names("rollout.skipped") == {"ana", "ben"}


def _walking(world: World) -> int:
    """A change whose rollout holds its first step."""
    number = world.applied(2, ramp=[{"share": 1_000, "hold_seconds": 3_600}, {"share": 5_000, "person": True}])
    world.prove()
    world.run()
    return number


def test_nobody_is_told_of_what_he_did_himself(mailed: Post) -> None:
    mailed.routes.subscribe(mailed.world.ben, ("change.approved",))
    mailed.routes.subscribe(mailed.world.carla, ("change.approved",))
    mailed.world.vote(mailed.world.reviewed(start_mode="by_hand"), mailed.world.ben)
    mailed.fan_out()
    told = mailed.names("change.approved")
    assert "carla" in told
    assert "ben" not in told


def test_whoever_may_not_see_an_object_hears_nothing_of_it(mailed: Post) -> None:
    _only(mailed.world, "olga", "environment:dev")
    for name in ("olga", "audra"):
        mailed.routes.subscribe(mailed.world.identities.act_as(name), ("*",))
    mailed.world.reviewed()
    mailed.fan_out()
    assert "audra" in mailed.names("change.waiting")
    assert "olga" not in mailed.names("change.waiting")


def test_subscriptions_are_by_event_and_by_object(post: Post) -> None:
    world = post.world
    route = post.routes.add(world.ana, "hook", "http://127.0.0.1:9/x")
    for kind, name in (("model", MODEL), ("endpoint", ENDPOINT), ("environment", "production"), ("change", "1")):
        post.routes.subscribe(world.ana, ("change.waiting",), route=route.id, object_kind=kind, object_name=name)
    post.routes.subscribe(world.ana, ("change.rejected",), route=route.id, object_kind="model", object_name="another")
    number = world.reviewed()
    world.vote(number, verdict="reject")
    post.fan_out()
    assert [one.event for one in post.messages()] == ["change.waiting"], "one message a way, however many subscriptions ask"


def test_a_teams_route_hears_of_what_the_team_owns_and_of_nothing_else(post: Post) -> None:
    world = post.world
    teams = Teams(post.database, lambda *_: True)
    teams.create(world.otto, "flights")
    teams.create(world.otto, "taxis")
    teams.set_owner(world.otto, "model", MODEL, "flights")
    for team in ("flights", "taxis"):
        post.hook("http://127.0.0.1:9/x", "*", actor=world.otto, name=team, team=team)
    world.reviewed()
    post.run()
    states = {one.route_key: (one.state, one.says) for one in post.messages(event="change.waiting")}
    routes = {one.name: one.id for one in _routes(post)}
    assert states[routes["flights"]][0] == "waiting"
    assert states[routes["taxis"]] == ("dropped", "The team that it was for does not own this.")


def test_the_same_alert_within_a_window_is_one_message_with_a_count(post: Post, clock: Clock) -> None:
    world = post.world
    post.hook("http://127.0.0.1:9/x", "endpoint.unreachable")
    for _ in range(3):
        world.touch(state="in_sync")
        _seen(post, "unreachable")
        clock.tick(minutes=1)
    post.fan_out()
    (message,) = post.messages(event="endpoint.unreachable")
    assert message.count == 3
    _settle(post, message.id)
    _seen(post, "in_sync")
    _seen(post, "unreachable")
    post.fan_out()
    later = post.messages(event="endpoint.unreachable", state="waiting")
    assert [one.due_at - clock.now for one in later] == [timedelta(minutes=15)], "the next one comes after the window"
    clock.tick(minutes=40)
    _settle(post, later[0].id)
    clock.tick(minutes=16)
    _seen(post, "in_sync")
    _seen(post, "unreachable")
    post.fan_out()
    assert [one.due_at for one in post.messages(event="endpoint.unreachable", state="waiting")] == [clock.now]


def test_each_waiting_change_is_told_again_when_it_was_drawn_anew(mailed: Post) -> None:
    number = mailed.world.reviewed()
    mailed.fan_out()
    mailed.world.changes.edit(mailed.world.ana, number, reason="It is better still.")
    mailed.world.run()
    mailed.world.check()
    mailed.fan_out()
    assert len(mailed.messages(event="change.waiting")) == 4


def test_quiet_hours_hold_what_is_not_urgent(mailed: Post, clock: Clock) -> None:
    """The test's clock shows 09:00 UTC, which is 10:00 in Berlin."""
    world = mailed.world
    mailed.preferences.set(world.ben, zone="Europe/Berlin", quiet_from="09:30", quiet_to="12:00")
    mailed.preferences.set(world.olga, zone="UTC", quiet_from="08:00", quiet_to="10:00")
    mailed.preferences.set(world.carla, muted=["change.waiting"])
    world.reviewed()
    _seen(mailed, "unreachable")
    mailed.fan_out()
    (waiting,) = mailed.messages(event="change.waiting")
    assert waiting.due_at == clock.now.replace(hour=11)
    (urgent,) = mailed.messages(event="endpoint.unreachable")
    assert urgent.due_at == clock.now
    mailed.preferences.set(world.olga, zone="UTC", quiet_from="08:00", quiet_to="10:00", urgent_through=False)
    assert mailed.messages(event="endpoint.unreachable")[0].due_at == clock.now.replace(hour=10)


def test_more_rows_than_are_read_at_once_are_told_in_the_order_of_the_ledger(post: Post) -> None:
    world = post.world
    post.hook("http://127.0.0.1:9/x", "freeze.set")
    with post.database.unit(SYSTEM) as tx:
        for number in range(BATCH + 30):
            row = tx.add(Freeze(id=f"frz_{number}", scope="dev", reason="x", set_by=world.olga.id, set_at=tx.now))
            tx.record("freeze.set", row)
    post.fan_out()
    rows = post.messages(event="freeze.set")
    assert [one.subject_id for one in rows] == [f"frz_{number}" for number in range(BATCH + 30)]


def test_a_row_that_cannot_be_told_does_not_keep_the_next_from_being_told(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    world = post.world
    post.hook("http://127.0.0.1:9/x", "*")
    first, second = world.reviewed(), None
    real = post.subjects.about

    def about(session, kind, identifier):
        assert identifier != world.change(first).id, "a defect of ours"
        return real(session, kind, identifier)

    monkeypatch.setattr(post.subjects, "about", about)
    world.changes.withdraw(world.ana, first, "No.")
    second = world.reviewed(3)
    post.fan_out()
    assert {one.subject_id for one in post.messages(event="change.waiting")} == {world.change(second).id}


def test_a_second_administrator_and_a_broken_chain_are_told_to_those_whom_it_concerns(mailed: Post) -> None:
    world = mailed.world
    world.identities._protected = lambda _session: frozenset({"production"})
    world.identities.create(world.otto, "new")
    asked = world.identities.grant(world.otto, "new", "viewer", "*")
    with mailed.database.unit(SYSTEM) as tx:
        tx.record("audit.break", ("ledger", "chain"), after={"seq": 3})
    mailed.fan_out()
    assert mailed.names("request.waiting") == {"nora"}, "Otto asked himself"
    with mailed.database.read() as session:
        about = about_of(session, Mock(about=lambda *_: None), "request", asked.id)
    assert about is not None
    assert (about.page, about.query) == ("admin", ("part", "Grants")), "where requests wait (pages/admin.py)"
    assert mailed.names("audit.broken") == {"audra", "otto", "nora"}
    world.identities.confirm_grant(world.nora, asked.id)
    mailed.fan_out()
    assert mailed.names("request.settled") == {"otto"}


def _cursor(post: Post) -> int:
    with post.database.read() as session:
        row = session.get(Cursor, "ledger")
        return row.seq if row is not None else 0


def _routes(post: Post):
    with post.database.read() as session:
        return list(session.exec(select(Route)))


def _seen(post: Post, state: str) -> None:
    """As the worker records what it saw."""
    with post.database.unit(SYSTEM) as tx:
        row = tx.get(Endpoint, "end_1", lock=True)
        before, row.state = row.facts("state"), state
        tx.record("endpoint.observe", row, before=before, after=row.facts("state"))


def _settle(post: Post, message_id: str) -> None:
    with post.database.unit(SYSTEM) as tx:
        row = tx.get(Message, message_id)
        row.state, row.settled_at = "sent", tx.now


def _only(world: World, name: str, scope: str) -> None:
    """Somebody's grants reach this scope alone."""
    actor = world.identities.act_as(name)
    with world.database.unit(SYSTEM) as tx:
        for row in tx.session.exec(select(RoleGrant).where(RoleGrant.identity_id == actor.id)):
            row.scope = scope
            tx.record("role.grant", row)
