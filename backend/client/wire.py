"""One request and its answer: where a token may be sent, what is sent again and how often, and how a failure is read.

A token is sent over TLS with its certificate checked, or to this very machine; never after a redirect, and never into a log or
an exception. A request is sent again only where that cannot do a thing twice.

Sources: RFC 9457 (problems), RFC 9110 10.2.3 (`Retry-After`), the draft "The Idempotency-Key HTTP Header Field".
"""

from __future__ import annotations

import ipaddress
import json
import random
import ssl
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from backend.client.credentials import Tokens
from backend.client.errors import BadAddress, OtherSystemFailed, Problem, Refused, StrangeAnswer, TooOften, Unreachable, problem

API = "/api/v1"
MOST_BYTES = 32 << 20
_TRIES, _LONGEST_PAUSE = 4, 60.0
_CONNECT_SECONDS, _ANSWER_SECONDS = 10.0, 60.0
_IDEMPOTENT = frozenset({"GET", "PUT", "DELETE"})
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_FROM_PROXIES = frozenset({502, 503, 504})


@dataclass(frozen=True)
class Answer:
    """What a server answered: its JSON, the ETag of what it shows, and the request's id."""

    content: Any
    etag: str = ""
    request_id: str = ""


@dataclass(frozen=True)
class Patience:
    """How often something is tried, and how pauses are made; a test gives others."""

    tries: int = _TRIES
    longest: float = _LONGEST_PAUSE
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def pause(self, attempt: int, named: float | None) -> float | None:
        """Seconds before the next attempt; None when there shall be none."""
        if attempt + 1 >= self.tries or (named is not None and named > self.longest):
            return None
        return named if named is not None else min(self.longest, 0.5 * 2**attempt) * random.uniform(0.5, 1.0)


class Wire:
    """Requests to one server as one identity.

    Args:
        url: where the server is, without `/api/v1`.
        tokens: where the token comes from.
        ca_file: certificates of one's own authority, instead of those that Python trusts.
        seconds: the longest that any answer may take.
        transport: in place of the network.
    """

    def __init__(
        self,
        url: str,
        tokens: Tokens,
        *,
        ca_file: Path | None = None,
        patience: Patience | None = None,
        seconds: float | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._seconds = seconds
        self.url = address(url)
        self._tokens = tokens
        self._patience = patience or Patience()
        self._http = http(self.url, ca_file=ca_file, transport=transport)

    def __repr__(self) -> str:
        return f"Wire({self.url!r})"

    def close(self) -> None:
        """Returns every connection."""
        self._http.close()

    def get(self, *path: str | int, **query: Any) -> Answer:
        """One look."""
        return self.send("GET", path, query=query)

    def send(
        self,
        method: str,
        path: tuple[str | int, ...],
        *,
        query: Mapping[str, Any] | None = None,
        sent: Any = None,
        again: bool | None = None,
        key: str | None = None,
        if_match: str = "",
        only_new: bool = False,
        seconds: float = _ANSWER_SECONDS,
        stream: Path | None = None,
        wants: str = "",
    ) -> Answer:
        """One request.

        Args:
            path: parts under `/api/v1`; each is quoted whole.
            query: what is None or empty is left out.
            sent: the body, as JSON.
            again: whether sending it twice does what sending it once does; by default as its method or a key says, and never
                where it is bound to what there was.
            key: an idempotency key; "" makes one, and makes it safe to send again.
            if_match: the ETag that it is bound to.
            only_new: bound to there being no such thing yet.
            seconds: how long an answer may take.
            stream: a file that is the body.
            wants: a media type besides JSON that the answer may have; its content is then bytes.
        """
        url = f"{self.url}{API}/{'/'.join(_part(one) for one in path)}"
        headers = {"accept": ", ".join(filter(None, (wants, "application/json, application/problem+json")))}
        if key is not None:
            headers["idempotency-key"] = key or uuid.uuid4().hex
        if if_match:
            headers["if-match"] = if_match
        if only_new:
            headers["if-none-match"] = "*"
        if sent is not None or stream is not None:
            headers["content-type"] = "application/json" if stream is None else "application/octet-stream"
        body = None if sent is None else json.dumps(sent, allow_nan=False, ensure_ascii=False).encode("utf-8", "surrogatepass")
        asked = _Asked(method, url, _query(query or {}), headers, body, seconds, stream, wants)
        bound = bool(if_match) or only_new  # its own first effect would have it refused: 412, as if nothing had been done
        safe = (key is not None or (method in _IDEMPOTENT and not bound)) if again is None else again
        return self._patiently(asked, safe=safe)

    def _patiently(self, asked: _Asked, *, safe: bool) -> Answer:
        """Tries until there is an answer, an error that trying does not help, or no patience left."""
        attempt, renewed = 0, False
        while True:
            found = self._once(asked)
            if isinstance(found, Answer):
                return found
            if isinstance(found, Problem) and found.status == 401 and not renewed and self._tokens.renew():
                renewed = True  # a 401 is answered before anything is done
                continue
            pause = self._patience.pause(attempt, _named(found)) if _may_try_again(found, safe=safe) else None
            if pause is None:
                raise found
            self._patience.sleep(pause)
            attempt += 1

    def _once(self, asked: _Asked) -> Answer | Problem | Unreachable | StrangeAnswer:
        """One attempt. What went wrong is returned: no exception of another library, which may hold headers, is chained."""
        token = self._tokens.token()
        seconds = asked.seconds if self._seconds is None else min(asked.seconds, self._seconds)
        limits = httpx.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS))
        headers = {**asked.headers, "authorization": f"Bearer {token}"}
        body = asked.body
        try:
            with self._http.stream(
                asked.method, asked.url, params=asked.query, headers=headers, content=asked.stream_or(body), timeout=limits
            ) as answer:
                return _read(answer, _bytes(answer), asked.wants)
        except httpx.HTTPError as error:
            return _lost(error)
        finally:
            del token, headers


@dataclass(frozen=True)
class _Asked:
    """One request, without its token."""

    method: str
    url: str
    query: Mapping[str, Any]
    headers: Mapping[str, str]
    body: bytes | None
    seconds: float
    stream: Path | None
    wants: str

    def stream_or(self, body: bytes | None) -> Any:
        """The file in blocks, where there is one."""
        return body if self.stream is None else _blocks(self.stream)


def _blocks(file: Path) -> Any:
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            yield block


def address(url: str) -> str:
    """An address that a token may be sent to, without a slash at its end and without `/api/v1`. BadAddress."""
    try:
        told = httpx.URL(url.strip())
    except (httpx.InvalidURL, TypeError):
        raise BadAddress("This is no address.", "Write it like https://countersign.example.com.") from None
    if told.userinfo or told.query or told.fragment or not told.host or told.scheme not in ("http", "https"):
        raise BadAddress("This is no address of a server.", "Write it like https://countersign.example.com, without a user.")
    if told.scheme == "http" and not is_loopback(told.host):
        raise BadAddress(
            f"A token is not sent to {told.host} unencrypted.", "Use https; http is for this machine's own 127.0.0.1 alone."
        )
    return str(told).rstrip("/").removesuffix(API)


def is_loopback(host: str) -> bool:
    """Whether an address leads to this machine itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def http(url: str, *, ca_file: Path | None = None, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """What speaks HTTP: certificates are always checked, redirects never followed, and no proxy stands before this machine."""
    near = is_loopback(httpx.URL(url).host)
    trusted: ssl.SSLContext | bool = True
    if ca_file is not None:
        try:
            trusted = ssl.create_default_context(cafile=str(ca_file))
        except (OSError, ssl.SSLError):
            raise BadAddress(f"{ca_file} holds no certificates.", "Name a PEM file of your certificate authority.") from None
    if near and not url.startswith("https"):
        trusted = ssl.SSLContext(
            ssl.PROTOCOL_TLS_CLIENT
        )  # trusts nobody: there is no TLS here, and authorities take long to read
    return httpx.Client(
        verify=trusted,
        follow_redirects=False,
        trust_env=not near,
        transport=transport,
        headers={"user-agent": "countersign-client"},
    )


def asked(url: str, bearer: str, query: Mapping[str, str]) -> Mapping[str, object]:
    """The JSON object at another address of the environment's, such as a CI platform's. Unreachable, StrangeAnswer."""
    address(str(httpx.URL(url).copy_with(query=None, fragment=None)))
    found: Any = None
    with http(url) as client:
        try:
            answer = client.get(
                httpx.URL(url).copy_merge_params(query), headers={"authorization": f"Bearer {bearer}"}, timeout=_CONNECT_SECONDS
            )
            found = answer.json() if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError):
            pass
    if not isinstance(found, dict):
        raise StrangeAnswer(f"{httpx.URL(url).host} gave no token.", "Look at the job's permissions.")
    return found


def _part(value: str | int) -> str:
    """One part of a path, so that a name cannot lead elsewhere."""
    text = str(value)
    if text in ("", ".", "..") or "/" in text or "\x00" in text:
        raise Refused(f"{text[:80]!r} is no name.", "Check the name; it is case-sensitive.", code="not-found", status=404)
    return quote(text, safe="")


def _query(query: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: value for name, value in query.items() if value is not None and value != "" and value != ()}
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in told.items()}


def _bytes(answer: httpx.Response) -> bytes:
    """The body, up to a bound: whatever answers is not trusted to end."""
    parts, size = list[bytes](), 0
    for part in answer.iter_bytes():
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            return b""
    return b"".join(parts)


def _read(answer: httpx.Response, body: bytes, wants: str) -> Answer | Problem | Unreachable | StrangeAnswer:
    status = answer.status_code
    if 300 <= status < 400:
        return StrangeAnswer(
            "The server leads elsewhere, and a token does not follow.", "Name the address that it leads to, if it is yours."
        )
    if wants and status == 200 and body and answer.headers.get("content-type", "").startswith(wants):
        return Answer(body, answer.headers.get("etag", ""), answer.headers.get("x-request-id", "")[:200])
    content = _json(body) if "json" in answer.headers.get("content-type", "") else None
    request = answer.headers.get("x-request-id", "")[:200]
    if 200 <= status < 300 and (content is not None or not body):
        return Answer(content, answer.headers.get("etag", ""), request)
    if status >= 400 and isinstance(content, dict):
        return problem(status, content, request_id=request, retry_after=_seconds(answer.headers.get("retry-after")))
    if status in _FROM_PROXIES:
        return Unreachable(f"A proxy answered {status} in the server's place.", applied_unknown=status != 503)
    return StrangeAnswer(f"What answered {status} there is not Countersign.", "Check the address; it is without `/api/v1`.")


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _seconds(told: str | None) -> float | None:
    """`Retry-After` in seconds; its other form, a date, is not used by the server."""
    return float(told) if told is not None and told.isdecimal() and len(told) < 9 else None


def _lost(error: httpx.HTTPError) -> Unreachable | StrangeAnswer:
    says = str(error)
    if isinstance(error, httpx.ConnectError) and "CERTIFICATE" in says.upper():
        return StrangeAnswer(
            "The server's certificate cannot be trusted.",
            "Name your own authority's certificates in COUNTERSIGN_CA_FILE, if it is yours.",
        )
    kind = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "cannot be reached"
    return Unreachable(f"The server {kind}.", applied_unknown=not isinstance(error, _NOT_SENT))


def _named(found: Exception) -> float | None:
    return found.retry_after if isinstance(found, TooOften | OtherSystemFailed) else None


def _may_try_again(found: Exception, *, safe: bool) -> bool:
    """Whether another attempt may help, and cannot do a thing twice."""
    if isinstance(found, TooOften):
        return found.retry_after is not None
    if isinstance(found, OtherSystemFailed):
        return safe and found.status == 503 and found.retry_after is not None
    return isinstance(found, Unreachable) and (safe or not found.applied_unknown)
