"""Which packages Countersign made itself; what was taken over from a server only claims which artifact it is

Packages that are there already count as taken over, and are made anew when they are needed: that gives the same digest.

Revision: 0006, after: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("package", sa.Column("built", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    op.drop_column("package", "built")
