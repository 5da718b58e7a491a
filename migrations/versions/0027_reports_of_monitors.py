"""Reports that monitors have made

Revision: 0027, after: 0026
"""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("window_report", schema=None) as batch_op:
        batch_op.add_column(sa.Column("monitor", sa.String(), nullable=False, server_default=""))
    with op.batch_alter_table("window_report", schema=None) as batch_op:
        batch_op.alter_column("monitor", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("window_report", schema=None) as batch_op:
        batch_op.drop_column("monitor")
