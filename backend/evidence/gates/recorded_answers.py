"""Gate: the very package that shall go on already answers recorded requests as recorded, in an environment before.

The recorded answers travel inside the package as `probes.json`: {"schema": 1, "inputs": [{name: value}], "outputs":
[{name: value}], "tolerance": absolute}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sqlmodel import Session, col, select

from backend.core.errors import ExternalFailure
from backend.delivery.plan import Arm, Plan
from backend.delivery.probes import MAX_PROBES_BYTES, PROBES, difference, parse_probes
from backend.delivery.rows import Endpoint, Server
from backend.delivery.targets.port import Target
from backend.evidence.gates.live import live_packages
from backend.evidence.port import GateContext, GateResult, Point, Progress
from backend.policy.rows import Environment


@dataclass(frozen=True)
class Place:
    """Where a package is served before: endpoint, its server, served name and version."""

    endpoint: str
    server: Server
    model: str
    version: int


class RecordedAnswersGate:
    """Sends the recorded requests, pinned to the version, and compares each row within the tolerance."""

    name: ClassVar[str] = "recorded_answers"
    title: ClassVar[str] = "Recorded answers in staging"
    hard: ClassVar[bool] = False
    valid_seconds: ClassVar[int] = 86_400
    limit_seconds: ClassVar[int] = 300
    limit_bytes: ClassVar[int] = 4 << 30

    def __init__(self, context: GateContext) -> None:
        self._context = context

    def run(self, plan: Plan, progress: Progress) -> GateResult:
        """Checks every version that shall serve and that is new there; what runs there already has gone on before.

        Without a place to ask, or without recorded answers, it is no pass.
        """
        with self._context.database.read() as session:
            live = live_packages(session, plan)
        serving = [arm for arm in plan.arms if (arm.buckets or arm.name == plan.shadow) and arm.package_digest not in live]
        if not serving:
            return GateResult("passed", "No version is new there.")
        findings: list[Point] = []
        for position, arm in enumerate(serving):
            with self._context.database.read() as session:
                place = find_place(session, plan, arm)
            if place is None:
                return GateResult("error", f"No endpoint before {plan.environment} serves the package of version "
                    f"{arm.version}; promote it there first, then check again.")  # fmt: skip
            says = f"asking {place.endpoint} about version {arm.version}"
            findings += self._ask(arm, place, lambda part: progress((position + part) / len(serving), says))  # noqa: B023
        return _result(findings)

    def _ask(self, arm: Arm, place: Place, progress: Any) -> list[Point]:
        content = self._context.packages.read(arm.package_digest, PROBES, MAX_PROBES_BYTES)
        inputs, outputs, tolerance = parse_probes(content)
        target = self._context.target(place.server)
        if (stored := _served_bytes(target, place)) not in (None, arm.package_digest):
            says = f"{place.endpoint} serves other bytes than it should for version {arm.version}; look at that endpoint."
            return [Point(False, says, {"seen": stored, "wanted": arm.package_digest})]
        findings = []
        for row, (given, expected) in enumerate(zip(inputs, outputs, strict=True)):
            progress(row / len(inputs))
            findings.append(_compare(target, place, row, given, expected, tolerance))
        return findings


def find_place(session: Session, plan: Plan, arm: Arm) -> Place | None:
    """The nearest environment before the plan's in which a managed endpoint of the model serves the same package."""
    here = session.get_one(Environment, plan.environment)
    query = (
        select(Endpoint)
        .join(Environment)
        .where(Endpoint.model == plan.model, Endpoint.mode == "managed", Environment.position < here.position)
        .order_by(col(Environment.position).desc(), Endpoint.name)
    )
    for endpoint in session.exec(query):
        for seen in (endpoint.base or {}).get("arms", ()):
            if seen.get("package_digest") == arm.package_digest:
                server = session.get_one(Server, endpoint.server_id)
                return Place(endpoint.name, server, seen["served_as"]["model"], seen["served_as"]["version"])
    return None


def _served_bytes(target: Target, place: Place) -> str | None:
    """Digest of the storage that the runtime loads from, where it can be re-hashed; None where it cannot."""
    model = target.observe((place.model,)).models.get(place.model)
    seen = model.versions.get(place.version) if model else None
    if seen is None or seen.state != "ready":
        raise ExternalFailure(place.endpoint, f"does not have {place.model} version {place.version} ready", retryable=True)
    return seen.package_digest


def _compare(
    target: Target, place: Place, row: int, given: Mapping[str, Any], expected: Mapping[str, Any], tolerance: float
) -> Point:
    answer = target.answer(place.model, place.version, given)
    facts = {"row": row, "seconds": round(answer.seconds, 4), "endpoint": place.endpoint}
    if wrong := difference(expected, answer.outputs, tolerance):
        return Point(False, f"Recorded request {row} is answered differently by {place.endpoint}: {wrong}.", facts)
    return Point(True, f"Recorded request {row} is answered as recorded.", facts)


def _result(findings: Sequence[Point]) -> GateResult:
    bad = [one for one in findings if not one.ok]
    if bad:
        return GateResult("failed", f"{bad[0].says} {len(bad)} of {len(findings)} differ.", tuple(bad[:50]))
    return GateResult("passed", f"{len(findings)} recorded request(s) are answered as recorded.", tuple(findings[:50]))
