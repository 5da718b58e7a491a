"""This machine's own installation: settings, the services behind them, and the API in this process as whoever acts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path

import httpx
import sqlalchemy as sa
import sqlmodel
from starlette.types import ASGIApp, Receive, Scope, Send

from backend import bootstrap
from backend.access.checks import require_to_read
from backend.api import app as api
from backend.bootstrap import Backend
from backend.client import wire
from backend.client.countersign import Countersign
from backend.client.credentials import AUDIENCE, GITHUB_URL, TOKEN, Given, Tokens, from_environment
from backend.client.wire import API, Patience
from backend.core.context import Actor
from backend.core.errors import ExternalFailure, Refusal
from backend.migrate import require_current
from backend.settings import Settings

_NOWHERE = "http://localhost"


@dataclass(frozen=True)
class Reading:
    """One consistent look at the database, and the time at which it was taken."""

    session: sqlmodel.Session
    now: datetime


class Here:
    """A data folder of this machine.

    Args:
        data: the folder; by default as the settings say.
        name: a demo identity to act as; by default whoever the token of the environment belongs to.
    """

    def __init__(self, data: Path | None, name: str | None) -> None:
        self._data = data
        self._name = name

    @cached_property
    def settings(self) -> Settings:
        """Read on first use."""
        return bootstrap.read_settings(self._data)

    @cached_property
    def backend(self) -> Backend:
        """The services; made on first use."""
        return bootstrap.build(self.settings)

    def close(self) -> None:
        """Returns every connection of the backend, if there is one."""
        if "backend" in self.__dict__:
            self.backend.close()

    @cached_property
    def actor(self) -> Actor:
        """Whom this command acts as. Refusal when the database is not ready or nobody is named."""
        self.require_ready()
        if self._name is not None:
            return self.backend.identities.act_as(self._name)
        if (source := _tokens()) is None:
            raise Refusal(
                "A command always acts as somebody.",
                f"Put a token into {TOKEN}, or name a demo identity with `--as NAME` or in COUNTERSIGN_AS.",
                code="no-identity",
            )
        if (actor := self.backend.bearers.actor_of(source.token())) is None:
            raise Refusal(
                f"The token in {source.says} is not good.", "Make another: `countersign token create`.", code="bad-token"
            )
        return actor

    def require_ready(self) -> None:
        """Refusal or ExternalFailure when there is no database to work with."""
        if (lacking := bootstrap.missing_database(self.settings)) is not None:
            raise lacking
        try:
            require_current(self.backend.database)
        except sa.exc.OperationalError as error:
            raise ExternalFailure("The database", "cannot be reached", retryable=True) from error

    @contextmanager
    def reading(self, action: str) -> Iterator[Reading]:
        """A look at the database by somebody who may do `action`; else Refusal."""
        actor, database = self.actor, self.backend.database
        with database.read() as session:
            now = database.now(session)
            require_to_read(session, actor, action, now=now)
            yield Reading(session, now)

    def client(self) -> Countersign:
        """The API in this process, as the actor. Nothing listens, and no token is made for it."""
        _ = self.actor
        return Countersign(_NOWHERE, Given("in-this-process"), patience=Patience(tries=1), transport=_Inside(self))


def _tokens() -> Tokens | None:
    """Where the environment has a token, as for a server; a folder has no address that GitHub could be asked for one to."""
    told = dict(os.environ)
    if not told.get(AUDIENCE):
        told.pop(GITHUB_URL, None)
    return from_environment("", wire.asked, told)


_asking: ContextVar[Here] = ContextVar("countersign_here")
"""On whose behalf the request is that is answered in this context."""


@cache
def _application() -> ASGIApp:
    """The API, built once a process, as that takes a quarter of a second."""
    return api.build(lambda: _asking.get().backend, door=_As)


class _As:
    """Stands where the guard stands before requests from outside: whoever calls is known already."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands on with the identity that acts."""
        state = {**scope.get("state", {}), "actor": _asking.get().actor}
        await self._app({**scope, "state": state}, receive, send)


class _Body(httpx.AsyncByteStream):
    """A body in blocks: an archive of gigabytes is not read into memory for this."""

    def __init__(self, stream: httpx.SyncByteStream | httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Each block."""
        if isinstance(self._stream, httpx.SyncByteStream):
            for block in self._stream:
                yield block


class _Inside(httpx.BaseTransport):
    """Requests to the API in this process. Its defects are exceptions here, as of any code that is called."""

    def __init__(self, here: Here) -> None:
        self._here = here

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request; its answer whole."""
        token = _asking.set(self._here)
        try:
            return asyncio.run(_ask(request))
        finally:
            _asking.reset(token)


async def _ask(request: httpx.Request) -> httpx.Response:
    inner = httpx.Request(request.method, request.url, headers=request.headers, stream=_Body(request.stream))
    transport = httpx.ASGITransport(app=_application(), root_path=API.removesuffix("/v1"))
    answer = await transport.handle_async_request(inner)
    content = b"".join([part async for part in answer.stream]) if isinstance(answer.stream, httpx.AsyncByteStream) else b""
    return httpx.Response(answer.status_code, headers=answer.headers, content=content, request=request)
