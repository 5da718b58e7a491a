"""Who may connect, what every answer carries, and where the web app refuses to listen."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.acting import Browsers
from app.bind import check_bind, is_loopback
from app.edge import COOKIE, Edge, inline_hashes, is_local, security_headers
from backend.core.errors import Refusal
from tests.pages.conftest import ROOT

WANTED = {"content-security-policy", "x-content-type-options", "x-frame-options", "referrer-policy", "permissions-policy"}


async def _page(_request: Any) -> PlainTextResponse:
    return PlainTextResponse("page", headers={"X-Frame-Options": "ALLOWALL", "Content-Security-Policy": "default-src *"})


async def _socket(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


def client(base: str, **options: Any) -> TestClient:
    """A client that connects to `base`; Starlette's test client tells the server's address by it."""
    inner = Starlette(routes=[Route("/", _page), WebSocketRoute("/ws", _socket)])
    return TestClient(Edge(inner, **options), base_url=base)


def test_every_answer_carries_the_headers_once_and_ours_win() -> None:
    answer = client("http://127.0.0.1:8501").get("/")
    assert set(answer.headers) >= WANTED
    assert answer.headers.get_list("x-frame-options") == ["DENY"]
    assert len(answer.headers.get_list("content-security-policy")) == 1
    assert set(client("http://127.0.0.1:8501").get("/nowhere").headers) >= WANTED, "an error too"


def test_the_policy_lets_no_other_host_and_no_other_script_in() -> None:
    policy = dict(part.split(" ", 1) for part in security_headers()["content-security-policy"].split("; "))
    scripts = policy["script-src"].split()
    assert scripts[0] == "'self'"
    assert len(scripts) >= 2
    assert all(one.startswith("'sha256-") for one in scripts[1:])
    assert policy["frame-ancestors"] == policy["object-src"] == policy["frame-src"] == "'none'"
    assert not [
        one for value in policy.values() for one in value.split() if one not in ALLOWED and not one.startswith("'sha256-")
    ]


ALLOWED = {"'self'", "'none'", "data:", "blob:", "'unsafe-inline'"}


def test_a_script_is_allowed_by_its_very_bytes() -> None:
    assert inline_hashes("<script>a</script><script src='x'></script><script>b\n</script>") != inline_hashes(
        "<script>a</script>"
    )
    assert inline_hashes("<script>alert(1)</script>") == ["'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='"]


@pytest.mark.parametrize(
    "base", ["http://10.1.2.3:8501", "http://evil.example:8501", "http://127.0.0.1.evil.example", "http://[2001:db8::1]:8501"]
)
def test_without_single_sign_on_nobody_else_is_answered(base: str) -> None:
    outside = client(base)
    answer = outside.get("/")
    assert answer.status_code == 403
    assert "single sign-on" in answer.text
    assert set(answer.headers) >= WANTED
    with pytest.raises(WebSocketDisconnect), outside.websocket_connect(f"{base.replace('http', 'ws', 1)}/ws"):
        pass
    assert client(base, only_loopback=False).get("/").status_code == 200


@pytest.mark.parametrize("base", ["http://127.0.0.1:8501", "http://localhost:8501", "http://[::1]:8501", "http://127.8.8.8"])
def test_this_machine_is_answered(base: str) -> None:
    inside = client(base)
    assert inside.get("/").status_code == 200
    with inside.websocket_connect(f"{base.replace('http', 'ws', 1)}/ws") as socket:
        assert socket.receive_text() == "hello"


def test_a_name_that_was_rebound_to_this_machine_is_refused() -> None:
    scope = {"server": ("127.0.0.1", 8501), "headers": [(b"host", b"evil.example:8501")]}
    assert not is_local(scope)
    assert is_local({**scope, "headers": [(b"host", b"localhost:8501")]})
    assert not is_local({**scope, "headers": []})
    assert not is_local({**scope, "server": None, "headers": [(b"host", b"localhost")]})


def test_a_browser_gets_its_number_once_and_only_with_a_page() -> None:
    browser = client("http://127.0.0.1:8501")
    first = browser.get("/", headers={"accept": "text/html"})
    cookie = first.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert len(first.cookies[COOKIE]) > 40
    assert "set-cookie" not in browser.get("/", headers={"accept": "text/html"}).headers
    assert "set-cookie" not in client("http://127.0.0.1:8501").get("/", headers={"accept": "*/*"}).headers


def test_a_broken_cookie_header_is_no_error() -> None:
    answer = client("http://127.0.0.1:8501").get("/", headers={"accept": "text/html", "cookie": "a=\x01;;;=;b"})
    assert answer.status_code == 200


def test_browsers_are_forgotten_oldest_first() -> None:
    browsers = Browsers(most=2)
    for number, name in enumerate(("ana", "ben", "carla")):
        browsers.remember(str(number), name)
    assert [browsers.recall(str(number)) for number in range(3)] == [None, "ben", "carla"]
    browsers.remember("1", None)
    assert browsers.recall("1") is None
    browsers.remember("", "otto")
    assert browsers.recall("") is None, "two browsers that keep no cookie are not one person"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "::1", "[::1]", "127.1.2.3"])
def test_loopback_is_loopback(host: str) -> None:
    assert is_loopback(host)
    check_bind(host)


@pytest.mark.parametrize("host", ["", None, "0.0.0.0", "::", "10.0.0.1", "example.org", "127.0.0.1.example.org", "127.0.0.1 x"])
def test_any_other_address_is_refused_with_the_reason(host: str | None) -> None:
    with pytest.raises(Refusal, match="single sign-on"):
        check_bind(host)


def test_the_program_refuses_to_start_on_an_open_address_and_says_why() -> None:
    done = start([sys.executable, "-m", "app", "--host", "0.0.0.0", "--port", "0"])
    assert done.returncode == 2
    assert "will not listen on 0.0.0.0" in done.stderr
    assert "Traceback" not in done.stderr


def test_streamlits_own_command_refuses_it_too() -> None:
    address = {"STREAMLIT_SERVER_ADDRESS": "0.0.0.0", "STREAMLIT_SERVER_PORT": "0"}
    done = start([sys.executable, "-m", "streamlit", "run", "app/asgi.py"], **address)
    assert done.returncode != 0
    assert "will not listen on 0.0.0.0" in done.stderr


def start(command: list[str], **settings: str) -> subprocess.CompletedProcess[str]:
    """A process that has to end by itself."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_nothing_in_the_shell_is_named_like_a_library() -> None:
    """`streamlit run` puts app/ first on the import path: a file named like a library would stand in for it everywhere."""
    from importlib.metadata import packages_distributions

    ours = {file.stem for file in (ROOT / "app").glob("*.py")} - {"__init__", "__main__"}
    assert not ours & {*sys.stdlib_module_names, *packages_distributions()} - {"app"}


def test_a_lifespan_is_not_judged() -> None:
    sent: list[Any] = []

    async def inner(scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": scope["type"]})

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        await Edge(inner)({"type": "lifespan"}, None, send)  # type: ignore[arg-type]

    anyio.run(run)
    assert sent == [{"type": "lifespan"}]
