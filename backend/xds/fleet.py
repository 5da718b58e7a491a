"""Who is connected, who left a while ago, and what each has: what `observe` of a router of kind `envoy_ads` is told."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from backend.delivery.routers.envoy_inspect import lacking
from backend.xds.exchange import Exchange
from backend.xds.protos.core_pb2 import Node

MOST_GONE = 10_000
log = structlog.get_logger()


@dataclass
class Envoy:
    """One stream of one Envoy.

    Args:
        since: when it connected, and `answered`, whether it has taken or refused anything here.
        lacks: what its build has not and our routes need, in words.
    """

    node: str
    peer: str
    version: str
    lacks: tuple[str, ...]
    since: float
    exchange: Exchange

    def told(self, now: float, given: tuple[int, float]) -> dict[str, Any]:
        """As JSON. `given`: the newest number, and when it was first given to anybody by this process."""
        refused = self.exchange.refused
        took = self.exchange.settled_at - given[1] if self.exchange.routes == given[0] else None
        return {
            "node": self.node,
            "peer": self.peer,
            "version": self.version,
            "lacks": list(self.lacks),
            "connected": True,
            "seconds": round(now - self.since, 1),
            "routes": self.exchange.routes,
            "took_seconds": round(took, 6) if took is not None and took >= 0 else None,
            "refused": {"number": refused[0], "reason": refused[1]} if refused is not None else None,
        }


@dataclass(frozen=True)
class Gone:
    """An Envoy whose stream ended: it goes on with what it has, unless it ended itself."""

    routes: int
    at: float


@dataclass
class Fleet:
    """All of them.

    Args:
        file: where who has what is kept over a restart.
        gone_seconds: how long one that left still counts.
        now: seconds of a clock that only goes forward.
    """

    file: Path
    gone_seconds: float
    now: Callable[[], float]
    envoys: list[Envoy] = field(default_factory=list)
    gone: dict[str, Gone] = field(default_factory=dict)
    turned_away: Counter[str] = field(default_factory=Counter)
    given: tuple[int, float] = (0, 0.0)

    def join(self, envoy: Envoy) -> None:
        """Counts a stream in."""
        self.envoys.append(envoy)
        self.gone.pop(envoy.node, None)

    def leave(self, envoy: Envoy) -> None:
        """A stream ended."""
        self.envoys.remove(envoy)
        if envoy.exchange.routes and all(one.node != envoy.node for one in self.envoys):
            self.gone[envoy.node] = Gone(envoy.exchange.routes, self.now())
            while len(self.gone) > MOST_GONE:
                del self.gone[next(iter(self.gone))]

    def used(self) -> set[int]:
        """Snapshots that any of them may still have something of."""
        self._forget()
        return {number for one in self.envoys for number in one.exchange.used} | {one.routes for one in self.gone.values()}

    def told(self) -> list[dict[str, Any]]:
        """Each as JSON, by name."""
        self._forget()
        now = self.now()
        left = [
            {"node": node, "connected": False, "seconds": round(now - one.at, 1), "routes": one.routes, "refused": None}
            for node, one in self.gone.items()
        ]
        return sorted([*(one.told(now, self.given) for one in self.envoys), *left], key=lambda one: str(one["node"]))

    def warnings(self) -> list[str]:
        """What a person should know."""
        counts = Counter(one.node for one in self.envoys)
        twice = [f"{count} streams call themselves {node}: each Envoy needs a name of its own" for node, count in counts.items()
                 if count > 1]  # fmt: skip
        lacks = sorted({f"{one.node}: {what}" for one in self.envoys for what in one.lacks})
        away = [f"{count} connections were turned away: {why}" for why, count in sorted(self.turned_away.items())]
        return [*sorted(twice)[:20], *lacks[:20], *away]

    def save(self) -> None:
        """Keeps who has what, so that a server that is started anew does not take the few that are back first for all."""
        has = {one.node: one.exchange.routes for one in self.envoys if one.exchange.routes}
        content = {node: one.routes for node, one in self.gone.items()} | has
        fresh = self.file.with_suffix(".new")
        try:
            fresh.write_text(json.dumps(content))
            os.replace(fresh, self.file)
        except OSError as error:
            log.warning("xds.fleet_not_kept", problem=error.strerror)

    def load(self) -> None:
        """Who was there before this start. Each has the usual time to come back."""
        try:
            found = json.loads(self.file.read_text())
            self.gone = {str(node): Gone(int(number), self.now()) for node, number in found.items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, AttributeError, TypeError):
            log.warning("xds.fleet_not_known", file=self.file.name)

    def _forget(self) -> None:
        before = self.now() - self.gone_seconds
        self.gone = {node: one for node, one in self.gone.items() if one.at >= before}


def version_of(node: Node) -> str:
    """The Envoy's own version; "" where it does not say."""
    number = node.user_agent_build_version.version
    return f"{number.major_number}.{number.minor_number}.{number.patch}" if number.major_number else ""


def lacks_of(node: Node) -> tuple[str, ...]:
    """What this build has not and our routes need."""
    return tuple(lacking(_extensions(node)))


def _extensions(node: Node) -> Iterable[tuple[str, str]]:
    return [(one.category, one.name) for one in node.extensions[:5_000] if not one.disabled]
