"""Envoy's admin endpoint: reading only, every failure translated once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from backend.core.canonical import loads
from backend.core.errors import ExternalFailure, Refusal
from backend.core.outbound import Guard
from backend.delivery.routers.envoy_readback import InForce, parse_dump
from backend.embedded.envoy import ROUTE_CONFIG

T = TypeVar("T")
_ROUTES, _CLUSTERS = rf"rds\.{ROUTE_CONFIG}", r"cluster_manager\.cds"
_ENDS = ("update_rejected", "update_failure", "update_time", "version_text")
_SUBSCRIPTIONS = rf"({_ROUTES}|{_CLUSTERS})\.(update_|version_text)|cluster_manager\.warming"


@dataclass(frozen=True)
class Subscription:
    """How one of the two files has fared: refused or unreadable so often, and when and which one was taken last."""

    refused: int
    taken_at: float
    """Seconds since the epoch, by Envoy's clock; 0.0 for never."""
    version: str


@dataclass(frozen=True)
class Subscriptions:
    """Both files, and how many clusters wait for their addresses."""

    routes: Subscription
    clusters: Subscription
    warming: int


class EnvoyAdmin:
    """The admin endpoint of one Envoy."""

    def __init__(self, guard: Guard, url: str, system: str, timeout: float) -> None:
        self._guard = guard
        self._url = url.rstrip("/")
        self._timeout = timeout
        self.system = system

    def in_force(self) -> InForce:
        """The configuration in force, of one moment: the whole dump is one answer."""
        return self.read("/config_dump", parse_dump)

    def subscriptions(self) -> Subscriptions:
        """How the two files have fared."""
        figures = self.figures(_SUBSCRIPTIONS)
        try:
            return Subscriptions(_subscription(figures, _ROUTES), _subscription(figures, _CLUSTERS), _warming(figures))
        except ValueError as error:
            raise self._unexpected("/stats") from error

    def figures(self, pattern: str) -> dict[str, str]:
        """Counters, gauges and texts whose names match a regular expression."""
        lines = self._get("/stats", filter=pattern).text.splitlines()
        return {name: value.strip('"') for name, _, value in (line.partition(": ") for line in lines) if value}

    def read(self, path: str, parse: Callable[[Any], T]) -> T:
        """What `parse` makes of the JSON at a path. ExternalFailure when it is not what Envoy has there."""
        try:
            return parse(loads(self._get(path).content))
        except (Refusal, LookupError, TypeError, ValueError, AttributeError) as error:
            raise self._unexpected(path) from error

    def _get(self, path: str, **query: str) -> httpx.Response:
        try:
            got = self._guard.client(self._url, timeout=self._timeout).get(path, params=query)
        except httpx.HTTPError as error:
            raise ExternalFailure(self.system, "cannot be reached at its admin endpoint", retryable=True) from error
        if got.status_code != 200:
            raise ExternalFailure(self.system, f"answered {got.status_code} to {path}", retryable=got.status_code >= 500)
        return got

    def _unexpected(self, path: str) -> ExternalFailure:
        return ExternalFailure(self.system, f"gave an answer to {path} that is not Envoy's", retryable=False)


def is_url(value: str) -> str:
    """The value, where it is `http://host:port` and nothing more. ValueError for anything else."""
    if not re.fullmatch(r"https?://[^/?#@\s]+/?", value):
        raise ValueError("give http://host:port, without a path")
    return value


def _subscription(figures: Mapping[str, str], pattern: str) -> Subscription:
    """Of several listeners that read the same file, the one that fared worst."""
    mine = {name: value for name, value in figures.items() if re.search(rf"{pattern}\.", name)}
    of = {end: [value for name, value in mine.items() if name.endswith(f".{end}")] for end in _ENDS}
    return Subscription(
        refused=sum(int(value) for value in [*of["update_rejected"], *of["update_failure"]]),
        taken_at=min((int(value) for value in of["update_time"]), default=0) / 1000,
        version=min(of["version_text"], default=""),
    )


def _warming(figures: Mapping[str, str]) -> int:
    return int(figures.get("cluster_manager.warming_clusters", "0"))
