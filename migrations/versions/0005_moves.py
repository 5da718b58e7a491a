"""Moves of servers and routers that wait for a second person

Revision: 0005, after: 0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    for table in ("server", "router"):
        op.add_column(table, sa.Column("move", _JSON, nullable=True))


def downgrade() -> None:
    for table in ("server", "router"):
        op.drop_column(table, "move")
