"""What a server lost when its process was started anew, told apart from what somebody took away. Pure values.

A runtime that was restarted begins empty and is filled again by a repair. That is nobody's decision, and so nothing that a
waiting change has to be judged by; a version that was unloaded by hand is. Two things tell them apart, and no clock: what the
runtime says itself (`SeenModel.fresh`), and what was live at the look before. What is lost stays so until it is ready again,
however often bringing it back fails; what a hand had taken away before the restart is not lost by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backend.delivery.generations import DesiredEndpoint, Place
from backend.delivery.rules import Verdict, Wanted, missing, version_of
from backend.delivery.seen import SeenServer

Base = Mapping[str, Any]


def lost(desired: DesiredEndpoint | None, wanted: Wanted, server: SeenServer, before: Base | None) -> frozenset[Place]:
    """Wanted versions that are not ready because the server was started anew or is still loading them.

    Args:
        before: the endpoint's base as of the look before; None before the first look.
    """
    live, gone = _places(before, "arms"), _places(before, "lost")
    arms = {arm.place for arm in desired.arms} if desired is not None else set()

    def is_lost(place: Place) -> bool:
        if place in gone:
            return True
        if place in arms:  # an arm was told to be live, or it was not; of what is only kept warm no base tells
            return place in live and _is_anew(server, place)
        return _is_anew(server, place) or bool(gone)

    return frozenset(place for place in _missing(wanted, server) if is_lost(place))


def explains(verdict: Verdict, wanted: Wanted, server: SeenServer, gone: frozenset[Place]) -> bool:
    """Whether a restart explains every difference: then nobody changed anything, and it is only to be filled again."""
    on_server = all(one.where == "server" for one in verdict.differences)
    return verdict.state == "partial" and on_server and _missing(wanted, server) <= gone


def _is_anew(server: SeenServer, place: Place) -> bool:
    name, version = place
    model = server.models.get(name)
    return model is not None and (model.fresh or version_of(server, name, version).state == "loading")


def _missing(wanted: Wanted, server: SeenServer) -> set[Place]:
    return {(name, version) for name, versions in missing(wanted, server).items() for version in versions}


def _places(base: Base | None, key: str) -> set[Place]:
    told = base.get(key, ()) if base is not None else ()
    return {(str(one["served_as"]["model"]), int(one["served_as"]["version"])) for one in told}
