"""Tables of what comes after a revert: incidents, what undoes their actions, and what is held back.

`lastgood.store.tables` imports this module, so that the schema is whole wherever that is.
"""

from sqlalchemy import CheckConstraint, Index
from sqlmodel import Field, SQLModel

from lastgood.store.columns import big, long


class IncidentRow(SQLModel, table=True):
    """What a revert, a trigger or a person opened."""

    __tablename__ = "incident"
    __table_args__ = (
        Index("incident_by_agent", "agent", "environment", "opened_us"),
        Index("incident_by_bundle", "bad_bundle", "environment"),
        CheckConstraint(
            "state = 'open' OR cases <> '[]' OR coalesce(close_reason, '') <> ''", name="incident_has_a_close"
        ),
    )
    id: str = Field(primary_key=True)
    agent: str
    environment: str
    release_id: str | None = None  #: the release under which the bad bundle served
    bad_bundle: str  #: no foreign key: a revert must not fail where a hand deleted a bundle
    good_bundle: str | None = None  #: None: there was none
    from_us: int = Field(sa_column=big())  #: the window: runs of the bad bundle assigned from here
    to_us: int = Field(sa_column=big())  #: to here, both included
    by: str  #: `evidence`, `trigger`, `hand`, `lapse`, `undecided`, `baseline`, `alarm`, `person`
    culprits: str = Field(sa_column=long())  #: JSON list
    reason: str = Field(sa_column=long())
    opened_by: str
    opened_us: int = Field(sa_column=big())
    state: str  #: `open` or `closed`
    recovery: str  #: `due`, `running`, `waiting`, `done`, `residue`
    recovery_worker: str  #: who recovers it now
    recovery_until_us: int = Field(sa_column=big())  #: until when nobody else may
    watch: str  #: `due`, then what the watch says
    cases: str = Field(sa_column=long())  #: JSON list: ids of the regression cases that stand for it
    close_reason: str | None = Field(default=None, sa_column=long(nullable=True))
    closed_by: str | None = None
    closed_us: int | None = Field(default=None, sa_column=big(nullable=True))


class CompensationRow(SQLModel, table=True):
    """What undoes one action, and how far that is: one row an action, whatever incidents it is part of."""

    __tablename__ = "compensation"
    __table_args__ = (Index("compensation_by_incident", "incident_id", "state"),)
    action_id: str = Field(primary_key=True, foreign_key="action.id")
    incident_id: str = Field(foreign_key="incident.id")
    run_id: str = Field(foreign_key="run.id", index=True)
    kind: str
    target: str
    covers_us: int = Field(sa_column=big())  #: when the action that this undoes was reserved
    doubt: bool  #: whether it is known that the action took effect; True: it is not
    generation: int  #: 1; one more each time that the action took effect anew after it was undone
    key: str = Field(unique=True)  #: the idempotency key that every call brings
    handler: str = Field(sa_column=long())  #: `module:function` or a URL; empty where there is none
    state: str  #: `planned`, `calling`, `done`, `residue`
    cause: str  #: of a residue: `irreversible`, `no_handler`, `in_doubt`, `refused`, `exhausted`
    attempts: int
    last_error: str = Field(sa_column=long())
    next_try_us: int = Field(sa_column=big())
    planned_us: int = Field(sa_column=big())
    settled_us: int | None = Field(default=None, sa_column=big(nullable=True))


class RecoveryApprovalRow(SQLModel, table=True):
    """A person's leave to undo one kind of action of one incident."""

    __tablename__ = "recovery_approval"
    incident_id: str = Field(primary_key=True, foreign_key="incident.id")
    kind: str = Field(primary_key=True)
    actor: str
    reason: str = Field(sa_column=long())
    actions: int  #: how many were planned when it was given
    at_us: int = Field(sa_column=big())


class QuarantineItemRow(SQLModel, table=True):
    """An output or a memory entry that a run of a bad window made."""

    __tablename__ = "quarantine_item"
    __table_args__ = (Index("quarantine_item_by_key", "key"),)
    incident_id: str = Field(primary_key=True, foreign_key="incident.id")
    kind: str = Field(primary_key=True)  #: `output` or `memory`
    key: str = Field(primary_key=True)  #: the run's id, or the memory entry's key
    agent: str
    environment: str
    run_id: str = Field(foreign_key="run.id", index=True)  #: the run that made it (its first, of several)
    state: str  #: `pending_review`, `cleared`, `recalled`
    since_us: int = Field(sa_column=big())
    changed_us: int = Field(sa_column=big())
    actor: str  #: who changed the state last
    reason: str = Field(sa_column=long())
