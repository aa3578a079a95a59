"""Regression cases."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXTS = (
    "id",
    "agent",
    "environment",
    "name",
    "signature",
    "bad",
    "good",
    "digest",
    "state",
    "review",
    "reviewer",
)


def upgrade() -> None:
    """Add the table; no row changes."""
    op.create_table(
        "regression_case",
        *(sa.Column(name, sa.String(), nullable=False) for name in _TEXTS),
        *(sa.Column(name, sa.String(), nullable=True) for name in ("incident_id", "run_id")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("body", "reason", "proof", "review_note")),
        sa.Column("created_us", BIG, nullable=False),
        sa.Column("reviewed_us", BIG, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["bad"], ["bundle.id"]),
        sa.ForeignKeyConstraint(["good"], ["bundle.id"]),
        sa.UniqueConstraint("agent", "environment", "name", name="regression_case_name"),
    )
    op.create_index("ix_regression_case_incident_id", "regression_case", ["incident_id"])


def downgrade() -> None:
    """Refuse: going back would lose the cases."""
    msg = "schema 0011 holds what 0010 can't: restore a backup instead"
    raise RuntimeError(msg)
