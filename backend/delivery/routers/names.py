"""The registry of routers: one line a router. An unknown name is an error, never a default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from backend.core.errors import Refusal
from backend.core.outbound import Guard
from backend.delivery.door import Door, HttpDoor
from backend.delivery.routers.envoy import EnvoyRouter
from backend.delivery.routers.envoy_ads import EnvoyAdsRouter
from backend.delivery.routers.memory import MemoryRouter, MemoryRouterSettings
from backend.delivery.routers.memory_door import MemoryDoor
from backend.delivery.routers.memory_world import MemoryRouterWorld
from backend.delivery.routers.port import Router
from backend.delivery.targets.port import Access

ROUTERS: dict[str, type[Router]] = {
    MemoryRouter.kind: MemoryRouter,
    EnvoyRouter.kind: EnvoyRouter,
    EnvoyAdsRouter.kind: EnvoyAdsRouter,
}


def build(kind: str, settings: Mapping[str, Any], credential: str | None, guard: Guard, *, name: str = "") -> Router:
    """The adapter for one router; nothing is called yet.

    Args:
        kind: a key of ROUTERS.
        settings: the adapter's own Settings as JSON.
        credential: the opened secret, if the router needs one.
        name: the user's name for the router, for messages.
    """
    adapter = router_type(kind)
    _checked(kind, adapter.Settings, settings)
    return adapter.connect(settings, Access(name or kind, credential, guard))


def router_type(kind: str) -> type[Router]:
    """The adapter's class, for its abilities and its form. Refusal for an unknown kind."""
    if kind not in ROUTERS:
        raise Refusal(
            f"{kind!r} is not a kind of router that Countersign speaks to.",
            f"Choose one of: {', '.join(sorted(ROUTERS))}.",
            code="unknown-router",
        )
    return ROUTERS[kind]


def door(
    kind: str,
    settings: Mapping[str, Any],
    public_url: str,
    guard: Guard,
    *,
    name: str = "",
    mark: Callable[[], str] | None = None,
) -> Door:
    """Where callers reach the endpoints of a router; nothing is called yet. `public_url` is not read for one in memory.

    Args:
        mark: as of `HttpDoor`.
    """
    checked = _checked(kind, router_type(kind).Settings, settings)
    if isinstance(checked, MemoryRouterSettings):
        return MemoryDoor(MemoryRouterWorld(checked.name, checked.path), name or kind)
    return HttpDoor(guard, public_url, name or kind, mark)


def _checked(kind: str, settings_type: type[BaseModel], settings: Mapping[str, Any]) -> BaseModel:
    try:
        return settings_type.model_validate(settings)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "settings"
        raise Refusal(
            f"The settings of this {kind} router are wrong: {where}: {first['msg'].removeprefix('Value error, ')}.",
            "Correct that field and try again.",
            code="bad-setting",
            field=where,
        ) from error
