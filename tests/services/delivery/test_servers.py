"""Servers, routers and endpoints as commands: what may be entered, what is kept of it, and what never comes out again."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import CountersignError, ExternalFailure, NotFound
from backend.core.outbound import Guard
from backend.delivery import queries
from backend.delivery.addresses import check_upstream, check_url, check_urls
from backend.delivery.rows import Authorization, Endpoint, Look, Observation, Proof, PushRecord, Server
from backend.delivery.targets.memory_server import Fault
from tests.databases import Clock
from tests.services.delivery.surroundings import ADMIN, BY_GROUP, SECRET, Surroundings, refused

UPSTREAM = "127.0.0.1:8000"


@pytest.fixture
def around(database: Database, tmp_path: Path) -> Surroundings:
    return Surroundings(database, tmp_path)


def _register(around: Surroundings, **changes: Any) -> Server:
    wanted = {"name": "srv", "kind": "memory", "settings": {}, "upstream": UPSTREAM}
    return around.servers.register(around.as_("olga"), **{**wanted, **changes})


# -- registering


def test_a_server_is_registered_tested_and_its_secret_stays_sealed(around: Surroundings) -> None:
    row = around.server(upstream=UPSTREAM, credential=SECRET)
    assert SECRET not in repr(row)
    assert around.opener.open(row.id, row.sealed_credential) == SECRET
    facts = around.servers.test(around.as_("olga"), "srv")
    assert (facts.product, facts.live) == ("memory", True)
    assert "bytes" in facts.abilities.proofs
    told = around.events("server.register")[0].after
    assert (told["name"], told["upstream"], told["has_credential"]) == ("srv", UPSTREAM, True)
    assert "settings" not in told
    around.check_ledger()


def test_a_secret_moved_to_another_row_does_not_open(around: Surroundings) -> None:
    row, other = around.server(credential=SECRET), _register(around, name="other")
    refused("credential-unreadable", around.opener.open, other.id, row.sealed_credential)


@pytest.mark.parametrize(
    "upstream",
    [
        "", "127.0.0.1", "127.0.0.1:", ":8000", "127.0.0.1:0", "127.0.0.1:08000", "127.0.0.1:65536", "http://127.0.0.1:8000",
        "127.0.0.1:8000/v2", "user@127.0.0.1:8000", "127.0.0.1:8000\n", "127.0.0.1 :8000", "::1:8000", "[::zz]:8000",
        "[127.0.0.1]:80", "a..b{x}:80", "127.0.0.1:٨٠٠٠",
    ],
)  # fmt: skip
def test_an_upstream_is_host_and_port_and_nothing_else(upstream: str) -> None:
    refused("bad-upstream", check_upstream, Guard(["0.0.0.0/0", "::/0"]), upstream)


@pytest.mark.parametrize("upstream", ["127.0.0.1:8000", "[::1]:65535", "localhost:1"])
def test_an_upstream_by_number_or_name_is_taken(upstream: str) -> None:
    check_upstream(Guard(["127.0.0.0/8", "::1/128"]), upstream)


def test_an_address_that_nobody_allowed_is_refused_with_what_to_do(around: Surroundings) -> None:
    for upstream in ("169.254.169.254:80", "10.1.2.3:8000", "[::1]:8000"):
        error = refused("address-not-allowed", _register, around, upstream=upstream)
        assert "COUNTERSIGN_ALLOWED_NETWORKS" in error.remedy
    for changes in ({"admin_url": "http://169.254.169.254/"}, {"public_url": "http://10.0.0.7:80"}):
        refused("address-not-allowed", around.behind_router, **changes)
    refused("not-resolved", _register, around, upstream="no-such-host.invalid:80")
    assert around.events("server") == around.events("router") == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1",
        "127.0.0.1:9901",
        "http://me:pw@127.0.0.1",
        "http://127.0.0.1/?key=s3cret-t0ken",
        "http://127.0.0.1/#x",
    ],
)
def test_a_url_that_cannot_be_called_or_carries_a_secret_is_refused(url: str) -> None:
    guard = Guard(["127.0.0.0/8"])
    for settings in ({"admin_url": url}, {"metrics": {"URL": url}}, {"replicas": [{"url": url}]}):
        error = refused("bad-url", check_urls, guard, settings)
        assert SECRET not in str(error)
    refused("bad-url", check_url, guard, url, "the public URL")


def test_only_what_is_a_url_is_taken_for_one() -> None:
    guard = Guard()
    check_urls(guard, {"model_repository": "s3://bucket/models", "path": "/srv/models", "timeout": 3, "url_count": "2"})
    refused("address-not-allowed", check_urls, guard, {"anything": ["HTTP://127.0.0.1:1"]})


def test_only_what_is_in_memory_has_an_address_in_memory(around: Surroundings) -> None:
    refused("bad-upstream", _register, around, upstream="memory:a\nb")
    refused("bad-url", around.behind_router, public_url="memory:edge")
    row = around.behind_router(kind="memory", settings={"name": "edge"}, public_url="memory:edge")
    assert row.public_url == "memory:edge"


def test_what_is_entered_wrongly_is_refused_in_its_own_words(around: Surroundings) -> None:
    for changes, code in (
        ({"kind": "tritonn"}, "unknown-target"),
        ({"settings": {"surprise": 1}}, "bad-setting"),
        ({"settings": {"name": 7}}, "bad-setting"),
        ({"settings": {"name": "x" * 70_000}}, "too-large"),
        ({"name": "Not a slug"}, "bad-name"),
        ({"name": "x" * 64}, "bad-name"),
        ({"credential": "two\nlines"}, "bad-credential"),
        ({"credential": "x" * 20_000}, "bad-credential"),
    ):
        refused(code, _register, around, **changes)
    assert around.events("server") == []


def test_a_name_is_taken_once_however_many_ask_for_it(real_time_database: Database, tmp_path: Path) -> None:
    around, codes = Surroundings(real_time_database, tmp_path), []

    def ask() -> None:
        try:
            _register(around)
            codes.append("registered")
        except CountersignError as error:
            codes.append(getattr(error, "code", ""))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == ["name-taken"] * 3 + ["registered"]


def test_only_operators_and_admins_touch_servers(around: Surroundings) -> None:
    around.server()
    servers = around.servers
    # an address that would be refused too: nothing is resolved for somebody who may not register
    wanted = {"name": "mine", "kind": "memory", "settings": {}, "upstream": "169.254.169.254:80"}
    for actor in map(around.as_, ("ana", "ben", "audra")):
        refused("not-allowed", servers.register, actor, **wanted)
        refused("not-allowed", servers.edit, actor, "srv", revision=1, upstream="169.254.169.254:80")
        refused("not-allowed", servers.test, actor, "srv")
        refused("not-allowed", servers.unmanaged, actor, "srv")
        refused("not-allowed", servers.remove, actor, "srv")


# -- editing, testing, removing


def test_an_edit_keeps_the_credential_counts_up_and_wakes(around: Surroundings) -> None:
    row = around.server(upstream=UPSTREAM, credential=SECRET)
    edited = around.servers.edit(around.as_("olga"), "srv", revision=1, upstream="127.0.0.1:9000")
    assert (edited.upstream, edited.revision, edited.settings) == ("127.0.0.1:9000", 2, row.settings)
    assert edited.sealed_credential == row.sealed_credential
    assert around.wakes(row.id) == 1
    event = around.events("server.edit")[0]
    assert (event.before["upstream"], event.after["upstream"]) == (UPSTREAM, "127.0.0.1:9000")


def test_a_stale_edit_is_refused(around: Surroundings) -> None:
    around.server()
    around.servers.edit(around.as_("olga"), "srv", revision=1, upstream="127.0.0.1:9000")
    refused("stale-write", around.servers.edit, around.as_("otto"), "srv", revision=1, upstream="127.0.0.1:9001")


def test_a_new_credential_replaces_the_old_and_can_be_forgotten(around: Surroundings) -> None:
    row = around.server(credential="old")
    edit, olga = around.servers.edit, around.as_("olga")
    assert around.opener.open(row.id, edit(olga, "srv", revision=1, credential=SECRET).sealed_credential) == SECRET
    assert around.events("server.edit")[0].after["credential_renewed"] is True
    assert edit(olga, "srv", revision=2, credential="").sealed_credential is not None
    assert edit(olga, "srv", revision=3, forget_credential=True).sealed_credential is None
    around.check_ledger()


def test_a_credential_is_never_sent_to_an_address_it_was_not_entered_for(around: Surroundings) -> None:
    row = around.behind_router(credential=SECRET)
    edit, olga, moved = around.servers.edit_router, around.as_("olga"), {**row.settings, "admin_url": "http://127.0.0.2:9901"}
    refused("credential-needed", edit, olga, "edge", revision=1, settings=moved)
    assert edit(olga, "edge", revision=1, public_url="http://127.0.0.1:2").sealed_credential is not None
    assert edit(olga, "edge", revision=2, settings=moved, credential=SECRET).settings == moved
    around.check_ledger()


def test_an_edit_is_checked_like_an_entry(around: Surroundings) -> None:
    around.server()
    edit, olga = around.servers.edit, around.as_("olga")
    refused("address-not-allowed", edit, olga, "srv", revision=1, upstream="169.254.169.254:80")
    refused("bad-setting", edit, olga, "srv", revision=1, settings={"surprise": 1})
    assert around.events("server.edit") == []


def test_editing_a_router_wakes_every_server_behind_it(around: Surroundings) -> None:
    server, _ = around.server(), around.behind_router()
    around.endpoint(router="edge")
    before = around.wakes(server.id)
    around.servers.edit_router(around.as_("olga"), "edge", revision=1, public_url="http://127.0.0.1:10001")
    assert around.wakes(server.id) == before + 1


def _managed(around: Surroundings, environment: str = "production") -> None:
    around.endpoint(router="edge", environment=environment)
    around.change("delay", mode="managed")


def test_what_leads_approved_traffic_elsewhere_waits_for_a_second_person(around: Surroundings) -> None:
    row, _ = around.server(upstream=UPSTREAM, credential=SECRET), around.behind_router()
    _managed(around)
    servers, olga, otto, woken = around.servers, around.as_("olga"), around.as_("otto"), around.wakes(row.id)
    asked = servers.edit(olga, "srv", revision=1, upstream="127.0.0.1:9000")
    assert (asked.upstream, asked.revision, around.wakes(row.id)) == (UPSTREAM, 2, woken)
    with around.database.read() as session:
        (line,) = queries.servers(session)
    assert (line.move.place, line.move.by, line.move.endpoints) == ("127.0.0.1:9000", olga.name, ("delay",))
    assert SECRET not in repr(asked.move)
    refused("own-request", servers.confirm_move, olga, "srv", revision=2)
    refused("not-allowed", servers.confirm_move, around.as_("ben"), "srv", revision=2)
    bot = around.identities.create(otto, "bot", kind="service", owner="ana")
    around.identities.grant(otto, "bot", "operator")
    refused("not-a-person", servers.confirm_move, bot, "srv", revision=2)
    refused("stale-write", servers.confirm_move, otto, "srv", revision=1)
    moved = servers.confirm_move(otto, "srv", revision=2)
    assert (moved.upstream, moved.move, around.wakes(row.id)) == ("127.0.0.1:9000", None, woken + 1)
    assert around.opener.open(row.id, moved.sealed_credential) == SECRET
    (event,) = around.events("server.edit")
    assert (event.actor_id, event.after["asked_by"], event.after["upstream"]) == (otto.id, olga.id, "127.0.0.1:9000")
    refused("nothing-to-confirm", servers.confirm_move, otto, "srv", revision=3)
    around.check_ledger()


def test_a_move_of_a_router_can_be_given_up_or_asked_anew(around: Surroundings) -> None:
    around.server()
    around.behind_router()
    _managed(around)
    servers, olga, otto = around.servers, around.as_("olga"), around.as_("otto")
    servers.edit_router(olga, "edge", revision=1, public_url="http://127.0.0.1:10001")
    kept = servers.drop_router_move(olga, "edge", revision=2)
    assert (kept.move, kept.public_url == "http://127.0.0.1:10001") == (None, False)
    servers.edit_router(olga, "edge", revision=3, public_url="http://127.0.0.1:10002")
    servers.edit_router(otto, "edge", revision=4, public_url="http://127.0.0.1:10003")
    refused("own-request", servers.confirm_router_move, otto, "edge", revision=5)
    assert servers.confirm_router_move(olga, "edge", revision=5).public_url == "http://127.0.0.1:10003"
    assert around.events("router.ask_move")[0].after["endpoints"] == ["delay"]
    around.check_ledger()


def test_a_move_is_confirmed_in_time_and_for_whoever_may_still_ask_for_it(around: Surroundings, clock: Clock) -> None:
    around.server(upstream=UPSTREAM)
    around.behind_router()
    _managed(around)
    servers, olga, otto = around.servers, around.as_("olga"), around.as_("otto")
    servers.edit(olga, "srv", revision=1, upstream="127.0.0.1:9000")
    servers.edit_router(olga, "edge", revision=1, public_url="http://127.0.0.1:10001")
    clock.tick(days=7)
    refused("expired", servers.confirm_move, otto, "srv", revision=2)
    refused("expired", servers.confirm_router_move, otto, "edge", revision=2)
    servers.edit(olga, "srv", revision=2, upstream="127.0.0.1:9000")
    for leaves in (
        lambda: around.identities.take_back(otto, "olga", "operator"),
        lambda: around.identities.deactivate(otto, "olga"),
    ):
        leaves()
        refused("stale-request", servers.confirm_move, otto, "srv", revision=3)
    assert servers.drop_move(otto, "srv", revision=3).upstream == UPSTREAM


def test_where_groups_alone_approve_a_move_waits_for_a_second_person_too(around: Surroundings) -> None:
    around.policies.set_policy(around.as_("otto"), "staging", BY_GROUP)
    around.server(upstream=UPSTREAM)
    around.behind_router()
    _managed(around, "staging")
    asked = around.servers.edit(around.as_("olga"), "srv", revision=1, upstream="127.0.0.1:9000")
    assert (asked.upstream, asked.move is not None) == (UPSTREAM, True)


def test_where_no_approval_is_asked_for_one_person_moves_a_server(around: Surroundings) -> None:
    around.server(upstream=UPSTREAM)
    around.behind_router()
    _managed(around, "staging")
    moved = around.servers.edit(around.as_("olga"), "srv", revision=1, upstream="127.0.0.1:9000")
    assert (moved.upstream, moved.move) == ("127.0.0.1:9000", None)


def test_a_new_credential_for_the_same_place_needs_no_second_person(around: Surroundings) -> None:
    row = around.server(upstream=UPSTREAM, credential="old")
    around.behind_router()
    _managed(around)
    edited = around.servers.edit(around.as_("olga"), "srv", revision=1, upstream=UPSTREAM, credential=SECRET)
    assert (edited.move, around.opener.open(row.id, edited.sealed_credential)) == (None, SECRET)


def test_a_test_tells_what_is_there_and_says_when_nobody_answers(around: Surroundings) -> None:
    around.server()
    around.behind_router()
    facts = around.servers.test_router(around.as_("olga"), "edge")
    assert (facts.product, facts.live, facts.abilities.split) == ("memory", True, True)
    around.memory.script(Fault("inspect", "reset"))
    around.router.script(Fault("inspect", "reset"))
    with pytest.raises(ExternalFailure):
        around.servers.test(around.as_("olga"), "srv")
    with pytest.raises(ExternalFailure):
        around.servers.test_router(around.as_("olga"), "edge")


def test_a_credential_in_the_clear_is_warned_of(around: Surroundings) -> None:
    outside = "http://192.0.2.1:9901"
    around.guard.allowed = (*around.guard.allowed, *Guard(["192.0.2.0/24"]).allowed)
    for port, (name, admin_url, credential, warned) in enumerate(
        (
            ("open", outside, SECRET, True),
            ("without", "http://192.0.2.2:9901", None, False),
            ("near", ADMIN, SECRET, False),
        ),
        start=10_000,
    ):
        around.behind_router(name, admin_url=admin_url, credential=credential, public_url=f"http://127.0.0.1:{port}")
        warnings = around.servers.test_router(around.as_("olga"), name).warnings
        assert any("192.0.2.1" in one for one in warnings) == warned == bool(warnings)


def test_a_server_is_removed_only_when_nothing_stands_on_it(around: Surroundings) -> None:
    around.server()
    around.behind_router()
    around.endpoint(router="edge")
    refused("in-use", around.servers.remove, around.as_("olga"), "srv")
    refused("in-use", around.servers.remove_router, around.as_("olga"), "edge")
    around.endpoints.remove(around.as_("olga"), "delay", "a mistake")
    around.servers.remove(around.as_("olga"), "srv")
    around.servers.remove_router(around.as_("olga"), "edge")
    with pytest.raises(NotFound):
        around.servers.test(around.as_("olga"), "srv")
    assert [one.action for one in around.events()[:2]] == ["router.remove", "server.remove"]


def test_what_is_not_ours_is_listed_by_asking(around: Surroundings) -> None:
    around.server()
    around.endpoint()
    around.load("delay", v1=around.package())
    around.load("delay.0123abcd", v1=around.package())
    around.load("theirs", v2=around.package(), v3=around.package(2.0))
    found = around.servers.unmanaged(around.as_("olga"), "srv")
    assert [(one.served_name, one.versions) for one in found] == [("theirs", ((2, "ready"), (3, "ready")))]


# -- endpoints


def test_an_endpoint_begins_observed_and_its_server_is_woken(around: Surroundings) -> None:
    server = around.server()
    row = around.endpoint(environment="dev", served_name=None)
    assert (row.mode, row.state, row.generation, row.served_name, row.repair) == ("observe", "observed", 0, "delay", "repair")
    assert around.wakes(server.id) == 1
    assert around.events("endpoint.create")[0].after["served_name"] == "delay"
    around.endpoints.look_now(around.as_("ben"), "delay")
    assert around.wakes(server.id) == 2
    refused("not-allowed", around.endpoints.look_now, around.as_("audra"), "delay")


def test_whether_it_repairs_begins_as_the_policy_says(around: Surroundings) -> None:
    around.server()
    strict = {"approvals_needed": 1, "repair": "report"}
    asked = around.policies.set_policy(around.as_("otto"), "production", strict)
    around.policies.confirm_policy(around.as_("nora"), str(asked.request_id))
    assert around.endpoint().repair == "report"


def test_an_endpoint_that_could_not_be_reached_or_told_apart_is_refused(around: Surroundings) -> None:
    around.server()
    for field, value, code in (
        *(("name", one, "bad-name") for one in ("Delay", "delay/../x", "")),
        *((one, "nowhere", "not-found") for one in ("environment", "server", "router")),
        *(("served_name", one, "bad-served-name") for one in ("", "a/b", "x" * 120)),
        *(("model", one, "bad-model") for one in ("", "a/b", "a?b", " a", "a\nb", ".", "..")),
    ):
        refused(code, around.endpoint, **{field: value})
    assert around.events("endpoint") == []


def test_two_endpoints_of_one_server_never_share_a_served_name(around: Surroundings) -> None:
    around.server()
    around.server("second")
    around.endpoint()
    around.endpoint("based", served_name="base.0123abcd")
    for served_name, other in (("delay", "delay"), ("delay.0123abcd", "delay"), ("base", "based")):
        assert other in refused("served-name-taken", around.endpoint, "another", served_name=served_name).message
    assert around.endpoint("another", server="second").served_name == "delay"
    assert around.endpoint("apart", served_name="delay.not-hex1").served_name == "delay.not-hex1"
    refused("name-taken", around.endpoint, "another", served_name="free")


def test_only_operators_and_admins_create_and_remove_in_their_scope(around: Surroundings) -> None:
    around.server()
    create = {"name": "mine", "environment": "dev", "model": "m", "server": "srv"}
    refused("not-allowed", around.endpoints.create, around.as_("ana"), **create)
    around.identities.grant(around.as_("otto"), "ana", "operator", "environment:dev")
    assert around.endpoints.create(around.as_("ana"), **create).created_by == around.as_("ana").id
    refused(
        "not-allowed", around.endpoints.create, around.as_("ana"), **{**create, "name": "prod", "environment": "production"}
    )
    around.endpoint()
    refused("not-allowed", around.endpoints.remove, around.as_("ana"), "delay", "why")


def test_an_observed_endpoint_is_forgotten_with_what_was_seen_of_it(around: Surroundings) -> None:
    around.server()
    row, now = around.endpoint(), around.database.now()
    with around.database.unit(SYSTEM) as tx:
        seen = {"endpoint_id": row.id, "generation": 0}
        tx.add(Look(endpoint_id=row.id, seen_at=now))
        tx.add(Proof(**seen, kind="answers", verdict="ok", checked_at=now, details={}))
        tx.add(PushRecord(**seen, id="psh_1", token=1, started_at=now, steps=[]))
        tx.record("endpoint.see", tx.add(Observation(**seen, id="obs_1", seen_at=now, state="observed", digest="", seen={})))
    refused("no-reason", around.endpoints.remove, around.as_("olga"), "delay", " ")
    around.endpoints.remove(around.as_("olga"), "delay", "a mistake")
    with pytest.raises(NotFound):
        around.row()
    assert around.events("endpoint.remove")[0].after == {"reason": "a mistake"}
    around.endpoint()


def test_a_managed_endpoint_and_one_on_record_stay(around: Surroundings) -> None:
    around.server()
    row = around.endpoint()
    around.change("delay", mode="managed")
    refused("managed", around.endpoints.remove, around.as_("olga"), "delay", "why")
    around.change("delay", mode="observe")
    with around.database.unit(SYSTEM) as tx:
        held = Authorization(
            id="aut_1", endpoint_id=row.id, change_id="chg_1", plan={}, plan_digest="", base_digest="", votes=[], policy="",
            start_by=tx.now, created_at=tx.now,
        )  # fmt: skip
        tx.record("authorization.test", tx.add(held))
    refused("in-use", around.endpoints.remove, around.as_("olga"), "delay", "why")
    with around.database.read() as session:
        assert session.exec(select(Endpoint)).one().name == "delay"


def test_a_server_in_memory_is_refused_where_it_would_serve_nobody(around: Surroundings) -> None:
    around.servers._in_memory = False
    refused("not-here", _register, around)
    refused("not-here", around.behind_router, kind="memory", settings={})
    assert around.events("server") == around.events("router") == []
