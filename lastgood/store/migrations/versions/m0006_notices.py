"""The outbox: what people are told, and on which routes."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NEW = sa.text("state = 'new'")
_OPEN = sa.text("state IN ('waiting', 'sending')")


def upgrade() -> None:
    """Add the tables; no row changes."""
    op.create_table(
        "notice",
        sa.Column("seq", BIG, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("level", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at_us", BIG, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint("key"),
    )
    op.create_index(
        "notice_new", "notice", ["agent", "environment", "seq"], sqlite_where=_NEW, postgresql_where=_NEW
    )
    op.create_table(
        "delivery",
        sa.Column("notice_id", sa.String(), nullable=False),
        sa.Column("route", sa.String(), nullable=False),
        sa.Column("transport", sa.String(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("level", sa.String(), nullable=False),
        sa.Column("seq", BIG, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_try_us", BIG, nullable=False),
        sa.Column("expires_us", BIG, nullable=False),
        sa.Column("claimed_by", sa.String(), nullable=False),
        sa.Column("claimed_until_us", BIG, nullable=False),
        sa.Column("ended_us", BIG, nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["notice_id"], ["notice.id"]),
        sa.PrimaryKeyConstraint("notice_id", "route"),
    )
    op.create_index(
        "delivery_open",
        "delivery",
        ["route", "agent", "environment", "level", "seq"],
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )


def downgrade() -> None:
    """Refuse: going back would lose what nobody was told yet."""
    msg = "schema 0006 holds what 0005 can't: restore a backup instead"
    raise RuntimeError(msg)
