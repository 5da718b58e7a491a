"""What Admin shows of keys, of where calls may go, of people and of their roles, as the API tells it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.access.rows import Identity, Request
from backend.access.session_rows import ExternalLogin, ToldGroups
from backend.core.context import SYSTEM
from backend.core.database import Database
from tests.api_world import Api
from tests.services.changes.world import ENDPOINT, MODEL, World

SQLITE = pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)
SERVER = {"kind": "memory", "settings": {"path": "/tmp/countersign-nowhere.json"}, "upstream": "memory:t"}


@pytest.fixture
def asked(real_time_database: Database, tmp_path: Path) -> Iterator[Api]:
    opened = Api(World(real_time_database), tmp_path / "data")
    yield opened
    opened.close()


def names(found: dict[str, Any]) -> list[str]:
    return [one["name"] for one in found["items"]]


# -- keys


@SQLITE
def test_keys_are_told_by_name_with_whose_secrets_are_sealed_to_each_and_how_far_a_rotation_is(asked: Api) -> None:
    asked("POST", "/servers", {"name": "keyed", **SERVER, "credential": "s3cret"}, by="olga", status=201)
    (one,) = asked("GET", "/keys/sealing", by="audra")["items"]
    assert (one["state"], one["secrets"], one["used_by"], one["is_here"], one["is_due"]) == (
        "current", 1, ["server keyed"], True, False,
    )  # fmt: skip
    made = asked.backend.sealing_keys.rotate(asked.world.otto)
    found = asked("GET", "/keys/sealing", by="otto")
    assert [(each["state"], each["secrets"]) for each in found["items"]] == [("current", 0), ("old", 1)]
    assert (found["items"][0]["id"], found["behind"]) == (made, 1)
    asked.backend.sealing_keys.tend(asked.world.otto)
    found = asked("GET", "/keys/sealing", by="otto")
    assert [(each["state"], each["used_by"]) for each in found["items"]] == [("current", ["server keyed"]), ("destroyed", [])]
    assert found["behind"] == 0
    ledger = asked("GET", "/keys/ledger", by="audra")
    assert (ledger["since"], ledger["after_row"], ledger["is_due"]) == (None, 0, False)
    for path in ("/keys/sealing", "/keys/ledger"):
        asked.refused("not-allowed", "GET", path, by="olga", status=403)


# -- where calls may go


@SQLITE
def test_an_address_would_be_called_or_it_is_said_why_not(asked: Api) -> None:
    told = asked("GET", "/outgoing", by="ana")
    assert told["servers"] == {"allowed": ["127.0.0.0/8"], "setting": "COUNTERSIGN_ALLOWED_NETWORKS"}
    assert told["messages"] == {"allowed": ["127.0.0.0/8"], "setting": "COUNTERSIGN_MESSAGE_NETWORKS"}
    assert told["ports"] == {"allowed": "", "setting": "COUNTERSIGN_ALLOWED_PORTS"}

    def judged(url: str) -> dict[str, Any]:
        found: dict[str, Any] = asked("POST", "/outgoing/check", {"url": url}, by="olga")
        return found

    assert judged("http://127.0.0.2:8000") == {"allowed": True, "address": "127.0.0.2", "code": "", "says": "", "remedy": ""}
    private, port = judged("http://10.2.0.7:8000"), judged("http://127.0.0.1:22")
    assert (private["allowed"], private["address"], private["code"]) == (False, None, "address-not-allowed")
    assert "COUNTERSIGN_ALLOWED_NETWORKS (e.g. 10.2.0.7/32)" in private["remedy"]
    assert (port["allowed"], port["code"]) == (False, "port-not-allowed")
    asked.refused("bad-url", "POST", "/outgoing/check", {"url": "ftp://127.0.0.1"}, by="olga", status=422)
    asked.refused("not-allowed", "POST", "/outgoing/check", {"url": "http://127.0.0.1:8000"}, by="ana", status=403)


# -- grants


@SQLITE
def test_a_grant_says_who_gave_it_when_and_until_when_and_to_admins_who_asked_and_why(asked: Api) -> None:
    backend, until = asked.backend, datetime.now(UTC) + timedelta(days=3)
    waits = backend.identities.grant(asked.world.otto, "carla", "operator")
    assert isinstance(waits, Request)
    backend.identities.confirm_grant(asked.world.nora, waits.id, "As agreed")
    backend.identities.grant(asked.world.otto, "carla", "viewer", "environment:dev", expires_at=until)

    def grants(by: str = "audra", **narrow: str) -> list[dict[str, Any]]:
        query = "&".join(f"{name}={value}" for name, value in narrow.items())
        return list(asked("GET", f"/grants?{query}", by=by)["items"])

    two, none, alone = grants(identity="carla")
    assert [(one["role"], one["scope"]) for one in (two, none, alone)] == [
        ("operator", "*"), ("reviewer", "*"), ("viewer", "environment:dev"),
    ]  # fmt: skip
    assert (two["source"], two["giver"], two["asked_by"], two["reason"]) == ("person", "nora", "otto", "As agreed")
    assert two["given_by"] == "Nora (second administrator) [nora]"
    assert two["request"] == waits.id
    assert (alone["giver"], alone["asked_by"], alone["request"], alone["reason"]) == ("otto", None, None, "")
    assert datetime.fromisoformat(alone["expires_at"]) == until
    assert (none["source"], none["giver"]) == ("system", None), "from the beginning"
    seen = grants("ana", identity="carla")[0]
    assert (seen["giver"], seen["asked_by"], seen["request"], seen["reason"]) == ("nora", None, None, ""), "for few"
    assert [one["role"] for one in grants(ends="soon")] == ["viewer"]
    assert grants(scope="environment") == grants(scope="environment:dev") == [alone]
    assert {one["identity"] for one in grants(role="admin")} == {"otto", "nora"}
    asked.refused("not-found", "GET", "/grants?scope=team:nobodys", by="audra", status=404)


@SQLITE
def test_it_is_said_in_time_that_nobody_will_be_an_admin(asked: Api) -> None:
    fine = asked("GET", "/grants/admins")
    assert (fine["anybody"], fine["until"], fine["is_soon"], fine["says"], fine["remedy"]) == (True, None, False, "", "")
    asked.token("ana")
    with asked.backend.database.unit(SYSTEM) as tx:
        for name in ("otto", "nora"):
            row = tx.session.get_one(Identity, getattr(asked.world, name).id)
            row.active = False
            tx.record("identity.deactivate", row)
    bad = asked("GET", "/grants/admins")
    assert (bad["anybody"], "Nobody is an admin" in bad["says"], "bootstrap" in bad["remedy"]) == (False, True, True)


# -- people


@pytest.fixture
def rita(asked: Api) -> str:
    """A person who signed in with a group, by a provider that calls her by a subject; there is another of her name."""
    otto, names = asked.world.otto, ("rita", "rita-2")
    made = [asked.backend.identities.create(otto, one, display_name="Rita Reviewer").id for one in names]
    with asked.backend.database.unit(SYSTEM) as tx:
        for subject, one in zip(("sub-1", "sub-2"), made, strict=True):
            login = ExternalLogin(issuer="https://id.example", external_subject=subject, identity_id=one, first_at=tx.now)
            tx.record("identity.meet", tx.add(login))
        tx.add(ToldGroups(identity_id=made[0], provider="corp", groups=["ml-reviewers"], told_at=tx.now))
    return made[0]


@SQLITE
def test_people_are_found_by_name_role_state_group_and_whether_they_are_of_the_demo(asked: Api, rita: str) -> None:
    def found(by: str = "otto", **narrow: str) -> list[str]:
        query = "&".join(f"{name}={value}" for name, value in narrow.items())
        return names(asked("GET", f"/identities?{query}", by=by))

    assert found(text="RITA") == ["rita", "rita-2"]
    assert found(role="admin") == ["nora", "otto"]
    assert found(demo="false", kind="person") == ["rita", "rita-2"]
    assert "rita" not in found(demo="true")
    assert found(group="ml-reviewers") == found(group="ml-reviewers", provider="corp") == ["rita"]
    assert found(group="ml-reviewers", provider="other") == found(group="nobodys") == []
    asked("POST", "/identities/rita-2/deactivate", {"reason": "Left"}, by="otto")
    assert found(active="false") == ["rita-2"]
    assert found("ana", active="false") == ["rita-2"], "names and states are for everybody"
    asked.refused("not-allowed", "GET", "/identities?group=ml-reviewers", by="ana", status=403)
    first = asked("GET", "/identities?limit=2")
    rest = asked("GET", f"/identities?limit=200&after={first['next']}")
    assert names(first) + names(rest) == sorted(names(asked("GET", "/identities")))


@SQLITE
def test_what_a_provider_calls_somebody_is_told_to_that_person_and_to_admins(asked: Api, rita: str) -> None:
    told = asked("GET", "/identities/rita/known", by="otto")
    assert [(one["issuer"], one["subject"]) for one in told["logins"]] == [("https://id.example", "sub-1")]
    assert [(one["provider"], one["groups"]) for one in told["groups"]] == [("corp", ["ml-reviewers"])]
    asked.refused("not-allowed", "GET", "/identities/rita/known", by="ana", status=403)
    assert asked("GET", "/identities/ana/known", by="ana")["logins"] == []
    narrow = asked.backend.tokens.create(asked.world.ana, "narrow", role="contributor").text
    asked.refused("not-allowed", "GET", "/identities/ana/known", token=narrow, status=403)
    asked.refused("not-found", "GET", "/identities/nobody-there/known", by="otto", status=404)


@SQLITE
def test_sessions_and_tokens_of_one_person_are_told_to_whoever_may_see_them(asked: Api, rita: str) -> None:
    asked.token("ben")
    assert asked("GET", "/sessions?identity=rita", by="otto")["items"] == []
    asked.refused("not-found", "GET", "/sessions?identity=nobody-there", by="otto", status=404)
    for name in ("rita", "nobody-there"):
        asked.refused("not-allowed", "GET", f"/sessions?identity={name}", by="ana", status=403)
    mine = asked("GET", "/tokens?everybody=true&identity=ben", by="otto")["items"]
    assert {one["identity"] for one in mine} == {"ben"}
    line = asked("GET", "/identities/ben")
    assert (line["good_tokens"], line["open_sessions"], line["holds"]) == (1, 0, ["reviewer"])
    tag = asked.tag("/identities/ben", by="ana")
    asked.backend.tokens.create(asked.world.ben, "another")
    assert asked.tag("/identities/ben", by="ana") == tag, "what comes and goes by itself is no part of it"


# -- signing in, models, changes


@SQLITE
def test_the_settings_of_sign_in_are_told_without_a_secret(asked: Api) -> None:
    told = asked("GET", "/sign-in", by="otto")
    assert (told["signs_in"], told["redirect_uri"], told["claims_days"]) == (True, "http://localhost:8501/oauth2callback", 30)
    assert told["backchannel_logout_uri"] == "http://localhost:8501/api/v1/sign-in/backchannel-logout"
    (provider,) = asked("GET", "/sign-in/providers", by="otto")["items"]
    assert {"issuers", "scope", "prompt", "algorithms", "require_verified_email"} <= provider.keys()
    assert not [name for name in (*told, *provider) if "secret" in name]


@SQLITE
def test_models_and_changes_are_narrowed_and_counted_as_on_their_pages(asked: Api) -> None:
    found = asked("GET", "/models?live=production&counted=true")
    assert (found["total"], names(found)) == (1, [MODEL])
    assert asked("GET", "/models?live=dev&counted=true")["total"] == 0
    line = asked("GET", "/models?live=production")
    assert (line["total"], line["items"][0]["told"]) == (None, None)
    assert [found["items"][0][name] for name in ("told", "registered", "pickled")] == [0, 5, 0]
    assert asked("GET", "/models?alias=nothing")["items"] == asked("GET", "/models?pickled=true")["items"] == []
    number = asked.world.reviewed()
    mine = asked("GET", "/changes?requester=ana")
    assert ([one["number"] for one in mine["items"]], mine["counts"]) == ([number], {"review": 1})
    part = ENDPOINT[1:-1]
    assert [len(asked("GET", f"/changes?endpoint={part}{more}")["items"]) for more in ("", "&within=true")] == [0, 1]
    assert asked("GET", "/changes?requester=ben")["items"] == asked("GET", "/changes?requester=nobody-there")["items"] == []
    (waits,) = asked("GET", "/changes/asked", by="ben")["items"]
    assert (waits["what"], waits["line"]["number"]) == ("vote", number)
    assert asked("GET", "/changes/asked", by="ana")["items"] == []
    assert asked("GET", "/fleet/endpoints")["counts"] == asked("GET", "/fleet")["counts"]
