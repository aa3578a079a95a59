"""Tables of the watch after a switch.

`lastgood.store.tables` imports this module, so that the schema is whole wherever that is.
"""

from sqlmodel import Field, SQLModel

from lastgood.store.columns import big, long


class WatchRow(SQLModel, table=True):
    """One watch: which switch, what it is judged by, what it found."""

    __tablename__ = "watch"
    id: str = Field(primary_key=True)
    subject: str = Field(unique=True)  #: an incident, or a release that was promoted
    agent: str = Field(index=True)
    environment: str
    kind: str  #: `revert` or `promote`
    release_id: str | None = Field(default=None, foreign_key="release.id")
    left_bundle: str = Field(foreign_key="bundle.id")
    good_bundle: str = Field(foreign_key="bundle.id")
    from_us: int = Field(sa_column=big())  #: where the window begins
    at_us: int = Field(sa_column=big())  #: the switch
    until_us: int = Field(sa_column=big())  #: the fast verdict is made from here on
    matures_us: int = Field(sa_column=big())  #: the final one, at the latest
    terms: str = Field(sa_column=long())  #: JSON: thresholds and what is given
    state: str  #: `watching`, `fast` (the fast verdict stands), `ended`
    fast: str | None = Field(default=None, sa_column=long(nullable=True))  #: JSON of the verdict
    fast_us: int | None = Field(default=None, sa_column=big(nullable=True))
    final: str | None = Field(default=None, sa_column=long(nullable=True))
    ended_us: int | None = Field(default=None, sa_column=big(nullable=True))
    begun_us: int = Field(sa_column=big())
