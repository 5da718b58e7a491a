"""What stands before every operation of the API: a request id, a token, and bounds on what may be sent.

Without a well-formed token the answer is 401, before any route, body or database is touched.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable
from typing import Protocol

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.access.bearer_claims import LONGEST, NotAdmitted, is_jws
from backend.access.tokens import is_well_formed
from backend.api import errors, hooks, inference_log, limits, monitors, sign_in
from backend.api.attempts import AGAIN_SECONDS, Attempts
from backend.api.limits import Limits
from backend.bootstrap import Backend
from backend.core import context
from backend.core.columns import new_id
from backend.core.context import Actor
from backend.core.errors import ExternalFailure

PUBLIC = frozenset({"/v1/health", "/v1/ready", "/v1" + sign_in.PATH, "/v1" + hooks.PATH})
"""The only paths that are answered without a token of ours. Those of sign-in and hooks are judged by what signed them."""
MOST_BYTES = 256 << 10
MOST_BYTES_OF = {
    "/v1/config/plan": 5 << 20,
    "/v1/config/apply": 5 << 20,
    "/v1" + inference_log.PATH: inference_log.MOST_BYTES,
}
"""Paths to which files are sent, whose content `blueprints.text` bounds, and batches of rows."""
BODY_SECONDS = 30.0

_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.:-]{8,64}")
_UPLOAD = re.compile(r"/v1/models/[^/]+/uploads")
"""Whose body is taken block by block by the operation itself, which bounds it."""
_PROFILE = re.compile("/v1" + monitors.PROFILE)
"""To which profiles are sent, which `drift.stored` bounds and distrusts."""
_EVENTS = re.compile("/v1" + inference_log.EVENTS)
"""To which KServe's logger sends; it has no way to send a header of one's own, but a URL may hold a password."""
_BASIC = re.compile(rb"(?i:basic) +([A-Za-z0-9+/=]{1,8192})")
_BEARER = re.compile(rb"(?i:bearer) +([\x21-\x7e]{1,%d})" % LONGEST)


class Readiness(Protocol):
    """Whether the database can be asked. `public.Asked` is one."""

    def code(self) -> str | None:
        """The code of what is lacking, or None."""
        ...


class Guard:
    """Pure ASGI, so that a refused request reaches no route, no body parser and no database.

    Args:
        app: what it stands before.
        backend: called for the first well-formed token, never at construction.
        ready: asked before a token is looked up.
    """

    def __init__(self, app: ASGIApp, backend: Callable[[], Backend], ready: Readiness) -> None:
        self._app = app
        self._backend = backend
        self._ready = ready
        self._attempts = Attempts()
        self._limits: Limits | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers itself, or hands on with a request id and the identity that acts."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        else:
            request = _request_id(scope)
            token = context.request_id.set(request)
            told = _Told(send, request, is_head=scope["method"] == "HEAD")
            try:
                await self._answer({**scope, "method": "GET"} if told.is_head else scope, receive, told)
            finally:
                context.request_id.reset(token)

    async def _answer(self, scope: Scope, receive: Receive, send: _Told) -> None:
        try:
            refused = None if _path(scope) in PUBLIC else await self._admit(scope, send)
            if refused is None:
                refused, receive = await _bounded(scope, receive)
            await (refused or self._app)(scope, receive, send)
        except Exception as error:  # the log gets it by our own hand, without what other systems answered
            if send.started:
                raise
            await errors.unforeseen(error)(scope, receive, send)

    async def _admit(self, scope: Scope, send: _Told) -> JSONResponse | None:
        """The answer for whoever is not let in; None for whoever is, with the identity in the scope's state."""
        text = _sent(scope)
        if not is_well_formed(text) and not (is_jws(text) and self._backend().bearers.could_be(text)):
            return _unauthorized("no-token", "This API answers only to a bearer token.")
        address = str((scope.get("client") or ("",))[0])
        wary = self._attempts.is_over(address)
        if wary and self._attempts.has_just_failed(text):
            return _too_many()
        try:
            lacking, actor = await run_in_threadpool(self._look_up, text, address if wary else None)
        except _NotKnown:
            return _too_many()
        except NotAdmitted as error:
            self._attempts.note(address, text, good=False)
            return _not_admitted(error)
        except ExternalFailure as error:  # it says nothing about the token
            return errors.answer(503, "external-failure", str(error), "Try again; nothing needs to be changed.")
        if lacking is not None:
            return errors.answer(503, lacking, "Countersign is not ready.", "Ask `/api/v1/ready` until it is, then try again.")
        self._attempts.note(address, text, good=actor is not None)
        if actor is None:
            structlog.get_logger().warning("api.token_refused", address=address)
            return _unauthorized(
                "bad-token", "This token is not good: unknown, expired, revoked, or its identity is not active."
            )
        scope["state"] = {**scope.get("state", {}), "actor": actor}
        return self._limited(actor.id, send)

    def _limited(self, who: str, send: _Told) -> JSONResponse | None:
        """The answer for an identity that sends too much; None for everybody else, who is told how much is left."""
        if self._limits is None:
            settings = self._backend().settings
            self._limits = Limits(settings.api_requests_per_minute, settings.api_burst)
        if not self._limits.are_set:
            return None
        standing = self._limits.take(who)
        send.add("ratelimit-policy", self._limits.policy)
        send.add("ratelimit", limits.told(standing))
        return _too_many_requests(standing.wait) if standing.wait else None

    def _look_up(self, text: str, wary_of: str | None) -> tuple[str | None, Actor | None]:
        """What is lacking, or whom the token acts as; in one turn of a thread, as each turn costs a request's time.

        _NotKnown, without a look for this token and without a check of its signature, where it comes from an address that this
        is wary of, is none that was good before, and is one of ours or finds no place among those that are checked.
        """
        if (lacking := self._ready.code()) is not None:
            return lacking, None
        bearers = self._backend().bearers
        if (
            wary_of is not None
            and not bearers.is_known(text)
            and (is_well_formed(text) or not self._attempts.may_check(wary_of, text))
        ):
            raise _NotKnown
        return None, bearers.actor_of(text)


class _NotKnown(Exception):
    """A token is none of those that there are, by what is known of them without a look."""


class _Told:
    """Sends on, with the headers of every answer; to a HEAD without the body."""

    def __init__(self, send: Send, request: str, *, is_head: bool = False) -> None:
        self._send = send
        self._added = [(b"x-request-id", request.encode()), (b"cache-control", b"no-store")]
        self.started, self.is_head = False, is_head

    def add(self, name: str, value: str) -> None:
        """One more header, while nothing was sent yet."""
        self._added.append((name.encode(), value.encode()))

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            message = {**message, "headers": [*message.get("headers", []), *self._added]}
        elif self.is_head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)


def _request_id(scope: Scope) -> str:
    """The caller's own, where it sent one that is well-formed; else a new one."""
    sent = [value for name, value in scope["headers"] if name == b"x-request-id"]
    match = _REQUEST_ID.fullmatch(sent[0]) if len(sent) == 1 else None
    return match[0].decode("ascii") if match is not None else new_id("req")


def _path(scope: Scope) -> str:
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


def _sent(scope: Scope) -> str:
    """The one token that was sent, or ""."""
    sent = [value for name, value in scope["headers"] if name == b"authorization"]
    match = _BEARER.fullmatch(sent[0]) if len(sent) == 1 else None
    if match is None and len(sent) == 1 and _EVENTS.fullmatch(_path(scope)):
        return _password(sent[0])
    return match[1].decode("ascii") if match is not None else ""


def _password(field: bytes) -> str:
    """The password of basic authentication, or ""; the name before it says nothing."""
    match = _BASIC.fullmatch(field)
    try:
        told = base64.b64decode(match[1], validate=True).partition(b":")[2].decode("ascii") if match is not None else ""
    except ValueError:
        return ""
    return told if len(told) <= LONGEST else ""


_REMEDY = "Send `Authorization: Bearer cst_...`; `countersign token create` makes a token."


def _unauthorized(code: str, message: str, remedy: str = _REMEDY) -> JSONResponse:
    found = errors.answer(401, code, message, remedy)
    found.headers["www-authenticate"] = "Bearer" if code == "no-token" else 'Bearer error="invalid_token"'
    return found


def _not_admitted(error: NotAdmitted) -> JSONResponse:
    """401; 403 for a good token that was given too little (RFC 6750, 3.1)."""
    if error.code != "insufficient-scope":
        return _unauthorized(error.code, error.message, error.remedy)
    found = errors.answer(403, error.code, error.message, error.remedy)
    found.headers["www-authenticate"] = 'Bearer error="insufficient_scope"'
    return found


def _too_many() -> JSONResponse:
    found = errors.answer(
        429,
        "too-many-attempts",
        "Too many tokens from this address were not good, and this is none that is known to be.",
        f"If it was made just now, try again in {AGAIN_SECONDS:.0f} seconds; else make another.",
    )
    found.headers["retry-after"] = f"{AGAIN_SECONDS:.0f}"
    return found


def _too_many_requests(seconds: int) -> JSONResponse:
    found = errors.answer(
        429, "too-many-requests", "This identity sends too many requests.", f"Try again in {seconds} seconds."
    )
    found.headers["retry-after"] = str(seconds)
    return found


async def _bounded(scope: Scope, receive: Receive) -> tuple[JSONResponse | None, Receive]:
    """Reads the body up to its bound, so that no operation holds more. Control characters in an address are refused."""
    if b"%00" in scope.get("raw_path", b"") or b"%00" in scope["query_string"] or "\x00" in scope["path"]:
        return errors.answer(400, "bad-request", "An address holds no NUL character.", "Leave it out."), receive
    if scope["method"] == "POST" and _UPLOAD.fullmatch(_path(scope)):
        return None, _steady(receive)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _body(receive, _most_bytes(_path(scope)))
    except TimeoutError:
        return errors.answer(408, "too-slow", "The body did not arrive in time.", "Send it again."), receive
    except ClientDisconnect:  # a command that was cut is not carried out, even where its beginning reads like a whole one
        return errors.answer(400, "cut-off", "The connection ended before the body did.", "Send it again."), receive
    if body is None:
        return errors.answer(
            413,
            "too-large",
            "The body is larger than 256 KiB, 5 MiB for files of declarations, or 8 MiB for an inference log or a profile.",
            "Send less.",
        ), receive
    scope["state"] = {**scope.get("state", {}), "has_body": bool(body)}
    return None, _replayed(body, receive)


def _most_bytes(path: str) -> int:
    if _PROFILE.fullmatch(path):
        return monitors.MOST_PROFILE_BYTES
    return inference_log.MOST_BYTES if _EVENTS.fullmatch(path) else MOST_BYTES_OF.get(path, MOST_BYTES)


async def _body(receive: Receive, most: int = MOST_BYTES) -> bytes | None:
    """The whole body; None when it is too large. ClientDisconnect when it ends before its end."""
    parts, size = list[bytes](), 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


def _steady(receive: Receive) -> Receive:
    """A sender that says nothing for too long has gone."""

    async def steady() -> Message:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await receive()
        except TimeoutError:
            return {"type": "http.disconnect"}

    return steady


def _replayed(body: bytes, receive: Receive) -> Receive:
    whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return whole.pop() if whole else await receive()

    return replayed
