"""Telemetry over OTLP: spans of the last day, and counts of what could not be mapped."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables; no row changes."""
    op.create_table(
        "span",
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("trace_id", sa.String(), nullable=False),
        sa.Column("span_id", sa.String(), nullable=False),
        sa.Column("parent_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("received_us", BIG, nullable=False),
        sa.PrimaryKeyConstraint("scope", "trace_id", "span_id"),
    )
    op.create_index("span_by_age", "span", ["received_us"])
    op.create_table(
        "unmapped",
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("n", BIG, nullable=False),
        sa.Column("last_us", BIG, nullable=False),
        sa.PrimaryKeyConstraint("agent", "environment", "kind"),
    )


def downgrade() -> None:
    """Refuse: going back would count spans twice that are sent again."""
    msg = "schema 0013 holds what 0012 can't: restore a backup instead"
    raise RuntimeError(msg)
