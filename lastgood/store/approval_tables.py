"""Tables of people's decisions: what they were asked, their one-time codes, and agents that cool down.

`lastgood.store.tables` imports this module, so that the schema is whole wherever that is.
"""

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from lastgood.store.columns import big, long


class ApprovalRow(SQLModel, table=True):
    """One question to a person about a release, and its answer; answered once."""

    __tablename__ = "approval"
    __table_args__ = (Index("approval_by_release", "release_id", "number", unique=True),)
    id: str = Field(primary_key=True)
    release_id: str = Field(foreign_key="release.id")
    number: int  #: which question of its release it is, from 1
    what: str  #: `start`, `step`, `promote`, or `undecided` at the horizon
    candidate: str  #: the bundle that is decided about
    evidence: str  #: digest of what there was to see
    look: int  #: the look that it was, 0 before the first
    level: str  #: asked: the level that the policy wants; answered: `claimed` or `verified`
    not_author: bool
    asked_us: int = Field(sa_column=big())
    expires_us: int = Field(sa_column=big())
    decision: str  #: empty, `promote`, `revert`, `wait`, or `void` where another question took its place
    who: str
    reason: str = Field(sa_column=long())
    decided_us: int | None = Field(default=None, sa_column=big(nullable=True))


class ApprovalCodeRow(SQLModel, table=True):
    """A one-time code of one person for one release; the code itself is stored nowhere."""

    __tablename__ = "approval_code"
    code_hash: str = Field(primary_key=True)
    release_id: str = Field(foreign_key="release.id")
    person: str
    issued_by: str
    issued_us: int = Field(sa_column=big())
    expires_us: int = Field(sa_column=big())
    used_us: int | None = Field(default=None, sa_column=big(nullable=True))


class CooldownRow(SQLModel, table=True):
    """Until when no release of an agent may start here, after a revert."""

    __tablename__ = "cooldown"
    agent: str = Field(primary_key=True)
    environment: str = Field(primary_key=True)
    until_us: int = Field(sa_column=big())
    reason: str = Field(sa_column=long())
    release_id: str | None = None
