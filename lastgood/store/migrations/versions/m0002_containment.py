"""Exact sums, stops, refusals, keyed actions and late reports, fences."""

import sqlalchemy as sa
from alembic import op

from lastgood.store.immutable import refuse_edits

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_COUNTS = (
    *("runs", "failed", "disconnected", "completed_n", "completed", "validated_n", "validated"),
    *("escalated_n", "escalated", "infra_failure_n", "infra_failure", "incidents_n", "incidents"),
    *("operator_edits_n", "operator_edits", "cost_n"),
)


def _cell() -> list[sa.Column[str] | sa.Column[int]]:
    """The columns that name a cell of sums."""
    return [
        sa.Column("release_id", sa.String(), nullable=False),
        sa.Column("task_type", sa.String(), nullable=False),
        sa.Column("block", sa.Integer(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
    ]


def _sums(table: str) -> None:
    op.create_table(
        table,
        *_cell(),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in _COUNTS),
        sa.Column("cost_micro", sa.BigInteger(), nullable=False),
        sa.Column("latency_n", sa.Integer(), nullable=False),
        sa.Column("latency_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["release.id"]),
        sa.PrimaryKeyConstraint("release_id", "task_type", "block", "arm"),
    )


def upgrade() -> None:
    """Add tables and columns; no row changes."""
    _sums("tally")
    _sums("sealed_tally")
    op.create_table(
        "metric_tally",
        *_cell(),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("total_micro", BIG, nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["release.id"]),
        sa.PrimaryKeyConstraint("release_id", "task_type", "block", "arm", "metric"),
    )
    op.create_table(
        "trigger_state",
        sa.Column("release_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["release.id"]),
        sa.PrimaryKeyConstraint("release_id", "name"),
    )
    op.create_table(
        "stop",
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("since_us", BIG, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("agent", "environment"),
    )
    op.create_table(
        "refusal",
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("last_us", BIG, nullable=False),
        sa.PrimaryKeyConstraint("agent", "environment", "reason"),
    )
    op.add_column("served", sa.Column("fence", sa.String(), nullable=True))
    op.add_column("release", sa.Column("fence", sa.String(), nullable=True))
    op.add_column("late_report", sa.Column("key", sa.String(), nullable=True))
    op.create_index("late_report_by_key", "late_report", ["run_id", "key"], unique=True)
    op.add_column("action", sa.Column("tool", sa.String(), nullable=True))
    op.add_column("action", sa.Column("key", sa.String(), nullable=True))
    op.add_column("action", sa.Column("result", sa.Text(), nullable=True))
    op.add_column("action", sa.Column("epoch", BIG, nullable=True))
    op.add_column("action", sa.Column("late", sa.Boolean(), nullable=True))
    op.create_index("action_by_key", "action", ["run_id", "key"], unique=True)
    refuse_edits("sealed_tally")


def downgrade() -> None:
    """Refuse: going back would lose sums and fences."""
    msg = "schema 0002 holds what 0001 can't: restore a backup instead"
    raise RuntimeError(msg)
