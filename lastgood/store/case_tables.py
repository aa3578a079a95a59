"""The table of regression cases.

`lastgood.store.tables` imports this module, so that the schema is whole wherever that is.
"""

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, SQLModel

from lastgood.store.columns import big, long


class RegressionCaseRow(SQLModel, table=True):
    """A regression case, proven or still a candidate; it leaves the store only when a person accepted it."""

    __tablename__ = "regression_case"
    __table_args__ = (UniqueConstraint("agent", "environment", "name", name="regression_case_name"),)
    id: str = Field(primary_key=True)
    agent: str
    environment: str
    name: str
    incident_id: str | None = Field(default=None, index=True)
    run_id: str | None = None  #: the run that it stands for
    signature: str  #: how that run failed, in words
    bad: str = Field(foreign_key="bundle.id")
    good: str = Field(foreign_key="bundle.id")
    body: str = Field(sa_column=long())  #: JSON of a case file's entry
    digest: str  #: sha256 of `body`
    state: str  #: `candidate`, or `admitted`: it failed on `bad` and passed on `good`
    reason: str = Field(sa_column=long())  #: why it is a candidate still
    proof: str = Field(sa_column=long())  #: JSON: counts of pairs, log e-values
    review: str  #: `pending`, `accepted`, `rejected`
    reviewer: str
    review_note: str = Field(sa_column=long())
    created_us: int = Field(sa_column=big())
    reviewed_us: int | None = Field(default=None, sa_column=big(nullable=True))


class SuitePartRow(SQLModel, table=True):
    """The report of one part of a suite that is spread over workers."""

    __tablename__ = "suite_part"
    suite_id: str = Field(primary_key=True)
    part: int = Field(primary_key=True)
    report: str = Field(sa_column=long())  #: JSON
    at_us: int = Field(sa_column=big())
