"""How far back inference logs are whole, and looks that had nothing to judge

Revision: 0029, after: 0028
"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

_AT = sa.DateTime(timezone=True)
_BEFORE = ("running", "ok", "alarm", "no_data", "failed")
_STATES = ("running", "ok", "alarm", "no_data", "early", "idle", "failed")


def upgrade() -> None:
    op.create_table(
        "inference_log_horizon",
        sa.Column("endpoint_id", sa.String(), nullable=False),
        sa.Column("log_table", sa.String(), nullable=False),
        sa.Column("before", _AT, nullable=False),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoint.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("endpoint_id", "log_table"),
    )
    _allow(_STATES)


def downgrade() -> None:
    op.execute("UPDATE monitor_run SET state = 'no_data' WHERE state IN ('early', 'idle')")
    _allow(_BEFORE)
    op.drop_table("inference_log_horizon")


def _allow(states: tuple[str, ...]) -> None:
    with op.batch_alter_table("monitor_run", schema=None) as batch_op:
        batch_op.drop_constraint("monitor_run_state", type_="check")
        batch_op.create_check_constraint("monitor_run_state", f"state IN ({', '.join(repr(one) for one in states)})")
