"""What stands before every operation of the API: a request id, and 401 for whoever brings no token."""

from __future__ import annotations

import json
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.core import context
from backend.core.columns import new_id

PUBLIC = frozenset({"/v1/health", "/v1/ready"})
"""The only paths that are answered without a token."""

_REFUSED: dict[str, Any] = {
    "error": {
        "code": "no-token",
        "message": "This API answers only to a bearer token.",
        "remedy": "Send `Authorization: Bearer ...`.",
    }
}


class RequireToken:
    """Pure ASGI, so that a refused request reaches no route, no body parser and no database.

    No tokens are issued yet, so that every path but the public ones is refused whatever is sent.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 401 itself, or hands on with a request id."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request = new_id("req")
        token = context.request_id.set(request)
        try:
            await self._answer(scope, receive, _with_headers(send, request))
        finally:
            context.request_id.reset(token)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope["path"]).removeprefix(scope.get("root_path", ""))
        if scope["type"] == "http" and path in PUBLIC:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _refuse(send)
        else:
            await send({"type": "websocket.close", "code": 1008})


async def _refuse(send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(_REFUSED).encode()})


def _with_headers(send: Send, request: str) -> Send:
    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            added = [(b"x-request-id", request.encode()), (b"cache-control", b"no-store")]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return told
