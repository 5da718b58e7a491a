"""A fleet of Envoys as one router: routes are handed to `countersign xds`, which gives them to each and hears what each says.

The same routes and clusters as for one Envoy with files (`envoy_render`). The ADS server keeps them on its own disk and gives
them on without the database or a worker. What is in force is what Envoys say that they took, and not what was handed over:
where they do not agree on an endpoint, the one that is furthest behind is told, and who it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from backend.delivery.desired import DesiredRouter
from backend.delivery.routers import words
from backend.delivery.routers.ads_door import AdsDoor, Member, Snapshot
from backend.delivery.routers.ads_fleet import counted, merged
from backend.delivery.routers.envoy_admin import EnvoyAdmin, is_url
from backend.delivery.routers.envoy_render import Rendered, render
from backend.delivery.routers.envoy_traffic import COUNTED, summed
from backend.delivery.routers.port import ArmTraffic, EnvoyAnswer, RouterAbilities, RouterFacts, SeenRouter
from backend.delivery.targets.port import Access

JOINING_SECONDS = 5.0
"""How long an Envoy that just connected may have taken nothing and not count."""


class EnvoyAdsSettings(BaseModel):
    """Where the worker reaches the ADS server of a fleet. Its token (COUNTERSIGN_XDS_TOKEN) is the router's credential."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    door_url: str = Field(
        title="Door of the ADS server",
        description="Where `countersign xds` takes routes (COUNTERSIGN_XDS_DOOR_ADDRESS), as http://host:port without a path; "
        "https:// where it is not on loopback.",
    )
    admin_urls: tuple[str, ...] = Field(
        (),
        max_length=200,
        title="Admin addresses",
        description="Where the Envoys' own admin endpoints answer, one each, if their requests shall be counted by arm here. "
        "Without them the access log tells.",
    )
    timeout_seconds: float = Field(
        5.0, ge=0.1, le=60, title="Time-out", description="Seconds for one call, and for all Envoys to take what was pushed."
    )
    answer_seconds: float = Field(
        30.0,
        ge=0.1,
        le=3600,
        title="Time-out of an arm",
        description="Seconds that one arm may take to answer; when it takes longer, the champion gets as long again.",
    )

    @field_validator("door_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        return is_url(value)

    @field_validator("admin_urls")
    @classmethod
    def _are_urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(is_url(one) for one in value)


class EnvoyAdsRouter:
    """The adapter. It keeps nothing: what it needs to know it asks the ADS server."""

    kind: ClassVar[str] = "envoy_ads"
    Settings: ClassVar[type[BaseModel]] = EnvoyAdsSettings
    abilities: ClassVar[RouterAbilities] = RouterAbilities(
        split=True, mirror=True, sticky=True, fallback=True, read_back=True, counts=False
    )

    def __init__(self, settings: EnvoyAdsSettings, access: Access) -> None:
        self._settings = settings
        self._system = f"router {access.name}"
        self._door = AdsDoor(access.guard, settings.door_url, access.credential, self._system, settings.timeout_seconds)
        self._admins = [EnvoyAdmin(access.guard, url, self._system, settings.timeout_seconds) for url in settings.admin_urls]

    @classmethod
    def connect(cls, settings: Mapping[str, Any], access: Access) -> Self:
        """See `Router`."""
        return cls(EnvoyAdsSettings.model_validate(settings), access)

    def inspect(self) -> RouterFacts:
        """What its Envoys are, by the oldest of them. Live: one is connected."""
        standing = self._door.standing()
        connected = [one for one in standing.members if one.connected]
        versions = sorted({one.version for one in connected if one.version}, key=_rank)
        warnings = [*standing.warnings, *([f"nothing is given to any Envoy: {standing.trouble}"] if standing.trouble else [])]
        warnings += [] if connected else ["no Envoy is connected"]
        warnings += [f"{one.node} left, and may go on with what it has" for one in standing.members if not one.connected][:20]
        warnings += [f"its Envoys have several versions: {', '.join(versions[:10])}"] if len(versions) > 1 else []
        return RouterFacts("Envoy", versions[0] if versions else "none connected", bool(connected), tuple(warnings))

    def push(self, desired: DesiredRouter) -> None:
        """One snapshot, numbered by the ADS server; none where the newest is so already. Then waits, at most a while."""
        words.check_all(desired)
        wanted = render(desired.routes.values(), self._settings.answer_seconds)
        standing = self._door.standing()
        number = standing.number
        if not standing.given or not _is_so(wanted, self._door.snapshot(number)):
            generations = {name: route.generation for name, route in desired.routes.items()}
            number = self._door.put(number, wanted, generations, self._drain())
        self._wait(number)

    def observe(self) -> SeenRouter:
        """What every Envoy that counts has in force; nothing where none does, which keeps no push from its place."""
        standing = self._door.standing()
        members = counted(standing.members, JOINING_SECONDS if standing.given else 0.0)
        if not members:
            return SeenRouter({}, answers=(EnvoyAnswer("", "absent", standing.trouble),))
        numbers = sorted({one.routes for one in members})
        snapshots = {number: self._door.snapshot(number) for number in numbers if number}
        return merged(members, snapshots, standing.number, self._settings.answer_seconds)

    def traffic(self) -> tuple[ArmTraffic, ...]:
        """The sum over the Envoys whose admin addresses are named; without any, ()."""
        return summed(admin.figures(COUNTED) for admin in self._admins)

    def _wait(self, number: int) -> None:
        """Until each Envoy answered. Whether they took it is for `observe` to say."""
        deadline, pause = time.monotonic() + self._settings.timeout_seconds, 0.005
        while time.monotonic() < deadline and _is_waiting(self._door.standing().members, number):
            time.sleep(pause)
            pause = min(2 * pause, 0.2)

    def _drain(self) -> float:
        """As long as a request may take in all: the arm, then the champion."""
        return 2 * self._settings.answer_seconds + 1


def _rank(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _is_so(wanted: Rendered, lying: Snapshot | None) -> bool:
    return lying is not None and lying.routes == wanted.routes and dict(lying.clusters) == dict(wanted.clusters)


def _is_waiting(members: Iterable[Member], number: int) -> bool:
    asked = [one for one in members if one.connected]
    return any(one.routes != number and one.refused_number != number for one in asked)
