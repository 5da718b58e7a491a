"""Window reports

Revision: 0026, after: 0025
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    op.create_table(
        "window_report",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("endpoint_id", sa.String(), nullable=False),
        sa.Column("endpoint", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("asked", _JSON, nullable=False),
        sa.Column("asked_by", sa.String(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("says", sa.String(), nullable=False),
        sa.Column("notes", _JSON, nullable=False),
        sa.Column("sample", _JSON, nullable=False),
        sa.Column("digest", sa.String(), nullable=True),
        sa.Column("size", sa.Integer(), nullable=True),
        sa.Column("scripts", _JSON, nullable=False),
        sa.CheckConstraint("state IN ('queued', 'running', 'done', 'failed')", name="window_report_state"),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("window_report", schema=None) as batch_op:
        batch_op.create_index("window_report_asked", ["asked_at"], unique=False)
        batch_op.create_index("window_report_endpoint", ["endpoint_id", "asked_at"], unique=False)


def downgrade() -> None:
    op.drop_table("window_report")
