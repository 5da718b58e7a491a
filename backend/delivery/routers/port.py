"""The port towards a traffic router: four verbs. Adding a router = one file + one line in `names.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self

from pydantic import BaseModel

from backend.delivery.desired import DesiredRouter, EndpointRoute
from backend.delivery.targets.port import Access


@dataclass(frozen=True)
class RouterAbilities:
    """What a router can do at all. `counts`: it tells each arm's requests without further settings."""

    split: bool
    mirror: bool
    sticky: bool
    fallback: bool
    read_back: bool
    counts: bool = True


@dataclass(frozen=True)
class RouterFacts:
    """What a router says of itself."""

    product: str
    version: str
    live: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class EnvoyAnswer:
    """What one of several Envoys made of the newest configuration.

    Args:
        state: `taken`; `refused`, with its reason; `waiting` for its answer; `gone`: it left and may go on with an older one;
            `absent`: of none at all, alone.
    """

    envoy: str
    state: Literal["taken", "refused", "waiting", "gone", "absent"]
    reason: str = ""


@dataclass(frozen=True)
class SeenRouter:
    """The configuration that a router has in force.

    Args:
        routes: endpoint -> the route in force, read back from the router and parsed into our words.
        foreign: names of routes in force that are not ours.
        rejected: the router's reason when it refused the newest configuration and kept the last good one; else "".
        digest: digest of the whole configuration in force.
        answers: of a router that is several Envoys, what each says; `routes` are then those of whoever is furthest behind.
    """

    routes: Mapping[str, EndpointRoute]
    foreign: tuple[str, ...] = ()
    rejected: str = ""
    digest: str = ""
    answers: tuple[EnvoyAnswer, ...] = ()


@dataclass(frozen=True)
class ArmTraffic:
    """What a router counted for one arm since it started.

    Args:
        requests: finished requests that were assigned to the arm; of a shadow arm the copies.
        failures: those that the arm failed, also where the champion answered in its place. A caller's own mistake is none.
        fallbacks: those of the failures that the champion answered.
    """

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

    @classmethod
    def connect(cls, settings: Mapping[str, Any], access: Access) -> Self:
        """The adapter for one router. Nothing is called yet. Raises pydantic's ValidationError for bad settings."""
        ...

    def inspect(self) -> RouterFacts:
        """What the router is. Raises ExternalFailure when it cannot be reached."""
        ...

    def push(self, desired: DesiredRouter) -> None:
        """Makes our routes so, absolutely and idempotently. Returns when the configuration is handed over, which proves
        nothing: `observe` does. Raises Refusal (`bad-route`) for a route that cannot be carried, before anything is changed,
        or ExternalFailure (`applied_unknown` when the call may have taken effect).
        """
        ...

    def observe(self) -> SeenRouter:
        """Reads back the configuration in force, not the one that was written."""
        ...

    def traffic(self) -> tuple[ArmTraffic, ...]:
        """Counters by endpoint and arm; they restart at 0 with the router. () where nothing counts."""
        ...
