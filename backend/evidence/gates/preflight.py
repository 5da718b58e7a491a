"""Gate: the plan can be carried by the server and the router that it is for, and collides with nobody else's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sqlmodel import Session, col, select

from backend.delivery.plan import Plan
from backend.delivery.proofs import KINDS
from backend.delivery.routers.port import RouterAbilities
from backend.delivery.rows import Endpoint, Generation, Package, RouterRow, Server
from backend.delivery.targets.port import Abilities
from backend.evidence.gates.live import endpoint_of
from backend.evidence.port import GateContext, GateResult, Point, Progress
from backend.registry.rows import Model, Version

FEATURE_TAGS = ("feast.feature_service", "feature_service")
"""Registry tags that name a version's feature service; the second is the older name."""

Place = tuple[str, int]
"""Served model and served version on one server."""


@dataclass(frozen=True)
class Surroundings:
    """What a plan is held against."""

    kind: str
    target: Abilities
    router: RouterAbilities | None
    packages: Mapping[str, Package]
    taken: Mapping[Place, tuple[str, str]]
    """Places on the server that other endpoints hold: (endpoint, package digest)."""
    feature_tags: Mapping[int, str]
    """Version -> the feature service that its registry tags name, for versions that name one."""


class PreflightGate:
    """Abilities, digests, names on the server, feature links."""

    name: ClassVar[str] = "preflight"
    title: ClassVar[str] = "Plan preflight"
    hard: ClassVar[bool] = True
    valid_seconds: ClassVar[int] = 86_400
    limit_seconds: ClassVar[int] = 60
    limit_bytes: ClassVar[int] = 4 << 30

    def __init__(self, context: GateContext) -> None:
        self._context = context

    def run(self, plan: Plan, progress: Progress) -> GateResult:
        """Reads rows only; nothing outside is called."""
        progress(0.1, "reading what the plan is for")
        with self._context.database.read() as session:
            around = self._surroundings(session, plan)
        findings = tuple(check(plan, around))
        bad = [one.says for one in findings if not one.ok]
        summary = bad[0] if bad else f"The server and the router can carry this plan.{_only_configured(findings)}"
        return GateResult("failed" if bad else "passed", summary, findings)

    def _surroundings(self, session: Session, plan: Plan) -> Surroundings:
        endpoint = endpoint_of(session, plan)
        server = session.get_one(Server, endpoint.server_id)
        router = session.get(RouterRow, endpoint.router_id) if endpoint.router_id else None
        wanted = [arm.package_digest for arm in plan.arms]
        packages = session.exec(select(Package).where(col(Package.id).in_(wanted)))
        return Surroundings(
            kind=server.kind,
            target=self._context.target_abilities(server.kind),
            router=self._context.router_abilities(router.kind) if router else None,
            packages={row.id: row for row in packages},
            taken=_taken(session, endpoint),
            feature_tags=_feature_tags(session, plan),
        )


def _only_configured(findings: Iterable[Point]) -> str:
    """Said in the summary, because an approver should know how little will be shown."""
    weak = any(one.facts.get("proofs") in ([], ["configured"]) for one in findings)
    return " Beyond its configuration nothing can be proved of it." if weak else ""


def check(plan: Plan, around: Surroundings) -> Iterator[Point]:
    """Every check of the preflight, as pure findings."""
    yield from _abilities(plan, around)
    yield from _packages(plan, around)
    yield from _places(plan, around)
    yield from _proofs(plan, around)
    yield from _features(plan, around)


def _abilities(plan: Plan, around: Surroundings) -> Iterator[Point]:
    """The ability is named, so that the requester knows which part of the plan to give up."""
    for needed, has, what in _needs(plan, around):
        if needed:
            says = f"{'Can' if has else 'Cannot'} {what} ({around.kind}{'' if around.router else ', without a router'})."
            yield Point(has, says, {"ability": what})


def _needs(plan: Plan, around: Surroundings) -> Iterator[tuple[bool, bool, str]]:
    models = [arm.served_as.model for arm in plan.arms]
    together, apart = len(set(models)) < len(models), len(set(models)) > 1
    copies = plan.shadow is not None or any(step.shadow is not None for step in plan.ramp)
    splits = any(sum(1 for share in step.shares.values() if share) > 1 for step in plan.steps)
    router = around.router
    yield together, around.target.versions_side_by_side, "hold several versions of one model side by side"
    yield apart, around.target.names_side_by_side, "hold a model under two names, as a copy of the same age has to be"
    yield together, around.target.pin_a_version, "answer from one named version"
    yield splits, around.target.split or bool(router and router.split), "split traffic"
    yield splits, bool(router and router.sticky) or around.target.split, "keep a unit with its arm"
    yield copies, around.target.mirror or bool(router and router.mirror), "mirror traffic to a shadow"
    yield True, around.target.read_back_versions, "tell which versions it serves"


def _packages(plan: Plan, around: Surroundings) -> Iterator[Point]:
    interfaces: dict[str, str] = {}
    for arm in plan.arms:
        row = around.packages.get(arm.package_digest)
        facts: dict[str, Any] = {"version": arm.version, "package": arm.package_digest}
        if row is None:
            yield Point(False, f"The package of version {arm.version} is not known; propose the change again.", facts)
        elif row.artifact_digest != arm.artifact_digest or row.target != around.kind:
            says = f"The package of version {arm.version} was not built from its artifact for {around.kind}."
            yield Point(False, says, facts)
        elif interfaces.setdefault(arm.served_as.model, row.interface_digest) != row.interface_digest:
            says = f"Version {arm.version} has another interface than the others under {arm.served_as.model}."
            yield Point(False, says, facts)
        else:
            yield Point(True, f"The package of version {arm.version} was built from its artifact.", facts)


def _places(plan: Plan, around: Surroundings) -> Iterator[Point]:
    for arm in plan.arms:
        place = (arm.served_as.model, arm.served_as.version)
        endpoint, digest = around.taken.get(place, ("", arm.package_digest))
        if digest != arm.package_digest:
            says = f"{place[0]} version {place[1]} on this server belongs to the endpoint {endpoint}; use another served name."
            yield Point(False, says, {"endpoint": endpoint})
    yield Point(True, "Places on the server were compared with those of other endpoints.", {"others": len(around.taken)})


def _proofs(plan: Plan, around: Surroundings) -> Iterator[Point]:
    """Which kinds of proof can be had, before anybody approves: a version without recorded requests shows less."""
    possible = set(around.target.proofs)
    serving = [arm for arm in plan.arms if arm.buckets or arm.name == plan.shadow]
    recorded = [arm.version for arm in serving if (row := around.packages.get(arm.package_digest)) and row.probes]
    if len(recorded) < len(serving):
        possible.discard("behaviour")
    kinds = sorted(possible, key=KINDS.index)
    says = f"Can be proved afterwards: {', '.join(kinds) or 'nothing'}."
    if lacking := [kind for kind in KINDS if kind not in possible]:
        says += f" Not here: {', '.join(lacking)}."
    yield Point(True, says, {"proofs": kinds, "recorded": recorded})


def _features(plan: Plan, around: Surroundings) -> Iterator[Point]:
    if plan.feature_service_digest is not None:
        yield Point(True, "A feature service is linked.", {"digest": plan.feature_service_digest, "link": "known"})
        return
    for version, name in around.feature_tags.items():
        says = f"Version {version} names the feature service {name}, whose definition is not known here."
        yield Point(True, says, {"link": "unknown", "version": version})
    if not around.feature_tags:
        yield Point(True, "No feature service is linked to these versions.", {"link": "none"})


def _taken(session: Session, endpoint: Endpoint) -> dict[Place, tuple[str, str]]:
    others = session.exec(select(Endpoint).where(Endpoint.server_id == endpoint.server_id, Endpoint.id != endpoint.id))
    taken: dict[Place, tuple[str, str]] = {}
    for other in others:
        newest = session.get(Generation, f"{other.id}/{other.generation}")
        for arm in _arms(newest.desired) if newest else ():
            place = (str(arm["served_as"]["model"]), int(arm["served_as"]["version"]))
            taken[place] = (other.name, str(arm["package_digest"]))
    return taken


def _arms(desired: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*desired.get("arms", ()), *desired.get("warm", ()), *desired.get("leaving", ())]


def _feature_tags(session: Session, plan: Plan) -> dict[int, str]:
    numbers = [arm.version for arm in plan.arms if arm.buckets]
    query = select(Version).join(Model).where(Model.name == plan.model, col(Version.number).in_(numbers))
    named = {row.number: next((row.tags[tag] for tag in FEATURE_TAGS if row.tags.get(tag)), "") for row in session.exec(query)}
    return {number: name for number, name in named.items() if name}
