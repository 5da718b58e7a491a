"""The door of `countersign xds`, as a worker calls it: every failure translated once, every answer taken for hostile."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from backend.core.canonical import loads
from backend.core.errors import ExternalFailure, Refusal
from backend.core.outbound import Guard
from backend.delivery.routers.envoy_files import one_line
from backend.delivery.routers.envoy_render import Json, Rendered

T = TypeVar("T")
MOST_MEMBERS = 100_000


@dataclass(frozen=True)
class Member:
    """One Envoy as the ADS server tells of it.

    Args:
        seconds: since it connected, or since it left.
        routes: number of the snapshot that it routes by; 0 for none that is known.
        refused_number, reason: the snapshot that it refused last, and why; 0 and "" for none.
    """

    node: str
    connected: bool
    seconds: float
    routes: int
    version: str = ""
    refused_number: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Standing:
    """What the ADS server says of now. `given`: Envoys get the newest snapshot; else `trouble` says why not."""

    number: int
    given: bool
    trouble: str
    warnings: tuple[str, ...]
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Snapshot:
    """What was handed over under one number."""

    routes: Json
    clusters: Mapping[str, Json]


class AdsDoor:
    """The door of one ADS server."""

    def __init__(self, guard: Guard, url: str, token: str | None, system: str, timeout: float) -> None:
        self._guard, self._url, self._timeout = guard, url.rstrip("/"), timeout
        self._headers = {"authorization": f"Bearer {token}"} if token and token.isascii() and token.isprintable() else {}
        self._system = system

    def standing(self) -> Standing:
        """What is newest, and what each Envoy made of it."""
        return self._parsed(self._called("GET", "/v1/state"), _standing)

    def snapshot(self, number: int) -> Snapshot | None:
        """One that lies there, or None."""
        answer = self._called("GET", f"/v1/snapshots/{number}", unless=(404,))
        return None if answer.status_code == 404 else self._parsed(answer, _snapshot)

    def put(self, base: int, wanted: Rendered, generations: Mapping[str, int], drain_seconds: float) -> int:
        """Hands a snapshot over; its number. Refusals: older-generation, bad-snapshot."""
        content = {
            "base": base,
            "routes": wanted.routes,
            "clusters": [wanted.clusters[name] for name in sorted(wanted.clusters)],
            "generations": dict(generations),
            "drain_seconds": drain_seconds,
        }
        answer = self._called("PUT", "/v1/snapshots", unless=(400, 409), content=json.dumps(content).encode())
        if answer.status_code != 200:
            raise self._refused(answer)
        return self._parsed(answer, lambda told: int(told["number"]))

    def _called(self, method: str, path: str, *, unless: tuple[int, ...] = (), content: bytes | None = None) -> httpx.Response:
        client = self._guard.client(self._url, headers=self._headers, timeout=self._timeout)
        try:
            answer = client.request(method, path, content=content)
        except httpx.HTTPError as error:
            unknown = method == "PUT" and not isinstance(error, httpx.ConnectError)
            message = "cannot be reached at the door of its ADS server"
            raise ExternalFailure(self._system, message, retryable=True, applied_unknown=unknown) from error
        if answer.status_code == 401:
            raise Refusal(
                f"The ADS server of {self._system} does not take the credential.",
                "Enter what COUNTERSIGN_XDS_TOKEN holds there as the router's credential.",
                code="credential-refused",
            )
        if answer.status_code != 200 and answer.status_code not in unless:
            says = f"answered {answer.status_code} at the door of its ADS server"
            raise ExternalFailure(self._system, says, retryable=answer.status_code >= 500)
        return answer

    def _refused(self, answer: httpx.Response) -> Refusal | ExternalFailure:
        code, message = self._parsed(answer, lambda told: (str(told["code"]), one_line(str(told["message"]))))
        if code == "older-generation":
            return Refusal(
                f"The ADS server never goes back, and these routes would: {message}",
                "Look again. If the database came back from a backup, follow docs/fleets.md.",
                code="older-generation",
            )
        if code == "bad-snapshot":
            return Refusal(
                f"The ADS server does not take these routes: {message}",
                "Is `countersign xds` as new as the worker?",
                code="routes-refused",
            )
        return ExternalFailure(self._system, "was told other routes at the same time", retryable=True)

    def _parsed(self, answer: httpx.Response, parse: Callable[[Any], T]) -> T:
        try:
            return parse(loads(answer.content))
        except (Refusal, LookupError, TypeError, ValueError, AttributeError) as error:
            raise ExternalFailure(self._system, "gave an answer that is not an ADS server's", retryable=False) from error


def _standing(told: Any) -> Standing:
    members = tuple(_member(one) for one in told["envoys"][:MOST_MEMBERS])
    warnings = tuple(one_line(str(one)) for one in told["warnings"][:100])
    return Standing(int(told["number"]), told["given"] is True, one_line(str(told["trouble"])), warnings, members)


def _member(told: Any) -> Member:
    refused = told["refused"] or {"number": 0, "reason": ""}
    return Member(
        node=one_line(str(told["node"]))[:128],
        connected=told["connected"] is True,
        seconds=float(told["seconds"]),
        routes=int(told["routes"]),
        version=one_line(str(told.get("version", "")))[:40],
        refused_number=int(refused["number"]),
        reason=one_line(str(refused["reason"])),
    )


def _snapshot(told: Any) -> Snapshot:
    return Snapshot(dict(told["routes"]), {str(one["name"]): dict(one) for one in told["clusters"]})
