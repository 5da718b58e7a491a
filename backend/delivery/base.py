"""What is live, in the plan's words (the base that changes are drawn against), and what was seen, as JSON. Pure values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from backend.core.canonical import digest
from backend.delivery import buckets
from backend.delivery.desired import EndpointRoute
from backend.delivery.generations import DesiredArm, DesiredEndpoint
from backend.delivery.rules import Seen, Wanted, strangers, version_of
from backend.delivery.seen import SeenServer


def base_from(
    number: int, desired: DesiredEndpoint | None, wanted: Wanted | None = None, seen: Seen | None = None
) -> dict[str, Any]:
    """What is live, in the plan's words: what changes are drawn against, and what votes are bound to.

    With `seen` it is told as it was found: an arm that is not ready is left out, shares and champion are the router's.
    """
    arms = desired.arms if desired is not None else ()
    if seen is not None and seen.server is not None:
        server = seen.server
        arms = tuple(arm for arm in arms if version_of(server, *arm.place).state == "ready")
    route = seen.route if seen is not None else wanted.route if wanted is not None else None
    shares = {arm.arm: buckets.share(arm.ranges) for arm in route.arms} if route is not None else {}
    told = [_base_arm(arm, shares.get(arm.name, 0 if route is not None else arm.buckets)) for arm in arms]
    base: dict[str, Any] = {
        "generation": number,
        "champion": route.champion if route is not None else desired.champion if desired is not None else None,
        "arms": sorted(told, key=lambda arm: str(arm["name"])),
        "routed": route is not None,
    }
    if wanted is not None and seen is not None and seen.server is not None:
        others = strangers(wanted, seen.server)
        base |= {"strangers": [list(one) for one in others]} if others else {}
    return base


def seen_facts(names: Iterable[str], server: SeenServer | None, route: EndpointRoute | None) -> dict[str, Any]:
    """What was seen of one endpoint as JSON, without anything that changes from look to look while nothing happens."""
    models = server.models if server is not None else {}
    return {
        "models": {
            name: {
                "versions": {
                    str(number): one.state for number, one in sorted(models[name].versions.items()) if one.state != "not_loaded"
                },
                "config_digest": models[name].config_digest,
            }
            for name in sorted(names)
            if name in models
        },
        "route": route_facts(route),
    }


def route_facts(route: EndpointRoute | None) -> dict[str, Any] | None:
    """A route as JSON: generation, champion, shadow, and each arm's place and buckets."""
    if route is None:
        return None
    return {
        "generation": route.generation,
        "champion": route.champion,
        "shadow": route.shadow,
        "upstream": route.upstream,
        "salt": route.salt,
        "arms": {
            arm.arm: {"served_as": [arm.served_model, arm.served_version], "ranges": [list(one) for one in arm.ranges]}
            for arm in route.arms
        },
    }


def _base_arm(arm: DesiredArm, share: int) -> dict[str, Any]:
    return {
        "name": arm.name,
        "version": arm.version,
        "served_as": {"model": arm.place[0], "version": arm.place[1]},
        "package_digest": arm.package_digest,
        "artifact_digest": arm.artifact_digest,
        "buckets": share,
    }


def base_digest(base: Mapping[str, Any]) -> str:
    """The digest that votes are bound to."""
    return digest(dict(base))
