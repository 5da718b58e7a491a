"""Keys under which requests are sent, so that one that is sent again has one effect

Revision: 0011, after: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "request_key",
        sa.Column("identity_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("request_digest", sa.String(), nullable=False),
        sa.Column("made", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("identity_id", "key"),
    )
    with op.batch_alter_table("request_key", schema=None) as batch_op:
        batch_op.create_index("request_key_at", ["at"], unique=False)


def downgrade() -> None:
    op.drop_table("request_key")
