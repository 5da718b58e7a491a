"""Endpoints as commands: adopting one in observe mode, signing off what runs, and what an operator does by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlmodel import col, select

from backend.access import data_sets, teams
from backend.access.checks import require, require_server, sees_endpoint
from backend.core import work
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.unit import Unit
from backend.delivery import controls, log_rules
from backend.delivery.adoption import Adoption, Keeper, KnownPackages
from backend.delivery.baselines import BaselineProposal
from backend.delivery.controls import Repair
from backend.delivery.generations import Place, is_own_name
from backend.delivery.named import add_named, named
from backend.delivery.rows import Endpoint, Generation, Look, Observation, Proof, PushRecord, RouterRow, Server
from backend.delivery.servers import Connect
from backend.policy import service as policy

_SERVED_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,118}")
"""Nine characters shorter than what a plan allows: a dot and eight hex digits may follow it."""
_MODEL = re.compile(r"[^\s/:?#%\\](?:[^/:?#%\\\x00-\x1f\x7f]{0,254}[^\s/:?#%\\])?")


class Endpoints:
    """Commands on endpoints.

    Args:
        connect: from rows to adapters.
        keeper: takes running bytes into the package store.
        known_packages: what a registered version makes, for a kind of server.
        scratch: folder for copies under way.
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
        self._adoption = Adoption(database, connect, keeper, known_packages, scratch)

    def create(
        self,
        actor: Actor,
        *,
        name: str,
        environment: str,
        model: str,
        server: str,
        router: str | None = None,
        served_name: str | None = None,
    ) -> Endpoint:
        """Adopts an endpoint in observe mode: it is looked at from now on, and nothing is ever written to it.

        Args:
            name: slug; also its path under the router's public URL.
            model: the registered model, under whose name callers ask.
            server, router: by name.
            served_name: under which the server knows the model; by default the endpoint's own name.
        """
        _refuse_bad_model(model)
        with self._database.unit(actor) as tx:
            require(tx, actor, "endpoint.create", environment=environment, model=model)
            require_server(tx, actor, server)
            if router is not None:
                require_server(tx, actor, router, "router")
            place = named(tx.session, Server, server, lock=True)
            before_it = named(tx.session, RouterRow, router) if router is not None else None
            row = Endpoint(
                id=tx.new_id("end"),
                name=name,
                environment=environment,
                model=model,
                server_id=place.id,
                router_id=before_it.id if before_it is not None else None,
                served_name=name if served_name is None else served_name,
                repair=policy.in_force(tx.session, environment).policy.repair,
                state_since=tx.now,
                created_by=actor.id,
                created_at=tx.now,
            )
            add_named(tx, row)
            _refuse_bad_served_name(row.served_name)
            _refuse_overlap(tx, row, place)
            told = row.facts("name", "environment", "model", "server_id", "router_id", "served_name", "repair")
            tx.record("endpoint.create", row, after=told)
            work.wake(tx, "server", place.id)
            return row

    def remove(self, actor: Actor, name: str, reason: str) -> None:
        """Forgets an endpoint that is only observed, with what was seen of it. What runs goes on running."""
        controls.check_reason(reason)
        with self._database.unit(actor) as tx:
            row = named(tx.session, Endpoint, name, lock=True)
            require(tx, actor, "endpoint.remove", environment=row.environment, model=row.model, endpoint=row.name)
            if row.mode != "observe":
                raise Refusal(
                    f"{name} is managed; what was approved for it is on record.",
                    "Pause it if nothing shall be pushed to it any more.",
                    code="managed",
                )
            _forget(tx, row)
            teams.disown(tx, "endpoint", name)
            data_sets.end_those_of(tx, "endpoint", name)
            facts = row.facts("name", "environment", "model", "server_id", "served_name")
            tx.record("endpoint.remove", row, before=facts, after={"reason": reason})

    def look_now(self, actor: Actor, name: str) -> None:
        """Asks for a look at the endpoint's server without waiting for the next one."""
        with self._database.unit(actor) as tx:
            row = named(tx.session, Endpoint, name)
            require(tx, actor, "endpoint.look", environment=row.environment, model=row.model, endpoint=row.name)
            work.wake(tx, "server", row.server_id)

    def proposal(self, actor: Actor, name: str) -> BaselineProposal:
        """See `Adoption.proposal`."""
        return self._adoption.proposal(actor, name)

    def sign_off(
        self,
        actor: Actor,
        name: str,
        *,
        base_digest: str,
        versions: Mapping[Place, int],
        champion: Place | None = None,
    ) -> Generation:
        """See `Adoption.sign_off`."""
        return self._adoption.sign_off(actor, name, base_digest=base_digest, versions=versions, champion=champion)

    def pause(self, actor: Actor, name: str, *, reason: str) -> Endpoint:
        """See `controls.pause`."""
        with self._database.unit(actor) as tx:
            return controls.pause(tx, name, reason)

    def resume(self, actor: Actor, name: str, *, reason: str) -> Endpoint:
        """See `controls.resume`."""
        with self._database.unit(actor) as tx:
            return controls.resume(tx, name, reason)

    def repair_now(self, actor: Actor, name: str, *, reason: str) -> Endpoint:
        """See `controls.repair_now`."""
        with self._database.unit(actor) as tx:
            return controls.repair_now(tx, name, reason)

    def set_repair(self, actor: Actor, name: str, repair: Repair, *, reason: str) -> Endpoint:
        """See `controls.set_repair`."""
        with self._database.unit(actor) as tx:
            return controls.set_repair(tx, name, repair, reason)


def _refuse_bad_served_name(text: str) -> None:
    if not _SERVED_NAME.fullmatch(text):
        raise Refusal(
            f"{text[:80]!r} cannot be a served name.",
            "Use up to 119 letters, digits, `_`, `.` and `-`, as the server knows the model.",
            code="bad-served-name",
        )


def _refuse_bad_model(model: str) -> None:
    """It becomes part of the path at which callers ask."""
    if not _MODEL.fullmatch(model) or model in (".", ".."):
        raise Refusal(
            f"{model[:80]!r} cannot be the name of a model at an endpoint.",
            "Use the registered model's name: up to 256 characters without / : ? # % and backslash.",
            code="bad-model",
        )


def _refuse_overlap(tx: Unit, row: Endpoint, server: Server) -> None:
    """Whatever runs under a served name, with or without a suffix of ours, is one endpoint's business. The server is locked."""
    others = tx.session.exec(select(Endpoint).where(Endpoint.server_id == server.id, Endpoint.id != row.id)).all()
    for other in others:
        if is_own_name(other.served_name, row.served_name) or is_own_name(row.served_name, other.served_name):
            whose = other.name if sees_endpoint(tx, tx.actor, other.name) else "Another endpoint"
            raise Refusal(
                f"{whose} is served as {other.served_name} on {server.name} already.",
                "Give this endpoint a served name of its own.",
                code="served-name-taken",
            )


def _forget(tx: Unit, row: Endpoint) -> None:
    """An endpoint's row goes last: the others point to it. What rooms above keep of it makes it stay."""
    name = row.name
    remnants: list[Any] = []
    for table in (Look, Proof, PushRecord, Observation):
        remnants += tx.session.exec(select(table).where(col(table.endpoint_id) == row.id)).all()
    for remnant in remnants:
        tx.session.delete(remnant)
    log_rules.forget(tx, row)
    tx.session.flush()
    tx.session.delete(row)
    try:
        tx.session.flush()
    except sa.exc.IntegrityError as error:
        raise Refusal(
            f"Changes were proposed for {name}, and they are on record.", "Leave it in observe mode.", code="in-use"
        ) from error
