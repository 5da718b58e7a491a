"""What a fleet of Envoys has in force, from what each of them took. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from backend.delivery.desired import EndpointRoute
from backend.delivery.routers.ads_door import Member, Snapshot
from backend.delivery.routers.envoy_readback import InForce, seen
from backend.delivery.routers.port import EnvoyAnswer, SeenRouter

MOST_TEXT = 300


def counted(members: Iterable[Member], joining_seconds: float) -> list[Member]:
    """Those whose routes matter: not who connected a moment ago and took nothing yet, since it takes no traffic either."""
    return [one for one in members if one.routes or one.refused_number or not one.connected or one.seconds > joining_seconds]


def merged(
    members: Sequence[Member], snapshots: Mapping[int, Snapshot | None], newest: int, answer_seconds: float
) -> SeenRouter:
    """What is in force where all agree, and else, endpoint by endpoint, what the one has that is furthest behind.

    Args:
        snapshots: those that any member has, by number; None for one that cannot be read any more.
        newest: the number that all should have.
    """
    found = {number: _seen(snapshots.get(number), answer_seconds) for number in sorted({one.routes for one in members})}
    first, *older = [found[number] for number in sorted(found, reverse=True)]
    routes = dict(first.routes)
    for one in older:  # ever further behind, so that the last one to differ is the one that is told
        routes = _behind(routes, first.routes, one.routes)
    answers = tuple(_answer(one, newest) for one in members)
    foreign = tuple(dict.fromkeys(name for one in found.values() for name in one.foreign))
    return SeenRouter(routes, foreign, _rejected(answers), _digest(found), answers)


def _behind(
    told: Mapping[str, EndpointRoute], first: Mapping[str, EndpointRoute], older: Mapping[str, EndpointRoute]
) -> dict[str, EndpointRoute]:
    routes = dict(told)
    for name in {*first, *older}:
        if older.get(name) == first.get(name):
            continue
        routes.pop(name, None)
        if name in older:
            routes[name] = older[name]
    return routes


def _seen(snapshot: Snapshot | None, answer_seconds: float) -> SeenRouter:
    return seen(InForce(snapshot.routes, snapshot.clusters), answer_seconds) if snapshot is not None else SeenRouter({})


def _digest(found: Mapping[int, SeenRouter]) -> str:
    """One for all where all agree, else every one."""
    return " ".join(dict.fromkeys(one.digest for one in found.values()))


def _answer(member: Member, newest: int) -> EnvoyAnswer:
    if member.routes == newest:
        return EnvoyAnswer(member.node, "taken")
    if member.refused_number == newest:
        return EnvoyAnswer(member.node, "refused", member.reason)
    if not member.connected:
        return EnvoyAnswer(member.node, "gone")
    return EnvoyAnswer(member.node, "waiting")


def _rejected(answers: Sequence[EnvoyAnswer]) -> str:
    refused = [one for one in answers if one.state == "refused"]
    if not refused:
        return ""
    said = f"{refused[0].envoy}: {refused[0].reason}"
    return (said if len(answers) == 1 else f"{len(refused)} of {len(answers)} Envoys, {said}")[:MOST_TEXT]
