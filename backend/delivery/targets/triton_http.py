"""HTTP to one Triton: bounded, translated once, no upstream body shown.

Shapes: Triton's own extensions of the Open Inference Protocol (github.com/triton-inference-server/server, docs/protocol:
model repository, model configuration, statistics), as release 2.51 was seen to answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from backend.core.canonical import loads
from backend.core.errors import CountersignError, ExternalFailure, Refusal
from backend.core.outbound import Guard, bounds

MAX_ANSWER_BYTES = 16 << 20
LIST_BYTES = 64 << 20
_PATHS = re.compile(r"(?<![\w./])/(?:[\w.@+~-]+/)*([\w.@+~-]+)")
_INNER = re.compile(r"(?i)[\w./-]*shm[\w./-]*|\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b|\b0x[0-9a-f]{6,}\b")
"""Shared memory, random ids and addresses: what Triton told of its inside was the first step into it (CVE-2025-23319)."""
_MAX_REASON = 240


@dataclass(frozen=True)
class Reply:
    """Status and body of an answer that came whole."""

    status: int
    body: bytes

    @property
    def reason(self) -> str:
        """What Triton says went wrong, as one short printable line without folders; "" when it says nothing."""
        try:
            said = loads(self.body)["error"]
        except (Refusal, TypeError, KeyError, IndexError):
            return ""
        return without_inner(said) if isinstance(said, str) else ""


class TritonHttp:
    """Calls below one base URL.

    Args:
        url: where Triton answers, a path prefix included where it has one.
        headers: the credential, or nothing.
        seconds: for everything but loading.
        system: the server in the user's words, for messages.
    """

    def __init__(self, url: str, headers: Mapping[str, str], guard: Guard, *, seconds: float, system: str) -> None:
        # Unencoded answers only: a small compressed body could unpack to any size behind the guard's bound.
        self._client = guard.client(url, headers={"accept-encoding": "identity", **headers}, timeout=seconds)
        self._seconds = seconds
        self.system = system

    def get(self, path: str, *, what: str) -> Any:
        """The JSON of a 200. `what` says in a few words what was asked."""
        return self.json(self.expect(self.ask("GET", path, what=what, limit=LIST_BYTES), what), what)

    def find(self, path: str, *, what: str) -> Any:
        """The JSON of a 200; None where Triton does not have it (any more)."""
        reply = self.ask("GET", path, what=what)
        return None if is_absent(reply) else self.json(self.expect(reply, what), what)

    def holds(self, path: str, *, what: str) -> bool:
        """Whether Triton says 200; that it does not have it, or not yet, is a no."""
        reply = self.ask("GET", path, what=what)
        return not is_absent(reply) and self.expect(reply, what).status == httpx.codes.OK

    def ask(
        self,
        method: str,
        path: str,
        *,
        what: str,
        content: bytes | None = None,
        writes: bool = False,
        seconds: float | None = None,
        limit: int = MAX_ANSWER_BYTES,
    ) -> Reply:
        """One call, whatever the status. ExternalFailure when no whole answer came.

        Args:
            writes: the call changes the server, so that an answer that got lost leaves open whether it did.
            seconds: instead of the usual time, for one read and for the whole body.
        """
        allowed = seconds or self._seconds
        options: dict[str, Any] = {
            "content": content,
            "timeout": allowed,
            "extensions": bounds(max_bytes=limit, max_seconds=allowed),
        }
        if content is not None:
            options["headers"] = {"content-type": "application/json"}
        try:
            with self._client.stream(method, path, **options) as answer:
                body = answer.read()
        except httpx.HTTPError as error:
            raise self._failed(error, what, writes) from error
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise self.strange(what)
        return Reply(answer.status_code, body)

    def expect(self, reply: Reply, what: str, *, writes: bool = False) -> Reply:
        """The reply if it is a 200, else the error that it stands for."""
        if reply.status != httpx.codes.OK:
            raise self.failure(reply, what, writes=writes)
        return reply

    def failure(self, reply: Reply, what: str, *, writes: bool = False) -> CountersignError:
        """What a status other than 200 comes to."""
        if reply.status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return Refusal(
                f"{self.system} refuses Countersign's access ({what}).",
                "Give the server's admin key, and the header that it asks for, in the server's settings.",
                code="server-access",
            )
        server_error = reply.status >= httpx.codes.INTERNAL_SERVER_ERROR
        return ExternalFailure(
            self.system,
            f"answered {reply.status} ({what})",
            retryable=server_error or reply.status == httpx.codes.TOO_MANY_REQUESTS,
            applied_unknown=writes and server_error,
        )

    def json(self, reply: Reply, what: str) -> Any:
        """A body as JSON."""
        try:
            return loads(reply.body)
        except Refusal as error:
            raise self.strange(what) from error

    def strange(self, what: str) -> ExternalFailure:
        """For an answer that no Triton gives."""
        return ExternalFailure(self.system, f"sent an answer that cannot be understood ({what})", retryable=True)

    def _failed(self, error: httpx.HTTPError, what: str, writes: bool) -> ExternalFailure:
        reached = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        verb = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "broke the connection"
        if not reached:
            verb = "cannot be reached"
        return ExternalFailure(self.system, f"{verb} ({what})", retryable=True, applied_unknown=writes and reached)


def is_absent(reply: Reply) -> bool:
    """How Triton says that a model or version is unknown, unloaded, or not ready yet: 400, 404 or 503, by endpoint."""
    if reply.status == httpx.codes.SERVICE_UNAVAILABLE:
        return "unknown model" in reply.reason
    return reply.status in (httpx.codes.BAD_REQUEST, httpx.codes.NOT_FOUND)


def model_path(model: str, version: int | None = None) -> str:
    """The path of a model, or of one version of it. Names come from the server too, and may hold anything."""
    named = f"/v2/models/{quote(model, safe='')}"
    return named if version is None else f"{named}/versions/{version}"


def without_inner(reason: str) -> str:
    """What a server says went wrong, as one short line without what it tells of its own inside."""
    return short(_INNER.sub("(...)", reason))


def short(text: str) -> str:
    """One short printable line. Folders of the server's machine are taken off file names."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    line = _PATHS.sub(r"\1", line).rstrip(" ;.")
    return line if len(line) <= _MAX_REASON else line[: _MAX_REASON - 3] + "..."
