"""Profiles of agents: owner, routes, replay, undo, signals."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table; no row changes."""
    op.create_table(
        "agent_profile",
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("changed_us", BIG, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("agent"),
    )


def downgrade() -> None:
    """Refuse: going back would lose the profiles."""
    msg = "schema 0004 holds what 0003 can't: restore a backup instead"
    raise RuntimeError(msg)
