"""Tables of runs: who got which bundle, how it ended, and what became known later.

`lastgood.store.tables` imports this module, so that the schema is whole wherever that is.
"""

from sqlalchemy import Column, Index
from sqlmodel import Field, SQLModel

from lastgood.store.columns import BIG, big, long


class RunRow(SQLModel, table=True):
    """One assigned run, tied to exactly one bundle. Written before the work, never changed."""

    __tablename__ = "run"
    __table_args__ = (
        Index("run_by_release", "release_id", "seq"),
        Index("run_by_agent", "agent", "environment", "seq"),
        Index("run_by_bundle", "bundle_id", "environment", "seq"),
    )
    seq: int = Field(sa_column=Column(BIG, primary_key=True, autoincrement=True))  #: assignment order
    id: str = Field(unique=True)
    agent: str
    environment: str
    unit: str
    conversation: str | None = None
    task_type: str
    risk: str
    bundle_id: str = Field(foreign_key="bundle.id")
    arm: str
    epoch: int = Field(sa_column=big())
    release_id: str | None = None
    eligible: bool
    reason: str
    share_bp: int
    block: int | None = None  #: None: no evidence (not eligible)
    assigned_us: int = Field(sa_column=big())


class ConversationRow(SQLModel, table=True):
    """The bundle of a conversation's first turn."""

    __tablename__ = "conversation"
    agent: str = Field(primary_key=True)
    environment: str = Field(primary_key=True)
    conversation: str = Field(primary_key=True)
    bundle_id: str = Field(foreign_key="bundle.id")
    release_id: str | None = None
    arm: str
    since_us: int = Field(sa_column=big())


class OutcomeRow(SQLModel, table=True):
    """What a run reported when it ended; one a run."""

    __tablename__ = "outcome"
    run_id: str = Field(primary_key=True, foreign_key="run.id")
    received_us: int = Field(sa_column=big())
    status: str  #: `ended`, `failed`, `disconnected`
    completed: bool | None = None
    validated: bool | None = None
    escalated: bool | None = None
    incidents: int | None = None
    cost_usd: float | None = None
    operator_edits: int | None = None
    latency_s: float | None = None
    infra_failure: bool | None = None
    error: str | None = None
    usage: str = Field(sa_column=long())  #: JSON list of model calls
    metrics: str = Field(sa_column=long())  #: JSON map of free metrics
    input: str | None = Field(default=None, sa_column=long(nullable=True))
    output: str | None = Field(default=None, sa_column=long(nullable=True))
    parts_read: int | None = None  #: bit n: the agent read the nth of `lastgood.part.KINDS`; None: not known
    error_text: str | None = Field(
        default=None, sa_column=long(nullable=True)
    )  #: the exception's message, normalised


class LateReportRow(SQLModel, table=True):
    """What arrived for a run after it ended, in order of arrival."""

    __tablename__ = "late_report"
    __table_args__ = (Index("late_report_by_key", "run_id", "key", unique=True),)
    seq: int = Field(sa_column=Column(BIG, primary_key=True, autoincrement=True))
    run_id: str = Field(foreign_key="run.id", index=True)
    received_us: int = Field(sa_column=big())
    fields: str = Field(sa_column=long())  #: JSON map of outcome columns
    key: str | None = None  #: the reporter's own id of this report: the same one again counts once


class EventRow(SQLModel, table=True):
    """A named event of a run, for example `data_leak`."""

    __tablename__ = "event"
    seq: int = Field(sa_column=Column(BIG, primary_key=True, autoincrement=True))
    run_id: str = Field(foreign_key="run.id", index=True)
    name: str
    at_us: int = Field(sa_column=big())
    detail: str = Field(sa_column=long())
