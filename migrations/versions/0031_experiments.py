"""Experiments

Revision: 0031, after: 0030
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
_AT = sa.DateTime(timezone=True)
_RUNS = sa.text("state = 'running'")


def upgrade() -> None:
    op.create_table(
        "experiment",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("endpoint_id", sa.String(), nullable=False),
        sa.Column("slug", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("hypothesis", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("layer", sa.String(), nullable=True),
        sa.Column("design", _JSON, nullable=False),
        sa.Column("planned", _JSON, nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("changes", _JSON, nullable=False),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", _AT, nullable=False),
        sa.Column("edited_at", _AT, nullable=False),
        sa.Column("started_at", _AT, nullable=True),
        sa.Column("ended_at", _AT, nullable=True),
        sa.CheckConstraint("state IN ('draft', 'running', 'decided', 'withdrawn')", name="experiment_state"),
        sa.CheckConstraint("outcome IS NULL OR outcome IN ('ship', 'roll_back', 'no_decision')", name="experiment_outcome"),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoint.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("endpoint_id", "slug"),
    )
    for name, column in (("experiment_one_running", "endpoint_id"), ("experiment_one_of_layer", "layer")):
        op.create_index(name, "experiment", [column], unique=True, sqlite_where=_RUNS, postgresql_where=_RUNS)


def downgrade() -> None:
    op.drop_index("experiment_one_of_layer", table_name="experiment", sqlite_where=_RUNS, postgresql_where=_RUNS)
    op.drop_index("experiment_one_running", table_name="experiment", sqlite_where=_RUNS, postgresql_where=_RUNS)
    op.drop_table("experiment")
