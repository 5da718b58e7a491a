"""Adoption: what runs under an observed endpoint's name is looked at, its bytes are kept, and somebody signs that it is right.

Nothing is written to the server: a baseline says what runs already. From then on the endpoint is managed, and where a router
stands before it the worker gives it its route.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from sqlmodel import select

from backend.access.checks import require, standing
from backend.access.requests import refuse_program
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.unit import Unit, assert_outside_unit
from backend.delivery import baselines
from backend.delivery.admission import admit_baseline
from backend.delivery.baselines import BaselineProposal, Found, Kept
from backend.delivery.generations import DesiredEndpoint, Place, is_own_name
from backend.delivery.hands import asking, lacking, needs_another
from backend.delivery.named import named
from backend.delivery.routers.port import SeenRouter
from backend.delivery.rows import Endpoint, Generation, Package, RouterRow, Server
from backend.delivery.servers import Connect


class Keeper(Protocol):
    """Takes a package folder into the package store and records it. `packaging.Packaging` is one."""

    def keep(self, actor: Actor, package_folder: Path) -> Package:
        """The row of the package that the folder is; the same bytes give the same row."""
        ...


KnownPackages = Callable[[Actor, str, int, str], str | None]
"""(actor, model, version, kind of server) -> digest of the package that the registered version makes; None where none is
registered. What a running package says of its own artifact is nobody's word."""


@dataclass(frozen=True)
class _Stand:
    """An observed endpoint with what stands around it, as read before the first look."""

    endpoint: Endpoint
    server: Server
    router: RouterRow | None
    served_names: tuple[str, ...]

    @property
    def revisions(self) -> list[tuple[str, int]]:
        """(id, revision) of what is looked at."""
        return [(one.id, one.revision) for one in (self.server, self.router) if one is not None]


@dataclass(frozen=True)
class _Look:
    """One look at it: what was found, which routes of the router are not ours, and the digest to sign."""

    found: Found
    foreign_routes: tuple[str, ...]
    digest: str


class Adoption:
    """The two steps of adoption.

    Args:
        connect: from rows to adapters.
        keeper: takes running bytes into the package store.
        known_packages: what a registered version makes, to check the signer's word.
        scratch: folder for copies under way; by default the system's own.
    """

    def __init__(
        self,
        database: Database,
        connect: Connect,
        keeper: Keeper,
        known_packages: KnownPackages,
        scratch: Path | None = None,
    ) -> None:
        self._database = database
        self._connect = connect
        self._keeper = keeper
        self._known_packages = known_packages
        self._scratch = scratch

    def proposal(self, actor: Actor, name: str) -> BaselineProposal:
        """What runs under the endpoint's names now, re-hashed where that is possible, and what signing it would mean."""
        stand = self._stand(actor, name, "endpoint.look")
        look = self._look(stand)
        return BaselineProposal(
            endpoint=stand.endpoint.name,
            environment=stand.endpoint.environment,
            model=stand.endpoint.model,
            server=stand.server.name,
            router=stand.router.name if stand.router is not None else None,
            served_name=stand.endpoint.served_name,
            seen_at=self._now(),
            running=look.found.running,
            champion=look.found.route.champion if look.found.route else None,
            unmanaged=baselines.unmanaged(look.found.server, stand.served_names),
            foreign_routes=look.foreign_routes,
            obstacles=baselines.obstacles(look.found),
            digest=look.digest,
        )

    def sign_off(
        self,
        actor: Actor,
        name: str,
        *,
        base_digest: str,
        versions: Mapping[Place, int],
        champion: Place | None = None,
    ) -> Generation:
        """Makes what runs the endpoint's first generation, and the endpoint managed.

        It is looked at before its bytes are copied and once more afterwards, so that what is kept is what ran all along.

        Args:
            base_digest: of the proposal that the signer saw; Refusal `stale-base` when anything of it moved since.
            versions: (served name, served version) -> registered version, for everything that runs; empty when nothing does.
            champion: which of several answers, where no router says it.
        """
        stand = self._stand(actor, name, "endpoint.sign_off")
        found = self._unmoved(stand, base_digest)
        baselines.check_choice(found, versions, champion)
        kept = [self._kept(actor, stand, place, version) for place, version in sorted(versions.items())]
        desired = baselines.baseline(found, kept, champion, salt=stand.endpoint.name)
        baselines.refuse_other_than_runs(self._unmoved(stand, base_digest), desired, kept)
        with self._database.unit(actor) as tx:
            endpoint = named(tx.session, Endpoint, name, lock=True)
            environment, model = endpoint.environment, endpoint.model
            require(tx, actor, "endpoint.sign_off", environment=environment, model=model, endpoint=endpoint.name)
            _refuse_moved(tx, endpoint, stand)
            _refuse_alone(tx, endpoint)
            return _sign(tx, endpoint, desired, base_digest, kept)

    def _stand(self, actor: Actor, name: str, action: str) -> _Stand:
        """Permission is asked before anything is called on the actor's behalf, and again in the unit that writes."""
        with self._database.unit(actor) as tx:
            endpoint = named(tx.session, Endpoint, name)
            require(tx, actor, action, environment=endpoint.environment, model=endpoint.model, endpoint=endpoint.name)
            _refuse_managed(endpoint)
            if action == "endpoint.sign_off":
                _refuse_alone(tx, endpoint)
            names = tx.session.exec(select(Endpoint.served_name).where(Endpoint.server_id == endpoint.server_id)).all()
            router = tx.get(RouterRow, endpoint.router_id) if endpoint.router_id else None
            return _Stand(endpoint, tx.get(Server, endpoint.server_id), router, tuple(names))

    def _look(self, stand: _Stand) -> _Look:
        """Re-hashing is asked for by name, so the names are looked up first."""
        assert_outside_unit("looking at a server")
        target, own = self._connect.target(stand.server), stand.endpoint.served_name
        names = sorted(name for name in target.observe().models if is_own_name(own, name))
        server = target.observe(names)
        routes = self._connect.router(stand.router).observe() if stand.router is not None else SeenRouter({})
        found = Found(own, stand.server.upstream, server, routes.routes.get(stand.endpoint.name))
        return _Look(found, routes.foreign, baselines.base_digest(found, endpoint=stand.endpoint.id, revisions=stand.revisions))

    def _unmoved(self, stand: _Stand, base_digest: str) -> Found:
        look = self._look(stand)
        if look.digest != base_digest:
            raise _stale(stand.endpoint.name)
        return look.found

    def _kept(self, actor: Actor, stand: _Stand, place: Place, version: int) -> Kept:
        """One running version's bytes in the package store, checked against what the registry knows of that version."""
        with tempfile.TemporaryDirectory(dir=self._scratch, prefix="countersign-adopt-") as folder:
            self._connect.target(stand.server).copy_out(*place, Path(folder))
            package = self._keeper.keep(actor, Path(folder))
        known = self._known_packages(actor, stand.endpoint.model, version, stand.server.kind)
        if known is not None and known != package.id:
            raise Refusal(
                f"Version {place[1]} of {place[0]} was not built from version {version} of {stand.endpoint.model}.",
                "Name the version that it was built from, or register what runs as a version of its own.",
                code="digest-mismatch",
                registered=known,
                running=package.id,
            )
        return Kept(place, version, package.id, package.artifact_digest, package.interface_digest)

    def _now(self) -> datetime:
        return self._database.now()


def _sign(tx: Unit, endpoint: Endpoint, desired: DesiredEndpoint, base_digest: str, kept: list[Kept]) -> Generation:
    endpoint.mode = "managed"
    signed = [{"served_as": list(one.place), "version": one.version, "package_digest": one.package_digest} for one in kept]
    facts = {"mode": "managed", "base_digest": base_digest, "versions": signed, "champion": desired.champion}
    tx.record("endpoint.sign_off", endpoint, before={"mode": "observe"}, after=facts)
    return admit_baseline(tx, endpoint, desired)


def _refuse_managed(endpoint: Endpoint) -> None:
    if endpoint.mode != "observe":
        raise Refusal(
            f"The baseline of {endpoint.name} was signed off already.", "Propose a change to it.", code="already-managed"
        )


def _refuse_alone(tx: Unit, endpoint: Endpoint) -> None:
    """Where a change needs somebody else's approval, so does the first word on what runs; beside managed endpoints of a
    stricter environment it is somebody's who may say it there too. In the unit that writes, server and router are locked.
    """
    if not (asks := asking(tx.session, endpoint)):
        return
    if needs_another(tx.session, endpoint.id, tx.actor.id, now=tx.now):
        raise Refusal(
            f"You adopted {endpoint.name} or said where its server or router is, and {' and '.join(asks)} asks for a second "
            "person.",
            "Ask another reviewer or operator to sign it off.",
            code="own-adoption",
        )
    refuse_program(tx.actor)
    if stricter := lacking(tx.session, endpoint.id, standing(tx.session, tx.actor).held, now=tx.now):
        raise Refusal(
            f"{endpoint.name} shares its server or router with managed endpoints of {stricter}, which asks for more than "
            f"{endpoint.environment}.",
            f"Ask a reviewer or operator of {stricter} to sign it off, or adopt it on a server of its own behind a router of "
            "its own.",
            code="shared-place",
        )


def _refuse_moved(tx: Unit, endpoint: Endpoint, stand: _Stand) -> None:
    """Since the look: neither its server or router was edited, nor did the worker see something else meanwhile."""
    _refuse_managed(endpoint)
    before = stand.endpoint
    seen_other = before.base_digest is not None and endpoint.base_digest != before.base_digest
    if endpoint.id != before.id or seen_other or _revisions(tx, endpoint) != stand.revisions:
        raise _stale(endpoint.name)


def _revisions(tx: Unit, endpoint: Endpoint) -> list[tuple[str, int]]:
    server = tx.get(Server, endpoint.server_id, lock=True)
    router = tx.get(RouterRow, endpoint.router_id, lock=True) if endpoint.router_id else None
    return [(one.id, one.revision) for one in (server, router) if one is not None]


def _stale(name: str) -> Refusal:
    return Refusal(
        f"What runs under {name} changed since you looked.", "Look at the proposal again before you sign it.", code="stale-base"
    )
