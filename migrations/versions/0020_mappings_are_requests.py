"""That a mapping of a group to a role waits for a second person as a request like every other

One that waits becomes a request that is good for seven days from when it was made, as if it had been asked for so: what waited
for longer has run out, and is asked for anew.

Revision: 0020, after: 0019
"""

import hashlib
import json
from datetime import timedelta

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_KINDS = ("role.grant", "policy.set", "owner.set", "binding.make", "identity.hand_over")
_KIND = "group_mapping.make"
_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_WHAT = ("provider", "value", "role", "scope")
_MAPPING = sa.table(
    "group_mapping",
    *(sa.column(name, sa.String()) for name in ("id", *_WHAT, "made_by")),
    *(sa.column(name, sa.DateTime(timezone=True)) for name in ("made_at", "confirmed_at")),
)
_IDENTITY = sa.table("identity", sa.column("id", sa.String()), sa.column("owner_id", sa.String()))
_REQUEST = sa.table(
    "request",
    *(sa.column(name, sa.String()) for name in ("id", "kind", "digest", "state", "asked_by", "reason")),
    *(sa.column(name, _JSON) for name in ("what", "interests")),
    *(sa.column(name, sa.DateTime(timezone=True)) for name in ("asked_at", "expires_at")),
)


def upgrade() -> None:
    _kinds(*_KINDS, _KIND)
    _ask_for_what_waits()
    op.execute(sa.delete(_MAPPING).where(_MAPPING.c.confirmed_at.is_(None)))
    op.execute(sa.update(_MAPPING).values(made_at=_MAPPING.c.confirmed_at))
    with op.batch_alter_table("group_mapping", schema=None) as batch_op:
        batch_op.alter_column("confirmed_by", existing_type=sa.String(), nullable=False)
        batch_op.drop_column("confirmed_at")


def _ask_for_what_waits() -> None:
    connection = op.get_bind()
    owners = {one.id: one.owner_id for one in connection.execute(sa.select(_IDENTITY))}
    for one in connection.execute(sa.select(_MAPPING).where(_MAPPING.c.confirmed_at.is_(None))).all():
        what = {name: getattr(one, name) for name in _WHAT}
        connection.execute(
            sa.insert(_REQUEST).values(
                id="ask_" + one.id.removeprefix("map_"),
                kind=_KIND,
                what=what,
                digest=_digest({"kind": _KIND, "what": what}),
                state="waiting",
                asked_by=one.made_by,
                interests=sorted({one.made_by, owners.get(one.made_by)} - {None}),
                asked_at=one.made_at,
                expires_at=one.made_at + timedelta(days=7),
                reason="",
            )
        )


def _digest(value: object) -> str:
    """As `core.canonical.digest` makes it of texts."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _kinds(*kinds: str) -> None:
    """What may be asked for."""
    with op.batch_alter_table("request", schema=None) as batch_op:
        batch_op.drop_constraint("request_kind", type_="check")
        batch_op.create_check_constraint("request_kind", f"kind IN ({', '.join(repr(one) for one in kinds)})")


def downgrade() -> None:
    op.execute(sa.delete(_REQUEST).where(_REQUEST.c.kind == _KIND))
    _kinds(*_KINDS)
    with op.batch_alter_table("group_mapping", schema=None) as batch_op:
        batch_op.add_column(sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.alter_column("confirmed_by", existing_type=sa.String(), nullable=True)
    op.execute(sa.update(_MAPPING).values(confirmed_at=_MAPPING.c.made_at))
