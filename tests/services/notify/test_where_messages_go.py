"""Where messages may go and what tells it: not into the servers' networks, and not farther than a narrow token reaches."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import select

from backend import bootstrap, migrate
from backend.access.rows import Request
from backend.bootstrap import Backend
from backend.core import work
from backend.core.context import Actor, Limits
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.ledger import LedgerRow
from backend.core.outbound import Guard
from backend.equipment import outgoing
from backend.notify import queries
from backend.notify.apprise_child import Watch
from backend.settings import Settings
from tests.api_world import Api
from tests.receivers import web
from tests.services.changes.world import World
from tests.services.notify.conftest import Post

LOOPBACK = "127.0.0.0/8"
NOBODYS = "Whoever answers for what it was for is not active any more."
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def asked(database: Database, tmp_path: Path) -> Iterator[Api]:
    opened = Api(World(database), tmp_path / "data")
    yield opened
    opened.close()


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
    post.routes.pause(narrow, own)  # which tells less; another system's token, without limits, is the person's own


@on_sqlite
def test_a_narrow_token_is_shown_nothing_of_what_its_identity_is_told(post: Post) -> None:
    """A message tells what the identity sees, and the identity sees more than the token."""
    ben, world = post.world.ben, post.world
    own = post.routes.add(ben, "own", "http://127.0.0.1:9/x").id
    wish = post.routes.subscribe(ben, ("*",))
    messages = [post.routes.test(ben, "own"), post.routes.test(ben, "mail")]
    narrow = replace(ben, limits=Limits("reviewer"))
    with world.database.read() as session:
        now = world.database.now(session)
        assert len(queries.messages(session, ben, now)) == 2
        assert len(queries.subscriptions(session, ben, now)) == 1
        for route in (None, "mail", "own"):
            assert queries.messages(session, narrow, now, route=route) == ()
        assert queries.routes(session, narrow, now) == queries.subscriptions(session, narrow, now) == ()
        for look in (
            lambda: queries.route(session, narrow, own, now),
            lambda: queries.message(session, narrow, messages[0], now),
            lambda: queries.message(session, narrow, messages[1], now),
            lambda: queries.subscription(session, narrow, wish, now),
        ):
            with pytest.raises(NotFound):
                look()
    for call, code in (
        (lambda: post.routes.pause(narrow, own), "not-found"),
        (lambda: post.routes.remove(narrow, "own"), "not-found"),
        (lambda: post.routes.unsubscribe(narrow, wish), "not-found"),
        (lambda: post.routes.test(narrow, own), "not-found"),
        (lambda: post.routes.test(narrow, "mail"), "narrow-token"),
    ):
        with pytest.raises(Refusal) as refused:
            call()
        assert refused.value.code == code
    with world.database.read() as session:
        assert len(queries.routes(session, replace(world.otto, limits=Limits("admin")), now, everybodys=True)) == 1, "by right"


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


@on_sqlite
def test_no_route_leads_to_a_server_a_router_or_countersign_itself(asked: Api) -> None:
    """Not when it is added and, since servers are registered later, not when it is sent on; whatever its host is called."""
    backend = asked.backend
    olga = backend.identities.act_as("olga")
    with web() as receiver:
        for name, address in {"hook": receiver.url, "service": f"ntfy://127.0.0.1:{receiver.port}/topic"}.items():
            backend.routes.add(olga, name, address)
        delivered(asked, olga)
        assert len(receiver.taken) == 2, "nothing of ours is there yet"
        register(backend, f"http://127.0.0.1:{receiver.port}")
        delivered(asked, olga)
        assert len(receiver.taken) == 2
        for scheme, path in (("http", "quitquitquit"), ("ntfy", "x"), ("gotify", "token"), ("workflows", "a/b")):
            for host in ("127.0.0.1", "localhost", "LOCALHOST", "127.0.0.2"):
                with pytest.raises(Refusal) as refused:
                    backend.routes.add(olga, "late", f"{scheme}://{host}:{receiver.port}/{path}")
                assert refused.value.code == "address-not-allowed"


@on_sqlite
def test_a_topic_of_ntfy_is_shown_nowhere_and_no_name_server_is_asked_for_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = list[str]()
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *more, **named: looked.append(str(host)) or real(host, *more, **named)
    )
    topic = "topic-9f3c61d2secret"
    Post(world, tmp_path).routes.add(world.ben, "phone", f"ntfy://{topic}")
    with world.database.read() as session:
        (row,) = session.exec(select(LedgerRow).where(LedgerRow.action == "route.add"))
        (line,) = queries.routes(session, world.audra, world.database.now(session), everybodys=True)
    assert "ntfy://" in row.after_json
    assert line.shown == "ntfy://"
    assert topic not in row.after_json
    assert topic not in looked


def test_what_is_closed_is_known_by_its_name_and_by_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"mlflow.test": "198.51.100.7", "alias.test": "198.51.100.7", "other.test": "198.51.100.8"}
    monkeypatch.setattr("socket.getaddrinfo", lambda host, port, **_: [(0, 0, 0, "", (names.get(host, host), port))])
    guard = Guard(("198.51.100.0/24",), closed=lambda: [("MLflow.test", 443)])
    for closed in ("https://mlflow.test/x", "https://alias.test/", "https://198.51.100.7/", "https://mlflow.test:443"):
        with pytest.raises(Refusal, match="to which this does not go"):
            guard.check(closed)
    for free in ("https://other.test/", "http://mlflow.test/"):
        guard.check(free)


@pytest.mark.parametrize(("port", "is_let"), [(9901, False), (443, True)])
def test_the_hook_lets_no_service_connect_to_what_is_closed(port: int, is_let: bool) -> None:
    watch = Watch(Guard((LOOPBACK,)))
    for scheme in ("ntfy", "mailto"):
        watch.begin(scheme, [("127.0.0.1", 9901)])
        with nullcontext() if is_let else pytest.raises(PermissionError):
            watch("socket.connect", (None, ("127.0.0.1", port)))


def test_settings_of_countersign_itself_are_closed_to_messages(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path, mlflow_url="https://mlflow.test", public_url="https://countersign.test:8443/x", metrics_port=9109
    )
    with closing(Database(f"sqlite:///{tmp_path / 'a.db'}")) as database:
        migrate.upgrade(database)
        found = set(outgoing.message_guard(settings, database, None).closed())
    assert found == {("mlflow.test", 443), ("countersign.test", 8443), ("127.0.0.1", 9109)}


def register(backend: Backend, url: str) -> None:
    """A server whose management address this is, as whoever may registers it."""
    settings = {"url": url, "model_repository": "/srv/models"}
    backend.servers.register(
        backend.identities.act_as("otto"), name="late", kind="triton", settings=settings, upstream="127.0.0.1:8001"
    )


def delivered(asked: Api, actor: Actor) -> None:
    """A test message on both routes, and the courier's round."""
    for name in ("hook", "service"):
        asked.backend.routes.test(actor, name)
    for claim in work.claim(asked.backend.database, "route", holder="w1", seconds=60, limit=50):
        asked.backend.courier.handle(claim)
