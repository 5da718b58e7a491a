"""Gate: the versions are still, byte for byte, those that were registered, and their packages are in the store."""

from __future__ import annotations

from typing import ClassVar

from sqlmodel import Session, select

from backend.core.errors import Refusal
from backend.delivery.plan import Arm, Plan
from backend.evidence.gates.live import live_packages
from backend.evidence.port import GateContext, GateResult, Point, Progress
from backend.registry.rows import Model, Version


class ArtifactGate:
    """Hashes the artifact of every version that shall serve, and every package that the plan names."""

    name: ClassVar[str] = "artifact"
    title: ClassVar[str] = "Artifacts and packages"
    hard: ClassVar[bool] = True
    valid_seconds: ClassVar[int] = 86_400
    limit_seconds: ClassVar[int] = 900
    limit_bytes: ClassVar[int] = 4 << 30

    def __init__(self, context: GateContext) -> None:
        self._context = context

    def run(self, plan: Plan, progress: Progress) -> GateResult:
        """A version that leaves needs only its package: going back must not depend on the registry.

        One that runs there already may have left the registry; if it is there, its files must still be the same.
        """
        findings: list[Point] = []
        with self._context.database.read() as session:
            live = live_packages(session, plan)
        for position, arm in enumerate(plan.arms):
            progress(position / len(plan.arms), f"hashing version {arm.version}")
            if arm.buckets or arm.name == plan.shadow:
                findings.append(self._artifact(plan, arm, arm.package_digest in live))
                findings += self._pickled(plan, arm)
            findings.append(self._package(arm))
        bad = [one.says for one in findings if not one.ok]
        summary = bad[0] if bad else f"{len(plan.arms)} version(s) and package(s) are what was registered."
        return GateResult("failed" if bad else "passed", summary, tuple(findings))

    def _artifact(self, plan: Plan, arm: Arm, is_live: bool) -> Point:
        facts = {"version": arm.version, "registered": arm.artifact_digest}
        try:
            now = self._context.artifacts.digest_now(plan.model, arm.version)
        except Refusal as refusal:
            if is_live:
                says = f"Version {arm.version} runs there already; its artifact cannot be hashed any more: {refusal}"
                return Point(True, says, facts)
            return Point(False, f"Version {arm.version} cannot be hashed: {refusal}", facts)
        if now != arm.artifact_digest:
            says = f"The files of version {arm.version} changed since it was registered; register them as a new version."
            return Point(False, says, {**facts, "now": now})
        return Point(True, f"The artifact of version {arm.version} hashes to its registered digest.", facts)

    def _package(self, arm: Arm) -> Point:
        facts = {"version": arm.version, "package": arm.package_digest}
        if not self._context.packages.verify(arm.package_digest):
            says = f"The package of version {arm.version} is missing from the store or damaged; propose the change again."
            return Point(False, says, facts)
        return Point(True, f"The package of version {arm.version} is in the store, whole.", facts)

    def _pickled(self, plan: Plan, arm: Arm) -> list[Point]:
        with self._context.database.read() as session:
            version = _version(session, plan.model, arm.version)
        if version is None or not version.pickled:
            return []
        says = f"Version {arm.version} carries pickled code in {len(version.pickled)} file(s); it is never loaded here."
        return [Point(True, says, {"files": version.pickled[:20]})]


def _version(session: Session, model: str, number: int) -> Version | None:
    query = select(Version).join(Model).where(Model.name == model, Version.number == number)
    return session.exec(query).one_or_none()
