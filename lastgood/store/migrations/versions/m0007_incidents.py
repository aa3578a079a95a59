"""Incidents, compensations, quarantined outputs, and what failing runs say of themselves."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add tables and columns; no row changes."""
    _incident()
    _compensation()
    op.create_table(
        "recovery_approval",
        sa.Column("incident_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actions", sa.Integer(), nullable=False),
        sa.Column("at_us", BIG, nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incident.id"]),
        sa.PrimaryKeyConstraint("incident_id", "kind"),
    )
    _quarantine_item()
    op.add_column("outcome", sa.Column("parts_read", sa.Integer(), nullable=True))
    op.add_column("outcome", sa.Column("error_text", sa.Text(), nullable=True))


def _incident() -> None:
    op.create_table(
        "incident",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("release_id", sa.String(), nullable=True),
        sa.Column("bad_bundle", sa.String(), nullable=False),
        sa.Column("good_bundle", sa.String(), nullable=True),
        sa.Column("from_us", BIG, nullable=False),
        sa.Column("to_us", BIG, nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("culprits", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("opened_by", sa.String(), nullable=False),
        sa.Column("opened_us", BIG, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("recovery", sa.String(), nullable=False),
        sa.Column("recovery_worker", sa.String(), nullable=False),
        sa.Column("recovery_until_us", BIG, nullable=False),
        sa.Column("watch", sa.String(), nullable=False),
        sa.Column("cases", sa.Text(), nullable=False),
        sa.Column("close_reason", sa.Text(), nullable=True),
        sa.Column("closed_by", sa.String(), nullable=True),
        sa.Column("closed_us", BIG, nullable=True),
        sa.CheckConstraint(
            "state = 'open' OR cases <> '[]' OR coalesce(close_reason, '') <> ''", name="incident_has_a_close"
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("incident_by_agent", "incident", ["agent", "environment", "opened_us"])
    op.create_index("incident_by_bundle", "incident", ["bad_bundle", "environment"])


def _compensation() -> None:
    op.create_table(
        "compensation",
        sa.Column("action_id", sa.String(), nullable=False),
        sa.Column("incident_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("covers_us", BIG, nullable=False),
        sa.Column("doubt", sa.Boolean(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("handler", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("next_try_us", BIG, nullable=False),
        sa.Column("planned_us", BIG, nullable=False),
        sa.Column("settled_us", BIG, nullable=True),
        sa.ForeignKeyConstraint(["action_id"], ["action.id"]),
        sa.ForeignKeyConstraint(["incident_id"], ["incident.id"]),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"]),
        sa.PrimaryKeyConstraint("action_id"),
        sa.UniqueConstraint("key"),
    )
    op.create_index("compensation_by_incident", "compensation", ["incident_id", "state"])
    op.create_index("ix_compensation_run_id", "compensation", ["run_id"])


def _quarantine_item() -> None:
    op.create_table(
        "quarantine_item",
        sa.Column("incident_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("since_us", BIG, nullable=False),
        sa.Column("changed_us", BIG, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incident.id"]),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"]),
        sa.PrimaryKeyConstraint("incident_id", "kind", "key"),
    )
    op.create_index("quarantine_item_by_key", "quarantine_item", ["key"])
    op.create_index("ix_quarantine_item_run_id", "quarantine_item", ["run_id"])


def downgrade() -> None:
    """Refuse: going back would lose incidents and what was undone."""
    msg = "schema 0007 holds what 0006 can't: restore a backup instead"
    raise RuntimeError(msg)
