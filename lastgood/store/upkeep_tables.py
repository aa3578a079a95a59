"""Tables of upkeep: when the schedule was last at work, and the watch of the bundles that serve.

`lastgood.store.tables` imports this module, so that the schema is whole wherever that is.
"""

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from lastgood.store.columns import big, long


class BeatRow(SQLModel, table=True):
    """The last sign of life of what runs by a schedule."""

    __tablename__ = "beat"
    name: str = Field(primary_key=True)  #: `evaluate_canaries`
    at_us: int = Field(sa_column=big())


class DriftWatchRow(SQLModel, table=True):
    """How far the watch of a serving bundle is, one row a bundle and place."""

    __tablename__ = "drift_watch"
    agent: str = Field(primary_key=True)
    environment: str = Field(primary_key=True)
    bundle_id: str = Field(primary_key=True, foreign_key="bundle.id")
    after_seq: int = Field(sa_column=big())  #: runs up to this place were seen
    state: str = Field(sa_column=long())  #: JSON of `evaluators.drifting.Watch`


class DriftRow(SQLModel, table=True):
    """What changed underneath a serving bundle, once a change."""

    __tablename__ = "drift"
    __table_args__ = (Index("drift_by_place", "agent", "environment", "at_us"),)
    id: str = Field(primary_key=True)
    agent: str
    environment: str
    bundle_id: str = Field(foreign_key="bundle.id")
    kind: str  #: `model`: another one answered; `outcome`: a rate got worse
    name: str  #: the model's name, or the outcome's
    run_id: str  #: the run at which it was seen
    detail: str = Field(sa_column=long())  #: one sentence
    at_us: int = Field(sa_column=big())
