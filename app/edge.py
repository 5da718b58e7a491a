"""What every request passes before Streamlit and the API: who may connect, headers, cookies, the way to a provider and back.

Streamlit 1.67's page holds one inline script; the content security policy allows it by its hash, taken from the installed
file at start, and no other script of any origin. Styles are written by the page itself (emotion), hence 'unsafe-inline' there.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

import streamlit
from starlette.concurrency import run_in_threadpool
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import deep_links
from backend.core.loopback import is_loopback

COOKIE = "countersign_browser"
"""A random number that stands for one browser; what it means is kept in this process (app/acting.py)."""
_SIGNED_IN = b"_streamlit_user="
_ANY_HOST = ("/api/v1/health", "/api/v1/ready")
"""What whoever looks after the machine asks by whatever name; it says nothing else."""

_ONLY_HERE = (
    b"Countersign answers only on this machine, as 127.0.0.1 or localhost: without single sign-on anybody who reaches it "
    b"could act as anybody. Open it on the machine it runs on, or through an SSH tunnel.\n"
)
_OTHER_NAME = b"Countersign does not answer to this name. Open the address that its redirect_uri begins with.\n"
_FOREIGN = b"This was asked by a page of another site, which may not act here. Open Countersign itself.\n"
_UPLOADS = "/_stcore/upload_file"
_MADE = "/media/"
_ELSEWHERE = ("/api/", "/static/")
"""Where such a name is no file that a page made: models may be called so, and fonts lie there."""
_NO_FILES = b"Sign in first: files are taken from, and given to, only people who are signed in.\n"
_INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_POLICY, _SANDBOXED = b"content-security-policy", b"sandbox allow-scripts; "
Header = tuple[bytes, bytes]


@dataclass(frozen=True)
class Outside:
    """How browsers see this where people sign in: scheme, host and port, and the path below which it lies."""

    origin: str
    host: str
    base_path: str = ""

    @property
    def is_secure(self) -> bool:
        """Whether browsers come by TLS, which may end at a proxy before this process."""
        return self.origin.startswith("https://")


class Edge:
    """Pure ASGI middleware around the whole application.

    Args:
        app: what it stands before.
        only_loopback: answer nobody but this machine, under no name but its own; off once everybody has to sign in.
        outside: how browsers see this; None where nobody signs in.
        leaving: ends the session that these cookies stand for, before anybody is signed out by address.
        admits: whether these cookies are of somebody who may send files, and get what a page made; None where nobody signs
            in. Streamlit itself takes files from whoever opened a page and keeps them in memory, and hands a file that was
            made for one page to whoever knows its address.
    """

    def __init__(
        self,
        app: ASGIApp,
        only_loopback: bool = True,
        outside: Outside | None = None,
        leaving: Callable[[Mapping[str, str]], None] | None = None,
        admits: Callable[[Mapping[str, str]], bool] | None = None,
    ) -> None:
        self._app = app
        self._ends_session = leaving
        self._admits = admits
        self._only_loopback = only_loopback
        self._outside = outside
        self._secure = outside is not None and outside.is_secure
        headers = security_headers() | ({"strict-transport-security": "max-age=31536000"} if self._secure else {})
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses, or hands on and adds the headers to the answer."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif self._only_loopback and not is_local(scope):
            await _refuse(scope, send, self._headers, _ONLY_HERE)
        elif not self._only_loopback and not self._is_ours(scope):
            await _refuse(scope, send, self._headers, _OTHER_NAME)
        elif not is_from_here(scope, self._outside):
            await _refuse(scope, send, self._headers, _FOREIGN)
        elif not await self._may_have_files(scope):
            await _refuse(scope, send, self._headers, _NO_FILES)
        else:
            if self._ends_session is not None and self._outside is not None and _inner(scope, self._outside) == "/auth/logout":
                await run_in_threadpool(self._ends_session, _cookies(scope))
            await self._app(_at_home(scope, self._outside), receive, self._dressed(scope, send))

    def _is_ours(self, scope: Scope) -> bool:
        """Whether a request calls us by our name; any other is a name that somebody else made lead here."""
        host = _host(scope).lower()
        named = self._outside is None or host == self._outside.host
        return named or is_loopback(host) or scope.get("path", "").endswith(_ANY_HOST)

    async def _may_have_files(self, scope: Scope) -> bool:
        """Whether a request is about no file of a page, or comes from somebody who may bring and have one."""
        path = str(scope["path"]) if self._outside is None else _inner(scope, self._outside)
        about_files = _UPLOADS in path or (_MADE in path and not path.startswith(_ELSEWHERE))
        if self._admits is None or not about_files:
            return True
        return await run_in_threadpool(self._admits, _cookies(scope))

    def _dressed(self, scope: Scope, send: Send) -> Send:
        new_browser = scope["type"] == "http" and _wants_page(scope) and COOKIE not in _cookies(scope)

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                if self._outside is not None:
                    message = _led(scope, message, self._outside)
                headers = _replaced(message.get("headers", []), self._headers)
                headers += [_new_browser()] if new_browser else []
                message = {**message, "headers": _secured(headers) if self._secure else headers}
            await send(message)

        return told


def _led(scope: Scope, message: Message, outside: Outside) -> Message:
    """The answers on the way to a provider and back: the page that was wanted is kept, and a failure is told on it."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return message
    inner = _inner(scope, outside)
    if inner == "/auth/login":
        return _leaving(scope, message, outside)
    if inner == "/oauth2callback":
        return _returning(scope, message, outside)
    return message


def _inner(scope: Scope, outside: Outside) -> str:
    return str(scope["path"]).removeprefix(outside.base_path)


def _leaving(scope: Scope, message: Message, outside: Outside) -> Message:
    wanted = deep_links.wanted(_header(scope, b"referer") or "", outside.origin, outside.base_path)
    headers = list(message.get("headers", []))
    if int(message["status"]) >= 400:
        return _sent(message, headers, wanted or f"{outside.base_path}/", [_flash(outside, "away")])
    if wanted is not None:
        headers.append(_kept(outside, deep_links.encoded(wanted), deep_links.KEPT_SECONDS))
    return {**message, "headers": headers}


def _returning(scope: Scope, message: Message, outside: Outside) -> Message:
    headers = list(message.get("headers", []))
    signed_in = any(
        name == b"set-cookie" and value.startswith(_SIGNED_IN) and not _is_emptied(value) for name, value in headers
    )
    asked = parse_qs(scope["query_string"].decode("latin-1"))
    if not signed_in and not {"code", "error", "state"} & asked.keys():
        return message  # a provider sends people here after a sign-out too
    outcome = "" if signed_in else "denied" if asked.get("error") == ["access_denied"] else "failed"
    told = [_kept(outside, "", 0), _flash(outside, outcome)]
    return _sent(message, headers, deep_links.kept(_cookies(scope).get(deep_links.NEXT), outside.base_path), told)


def _sent(message: Message, headers: list[Header], to: str, more: list[Header]) -> Message:
    others = [(name, value) for name, value in headers if name not in (b"location", b"content-length", b"content-type")]
    return {**message, "status": 302, "headers": [*others, (b"location", to.encode("latin-1")), *more]}


def _kept(outside: Outside, value: str, seconds: int) -> Header:
    text = f"{deep_links.NEXT}={value}; Path={outside.base_path}/oauth2callback; HttpOnly; SameSite=Lax; Max-Age={seconds}"
    return b"set-cookie", text.encode("latin-1")


def _flash(outside: Outside, outcome: str) -> Header:
    seconds = deep_links.TOLD_SECONDS if outcome else 0
    text = f"{deep_links.TOLD}={outcome}; Path={outside.base_path}/; HttpOnly; SameSite=Lax; Max-Age={seconds}"
    return b"set-cookie", text.encode("latin-1")


def _is_emptied(cookie: bytes) -> bool:
    return cookie.removeprefix(_SIGNED_IN).startswith((b";", b'""'))


def _secured(headers: list[Header]) -> list[Header]:
    """Every cookie only by TLS."""
    return [
        (name, value + b"; Secure") if name.lower() == b"set-cookie" and b"; secure" not in value.lower() else (name, value)
        for name, value in headers
    ]


def security_headers() -> dict[str, str]:
    """The headers of every answer, lower case."""
    policy = {
        "default-src": "'self'",
        "script-src": " ".join(["'self'", *inline_hashes((Path(streamlit.__file__).parent / "static/index.html").read_text())]),
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": "'self'",
        "worker-src": "'self' blob:",
        "frame-src": "'none'",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return {
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "same-origin",
        "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), display-capture=()",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }


def inline_hashes(page: str) -> list[str]:
    """The CSP source of each inline script of a page."""
    digests = (hashlib.sha256(script.encode()).digest() for script in _INLINE.findall(page))
    return [f"'sha256-{base64.b64encode(one).decode()}'" for one in digests]


def is_local(scope: Scope) -> bool:
    """Whether a connection came in on a loopback address and names one: a name that resolves to it is a rebinding attack."""
    server = scope.get("server")
    return server is not None and is_loopback(str(server[0])) and is_loopback(_host(scope))


def is_from_here(scope: Scope, outside: Outside | None = None) -> bool:
    """Whether a request comes from one of our own pages, as far as a browser says: any other page may not act in its name.

    Ours are the pages of the host that was asked, and those of `outside`: a proxy may ask by another name than browsers do.
    """
    origin = _header(scope, b"origin")
    if origin is None or (outside is not None and origin == outside.origin):
        return True
    return origin.partition("://")[2] == _header(scope, b"host") != ""


def _at_home(scope: Scope, outside: Outside | None) -> Scope:
    """The request under the one origin that Streamlit knows without asking: for others it asks a host on the internet which
    address this machine has (web/server/server_util.py of 1.67), and waits for the answer.

    The origin of `outside` stays: Streamlit reads its cookie of a sign-in only there, and asks nobody about the Host's own.
    """
    if outside is not None and _header(scope, b"origin") == outside.origin:
        return scope
    headers = [(name, b"http://localhost" if name == b"origin" else value) for name, value in scope["headers"]]
    return {**scope, "headers": headers}


def _header(scope: Scope, wanted: bytes) -> str | None:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), None)


def _host(scope: Scope) -> str:
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    return host if host.endswith("]") else host.rpartition(":")[0] or host


def _wants_page(scope: Scope) -> bool:
    accept = next((value for name, value in scope["headers"] if name == b"accept"), b"")
    return scope["method"] == "GET" and b"text/html" in accept


def _cookies(scope: Scope) -> dict[str, str]:
    """Read as browsers write them: cookies of every port of this machine come along, whatever stands in them."""
    return cookie_parser(b"; ".join(value for name, value in scope["headers"] if name == b"cookie").decode("latin-1"))


def _new_browser() -> Header:
    value = f"{COOKIE}={secrets.token_urlsafe(32)}; Path=/; HttpOnly; SameSite=Lax"
    return b"set-cookie", value.encode()


def _replaced(headers: Iterable[Header], ours: list[Header]) -> list[Header]:
    """Ours in the place of what was answered; but an answer that gives up its origin says itself what may happen in it."""
    headers = list(headers)
    kept = next((value for name, value in headers if name.lower() == _POLICY and value.startswith(_SANDBOXED)), None)
    if kept is not None:
        ours = [(name, kept if name == _POLICY else value) for name, value in ours]
    names = {name for name, _ in ours}
    return [*((name, value) for name, value in headers if name.lower() not in names), *ours]


async def _refuse(scope: Scope, send: Send, headers: list[Header], says: bytes) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    start = [(b"content-type", b"text/plain; charset=utf-8"), *headers]
    await send({"type": "http.response.start", "status": 403, "headers": start})
    await send({"type": "http.response.body", "body": says})
