"""Sending: signed, tried again, given up, replayed; re-checked at the last moment; to receivers that fail, hang or redirect."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from contextlib import nullcontext
from email import message_from_string
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from backend.core import work
from backend.core.context import SYSTEM
from backend.core.errors import NotFound, Refusal
from backend.core.ledger import LedgerRow
from backend.core.outbound import Guard
from backend.notify import apprise_child, keeping, queries
from backend.notify.apprise_child import Watch
from backend.notify.apprise_names import SERVICES
from backend.notify.rows import Attempt, Link, Message, Route
from backend.notify.services import Services
from tests.databases import Clock
from tests.receivers import Taken, mail, web
from tests.services.changes.world import World
from tests.services.notify.conftest import NETWORKS, URL, Post

on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""For what asks nothing of a database that another test does not ask of both."""
HOSTILE = "Better\x0bBcc: x@evil.example [look](https://evil.example/a) <!channel> <script>alert(1)</script>"


def verified(secret: str, taken: Taken) -> list[bool]:
    """What a receiver with this secret makes of each signature."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{taken.headers['webhook-id']}.{taken.headers['webhook-timestamp']}.".encode() + taken.body
    good = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return [one == good for one in taken.headers["webhook-signature"].split(" ")]


def test_a_webhook_is_signed_dated_and_tried_again_under_the_same_id_until_it_is_taken(post: Post, clock: Clock) -> None:
    with web(500, 503, 302) as receiver:
        post.hook(receiver.url, "change.waiting")
        post.world.reviewed()
        post.run()
        for minutes in (1, 5, 10):
            post.deliver()
            clock.tick(minutes=minutes)
        post.deliver()
    (message,) = post.messages()
    assert (message.state, message.attempts) == ("sent", 4)
    assert len(receiver.taken) == 4, "the redirect was not followed"
    assert {one.headers["webhook-id"] for one in receiver.taken} == {message.id}
    assert [verified(post.secret, one) for one in receiver.taken] == [[True]] * 4
    stamps = [int(one.headers["webhook-timestamp"]) for one in receiver.taken]
    assert stamps == sorted(set(stamps)), "the time of each try"
    assert receiver.taken[0].path == "/hook?tenant=1"
    assert receiver.taken[0].json["type"] == "change.waiting"
    assert receiver.taken[0].json["data"]["change"] == 1
    assert receiver.taken[0].json["data"]["url"] == f"{URL}/change?change=1"
    assert [one.status for one in post.tries(message.id)] == [500, 503, 302, 200]
    assert "SECRET-OF" not in str(post.tries(message.id))


def test_nine_tries_and_then_it_is_given_up_visibly_and_replayed_by_command(post: Post, clock: Clock) -> None:
    with web(*[500] * 9) as receiver:
        route = post.hook(receiver.url, "change.waiting")
        post.world.reviewed()
        post.fan_out()
        for _ in range(12):
            post.deliver()
            clock.tick(hours=7)
        (message,) = post.messages()
        assert (message.state, message.attempts, len(receiver.taken)) == ("dead", 9, 9)
        with post.database.read() as session:
            (line,) = queries.routes(session, post.world.ana, clock.now)
        assert (line.health, line.dead, line.waiting) == ("failing", 1, 0)
        with pytest.raises(NotFound):
            post.routes.replay(post.world.ben, message.id)
        assert post.routes.replay_dead(post.world.ana, route) == 1
        clock.tick(hours=1)
        post.deliver()
    assert post.messages()[0].state == "sent"
    assert receiver.taken[-1].headers["webhook-id"] == message.id


@on_sqlite
def test_a_dead_route_holds_up_no_other_and_costs_one_call_a_rest(post: Post, clock: Clock) -> None:
    with web() as good:
        dead = post.routes.add(post.world.ana, "dead", "http://127.0.0.1:9/x")
        post.routes.subscribe(post.world.ana, ("freeze.set",), route=dead.id)
        post.hook(good.url, "freeze.set", name="good")
        for _ in range(3):
            post.world.policies.freeze(post.world.olga, "dev", "Stop.")
        post.run()
        post.deliver()
    assert len(good.taken) == 3
    waiting = post.messages(route_key=dead.id)
    assert [one.attempts for one in waiting] == [1, 0, 0]
    assert waiting[0].says == "It could not be reached."
    with post.database.read() as session:
        item = session.get(work.WorkItem, ("route", dead.id))
    assert item is not None
    assert item.due_at > clock.now


@on_sqlite
def test_a_receiver_that_hangs_is_left_and_one_that_is_gone_stops_its_route(
    post: Post, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.notify.webhooks.TIMEOUT_SECONDS", 0.2)
    with web(2.0, 410) as receiver:
        route = post.hook(receiver.url, "change.waiting")
        post.world.reviewed()
        post.run()
        assert post.messages()[0].says == "It did not answer in time."
        clock.tick(minutes=1)
        post.deliver()
        assert post.messages()[0].state == "dead"
        with post.database.read() as session:
            stopped = session.get(Route, route)
            assert stopped is not None
            assert stopped.state == "paused"
            assert session.exec(select(LedgerRow).where(LedgerRow.action == "route.stop")).one().subject_id == route
        post.world.vote(post.world.reviewed(3))
        post.run()
        assert len(receiver.taken) == 2
        post.routes.resume(post.world.ana, route)
        test = post.routes.test(post.world.ana, route)
        post.deliver()
    assert post.messages(id=test)[0].state == "sent"


@on_sqlite
def test_a_worker_that_dies_between_sending_and_writing_down_sends_again_under_the_same_id(
    post: Post, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCut(BaseException):
        pass

    def cut(_name: str) -> None:
        raise PowerCut

    with web() as receiver:
        post.hook(receiver.url, "change.waiting")
        post.world.reviewed()
        post.fan_out()
        with monkeypatch.context() as patch:
            patch.setattr("backend.notify.courier.failpoints.reach", cut)
            with pytest.raises(PowerCut):
                post.deliver()
        assert [one.state for one in post.messages()] == ["waiting"]
        clock.tick(minutes=3)  # its lease ends
        post.deliver()
        post.deliver()
    assert [one.headers["webhook-id"] for one in receiver.taken] == [post.messages()[0].id] * 2
    assert post.messages()[0].state == "sent"


def test_a_worker_that_lost_its_lease_writes_nothing_down(post: Post, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    with web() as receiver:
        post.hook(receiver.url, "change.waiting")
        post.world.reviewed()
        post.fan_out()
        monkeypatch.setattr("backend.notify.courier.failpoints.reach", lambda _name: clock.tick(hours=1))
        with pytest.raises(work.LeaseLost):
            post.deliver()
    assert (post.messages()[0].state, post.messages()[0].attempts) == ("waiting", 0)


@on_sqlite
def test_for_a_day_both_secrets_sign_after_a_change_and_then_only_the_new_one(post: Post, clock: Clock) -> None:
    with web() as receiver:
        route = post.hook(receiver.url, "freeze.set")
        first = post.secret
        second = post.routes.rotate(post.world.ana, route).secret
        assert second != first
        with pytest.raises(Refusal, match="less than a day"):
            post.routes.rotate(post.world.ana, route)
        for hours in (1, 24):
            post.world.policies.freeze(post.world.olga, "dev", "Stop.")
            post.run()
            clock.tick(hours=hours)
    assert [verified(first, one) for one in receiver.taken] == [[False, True], [False, True]]
    assert [verified(second, one) for one in receiver.taken] == [[True, False], [True, False]]
    with web() as receiver:
        route = post.hook(receiver.url, "freeze.set", name="other")
        post.routes.rotate(post.world.ana, route)
        clock.tick(hours=25)
        post.world.policies.freeze(post.world.olga, "dev", "Stop.")
        post.run()
    assert [verified(post.secret, one) for one in receiver.taken] == [[False]]


@on_sqlite
def test_whoever_was_deactivated_or_sees_nothing_any_more_gets_nothing(post: Post) -> None:
    world = post.world
    with web() as receiver:
        for actor, name in ((world.ana, "a"), (world.ben, "b"), (world.audra, "c")):
            post.hook(receiver.url, "change.waiting", actor=actor, name=name)
        world.reviewed()
        post.fan_out()
        world.identities.deactivate(world.otto, "ben")
        world.identities.take_back(world.otto, "audra", "auditor")
        post.deliver()
    told = {one.identity_id: (one.state, one.says) for one in post.messages()}
    assert told[world.ana.id][0] == "sent"
    assert told[world.ben.id] == ("dropped", "Whoever it was for is not active any more.")
    assert told[world.audra.id] == ("dropped", "Whoever it was for may not see this any more.")
    assert len(receiver.taken) == 1


@on_sqlite
def test_what_waits_no_more_is_not_asked_for(post: Post) -> None:
    with web() as receiver:
        post.hook(receiver.url, "change.waiting")
        number = post.world.reviewed()
        post.fan_out()
        post.world.changes.withdraw(post.world.ana, number, "No.")
        post.deliver()
    assert (post.messages()[0].state, receiver.taken) == ("dropped", [])


@on_sqlite
def test_a_mail_to_a_reviewer_holds_a_link_of_his_own_and_no_header_of_somebody_elses(world: World, tmp_path: Path) -> None:
    with mail() as server:
        post = Post(world, tmp_path, mail_url=server.url)
        post.addressed("ben", "carla")
        server.refuses.add("carla@corp.example")
        number = world.reviewed(title=HOSTILE)
        post.run()
    assert [recipients for recipients, _ in server.taken] == [["ben@corp.example"]]
    letter = message_from_string(server.taken[0][1])
    subject = str(make_header(decode_header(letter["Subject"])))
    assert subject == f"Countersign: A change waits for a vote (Change {number}: flight-delay-production in production)"
    assert letter["Bcc"] is None
    assert letter.get_content_type() == "text/plain"
    text = letter.get_payload(decode=True).decode()
    assert set(re.findall(r"https?://\S+", text)) == {
        *re.findall(rf"{URL}/open\?link=[A-Za-z0-9_-]{{43}}", text), f"{URL}/change?change={number}", f"{URL}/notifications",
    }  # fmt: skip
    assert "<" not in text
    token = text.partition("link=")[2].split()[0]
    with post.database.read() as session:
        assert token not in str([vars(one) for one in session.exec(select(Link))])
    states = {one.identity_id: (one.state, one.says) for one in post.messages(event="change.waiting")}
    assert states[world.ben.id][0] == "sent"
    assert states[world.carla.id] == ("dead", "The mail server refuses this message or its recipient (550).")
    _links(post, number, token)


def _links(post: Post, number: int, token: str) -> None:
    """The link opens once, for Ben alone; a GET of whoever else burns nothing."""
    world, clock = post.world, post.database._clock
    for stranger in (world.carla, world.ana):
        with pytest.raises(Refusal, match="not one of yours"):
            post.links.open(stranger, token)
    for wrong in ("", "x" * 43, token[:-1], token + "x" * 200):
        with pytest.raises(Refusal):
            post.links.open(world.ben, wrong)
    assert post.links.open(world.ben, token).number == number
    again = post.links.open(world.ben, token)
    assert (again.number, again.code) == (number, "used")
    with post.database.unit(SYSTEM) as tx:
        for row in tx.session.exec(select(Link)):
            row.used_at = None
    clock.tick(hours=24)
    assert post.links.open(world.ben, token).code == "expired"


@on_sqlite
def test_a_private_address_that_nobody_allowed_is_refused_when_it_is_given_and_when_it_is_called(
    post: Post, tmp_path: Path
) -> None:
    guarded = Post(post.world, tmp_path, networks=())
    for address in (
        "http://127.0.0.1:9/x",
        "http://169.254.169.254/latest",
        "http://[::ffff:127.0.0.1]/x",
        "http://2130706433/x",
    ):
        with pytest.raises(Refusal):
            guarded.routes.add(post.world.ana, "x", address)
    with web() as receiver:
        post.hook(receiver.url, "change.waiting")
        post.world.reviewed()
        post.fan_out()
        guarded.deliver()
        assert receiver.taken == []
        assert "not a public address" in post.messages()[0].says
        with Services(Guard()) as services:
            answer = services.send(f"ntfy://127.0.0.1:{receiver.port}/t", "t", "b")
        assert not answer.ok
        assert "not public" in answer.says
    assert receiver.taken == []


def test_a_service_of_apprise_sends_follows_no_redirect_and_reads_no_file() -> None:
    with web(200, 302, 500) as receiver, Services(Guard(NETWORKS)) as services:
        address = f"ntfy://127.0.0.1:{receiver.port}/topic"
        assert services.send(address, "Title", "Body").ok
        assert b"Body" in receiver.taken[0].body
        redirected = services.send(address, "Title", "Body")
        assert (redirected.ok, redirected.status) == (False, 302)
        assert len(receiver.taken) == 2
        assert services.send(address, "Title", "Body").status == 500
        with pytest.raises(Refusal):
            services.check("slack://no")
        assert not services.send("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#c?template=/etc/passwd", "t", "b").ok


ADDRESSES = (
    "mailto://127.0.0.1:25?from=a@corp.example&to=b@corp.example",
    "mailtos://user:password@127.0.0.1?from=a@corp.example&to=b@corp.example",
    "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#room", f"workflows://127.0.0.1:443/{'a' * 32}/{'b' * 43}",
    f"discord://{'1' * 18}/{'a' * 64}", f"mmost://127.0.0.1/{'a' * 26}", f"mmosts://127.0.0.1/{'a' * 26}",
    "rocket://user:password@127.0.0.1/#room", "rockets://user:password@127.0.0.1/#room", "gchat://space/key/token",
    f"wxteams://{'a' * 80}", f"tgram://123456789:{'a' * 35}/12315544", "ntfy://127.0.0.1/topic", "ntfys://127.0.0.1/topic",
    "gotify://127.0.0.1/token", "gotifys://127.0.0.1/token", f"pagerduty://{'a' * 32}@{'b' * 20}", f"opsgenie://{'a' * 36}",
    f"pover://{'a' * 30}@{'b' * 30}", f"splunk://route@{'a' * 36}", f"ryver://corp/{'A' * 15}",
)  # fmt: skip


def test_every_service_that_may_be_used_is_there_and_reads_its_address_under_the_hook() -> None:
    assert {one.partition("://")[0] for one in ADDRESSES} == SERVICES.keys()
    with Services(Guard()) as services:
        for address in ADDRESSES:
            services.check(address)
    (slack,) = (one for one in ADDRESSES if one.startswith("slack"))
    assert apprise_child._service({"address": slack}).channels == ["#room"], "a channel is no part that browsers keep"


def test_a_service_is_called_at_the_allowed_ports_alone_and_mail_goes_to_the_port_of_its_server() -> None:
    """COUNTERSIGN_ALLOWED_PORTS are those of HTTP; the process in which Apprise runs is told them and keeps to them."""
    with web() as receiver, mail() as server:
        with Services(Guard(NETWORKS, ports=str(receiver.port))) as services:
            assert services.send(f"ntfy://127.0.0.1:{receiver.port}/topic", "t", "b").ok
        with Services(Guard(NETWORKS, ports="443")) as services:
            refused = services.send(f"ntfy://127.0.0.1:{receiver.port}/topic", "t", "b")
            assert not refused.ok
            assert "at a port" in refused.says
            assert services.send(server.url, "t", "b", to="ana@corp.example").ok
        assert (len(receiver.taken), [one for one, _ in server.taken]) == (1, [["ana@corp.example"]])


@pytest.mark.parametrize(
    ("scheme", "address", "is_let"),
    [
        ("slack", ("127.0.0.1", 443), True), ("slack", ("127.0.0.1", 8443), False), ("slack", ("10.0.0.1", 443), False),
        ("mailto", ("127.0.0.1", 25), True), ("mailtos", ("127.0.0.1", 465), True), ("mailto", ("10.0.0.1", 25), False),
        ("slack", ("::ffff:10.0.0.1", 443, 0, 0), False), ("slack", "/run/docker.sock", False), ("slack", ("x", 443), False),
        ("mailto", b"/run/docker.sock", False), ("slack", ("127.0.0.1",), False), ("slack", ("127.0.0.1", "https"), False),
    ],
)  # fmt: skip
def test_the_hook_judges_the_address_and_but_for_mail_the_port_of_each_connection(
    scheme: str, address: Any, is_let: bool
) -> None:
    watch = Watch(Guard(NETWORKS, ports="443"))
    watch.begin(scheme)
    with nullcontext() if is_let else pytest.raises(PermissionError):
        watch("socket.connect", (None, address))
    assert watch.refused is not is_let


def test_a_service_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with web(60.0) as receiver, Services(Guard(NETWORKS), timeout=4.0) as services:
        answer = services.send(f"ntfy://127.0.0.1:{receiver.port}/t", "t", "b")
    assert not answer.ok


@on_sqlite
def test_no_secret_is_in_the_database_the_ledger_or_what_is_shown(post: Post, clock: Clock) -> None:
    """Planted: a path with a token in a webhook's address, and the tokens of a Slack address."""
    made = post.routes.add(post.world.ana, "one", "http://127.0.0.1:9/PLANTED-PATH?k=PLANTED-KEY")
    post.routes.add(post.world.ana, "two", "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#c")
    assert made.secret is not None
    with post.database.read() as session:
        told = queries.routes(session, post.world.ana, clock.now)
        rows = [*session.exec(select(Route)), *session.exec(select(LedgerRow)), *session.exec(select(Message))]
        everything = json.dumps([str(vars(one)) for one in [*rows, *session.exec(select(Attempt))]]) + str(told)
    for planted in ("PLANTED", made.secret.removeprefix("whsec_"), "T1JJ3T3L2", "A1BRTD4JD", "TIiajkdn"):
        assert planted not in everything, planted
    assert {one.name: one.shown for one in told} == {"one": "http://127.0.0.1:9", "two": "slack://"}
    post.routes.remove(post.world.ana, "one")
    with post.database.read() as session:
        row = session.get(Route, made.id)
        assert row is not None
        assert (row.sealed_address, row.sealed_secret) == ("", None)


@on_sqlite
def test_the_log_is_kept_for_ninety_days_and_what_waits_for_as_long_as_it_waits(post: Post, clock: Clock) -> None:
    with web() as receiver:
        post.hook(receiver.url, "freeze.set")
        post.world.policies.freeze(post.world.olga, "dev", "Stop.")
        post.run()
        post.world.policies.freeze(post.world.olga, "dev", "Stop.")
        post.fan_out()
    clock.tick(days=90)
    keeping.prune(post.database)
    assert [one.state for one in post.messages()] == ["sent", "waiting"]
    clock.tick(seconds=1)
    keeping.prune(post.database)
    assert [one.state for one in post.messages()] == ["waiting"]


@on_sqlite
def test_everything_that_is_sealed_of_a_route_can_be_sealed_anew(post: Post) -> None:
    route = post.hook("http://127.0.0.1:9/x", "*")
    post.routes.rotate(post.world.ana, route)
    with post.database.read() as session:
        row = session.get(Route, route)
        assert row is not None
        sealed = {name for name in Route.model_fields if name.startswith("sealed_")}
        assert len(keeping.sealed_texts(row)) == len(sealed) == 3
        keeping.renew_sealed(row, lambda _text: "again")
        assert {getattr(row, name) for name in sealed} == {"again"}


@on_sqlite
def test_others_routes_are_not_there(post: Post) -> None:
    world = post.world
    route = post.hook("http://127.0.0.1:9/x", "*")
    for act in (post.routes.pause, post.routes.resume, post.routes.remove, post.routes.rotate, post.routes.test):
        for ref in (route, "hook"):
            with pytest.raises(NotFound):
                act(world.ben, ref)
    with pytest.raises(Refusal, match="role admin"):
        post.routes.add(world.ben, "all", "http://127.0.0.1:9/x", everybody=True)
    everybodys = post.hook("http://127.0.0.1:9/x", "freeze.set", actor=world.otto, name="all", everybody=True)
    for stranger in (world.ben, world.audra, world.ana):
        with pytest.raises(NotFound):
            post.routes.pause(stranger, everybodys)
        with pytest.raises(NotFound):
            post.routes.subscribe(stranger, ("*",), route=everybodys)
    post.routes.pause(world.nora, everybodys)
    (subscription,) = _subscriptions(post)
    for stranger in (world.ben, world.otto):
        with pytest.raises(NotFound):
            post.routes.unsubscribe(stranger, subscription)
    post.routes.unsubscribe(world.ana, subscription)
    assert _subscriptions(post) == []


def _subscriptions(post: Post) -> list[str]:
    with post.database.read() as session:
        return [one.id for one in queries.subscriptions(session, post.world.ana, post.database.now(session))]
