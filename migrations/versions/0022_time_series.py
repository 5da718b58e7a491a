"""Time series, the sources that tell them, how long they are kept, and objectives

Revision: 0022, after: 0021
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
_AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _series()
    _points()
    _sources()
    _policy()


def _series() -> None:
    op.create_table(
        "metric_series",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("endpoint_id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("teller", sa.String(), nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("shadow", sa.Boolean(), nullable=False),
        sa.Column("labels", _JSON, nullable=False),
        sa.Column("bounds", _JSON, nullable=True),
        sa.Column("created_at", _AT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
    op.create_index("metric_series_endpoint", "metric_series", ["endpoint_id", "metric"])
    op.create_index("metric_series_source", "metric_series", ["source"])


def _points() -> None:
    columns = (
        sa.Column("series_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=True),
        sa.Column("low", sa.Float(), nullable=True),
        sa.Column("high", sa.Float(), nullable=True),
        sa.Column("counts", sa.LargeBinary(), nullable=True),
    )
    if op.get_bind().dialect.name == "postgresql":
        # The key includes what a chart reads: the rows of one series are strewn over the table as they came, its index is not.
        op.create_table("metric_point", *columns)
        op.execute(
            "ALTER TABLE metric_point ADD CONSTRAINT metric_point_pkey PRIMARY KEY (series_id, step, at)"
            " INCLUDE (value, count, low, high, counts)"
        )
        op.execute("ALTER TABLE metric_point SET (autovacuum_vacuum_insert_scale_factor = 0.02)")  # keeps reads in the index
    else:
        key = sa.PrimaryKeyConstraint("series_id", "step", "at")
        op.create_table("metric_point", *columns, key, sqlite_with_rowid=False)
    op.create_table(
        "metric_rolled",
        sa.Column("step", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("step"),
    )


def _sources() -> None:
    op.create_table(
        "metric_source",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("endpoint_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("settings", _JSON, nullable=False),
        sa.Column("credential", sa.String(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", _AT, nullable=False),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoint.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("endpoint_id", "name"),
    )
    op.create_table(
        "metric_source_state",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("server_id", sa.String(), nullable=True),
        sa.Column("router_id", sa.String(), nullable=True),
        sa.Column("endpoint_id", sa.String(), nullable=True),
        sa.Column("asked_at", _AT, nullable=True),
        sa.Column("ok_at", _AT, nullable=True),
        sa.Column("problem", sa.String(), nullable=True),
        sa.Column("problem_since", _AT, nullable=True),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("figures", sa.Integer(), nullable=False),
        sa.Column("placed", _JSON, nullable=False),
        sa.Column("bad", _JSON, nullable=False),
        sa.Column("cut", sa.String(), nullable=False),
        sa.Column("memory", _JSON, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )


def _policy() -> None:
    op.create_table(
        "metric_retention",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("raw_hours", sa.Integer(), nullable=False),
        sa.Column("fine_hours", sa.Integer(), nullable=False),
        sa.Column("coarse_hours", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("set_by", sa.String(), nullable=False),
        sa.Column("set_at", _AT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "slo",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("endpoint_id", sa.String(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("objectives", _JSON, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("set_by", sa.String(), nullable=False),
        sa.Column("set_at", _AT, nullable=False),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoint.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("endpoint_id"),
    )


def downgrade() -> None:
    for table in ("slo", "metric_retention", "metric_source_state", "metric_source", "metric_rolled", "metric_point"):
        op.drop_table(table)
    op.drop_index("metric_series_source", table_name="metric_series")
    op.drop_index("metric_series_endpoint", table_name="metric_series")
    op.drop_table("metric_series")
