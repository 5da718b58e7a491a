"""What all commands on changes share: the services that they use, and looking things up outside a unit of work."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlmodel import Session, select

from backend.access.checks import require_now
from backend.changes import drawing, standing
from backend.changes.drawing import PackageFacts, VersionFacts
from backend.changes.port import Packaging, Stored, Versions
from backend.changes.walk import Terms
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.unit import assert_outside_unit
from backend.delivery.plan import BUCKETS
from backend.delivery.rows import Endpoint, Package, Server
from backend.policy import ramps
from backend.policy.rules import between
from backend.policy.service import InForce
from backend.registry.rows import Model, Version


@dataclass(frozen=True)
class Material:
    """A registered version, hashed just now, and its package for the endpoint's kind of server."""

    version: VersionFacts
    package: PackageFacts


class Desk:
    """The services behind the commands.

    Args:
        versions: the registry's versions.
        packaging: packages of versions.
        packages: the package store.
        scratch: folder for artifacts while they are packaged; None: the system's own.
        lease_seconds: how long a claim is renewed for while bytes are hashed.
    """

    def __init__(
        self,
        database: Database,
        *,
        versions: Versions,
        packaging: Packaging,
        packages: Stored,
        scratch: Path | None = None,
        lease_seconds: float = 30.0,
    ) -> None:
        self._database = database
        self._versions = versions
        self._packaging = packaging
        self._packages = packages
        self._scratch = scratch
        self._lease_seconds = lease_seconds

    def material(self, actor: Actor, endpoint_name: str, number: int, action: str, missing: NotFound | None = None) -> Material:
        """What a plan is drawn with. Asks the registry and, where the package is missing, builds it: outside any unit.

        Refusal codes: not-allowed, not-found, not-managed, not-registered, digest-mismatch.
        """
        assert_outside_unit("reading an artifact")
        with self._database.read() as session:
            endpoint = named_endpoint(session, endpoint_name)
            self._permit(session, actor, action, endpoint, missing)
            demand_managed(endpoint)
            version = registered(session, endpoint.model, number)
            kind = session.get_one(Server, endpoint.server_id).kind
            package = self._loaded(session, endpoint, version)
            if package is None and (found := self._packaging.find(session, version.artifact_digest, kind)) is not None:
                package = _facts(found)
        self._demand_artifact(endpoint.model, version)
        return Material(version, package or self._build(actor, endpoint.model, version, kind))

    def _permit(self, session: Session, actor: Actor, action: str, endpoint: Endpoint, missing: NotFound | None = None) -> None:
        """Asked before anything is fetched; the unit of work asks again."""
        where = {"environment": endpoint.environment, "model": endpoint.model, "endpoint": endpoint.name}
        require_now(session, actor, action, now=self._database.now(session), missing=missing, **where)

    def _loaded(self, session: Session, endpoint: Endpoint, version: VersionFacts) -> PackageFacts | None:
        """The package of a version that the endpoint has loaded already: its bytes stay, whatever is built today."""
        arm = drawing.known_arm(endpoint.base, standing.facts_of(session, endpoint), version)
        row = session.get(Package, arm["package_digest"]) if arm is not None else None
        return _facts(row) if row is not None else None

    def _demand_artifact(self, model: str, version: VersionFacts) -> None:
        if self._versions.digest_now(model, version.number) != version.artifact_digest:
            raise _changed(model, version.number)

    def _build(self, actor: Actor, model: str, version: VersionFacts, kind: str) -> PackageFacts:
        with tempfile.TemporaryDirectory(prefix="countersign-artifact-", dir=self._scratch) as folder:
            if self._versions.fetch(model, version.number, Path(folder)) != version.artifact_digest:
                raise _changed(model, version.number)
            return _facts(self._packaging.build(actor, Path(folder), version.artifact_digest, kind))


def terms_of(session: Session, rules: InForce) -> Terms:
    """What the policy that is in force asks for, with the steps of the ramps that it names."""
    return Terms(rules.id, rules.policy, {name: ramps.steps_of(session, name) for name in rules.policy.ramp.named})


def with_steps(session: Session, endpoint_name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked for, with the steps of a ramp that is named: those that lie on the version's way from where it is now."""
    name = asked.get("ramp", ())
    if not isinstance(name, str):
        return dict(asked)
    place = named_endpoint(session, endpoint_name)
    arms = (place.base or {}).get("arms", ())
    now = sum(int(one["buckets"]) for one in arms if one["version"] == asked.get("version"))
    steps = between(ramps.steps_of(session, name), now, int(asked.get("share", BUCKETS)))
    return {**asked, "ramp": tuple(one.model_dump() for one in steps)}


def named_endpoint(session: Session, name: str) -> Endpoint:
    """An endpoint by name; whether anything may be done there is asked next."""
    row = session.exec(select(Endpoint).where(Endpoint.name == name)).one_or_none()
    if row is None:
        raise NotFound("endpoint", name[:80])
    return row


def demand_managed(endpoint: Endpoint) -> None:
    """Refusal for an endpoint that is only observed."""
    if endpoint.mode != "managed":
        raise Refusal(f"{endpoint.name} is only observed.", "Sign off its baseline first.", code="not-managed")


def registered(session: Session, model: str, number: int) -> VersionFacts:
    """A version that was registered here, with its digest."""
    query = select(Version).join(Model).where(Model.name == model, Version.number == number)
    row = session.exec(query).one_or_none()
    if row is None or row.removed_at is not None:
        raise NotFound("version", f"{model} {number}", "Look at the model's versions; the registry may have removed it.")
    if row.artifact_digest is None or row.registered_at is None:
        raise Refusal(
            f"Version {number} of {model} is not registered here yet.",
            f"Register it first: `countersign model register {model} {number}`.",
            code="not-registered",
        )
    return VersionFacts(number, row.artifact_digest, bool(row.pickled))


def _facts(row: Package) -> PackageFacts:
    return PackageFacts(row.id, row.interface_digest, row.probes)


def _changed(model: str, number: int) -> Refusal:
    return Refusal(
        f"The files of version {number} of {model} are not those that were registered.",
        "Register them as a new version and propose that one.",
        code="digest-mismatch",
    )
