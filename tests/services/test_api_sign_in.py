"""Where a provider tells the API that its sessions ended: answered without a token of ours, judged by the provider's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import select
from starlette.testclient import TestClient

from backend import bootstrap
from backend.api import app as api
from backend.bootstrap import Backend
from backend.core.errors import Refusal
from backend.core.ledger import LedgerRow
from backend.settings import Settings
from tests.identity_provider import CLIENT, COOKIE_SECRET, SECRET, IdentityProvider, identity_provider

PATH = "/v1/sign-in/backchannel-logout"


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with identity_provider() as found:
        yield found


@pytest.fixture
def backend(provider: IdentityProvider, tmp_path: Path) -> Iterator[Backend]:
    file = tmp_path / "sign-in.toml"
    file.write_text(
        f'[auth]\nredirect_uri = "http://localhost:8501/oauth2callback"\ncookie_secret = "{COOKIE_SECRET}"\n'
        f'[auth.corp]\nclient_id = "{CLIENT}"\nclient_secret = "{SECRET}"\n'
        f'server_metadata_url = "{provider.issuer}/.well-known/openid-configuration"\n'
    )
    made = bootstrap.install(Settings(data_dir=tmp_path / "data", sign_in_file=file, allowed_networks="127.0.0.0/8"))
    yield made
    made.close()


def test_a_logout_token_ends_a_session_once(provider: IdentityProvider, backend: Backend) -> None:
    told = provider.claims()
    cookie = {**told, "provider": "corp"}
    backend.sessions.open(cookie, provider.sign(told))
    client, token = TestClient(api.build(lambda: backend)), provider.sign(provider.logout_claims(), typ="logout+jwt")
    answer = client.post(PATH, data={"logout_token": token})
    assert (answer.status_code, answer.json()) == (200, {})
    assert answer.headers["cache-control"] == "no-store"
    with pytest.raises(Refusal, match="provider ended"):
        backend.sessions.resume(cookie)
    again = client.post(PATH, data={"logout_token": token})
    assert (again.status_code, again.json()["code"]) == (400, "bad-logout-token")


@pytest.mark.parametrize("sent", [{}, {"logout_token": ""}, {"logout_token": "x"}, {"token": "x"}, {"logout_token": "a.b.c"}])
def test_anything_else_is_refused(backend: Backend, sent: dict[str, str]) -> None:
    answer = TestClient(api.build(lambda: backend)).post(PATH, data=sent)
    assert answer.status_code in (400, 422)
    assert answer.json()["remedy"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD"])
def test_only_a_post_is_answered(backend: Backend, method: str) -> None:
    assert TestClient(api.build(lambda: backend)).request(method, PATH).status_code == 405


def test_what_may_be_asked_is_told_and_no_more(backend: Backend) -> None:
    answer = TestClient(api.build(lambda: backend)).options(PATH)
    assert (answer.status_code, answer.headers["allow"], answer.content) == (204, "OPTIONS, POST", b"")


def test_a_provider_that_is_away_is_asked_to_send_it_again(provider: IdentityProvider, backend: Backend) -> None:
    provider.down = True
    token = provider.sign(provider.logout_claims())
    answer = TestClient(api.build(lambda: backend)).post(PATH, data={"logout_token": token})
    assert (answer.status_code, answer.json()["code"]) == (503, "external-failure")


def test_where_nobody_signs_in_no_token_is_good(tmp_path: Path, provider: IdentityProvider) -> None:
    made = bootstrap.install(Settings(data_dir=tmp_path / "plain"))
    token = provider.sign(provider.logout_claims())
    assert TestClient(api.build(lambda: made)).post(PATH, data={"logout_token": token}).status_code == 400
    assert provider.asked == []
    made.close()


def test_whom_a_mapping_touches_is_told_by_its_terms_and_by_its_request(provider: IdentityProvider, backend: Backend) -> None:
    told = provider.claims(groups=["ml"], name="Rita")
    backend.sessions.open({**told, "provider": "corp"}, provider.sign(told))
    root = backend.identities.bootstrap("root")
    client = TestClient(api.build(lambda: backend))
    client.headers["authorization"] = f"Bearer {backend.tokens.create(root, 'tests').text}"
    asked = client.post("/v1/group-mappings", json={"provider": "corp", "value": "ml", "role": "viewer"}).json()["request"]
    (one,) = client.get("/v1/group-mappings/touched?provider=corp&value=ml&role=viewer").json()["items"]
    assert (one["shown"], one["has"], one["told_by"], bool(one["name"])) == ("Rita", False, "sign-in", True)
    assert client.get(f"/v1/requests/{asked}/touched").json()["items"] == [one]
    assert client.get("/v1/group-mappings/touched?provider=corp&value=other&role=viewer").json()["items"] == []


def test_an_admin_asks_a_provider_and_ends_a_session_by_its_device_with_a_reason(
    provider: IdentityProvider, backend: Backend
) -> None:
    told = provider.claims()
    backend.sessions.open({**told, "provider": "corp"}, provider.sign(told), device="Firefox on Windows")
    admin = backend.identities.bootstrap("root")
    client = TestClient(api.build(lambda: backend))
    client.headers["authorization"] = f"Bearer {backend.tokens.create(admin, 'tests').text}"
    (line,) = client.get("/v1/sign-in/providers").json()["items"]
    assert (line["name"], line["scim_identity"], "secret" in str(line)) == ("corp", "", False)
    found = client.post("/v1/sign-in/providers/corp/ask").json()
    assert (found["issuer"], found["keys"]) == (provider.issuer, 1)
    provider.down = True
    assert client.post("/v1/sign-in/providers/corp/ask").json()["code"] == "external-failure"
    assert client.post("/v1/sign-in/providers/other/ask").json()["code"] == "not-found"
    (session,) = client.get("/v1/sessions?everybody=true").json()["items"]
    assert session["device"] == "Firefox on Windows"
    assert client.delete(f"/v1/sessions/{session['id']}?reason=A%20lost%20laptop").status_code == 204
    with backend.database.read() as look:
        row = look.exec(select(LedgerRow).where(LedgerRow.action == "session.end")).one()
    assert "A lost laptop" in row.after_json
