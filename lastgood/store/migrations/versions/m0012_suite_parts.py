"""Parts of regression suites that are spread over workers."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table; no row changes."""
    op.create_table(
        "suite_part",
        sa.Column("suite_id", sa.String(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("at_us", BIG, nullable=False),
        sa.PrimaryKeyConstraint("suite_id", "part"),
    )


def downgrade() -> None:
    """Refuse: going back would lose the reports of suites under way."""
    msg = "schema 0012 holds what 0011 can't: restore a backup instead"
    raise RuntimeError(msg)
