"""Retention: what a chain and a release say of themselves once they were pruned."""

import sqlalchemy as sa
from alembic import op

from lastgood.store.immutable import allow_edits, refuse_edits

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
#: a ledger row goes only once its chain is anchored behind it
_ANCHORED = (
    "EXISTS (SELECT 1 FROM ledger_anchor AS a WHERE a.agent = OLD.agent "
    "AND a.environment = OLD.environment AND OLD.seq <= a.seq)"
)
#: sealed sums go only with an ended release that says so
_MARKED = (
    "EXISTS (SELECT 1 FROM release AS r WHERE r.id = OLD.release_id "
    "AND r.ended_us IS NOT NULL AND r.pruned_us IS NOT NULL)"
)


def upgrade() -> None:
    """Add the anchors and the mark, and let pruning, alone, through the triggers."""
    op.create_table(
        "ledger_anchor",
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("seq", BIG, nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("agent", "environment"),
    )
    op.add_column("release", sa.Column("pruned_us", BIG, nullable=True))
    refuse_edits("ledger_anchor", "DELETE")
    for table, unless in (("ledger", _ANCHORED), ("sealed_tally", _MARKED)):
        allow_edits(table, "DELETE")
        refuse_edits(table, "DELETE", unless=unless)


def downgrade() -> None:
    """Refuse: a pruned chain could not be verified without its anchor."""
    msg = "schema 0003 holds what 0002 can't: restore a backup instead"
    raise RuntimeError(msg)
