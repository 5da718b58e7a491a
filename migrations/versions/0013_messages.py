"""Messages: routes, subscriptions, preferences, what waits and was sent, links, and the registry's webhooks

Revision: 0013, after: 0012
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
_AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _routes()
    _messages()
    op.execute(  # what happened before is not told
        "INSERT INTO notify_cursor (id, seq) SELECT 'ledger', COALESCE((SELECT MAX(seq) FROM ledger), 0)"
    )


def _routes() -> None:
    op.create_table(
        "notify_route",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("shown", sa.String(), nullable=False),
        sa.Column("identity_id", sa.String(), nullable=True),
        sa.Column("team_id", sa.String(), nullable=True),
        sa.Column("sealed_address", sa.String(), nullable=False),
        sa.Column("sealed_secret", sa.String(), nullable=True),
        sa.Column("sealed_previous", sa.String(), nullable=True),
        sa.Column("previous_until", _AT, nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("state_reason", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", _AT, nullable=False),
        sa.CheckConstraint("kind IN ('webhook', 'apprise')", name="notify_route_kind"),
        sa.CheckConstraint("state IN ('active', 'paused', 'removed')", name="notify_route_state"),
        sa.CheckConstraint("identity_id IS NULL OR team_id IS NULL", name="notify_route_owner"),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"]),
        sa.ForeignKeyConstraint(["team_id"], ["team.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_notify_route_identity_id", "notify_route", ["identity_id"])
    op.create_index("ix_notify_route_team_id", "notify_route", ["team_id"])
    op.create_table(
        "notify_health",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("rest_until", _AT, nullable=True),
        sa.Column("ok_at", _AT, nullable=True),
        sa.Column("failing_since", _AT, nullable=True),
        sa.Column("says", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "notify_subscription",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("route_id", sa.String(), nullable=True),
        sa.Column("identity_id", sa.String(), nullable=True),
        sa.Column("events", _JSON, nullable=False),
        sa.Column("object_kind", sa.String(), nullable=False),
        sa.Column("object_name", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", _AT, nullable=False),
        sa.CheckConstraint("(route_id IS NULL) <> (identity_id IS NULL)", name="notify_subscription_holder"),
        sa.CheckConstraint(
            "object_kind IN ('', 'model', 'endpoint', 'environment', 'change')", name="notify_subscription_object"
        ),
        sa.ForeignKeyConstraint(["route_id"], ["notify_route.id"]),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_notify_subscription_route_id", "notify_subscription", ["route_id"])
    op.create_index("ix_notify_subscription_identity_id", "notify_subscription", ["identity_id"])
    op.create_table(
        "notify_preference",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("zone", sa.String(), nullable=False),
        sa.Column("quiet_from", sa.String(), nullable=True),
        sa.Column("quiet_to", sa.String(), nullable=True),
        sa.Column("urgent_through", sa.Boolean(), nullable=False),
        sa.Column("mail", sa.Boolean(), nullable=False),
        sa.Column("muted", _JSON, nullable=False),
        sa.Column("updated_at", _AT, nullable=False),
        sa.ForeignKeyConstraint(["id"], ["identity.id"]),
        sa.PrimaryKeyConstraint("id"),
    )


def _messages() -> None:
    op.create_table(
        "notify_message",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("route_key", sa.String(), nullable=False),
        sa.Column("identity_id", sa.String(), nullable=True),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", _AT, nullable=False),
        sa.Column("subject_kind", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("told", _JSON, nullable=False),
        sa.Column("same", sa.String(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("due_at", _AT, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("says", sa.String(), nullable=False),
        sa.Column("created_at", _AT, nullable=False),
        sa.Column("settled_at", _AT, nullable=True),
        sa.CheckConstraint("state IN ('waiting', 'sent', 'dead', 'dropped')", name="notify_message_state"),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_notify_message_identity_id", "notify_message", ["identity_id"])
    op.create_index("notify_message_due", "notify_message", ["route_key", "state", "due_at"])
    op.create_index("notify_message_same", "notify_message", ["same", "created_at"])
    op.create_index("notify_message_created", "notify_message", ["created_at"])
    op.create_table(
        "notify_attempt",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("at", _AT, nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("says", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["message_id"], ["notify_message.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_notify_attempt_message_id", "notify_attempt", ["message_id"])
    op.create_table(
        "notify_cursor",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "notify_link",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("identity_id", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("made_at", _AT, nullable=False),
        sa.Column("expires_at", _AT, nullable=False),
        sa.Column("used_at", _AT, nullable=True),
        sa.ForeignKeyConstraint(["message_id"], ["notify_message.id"]),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_notify_link_message_id", "notify_link", ["message_id"])
    op.create_table(
        "registry_hook",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at", _AT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_registry_hook_at", "registry_hook", ["at"])


def downgrade() -> None:
    for table in (
        "registry_hook", "notify_link", "notify_cursor", "notify_attempt", "notify_message", "notify_preference",
        "notify_subscription", "notify_health", "notify_route",
    ):  # fmt: skip
        op.drop_table(table)
