"""The door for workers: HTTP, one token. `PUT` a snapshot, ask what lies here and what every Envoy made of it.

Whoever has the token decides what all Envoys of the fleet do, scripts included: it is the router's credential.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backend.core.canonical import loads
from backend.core.errors import ExternalFailure, Refusal
from backend.xds.hub import Hub
from backend.xds.snapshots import MOST_BYTES

_STATUS = {"snapshot-moved": 409, "older-generation": 409, "bad-snapshot": 400, "bad-json": 400}
_TAKEN_SECONDS = 60.0


def app(hub: Hub, token: str) -> Starlette:
    """The application: `GET /v1/state`, `GET` and `PUT /v1/snapshots/...`."""
    door = _Door(hub, token)
    routes = [
        Route("/v1/state", door.state, methods=["GET"]),
        Route("/v1/snapshots/{number:int}", door.snapshot, methods=["GET"]),
        Route("/v1/snapshots", door.put, methods=["PUT"]),
    ]
    return Starlette(routes=routes)


class _Door:
    def __init__(self, hub: Hub, token: str) -> None:
        self._hub = hub
        self._token = f"Bearer {token}".encode()

    async def state(self, request: Request) -> Response:
        """What is here, and who has what."""
        return self._refused(request) or JSONResponse(self._hub.state())

    async def snapshot(self, request: Request) -> Response:
        """What was handed over under a number."""
        if refused := self._refused(request):
            return refused
        number = int(request.path_params["number"])
        body = await asyncio.to_thread(self._hub.snapshots.body, number)
        if body is None:
            return _problem(404, "no-such-snapshot", f"Snapshot {number} does not lie here whole.", "")
        return Response(body, media_type="application/json")

    async def put(self, request: Request) -> Response:
        """`{"base", "routes", "clusters", "generations", "drain_seconds"}`, absolute."""
        if refused := self._refused(request):
            return refused
        body = await _body(request)
        if body is None:
            return _problem(413, "too-large", f"A snapshot has at most {MOST_BYTES >> 20} MiB.", "")
        try:
            content = await asyncio.to_thread(loads, body)
            base = content.get("base") if isinstance(content, dict) else None
            if type(base) is not int:
                return _problem(400, "bad-snapshot", "`base` is no number.", "Say the number that was the newest.")
            made = await self._hub.put(content, base)
        except Refusal as refusal:
            return _problem(_STATUS.get(refusal.code, 400), refusal.code, refusal.message, refusal.remedy)
        except ExternalFailure as failure:
            return _problem(503, "external-failure", str(failure), "")
        return JSONResponse({"number": made.number})

    def _refused(self, request: Request) -> Response | None:
        given = request.headers.get("authorization", "").encode()
        if hmac.compare_digest(given, self._token):
            return None
        return _problem(401, "no-token", "This takes COUNTERSIGN_XDS_TOKEN as a bearer token.", "")


async def _body(request: Request) -> bytes | None:
    """The body, read no further than it may be long, nor longer than it may take."""
    found = bytearray()
    async with asyncio.timeout(_TAKEN_SECONDS):
        async for part in request.stream():
            found += part
            if len(found) > MOST_BYTES:
                return None
    return bytes(found)


def _problem(status: int, code: str, message: str, remedy: str) -> Response:
    content: dict[str, Any] = {"code": code, "message": message, "remedy": remedy}
    return Response(json.dumps(content), status_code=status, media_type="application/json")
