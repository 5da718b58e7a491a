"""Steps of a rollout that somebody had skipped, and what a change's comparison will see

Revision: 0030, after: 0029
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None
_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("rollout", schema=None) as batch_op:
        batch_op.add_column(sa.Column("skip_to", sa.Integer(), nullable=False, server_default="-1"))
    with op.batch_alter_table("rollout", schema=None) as batch_op:
        batch_op.alter_column("skip_to", server_default=None)

    with op.batch_alter_table("change", schema=None) as batch_op:
        batch_op.add_column(sa.Column("planned", _JSON, nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("change", schema=None) as batch_op:
        batch_op.drop_column("planned")
    with op.batch_alter_table("rollout", schema=None) as batch_op:
        batch_op.drop_column("skip_to")
