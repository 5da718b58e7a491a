"""What every request passes before Streamlit and the API: who may connect, security headers, and the browser's own cookie.

Streamlit 1.67's page holds one inline script; the content security policy allows it by its hash, taken from the installed
file at start, and no other script of any origin. Styles are written by the page itself (emotion), hence 'unsafe-inline' there.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

import streamlit
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.bind import is_loopback

COOKIE = "countersign_browser"
"""A random number that stands for one browser; what it means is kept in this process (app/identity.py)."""

_ONLY_HERE = (
    b"Countersign answers only on this machine, as 127.0.0.1 or localhost: without single sign-on anybody who reaches it "
    b"could act as anybody. Open it on the machine it runs on, or through an SSH tunnel.\n"
)
_FOREIGN = b"This was asked by a page of another site, which may not act here. Open Countersign itself.\n"
_INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)
Header = tuple[bytes, bytes]


class Edge:
    """Pure ASGI middleware around the whole application.

    Args:
        app: what it stands before.
        only_loopback: answer nobody but this machine, under no name but its own; off once single sign-on stands before it.
    """

    def __init__(self, app: ASGIApp, only_loopback: bool = True) -> None:
        self._app = app
        self._only_loopback = only_loopback
        self._headers = [(name.encode(), value.encode()) for name, value in security_headers().items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses, or hands on and adds the headers to the answer."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif self._only_loopback and not is_local(scope):
            await _refuse(scope, send, self._headers, _ONLY_HERE)
        elif not is_from_here(scope):
            await _refuse(scope, send, self._headers, _FOREIGN)
        else:
            await self._app(_at_home(scope), receive, self._dressed(scope, send))

    def _dressed(self, scope: Scope, send: Send) -> Send:
        new_browser = scope["type"] == "http" and _wants_page(scope) and COOKIE not in _cookies(scope)

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = _replaced(message.get("headers", []), self._headers)
                headers += [_new_browser()] if new_browser else []
                message = {**message, "headers": headers}
            await send(message)

        return told


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


def is_from_here(scope: Scope) -> bool:
    """Whether a request comes from one of our own pages, as far as a browser says: any other page may not act in its name."""
    origin = _header(scope, b"origin")
    return origin is None or origin.partition("://")[2] == _header(scope, b"host")


def _at_home(scope: Scope) -> Scope:
    """The request under the one origin that Streamlit knows without asking: for others it asks a host on the internet which
    address this machine has (web/server/server_util.py of 1.67), and waits for the answer.
    """
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
    names = {name for name, _ in ours}
    return [*((name, value) for name, value in headers if name.lower() not in names), *ours]


async def _refuse(scope: Scope, send: Send, headers: list[Header], says: bytes) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    start = [(b"content-type", b"text/plain; charset=utf-8"), *headers]
    await send({"type": "http.response.start", "status": 403, "headers": start})
    await send({"type": "http.response.body", "body": says})
