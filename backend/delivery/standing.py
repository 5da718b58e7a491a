"""What is admitted and remembered for each endpoint of one server, read in one go: the reconciler's starting point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlmodel import Session, col, select

from backend.core.canonical import digest, loads
from backend.core.columns import Row
from backend.core.ledger import LedgerRow
from backend.delivery import rules
from backend.delivery.generations import DesiredEndpoint
from backend.delivery.rows import Authorization, Endpoint, Generation, Look, Package, Proof, RouterRow, Server

R = TypeVar("R", bound=Row)


@dataclass(frozen=True)
class Standing:
    """One endpoint with its newest generation.

    Args:
        desired: what that generation wants; None while there is none.
        revoked: its authorization was revoked (a rollback is not bound by that).
        configs: package digest -> interface digest, for the packages that it names.
        probed: packages that carry recorded requests.
    """

    endpoint: Endpoint
    upstream: str
    generation: Generation | None
    desired: DesiredEndpoint | None
    revoked: bool
    look: Look
    proofs: Mapping[str, Proof]
    configs: Mapping[str, str]
    probed: frozenset[str]

    @property
    def name(self) -> str:
        """The endpoint's slug."""
        return self.endpoint.name

    @property
    def is_proved(self) -> bool:
        """Whether the newest generation was proved."""
        return self.endpoint.proved_generation == self.endpoint.generation

    def is_baked(self, now: datetime) -> bool:
        """Whether the previous versions need not stay warm any more."""
        until = self.generation.bake_until if self.generation is not None else None
        return until is not None and now >= until

    def may_be_clean(self, now: datetime) -> bool:
        """Whether a server without leftovers stays so: nothing that is warm now is to be unloaded later."""
        return self.desired is None or not self.desired.warm or self.desired.bake_seconds is None or self.is_baked(now)

    def wanted(self, now: datetime) -> rules.Wanted:
        """What shall be true of it now."""
        route = None
        if self.desired is not None and self.endpoint.router_id is not None:
            route = self.desired.route(
                endpoint=self.name, model=self.endpoint.model, upstream=self.upstream, generation=self.endpoint.generation
            )
        return rules.wanted_from(
            self.endpoint.served_name,
            self.desired,
            baked=self.is_baked(now),
            clean=self.look.clean_generation == self.endpoint.generation,
            configs=self.configs,
            route=route,
        )


@dataclass(frozen=True)
class Place:
    """One server, the routers before it, and every endpoint that stands there."""

    server: Server
    routers: Mapping[str, RouterRow]
    standings: tuple[Standing, ...]


def read_place(session: Session, server_id: str) -> Place | None:
    """Everything of one server in a handful of queries; None when the server is gone."""
    server = session.get(Server, server_id)
    if server is None:
        return None
    endpoints = session.exec(select(Endpoint).where(Endpoint.server_id == server_id).order_by(Endpoint.name)).all()
    ids = [one.id for one in endpoints]
    generations = _by_id(session, Generation, {f"{one.id}/{one.generation}" for one in endpoints if one.generation})
    revoked = _revoked(session, generations.values())
    looks = _by_id(session, Look, ids, "endpoint_id")
    proofs: dict[str, dict[str, Proof]] = {}
    for proof in session.exec(select(Proof).where(col(Proof.endpoint_id).in_(ids))):
        proofs.setdefault(proof.endpoint_id, {})[proof.kind] = proof
    desired = {one.endpoint_id: DesiredEndpoint.model_validate(one.desired) for one in generations.values()}
    packages = _by_id(session, Package, {arm.package_digest for one in desired.values() for arm in one.known})
    standings = [
        Standing(
            endpoint=one,
            upstream=server.upstream,
            generation=(generation := generations.get(f"{one.id}/{one.generation}")),
            desired=desired.get(one.id),
            revoked=generation is not None and generation.reason != "rollback" and generation.authorization_id in revoked,
            look=looks.get(one.id) or Look(endpoint_id=one.id),
            proofs=proofs.get(one.id, {}),
            configs={key: row.interface_digest for key, row in packages.items()},
            probed=frozenset(key for key, row in packages.items() if row.probes),
        )
        for one in endpoints
    ]
    routers = _by_id(session, RouterRow, {one.router_id for one in endpoints if one.router_id})
    return Place(server, routers, tuple(standings))


def routed_standings(session: Session, router_id: str) -> list[tuple[Endpoint, Server, Generation]]:
    """Every endpoint whose versions were seen ready for a router to carry, with the generation that it may carry."""
    query = (
        select(Endpoint, Server, Generation)
        .join(Server, col(Server.id) == Endpoint.server_id)
        .join(Generation, col(Generation.endpoint_id) == Endpoint.id)
        .where(Endpoint.router_id == router_id, Endpoint.mode == "managed", Generation.number == Endpoint.routed_generation)
        .order_by(Endpoint.name)
    )
    return list(session.exec(query))


def altered(session: Session, generations: Iterable[Generation]) -> frozenset[str]:
    """Ids of generations whose stored desired state is not the one that the ledger says was admitted.

    The stored JSON itself is hashed, so that a field which a later release adds does not make old generations differ.
    """
    wanted = {one.id: {digest(one.desired), one.digest} for one in generations}
    query = select(LedgerRow.subject_id, LedgerRow.after_json).where(
        LedgerRow.subject_kind == Generation.__subject__,
        col(LedgerRow.subject_id).in_(wanted),
        LedgerRow.action == "generation.admit",
    )
    admitted: dict[str, set[str | None]] = {}
    for generation_id, after in session.exec(query):
        admitted.setdefault(generation_id, set()).add((loads(after) or {}).get("digest"))
    return frozenset(key for key, digests in wanted.items() if len(digests) > 1 or admitted.get(key) != digests)


def revoked_now(session: Session, endpoint_ids: Iterable[str]) -> frozenset[str]:
    """Those of these endpoints whose newest generation stands under an approval that was revoked. A rollback does not."""
    query = (
        select(Endpoint.id)
        .join(Generation, col(Generation.endpoint_id) == Endpoint.id)
        .join(Authorization, col(Authorization.id) == Generation.authorization_id)
        .where(
            col(Endpoint.id).in_(list(endpoint_ids)),
            Generation.number == Endpoint.generation,
            Generation.reason != "rollback",
            col(Authorization.revoked_at).is_not(None),
        )
    )
    return frozenset(session.exec(query))


def _revoked(session: Session, generations: Iterable[Generation]) -> set[str]:
    ids = {one.authorization_id for one in generations if one.authorization_id}
    query = select(Authorization.id).where(col(Authorization.id).in_(ids), col(Authorization.revoked_at).is_not(None))
    return set(session.exec(query))


def _by_id(session: Session, table: type[R], keys: Iterable[str], column: str = "id") -> dict[str, R]:
    """Rows by one column, a thousand keys a query (SQLite's and PostgreSQL's limits on parameters are far above that)."""
    wanted = sorted(set(keys))
    found: dict[str, R] = {}
    for start in range(0, len(wanted), 1000):
        query = select(table).where(col(getattr(table, column)).in_(wanted[start : start + 1000]))
        found |= {str(getattr(row, column)): row for row in session.exec(query)}
    return found
