"""The world behind the in-memory router: the routes in force, scripted faults, changes by hand, counters and the journal."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from typing import Any

from backend.core.canonical import digest
from backend.delivery.desired import EndpointRoute
from backend.delivery.memory_state import MemoryState, State
from backend.delivery.routers.port import ArmTraffic, SeenRouter
from backend.delivery.routers.words import from_words, is_address, to_words
from backend.delivery.targets.memory_server import Fault

_UPSTREAM = "memory:"


class MemoryRouterWorld:
    """One router in memory.

    Its faults are those of the in-memory server, for the verbs push, observe, inspect, traffic and ask. Of these, refuse (push:
    the router keeps what it has and says why) and lie (push: says yes and does nothing; observe: sees nothing) are its own.

    Args:
        name: routers of one process are told apart by it.
        path: a JSON file instead, which processes share under a lock; its folder must exist.
    """

    def __init__(self, name: str = "memory", path: str | None = None) -> None:
        self._state = MemoryState(f"router {name}", path, _fresh)

    def state(self) -> AbstractContextManager[State]:
        """The whole state, alone; what the caller changes is kept."""
        return self._state.open()

    def script(self, *faults: Fault) -> None:
        """Appends faults; calls of a verb meet its faults in this order."""
        with self.state() as state:
            state["faults"].extend(asdict(fault) for fault in faults)

    def next_fault(self, verb: str) -> Fault:
        """Takes the next fault of a verb off the script; a harmless one when there is none."""
        found = self._state.next_fault(verb)
        return Fault(**found) if found else Fault(verb)

    @property
    def is_up(self) -> bool:
        """Whether the router can be reached."""
        with self.state() as state:
            return bool(state["up"])

    @property
    def journal(self) -> list[State]:
        """Every route that was put in force or taken out, in order: {"verb", "endpoint", "route": words or None, "by"}."""
        with self.state() as state:
            return list(state["journal"])

    @property
    def routes(self) -> dict[str, EndpointRoute]:
        """The routes in force; one that somebody made unreadable is left out."""
        with self.state() as state:
            read = {name: from_words(words, is_upstream) for name, words in state["routes"].items()}
        return {name: route for name, route in read.items() if route is not None}

    def seen(self) -> SeenRouter:
        """What is in force. Next to a route that is not ours none is as it was pushed: the stranger may answer first."""
        with self.state() as state:
            foreign, rejected, stored = (
                tuple(state["foreign"]),
                str(state["rejected"]),
                digest([state["routes"], state["foreign"]]),
            )
        routes = {name: shadowed(route, bool(foreign)) for name, route in self.routes.items()}
        return SeenRouter(routes, foreign, rejected, stored)

    def stop(self) -> None:
        """Nobody can reach the router. It keeps its routes and forgets what it counted, as an Envoy with its files does."""
        with self.state() as state:
            state.update(up=False, traffic={})

    def start(self) -> None:
        """The router is back."""
        with self.state() as state:
            state["up"] = True

    def put(self, routes: Mapping[str, EndpointRoute], *, by: str = "countersign") -> None:
        """Makes exactly these routes the ones in force; foreign ones go. What is so already is not journalled."""
        with self.state() as state:
            before, after = state["routes"], {name: to_words(route) for name, route in sorted(routes.items())}
            for name in sorted({*before, *after}):
                if before.get(name) != after.get(name):
                    state["journal"].append(_entry(name, after.get(name), by))
            state.update(routes=after, foreign=[], rejected="")

    def refuse(self, reason: str) -> None:
        """The newest configuration is refused; what was in force stays so."""
        with self.state() as state:
            state["rejected"] = reason

    def change(self, endpoint: str, **fields: Any) -> None:
        """Somebody changes fields of a route by hand."""
        routes = self.routes
        self.put({**routes, endpoint: replace(routes[endpoint], **fields)}, by="somebody")

    def add_foreign(self, name: str) -> None:
        """Somebody adds a route that is not ours."""
        with self.state() as state:
            state["foreign"].append(name)

    def count(self, endpoint: str, arm: str, *, failed: bool = False, fell_back: bool = False) -> None:
        """Counts one request that was assigned to an arm."""
        with self.state() as state:
            counted = state["traffic"].setdefault(endpoint, {}).setdefault(arm, [0, 0, 0])
            for position, happened in enumerate((True, failed, fell_back)):
                counted[position] += int(happened)

    def traffic(self) -> tuple[ArmTraffic, ...]:
        """What was counted for each arm in force."""
        routes = self.routes
        with self.state() as state:
            counted = state["traffic"]
        arms = [(name, arm.arm) for name, route in sorted(routes.items()) for arm in route.arms]
        return tuple(ArmTraffic(name, arm, *counted.get(name, {}).get(arm, (0, 0, 0))) for name, arm in sorted(arms))


def shadowed(route: EndpointRoute, is_so: bool) -> EndpointRoute:
    """A route that never equals the one that was pushed, where something else may answer before it."""
    return replace(route, upstream=f"{route.upstream} (a route that is not ours may answer first)") if is_so else route


def is_upstream(text: str) -> bool:
    """Whether a text names a server: one in memory (`memory:<name>` or `memory:<path of its JSON file>`) or `host:port`."""
    return (text.startswith(_UPSTREAM) and len(text) > len(_UPSTREAM)) or is_address(text)


def upstream_settings(upstream: str) -> dict[str, str] | None:
    """Settings of the in-memory target that an upstream names; None when it is not one in memory."""
    if not upstream.startswith(_UPSTREAM):
        return None
    name = upstream.removeprefix(_UPSTREAM)
    return {"path": name} if "/" in name else {"name": name}


def _fresh() -> State:
    return {"up": True, "routes": {}, "foreign": [], "rejected": "", "faults": [], "journal": [], "traffic": {}}


def _entry(endpoint: str, route: State | None, by: str) -> State:
    return {"verb": "route" if route else "remove", "endpoint": endpoint, "route": route, "by": by}
