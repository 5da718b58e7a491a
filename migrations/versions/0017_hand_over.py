"""That a service may be handed to another owner, by two people where its roles reach that far

Revision: 0017, after: 0016
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_KINDS = ("role.grant", "policy.set", "owner.set", "binding.make")


def upgrade() -> None:
    _kinds(*_KINDS, "identity.hand_over")


def _kinds(*kinds: str) -> None:
    """What may be asked for."""
    with op.batch_alter_table("request", schema=None) as batch_op:
        batch_op.drop_constraint("request_kind", type_="check")
        batch_op.create_check_constraint("request_kind", f"kind IN ({', '.join(repr(one) for one in kinds)})")


def downgrade() -> None:
    op.execute("DELETE FROM request WHERE kind = 'identity.hand_over'")
    _kinds(*_KINDS)
