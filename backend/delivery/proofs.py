"""Proofs: what can be shown of a generation that was read back, each kind by its own means and never beyond what was seen.

- `configured`: versions, weights and configuration read back equal the plan.
- `answers`: every arm answers an inference, through the router where there is one, stamped with arm, version and generation.
- `bytes`: the storage that the runtime loads from re-hashes to the package digest. It speaks of storage, not of memory.
- `behaviour`: recorded requests, pinned to the version, are answered within their tolerance.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Literal

from backend.core.canonical import loads
from backend.core.errors import CountersignError, ExternalFailure, Refusal
from backend.core.unit import Unit
from backend.core.work import LeaseLost
from backend.delivery import buckets, rules
from backend.delivery.desired import EndpointRoute
from backend.delivery.door import Door, RoutedAnswer
from backend.delivery.generations import DesiredArm
from backend.delivery.lease import Lease
from backend.delivery.looking import Judged
from backend.delivery.packages import CONFIG, MAX_JSON_BYTES, PROBES
from backend.delivery.port import Packages
from backend.delivery.probes import MAX_PROBES_BYTES, difference, parse_probes
from backend.delivery.rows import Proof
from backend.delivery.seen import ProofKind
from backend.delivery.standing import Standing
from backend.delivery.targets.port import Target
from backend.delivery.timing import Timing

MAX_ROWS = 32
"""Recorded requests that one `behaviour` proof repeats."""
KINDS: tuple[ProofKind, ...] = ("configured", "answers", "bytes", "behaviour")
Verdict = Literal["ok", "failed", "impossible"]


@dataclass(frozen=True)
class Proved:
    """The result of one kind of proof."""

    kind: ProofKind
    verdict: Verdict
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Requests:
    """What can be asked of a package: its recorded requests with their answers, and its runtime configuration."""

    inputs: tuple[Mapping[str, Any], ...]
    outputs: tuple[Mapping[str, Any], ...]
    tolerance: float
    config: Mapping[str, Any]

    @property
    def first(self) -> Mapping[str, Any] | None:
        """One row that the model can be asked: the first recorded one, else zeros as the configuration describes them."""
        return self.inputs[0] if self.inputs else _zeros(self.config)


class Prover:
    """Takes proofs of one server's endpoints. Packages never change, so what they say is read once."""

    def __init__(self, packages: Packages, timing: Timing) -> None:
        self._packages = packages
        self._timing = timing
        self._requests: dict[str, Requests] = {}
        self._unit = lru_cache(maxsize=1024)(buckets.unit_in)

    def due(self, standing: Standing, now: datetime) -> tuple[ProofKind, ...]:
        """The kinds whose newest result is too old, or of another generation."""
        number = standing.endpoint.generation
        return tuple(kind for kind in KINDS if _is_due(standing.proofs.get(kind), number, now, self._timing.renew[kind]))

    def prove(
        self, lease: Lease, judged: Judged, kinds: Iterable[ProofKind], target: Target, door: Door | None
    ) -> tuple[Proved, ...]:
        """One result for each kind. What goes wrong in asking is a failed proof, not an error."""
        takers: Mapping[ProofKind, Callable[[], Proved]] = {
            "configured": lambda: _configured(judged),
            "bytes": lambda: _bytes(judged, target),
            "answers": lambda: self._answers(lease, judged, target, door),
            "behaviour": lambda: self._behaviour(lease, judged, target),
        }
        return tuple(_taken(kind, target, takers[kind]) for kind in kinds)

    def _answers(self, lease: Lease, judged: Judged, target: Target, door: Door | None) -> Proved:
        asked: dict[str, Any] = {}
        for arm in _asked_arms(judged):
            requests = self._of(arm.package_digest)
            if requests.first is None:
                return Proved("answers", "impossible", f"version {arm.version} says nothing of what it can be asked")
            route = judged.wanted.route
            if route is not None and door is not None and arm.ranges:
                asked[arm.name] = self._through(lease, door, route, arm, requests)
            else:
                answer = lease.call(target.answer, *arm.place, requests.first)
                asked[arm.name] = {"seconds": round(answer.seconds, 4), "through": "server"}
        return Proved("answers", "ok", details=asked) if asked else Proved("answers", "impossible", "nothing shall run")

    def _through(self, lease: Lease, door: Door, route: EndpointRoute, arm: DesiredArm, requests: Requests) -> dict[str, Any]:
        """One request as a unit of this arm. A router takes a moment until all its threads follow the newest routes."""
        unit = self._unit(route.salt, arm.ranges)
        until = time.monotonic() + self._timing.in_force_seconds
        while True:
            got = lease.call(door.ask, route, requests.first, requests.config, unit)
            if not (wrong := _wrong_stamp(got, arm, route)):
                return {"seconds": round(got.answer.seconds, 4), "through": "router"}
            if time.monotonic() > until:
                raise ExternalFailure("The router", wrong, retryable=True)
            time.sleep(self._timing.poll_seconds)

    def _behaviour(self, lease: Lease, judged: Judged, target: Target) -> Proved:
        asked: dict[str, Any] = {}
        for arm in _asked_arms(judged):
            requests = self._of(arm.package_digest)
            rows = list(zip(requests.inputs, requests.outputs, strict=True))[:MAX_ROWS]
            for number, (given, expected) in enumerate(rows):
                answer = lease.call(target.answer, *arm.place, given)
                if wrong := difference(expected, answer.outputs, requests.tolerance):
                    return Proved("behaviour", "failed", f"version {arm.version}, recorded request {number}: {wrong}")
            if rows:
                asked[arm.name] = {"rows": len(rows), "tolerance": requests.tolerance}
        return Proved("behaviour", "ok", details=asked) if asked else Proved("behaviour", "impossible", "no recorded requests")

    def _of(self, digest: str) -> Requests:
        if digest not in self._requests:
            if len(self._requests) >= 256:
                self._requests.clear()
            self._requests[digest] = _read_requests(self._packages, digest)
        return self._requests[digest]


def keep(tx: Unit, endpoint_id: str, generation: int, results: Iterable[Proved]) -> None:
    """Writes the newest result of each kind."""
    for one in results:
        row = tx.session.get(Proof, (endpoint_id, one.kind))
        if row is None:
            row = tx.add(
                Proof(
                    endpoint_id=endpoint_id,
                    kind=one.kind,
                    verdict=one.verdict,
                    generation=generation,
                    checked_at=tx.now,
                    details={},
                )
            )
        row.verdict, row.reason, row.details = one.verdict, one.reason[:1000], dict(one.details)
        row.generation, row.checked_at = generation, tx.now


def failure(results: Iterable[Proved]) -> str:
    """Why a proof failed, in words; "" when none did."""
    return "; ".join(f"proof {one.kind}: {one.reason}" for one in results if one.verdict == "failed")


def _taken(kind: ProofKind, target: Target, take: Callable[[], Proved]) -> Proved:
    if kind not in target.abilities.proofs:
        return Proved(kind, "impossible", "not possible on this runtime")
    try:
        return take()
    except LeaseLost:
        raise
    except CountersignError as error:
        return Proved(kind, "failed", str(error))


def _is_due(newest: Proof | None, generation: int, now: datetime, renew: timedelta) -> bool:
    if newest is None or newest.generation != generation or newest.verdict == "failed":
        return True
    return now - newest.checked_at >= renew


def _configured(judged: Judged) -> Proved:
    wanted = judged.wanted
    details = {"models": len(wanted.models), "route": wanted.route is not None}
    if judged.verdict.state == "in_sync":
        return Proved("configured", "ok", details=details)
    return Proved("configured", "failed", judged.verdict.reason, details)


def _bytes(judged: Judged, target: Target) -> Proved:
    """Judged from the look: it re-hashed the storage where the runtime allows that."""
    server, seen = judged.seen.server, {}
    for arm in _asked_arms(judged):
        found = rules.version_of(server, *arm.place).package_digest if server is not None else None
        if found is None:
            return Proved("bytes", "impossible", f"the storage of version {arm.version} could not be re-hashed")
        if found != arm.package_digest:
            return Proved("bytes", "failed", f"version {arm.version} loads other bytes than were approved")
        seen[arm.name] = found
    return Proved("bytes", "ok", details=seen) if seen else Proved("bytes", "impossible", "nothing shall run")


def _asked_arms(judged: Judged) -> tuple[DesiredArm, ...]:
    desired = judged.standing.desired
    return rules.needed_arms(desired, baked=judged.standing.is_baked(judged.seen.at)) if desired is not None else ()


def _wrong_stamp(got: RoutedAnswer, arm: DesiredArm, route: EndpointRoute) -> str:
    """How the router's answer differs from what this arm's unit shall get; "" when it does not."""
    expected = (arm.name, str(arm.version), str(route.generation))
    found = (got.arm, got.version, got.generation)
    if found == expected:
        return ""
    return f"answered with arm {found[0]!r:.40}, version {found[1]!r:.20}, generation {found[2]!r:.20} instead of {expected}"


def _read_requests(packages: Packages, digest: str) -> Requests:
    inputs: list[dict[str, Any]] = []
    outputs: list[dict[str, Any]] = []
    tolerance = 0.0
    if (recorded := _file(packages, digest, PROBES, MAX_PROBES_BYTES)) is not None:
        inputs, outputs, tolerance = parse_probes(recorded)
    described = _file(packages, digest, CONFIG, MAX_JSON_BYTES)
    config = loads(described) if described is not None else {}
    return Requests(tuple(inputs), tuple(outputs), tolerance, config if isinstance(config, dict) else {})


def _file(packages: Packages, digest: str, path: str, limit: int) -> bytes | None:
    try:
        return packages.read(digest, path, limit)
    except Refusal as refusal:
        if refusal.code == "not-found":
            return None
        raise


def _zeros(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """One row of zeros and empty texts in the shape that a Triton model configuration describes; None without one."""
    row = dict(_zero_inputs(config))
    return row or None


def _zero_inputs(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for one in config.get("input", ()):
        size = 1
        for dim in one.get("dims", ()):
            size *= max(1, int(dim))
        kind = str(one.get("data_type", ""))
        zero: Any = "" if kind == "TYPE_STRING" else False if kind == "TYPE_BOOL" else 0
        yield str(one.get("name")), [zero] * min(size, 1 << 20)
