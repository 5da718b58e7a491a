"""Monitors

Revision: 0025, after: 0024
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
_AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "monitor",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("endpoint_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("spec", _JSON, nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("paused_reason", sa.String(), nullable=False),
        sa.Column("begins_at", _AT, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("set_by", sa.String(), nullable=False),
        sa.Column("set_at", _AT, nullable=False),
        sa.Column("created_at", _AT, nullable=False),
        sa.CheckConstraint("kind IN ('drift', 'data', 'skew', 'quality', 'estimate')", name="monitor_kind"),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoint.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("endpoint_id", "name"),
    )
    op.create_table(
        "reference_profile",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("content_digest", sa.String(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("columns", sa.Integer(), nullable=False),
        sa.Column("timed", sa.Boolean(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("set_by", sa.String(), nullable=False),
        sa.Column("set_at", _AT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("model", "version"),
    )
    op.create_table(
        "reference_profile_content",
        sa.Column("profile_id", sa.String(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["profile_id"], ["reference_profile.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("profile_id"),
    )
    op.create_table(
        "counted_hour",
        sa.Column("endpoint_id", sa.String(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("hour", _AT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("counted_at", _AT, nullable=False),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoint.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("endpoint_id", "what", "hour", "version", "arm"),
    )
    op.create_table(
        "counting_state",
        sa.Column("endpoint_id", sa.String(), nullable=False),
        sa.Column("looked_at", _AT, nullable=True),
        sa.Column("counted_at", _AT, nullable=True),
        sa.Column("recounted", sa.Integer(), nullable=False),
        sa.Column("problem", sa.String(), nullable=True),
        sa.Column("problem_since", _AT, nullable=True),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoint.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("endpoint_id"),
    )
    op.create_table(
        "monitor_run",
        sa.Column("monitor_id", sa.String(), nullable=False),
        sa.Column("slot", _AT, nullable=False),
        sa.Column("endpoint_id", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("begins", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("window_start", _AT, nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("figures", _JSON, nullable=False),
        sa.Column("found", _JSON, nullable=False),
        sa.Column("started_at", _AT, nullable=False),
        sa.Column("ended_at", _AT, nullable=True),
        sa.CheckConstraint("state IN ('running', 'ok', 'alarm', 'no_data', 'failed')", name="monitor_run_state"),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoint.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["monitor_id"], ["monitor.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("monitor_id", "slot"),
    )
    op.create_table(
        "monitor_score",
        sa.Column("monitor_id", sa.String(), nullable=False),
        sa.Column("slot", _AT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("feature", sa.String(), nullable=False),
        sa.Column("endpoint_id", sa.String(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("missing", sa.Float(), nullable=True),
        sa.Column("score", sa.String(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("threshold", sa.Float(), nullable=True),
        sa.Column("scores", _JSON, nullable=False),
        sa.Column("adjusted", sa.Float(), nullable=True),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoint.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["monitor_id"], ["monitor.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("monitor_id", "slot", "version", "arm", "role", "feature"),
    )
    op.create_table(
        "kept_thresholds",
        sa.Column("reference", sa.String(), nullable=False),
        sa.Column("made", _JSON, nullable=False),
        sa.Column("used_at", _AT, nullable=False),
        sa.PrimaryKeyConstraint("reference"),
    )
    op.create_index("counted_hour_age", "counted_hour", ["hour"])
    op.create_index("monitor_run_endpoint", "monitor_run", ["endpoint_id", "slot"])
    op.create_index("monitor_score_endpoint", "monitor_score", ["endpoint_id", "slot"])


def downgrade() -> None:
    for name in ("monitor_score", "monitor_run", "counted_hour"):
        op.drop_index(f"{name}_{'age' if name == 'counted_hour' else 'endpoint'}", table_name=name)
    for name in (
        "kept_thresholds", "monitor_score", "monitor_run", "counting_state", "counted_hour", "reference_profile_content",
        "reference_profile", "monitor",
    ):  # fmt: skip
        op.drop_table(name)
