"""Streamlit's own routes, in the real process: who did not sign in, and pages of other sites, get nothing by them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.browsers import serve
from tests.installations import CHURN, EU, FLIGHTS, SERVERS, TAXI
from tests.pages.test_edge import OUTSIDE, signing_in

WORDS = (FLIGHTS, TAXI, CHURN, EU, *SERVERS, "idn_", "serving-", "evil.example")
"""What stands on the pages of this installation, and would stand in what is sent to a browser."""
PAGES = ("", "audit", "admin", "models", "endpoints", "approvals", "change", "ledger_row")
FOREIGN = ("http://evil.example", "http://127.0.0.1:5000", "https://127.0.0.1.evil.example", "null")


@pytest.fixture(scope="module")
def address(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The web app on a filled installation at whose provider everybody has to sign in; nobody calls that one."""
    folder = tmp_path_factory.mktemp("doors")
    shutil.copytree(filled, folder / "data")
    settings = folder / "sign-in.toml"
    settings.write_text(
        '[auth]\nredirect_uri = "http://localhost:8501/oauth2callback"\ncookie_secret = "a-cookie-secret-of-0123456789abcdef"\n'
        '[auth.corp]\nclient_id = "countersign"\nclient_secret = "a-client-secret"\n'
        'server_metadata_url = "http://127.0.0.1:9/.well-known/openid-configuration"\n'
    )
    more = {"COUNTERSIGN_SIGN_IN_FILE": str(settings), "COUNTERSIGN_DEMO_IDENTITIES": "false"}
    with serve(folder / "data", folder, **more) as running:
        yield running.url


def stream(address: str, origin: str | None = None, **more: Any) -> ClientConnection:
    return connect(f"{address.replace('http', 'ws', 1)}/_stcore/stream", origin=origin, open_timeout=20, **more)  # type: ignore[arg-type]


def drawn(line: ClientConnection, page: str) -> str:
    """Asks for a page as a browser does, and waits until it is drawn; everything that was sent for it."""
    asked = BackMsg()
    asked.rerun_script.page_name = page
    asked.rerun_script.query_string = "section=People"
    line.send(asked.SerializeToString())
    told, until = list[str](), time.monotonic() + 30
    while time.monotonic() < until:
        message = ForwardMsg()
        message.ParseFromString(bytes(line.recv(timeout=30)))  # type: ignore[arg-type]
        told.append(str(message))
        if message.WhichOneof("type") == "script_finished":
            return "\n".join(told)
    raise AssertionError("it was never drawn")


def test_without_a_session_every_page_is_the_way_in_and_shows_nothing(address: str) -> None:
    with stream(address, address) as line:
        for page in PAGES:
            told = drawn(line, page)
            assert "Sign in" in told, page
            assert [one for one in WORDS if one in told.replace("evil.example", "")] == [], page


def test_a_forged_cookie_is_no_session(address: str) -> None:
    for cookie in (
        "_streamlit_user=eyJzdWIiOiJ4In0; ",
        "_streamlit_user=2|1:0|10:1|15:_streamlit_user|4:e30=|0; countersign_browser=x",
    ):
        with stream(address, address, additional_headers={"Cookie": cookie}) as line:
            told = drawn(line, "admin")
            assert "Sign in" in told
            assert [one for one in WORDS if one in told] == []


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_websocket_from_a_page_of_another_site_is_not_opened(address: str, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused, stream(address, origin):
        pass
    assert refused.value.response.status_code == 403


def test_a_file_is_taken_from_nobody_who_is_not_signed_in(address: str) -> None:
    """Neither with an invented session nor with one that was opened without signing in."""
    with stream(address, address) as line:
        message = ForwardMsg()
        told = drawn(line, "")
        assert told
        for session in ("x", "00000000-0000-0000-0000-000000000000", _session(line, message)):
            for method in ("PUT", "DELETE", "POST", "OPTIONS"):
                answer = httpx.request(method, f"{address}/_stcore/upload_file/{session}/file", files={"f": b"x"})
                assert answer.status_code == 403, (method, session)
                assert "Sign in first" in answer.text


def _session(line: ClientConnection, message: ForwardMsg) -> str:
    """The number of the session that the page belongs to, as it is told to the browser."""
    asked = BackMsg()
    asked.rerun_script.page_name = ""
    line.send(asked.SerializeToString())
    for _ in range(200):
        message.ParseFromString(bytes(line.recv(timeout=30)))  # type: ignore[arg-type]
        if message.WhichOneof("type") == "new_session":
            return str(message.new_session.initialize.session_id or "unknown")
    return "unknown"


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("/_stcore/health", {200}), ("/_stcore/host-config", {200}), ("/_stcore/metrics", {200, 404}),
        ("/_stcore/script-health-check", {404, 403}), ("/media/0123456789abcdef.png", {403}),
        ("/component/x/index.html", {404}), ("/_stcore/bidi-components/x/index.js", {404}),
        ("/app/static/../main.py", {400, 403, 404}), ("/static/../../x", {400, 403, 404}),
        ("/app/static/%2e%2e/main.py", {400, 403, 404}), ("/media/..%2f..%2fetc%2fpasswd", {400, 403, 404}),
        ("/_stcore/stream", {400, 403, 404, 426}),
    ],
)  # fmt: skip
def test_the_other_routes_tell_nothing(address: str, path: str, statuses: set[int]) -> None:
    answer = httpx.Client(base_url=address).get(path)
    said = answer.text
    assert answer.status_code in statuses or "<title>" in said, (answer.status_code, said[:200])
    assert [one for one in WORDS if one in said] == []
    assert "COUNTERSIGN" not in said
    assert "a-cookie-secret" not in said
    assert {"content-security-policy", "x-content-type-options", "x-frame-options"} <= set(answer.headers)
    for origin in FOREIGN:
        assert httpx.get(address + path, headers={"origin": origin}).status_code == 403


def test_files_are_taken_from_whoever_is_signed_in_and_from_nobody_else() -> None:
    """The edge asks before Streamlit is reached, whatever the path before it and the method."""
    who = {"signed": True, "": False}
    edge = signing_in(admits=lambda cookies: who.get(cookies.get("who", ""), False))
    assert isinstance(edge, TestClient)
    for method in ("PUT", "DELETE", "POST", "GET"):
        path = f"{OUTSIDE.base_path}/_stcore/upload_file/a/b"
        assert edge.request(method, path).status_code == 403
        assert edge.request(method, path, headers={"cookie": "who=signed"}).status_code != 403
        assert edge.request(method, f"{OUTSIDE.base_path}/media/a.csv").status_code == 403, "what a page made"
        assert edge.request(method, f"{OUTSIDE.base_path}/media/a.csv", headers={"cookie": "who=signed"}).status_code != 403
        assert edge.request(method, f"{OUTSIDE.base_path}/api/v1/models/media/versions").status_code != 403, "a name alone"
    assert edge.get(f"{OUTSIDE.base_path}/").status_code == 200, "pages are not asked about"
