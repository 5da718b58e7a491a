"""Entity tags and keys: nothing is written over what others wrote, and what is sent twice is done once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from httpx import Response
from sqlmodel import select
from starlette.requests import Request
from starlette.types import Message

from backend.access.rows import Team, Token
from backend.api import once
from backend.api.limits import Limits
from backend.api.tags import AGES, parse, tag_of
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.ledger import LedgerRow
from backend.core.request_keys import RequestKey
from backend.core.unit import Unit
from tests.api_world import Api
from tests.found import drifted
from tests.services.changes.world import ENDPOINT, MODEL, World
from tests.services.test_api_operations import PROPOSAL, WHY

SQLITE = pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)
CHANGE = "/changes/1"


@pytest.fixture
def asked(real_time_database: Database, tmp_path: Path) -> Iterator[Api]:
    opened = Api(World(real_time_database), tmp_path / "data")
    yield opened
    opened.close()


# -- tags


def test_what_is_no_list_of_tags_is_refused() -> None:
    assert parse(' W/"a" , "b"', "If-Match").tags == {'W/"a"', '"b"'}
    assert parse(" * ", "If-Match").any
    for wrong in ("", "a", '"a', '"a" b', '*, "a"', '"ä"', "W/*"):
        with pytest.raises(Refusal) as refused:
            parse(wrong, "If-Match")
        assert refused.value.code == "bad-tag"


def test_a_weak_tag_never_matches_strongly() -> None:
    sent = parse('W/"a"', "If-Match")
    assert not sent.holds('"a"')
    assert sent.holds('"a"', weakly=True)
    assert not parse("*", "If-Match").holds(None)


def test_a_tag_moves_with_everything_but_ages() -> None:
    assert tag_of({"a": 1, "seen_seconds": 2}) == tag_of({"a": 1, "seen_seconds": 3})
    assert tag_of({"a": 1}) != tag_of({"a": 2})
    assert tag_of({"a": [{"age_seconds": 1}]}) == tag_of({"a": [{}]})
    assert "revision" not in AGES


@SQLITE
def test_an_edit_that_says_not_what_it_saw_is_428_and_one_that_saw_another_is_412(asked: Api) -> None:
    asked.world.reviewed()
    old = asked.tag(CHANGE)
    asked.refused("condition-needed", "PATCH", CHANGE, {"title": "Blind"}, status=428)
    assert asked("PATCH", CHANGE, {"title": "Seen"}, if_match=old)["line"]["title"] == "Seen"
    asked.refused("stale", "PATCH", CHANGE, {"title": "Late"}, if_match=old, status=412)
    asked.refused("stale", "PATCH", CHANGE, {"title": "Weak"}, if_match=f"W/{asked.tag(CHANGE)}", status=412)
    asked.refused("bad-tag", "PATCH", CHANGE, {"title": "None"}, if_match="whatever", status=400)
    assert asked("PATCH", CHANGE, {"title": "Any"}, if_match="*")["line"]["title"] == "Any"
    assert asked("PATCH", CHANGE, {"title": "One of"}, if_match=f'"x", {asked.tag(CHANGE)}')["line"]["title"] == "One of"
    assert asked.world.ledger().count("change.edit") == 3


@SQLITE
def test_who_may_not_or_asks_for_nothing_is_told_that_first(asked: Api) -> None:
    asked.world.reviewed()
    asked.refused("not-allowed", "PATCH", CHANGE, {"title": "x"}, by="ben", status=403)
    asked.refused("not-found", "PATCH", "/changes/99", {"title": "x"}, if_match='"x"', status=404)


@SQLITE
def test_every_command_on_one_thing_is_held_to_what_was_seen(asked: Api) -> None:
    asked.world.reviewed()
    asked("POST", "/freezes", {"scope": "dev", **WHY}, by="olga", status=201)
    freeze = asked("GET", "/freezes")["items"][0]["id"]
    asked("POST", "/teams", {"name": "flights"}, by="otto", status=201)
    asked("POST", "/notify/routes", {"name": "room", "address": "http://127.0.0.1:9/a"}, status=201)
    drifted(asked.backend.database, ENDPOINT)
    writes: tuple[tuple[str, str, Any, str], ...] = (
        ("POST", f"{CHANGE}/withdraw", WHY, "ana"),
        ("POST", f"/endpoints/{ENDPOINT}/pause", WHY, "olga"),
        ("PATCH", f"/endpoints/{ENDPOINT}", {"repair": "report", **WHY}, "olga"),
        ("PATCH", "/servers/s", {"upstream": "memory:s"}, "olga"),
        ("DELETE", "/servers/s", None, "olga"),
        ("PUT", "/policies/dev", {"schema": 1, "approvals_needed": 1}, "otto"),
        ("POST", f"/freezes/{freeze}/lift", WHY, "otto"),
        ("POST", "/teams/flights/rename", {"name": "delays"}, "otto"),
        ("PUT", "/teams/flights/members/ana", None, "otto"),
        ("POST", "/identities/nora/deactivate", None, "otto"),
        ("PUT", "/notify/preferences", {"zone": "Europe/Berlin"}, "ana"),
        ("POST", "/notify/routes/room/pause", {}, "ana"),
        ("POST", "/notify/routes/room/rotate", None, "ana"),
        ("DELETE", "/notify/routes/room", None, "ana"),
        ("POST", "/findings/1/acknowledge", WHY, "olga"),
        ("POST", "/findings/1/assign", {"person": "olga"}, "olga"),
        ("POST", "/findings/1/snooze", {"until": (datetime.now(UTC) + timedelta(hours=1)).isoformat(), **WHY}, "olga"),
        ("POST", "/findings/1/resolve", WHY, "olga"),
    )
    before = len(_ledger(asked))
    for method, path, sent, by in writes:
        answer = asked.asked(method, path, sent, by=by, if_match='"0"')
        assert answer.status_code in (412, 409), (path, answer.text)
        assert answer.json()["code"] in ("stale", "in-use"), path
    assert len(_ledger(asked)) == before


def _ledger(asked: Api) -> list[str]:
    with asked.backend.database.read() as session:
        return [row.action for row in session.exec(select(LedgerRow))]


ONE_THING = (
    CHANGE, f"/endpoints/{ENDPOINT}", "/servers/s", "/policies/dev", "/identities/ana", "/teams/flights",
    "/notify/preferences", "/findings/1",
)  # fmt: skip


@SQLITE
def test_what_did_not_move_is_not_sent_again(asked: Api) -> None:
    asked.world.reviewed()
    asked("POST", "/teams", {"name": "flights"}, by="otto", status=201)
    drifted(asked.backend.database, ENDPOINT)
    for path in ONE_THING:
        tag = asked.tag(path)
        for sent in (tag, f"W/{tag}", f'"x", {tag}', "*"):
            answer = asked.asked("GET", path, if_none_match=sent)
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag), (path, sent)
        assert asked.asked("GET", path, if_none_match='"x"').status_code == 200
    tag = asked.tag(CHANGE)
    tag = asked.tag("/findings/1")
    drifted(asked.backend.database, ENDPOINT)
    assert asked.asked("GET", "/findings/1", if_none_match=tag).status_code == 304, "seen again, and nothing was decided"
    tag = asked.tag(CHANGE)
    asked("POST", f"{CHANGE}/comments", {"text": "Look"}, status=201)
    assert asked.asked("GET", CHANGE, if_none_match=tag).status_code == 200


@SQLITE
def test_a_first_card_is_written_only_where_there_is_none(asked: Api) -> None:
    path = f"/models/{MODEL}/card"
    blind = asked.refused("condition-needed", "PUT", path, {"text": "# One"}, status=428)
    assert blind["remedy"].startswith("Send `If-None-Match: *`"), "what works where there is none"
    asked.refused("stale", "PUT", path, {"text": "# One"}, if_match="*", status=412)
    assert asked("PUT", path, {"text": "# One"}, if_none_match="*")["revision"] == 1
    blind = asked.refused("condition-needed", "PUT", path, {"text": "# Two"}, status=428)
    assert blind["remedy"].startswith("Send `If-Match`")
    asked.refused("stale", "PUT", path, {"text": "# Two"}, if_none_match="*", status=412)
    assert asked("PUT", path, {"text": "# Two"}, if_match=asked.tag(path))["revision"] == 2
    assert [one["text"] for one in asked("GET", f"{path}/history")["items"]] == ["# Two", "# One"]


def test_of_two_who_saw_the_same_one_writes(asked: Api) -> None:
    """On either database: whoever comes second waits for the first one's row, and sees it then."""
    asked("POST", "/teams", {"name": "flights"}, by="otto", status=201)
    for number in range(3):
        tag, together = asked.tag("/teams/flights"), threading.Barrier(4)

        def rename(who: int, tag: str = tag, number: int = number, together: threading.Barrier = together) -> int:
            sent = {"name": "flights", "title": f"{number} by {who}"}
            together.wait()
            return asked.asked("POST", "/teams/flights/rename", sent, by="otto", if_match=tag).status_code

        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(rename, range(4))) == [200, 412, 412, 412]
    assert asked.world.ledger("team").count("team.rename") == 3


# -- keys


MAKING: tuple[tuple[str, Any, Any, str], ...] = (
    ("/findings/test", {"endpoint": ENDPOINT}, {"endpoint": ENDPOINT, "severity": "info"}, "olga"),
    ("/teams", {"name": "flights"}, {"name": "delays"}, "otto"),
    ("/freezes", {"scope": "dev", **WHY}, {"scope": "staging", **WHY}, "olga"),
    ("/identities", {"name": "builds", "kind": "service", "owner": "ana"}, {"name": "other"}, "otto"),
    ("/servers", {"name": "t", "kind": "memory", "settings": {"path": "/tmp/countersign-t.json"}, "upstream": "memory:t"},
     {"name": "u", "kind": "memory", "settings": {"path": "/tmp/countersign-u.json"}, "upstream": "memory:u"}, "olga"),
    ("/endpoints", {"name": "second", "environment": "dev", "model": MODEL, "server": "s"},
     {"name": "third", "environment": "dev", "model": MODEL, "server": "s"}, "olga"),
    (f"{CHANGE}/comments", {"text": "Look"}, {"text": "Look again"}, "ben"),
    ("/changes", PROPOSAL, {**PROPOSAL, "title": "Other"}, "ana"),
    ("/tokens", {"name": "ci"}, {"name": "cd"}, "ana"),
    ("/group-mappings", {"provider": "corp", "value": "ml", "role": "viewer"},
     {"provider": "corp", "value": "ml", "role": "admin"}, "otto"),
    ("/data-sets/grants", {"data_set": f"requests/{ENDPOINT}", "identity": "carla", "until": "2026-12-31T00:00:00Z"},
     {"data_set": f"requests/{ENDPOINT}", "identity": "ben", "until": "2026-12-31T00:00:00Z"}, "otto"),
    ("/notify/routes", {"name": "room", "address": "http://127.0.0.1:9/a"}, {"name": "room", "address": "http://127.0.0.1:9/b"},
     "ana"),
    ("/notify/subscriptions", {"events": ["*"], "route": "room"}, {"events": ["*"]}, "ana"),
)  # fmt: skip


@SQLITE
def test_what_is_sent_again_under_its_key_is_made_once(asked: Api) -> None:
    asked.world.reviewed()
    for number, (path, sent, other, by) in enumerate(MAKING):
        key = f"build-{number}"
        first = asked.asked("POST", path, sent, by=by, idempotency_key=key)
        made = len(_ledger(asked))
        again = asked.asked("POST", path, dict(reversed(sent.items())), by=by, idempotency_key=key)
        status = 200 if path == "/group-mappings" else 201  # it is asked for, and made by whoever confirms it
        assert (first.status_code, again.status_code) == (status, status), (path, first.text, again.text)
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"
        assert len(_ledger(asked)) == made, path
        assert _settled(first.json()) == _settled(again.json()), path
        asked.refused("key-used", "POST", path, other, by=by, idempotency_key=key, status=409)
    elsewhere, who = {"scope": "dev", **WHY}, MAKING[0][3]
    asked.refused("key-used", "POST", "/freezes", elsewhere, by=who, idempotency_key="build-0", status=409)


def _settled(content: Any) -> Any:
    """Without the text of a token or a secret, which is told once, and what moves by itself."""
    if not isinstance(content, dict):
        return content
    return {name: _settled(one) for name, one in content.items() if name not in {*AGES, "token", "secret", "evidence"}}


@SQLITE
@pytest.mark.parametrize("kind", ["application/json", "application/merge-patch+json", "Application/Vnd.Api+JSON; x=y"])
def test_another_body_is_another_request_whatever_kind_of_json_it_is_sent_as(asked: Api, kind: str) -> None:
    sent = {"by": "otto", "idempotency_key": "team-1", "content_type": kind}
    asked("POST", "/teams", {"name": "flights", "title": "One"}, status=201, **sent)
    asked("POST", "/teams", {"title": "One", "name": "flights"}, status=201, **sent)
    asked.refused("key-used", "POST", "/teams", {"name": "flights", "title": "Two"}, status=409, **sent)


@SQLITE
def test_a_key_is_forgotten_after_its_time_even_where_nothing_cleared_it_away(asked: Api) -> None:
    def team() -> Response:
        return asked.asked("POST", "/teams", {"name": "flights"}, by="otto", idempotency_key="team-1")

    assert team().status_code == 201
    for days, replayed in ((89, "true"), (91, None)):
        _aged(asked, days)
        assert team().headers.get("idempotency-replayed") == replayed, days


def _aged(asked: Api, days: int) -> None:
    with asked.backend.database.unit(asked.world.otto) as tx:
        tx.session.connection().execute(sa.update(RequestKey).values(at=tx.now - timedelta(days=days)))


@SQLITE
def test_a_role_that_is_given_again_under_a_key_asks_once(asked: Api) -> None:
    sent = {"identity": "carla", "role": "operator", "scope": "environment:production"}
    first = asked("POST", "/grants", sent, by="otto", idempotency_key="grant-1")
    assert first["request"] is not None
    assert asked("POST", "/grants", sent, by="otto", idempotency_key="grant-1") == first
    asked.refused("key-used", "POST", "/grants", {**sent, "role": "admin"}, by="otto", idempotency_key="grant-1", status=409)


@SQLITE
def test_a_token_is_told_the_first_time_only(asked: Api) -> None:
    first = asked("POST", "/tokens", {"name": "ci"}, idempotency_key="token-1", status=201)
    again = asked("POST", "/tokens", {"name": "ci"}, idempotency_key="token-1", status=201)
    assert first["token"].startswith("cst_")
    assert (again["token"], again["id"]) == (None, first["id"])
    with asked.backend.database.read() as session:
        assert first["token"] not in str(session.exec(select(RequestKey)).all())
        assert len(session.exec(select(Token).where(Token.name == "ci")).all()) == 1


@SQLITE
def test_what_was_refused_uses_no_key(asked: Api) -> None:
    asked.refused("bad-name", "POST", "/teams", {"name": "Not so"}, by="otto", idempotency_key="k-1", status=422)
    asked("POST", "/teams", {"name": "flights"}, by="otto", idempotency_key="k-1", status=201)


def test_two_at_once_under_one_key_make_one(asked: Api) -> None:
    with ThreadPoolExecutor(4) as pool:
        calls = [
            pool.submit(asked, "POST", "/teams", {"name": "flights"}, by="otto", idempotency_key="k-1", status=201)
            for _ in range(4)
        ]
        ids = {call.result()["id"] for call in calls}
    assert len(ids) == 1
    with asked.backend.database.read() as session:
        assert len(session.exec(select(Team)).all()) == 1


@SQLITE
def test_what_is_made_and_its_key_are_one_transaction(asked: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    asked.token("otto")

    def fails(_self: object) -> None:
        raise RuntimeError("the process ended")

    with monkeypatch.context() as broken:
        broken.setattr(Unit, "_append", fails)
        assert asked.asked("POST", "/teams", {"name": "flights"}, by="otto", idempotency_key="k-1").status_code == 500
    with asked.backend.database.read() as session:
        assert session.exec(select(RequestKey)).all() == []
        assert session.exec(select(Team)).all() == []


# -- ids of requests, limits, methods


@SQLITE
def test_the_callers_id_of_a_request_reaches_every_ledger_row_it_writes(asked: Api) -> None:
    answer = asked.asked("POST", "/changes", PROPOSAL, x_request_id="build-1842:propose")
    assert answer.headers["x-request-id"] == "build-1842:propose"
    with asked.backend.database.read() as session:
        rows = session.exec(select(LedgerRow).where(LedgerRow.action == "change.propose")).all()
    assert [row.request_id for row in rows] == ["build-1842:propose"]
    for wrong in ("short", "x" * 65, "with space", "\\nx-evil", "ünïcode-id"):
        told = asked.client.get("/v1/me", headers={"x-request-id": wrong.encode()}).headers["x-request-id"]
        assert told.startswith("req_"), wrong
    problem = asked.asked("GET", "/changes/99", x_request_id="build-1842:look").json()
    assert problem["request_id"] == "build-1842:look"


@SQLITE
def test_an_identity_that_sends_too_much_is_told_when_to_come_back(asked: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    stands_still = Limits(60, 3, lambda: 0.0)
    monkeypatch.setattr("backend.api.guard.Limits", lambda *_: stands_still)
    first = asked.asked("GET", "/me")
    assert (first.headers["ratelimit-policy"], first.headers["ratelimit"]) == ('"identity";q=3;w=3', '"identity";r=2;t=1')
    for _ in range(2):
        asked("GET", "/me")
    late = asked.asked("GET", "/me")
    assert (late.status_code, late.json()["code"], late.headers["retry-after"]) == (429, "too-many-requests", "1")
    assert asked.asked("GET", "/me", by="ben").status_code == 200
    assert asked.client.get("/v1/health").status_code == 200


@SQLITE
def test_head_answers_as_get_without_a_body_and_options_tells_the_methods(asked: Api) -> None:
    headers = {"authorization": f"Bearer {asked.token('ana')}"}
    got, head = (asked.client.request(method, "/v1/servers/s", headers=headers) for method in ("GET", "HEAD"))
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", got.headers["etag"])
    assert asked.client.head("/v1/servers/nobody", headers=headers).status_code == 404
    told = asked.client.options("/v1/servers/s", headers=headers)
    assert (told.status_code, told.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS, PATCH")
    assert asked.client.head("/v1/changes/1/withdraw", headers=headers).status_code == 405


def test_what_is_kept_of_a_typed_secret_is_another_thing_under_each_key() -> None:
    def digest(body: bytes, who: str, key: str) -> str:
        async def receive() -> Message:
            return {"type": "http.request", "body": body}

        return asyncio.run(once._digest(Request({"type": "http", "headers": []}, receive), who, key))

    first, again = b'{"name": "s", "credential": "c"}', b'{"credential":"c","name":"s"}'
    assert digest(first, "idn_a", "k-1") == digest(again, "idn_a", "k-1")
    assert len({digest(first, who, key) for who in ("idn_a", "idn_b") for key in ("k-1", "k-2")}) == 4
