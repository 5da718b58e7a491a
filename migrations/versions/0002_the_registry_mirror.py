"""The mirror of the registry in tables of its own, uploads, and what a search of models looks through

Until here nothing wrote to `model` or `version`, so that no rows have to be moved.

Revision: 0002_registry, after: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002_registry"
down_revision = "0001"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    for column in ("fingerprint", "search"):
        op.add_column("model", sa.Column(column, sa.String(), nullable=False, server_default=""))
    op.add_column("version", sa.Column("input_example", sa.String(), nullable=True))

    op.create_table(
        "mirrored_version",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("model_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=True),
        sa.Column("code_version", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("mirrored_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("run_read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("tags", _JSON, nullable=False),
        sa.Column("metrics", _JSON, nullable=False),
        sa.Column("params", _JSON, nullable=False),
        sa.Column("datasets", _JSON, nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("model_id", "number"),
    )
    with op.batch_alter_table("mirrored_version", schema=None) as batch_op:
        batch_op.create_index("mirrored_version_created", ["created_at", "id"], unique=False)
        batch_op.create_index("mirrored_version_unread", ["run_read_at", "created_at"], unique=False)

    op.create_table(
        "mirrored_alias",
        sa.Column("model_id", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"]),
        sa.PrimaryKeyConstraint("model_id", "alias"),
    )
    with op.batch_alter_table("mirrored_alias", schema=None) as batch_op:
        batch_op.create_index("mirrored_alias_version", ["model_id", "number"], unique=False)

    op.create_table(
        "mirror_state",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("models", sa.Integer(), nullable=False),
        sa.Column("versions", sa.Integer(), nullable=False),
        sa.Column("runs_left", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )

    op.create_table(
        "upload",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("artifact_digest", sa.String(), nullable=False),
        sa.Column("identity_id", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"]),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    for table in ("upload", "mirror_state", "mirrored_alias", "mirrored_version"):
        op.drop_table(table)
    with op.batch_alter_table("version", schema=None) as batch_op:
        batch_op.drop_column("input_example")
    with op.batch_alter_table("model", schema=None) as batch_op:
        batch_op.drop_column("search")
        batch_op.drop_column("fingerprint")
