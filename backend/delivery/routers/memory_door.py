"""The door of a router in memory: it assigns by the same buckets, and the servers that it asks are in memory too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backend.core.errors import ExternalFailure
from backend.delivery.desired import ArmRoute, EndpointRoute
from backend.delivery.door import RoutedAnswer
from backend.delivery.routers.assignment import Assigned, assign
from backend.delivery.routers.memory import call
from backend.delivery.routers.memory_world import MemoryRouterWorld, upstream_settings
from backend.delivery.targets.memory import MemoryTarget
from backend.delivery.targets.memory_server import MemoryServer
from backend.delivery.targets.port import Answer


class MemoryDoor:
    """Asks as a caller would: what answers is the route in force, whatever the route that is handed in says."""

    def __init__(self, world: MemoryRouterWorld, name: str = "memory") -> None:
        self.world = world
        self._system = f"router {name}"

    def ask(self, route: EndpointRoute, inputs: Mapping[str, Any], config: Mapping[str, Any], unit: str) -> RoutedAnswer:
        """See `Door`."""
        with call(self.world, "ask", self._system):
            in_force = self.world.routes.get(route.endpoint)
            if in_force is None or in_force.model != route.model:
                raise ExternalFailure(self._system, f"answered 404 to a request to {route.endpoint}", retryable=True)
            assigned = assign(in_force, unit if in_force.unit_header == route.unit_header else "")
            self._copy(in_force, inputs)
            return self._answer(in_force, assigned, inputs)

    def _answer(self, route: EndpointRoute, assigned: Assigned, inputs: Mapping[str, Any]) -> RoutedAnswer:
        """The assigned arm's answer; where it has none, the champion's, and the failure is still the arm's."""
        arm = _arm(route, assigned.arm)
        try:
            answer, served = self._ask(route, arm, inputs), arm
        except ExternalFailure:
            if arm.arm == route.champion:
                self.world.count(route.endpoint, arm.arm, failed=True)
                raise
            answer, served = self._fall_back(route, arm, inputs)
        else:
            self.world.count(route.endpoint, arm.arm)
        return RoutedAnswer(answer, served.arm, str(served.version), str(route.generation), arm.arm, assigned.bucket)

    def _fall_back(self, route: EndpointRoute, arm: ArmRoute, inputs: Mapping[str, Any]) -> tuple[Answer, ArmRoute]:
        champion = _arm(route, route.champion)
        try:
            answer = self._ask(route, champion, inputs)
        except ExternalFailure:
            self.world.count(route.endpoint, arm.arm, failed=True)
            raise
        self.world.count(route.endpoint, arm.arm, failed=True, fell_back=True)
        return answer, champion

    def _copy(self, route: EndpointRoute, inputs: Mapping[str, Any]) -> None:
        """The shadow gets a copy; nobody sees what it makes of it."""
        if route.shadow is None:
            return
        try:
            self._ask(route, _arm(route, route.shadow), inputs)
        except ExternalFailure:
            self.world.count(route.endpoint, route.shadow, failed=True)
        else:
            self.world.count(route.endpoint, route.shadow)

    def _ask(self, route: EndpointRoute, arm: ArmRoute, inputs: Mapping[str, Any]) -> Answer:
        settings = upstream_settings(route.upstream)
        if settings is None:
            raise ExternalFailure(self._system, f"cannot reach {route.upstream} from memory", retryable=False)
        target = MemoryTarget(MemoryServer(**settings), route.upstream)
        try:
            return target.answer(arm.served_model, arm.served_version, inputs)
        except ExternalFailure as error:
            raise ExternalFailure(self._system, f"answered 503 to a request to {route.endpoint}", retryable=True) from error


def _arm(route: EndpointRoute, name: str) -> ArmRoute:
    return next(arm for arm in route.arms if arm.arm == name)
