"""The watch after a switch, and what a release knew of its readiness."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add a table and a column; no row changes."""
    op.create_table(
        "watch",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("release_id", sa.String(), nullable=True),
        sa.Column("left_bundle", sa.String(), nullable=False),
        sa.Column("good_bundle", sa.String(), nullable=False),
        sa.Column("from_us", BIG, nullable=False),
        sa.Column("at_us", BIG, nullable=False),
        sa.Column("until_us", BIG, nullable=False),
        sa.Column("matures_us", BIG, nullable=False),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("fast", sa.Text(), nullable=True),
        sa.Column("fast_us", BIG, nullable=True),
        sa.Column("final", sa.Text(), nullable=True),
        sa.Column("ended_us", BIG, nullable=True),
        sa.Column("begun_us", BIG, nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["release.id"]),
        sa.ForeignKeyConstraint(["left_bundle"], ["bundle.id"]),
        sa.ForeignKeyConstraint(["good_bundle"], ["bundle.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("subject"),
    )
    op.create_index("ix_watch_agent", "watch", ["agent"])
    op.add_column("release", sa.Column("readiness", sa.Text(), nullable=True))


def downgrade() -> None:
    """Refuse: verdicts would be lost."""
    msg = "schema 0008 holds what 0007 can't: restore a backup instead"
    raise RuntimeError(msg)
