"""Looking: what a server and its routers say, turned into one judged view per endpoint. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from backend.core.canonical import digest
from backend.core.errors import CountersignError
from backend.core.work import LeaseLost
from backend.delivery import base, rules
from backend.delivery.generations import is_own_name
from backend.delivery.lease import Lease
from backend.delivery.routers.port import SeenRouter
from backend.delivery.rules import Seen, Verdict, Wanted
from backend.delivery.seen import SeenServer
from backend.delivery.servers import Servers
from backend.delivery.standing import Place, Standing


@dataclass(frozen=True)
class Sight:
    """What answered at one time. A router's entry is its reason when it did not answer."""

    at: datetime
    server: SeenServer | None
    trouble: str
    routers: Mapping[str, SeenRouter | str]


@dataclass(frozen=True)
class View:
    """One endpoint as it stands and as it was seen, judged. `digest` moves when what was seen moves."""

    standing: Standing
    wanted: Wanted
    seen: Seen
    verdict: Verdict
    facts: Mapping[str, Any]
    digest: str

    @property
    def is_new(self) -> bool:
        """Whether something else was seen than at the look before."""
        return self.digest != self.standing.look.digest

    @property
    def base(self) -> dict[str, Any]:
        """What is live, in the plan's words."""
        return base.base_from(self.standing.endpoint.generation, self.standing.desired, self.wanted, self.seen)


def look(lease: Lease, servers: Servers, place: Place, hashed: Sequence[str] = ()) -> Sight:
    """Reads back a server and every router before it. For the served names in `hashed` storage is re-hashed."""
    server, trouble = None, ""
    try:
        server = lease.call(servers.target(place.server).observe, hashed)
    except LeaseLost:
        raise
    except CountersignError as error:
        trouble = str(error)
    routers = {key: look_at_router(lease, servers, place, key) for key in place.routers}
    return Sight(lease.now(), server, trouble, routers)


def look_at_router(lease: Lease, servers: Servers, place: Place, router_id: str) -> SeenRouter | str:
    """What a router has in force, or why it did not say."""
    try:
        return lease.call(servers.router(place.routers[router_id]).observe)
    except LeaseLost:
        raise
    except CountersignError as error:
        return str(error)


def view(standing: Standing, sight: Sight, now: datetime, *, stale_after: timedelta) -> View:
    """One endpoint's part of a sight, judged."""
    wanted = standing.wanted(now)
    seen = _seen(standing, sight)
    verdict = rules.judge(wanted, seen, now, stale_after=stale_after)
    facts: dict[str, Any] = {"unreachable": True}
    if verdict.state != "unreachable" and seen.server is not None:
        facts = base.seen_facts(_names(standing, wanted, seen.server), seen.server, seen.route)
        facts["differences"] = [one.says for one in verdict.differences]
    return View(standing, wanted, seen, verdict, facts, digest({"state": verdict.state, **facts}))


def _seen(standing: Standing, sight: Sight) -> Seen:
    router = sight.routers.get(standing.endpoint.router_id or "")
    trouble = "; ".join(part for part in (sight.trouble, router if isinstance(router, str) else "") if part)
    if not isinstance(router, SeenRouter):
        return Seen(sight.at, sight.server, None, route_known=standing.endpoint.router_id is None, trouble=trouble)
    return Seen(sight.at, sight.server, router.routes.get(standing.name), True, router.rejected, trouble)


def _names(standing: Standing, wanted: Wanted, server: SeenServer) -> set[str]:
    """The served names that an endpoint's observations speak of."""
    ours = {wanted.base_name, *wanted.models, *wanted.leaving}
    if standing.endpoint.mode == "observe":
        ours |= {name for name in server.models if is_own_name(wanted.base_name, name)}
    return ours
