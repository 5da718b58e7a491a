"""`Idempotency-Key`: a request that is sent again under its key has one effect; for every operation that makes something."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import scrypt, sha256
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from starlette.concurrency import run_in_threadpool

from backend.api.asking import Asks, Caller
from backend.core import request_keys
from backend.core.columns import Row
from backend.core.request_keys import Made

_PURPOSE = "countersign.request-key"
_SECRETS = ("credential", "address", "unit")
"""Fields of a body that may hold a secret, or name a person."""
_STREAMED = frozenset({"upload_version"})
"""Operations that take the body block by block, however large it is, and hash it themselves."""

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=128,
        description="Of your own choice, e.g. the build's number. The same request again under it returns what it made and "
        "makes no second one; another request under it, or the same by a token of other limits, is a 409 `key-used`. Kept for "
        "90 days.",
        examples=["build-1842"],
    ),
]


class Once:
    """Makes something once for each key of an identity."""

    def __init__(self, asks: Caller, response: Response, key: str | None, operation: str, asked: Any) -> None:
        self._asks, self._response = asks, response
        self.key, self.operation, self.asked = key, operation, asked

    def make(self, table: type[Row] | tuple[type[Row], ...], act: Callable[[], str], **more: Any) -> Made:
        """See `request_keys.once`. `more` is what was asked for besides the address and the body."""
        asked = [self.asked, more] if more else self.asked
        if (limits := self._asks.actor.limits) is not None:  # another token of the same identity may be shown less
            asked = {"asked": asked, "limits": [limits.role, limits.scope, *sorted(limits.besides)]}
        claim = request_keys.claimed(self._asks.actor, self.key, self.operation, asked) if self.key is not None else None
        made = request_keys.once(self._asks.backend.database, claim, table, act)
        if made.again:
            self._response.headers["idempotency-replayed"] = "true"
        return made


async def _once(request: Request, response: Response, asks: Asks, key: Key = None) -> Once:
    name = str(getattr(request.scope.get("route"), "name", ""))
    body = await _digest(request, asks.actor.id, key) if key is not None and name not in _STREAMED else ""
    asked = {"path": request.scope["path"], "query": str(request.query_params), "body": body}
    return Once(asks, response, key, name, asked)


async def _digest(request: Request, who: str, key: str) -> str:
    """Over what the body says, whatever type it is sent as, so that spaces and the order of fields make no other request.

    Of one that may hold a secret it is so slow that nobody guesses that from what is kept, with another salt for each key.
    """
    body = await request.body()
    if not body:
        return ""
    try:
        told = json.loads(body)
        body = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        told = None
    if isinstance(told, dict) and any(told.get(one) for one in _SECRETS):
        salt = sha256(f"{_PURPOSE}\n{who}\n{key}".encode()).digest()
        return (await run_in_threadpool(scrypt, body, salt=salt, n=2**14, r=8, p=1)).hex()
    return sha256(body).hexdigest()


Making = Annotated[Once, Depends(_once)]
