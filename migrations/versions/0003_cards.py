"""Model cards with their history, versions being taken in, and what the list of models is filtered by

Revision: 0003, after: 0002_registry
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002_registry"
branch_labels = None
depends_on = None

_PICKLED = sa.text("pickled <> '[]'")


def upgrade() -> None:
    op.create_table(
        "model_card",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("model_id", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("summary", sa.String(), nullable=False),
        sa.Column("written_by", sa.String(), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"]),
        sa.ForeignKeyConstraint(["written_by"], ["identity.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("model_id", "revision"),
    )
    op.create_table(
        "intake",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("file", sa.String(), nullable=False),
        sa.Column("started_by", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("fraction", sa.Float(), nullable=False),
        sa.Column("doing", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("remedy", sa.String(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.CheckConstraint("kind IN ('registry', 'upload')", name="intake_kind"),
        sa.CheckConstraint("state IN ('running', 'done', 'refused', 'failed')", name="intake_state"),
        sa.ForeignKeyConstraint(["started_by"], ["identity.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("intake", schema=None) as batch_op:
        batch_op.create_index("intake_model", ["model", "started_at"], unique=False)
        batch_op.create_index("intake_started", ["started_at"], unique=False)
    with op.batch_alter_table("mirrored_alias", schema=None) as batch_op:
        batch_op.create_index("mirrored_alias_name", ["alias", "model_id"], unique=False)
    op.create_index("version_pickled", "version", ["model_id", "number"], sqlite_where=_PICKLED, postgresql_where=_PICKLED)


def downgrade() -> None:
    op.drop_index("version_pickled", table_name="version")
    with op.batch_alter_table("mirrored_alias", schema=None) as batch_op:
        batch_op.drop_index("mirrored_alias_name")
    for table in ("intake", "model_card"):
        op.drop_table(table)
