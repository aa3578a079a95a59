"""Tables of telling people: the profiles of agents.

`lastgood.store.tables` imports this module, so that the schema is whole wherever that is.
"""

from sqlalchemy import BigInteger, Column, Integer, Text
from sqlmodel import Field, SQLModel

BIG = BigInteger().with_variant(Integer, "sqlite")


class AgentProfileRow(SQLModel, table=True):
    """What a team says once about an agent; the newest replaces the one before."""

    __tablename__ = "agent_profile"
    agent: str = Field(primary_key=True)
    body: str = Field(sa_column=Column(Text, nullable=False))  #: canonical JSON
    digest: str  #: sha256 of `body`
    changed_us: int = Field(sa_column=Column(BIG, nullable=False))
    actor: str
