"""What is live, in the plan's words (the base that changes are drawn against), and what was seen, as JSON. Pure values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from backend.core.canonical import digest
from backend.delivery import buckets
from backend.delivery.desired import EndpointRoute
from backend.delivery.generations import DesiredArm, DesiredEndpoint, Place
from backend.delivery.rules import Seen, Wanted, strangers, version_of
from backend.delivery.seen import SeenServer

_BESIDE = ("generation", "lost")
"""Told along with what is live, and no part of its digest."""


def base_from(
    number: int, desired: DesiredEndpoint | None, wanted: Wanted, seen: Seen, lost: Collection[Place] = ()
) -> dict[str, Any]:
    """What is live, in the plan's words, told as it was found: what changes are drawn against, and votes are bound to.

    An arm that is not ready is left out; shares and champion are the router's; versions that no approval names are listed.
    Args:
        number: of the newest generation; `seen.server` must be there.
        lost: see `restarts.lost`; arms there are told apart, under `lost`.
    """
    server = seen.server or SeenServer({})
    wished = desired.arms if desired else ()
    arms = [arm for arm in wished if version_of(server, *arm.place).state == "ready"]
    unrouted = {arm.name: 0 if wanted.route else arm.buckets for arm in wished}
    shares = {arm.arm: buckets.share(arm.ranges) for arm in seen.route.arms} if seen.route else unrouted
    champion = seen.route.champion if seen.route else desired.champion if desired and not wanted.route else None
    gone = [arm for arm in wished if arm not in arms and arm.place in lost]
    others = [list(one) for one in strangers(wanted, server)]
    base = {"generation": number, "champion": champion, "arms": _told(arms, shares), "routed": seen.route is not None}
    return base | ({"strangers": others} if others else {}) | ({"lost": _told(gone, shares)} if gone else {})


def restored(base: Mapping[str, Any]) -> dict[str, Any]:
    """What is live again once the server holds what it lost when it was started anew; the base itself where it lost nothing."""
    found = {key: value for key, value in base.items() if key != "lost"}
    return found | {"arms": sorted([*found.get("arms", ()), *base.get("lost", ())], key=_by_name)}


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


def _told(arms: Iterable[DesiredArm], shares: Mapping[str, int]) -> list[dict[str, Any]]:
    return sorted((_base_arm(arm, shares.get(arm.name, 0)) for arm in arms), key=_by_name)


def _by_name(arm: Mapping[str, Any]) -> str:
    return str(arm["name"])


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
    """The digest that votes are bound to. The same state reached again, by a rollback or a repair, is the same base."""
    return digest({key: value for key, value in base.items() if key not in _BESIDE})
