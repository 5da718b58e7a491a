"""Who owned a service until when

Revision: 0018, after: 0017
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "former_owner",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("identity_id", sa.String(), nullable=False),
        sa.Column("owner_id", sa.String(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"]),
        sa.ForeignKeyConstraint(["owner_id"], ["identity.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("former_owner", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_former_owner_identity_id"), ["identity_id"], unique=False)


def downgrade() -> None:
    op.drop_table("former_owner")
