"""When somebody was signed out everywhere, kept by itself; routes show no topic of ntfy and no webhook of Rocket.Chat

Revision: 0021, after: 0020
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("identity", sa.Column("signed_out_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(
        "UPDATE identity SET signed_out_at = (SELECT max(ended_at) FROM sign_in_session"
        " WHERE sign_in_session.identity_id = identity.id AND ended_why != 'signed-out')"
    )
    for scheme in ("ntfy", "ntfys", "rocket", "rockets"):  # what has no dot there may be one
        op.execute(
            f"UPDATE notify_route SET shown = '{scheme}://' WHERE kind = 'apprise'"  # noqa: S608 - of the names above
            f" AND shown LIKE '{scheme}://%' AND shown NOT LIKE '%.%'"
        )


def downgrade() -> None:
    op.drop_column("identity", "signed_out_at")
