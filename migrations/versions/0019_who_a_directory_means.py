"""What a directory calls somebody who signs in, and who switched an identity off

Revision: 0019, after: 0018
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("external_login", sa.Column("external_id", sa.String(), nullable=True))
    op.create_index(op.f("ix_external_login_external_id"), "external_login", ["external_id"], unique=False)
    op.add_column("identity", sa.Column("off_by", sa.String(), nullable=True))
    op.execute(
        "UPDATE identity SET off_by = (SELECT 'scim:' || provider FROM provisioned_user"
        " WHERE provisioned_user.identity_id = identity.id AND off_by_scim LIMIT 1) WHERE NOT active"
    )
    op.drop_column("provisioned_user", "off_by_scim")


def downgrade() -> None:
    op.add_column("provisioned_user", sa.Column("off_by_scim", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute(
        "UPDATE provisioned_user SET off_by_scim = (SELECT COALESCE(off_by = 'scim:' || provider, off_by IS NOT NULL)"
        " FROM identity WHERE identity.id = provisioned_user.identity_id)"
    )
    op.drop_column("identity", "off_by")
    op.drop_index(op.f("ix_external_login_external_id"), table_name="external_login")
    op.drop_column("external_login", "external_id")
