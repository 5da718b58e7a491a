"""The port towards a traffic router: four verbs. Adding a router = one file + one line in `names.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from pydantic import BaseModel

from backend.delivery.desired import DesiredRouter, EndpointRoute


@dataclass(frozen=True)
class RouterAbilities:
    """What a router can do at all."""

    split: bool
    mirror: bool
    sticky: bool
    fallback: bool
    read_back: bool


@dataclass(frozen=True)
class RouterFacts:
    """What a router says of itself."""

    product: str
    version: str
    live: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeenRouter:
    """The configuration that a router has in force.

    Args:
        routes: endpoint -> the route in force, read back from the router and parsed into our words.
        foreign: names of routes in force that are not ours.
        rejected: the router's reason when it refused the newest configuration and kept the last good one; else "".
        digest: digest of the whole configuration in force.
    """

    routes: Mapping[str, EndpointRoute]
    foreign: tuple[str, ...] = ()
    rejected: str = ""
    digest: str = ""


@dataclass(frozen=True)
class ArmTraffic:
    """What a router counted for one arm since it started: requests by outcome, and those that the champion answered."""

    endpoint: str
    arm: str
    requests: int
    failures: int
    fallbacks: int


class Router(Protocol):
    """Something that splits an endpoint's traffic among arms."""

    kind: ClassVar[str]
    abilities: ClassVar[RouterAbilities]
    Settings: ClassVar[type[BaseModel]]

    def inspect(self) -> RouterFacts:
        """What the router is. Raises ExternalFailure when it cannot be reached."""
        ...

    def push(self, desired: DesiredRouter) -> None:
        """Makes our routes so, absolutely and atomically. Returns when the configuration is handed over, which proves
        nothing: `observe` does.
        """
        ...

    def observe(self) -> SeenRouter:
        """Reads back the configuration in force, not the one that was written."""
        ...

    def traffic(self) -> tuple[ArmTraffic, ...]:
        """Counters by endpoint and arm; they restart at 0 with the router."""
        ...
