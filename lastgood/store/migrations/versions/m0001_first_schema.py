"""The first schema."""

import sqlalchemy as sa
from alembic import op

from lastgood.store.immutable import refuse_edits

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
#: tables whose rows are never changed or deleted by anybody
IMMUTABLE = ("part", "bundle", "bundle_part", "policy", "ledger")


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "bundle",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("approver", sa.String(), nullable=False),
        sa.Column("parent", sa.String(), nullable=False),
        sa.Column("created_us", BIG, nullable=False),
        sa.Column("seal", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    with op.batch_alter_table("bundle", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_bundle_agent"), ["agent"], unique=False)

    op.create_table(
        "ledger",
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("seq", BIG, nullable=False),
        sa.Column("at_us", BIG, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("epoch", BIG, nullable=False),
        sa.Column("release_id", sa.String(), nullable=True),
        sa.Column("point", sa.Text(), nullable=False),
        sa.Column("previous", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("agent", "environment", "seq"),
    )
    op.create_table(
        "part",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "policy",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("created_us", BIG, nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    with op.batch_alter_table("policy", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_policy_name"), ["name"], unique=False)

    op.create_table(
        "bundle_part",
        sa.Column("bundle_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["bundle_id"],
            ["bundle.id"],
        ),
        sa.ForeignKeyConstraint(
            ["digest"],
            ["part.digest"],
        ),
        sa.PrimaryKeyConstraint("bundle_id", "kind"),
    )
    op.create_table(
        "control_point",
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("baseline", sa.String(), nullable=False),
        sa.Column("standing", sa.String(), nullable=False),
        sa.Column("candidate", sa.String(), nullable=True),
        sa.Column("release_id", sa.String(), nullable=True),
        sa.Column("share_bp", sa.Integer(), nullable=False),
        sa.Column("epoch", BIG, nullable=False),
        sa.Column("lease_seq", BIG, nullable=False),
        sa.Column("lease_until_us", BIG, nullable=False),
        sa.Column("lease_boot_id", sa.String(), nullable=False),
        sa.Column("lease_boot_until_us", BIG, nullable=False),
        sa.Column("driver_term", BIG, nullable=False),
        sa.Column("killed", sa.Boolean(), nullable=False),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.Column("changed_us", BIG, nullable=False),
        sa.Column("seal", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["baseline"],
            ["bundle.id"],
        ),
        sa.ForeignKeyConstraint(
            ["candidate"],
            ["bundle.id"],
        ),
        sa.PrimaryKeyConstraint("agent", "environment"),
    )
    op.create_table(
        "conversation",
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("conversation", sa.String(), nullable=False),
        sa.Column("bundle_id", sa.String(), nullable=False),
        sa.Column("release_id", sa.String(), nullable=True),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("since_us", BIG, nullable=False),
        sa.ForeignKeyConstraint(
            ["bundle_id"],
            ["bundle.id"],
        ),
        sa.PrimaryKeyConstraint("agent", "environment", "conversation"),
    )
    op.create_table(
        "quarantine",
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("bundle_id", sa.String(), nullable=False),
        sa.Column("since_us", BIG, nullable=False),
        sa.Column("until_us", BIG, nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("release_id", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["bundle_id"],
            ["bundle.id"],
        ),
        sa.PrimaryKeyConstraint("agent", "environment", "bundle_id"),
    )
    op.create_table(
        "release",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("baseline", sa.String(), nullable=False),
        sa.Column("candidate", sa.String(), nullable=False),
        sa.Column("policy_name", sa.String(), nullable=False),
        sa.Column("policy_digest", sa.String(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("history", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("started_by", sa.String(), nullable=False),
        sa.Column("approver", sa.String(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("started_us", BIG, nullable=False),
        sa.Column("step_since_us", BIG, nullable=False),
        sa.Column("driver", sa.String(), nullable=False),
        sa.Column("driver_seen_us", BIG, nullable=False),
        sa.Column("invalid_since_us", BIG, nullable=True),
        sa.Column("ended_us", BIG, nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("culprits", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["baseline"],
            ["bundle.id"],
        ),
        sa.ForeignKeyConstraint(
            ["candidate"],
            ["bundle.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("release", schema=None) as batch_op:
        batch_op.create_index(
            "one_live_release",
            ["agent", "environment"],
            unique=True,
            sqlite_where=sa.text("ended_us IS NULL"),
            postgresql_where=sa.text("ended_us IS NULL"),
        )

    op.create_table(
        "run",
        sa.Column("seq", BIG, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("conversation", sa.String(), nullable=True),
        sa.Column("task_type", sa.String(), nullable=False),
        sa.Column("risk", sa.String(), nullable=False),
        sa.Column("bundle_id", sa.String(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("epoch", BIG, nullable=False),
        sa.Column("release_id", sa.String(), nullable=True),
        sa.Column("eligible", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("share_bp", sa.Integer(), nullable=False),
        sa.Column("block", sa.Integer(), nullable=True),
        sa.Column("assigned_us", BIG, nullable=False),
        sa.ForeignKeyConstraint(
            ["bundle_id"],
            ["bundle.id"],
        ),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
    )
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.create_index("run_by_agent", ["agent", "environment", "seq"], unique=False)
        batch_op.create_index("run_by_bundle", ["bundle_id", "environment", "seq"], unique=False)
        batch_op.create_index("run_by_release", ["release_id", "seq"], unique=False)

    op.create_table(
        "served",
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("epoch", BIG, nullable=False),
        sa.Column("bundle_id", sa.String(), nullable=False),
        sa.Column("standing", sa.String(), nullable=False),
        sa.Column("release_id", sa.String(), nullable=True),
        sa.Column("since_us", BIG, nullable=False),
        sa.Column("withdrawn_us", BIG, nullable=True),
        sa.ForeignKeyConstraint(
            ["bundle_id"],
            ["bundle.id"],
        ),
        sa.PrimaryKeyConstraint("agent", "environment", "epoch"),
    )
    op.create_table(
        "action",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("release_id", sa.String(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("undo", sa.Text(), nullable=False),
        sa.Column("reserved_us", BIG, nullable=False),
        sa.Column("settled_us", BIG, nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["run.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("action", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_action_run_id"), ["run_id"], unique=False)

    op.create_table(
        "block",
        sa.Column("release_id", sa.String(), nullable=False),
        sa.Column("guardrail", sa.String(), nullable=False),
        sa.Column("stratum", sa.String(), nullable=False),
        sa.Column("block", sa.Integer(), nullable=False),
        sa.Column("share_bp", sa.Integer(), nullable=False),
        sa.Column("n_c", sa.Integer(), nullable=False),
        sa.Column("y_c", sa.Integer(), nullable=False),
        sa.Column("n_b", sa.Integer(), nullable=False),
        sa.Column("y_b", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["release_id"],
            ["release.id"],
        ),
        sa.PrimaryKeyConstraint("release_id", "guardrail", "stratum", "block"),
    )
    op.create_table(
        "block_counter",
        sa.Column("release_id", sa.String(), nullable=False),
        sa.Column("stratum", sa.String(), nullable=False),
        sa.Column("block", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("epoch", BIG, nullable=False),
        sa.Column("opened_us", BIG, nullable=False),
        sa.ForeignKeyConstraint(
            ["release_id"],
            ["release.id"],
        ),
        sa.PrimaryKeyConstraint("release_id", "stratum"),
    )
    op.create_table(
        "cap_use",
        sa.Column("release_id", sa.String(), nullable=False),
        sa.Column("cap", sa.String(), nullable=False),
        sa.Column("window_us", BIG, nullable=False),
        sa.Column("used", sa.Float(), nullable=False),
        sa.Column("reserved", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["release_id"],
            ["release.id"],
        ),
        sa.PrimaryKeyConstraint("release_id", "cap", "window_us"),
    )
    op.create_table(
        "event",
        sa.Column("seq", BIG, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("at_us", BIG, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["run.id"],
        ),
        sa.PrimaryKeyConstraint("seq"),
    )
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_event_run_id"), ["run_id"], unique=False)

    op.create_table(
        "evidence",
        sa.Column("release_id", sa.String(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("looks", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["release_id"],
            ["release.id"],
        ),
        sa.PrimaryKeyConstraint("release_id"),
    )
    op.create_table(
        "late_report",
        sa.Column("seq", BIG, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("received_us", BIG, nullable=False),
        sa.Column("fields", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["run.id"],
        ),
        sa.PrimaryKeyConstraint("seq"),
    )
    with op.batch_alter_table("late_report", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_late_report_run_id"), ["run_id"], unique=False)

    op.create_table(
        "look",
        sa.Column("release_id", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at_us", BIG, nullable=False),
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["release_id"],
            ["release.id"],
        ),
        sa.PrimaryKeyConstraint("release_id", "seq"),
    )
    op.create_table(
        "outcome",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("received_us", BIG, nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("completed", sa.Boolean(), nullable=True),
        sa.Column("validated", sa.Boolean(), nullable=True),
        sa.Column("escalated", sa.Boolean(), nullable=True),
        sa.Column("incidents", sa.Integer(), nullable=True),
        sa.Column("cost_usd", sa.Float(), nullable=True),
        sa.Column("operator_edits", sa.Integer(), nullable=True),
        sa.Column("latency_s", sa.Float(), nullable=True),
        sa.Column("infra_failure", sa.Boolean(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("usage", sa.Text(), nullable=False),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.Column("input", sa.Text(), nullable=True),
        sa.Column("output", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["run.id"],
        ),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_table(
        "stage",
        sa.Column("release_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("at_us", BIG, nullable=False),
        sa.Column("epoch", BIG, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["release_id"],
            ["release.id"],
        ),
        sa.PrimaryKeyConstraint("release_id", "key"),
    )
    op.create_table(
        "trigger_count",
        sa.Column("release_id", sa.String(), nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("bad", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["release_id"],
            ["release.id"],
        ),
        sa.PrimaryKeyConstraint("release_id", "metric"),
    )
    op.create_table(
        "unit_seen",
        sa.Column("release_id", sa.String(), nullable=False),
        sa.Column("unit", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["release_id"],
            ["release.id"],
        ),
        sa.PrimaryKeyConstraint("release_id", "unit"),
    )
    op.create_table(
        "reservation",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("cap", sa.String(), nullable=False),
        sa.Column("release_id", sa.String(), nullable=False),
        sa.Column("window_us", BIG, nullable=False),
        sa.Column("amount", sa.Float(), nullable=False),
        sa.Column("expires_us", BIG, nullable=False),
        sa.ForeignKeyConstraint(
            ["release_id", "cap", "window_us"],
            ["cap_use.release_id", "cap_use.cap", "cap_use.window_us"],
        ),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["run.id"],
        ),
        sa.PrimaryKeyConstraint("run_id", "cap"),
    )
    with op.batch_alter_table("reservation", schema=None) as batch_op:
        batch_op.create_index("reservation_by_release", ["release_id", "expires_us"], unique=False)
    for table in IMMUTABLE:
        refuse_edits(table)


def downgrade() -> None:
    """Refuse: there is nothing before the first schema."""
    msg = "the first schema has nothing before it: restore a backup instead"
    raise RuntimeError(msg)
