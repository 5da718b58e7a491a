"""Looks that somebody asked for, and rows that came after a look

Revision: 0028, after: 0027
"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("monitor_run", schema=None) as batch_op:
        batch_op.add_column(sa.Column("asked", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("late", sa.BigInteger(), nullable=False, server_default="0"))
    with op.batch_alter_table("monitor_run", schema=None) as batch_op:
        batch_op.alter_column("asked", server_default=None)
        batch_op.alter_column("late", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("monitor_run", schema=None) as batch_op:
        batch_op.drop_column("late")
        batch_op.drop_column("asked")
