"""Tables of access over the HTTP service: tokens, and what clients call their runs.

`lastgood.store.tables` imports this module, so that the schema is whole wherever that is.
"""

from sqlmodel import Field, SQLModel

from lastgood.store.columns import big, long


class AccessTokenRow(SQLModel, table=True):
    """A token of a client of the service; the secret itself is nowhere."""

    __tablename__ = "access_token"
    id: str = Field(primary_key=True)  #: the part of the token that may be shown
    name: str  #: who uses it
    role: str  #: of `lastgood.roles.Role`
    agents: str = Field(sa_column=long())  #: JSON list of agents, `*` for all
    environments: str = Field(sa_column=long())  #: JSON list, likewise
    digest: str  #: sha256 of the secret, hex
    created_by: str
    created_us: int = Field(sa_column=big())
    expires_us: int = Field(sa_column=big())  #: brought forward by a rotation or revocation
    replaced_by: str | None = None  #: id of the token that a rotation made


class EntryRow(SQLModel, table=True):
    """The run that a client entered under a name of its own: asked for again while open, it is the same."""

    __tablename__ = "entry"
    agent: str = Field(primary_key=True)
    environment: str = Field(primary_key=True)
    entry: str = Field(primary_key=True)
    run_id: str = Field(foreign_key="run.id", index=True)
