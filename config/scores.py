"""Where a policy finds the score of a run that somebody else gave: Langfuse, any JSON, any SQL database."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from config.sections import Section
from config.signals import Address, Pointer, Reference, the_one

#: what belongs to each source: needed, and taken beside it
_TOGETHER: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "langfuse": (("name", "public_key", "secret_key"), ("runs_as",)),
    "sql": (("database",), ()),
    "json": (("points", "run", "value"), ("token",)),
}


class ScoresSpec(Section):
    """Scores by run id. A run without one by its maturity is unjudged: the worst of its arm, and no proof."""

    langfuse: Address | None = Field(
        default=None, title="Langfuse", description="Address of a Langfuse server."
    )
    name: Annotated[str, StringConstraints(pattern=r"^[^,]{1,200}$")] | None = Field(
        default=None, title="Name", description="Of Langfuse: the score; the newest of a run counts."
    )
    runs_as: Literal["trace", "session"] | None = Field(
        default=None,
        title="Runs as",
        description="Of Langfuse: trace (default) for traces with the id `create_trace_id(seed=run.id)`, "
        "session for sessions whose id is the run's.",
    )
    public_key: Reference | None = Field(
        default=None, title="Public key", description="Reference to Langfuse's public key."
    )
    secret_key: Reference | None = Field(
        default=None, title="Secret key", description="Reference to Langfuse's secret key."
    )
    sql: Annotated[str, StringConstraints(min_length=1, max_length=4_000)] | None = Field(
        default=None, title="SQL", description="A query that gives (run id, score); it may name :since."
    )
    database: Annotated[str, StringConstraints(max_length=500)] | None = Field(
        default=None, title="Database", description="The database that the query is for."
    )
    json_: Address | None = Field(
        default=None,
        alias="json",
        title="JSON",
        description="Address that answers with JSON; {since} and {until} in it become ISO times.",
    )
    points: Pointer | None = Field(
        default=None, title="Points", description="Of JSON: where its list of scores is, as data.rows."
    )
    run: Pointer | None = Field(default=None, title="Run", description="Of JSON: a score's run id.")
    value: Pointer | None = Field(default=None, title="Value", description="Of JSON: a score's number.")
    token: Reference | None = Field(
        default=None, title="Token", description="Reference to a bearer token of JSON."
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        the_one(self, _TOGETHER, "scores")
        return self


__all__ = ["ScoresSpec"]
