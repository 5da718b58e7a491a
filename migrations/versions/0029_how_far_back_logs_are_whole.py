"""How far back inference logs are whole

Revision: 0029, after: 0028
"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

_AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "inference_log_horizon",
        sa.Column("endpoint_id", sa.String(), nullable=False),
        sa.Column("log_table", sa.String(), nullable=False),
        sa.Column("before", _AT, nullable=False),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoint.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("endpoint_id", "log_table"),
    )


def downgrade() -> None:
    op.drop_table("inference_log_horizon")
