"""Tables of containment: exact sums, what triggers remember, stops and refusals.

`lastgood.store.tables` imports this module, so that the schema is whole wherever that is.
"""

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel

from lastgood.store.columns import big, long


class TriggerStateRow(SQLModel, table=True):
    """What a trigger that is no rate remembers of a release: the log wealth of the spend test."""

    __tablename__ = "trigger_state"
    release_id: str = Field(primary_key=True, foreign_key="release.id")
    name: str = Field(primary_key=True)
    state: str = Field(sa_column=long())  #: JSON


class _Sums(SQLModel):
    """Exact sums over the outcomes of one cell: integers only. `_n` counts the runs that said anything."""

    release_id: str = Field(primary_key=True, foreign_key="release.id")
    task_type: str = Field(primary_key=True)
    block: int = Field(primary_key=True)  #: -1: runs that are no evidence
    arm: str = Field(primary_key=True)
    runs: int  #: outcomes
    failed: int  #: ended by an exception
    disconnected: int  #: the client went away
    completed_n: int
    completed: int
    validated_n: int
    validated: int
    escalated_n: int
    escalated: int
    infra_failure_n: int
    infra_failure: int
    incidents_n: int
    incidents: int
    operator_edits_n: int
    operator_edits: int
    cost_n: int
    cost_micro: int = Field(sa_type=BigInteger)  #: millionths of a US dollar
    latency_n: int
    latency_us: int = Field(sa_type=BigInteger)  #: microseconds


class TallyRow(_Sums, table=True):
    """The live sums: what is known now, late reports included."""

    __tablename__ = "tally"


class SealedTallyRow(_Sums, table=True):
    """The sums of a block as they stood when its last guardrail was scored. Never changed."""

    __tablename__ = "sealed_tally"


class MetricTallyRow(SQLModel, table=True):
    """The live sums of free metrics."""

    __tablename__ = "metric_tally"
    release_id: str = Field(primary_key=True, foreign_key="release.id")
    task_type: str = Field(primary_key=True)
    block: int = Field(primary_key=True)
    arm: str = Field(primary_key=True)
    metric: str = Field(primary_key=True)
    n: int
    total_micro: int = Field(sa_column=big())  #: millionths


class StopRow(SQLModel, table=True):
    """A stop: no external action of this agent, in either arm, until it is cleared."""

    __tablename__ = "stop"
    agent: str = Field(primary_key=True)
    environment: str = Field(primary_key=True)
    since_us: int = Field(sa_column=big())
    actor: str
    reason: str = Field(sa_column=long())


class RefusalRow(SQLModel, table=True):
    """How often something was refused at the door, by reason; nothing else of it is kept."""

    __tablename__ = "refusal"
    agent: str = Field(primary_key=True)
    environment: str = Field(primary_key=True)
    reason: str = Field(primary_key=True)  #: `missing`, `forged`, `expired`, `crossed`, `unknown_key`
    n: int
    last_us: int = Field(sa_column=big())
