"""What device a session is on, and which groups a provider told

Revision: 0016, after: 0015
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("sign_in_session", schema=None) as batch_op:
        batch_op.add_column(sa.Column("device", sa.String(), nullable=False, server_default=""))
    op.create_table(
        "told_groups",
        sa.Column("identity_id", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("groups", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"]),
        sa.PrimaryKeyConstraint("identity_id", "provider"),
    )


def downgrade() -> None:
    op.drop_table("told_groups")
    with op.batch_alter_table("sign_in_session", schema=None) as batch_op:
        batch_op.drop_column("device")
