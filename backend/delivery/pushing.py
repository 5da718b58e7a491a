"""The steps of a push, in order: stored bytes checked, loaded, seen ready, routed, in force. Each step names its failpoint.

New versions are ready before any router names them, and old ones go only when no router names them any more. A step
leaves out the attempts that failed before it; success is only what a look says afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.core import failpoints
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import ExternalFailure, Refusal
from backend.delivery import rules
from backend.delivery.attempts import Attempt, going, together
from backend.delivery.desired import DesiredRouter, EndpointRoute
from backend.delivery.generations import DesiredEndpoint
from backend.delivery.lease import Lease
from backend.delivery.looking import Judged, Reach
from backend.delivery.port import Packages
from backend.delivery.router_lease import router_lease
from backend.delivery.routers.port import Router, SeenRouter
from backend.delivery.rows import Endpoint
from backend.delivery.seen import SeenServer
from backend.delivery.standing import altered, revoked_now, routed_standings
from backend.delivery.targets.port import Target
from backend.delivery.timing import Timing

REVOKED = "The approval was revoked."


@dataclass(frozen=True)
class Pusher:
    """What the steps of one pass share.

    Args:
        judged: endpoint id -> what the look before came to, for every endpoint of the server.
        seen: the server as it was then.
    """

    database: Database
    packages: Packages
    timing: Timing
    lease: Lease
    target: Target
    reach: Reach
    judged: Mapping[str, Judged]
    seen: SeenServer

    def push(self, attempts: Sequence[Attempt]) -> None:
        """All steps up to the routes being in force, for attempts of the course `push`."""
        self._store(attempts, keep=self.seen)
        failpoints.reach("store")
        self._load(attempts, "load")
        failpoints.reach("load")
        self._see_ready(going(attempts))
        failpoints.reach("ready")
        routed = [one for one in going(attempts) if one.standing.endpoint.router_id is not None]
        self._note_routed(routed)
        for router_id in sorted({str(one.standing.endpoint.router_id) for one in routed}):
            self._route(router_id, [one for one in routed if one.standing.endpoint.router_id == router_id])
        failpoints.reach("weight")

    def unload(self, attempts: Sequence[Attempt]) -> None:
        """Hands over exactly what is wanted, so that what earlier generations left is unloaded."""
        self._store(attempts, keep=None)
        self._load(attempts, "unload")

    def _store(self, attempts: Sequence[Attempt], *, keep: SeenServer | None) -> None:
        """Hashes every stored package that is named, and lays out what the server shall have."""
        for attempt in attempts:
            with attempt.step("store"):
                self._refuse_altered(attempt)
                self._refuse_conflicts(attempt)
                wanted = self._wanted(attempt)
                left = rules.leftovers(wanted, keep) if keep is not None else {}
                digests = {one for part in (wanted.models, left) for versions in part.values() for one in versions.values()}
                paths = {one: self._verified(one) for one in sorted(digests)}
                attempt.desired = rules.desired_server({attempt.standing.name: wanted}, paths, keep=keep, strange=self.seen)

    def _load(self, attempts: Sequence[Attempt], step: str) -> None:
        """One endpoint at a time: one that fails stops no other. A call that may have taken effect is settled by looking."""
        for attempt in going(attempts):
            with attempt.step(step):
                self._refuse_revoked(attempt)
                try:
                    self.lease.call(self.target.push, attempt.desired)
                except ExternalFailure as failure:
                    if not failure.applied_unknown:
                        raise
                    attempt.doubt = str(failure)

    def _see_ready(self, attempts: Sequence[Attempt]) -> None:
        """Looks until nothing is loading any more; what is then not ready does not get traffic."""
        if not attempts:
            return
        server = self._settled_server(attempts)
        for attempt in attempts:
            with attempt.step("ready"):
                lacking = rules.not_ready(self._wanted(attempt), server) if server is not None else "the server does not answer"
                if lacking:
                    raise ExternalFailure("The server", f"is not as wanted: {attempt.doubt or lacking}", retryable=True)

    def _settled_server(self, attempts: Sequence[Attempt]) -> SeenServer | None:
        until = time.monotonic() + self.timing.ready_seconds
        while True:
            server = self._observe()
            loading = server is None or any(rules.is_loading(self._wanted(one), server) for one in attempts)
            if not loading or time.monotonic() > until:
                return server
            time.sleep(self.timing.poll_seconds)

    def _observe(self) -> SeenServer | None:
        try:
            return self.lease.call(self.target.observe)
        except ExternalFailure as failure:
            if not failure.retryable:
                raise
            return None

    def _note_routed(self, attempts: Sequence[Attempt]) -> None:
        """From now on routers may carry these generations: their versions were seen ready."""
        if not attempts:
            return
        with self.database.unit(SYSTEM) as tx:
            ids = sorted(one.standing.endpoint.id for one in attempts)
            rows = {one: tx.get(Endpoint, one, lock=True) for one in ids}
            revoked = revoked_now(tx.session, rows)  # after the locks: a revocation takes them too
            for attempt in attempts:
                endpoint = rows[attempt.standing.endpoint.id]
                wanted = attempt.standing.endpoint.generation
                if endpoint.id in revoked:
                    attempt.fail(REVOKED)
                elif endpoint.generation != wanted:
                    attempt.fail("A newer generation was admitted meanwhile.")
                elif endpoint.routed_generation != wanted:
                    before = endpoint.facts("routed_generation")
                    endpoint.routed_generation = wanted
                    tx.record("endpoint.route", endpoint, before=before, after=endpoint.facts("routed_generation"))
            self.lease.fence(tx)  # last, as in every unit here: admission locks an endpoint and then wakes its server

    def _route(self, router_id: str, attempts: Sequence[Attempt]) -> None:
        """Hands the router all of its routes under the router's own lease, since servers share it, and waits for them."""
        with together(going(attempts), "weight") as routed:
            if not routed:
                return
            router = self._router(router_id)
            with router_lease(self.database, router_id, self.lease, self.timing) as held:
                in_force = held.call(router.observe)
                held.call(router.push, self._routes(router_id, in_force))
            seen = self._in_force(router, routed)
            for attempt in routed:
                if wrong := _not_in_force(attempt.standing.name, self._wanted(attempt).route, seen):
                    attempt.fail(f"The router {wrong}")

    def _in_force(self, router: Router, attempts: Sequence[Attempt]) -> SeenRouter:
        until = time.monotonic() + self.timing.in_force_seconds
        while True:
            seen = self.lease.call(router.observe)
            waiting = [one for one in attempts if _not_in_force(one.standing.name, self._wanted(one).route, seen)]
            if not waiting or seen.rejected or time.monotonic() > until:
                return seen
            time.sleep(self.timing.poll_seconds / 5)

    def _routes(self, router_id: str, in_force: SeenRouter) -> DesiredRouter:
        """Every route that the router may carry. One that nobody may touch now is handed over as it was found."""
        with self.database.read() as session:
            standings = routed_standings(session, router_id)
            revoked = revoked_now(session, [endpoint.id for endpoint, _, _ in standings])
            forged = altered(session, [generation for _, _, generation in standings])
        routes: dict[str, EndpointRoute] = {}
        for endpoint, server, generation in standings:
            route = DesiredEndpoint.model_validate(generation.desired).route(
                endpoint=endpoint.name,
                model=endpoint.model,
                upstream=server.upstream,
                generation=endpoint.routed_generation,
            )
            if _stands_still(endpoint) or endpoint.id in revoked or generation.id in forged:
                route = in_force.routes.get(endpoint.name, route)
            if route is not None:
                routes[endpoint.name] = route
        return DesiredRouter(routes)

    def _router(self, router_id: str) -> Router:
        if router_id not in self.reach.routers:
            why = self.reach.troubles.get(router_id, "it is not known")
            raise ExternalFailure("The router", f"cannot be reached: {why}", retryable=True)
        return self.reach.routers[router_id]

    def _wanted(self, attempt: Attempt) -> rules.Wanted:
        return self.judged[attempt.standing.endpoint.id].wanted

    def _verified(self, digest: str) -> Path:
        """The local folder of a stored package whose bytes still hash to its digest."""
        if not self.packages.verify(digest):
            raise Refusal(
                f"The stored package {digest[:19]} is missing or no longer hashes to its digest; nothing was pushed.",
                "Restore the package store from your backup; what is loaded keeps serving.",
                code="package-damaged",
                digest=digest,
            )
        return self.packages.local(digest)

    def _refuse_revoked(self, attempt: Attempt) -> None:
        """Asked right before a call: what is revoked while a push is under way goes no further."""
        with self.database.read() as session:
            if revoked_now(session, [attempt.standing.endpoint.id]):
                raise Refusal(REVOKED, "Roll it back, or propose it again.", code="revoked")

    def _refuse_altered(self, attempt: Attempt) -> None:
        """Refusal when what is stored as desired is not what was admitted: somebody wrote to the database past admission."""
        endpoint, generation = attempt.standing.endpoint, attempt.standing.generation
        if generation is None and endpoint.generation == 0:
            return
        with self.database.read() as session:
            if generation is not None and not altered(session, [generation]):
                return
        raise Refusal(
            f"Generation {endpoint.generation} of {attempt.standing.name} is not as it was admitted; nothing was pushed.",
            "Find who wrote to the database and check the ledger, then roll back or propose the change again.",
            code="altered",
            generation=endpoint.generation,
        )

    def _refuse_conflicts(self, attempt: Attempt) -> None:
        """Refusal when what this endpoint wants would replace what another one on the server wants or still needs."""
        parts = {one.standing.name: (one.wanted.models, rules.leftovers(one.wanted, self.seen)) for one in self.judged.values()}
        try:
            rules.refuse_conflicts(parts)
        except Refusal as refusal:
            named = refusal.facts.get("endpoints")
            if isinstance(named, list) and attempt.standing.name in named:
                raise


def _not_in_force(endpoint: str, route: EndpointRoute | None, seen: SeenRouter) -> str:
    """Why an endpoint's route, or its having none, is not in force; "" when it is."""
    if seen.routes.get(endpoint) == route:
        return ""
    late = rules.behind(seen.answers)
    if not late or seen.rejected:
        return f"refused the newest routes: {seen.rejected}" if seen.rejected else "has not taken the newest routes yet"
    return f"has not taken the newest routes everywhere: {late}"


def _stands_still(endpoint: Endpoint) -> bool:
    """Whether nothing may be written for this endpoint now, not even along with another one's routes."""
    reported = endpoint.repair == "report" and endpoint.state == "out_of_sync"
    return endpoint.paused or endpoint.state == "fight" or reported
