"""Findings

Revision: 0024, after: 0023
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
_IS_LIVE = sa.text("state <> 'resolved'")


def upgrade() -> None:
    op.create_table(
        "finding",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("endpoint_id", sa.String(), nullable=True),
        sa.Column("endpoint", sa.String(), nullable=True),
        sa.Column("environment", sa.String(), nullable=True),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("about", sa.String(), nullable=False),
        sa.Column("found_by", sa.String(), nullable=False),
        sa.Column("says", sa.String(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("state_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("former_id", sa.String(), nullable=True),
        sa.Column("test", sa.Boolean(), nullable=False),
        sa.Column("owner_team_id", sa.String(), nullable=True),
        sa.Column("owner_id", sa.String(), nullable=True),
        sa.Column("assigned", sa.Boolean(), nullable=False),
        sa.Column("first_evidence", _JSON, nullable=False),
        sa.Column("clear_after_seconds", sa.Integer(), nullable=False),
        sa.Column("needs_person", sa.Boolean(), nullable=False),
        sa.Column("open_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("escalated", sa.Integer(), nullable=False),
        sa.Column("snoozed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("by_id", sa.String(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("owner_id IS NULL OR owner_team_id IS NULL", name="finding_owner"),
        sa.CheckConstraint("severity IN ('info', 'warning', 'critical')", name="finding_severity"),
        sa.CheckConstraint("state IN ('open', 'acknowledged', 'snoozed', 'resolved')", name="finding_state"),
        sa.ForeignKeyConstraint(["former_id"], ["finding.id"]),
        sa.ForeignKeyConstraint(["owner_id"], ["identity.id"]),
        sa.ForeignKeyConstraint(["owner_team_id"], ["team.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("number"),
    )
    with op.batch_alter_table("finding", schema=None) as batch_op:
        batch_op.create_index("finding_endpoint", ["endpoint_id", "state"], unique=False)
        batch_op.create_index("finding_fingerprint", ["fingerprint", "opened_at"], unique=False)
        batch_op.create_index("finding_found_by", ["found_by", "state"], unique=False)
        batch_op.create_index("finding_list", ["rank", "state_since", "id"], unique=False)
        batch_op.create_index(
            "finding_one_live", ["fingerprint"], unique=True, sqlite_where=_IS_LIVE, postgresql_where=_IS_LIVE
        )
        batch_op.create_index(batch_op.f("ix_finding_owner_id"), ["owner_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_finding_owner_team_id"), ["owner_team_id"], unique=False)
    op.create_table(
        "finding_sight",
        sa.Column("finding_id", sa.String(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("says", sa.String(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("evidence", _JSON, nullable=False),
        sa.Column("clean_since", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["finding_id"], ["finding.id"]),
        sa.PrimaryKeyConstraint("finding_id"),
    )


def downgrade() -> None:
    op.drop_table("finding_sight")
    op.drop_table("finding")
