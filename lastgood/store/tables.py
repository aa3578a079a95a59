"""The schema: every table of the store, as SQLModel classes.

Times are integer microseconds UTC. JSON is canonical text. The agent side never imports this module;
it speaks the named statements of `lastgood.store.statements`, which a contract test holds to it.
Rows of `bundle`, `bundle_part`, `part`, `policy` and `ledger` are immutable: the migrations add triggers
that refuse an UPDATE or DELETE, and each row carries a digest that is checked when it is read.
"""

from sqlalchemy import Column, ForeignKeyConstraint, Index, LargeBinary, text
from sqlmodel import Field, SQLModel

from lastgood.store import (  # their tables are part of the schema
    access_tables,  # noqa: F401
    approval_tables,  # noqa: F401
    case_tables,  # noqa: F401
    containment_tables,  # noqa: F401
    incident_tables,  # noqa: F401
    run_tables,  # noqa: F401
    telemetry_tables,  # noqa: F401
    telling_tables,  # noqa: F401
    upkeep_tables,  # noqa: F401
    watch_tables,  # noqa: F401
)
from lastgood.store.columns import BIG, big, long

LIVE = text("ended_us IS NULL")


class PartRow(SQLModel, table=True):
    """The content of one part, stored once a digest."""

    __tablename__ = "part"
    digest: str = Field(primary_key=True)  #: sha256 of `body`, hex
    kind: str
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))  #: canonical JSON


class BundleRow(SQLModel, table=True):
    """A registered bundle: its id and what stands beside it."""

    __tablename__ = "bundle"
    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    agent: str = Field(index=True)
    author: str
    approver: str
    parent: str
    created_us: int = Field(sa_column=big())
    seal: str  #: sha256 over the other columns and the parts


class BundlePartRow(SQLModel, table=True):
    """Which part a bundle holds, by kind."""

    __tablename__ = "bundle_part"
    bundle_id: str = Field(primary_key=True, foreign_key="bundle.id")
    kind: str = Field(primary_key=True)
    digest: str = Field(foreign_key="part.digest")
    version: str


class PolicyRow(SQLModel, table=True):
    """A policy that a team stored, by digest."""

    __tablename__ = "policy"
    digest: str = Field(primary_key=True)
    name: str = Field(index=True)
    body: str = Field(sa_column=long())  #: canonical JSON
    author: str
    created_us: int = Field(sa_column=big())


class ControlPointRow(SQLModel, table=True):
    """Who serves, one row per agent and environment."""

    __tablename__ = "control_point"
    agent: str = Field(primary_key=True)
    environment: str = Field(primary_key=True)
    baseline: str = Field(foreign_key="bundle.id")
    standing: str  #: `vouched` or `proven`: how the baseline became the last known good
    candidate: str | None = Field(default=None, foreign_key="bundle.id")
    release_id: str | None = None
    share_bp: int
    epoch: int = Field(sa_column=big())
    lease_seq: int = Field(sa_column=big())
    lease_until_us: int = Field(sa_column=big())
    lease_boot_id: str  #: the boot whose clock `lease_boot_until_us` is on
    lease_boot_until_us: int = Field(sa_column=big())
    driver_term: int = Field(sa_column=big())
    killed: bool
    terms: str = Field(sa_column=long())  #: JSON of `lastgood.release.Terms`
    changed_us: int = Field(sa_column=big())
    seal: str  #: sha256 over the other columns


class ServedRow(SQLModel, table=True):
    """Every bundle that became the baseline of a control point, in order."""

    __tablename__ = "served"
    agent: str = Field(primary_key=True)
    environment: str = Field(primary_key=True)
    epoch: int = Field(sa_column=Column(BIG, primary_key=True))
    bundle_id: str = Field(foreign_key="bundle.id")
    standing: str
    release_id: str | None = None
    since_us: int = Field(sa_column=big())
    withdrawn_us: int | None = Field(default=None, sa_column=big(nullable=True))  #: rolled back from
    fence: str | None = None  #: what its runs may still do after that: `abort` or `finish`


class QuarantineRow(SQLModel, table=True):
    """Bundles that may not be candidate or baseline here until re-admitted or cooled down."""

    __tablename__ = "quarantine"
    agent: str = Field(primary_key=True)
    environment: str = Field(primary_key=True)
    bundle_id: str = Field(primary_key=True, foreign_key="bundle.id")
    since_us: int = Field(sa_column=big())
    until_us: int | None = Field(default=None, sa_column=big(nullable=True))  #: None: until re-admitted
    reason: str = Field(sa_column=long())
    release_id: str | None = None


class ReleaseRow(SQLModel, table=True):
    """One attempt to move an agent from baseline to candidate under a frozen policy."""

    __tablename__ = "release"
    __table_args__ = (
        Index(
            "one_live_release", "agent", "environment", unique=True, sqlite_where=LIVE, postgresql_where=LIVE
        ),
    )
    id: str = Field(primary_key=True)
    agent: str
    environment: str
    baseline: str = Field(foreign_key="bundle.id")
    candidate: str = Field(foreign_key="bundle.id")
    policy_name: str
    policy_digest: str
    policy: str = Field(sa_column=long())  #: the frozen policy, canonical JSON
    history: str = Field(sa_column=long())  #: frozen reference counts of the baseline, JSON
    state: str
    step: int
    started_by: str
    approver: str
    note: str = Field(sa_column=long())
    started_us: int = Field(sa_column=big())
    step_since_us: int = Field(sa_column=big())
    driver: str  #: who drives it, shown to people
    driver_seen_us: int = Field(sa_column=big())
    invalid_since_us: int | None = Field(default=None, sa_column=big(nullable=True))
    ended_us: int | None = Field(default=None, sa_column=big(nullable=True))
    reason: str = Field(sa_column=long())
    culprits: str = Field(sa_column=long())  #: JSON list
    fence: str | None = None  #: reverted: what its runs may still do, `abort` or `finish`
    pruned_us: int | None = Field(default=None, sa_column=big(nullable=True))  #: when its evidence was pruned
    readiness: str | None = Field(
        default=None, sa_column=long(nullable=True)
    )  #: JSON: the answers before it started, and the share that they allow


class EvidenceRow(SQLModel, table=True):
    """The sealed sums of a release: what a look continues from."""

    __tablename__ = "evidence"
    release_id: str = Field(primary_key=True, foreign_key="release.id")
    state: str = Field(sa_column=long())  #: JSON of `evaluators.Comparison`
    sealed: str = Field(sa_column=long())  #: JSON: how far each guardrail is scored
    looks: int


class BlockRow(SQLModel, table=True):
    """What one guardrail saw in one closed block: the atom a replay starts from."""

    __tablename__ = "block"
    release_id: str = Field(primary_key=True, foreign_key="release.id")
    guardrail: str = Field(primary_key=True)
    stratum: str = Field(primary_key=True)
    block: int = Field(primary_key=True)
    share_bp: int
    n_c: int
    y_c: int
    n_b: int
    y_b: int


class BlockCounterRow(SQLModel, table=True):
    """The block that a release's next eligible run of a stratum falls into."""

    __tablename__ = "block_counter"
    release_id: str = Field(primary_key=True, foreign_key="release.id")
    stratum: str = Field(primary_key=True)
    block: int
    size: int  #: runs in the block so far
    epoch: int = Field(sa_column=big())
    opened_us: int = Field(sa_column=big())


class UnitRow(SQLModel, table=True):
    """Units that a release has seen: half of the evidence is each unit's first run alone."""

    __tablename__ = "unit_seen"
    release_id: str = Field(primary_key=True, foreign_key="release.id")
    unit: str = Field(primary_key=True)


class LookRow(SQLModel, table=True):
    """One evaluation of the evidence so far, with its verdict."""

    __tablename__ = "look"
    release_id: str = Field(primary_key=True, foreign_key="release.id")
    seq: int = Field(primary_key=True)
    at_us: int = Field(sa_column=big())
    decision: str
    verdict: str = Field(sa_column=long())  #: JSON of `evaluators.verdict.Verdict`


class StageRow(SQLModel, table=True):
    """One effect of a release, done once: the key is what a retry finds."""

    __tablename__ = "stage"
    release_id: str = Field(primary_key=True, foreign_key="release.id")
    key: str = Field(primary_key=True)  #: `canary:0`, `cap:0`, `compare:0`, `promote`, `revert`
    at_us: int = Field(sa_column=big())
    epoch: int = Field(sa_column=big())
    detail: str = Field(sa_column=long())


class ActionRow(SQLModel, table=True):
    """An external effect of a run: reserved before, settled after."""

    __tablename__ = "action"
    __table_args__ = (Index("action_by_key", "run_id", "key", unique=True),)
    id: str = Field(primary_key=True)
    run_id: str = Field(foreign_key="run.id", index=True)
    release_id: str | None = None
    kind: str
    target: str
    state: str  #: `reserved`, `done`, `failed`
    undo: str = Field(sa_column=long())  #: JSON: what undoes it
    reserved_us: int = Field(sa_column=big())
    settled_us: int | None = Field(default=None, sa_column=big(nullable=True))
    tool: str | None = None  #: the tool of the manifest that made it
    key: str | None = None  #: the same key again in one run is the same effect
    result: str | None = Field(default=None, sa_column=long(nullable=True))  #: JSON, for a call with a key
    epoch: int | None = Field(default=None, sa_column=big(nullable=True))  #: the point's, when reserved
    late: bool | None = None  #: it came after its bundle was reverted, and the policy let it finish


class CapUseRow(SQLModel, table=True):
    """What a release used and reserved of one cap in one window."""

    __tablename__ = "cap_use"
    release_id: str = Field(primary_key=True, foreign_key="release.id")
    cap: str = Field(primary_key=True)
    window_us: int = Field(sa_column=Column(BIG, primary_key=True))  #: start of the window
    used: float
    reserved: float


class ReservationRow(SQLModel, table=True):
    """An open reservation of a run: settled with its outcome, or returned when it expires."""

    __tablename__ = "reservation"
    __table_args__ = (
        ForeignKeyConstraint(
            ["release_id", "cap", "window_us"], ["cap_use.release_id", "cap_use.cap", "cap_use.window_us"]
        ),
        Index("reservation_by_release", "release_id", "expires_us"),
    )
    run_id: str = Field(primary_key=True, foreign_key="run.id")
    cap: str = Field(primary_key=True)
    release_id: str
    window_us: int = Field(sa_column=big())
    amount: float
    expires_us: int = Field(sa_column=big())


class TriggerCountRow(SQLModel, table=True):
    """What a rate trigger has counted of a release's candidate."""

    __tablename__ = "trigger_count"
    release_id: str = Field(primary_key=True, foreign_key="release.id")
    metric: str = Field(primary_key=True)
    n: int
    bad: int


class LedgerRow(SQLModel, table=True):
    """The append-only, hash-chained record of every change of control, a chain per control point."""

    __tablename__ = "ledger"
    agent: str = Field(primary_key=True)
    environment: str = Field(primary_key=True)
    seq: int = Field(sa_column=Column(BIG, primary_key=True))
    at_us: int = Field(sa_column=big())
    actor: str
    action: str
    reason: str = Field(sa_column=long())
    epoch: int = Field(sa_column=big())
    release_id: str | None = None
    point: str = Field(sa_column=long())  #: JSON: the control point after this move
    previous: str  #: hash of the row before
    hash: str


class LedgerAnchorRow(SQLModel, table=True):
    """Where a pruned chain begins: the last row that was pruned. A `prune` row of the chain says the same."""

    __tablename__ = "ledger_anchor"
    agent: str = Field(primary_key=True)
    environment: str = Field(primary_key=True)
    seq: int = Field(sa_column=big())
    hash: str
