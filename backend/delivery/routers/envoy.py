"""Envoy as a router, told by two files that it watches and read back through its admin endpoint.

A push puts the clusters in place first, waits until Envoy has them, then replaces the routes by one rename, so that no route
ever names a cluster that is not there. Clusters that only the routes before needed stay until the next change: a request that
was routed a moment ago may still be on its way to one of them. What Envoy refuses it leaves as it was; `observe` says so.

The admin endpoint has no authentication of its own: keep it on loopback or in a private network that only the worker reaches.
Sources: Envoy 1.40, API reference and operations guide (filesystem subscriptions, admin interface, statistics).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from backend.core.errors import ExternalFailure
from backend.delivery.desired import DesiredRouter
from backend.delivery.routers import words
from backend.delivery.routers.envoy_admin import EnvoyAdmin, Subscription, Subscriptions, is_url
from backend.delivery.routers.envoy_files import WatchedFile, Written, last_reason, version_of
from backend.delivery.routers.envoy_inspect import facts
from backend.delivery.routers.envoy_readback import InForce, parse_dump, seen
from backend.delivery.routers.envoy_render import Json, Rendered, is_ours, render
from backend.delivery.routers.envoy_traffic import COUNTED, summed
from backend.delivery.routers.port import ArmTraffic, RouterAbilities, RouterFacts, SeenRouter
from backend.delivery.targets.port import Access

_CLOCK_SECONDS = 0.05
"""How much later than its rename, by their two clocks, Envoy may say that it took a file, and still have taken that one."""


class EnvoySettings(BaseModel):
    """Where the worker reaches an Envoy."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    routes_file: str = Field(
        title="File of the routes",
        description="The file that Envoy reads its route configuration `countersign` from (RDS): an absolute path that ends in "
        ".json, as the worker sees it. It is overwritten.",
    )
    clusters_file: str = Field(
        title="File of the clusters",
        description="The file that Envoy reads its clusters from (CDS): another absolute path that ends in .json, as the "
        "worker sees it. It is overwritten.",
    )
    admin_url: str = Field(
        title="Admin address", description="Where Envoy's admin endpoint answers, as http://host:port without a path."
    )
    log_file: str | None = Field(
        None,
        title="Log file",
        description="Envoy's own log, as the worker sees it: the only place where Envoy writes why it refused a configuration.",
    )
    timeout_seconds: float = Field(
        5.0,
        ge=0.1,
        le=60,
        title="Time-out",
        description="Seconds for one call to the admin address, and for Envoy to take a file.",
    )
    answer_seconds: float = Field(
        30.0,
        ge=0.1,
        le=3600,
        title="Time-out of an arm",
        description="Seconds that one arm may take to answer; when it takes longer, the champion gets as long again.",
    )

    @field_validator("routes_file", "clusters_file")
    @classmethod
    def _is_json_file(cls, value: str) -> str:
        """A name that cannot be a system file by mistake: these two are overwritten."""
        if not Path(value).is_absolute() or Path(value).suffix != ".json" or "\0" in value:
            raise ValueError("give the absolute path of a .json file")
        return value

    @field_validator("admin_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        return is_url(value)

    @model_validator(mode="after")
    def _are_two(self) -> Self:
        if Path(self.routes_file) == Path(self.clusters_file):
            raise ValueError("the routes and the clusters need a file each")
        return self


class EnvoyRouter:
    """The adapter. It keeps nothing: what it needs to know it reads from Envoy and from the two files."""

    kind: ClassVar[str] = "envoy"
    Settings: ClassVar[type[BaseModel]] = EnvoySettings
    abilities: ClassVar[RouterAbilities] = RouterAbilities(split=True, mirror=True, sticky=True, fallback=True, read_back=True)

    def __init__(self, settings: EnvoySettings, access: Access) -> None:
        self._settings = settings
        self._system = f"router {access.name}"
        self._admin = EnvoyAdmin(access.guard, settings.admin_url, self._system, settings.timeout_seconds)
        self._routes = WatchedFile(settings.routes_file, self._system)
        self._clusters = WatchedFile(settings.clusters_file, self._system)

    @classmethod
    def connect(cls, settings: Mapping[str, Any], access: Access) -> Self:
        """See `Router`."""
        return cls(EnvoySettings.model_validate(settings), access)

    def inspect(self) -> RouterFacts:
        """What Envoy says of itself, and what its own configuration lacks for us."""
        server = self._admin.read("/server_info", dict)
        return self._admin.read("/config_dump", lambda dump: facts(server, dump, self._settings.admin_url))

    def push(self, desired: DesiredRouter) -> None:
        """Clusters, then routes. Nothing is written when the files and what is in force are so already."""
        wanted = self._rendered(desired)
        before = self._admin.in_force()
        if not self._is_so(wanted, before):
            fared = self._admin.subscriptions()
            self._give_clusters(wanted, before, fared)
            self._give_routes(wanted, fared)

    def observe(self) -> SeenRouter:
        """What is in force, and whether Envoy refused what was written last."""
        rejected, seconds = self._rejected(), self._settings.answer_seconds
        return self._admin.read("/config_dump", lambda dump: seen(parse_dump(dump), seconds, rejected))

    def traffic(self) -> tuple[ArmTraffic, ...]:
        """A request that an arm failed is a failure of that arm, also when the champion answered it in the end.

        What a caller got wrong is no failure. Counted are finished requests; one that its caller gave up is not.
        """
        return summed([self._admin.figures(COUNTED)])

    # -- the steps of a push

    def _rendered(self, desired: DesiredRouter) -> Rendered:
        words.check_all(desired)
        return render(desired.routes.values(), self._settings.answer_seconds)

    def _is_so(self, wanted: Rendered, in_force: InForce) -> bool:
        routes, clusters = self._routes.read(), self._clusters.read()
        written = {str(each.get("name")): each for each in clusters.resources}
        extra = {name: each for name, each in written.items() if name not in wanted.clusters}
        return (
            in_force.configuration == wanted.routes
            and _has(in_force, wanted)
            and _holds(routes, [wanted.routes])
            and all(is_ours(each) for each in extra.values())
            and _holds(clusters, _sorted({**wanted.clusters, **extra}))
        )

    def _give_clusters(self, wanted: Rendered, before: InForce, fared: Subscriptions) -> None:
        """What the new routes need, and what the routes in force still use."""
        named = before.named_clusters()
        used = {name: each for name, each in before.clusters.items() if name in named and is_ours(each)}
        resources = _sorted({**used, **wanted.clusters})
        if _has(before, wanted) and _holds(self._clusters.read(), resources):
            return
        version = self._clusters.replace(resources)
        if not self._comes("clusters", version, lambda now: _has(now, wanted), fared.clusters):
            reason = self._reason() or "it has not taken its new clusters in time"
            raise ExternalFailure(self._system, f"was left with its old routes: {reason}", retryable=True)

    def _give_routes(self, wanted: Rendered, fared: Subscriptions) -> None:
        """Hands the routes over and waits for them, at most a while: whether they came is for `observe` to say."""
        version = self._routes.replace([wanted.routes])
        self._comes("routes", version, lambda now: now.configuration == wanted.routes, fared.routes)

    def _comes(
        self, which: Literal["routes", "clusters"], version: str, holds: Callable[[InForce], bool], before: Subscription
    ) -> bool:
        """Waits until a file is in force, or refused. Envoy takes one in milliseconds; hundreds of clusters keep it busy."""
        deadline, pause = time.monotonic() + self._settings.timeout_seconds, 0.005
        while True:
            with suppress(ExternalFailure):  # too busy to answer
                fared = self._admin.subscriptions()
                fares: Subscription = getattr(fared, which)
                if fares.version == version and not fared.warming and holds(self._admin.in_force()):
                    return True
                if fares.refused > before.refused:
                    return False
            if time.monotonic() > deadline:
                return False
            time.sleep(pause)
            pause = min(2 * pause, 0.2)

    def _rejected(self) -> str:
        fared = self._admin.subscriptions()
        for file, subscription in ((self._routes, fared.routes), (self._clusters, fared.clusters)):
            if _is_refused(file.read(), subscription):
                return self._reason() or f"{file.path.name} was refused, and only Envoy's own log says why"
        return ""

    def _reason(self) -> str:
        return last_reason(self._settings.log_file)


def _has(in_force: InForce, wanted: Rendered) -> bool:
    return all(in_force.clusters.get(name) == each for name, each in wanted.clusters.items())


def _holds(written: Written, resources: list[Json]) -> bool:
    return list(written.resources) == resources and written.version == version_of(resources)


def _sorted(clusters: Mapping[str, Json]) -> list[Json]:
    return [clusters[name] for name in sorted(clusters)]


def _is_refused(written: Written, subscription: Subscription) -> bool:
    """Whether the newest file is not the one that Envoy took last, and Envoy has refused one."""
    newer = written.renamed_at > subscription.taken_at + _CLOCK_SECONDS
    return subscription.refused > 0 and (written.version != subscription.version or newer)
