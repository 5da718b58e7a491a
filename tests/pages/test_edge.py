"""Who may connect, what every answer carries, and where the web app refuses to listen."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import anyio
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect
from streamlit.web.server import server_util

from app.acting import Browsers
from app.bind import believe_no_proxy, check_bind
from app.deep_links import NEXT, TOLD, encoded
from app.edge import COOKIE, Edge, Outside, inline_hashes, is_local, security_headers
from backend.core.errors import Refusal
from backend.core.loopback import is_loopback
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


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:5000", "http://localhost:8501", "http://[", "null", ""]
)
def test_a_page_of_another_origin_may_not_act_here(origin: str) -> None:
    here = client("http://127.0.0.1:8501")
    assert here.get("/", headers={"origin": origin}).status_code == 403
    socket = "ws://127.0.0.1:8501/ws"
    with pytest.raises(WebSocketDisconnect) as closed, here.websocket_connect(socket, headers={"origin": origin}):
        pass
    assert closed.value.code == 1008


def test_our_own_pages_may_and_streamlit_is_told_an_origin_that_it_looks_up_nowhere() -> None:
    seen: list[str] = []

    async def socket(one: WebSocket) -> None:
        seen.append(one.headers["origin"])
        await one.accept()
        await one.close()

    app = Edge(Starlette(routes=[WebSocketRoute("/ws", socket)]))
    ours = {"origin": "http://127.0.0.1:8501"}
    with TestClient(app).websocket_connect("ws://127.0.0.1:8501/ws", headers=ours):
        pass
    assert seen == ["http://localhost"]
    assert server_util.is_url_from_allowed_origins(seen[0])


@pytest.mark.parametrize("others", ["user@x=1", "a,b=1", 'prefs={"a": 1}', "=", ";;", "\xff=\xfe"])
def test_cookies_of_other_programs_of_this_machine_are_passed_over(others: str) -> None:
    here = client("http://127.0.0.1:8501")
    asked = {"accept": "text/html", "cookie": f"{others}; {COOKIE}=known".encode("latin-1")}
    answer = here.get("/", headers=asked)
    assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)


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


# Where people sign in

OUTSIDE = Outside("https://countersign.example.com", "countersign.example.com", "/release")


def signing_in(
    base: str = "https://countersign.example.com", outside: Outside = OUTSIDE, admits: Any = None, **answers: Any
) -> TestClient:
    """A client of an application whose sign-in routes answer as Streamlit's do."""

    async def answered(request: Any) -> Response:
        status, headers = answers.get(request.url.path.removeprefix(outside.base_path), (200, []))
        found = Response("what Streamlit says", status_code=status)
        for name, value in headers:
            found.headers.append(name, value)
        return found

    inner = Starlette(routes=[Route("/{path:path}", answered, methods=["GET", "POST"])])
    return TestClient(Edge(inner, only_loopback=False, outside=outside, admits=admits), base_url=base, follow_redirects=False)


REDIRECT = (302, [("location", "https://id.example.com/auth?state=x")])
SIGNED_IN = (302, [("location", "/release/"), ("set-cookie", "_streamlit_user=abc; Path=/release; HttpOnly")])
TURNED_AWAY = (302, [("location", "/release/"), ("set-cookie", '_streamlit_user=""; Max-Age=0; Path=/release')])


def test_where_people_sign_in_only_our_own_name_is_answered() -> None:
    assert signing_in().get("/release/").status_code == 200
    assert signing_in("http://127.0.0.1:8501").get("/release/").status_code == 200, "a proxy, and whoever looks after it"
    other = signing_in("https://evil.example").get("/release/")
    assert other.status_code == 403
    assert "redirect_uri" in other.text
    assert set(other.headers) >= WANTED
    assert signing_in("http://10.1.2.3").get("/release/api/v1/health").status_code == 200
    assert signing_in("http://10.1.2.3").get("/release/api/v1/me").status_code == 403


def test_where_people_sign_in_streamlit_is_told_the_origin_that_its_cookie_is_bound_to() -> None:
    seen: list[str] = []

    async def socket(one: WebSocket) -> None:
        seen.append(one.headers["origin"])
        await one.accept()
        await one.close()

    app = Edge(Starlette(routes=[WebSocketRoute("/release/ws", socket)]), only_loopback=False, outside=OUTSIDE)
    with TestClient(app).websocket_connect("wss://countersign.example.com/release/ws", headers={"origin": OUTSIDE.origin}):
        pass
    assert seen == [OUTSIDE.origin]


@pytest.mark.parametrize("asked", ["https://countersign.example.com", "http://127.0.0.1:8501"])
def test_our_pages_act_by_the_name_that_browsers_know_and_those_of_others_never(asked: str) -> None:
    """A proxy may ask by our own name, or by the address it reaches us at."""
    ours = signing_in(asked)
    assert ours.post("/release/", headers={"origin": OUTSIDE.origin}).status_code == 200
    assert ours.post("/release/", headers={"origin": asked}).status_code == 200
    for origin in ("https://evil.example", "https://countersign.example.com.evil.example", "http://127.0.0.1:5000", "null", ""):
        answer = ours.post("/release/", headers={"origin": origin})
        assert (answer.status_code, "another site" in answer.text) == (403, True), origin


def test_behind_tls_every_cookie_is_secure_and_browsers_are_told_to_stay_with_tls() -> None:
    answer = signing_in(**{"/": (200, [("set-cookie", "a=b"), ("Set-Cookie", "c=d; Secure")])}).get(
        "/release/", headers={"accept": "text/html"}
    )
    cookies = answer.headers.get_list("set-cookie")
    assert len(cookies) == 3
    assert all(one.lower().count("; secure") == 1 for one in cookies)
    assert answer.headers["strict-transport-security"].startswith("max-age=")
    plain = signing_in("http://localhost", Outside("http://localhost", "localhost")).get("/", headers={"accept": "text/html"})
    assert "secure" not in plain.headers["set-cookie"].lower()
    assert "strict-transport-security" not in plain.headers


def test_the_page_that_was_wanted_is_kept_over_the_provider() -> None:
    client = signing_in(**{"/auth/login": REDIRECT, "/oauth2callback": SIGNED_IN})
    page = "https://countersign.example.com/release/change?change=7"
    left = client.get("/release/auth/login?provider=x", headers={"referer": page})
    assert left.headers["location"] == "https://id.example.com/auth?state=x"
    (cookie,) = left.headers.get_list("set-cookie")
    for part in ("countersign_next=", "Path=/release/oauth2callback", "HttpOnly", "SameSite=Lax", "Max-Age=600", "Secure"):
        assert part in cookie
    back = client.get("/release/oauth2callback?code=x&state=y")
    assert back.headers["location"] == "/release/change?change=7"
    assert any("countersign_next=;" in one and "Max-Age=0" in one for one in back.headers.get_list("set-cookie"))


@pytest.mark.parametrize("referer", ["", "https://evil.example/release/", "https://countersign.example.com/elsewhere", "x"])
def test_a_page_of_somebody_else_is_not_kept(referer: str) -> None:
    left = signing_in(**{"/auth/login": REDIRECT}).get("/release/auth/login", headers={"referer": referer})
    assert not left.headers.get_list("set-cookie")


@pytest.mark.parametrize(
    "planted", ["https://evil.example", "//evil.example", "/elsewhere", "/release//evil.example", "%0d%0aX: y"]
)
def test_a_planted_page_is_not_gone_to(planted: str) -> None:
    client = signing_in(**{"/oauth2callback": SIGNED_IN})
    back = client.get("/release/oauth2callback?code=x&state=y", headers={"cookie": f"{NEXT}={encoded(planted)}"})
    assert back.headers["location"] == "/release/"


@pytest.mark.parametrize(("query", "outcome"), [("code=x&state=y", "failed"), ("error=access_denied&state=y", "denied")])
def test_a_failed_sign_in_is_told_on_the_page_that_was_wanted(query: str, outcome: str) -> None:
    client = signing_in(**{"/oauth2callback": TURNED_AWAY})
    cookie = f"{NEXT}={encoded('/release/models')}"
    back = client.get(f"/release/oauth2callback?{query}", headers={"cookie": cookie})
    assert back.headers["location"] == "/release/models"
    assert any(one.startswith(f"{TOLD}={outcome};") for one in back.headers.get_list("set-cookie"))


def test_a_provider_that_is_away_is_told_on_the_page_and_a_sign_out_is_no_failure() -> None:
    client = signing_in(**{"/auth/login": (400, []), "/oauth2callback": (302, [("location", "/release/")])})
    left = client.get("/release/auth/login", headers={"referer": "https://countersign.example.com/release/models"})
    assert (left.status_code, left.headers["location"]) == (302, "/release/models")
    assert any(one.startswith(f"{TOLD}=away;") for one in left.headers.get_list("set-cookie"))
    back = client.get("/release/oauth2callback")
    assert back.headers["location"] == "/release/"
    assert not back.headers.get_list("set-cookie")


def test_an_open_address_needs_sign_in_and_no_demo_identities() -> None:
    check_bind("0.0.0.0", signs_in=True)
    check_bind(None, signs_in=True)
    with pytest.raises(Refusal, match="demo identities are switched on"):
        check_bind("0.0.0.0", signs_in=True, demo=True)
    check_bind("127.0.0.1", signs_in=True, demo=True)
    with pytest.raises(Refusal, match="no single sign-on"):
        check_bind("10.0.0.1", demo=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "::1", "[::1]", "127.1.2.3"])
def test_loopback_is_loopback(host: str) -> None:
    assert is_loopback(host)
    check_bind(host)


@pytest.mark.parametrize("host", ["", None, "0.0.0.0", "::", "10.0.0.1", "example.org", "127.0.0.1.example.org", "127.0.0.1 x"])
def test_any_other_address_is_refused_with_the_reason(host: str | None) -> None:
    with pytest.raises(Refusal, match="single sign-on"):
        check_bind(host)


@pytest.mark.parametrize(("proxies", "sender"), [(None, "127.0.0.1"), ("127.0.0.1", "203.0.113.9")])
def test_a_request_does_not_say_who_sent_it_unless_its_proxy_is_named(
    monkeypatch: pytest.MonkeyPatch, proxies: str | None, sender: str
) -> None:
    """By the server that Streamlit starts, as it is without a word about proxies."""
    if proxies is None:
        monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    else:
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", proxies)
    with monkeypatch.context() as environment:
        told = dict(os.environ)
        believe_no_proxy(told)
        environment.setenv("FORWARDED_ALLOW_IPS", told["FORWARDED_ALLOW_IPS"])
        seen: list[tuple[str, str]] = []

        async def look(scope: Any, _receive: Any, _send: Any) -> None:
            seen.append((scope["client"][0], scope["scheme"]))

        config = uvicorn.Config(look, log_config=None, interface="asgi3")
        config.load()
        headers = [(b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"https")]
        anyio.run(
            config.loaded_app, {"type": "http", "client": ("127.0.0.1", 1), "scheme": "http", "headers": headers}, None, None
        )
    assert seen == [(sender, "http" if proxies is None else "https")]


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
