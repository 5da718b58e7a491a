"""What a token is narrowed to, and which tokens of other systems act as which service

Revision: 0012, after: 0011
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_KINDS = ("role.grant", "policy.set", "owner.set")


def upgrade() -> None:
    with op.batch_alter_table("token", schema=None) as batch_op:
        batch_op.add_column(sa.Column("role", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("scope", sa.String(), nullable=False, server_default="*"))

    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.create_table(
        "binding",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("profile", sa.String(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("anchor", sa.String(), nullable=False),
        sa.Column("claims", json, nullable=False),
        sa.Column("identity_id", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=True),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("made_by", sa.String(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("binding", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_binding_identity_id"), ["identity_id"], unique=False)
        batch_op.create_index("binding_anchor", ["issuer", "anchor"], unique=False)
    op.create_table(
        "bearer_use",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("binding_id", sa.String(), nullable=True),
        sa.Column("identity_id", sa.String(), nullable=False),
        sa.Column("jti", sa.String(), nullable=False),
        sa.Column("told", json, nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["binding_id"], ["binding.id"]),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("bearer_use", schema=None) as batch_op:
        batch_op.create_index("bearer_use_binding", ["binding_id", "used_at"], unique=False)
    _kinds(*_KINDS, "binding.make")


def _kinds(*kinds: str) -> None:
    """What may be asked for."""
    with op.batch_alter_table("request", schema=None) as batch_op:
        batch_op.drop_constraint("request_kind", type_="check")
        batch_op.create_check_constraint("request_kind", f"kind IN ({', '.join(repr(one) for one in kinds)})")


def downgrade() -> None:
    op.execute("DELETE FROM request WHERE kind = 'binding.make'")
    _kinds(*_KINDS)
    for table in ("bearer_use", "binding"):
        op.drop_table(table)
    with op.batch_alter_table("token", schema=None) as batch_op:
        batch_op.drop_column("scope")
        batch_op.drop_column("role")
