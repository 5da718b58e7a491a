"""Tables of delivery: servers, routers, endpoints, packages, authorizations, generations, and what was seen."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from backend.core.columns import Row, json, utc

ENDPOINT_STATES = (
    "observed", "in_sync", "pushing", "partial", "out_of_sync", "unreachable", "stale", "fight", "paused",
)  # fmt: skip


class Server(Row, table=True):
    """One running runtime at one management address. `kind` is the target adapter's name, `settings` its Settings as JSON."""

    __tablename__ = "server"
    __seen_through__: ClassVar[str] = "server"
    __subject__: ClassVar[str] = "server"

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    kind: str
    settings: dict[str, Any] = Field(sa_column=json())
    upstream: str
    """`host:port` at which routers reach its inference address."""
    sealed_credential: str | None = None
    move: dict[str, Any] | None = Field(default=None, sa_column=json(nullable=True))
    """Where it is asked to be instead, and by whom, until somebody else confirms it."""
    revision: int = 1
    created_by: str
    created_at: datetime = Field(sa_column=utc())


class RouterRow(Row, table=True):
    """One traffic router. `public_url` is where callers reach it."""

    __tablename__ = "router"
    __seen_through__: ClassVar[str] = "router"
    __subject__: ClassVar[str] = "router"

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    kind: str
    settings: dict[str, Any] = Field(sa_column=json())
    public_url: str
    sealed_credential: str | None = None
    move: dict[str, Any] | None = Field(default=None, sa_column=json(nullable=True))
    """As of a server."""
    revision: int = 1
    created_by: str
    created_at: datetime = Field(sa_column=utc())


class Endpoint(Row, table=True):
    """One model at one URL in one environment.

    `generation` is the latest admitted one (0: none yet), `routed_generation` the newest that a router may carry because its
    versions were seen ready, `proved_generation` the newest that was read back whole.
    """

    __tablename__ = "endpoint"
    __seen_through__: ClassVar[str] = "endpoint"
    __subject__: ClassVar[str] = "endpoint"
    __table_args__ = (
        sa.CheckConstraint("mode IN ('observe', 'managed')", name="endpoint_mode"),
        sa.CheckConstraint("repair IN ('repair', 'report')", name="endpoint_repair"),
        sa.CheckConstraint(f"state IN ({', '.join(repr(one) for one in ENDPOINT_STATES)})", name="endpoint_state"),
        sa.Index("endpoint_server", "server_id"),
        sa.Index("endpoint_environment", "environment", "name"),
    )

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    """Slug; also the path under the router's public URL."""
    environment: str = Field(foreign_key="environment.id")
    model: str
    """The registered model's name, which is also the name that callers use."""
    server_id: str = Field(foreign_key="server.id")
    router_id: str | None = Field(default=None, foreign_key="router.id")
    served_name: str
    """Base name under which the server knows this endpoint's model."""
    mode: str = "observe"
    repair: str = "repair"
    state: str = "observed"
    state_reason: str = ""
    state_since: datetime = Field(sa_column=utc())
    paused: bool = False
    generation: int = 0
    routed_generation: int = 0
    proved_generation: int = 0
    proved_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    base: dict[str, Any] | None = Field(default=None, sa_column=json(nullable=True))
    """Newest observation in the plan's words: {"arms": {...}, "champion": ...}; what changes are drawn against."""
    base_digest: str | None = None
    repairs: list[str] = Field(default_factory=list, sa_column=json())
    """ISO times of the latest repairs, for the `fight` stop."""
    last_error: str | None = None
    revision: int = 1
    created_by: str
    created_at: datetime = Field(sa_column=utc())


class Package(Row, table=True):
    """A package in the store: known by its digest, which is its id."""

    __tablename__ = "package"
    __subject__: ClassVar[str] = "package"

    id: str = Field(primary_key=True)
    """The package digest."""
    packager: str
    target: str
    artifact_digest: str = Field(index=True)
    interface_digest: str
    files: list[list[Any]] = Field(sa_column=json())
    size: int = Field(sa_type=sa.BigInteger)
    probes: dict[str, Any] | None = Field(default=None, sa_column=json(nullable=True))
    """{"digest", "count"} of the recorded answers inside."""
    built: bool = Field(default=False, sa_column=sa.Column(sa.Boolean(), nullable=False, server_default=sa.false()))
    """Whether Countersign made it of the artifact that it names. What was taken over from a server only claims that."""
    created_at: datetime = Field(sa_column=utc())


class Authorization(Row, table=True):
    """What delivery demands before it moves anything: one plan on one endpoint, who voted, until when it may be started."""

    __tablename__ = "authorization"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __subject__: ClassVar[str] = "authorization"
    __table_args__ = (
        sa.Index(
            "authorization_one_valid",
            "change_id",
            unique=True,
            sqlite_where=sa.text("revoked_at IS NULL"),
            postgresql_where=sa.text("revoked_at IS NULL"),
        ),
        sa.Index("authorization_endpoint", "endpoint_id", "created_at"),
    )

    id: str = Field(primary_key=True)
    endpoint_id: str = Field(foreign_key="endpoint.id")
    change_id: str
    """Opaque here: delivery knows nothing of changes. One that is not revoked: one effective change for one approval."""
    plan: dict[str, Any] = Field(sa_column=json())
    plan_digest: str
    base_digest: str
    votes: list[dict[str, Any]] = Field(sa_column=json())
    """[{"identity_id", "verdict", "plan_digest", "base_digest", "at"}]."""
    policy: str
    start_by: datetime = Field(sa_column=utc())
    revoked_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    revoked_by: str | None = None
    revoked_reason: str | None = None
    created_at: datetime = Field(sa_column=utc())


class Generation(Row, table=True):
    """One admitted step as desired state. Immutable; the newest of an endpoint is what the reconciler makes true.

    `desired` is the JSON of `generations.DesiredEndpoint`. Only `bake_until` is filled in later, once, by the unit that proves
    the generation.
    """

    __tablename__ = "generation"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __subject__: ClassVar[str] = "generation"
    __table_args__ = (
        sa.UniqueConstraint("endpoint_id", "number"),
        sa.CheckConstraint("reason IN ('baseline', 'start', 'ramp', 'rollback')", name="generation_reason"),
    )

    id: str = Field(primary_key=True)
    """`<endpoint id>/<number>`."""
    endpoint_id: str = Field(foreign_key="endpoint.id")
    number: int
    authorization_id: str | None = Field(default=None, foreign_key="authorization.id")
    """None only for a signed-off baseline."""
    reason: str
    step: int
    desired: dict[str, Any] = Field(sa_column=json())
    digest: str
    bake_until: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    admitted_at: datetime = Field(sa_column=utc())
    admitted_by: str


class Observation(Row, table=True):
    """A transition in what was seen of an endpoint: written when the digest of what is seen changes, not at every look."""

    __tablename__ = "observation"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __subject__: ClassVar[str] = "endpoint"
    __table_args__ = (sa.Index("observation_endpoint", "endpoint_id", "seen_at"),)

    id: str = Field(primary_key=True)
    endpoint_id: str = Field(foreign_key="endpoint.id")
    seen_at: datetime = Field(sa_column=utc())
    generation: int
    state: str
    reason: str = ""
    digest: str
    seen: dict[str, Any] = Field(sa_column=json())

    def subject(self) -> tuple[str, str]:
        """An observation is spoken of as its endpoint's."""
        return "endpoint", self.endpoint_id


class Look(Row, table=True):
    """When an endpoint was last seen, and what the reconciler must remember between two looks.

    Not governed: looking decides nothing, and thousands of equal looks a day do not belong in the ledger.
    """

    __tablename__ = "look"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __governed__: ClassVar[bool] = False

    endpoint_id: str = Field(primary_key=True, foreign_key="endpoint.id")
    seen_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    """When its server and its router last answered; None: never yet."""
    digest: str = ""
    """Digest of what was seen then; where the next look differs, an observation is written."""
    clean_generation: int = 0
    """The generation for which nothing of earlier ones was left on the server; a version that comes back later is drift."""
    failures: int = 0
    """Attempts in a row that did not make the newest generation true."""
    retry_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    """Before this time the same attempt is not repeated."""


class Proof(Row, table=True):
    """The newest result of one kind of proof for one endpoint. Repeated results are not governed; transitions are
    recorded with the endpoint.

    `verdict` is ok, failed, or impossible ("not possible on this runtime").
    """

    __tablename__ = "proof"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __governed__: ClassVar[bool] = False
    __table_args__ = (sa.CheckConstraint("verdict IN ('ok', 'failed', 'impossible')", name="proof_verdict"),)

    endpoint_id: str = Field(primary_key=True, foreign_key="endpoint.id")
    kind: str = Field(primary_key=True)
    verdict: str
    reason: str = ""
    generation: int
    checked_at: datetime = Field(sa_column=utc())
    details: dict[str, Any] = Field(sa_column=json())


class PushRecord(Row, table=True):
    """One attempt to make a generation true, as the push log shows it. Not governed: attempts decide nothing."""

    __tablename__ = "push_record"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __governed__: ClassVar[bool] = False
    __table_args__ = (sa.Index("push_endpoint", "endpoint_id", "started_at"),)

    id: str = Field(primary_key=True)
    endpoint_id: str = Field(foreign_key="endpoint.id")
    generation: int
    token: int = Field(sa_type=sa.BigInteger)
    started_at: datetime = Field(sa_column=utc())
    finished_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    outcome: str = "running"
    """running, proved, failed, repaired, unloaded, lost."""
    steps: list[dict[str, Any]] = Field(sa_column=json())
    """[{"step": "load", "seconds": 2.1, "note": ""}]."""
    error: str | None = None
