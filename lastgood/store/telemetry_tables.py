"""Tables of telemetry that came over OTLP: spans of the last day, and what could not be mapped.

`lastgood.store.tables` imports this module, so that the schema is whole wherever that is.
"""

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from lastgood.store.columns import big, long


class SpanRow(SQLModel, table=True):
    """A span that was taken: sent again it is known; of a trace whose run is not known yet it waits."""

    __tablename__ = "span"
    __table_args__ = (Index("span_by_age", "received_us"),)
    scope: str = Field(primary_key=True)  #: the agents of the token that it came with
    trace_id: str = Field(primary_key=True)
    span_id: str = Field(primary_key=True)
    parent_id: str
    run_id: str | None = None  #: the run that it is the root of
    body: str | None = Field(
        default=None, sa_column=long(nullable=True)
    )  #: JSON: what waits for the trace's run
    received_us: int = Field(sa_column=big())


class UnmappedRow(SQLModel, table=True):
    """How much of an agent's telemetry says nothing to us, by kind."""

    __tablename__ = "unmapped"
    agent: str = Field(primary_key=True)
    environment: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    n: int = Field(sa_column=big())
    last_us: int = Field(sa_column=big())
