"""Tables of telling people: the profiles of agents, the notices, and their deliveries.

`lastgood.store.tables` imports this module, so that the schema is whole wherever that is.
"""

from sqlalchemy import Column, Index, text
from sqlmodel import Field, SQLModel

from lastgood.store.columns import BIG, big, long

#: notices and deliveries that somebody has to look at; the others are far more in time
_NEW = text("state = 'new'")
_OPEN = text("state IN ('waiting', 'sending')")


class AgentProfileRow(SQLModel, table=True):
    """What a team says once about an agent; the newest replaces the one before."""

    __tablename__ = "agent_profile"
    agent: str = Field(primary_key=True)
    body: str = Field(sa_column=long())  #: canonical JSON
    digest: str  #: sha256 of `body`
    changed_us: int = Field(sa_column=big())
    actor: str


class NoticeRow(SQLModel, table=True):
    """What people have to be told, written in the transaction of what happened."""

    __tablename__ = "notice"
    __table_args__ = (
        Index("notice_new", "agent", "environment", "seq", sqlite_where=_NEW, postgresql_where=_NEW),
    )
    seq: int = Field(sa_column=Column(BIG, primary_key=True, autoincrement=True))
    id: str = Field(unique=True)
    agent: str
    environment: str
    kind: str
    level: str  #: `page` or `inform`
    key: str = Field(unique=True)  #: the same key is the same notice
    title: str
    text: str = Field(sa_column=long())
    at_us: int = Field(sa_column=big())
    state: str  #: `new`, `routed`, or `unrouted` where no route takes it


class DeliveryRow(SQLModel, table=True):
    """One notice on one route: sent once, tried again until it expires."""

    __tablename__ = "delivery"
    __table_args__ = (
        Index(
            "delivery_open",
            *("route", "agent", "environment", "level", "seq"),
            sqlite_where=_OPEN,
            postgresql_where=_OPEN,
        ),
    )
    notice_id: str = Field(primary_key=True, foreign_key="notice.id")
    route: str = Field(primary_key=True)  #: the route's name in the agent's profile
    transport: str
    agent: str
    environment: str
    level: str
    seq: int = Field(sa_column=big())  #: the notice's: what comes first
    state: str  #: `waiting`, `sending`, `sent`, `dead`
    attempts: int
    next_try_us: int = Field(sa_column=big())
    expires_us: int = Field(sa_column=big())  #: not tried again after that
    claimed_by: str
    claimed_until_us: int = Field(sa_column=big())  #: after that the sender is gone
    ended_us: int | None = Field(default=None, sa_column=big(nullable=True))
    error: str = Field(sa_column=long())  #: of the last try
