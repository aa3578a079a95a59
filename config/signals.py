"""What a profile or policy says of figures from outside: a function, a query, or an address that is asked."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from config.durations import Duration, between
from config.metrics import Misplaced
from config.sections import Section
from lastgood.secret import is_reference


def called(text: str) -> str:
    """Check what is called: `package.module:function`, or a URL that can hold no secret."""
    module, colon, function = text.partition(":")
    names = (*module.split("."), *function.split("."))
    if colon and all(name.isidentifier() for name in names):
        return text
    if _is_plain_url(text):
        return text
    raise ValueError("should be package.module:function, or an http(s) URL without a user or a query")


def _is_plain_url(text: str, *, query: bool = False) -> bool:
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  raises for a port that is none
    except ValueError:
        return False
    bare = not (parts.username or parts.password or parts.fragment or (parts.query and not query))
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and bare


def _address(text: str) -> str:
    """Check an address that is asked: a plain http(s) URL, or a reference to one that holds a secret."""
    if is_reference(text) or _is_plain_url(text, query=True):
        return text
    raise ValueError("should be an http(s) URL without a user, or a reference to one: env:NAME, file:/path")


def _reference(text: str) -> str:
    if is_reference(text):
        return text
    raise ValueError("should be a reference to a secret: env:NAME, or file:/path of a file with mode 0600")


#: what is called: `package.module:function` or a URL
Call = Annotated[str, StringConstraints(max_length=500), AfterValidator(called)]
Address = Annotated[str, StringConstraints(max_length=500), AfterValidator(_address)]
Reference = Annotated[str, StringConstraints(max_length=500), AfterValidator(_reference)]
#: where a value stands in JSON: names and places, `data.0.value`
Pointer = Annotated[str, StringConstraints(pattern=r"^[^\s.]{1,64}(\.[^\s.]{1,64}){0,9}$")]
#: what belongs to each source: needed, and taken beside it
_TOGETHER = {
    "call": ((), ()),
    "sql": (("database",), ()),
    "prometheus": (("query",), ("step", "token")),
    "langfuse": (("metric", "public_key", "secret_key"), ("name",)),
    "json": (("points", "time", "value"), ("token",)),
}
_RANGE = between("1 s", "1 d")


def the_one(
    section: Section, together: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]], what: str
) -> None:
    """Check that a section names one source with what belongs to it: needed, and taken beside it.

    Raises Misplaced at the field that is missing, or that belongs to another source.
    """

    def given(name: str) -> bool:
        return getattr(section, "json_" if name == "json" else name) is not None

    sources = [name for name in together if given(name)]
    if len(sources) != 1:
        raise Misplaced(f"needs one of {', '.join(together)}, and has {' and '.join(sources) or 'none'}")
    (source,) = sources
    needed, taken = together[source]
    for name in needed:
        if not given(name):
            raise Misplaced(f"{source} needs {name} beside it", source)
    others = {each for pair in together.values() for group in pair for each in group}
    for name in sorted(others - {*needed, *taken}):
        if given(name):
            raise Misplaced(f"belongs to no {what} by {source}; take it out", name)


class SourceSpec(Section):
    """Where the points of a series come from, and how they read."""

    call: Call | None = Field(default=None, title="Call", description="A function that returns the figures.")
    sql: Annotated[str, StringConstraints(max_length=4_000)] | None = Field(
        default=None, title="SQL", description="A query that gives the figures."
    )
    database: Annotated[str, StringConstraints(max_length=500)] | None = Field(
        default=None, title="Database", description="The database that the query is for."
    )
    prometheus: Address | None = Field(
        default=None, title="Prometheus", description="Address of a Prometheus server."
    )
    query: Annotated[str, StringConstraints(min_length=1, max_length=4_000)] | None = Field(
        default=None, title="Query", description="PromQL with one series as its answer."
    )
    step: Annotated[Duration, _RANGE] | None = Field(
        default=None, title="Step", description="Time between two points of Prometheus; default: 1 min."
    )
    langfuse: Address | None = Field(
        default=None, title="Langfuse", description="Address of a Langfuse server."
    )
    metric: Literal["score", "cost", "latency", "count"] | None = Field(
        default=None,
        title="Metric",
        description="Of Langfuse: mean of a score, cost in US dollars, mean latency, or number of traces.",
    )
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        default=None, title="Name", description="Of Langfuse: the score, or the trace."
    )
    public_key: Reference | None = Field(
        default=None, title="Public key", description="Reference to Langfuse's public key."
    )
    secret_key: Reference | None = Field(
        default=None, title="Secret key", description="Reference to Langfuse's secret key."
    )
    json_: Address | None = Field(
        default=None,
        alias="json",
        title="JSON",
        description="Address that answers with JSON; {since} and {until} in it become ISO times.",
    )
    points: Pointer | None = Field(
        default=None, title="Points", description="Of JSON: where its list of points is, as data.rows."
    )
    time: Pointer | None = Field(
        default=None, title="Time", description="Of JSON: a point's time, as at or 0."
    )
    value: Pointer | None = Field(default=None, title="Value", description="Of JSON: a point's number.")
    token: Reference | None = Field(
        default=None, title="Token", description="Reference to a bearer token of Prometheus or JSON."
    )
    better: Literal["lower", "higher"] = Field(
        default="lower", title="Better", description="Which direction is better."
    )
    stale_after: Annotated[Duration, between("10 s", "1 d")] = Field(
        default="15 min",
        validate_default=True,
        title="Stale after",
        description="Age of the newest point from which the signal counts as unreadable.",
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        the_one(self, _TOGETHER, "signal")
        if self.metric == "score" and self.name is None:
            raise Misplaced("a score has a name; write name beside it", "metric")
        return self


class SignalSpec(SourceSpec):
    """One signal of the watch."""

    required: bool = Field(
        default=True, title="Required", description="Whether nothing is called fixed while it can't be read."
    )


__all__ = ["Address", "Call", "Pointer", "Reference", "SignalSpec", "SourceSpec", "the_one"]
