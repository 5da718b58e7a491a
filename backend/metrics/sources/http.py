"""HTTP to a source: through the one guard, bounded in size and time, no redirects, no body shown."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from backend.core.errors import ExternalFailure, Refusal
from backend.core.outbound import Guard, bounds, parse_url

MAX_ANSWER_BYTES = 32 << 20
TEXT = "text/plain;version=0.0.4;q=1,application/openmetrics-text;version=1.0.0;q=0.5"
"""What is asked for: the plain format, without names in quotes and without exemplars where the server has it."""


class Http:
    """GETs of one source.

    Args:
        system: the source in the user's words, for messages.
        seconds: for connecting, for each read, and for the whole answer.
        token: sent as a bearer token.
    """

    def __init__(self, guard: Guard, system: str, *, seconds: float, token: str | None = None) -> None:
        self._guard, self._system, self._seconds = guard, system, seconds
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    def get(self, url: str, *, accept: str, query: Mapping[str, str] | None = None, limit: int = MAX_ANSWER_BYTES) -> bytes:
        """The body of a 200. ExternalFailure when none came, Refusal `source-access` where access is denied."""
        address = parse_url(url)
        base = f"{address.scheme}://{address.netloc.decode('ascii')}"
        client = self._guard.client(base, headers=self._headers, timeout=self._seconds)
        try:
            with client.stream(
                "GET",
                address.path,
                params=dict(address.params) | dict(query or {}),
                headers={"accept": accept},
                extensions=bounds(max_bytes=limit, max_seconds=self._seconds),
            ) as answer:
                self._expect(answer)
                return answer.read()
        except httpx.HTTPError as error:
            raise ExternalFailure(self._system, self._words(error), retryable=True) from error

    def _expect(self, answer: httpx.Response) -> None:
        if answer.status_code == httpx.codes.OK:
            return
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise Refusal(
                f"{self._system} refuses Countersign's access to its metrics ({answer.status_code}).",
                "Name a credential for it, or let the worker in.",
                code="source-access",
            )
        if answer.is_redirect:
            raise Refusal(
                f"{self._system} points elsewhere ({answer.status_code}), where Countersign does not follow.",
                "Give the address at which it answers itself.",
                code="source-moved",
            )
        retryable = answer.is_server_error or answer.status_code == httpx.codes.TOO_MANY_REQUESTS
        raise ExternalFailure(self._system, f"answered {answer.status_code} instead of metrics", retryable=retryable)

    def _words(self, error: httpx.HTTPError) -> str:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
            return "cannot be reached"
        if isinstance(error, httpx.TimeoutException):
            return f"did not tell its metrics within {self._seconds:g} seconds"
        if isinstance(error, httpx.DecodingError):
            return "sent a compressed answer, which was not asked for"
        return "broke the connection, or sent more than is read"
