"""Messages through the API and the command line, and the registry's webhooks in."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from sqlmodel import select
from starlette.testclient import TestClient

from backend.cli.notify import notify
from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.work import WorkItem
from backend.registry.hooks import Hooks, HookSeen, sign
from tests.api_world import Api
from tests.databases import Clock
from tests.receivers import web
from tests.services.changes.world import World

SECRET = "a secret of the tests, long enough"
on_sqlite = pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)


@pytest.fixture
def asked(real_time_database: Database, tmp_path: Path) -> Iterator[Api]:
    opened = Api(World(real_time_database), tmp_path / "data")
    yield opened
    opened.close()


def worked(asked: Api) -> None:
    """One round of a worker: the ledger's reader, then every route that is due."""
    backend = asked.backend
    with backend.database.unit(SYSTEM) as tx:
        work.wake(tx, "notify", "ledger")
    for kind, handle in (("notify", backend.outbox.handle), ("route", backend.courier.handle)):
        for claim in work.claim(backend.database, kind, holder="w1", seconds=60, limit=50):
            handle(claim)


@on_sqlite
def test_a_route_is_made_tested_subscribed_rotated_replayed_and_removed_through_the_api(asked: Api) -> None:
    worked(asked)
    with web(200, 500) as receiver:
        made = asked("POST", "/notify/routes", {"name": "room", "address": receiver.url}, status=201)
        assert made["secret"].startswith("whsec_")
        shown = asked("GET", "/notify/routes/room")
        assert (shown["shown"], shown["health"]) == (f"http://127.0.0.1:{receiver.port}", "new")
        tag = asked.tag("/notify/routes/room")
        test = asked("POST", "/notify/routes/room/test", status=202)["id"]
        worked(asked)
        whole = asked("GET", f"/notify/messages/{test}")
        assert (whole["line"]["state"], whole["tries"][0]["says"]) == ("sent", "It was taken (200).")
        asked("POST", "/notify/subscriptions", {"events": ["freeze.set"], "route": "room"}, status=201)
        asked.world.policies.freeze(asked.world.olga, "dev", "Stop.")
        worked(asked)
        (line,) = asked("GET", "/notify/messages?route=room&state=waiting")["items"]
        assert line["result"] == "It failed (500)."
        assert asked("POST", f"/notify/messages/{test}/replay")["state"] == "waiting"
        worked(asked)
        assert receiver.taken[-1].headers["webhook-id"] == test
    assert asked("POST", "/notify/routes/room/rotate")["secret"] != made["secret"]
    asked.refused("rotating", "POST", "/notify/routes/room/rotate", status=409)
    first = asked("GET", "/notify/messages?limit=1")
    assert asked("GET", f"/notify/messages?limit=1&after={first['next']}")["items"][0]["id"] != first["items"][0]["id"]
    assert asked("GET", "/notify/routes?everybody=true", by="otto")["items"][0]["owner"] == "Ana (data scientist)"
    assert asked("GET", "/notify/routes", by="otto")["items"] == []
    for path in (f"/notify/routes/{made['id']}", f"/notify/messages/{test}"):
        asked.refused("not-found", "GET", path, by="ben", status=404)
    asked.refused("stale", "DELETE", "/notify/routes/room", if_match=tag, status=412)
    asked("DELETE", "/notify/routes/room", if_match=asked.tag("/notify/routes/room"), status=204)
    assert asked("GET", "/notify/subscriptions")["items"] == []


@on_sqlite
def test_preferences_are_whole_and_refused_where_they_are_none(asked: Api) -> None:
    sent = {"zone": "Europe/Berlin", "quiet_from": "22:00", "quiet_to": "07:00", "muted": ["change.approved"]}
    asked.refused("condition-needed", "PUT", "/notify/preferences", sent, status=428)
    before = asked.tag("/notify/preferences")
    told = asked("PUT", "/notify/preferences", sent, if_match=before)
    asked.refused("stale", "PUT", "/notify/preferences", {}, if_match=before, status=412)
    assert told == {**sent, "urgent_through": True, "mail": True}
    asked.refused("bad-zone", "PUT", "/notify/preferences", {"zone": "Mars"}, if_match="*", status=422)
    asked.refused("bad-event", "POST", "/notify/subscriptions", {"events": ["x"]}, status=422)
    assert asked("GET", "/notify/preferences") == told
    assert asked("PUT", "/notify/preferences", {}, if_match="*")["zone"] == "UTC"


@on_sqlite
def test_the_command_line_does_the_same(asked: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = asked.backend.settings
    monkeypatch.setenv("COUNTERSIGN_DATABASE_URL", settings.sqlalchemy_url)
    monkeypatch.setenv("COUNTERSIGN_DEMO_IDENTITIES", "true")
    monkeypatch.setenv("COUNTERSIGN_MESSAGE_NETWORKS", "127.0.0.0/8")

    def said(*words: str, given: str | None = None, code: int = 0) -> Any:
        options = ["--json", "--as", "ana", "--data", str(settings.data_dir)]
        found = CliRunner().invoke(notify, [*words, *options], input=given)
        assert found.exit_code == code, found.output
        return json.loads(found.stdout)

    assert "change.waiting" in {one["name"] for one in said("events")["events"]}
    made = said("add", "room", given="http://127.0.0.1:9/PLANTED\n")["route"]
    assert said("routes")["routes"][0]["name"] == "room"
    assert "PLANTED" not in json.dumps(said("show", "room"))
    subscription = said("subscribe", "change.waiting", "--route", "room", "--of", "model/churn")["subscription"]["id"]
    assert said("subscriptions")["subscriptions"][0]["object_name"] == "churn"
    assert said("preferences", "--zone", "Europe/Berlin", "--quiet", "22:00-07:00")["preferences"]["quiet_to"] == "07:00"
    assert said("preferences", "--quiet", "none", "--no-mail")["preferences"]["quiet_from"] is None
    tested = said("test", "room", "--wait", "0")["message"]
    worked(asked)
    assert said("message", tested["id"])["tries"][0]["says"] == "It could not be reached."
    assert said("log", "--state", "dead")["messages"][0]["id"] == tested["id"]
    assert said("replay", tested["id"])["replayed"] == 1
    assert said("rotate", "room")["route"]["secret"] != made["secret"]
    for words in (("pause", "room"), ("resume", "room"), ("unsubscribe", subscription), ("remove", "room")):
        said(*words)
    assert said("show", "room", code=2)["error"]["code"] == "not-found"


# -- the registry's webhooks in


def hook(name: Any = "churn", entity: str = "model_version") -> bytes:
    """As MLflow 3.17 sends it; tests/contracts/test_registry_hooks.py holds that to a real server."""
    return json.dumps(
        {"entity": entity, "action": "created", "timestamp": "x", "data": {"name": name, "source": "/etc"}}
    ).encode()


def headers(body: bytes, *, delivery: str = "d-1", at: int | None = None, secret: str = SECRET) -> dict[str, str]:
    stamp = str(int(time.time()) if at is None else at)
    return {
        "x-mlflow-delivery-id": delivery,
        "x-mlflow-timestamp": stamp,
        "x-mlflow-signature": sign(secret, delivery, stamp, body),
        "content-type": "application/json",
    }


@pytest.fixture
def hooks(database: Database) -> Hooks:
    return Hooks(database, SecretStr(SECRET))


def mirrored(database: Database) -> set[str]:
    with database.read() as session:
        return set(session.exec(select(WorkItem.key).where(WorkItem.kind == "mirror")))


def test_a_signed_webhook_makes_its_model_due_once_and_nothing_in_it_is_believed(
    hooks: Hooks, database: Database, clock: Clock
) -> None:
    body, at = hook(), int(clock.now.timestamp())
    assert hooks.take(headers(body, at=at), body) == "churn"
    assert mirrored(database) == {"churn"}
    with pytest.raises(Exception, match="taken already"):
        hooks.take(headers(body, at=at), body)
    for other in (hook(entity="prompt"), hook(None), hook(7), hook("x" * 300), hook("a\x00b"), b"[]", b'{"data": 1}'):
        assert hooks.take(headers(other, at=at, delivery=f"d-{hash(other)}".replace("--", "-")), other) is None
    assert mirrored(database) == {"churn"}
    clock.tick(minutes=11)
    hooks.take(headers(body, at=int(clock.now.timestamp()), delivery="d-2"), body)
    with database.read() as session:
        assert set(session.exec(select(HookSeen.id))) == {"d-2"}, "what would be too old anyway is forgotten"


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_webhook_that_is_too_old_or_too_new_is_refused(hooks: Hooks, database: Database, clock: Clock, minutes: int) -> None:
    body = hook()
    with pytest.raises(Exception, match="too old"):
        hooks.take(headers(body, at=int((clock.now + timedelta(minutes=minutes)).timestamp())), body)
    assert mirrored(database) == set()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_webhook_of_a_year_that_no_clock_has_is_refused(hooks: Hooks) -> None:
    for at in (99_999_999_999, 999_999_999_999):
        with pytest.raises(Refusal) as refused:
            hooks.take(headers(b"{}", at=at), b"{}")
        assert refused.value.code == "bad-signature"


@on_sqlite
def test_the_api_takes_what_is_signed_and_touches_no_database_for_anything_else(asked: Api, monkeypatch: Any) -> None:
    body = hook()
    good = headers(body)
    client = TestClient(asked.application, raise_server_exceptions=False)
    no_secret = client.post("/v1/hooks/mlflow", content=body, headers=good)
    assert (no_secret.status_code, no_secret.json()["code"]) == (401, "bad-signature")
    object.__setattr__(asked.backend, "registry_hooks", Hooks(asked.backend.database, SecretStr(SECRET)))
    with monkeypatch.context() as patch:
        patch.setattr(Database, "unit", lambda *_: 1 / 0)
        wrong: list[dict[str, str]] = [
            {}, headers(body, secret="another secret of the tests"), {**good, "x-mlflow-timestamp": "1"},
            {**good, "x-mlflow-delivery-id": "d-9"}, {**good, "x-mlflow-signature": good["x-mlflow-signature"][3:]},
            {**good, "x-mlflow-timestamp": "9" * 40}, {**good, "x-mlflow-delivery-id": "d.1"},
        ]  # fmt: skip
        for sent in wrong:
            assert client.post("/v1/hooks/mlflow", content=body, headers=sent).status_code == 401, sent
        assert client.post("/v1/hooks/mlflow", content=body + b" ", headers=good).status_code == 401
        assert client.post("/v1/hooks/mlflow", content=b"{", headers=headers(b"{")).status_code == 400
    assert client.post("/v1/hooks/mlflow", content=body, headers=good).status_code == 200
    assert client.post("/v1/hooks/mlflow", content=body, headers=good).status_code == 401
    assert client.get("/v1/hooks/mlflow").status_code in (401, 405)
    assert mirrored(asked.backend.database) == {"churn"}
