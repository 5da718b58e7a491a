"""What arms did beside each other: comparisons, their looks, and how the looking goes

Revision: 0032, after: 0031
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
_AT = sa.DateTime(timezone=True)
_RUNS = sa.text("state = 'running'")


def upgrade() -> None:
    op.create_table(
        "comparison",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("endpoint_id", sa.String(), nullable=False),
        sa.Column("experiment", sa.String(), nullable=True),
        sa.Column("salt", sa.String(), nullable=False),
        sa.Column("control", sa.String(), nullable=False),
        sa.Column("authorizations", _JSON, nullable=False),
        sa.Column("spec", _JSON, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("decision", sa.String(), nullable=True),
        sa.Column("reasons", _JSON, nullable=False),
        sa.Column("person", sa.Boolean(), nullable=False),
        sa.Column("verdicts", _JSON, nullable=False),
        sa.Column("facts_kept", _JSON, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("began_at", _AT, nullable=False),
        sa.Column("ended_at", _AT, nullable=True),
        sa.CheckConstraint("state IN ('running', 'ended')", name="comparison_state"),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoint.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "comparison_one_running", "comparison", ["endpoint_id"], unique=True, sqlite_where=_RUNS, postgresql_where=_RUNS
    )
    op.create_index("comparison_endpoint", "comparison", ["endpoint_id", "began_at"], unique=False)
    op.create_table(
        "comparison_state",
        sa.Column("comparison_id", sa.String(), nullable=False),
        sa.Column("endpoint_id", sa.String(), nullable=False),
        sa.Column("looked_at", _AT, nullable=True),
        sa.Column("took_seconds", sa.Float(), nullable=False),
        sa.Column("problem", sa.String(), nullable=True),
        sa.Column("problem_since", _AT, nullable=True),
        sa.Column("failures", _JSON, nullable=False),
        sa.Column("spent", _JSON, nullable=False),
        sa.Column("standing", _JSON, nullable=True),
        sa.ForeignKeyConstraint(["comparison_id"], ["comparison.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoint.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("comparison_id"),
    )
    op.create_table(
        "comparison_look",
        sa.Column("comparison_id", sa.String(), nullable=False),
        sa.Column("endpoint_id", sa.String(), nullable=False),
        sa.Column("at", _AT, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("figures", _JSON, nullable=False),
        sa.ForeignKeyConstraint(["comparison_id"], ["comparison.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoint.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("comparison_id", "at"),
    )


def downgrade() -> None:
    op.drop_table("comparison_look")
    op.drop_table("comparison_state")
    op.drop_index("comparison_endpoint", table_name="comparison")
    op.drop_index("comparison_one_running", table_name="comparison", sqlite_where=_RUNS, postgresql_where=_RUNS)
    op.drop_table("comparison")
