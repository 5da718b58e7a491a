"""Endpoints: what shall run, what was seen, and since when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from backend.client.results.changes import Rollout


@dataclass(frozen=True)
class LiveShare:
    """One version as it was last seen on an endpoint."""

    arm: str
    version: int
    buckets: int
    champion: bool


@dataclass(frozen=True)
class Proof:
    """The newest result of one kind of proof, with its age."""

    kind: str
    verdict: str
    reason: str
    generation: int
    age_seconds: float
    holds: bool
    details: Mapping[str, Any]


@dataclass(frozen=True)
class EndpointLine:
    """An endpoint in a list."""

    id: str
    name: str
    environment: str
    model: str
    server: str
    router: str | None
    served_name: str
    mode: str
    repair: str
    state: str
    reason: str
    since: datetime
    paused: bool
    stale: bool
    healthy: bool
    seen_seconds: float | None
    generation: int
    routed_generation: int
    proved_generation: int
    created_by: str
    champion_version: int | None
    live_version: int | None
    live: tuple[LiveShare, ...]
    proofs: tuple[Proof, ...]


@dataclass(frozen=True)
class Arm:
    """One arm as wanted and as seen; what was seen is None where nobody saw it lately."""

    name: str
    version: int
    role: str
    served_name: str
    served_version: int
    package_digest: str
    artifact_digest: str
    champion: bool
    wanted_share: int
    seen_share: int | None
    seen_champion: bool | None
    seen_state: str | None


@dataclass(frozen=True)
class Stranger:
    """A version under an endpoint's served name that no approval names."""

    endpoint: str
    served_name: str
    served_version: int
    seen_at: datetime | None


@dataclass(frozen=True)
class Endpoint:
    """One endpoint: wanted against seen, each proof with its age, the last error and the next attempt."""

    line: EndpointLine
    revision: int
    created_at: datetime
    created_by: str
    created_by_name: str
    arms: tuple[Arm, ...]
    shadow: str | None
    salt: str
    unit_header: str
    strangers: tuple[Stranger, ...]
    seen: Mapping[str, Any] | None
    seen_at: datetime | None
    base: Mapping[str, Any] | None
    base_digest: str | None
    bake_until: datetime | None
    proved_at: datetime | None
    last_error: str | None
    failures: int
    retry_at: datetime | None
    next_look_at: datetime | None
    working: bool
    etag: str = field(default="", compare=False, metadata={"told": False})


@dataclass(frozen=True)
class Share:
    """One arm of a generation."""

    arm: str
    version: int
    buckets: int
    served_name: str
    served_version: int
    role: str
    package_digest: str
    artifact_digest: str


@dataclass(frozen=True)
class Generation:
    """One admitted step, with where it came from."""

    number: int
    reason: str
    step: int
    digest: str
    champion: str | None
    shares: tuple[Share, ...]
    authorization_id: str | None
    change_id: str | None
    policy: str | None
    admitted_at: datetime
    admitted_by: str
    admitted_by_name: str
    proved_at: datetime | None
    bake_until: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True)
class Push:
    """One attempt to make a generation true."""

    id: str
    endpoint: str
    generation: int
    started_at: datetime
    finished_at: datetime | None
    seconds: float | None
    outcome: str
    steps: tuple[Mapping[str, Any], ...]
    error: str | None


@dataclass(frozen=True)
class EndpointMoment:
    """How an endpoint stood at a moment."""

    at: datetime
    exists: bool
    desired: Generation | None
    votes: tuple[Mapping[str, Any], ...]
    state: str | None
    reason: str
    seen: Mapping[str, Any] | None
    seen_at: datetime | None


@dataclass(frozen=True)
class Running:
    """One version found under an endpoint's served name."""

    served_name: str
    served_version: int
    state: str
    reason: str
    package_digest: str | None
    arm: str | None
    share: int | None


@dataclass(frozen=True)
class Unmanaged:
    """A model on a server under a name of no endpoint: (version, state) of each version."""

    served_name: str
    versions: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Baseline:
    """What would be signed off, as it runs now; a signature is bound to `digest`."""

    endpoint: str
    environment: str
    model: str
    server: str
    router: str | None
    served_name: str
    seen_at: datetime
    running: tuple[Running, ...]
    champion: str | None
    unmanaged: tuple[Unmanaged, ...]
    foreign_routes: tuple[str, ...]
    obstacles: tuple[str, ...]
    digest: str
    says: str


@dataclass(frozen=True)
class ServedArm:
    """Requests that one arm answered lately."""

    arm: str
    version: int | None
    requests: int


@dataclass(frozen=True)
class Standing:
    """How the fleet stands: how many of the managed endpoints run what was approved, all of it proved."""

    counts: Mapping[str, int]
    total: int
    managed: int
    as_approved: int
    troubled: int
    approval_to_done_seconds: float | None


@dataclass(frozen=True)
class RunningRollout:
    """A rollout under way, and the endpoint that it walks on."""

    endpoint: str
    environment: str
    model: str
    rollout: Rollout


@dataclass(frozen=True)
class StateMove:
    """A change of an endpoint's state."""

    endpoint: str
    at: datetime
    before: str
    after: str
    reason: str
