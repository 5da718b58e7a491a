"""A router in memory, held to the same contract as Envoy, that fails by script. Callers reach it through `MemoryDoor`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from backend.core.errors import ExternalFailure
from backend.delivery.desired import DesiredRouter
from backend.delivery.routers.memory_world import MemoryRouterWorld, is_upstream
from backend.delivery.routers.port import ArmTraffic, RouterAbilities, RouterFacts, SeenRouter
from backend.delivery.routers.words import check_all
from backend.delivery.targets.memory_server import Fault
from backend.delivery.targets.port import Access


class MemoryRouterSettings(BaseModel):
    """Which router in memory: one of this process by `name`, or one in a JSON file that processes share by `path`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field("memory", title="Name", description="Which router in this process's memory.")
    path: str | None = Field(
        None, title="File", description="A JSON file in which processes share the router; without it, it lives in this process."
    )


class MemoryRouter:
    """The adapter. Everything it knows it reads from its world."""

    kind: ClassVar[str] = "memory"
    Settings: ClassVar[type[BaseModel]] = MemoryRouterSettings
    abilities: ClassVar[RouterAbilities] = RouterAbilities(split=True, mirror=True, sticky=True, fallback=True, read_back=True)

    def __init__(self, world: MemoryRouterWorld, name: str = "memory") -> None:
        self.world = world
        self._system = f"router {name}"

    @classmethod
    def connect(cls, settings: Mapping[str, Any], access: Access) -> Self:
        """The adapter for the router that the settings name."""
        chosen = MemoryRouterSettings.model_validate(settings)
        return cls(MemoryRouterWorld(chosen.name, chosen.path), access.name)

    def inspect(self) -> RouterFacts:
        """What the router is."""
        with call(self.world, "inspect", self._system):
            return RouterFacts("memory", "1", live=True)

    def push(self, desired: DesiredRouter) -> None:
        """Puts all routes in force in one locked step; nothing is journalled when they are so already."""
        check_all(desired, is_upstream)
        with call(self.world, "push", self._system) as fault:
            if fault.does("refuse"):
                self.world.refuse("it was scripted to be")
            elif not fault.does("lie"):
                self.world.put(desired.routes)

    def observe(self) -> SeenRouter:
        """The routes in force."""
        with call(self.world, "observe", self._system) as fault:
            return SeenRouter({}) if fault.does("lie") else self.world.seen()

    def traffic(self) -> tuple[ArmTraffic, ...]:
        """What the door counted for the arms in force since the router started."""
        with call(self.world, "traffic", self._system):
            return self.world.traffic()


@contextmanager
def call(world: MemoryRouterWorld, verb: str, system: str) -> Iterator[Fault]:
    """One call under the next scripted fault for that verb: slow, failed, reset, or done and then timed out."""
    fault = world.next_fault(verb)
    if fault.seconds:
        time.sleep(fault.seconds)
    if not world.is_up or fault.does("reset"):
        raise ExternalFailure(system, "cannot be reached", retryable=True)
    if fault.does("error"):
        raise ExternalFailure(system, f"answered 500 to {verb}", retryable=True)
    if fault.does("timeout"):
        raise ExternalFailure(system, f"did not answer to {verb} in time", retryable=True, applied_unknown=True)
    yield fault
    if fault.does("apply_then_timeout"):
        raise ExternalFailure(system, f"did not answer to {verb} in time", retryable=True, applied_unknown=True)
