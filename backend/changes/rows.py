"""Tables of changes, votes and comments, and of the keys under which changes were proposed."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from backend.changes.rules import CHANGE
from backend.core.columns import Row, json, utc


class Change(Row, table=True):
    """A request to make a plan true on one endpoint."""

    __tablename__ = "change"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __subject__: ClassVar[str] = "change"
    __table_args__ = (
        sa.CheckConstraint(CHANGE.check_sql(), name="change_state"),
        sa.CheckConstraint("start_mode IN ('at_once', 'by_hand', 'at_time')", name="change_start_mode"),
        sa.Index("change_state_updated", "state", "updated_at"),
        sa.Index("change_endpoint", "endpoint_id", "number"),
        sa.Index("change_deadline", "decide_by"),
    )

    id: str = Field(primary_key=True)
    number: int = Field(unique=True)
    endpoint_id: str = Field(foreign_key="endpoint.id")
    title: str
    reason: str
    requester_id: str = Field(foreign_key="identity.id", index=True)
    editors: list[str] = Field(default_factory=list, sa_column=json())
    """Identities that edited it besides the requester; they count as its interest."""
    state: str
    state_reason: str = ""
    wanted: dict[str, Any] = Field(sa_column=json())
    """What the requester asked for (JSON of `drawing.Wanted`), so that the plan can be drawn anew when the base moved."""
    plan: dict[str, Any] = Field(sa_column=json())
    plan_digest: str
    earlier_plan: dict[str, Any] | None = Field(default=None, sa_column=json(nullable=True))
    """The plan before the latest edit or rebase; reviewers are shown the difference."""
    planned: dict[str, Any] | None = Field(default=None, sa_column=json(nullable=True))
    """What its comparison will be able to see, as measured when it was drawn (`designs.views.PlanView` as JSON)."""
    base: dict[str, Any] | None = Field(default=None, sa_column=json(nullable=True))
    base_digest: str
    policy: str
    start_mode: str = "at_once"
    start_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    supersede: bool = False
    """Whether it may take over a rollout under way through that one's pre-approved rollback."""
    decide_by: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    """When it expires unless decided (in review) or started (approved)."""
    authorization_id: str | None = Field(default=None, foreign_key="authorization.id")
    superseded_by: str | None = None
    revision: int = 1
    created_at: datetime = Field(sa_column=utc())
    updated_at: datetime = Field(sa_column=utc())
    approved_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    finished_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))


class Vote(Row, table=True):
    """Approve or reject, by one identity, bound to one plan digest and one base digest. Void when either moved."""

    __tablename__ = "vote"
    __seen_through__: ClassVar[str] = "change_id"
    __subject__: ClassVar[str] = "change"
    __table_args__ = (
        sa.CheckConstraint("verdict IN ('approve', 'reject')", name="vote_verdict"),
        sa.Index("vote_one_valid", "change_id", "identity_id", unique=True, sqlite_where=sa.text("voided_at IS NULL"),
                 postgresql_where=sa.text("voided_at IS NULL")),
    )  # fmt: skip

    id: str = Field(primary_key=True)
    change_id: str = Field(foreign_key="change.id")
    identity_id: str = Field(foreign_key="identity.id")
    verdict: str
    plan_digest: str
    base_digest: str
    comment: str = ""
    at: datetime = Field(sa_column=utc())
    voided_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    void_reason: str = ""

    def subject(self) -> tuple[str, str]:
        """A vote is spoken of as its change's."""
        return "change", self.change_id


class Comment(Row, table=True):
    """One remark in a change's discussion."""

    __tablename__ = "comment"
    __seen_through__: ClassVar[str] = "change_id"
    __subject__: ClassVar[str] = "change"
    __table_args__ = (sa.Index("comment_change", "change_id", "at"),)

    id: str = Field(primary_key=True)
    change_id: str = Field(foreign_key="change.id")
    identity_id: str = Field(foreign_key="identity.id")
    text: str
    at: datetime = Field(sa_column=utc())

    def subject(self) -> tuple[str, str]:
        """A comment is spoken of as its change's."""
        return "change", self.change_id


class ProposalKey(Row, table=True):
    """That an identity proposed a change under a key of its own: the same request again finds that change.

    Not governed: the change that it names is, and is written in the same unit.
    """

    __tablename__ = "proposal_key"
    __seen_through__: ClassVar[str] = "change_id"
    __governed__: ClassVar[bool] = False

    identity_id: str = Field(primary_key=True, foreign_key="identity.id")
    key: str = Field(primary_key=True)
    request_digest: str
    """SHA-256 over what was asked for: another request under the same key is refused."""
    change_id: str = Field(foreign_key="change.id")
    at: datetime = Field(sa_column=utc())
