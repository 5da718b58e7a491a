"""Where messages may go and what tells it: not into the servers' networks, and not farther than a narrow token reaches."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from backend import bootstrap
from backend.access.rows import Request
from backend.core.context import Limits
from backend.core.errors import NotFound, Refusal
from backend.notify import queries
from backend.settings import Settings
from tests.receivers import web
from tests.services.changes.world import World
from tests.services.notify.conftest import Post

LOOPBACK = "127.0.0.0/8"
NOBODYS = "Whoever answers for what it was for is not active any more."
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@on_sqlite
def test_the_networks_of_servers_are_not_those_of_messages(world: World, tmp_path: Path) -> None:
    url = world.database.url.render_as_string(hide_password=False)
    Post(world, tmp_path)  # with the keys
    for own, is_open in (("", False), (LOOPBACK, True)):
        settings = Settings(
            data_dir=tmp_path, database_url=url, demo_identities=True, allowed_networks=LOOPBACK, message_networks=own
        )
        with closing(bootstrap.build(settings)) as made:
            ana = made.identities.act_as("ana")
            for address in ("http://127.0.0.1:9/quitquitquit", "http://localhost:9/x"):
                if is_open:
                    assert made.routes.add(ana, f"r{len(address)}", address).secret
                    continue
                with pytest.raises(Refusal) as refused:
                    made.routes.add(ana, "r", address)
                assert refused.value.code == "address-not-allowed"
                assert "COUNTERSIGN_MESSAGE_NETWORKS" in refused.value.remedy
            sending = made.courier._sending
            assert [str(one) for one in sending.guard.allowed] == ([own] if own else [])
            assert LOOPBACK in [str(one) for one in sending.mail_guard.allowed], "the administrator named the mail server"


@on_sqlite
def test_a_narrow_token_makes_no_lasting_way_out_for_what_its_identity_sees(post: Post) -> None:
    """What a route or a subscription tells is what the identity sees, for as long as it is there."""
    ben = post.world.ben
    own = post.routes.add(ben, "own", "http://127.0.0.1:9/x").id
    message = post.routes.test(ben, "own")
    for narrow in (replace(ben, limits=Limits("viewer", "model:nothing")), replace(ben, from_outside=True)):
        for call in (
            lambda as_: post.routes.add(as_, "exfil", "http://127.0.0.1:9/x"),
            lambda as_: post.routes.subscribe(as_, ("*",), route=own),
            lambda as_: post.routes.subscribe(as_, ("*",)),
            lambda as_: post.routes.rotate(as_, own),
            lambda as_: post.routes.resume(as_, own),
            lambda as_: post.routes.replay(as_, message),
            lambda as_: post.routes.replay_dead(as_, own),
            lambda as_: post.preferences.set(as_, mail=False),
        ):
            with pytest.raises(Refusal) as refused:
                call(narrow)
            assert refused.value.code == "narrow-token"
    post.routes.pause(narrow, own)  # which tells less


@on_sqlite
def test_a_service_that_nobody_answers_for_any_more_is_told_nothing(post: Post) -> None:
    """Neither what happens from then on nor what waited already; as it may do nothing either."""
    world = post.world
    bot = world.identities.create(world.otto, "bot", kind="service", owner="ana")
    asked = world.identities.grant(world.otto, "bot", "viewer")
    if isinstance(asked, Request):
        world.identities.confirm_grant(world.nora, asked.id)
    with web() as receiver:
        post.hook(receiver.url, "change.waiting", actor=bot)
        world.reviewed(actor=world.olga)
        post.fan_out()
        assert [one.state for one in post.messages()] == ["waiting"], "as long as somebody answers for it, it hears"
        world.identities.deactivate(world.nora, "ana")
        post.deliver()
        assert [(one.state, one.says) for one in post.messages()] == [("dropped", NOBODYS)]
        world.reviewed(actor=world.olga)
        post.run()
    assert receiver.taken == []
    assert len(post.messages()) == 1


@on_sqlite
def test_a_narrow_token_of_an_admin_sees_nobody_else_s_routes(post: Post) -> None:
    otto, world = post.world.otto, post.world
    teams = post.routes.add(otto, "room", "http://127.0.0.1:9/x", everybody=True).id
    of_ana = post.routes.add(world.ana, "of-ana", "http://127.0.0.1:9/x").id
    message = post.routes.test(otto, teams)
    narrow = replace(otto, limits=Limits("admin", "model:nothing"))
    with world.database.read() as session:
        now = world.database.now(session)
        assert {one.id for one in queries.routes(session, otto, now, everybodys=True)} == {teams, of_ana}
        assert queries.routes(session, narrow, now) == ()
        assert queries.messages(session, narrow, now) == ()
        with pytest.raises(Refusal, match="narrower"):
            queries.routes(session, narrow, now, everybodys=True)
        for ref in (teams, of_ana):
            with pytest.raises(NotFound):
                queries.route(session, narrow, ref, now)
        with pytest.raises(NotFound):
            queries.message(session, narrow, message, now)
