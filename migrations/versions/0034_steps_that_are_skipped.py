"""Steps of a rollout that somebody had skipped

Revision: 0034, after: 0029
"""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("rollout", schema=None) as batch_op:
        batch_op.add_column(sa.Column("skip_to", sa.Integer(), nullable=False, server_default="-1"))
    with op.batch_alter_table("rollout", schema=None) as batch_op:
        batch_op.alter_column("skip_to", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("rollout", schema=None) as batch_op:
        batch_op.drop_column("skip_to")
