"""How far back inference logs are whole, looks that had nothing to judge, and who found a finding

Revision: 0029, after: 0028
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
_AT = sa.DateTime(timezone=True)
_BEFORE = ("running", "ok", "alarm", "no_data", "failed")
_STATES = ("running", "ok", "alarm", "no_data", "early", "idle", "failed")


def upgrade() -> None:
    op.create_table(
        "inference_log_horizon",
        sa.Column("endpoint_id", sa.String(), nullable=False),
        sa.Column("log_table", sa.String(), nullable=False),
        sa.Column("before", _AT, nullable=False),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoint.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("endpoint_id", "log_table"),
    )
    _allow(_STATES)
    op.create_table(
        "finding_finder",
        sa.Column("finding_id", sa.String(), nullable=False),
        sa.Column("found_by", sa.String(), nullable=False),
        sa.Column("last_seen_at", _AT, nullable=False),
        sa.Column("clean_since", _AT, nullable=True),
        sa.Column("clear_after_seconds", sa.Integer(), nullable=False),
        sa.Column("needs_person", sa.Boolean(), nullable=False),
        sa.Column("evidence", _JSON, nullable=False),
        sa.ForeignKeyConstraint(["finding_id"], ["finding.id"]),
        sa.PrimaryKeyConstraint("finding_id", "found_by"),
    )
    op.create_index("ix_finding_finder_found_by", "finding_finder", ["found_by"], unique=False)
    op.execute(
        "INSERT INTO finding_finder "
        "(finding_id, found_by, last_seen_at, clean_since, clear_after_seconds, needs_person, evidence) "
        "SELECT id, found_by, last_seen_at, clean_since, clear_after_seconds, needs_person, evidence "
        "FROM finding JOIN finding_sight ON finding_id = id"
    )


def downgrade() -> None:
    op.drop_table("finding_finder")
    op.execute("UPDATE monitor_run SET state = 'no_data' WHERE state IN ('early', 'idle')")
    _allow(_BEFORE)
    op.drop_table("inference_log_horizon")


def _allow(states: tuple[str, ...]) -> None:
    with op.batch_alter_table("monitor_run", schema=None) as batch_op:
        batch_op.drop_constraint("monitor_run_state", type_="check")
        batch_op.create_check_constraint("monitor_run_state", f"state IN ({', '.join(repr(one) for one in states)})")
