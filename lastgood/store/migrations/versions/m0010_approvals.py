"""What people were asked and decided, their one-time codes, and agents that cool down."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables; no row changes."""
    op.create_table(
        "approval",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("release_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("candidate", sa.String(), nullable=False),
        sa.Column("evidence", sa.String(), nullable=False),
        sa.Column("look", sa.Integer(), nullable=False),
        sa.Column("level", sa.String(), nullable=False),
        sa.Column("not_author", sa.Boolean(), nullable=False),
        sa.Column("asked_us", BIG, nullable=False),
        sa.Column("expires_us", BIG, nullable=False),
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decided_us", BIG, nullable=True),
        sa.ForeignKeyConstraint(["release_id"], ["release.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("approval_by_release", "approval", ["release_id", "number"], unique=True)
    op.create_table(
        "approval_code",
        sa.Column("code_hash", sa.String(), nullable=False),
        sa.Column("release_id", sa.String(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("issued_by", sa.String(), nullable=False),
        sa.Column("issued_us", BIG, nullable=False),
        sa.Column("expires_us", BIG, nullable=False),
        sa.Column("used_us", BIG, nullable=True),
        sa.ForeignKeyConstraint(["release_id"], ["release.id"]),
        sa.PrimaryKeyConstraint("code_hash"),
    )
    op.create_table(
        "cooldown",
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("until_us", BIG, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("release_id", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("agent", "environment"),
    )


def downgrade() -> None:
    """Refuse: going back would lose who decided what."""
    msg = "schema 0010 holds what 0009 can't: restore a backup instead"
    raise RuntimeError(msg)
