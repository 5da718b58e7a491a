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
from backend.changes.compared import UNCOMPARED, Compared, Kept, compared, guardrails_of
from backend.changes.drawing import PackageFacts, VersionFacts
from backend.changes.port import Packaging, Planner, Stored, Unmeasured, Versions
from backend.changes.walk import Terms
from backend.changes.wanted import Wanted
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.unit import assert_outside_unit
from backend.delivery.plan import BUCKETS
from backend.delivery.rows import Endpoint, Package, Server
from backend.experiments.designs import service as designs
from backend.experiments.designs.spec import Design
from backend.policy import ramps
from backend.policy import service as policy
from backend.policy.rules import between
from backend.policy.service import InForce
from backend.registry.rows import Model, Version


@dataclass(frozen=True)
class Material:
    """A registered version, hashed just now, and its package for the endpoint's kind of server.

    `others`: the same of further versions that are to begin there; `compared`: what is to be measured of the arms.
    """

    version: VersionFacts
    package: PackageFacts
    others: tuple[tuple[VersionFacts, PackageFacts], ...] = ()
    compared: Compared = UNCOMPARED


class Desk:
    """The services behind the commands.

    Args:
        versions: the registry's versions.
        packaging: packages of versions.
        packages: the package store.
        planner: measures an endpoint before a plan is drawn; None: nothing is known of any.
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
        planner: Planner | None = None,
        scratch: Path | None = None,
        lease_seconds: float = 30.0,
    ) -> None:
        self._database = database
        self._planner = Kept(planner or Unmeasured())
        self._versions = versions
        self._packaging = packaging
        self._packages = packages
        self._scratch = scratch
        self._lease_seconds = lease_seconds

    def material(
        self, actor: Actor, endpoint_name: str, wanted: Wanted, action: str, missing: NotFound | None = None
    ) -> Material:
        """What a plan is drawn with. Asks the registry and, where a package is missing, builds it; reads the log where arms are
        to be compared. Outside any unit.

        Refusal codes: not-allowed, not-found, not-managed, not-registered, digest-mismatch, policy, not-measured,
        bad-guardrail.
        """
        assert_outside_unit("reading an artifact")
        version, package = self._made(actor, endpoint_name, wanted.version, action, missing)
        with self._database.read() as session:
            place = named_endpoint(session, endpoint_name)
            begins = beginning(place, wanted)
            asked = guardrails_of(policy.in_force(session, place.environment).policy, wanted)
            design = design_for(session, place, wanted)
        refuse_beside_design(design, wanted)
        others = tuple(self._made(actor, endpoint_name, number, action, missing) for number in begins)
        return Material(version, package, others, compared(self._planner, endpoint_name, wanted, asked, design))

    def _made(
        self, actor: Actor, endpoint_name: str, number: int, action: str, missing: NotFound | None
    ) -> tuple[VersionFacts, PackageFacts]:
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
        return version, package or self._build(actor, endpoint.model, version, kind)

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


def beginning(place: Endpoint, wanted: Wanted) -> tuple[int, ...]:
    """Versions that get a share of the rest and do not answer there yet."""
    answering = {int(one["version"]) for one in (place.base or {}).get("arms", ()) if one["buckets"]}
    return tuple(one.version for one in wanted.rest if one.share and one.version not in answering)


def design_for(session: Session, place: Endpoint, wanted: Wanted) -> Design | None:
    """The design of the experiment that is named, where one was designed; else the name only assigns units anew."""
    row = designs.designed(session, place.id, wanted.experiment) if wanted.experiment is not None else None
    return Design.model_validate(row.design) if row is not None else None


def refuse_beside_design(design: Design | None, wanted: Wanted) -> None:
    """Refusal for a version that the experiment's design does not try, and for another unit than the one it is about."""
    if design is None:
        return
    tried = {one.version for one in design.arms}
    if wanted.version not in tried and not tried & {one.version for one in wanted.rest}:
        names = ", ".join(str(one) for one in sorted(tried))
        raise Refusal(
            f"The experiment {wanted.experiment} tries version {names}, and not {wanted.version}.",
            "Name that one, or design another experiment.",
            code="not-in-design",
        )
    if wanted.unit_header not in (None, design.unit_header):
        raise Refusal(
            f"The experiment {wanted.experiment} assigns by {design.unit_header}.",
            "Leave the header out.",
            code="not-in-design",
        )


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
