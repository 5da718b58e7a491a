"""Gate: the very package that shall go on already answers recorded requests as recorded, in an environment before.

The recorded answers travel inside the package as `probes.json`: {"schema": 1, "inputs": [{name: value}], "outputs":
[{name: value}], "tolerance": absolute}.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sqlmodel import Session, col, select

from backend.core.canonical import loads
from backend.core.errors import ExternalFailure, Refusal
from backend.delivery.plan import Arm, Plan
from backend.delivery.rows import Endpoint, Server
from backend.delivery.targets.port import Target
from backend.evidence.port import Finding, GateContext, GateResult, Progress
from backend.policy.rows import Environment

PROBES = "probes.json"
MAX_PROBES_BYTES = 16 << 20


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
        """Checks every version that shall serve. Without a place to ask, or without recorded answers, it is no pass."""
        serving = [arm for arm in plan.arms if arm.buckets or arm.name == plan.shadow]
        findings: list[Finding] = []
        for position, arm in enumerate(serving):
            with self._context.database.read() as session:
                place = find_place(session, plan, arm)
            if place is None:
                return GateResult("error", f"No endpoint before {plan.environment} serves the package of version "
                    f"{arm.version}; promote it there first, then check again.")  # fmt: skip
            says = f"asking {place.endpoint} about version {arm.version}"
            findings += self._ask(arm, place, lambda part: progress((position + part) / len(serving), says))  # noqa: B023
        return _result(findings)

    def _ask(self, arm: Arm, place: Place, progress: Any) -> list[Finding]:
        content = self._context.packages.read(arm.package_digest, PROBES, MAX_PROBES_BYTES)
        inputs, outputs, tolerance = parse_probes(content)
        target = self._context.target(place.server)
        if (stored := _served_bytes(target, place)) not in (None, arm.package_digest):
            says = f"{place.endpoint} serves other bytes than it should for version {arm.version}; look at that endpoint."
            return [Finding(False, says, {"seen": stored, "wanted": arm.package_digest})]
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


def parse_probes(content: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]], float]:
    """Inputs, outputs and absolute tolerance of the recorded answers. Refusal when they are not what they claim."""
    probes = loads(content)
    try:
        inputs, outputs, tolerance = list(probes["inputs"]), list(probes["outputs"]), float(probes["tolerance"])
        sound = len(inputs) == len(outputs) > 0 and 0 <= tolerance < math.inf
        sound = sound and all(isinstance(one, dict) for one in [*inputs, *outputs])
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise Refusal(
            "The recorded answers of this package cannot be used: they are empty or malformed.",
            f"Register the version again with a sound {PROBES}.",
            code="bad-probes",
        )
    return inputs, outputs, tolerance


def difference(expected: Mapping[str, Any], got: Mapping[str, Any], tolerance: float) -> str:
    """The first difference between a recorded answer and a given one, as a sentence without a full stop; "" for none.

    Numbers agree within the absolute tolerance (NaN only with NaN), everything else exactly. Nested lists of one row are
    compared flat, so that a scalar and its one-element list are the same answer.
    """
    for name, value in expected.items():
        if name not in got:
            return f"{name} is missing"
        wanted, given = _flat(value), _flat(got[name])
        if len(wanted) != len(given):
            return f"{name} has {len(given)} value(s) instead of {len(wanted)}"
        for one, other in zip(wanted, given, strict=True):
            if not _agree(one, other, tolerance):
                return f"{name} is {other!r:.40} instead of {one!r:.40} (tolerance {tolerance:g})"
    return ""


def _agree(wanted: Any, given: Any, tolerance: float) -> bool:
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (wanted, given))
    if not numbers:
        return type(wanted) is type(given) and bool(wanted == given)
    if math.isnan(wanted) or math.isnan(given):
        return math.isnan(wanted) and math.isnan(given)
    return bool(wanted == given or abs(wanted - given) <= tolerance)


def _flat(value: Any) -> list[Any]:
    return [leaf for part in value for leaf in _flat(part)] if isinstance(value, list | tuple) else [value]


def _served_bytes(target: Target, place: Place) -> str | None:
    """Digest of the storage that the runtime loads from, where it can be re-hashed; None where it cannot."""
    model = target.observe((place.model,)).models.get(place.model)
    seen = model.versions.get(place.version) if model else None
    if seen is None or seen.state != "ready":
        raise ExternalFailure(place.endpoint, f"does not have {place.model} version {place.version} ready", retryable=True)
    return seen.package_digest


def _compare(
    target: Target, place: Place, row: int, given: Mapping[str, Any], expected: Mapping[str, Any], tolerance: float
) -> Finding:
    answer = target.answer(place.model, place.version, given)
    facts = {"row": row, "seconds": round(answer.seconds, 4), "endpoint": place.endpoint}
    if wrong := difference(expected, answer.outputs, tolerance):
        return Finding(False, f"Recorded request {row} is answered differently by {place.endpoint}: {wrong}.", facts)
    return Finding(True, f"Recorded request {row} is answered as recorded.", facts)


def _result(findings: Sequence[Finding]) -> GateResult:
    bad = [one for one in findings if not one.ok]
    if bad:
        return GateResult("failed", f"{bad[0].says} {len(bad)} of {len(findings)} differ.", tuple(bad[:50]))
    return GateResult("passed", f"{len(findings)} recorded request(s) are answered as recorded.", tuple(findings[:50]))
