"""Outcomes: what a run reports, checked before it is written."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from lastgood import shapes
from lastgood.errors import InvalidInput

#: report fields that are truth values, counts, and amounts
FLAGS = ("completed", "validated", "escalated", "infra_failure")
COUNTS = ("incidents", "operator_edits")
AMOUNTS = ("cost_usd", "latency_s")
#: the largest count, and amount in dollars or seconds, that a run can report: sums must stay whole numbers
MOST = 1_000_000_000
#: characters of a metric's name
LONGEST = 200
#: what `report` takes; anything else goes into `metrics`
FIELDS = (*FLAGS, *COUNTS, *AMOUNTS)
#: characters of what an exception said, and the bits of all five parts
MOST_TEXT, MOST_PARTS = 4_000, 31
#: short names that people use
_ALIASES = {"edits": "operator_edits", "incident": "incidents", "cost": "cost_usd", "latency": "latency_s"}


#: the stored name by each name that is known, and the type of its plain values
_NAMES = {name: name for name in FIELDS} | _ALIASES
_PLAIN: dict[str, type] = {
    **dict.fromkeys(FLAGS, bool),
    **dict.fromkeys(COUNTS, int),
    **dict.fromkeys(AMOUNTS, float),
}


def is_outcome(name: str) -> bool:
    """Whether the name is an outcome, and no free metric."""
    return name in _NAMES


def checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return report fields by their stored names and types.

    Raises `InvalidInput` naming the field that can't be one. Unknown names must be numbers or booleans;
    they are kept as free metrics under `metrics`.
    """
    known: dict[str, Any] = {}
    metrics: dict[str, float | bool] = {}
    for given, value in fields.items():
        name = _NAMES.get(given)
        if name is not None:
            # JSON's own values first: a batch brings thousands
            plain: Any = value if type(value) is _PLAIN[name] else -1
            fits = plain is True or plain is False or 0 <= plain <= MOST
            known[name] = plain if fits else _value(given, name, value)
        elif isinstance(value, bool) or (isinstance(value, int | float) and _is_finite(value)):
            metrics[_metric(given)] = value
        else:
            said, known_ones = f"{_shown(given)}={_shown(repr(value))}", ", ".join(FIELDS)
            msg = f"report: {said} is neither a known outcome ({known_ones}) nor a number"
            raise InvalidInput(msg)
    return {**known, "metrics": metrics} if metrics else known


def _metric(name: str) -> str:
    """Return the name of a free metric, which has sums of its own; raises `InvalidInput`."""
    if not (name.isprintable() and 0 < len(name) <= LONGEST) or shapes.known(name):
        said = _shown(ascii(name))
        msg = f"report: {said} can't name a metric: write 1 to {LONGEST} printable characters, no secret"
        raise InvalidInput(msg)
    return name


def _shown(text: str) -> str:
    """The beginning of a text as a message holds it; a secret is taken out before it is cut."""
    return shapes.masked(text)[:60]


def _is_finite(value: float) -> bool:
    """Whether it is a number that fits a float; an integer may have any number of digits."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _value(given: str, name: str, value: Any) -> Any:
    if name in FLAGS and isinstance(value, bool):
        return value
    if name in COUNTS and isinstance(value, int) and 0 <= value <= MOST:
        return int(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in AMOUNTS and number and 0 <= value <= MOST:
        return float(value)
    above = f", {MOST:.0e} at most" if number and value > MOST else ""
    wanted = (
        "True or False"
        if name in FLAGS
        else f"a count, 0 or more{above}"
        if name in COUNTS
        else f"a number, 0 or more{above}"
    )
    msg = f"report: {given}={_shown(repr(value))} is not {wanted}"
    raise InvalidInput(msg)


@dataclass(slots=True)
class Outcome:
    """What a run has reported so far."""

    #: `ended`, `failed` (an exception) or `disconnected` (the client went away)
    status: str = "ended"
    completed: bool | None = None
    validated: bool | None = None
    escalated: bool | None = None
    incidents: int | None = None
    #: US dollars
    cost_usd: float | None = None
    operator_edits: int | None = None
    #: seconds
    latency_s: float | None = None
    infra_failure: bool | None = None
    #: type of the exception that ended the run
    error: str | None = None
    #: what it said, as `lastgood.failures.normalised` leaves it
    error_text: str | None = None
    #: bit n: the agent read the nth of `lastgood.part.KINDS` of its bundle; None: not known
    parts_read: int | None = None
    #: one entry a model call
    usage: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, float | bool] = field(default_factory=dict)

    @classmethod
    def of(cls, fields: Mapping[str, Any], **more: Any) -> Self:
        """Return the outcome that report fields say; `more` is set as it is. Raises `InvalidInput`."""
        return cls(**checked(fields), **more)

    def take(self, fields: Mapping[str, Any]) -> None:
        """Take report fields; the last word counts. Raises `InvalidInput`."""
        values = checked(fields)
        self.metrics.update(values.pop("metrics", {}))
        for name, value in values.items():
            setattr(self, name, value)

    @property
    def said(self) -> dict[str, Any]:
        """What was reported, as `take` takes it."""
        known = {name: getattr(self, name) for name in FIELDS}
        return {name: value for name, value in known.items() if value is not None} | self.metrics

    def settle_cost(self) -> None:
        """Sum up what the model calls cost; one call of unknown price makes the run's cost unknown.

        A cost that was reported counts instead.
        """
        costs = [call["cost_usd"] for call in self.usage]
        if self.cost_usd is None and costs and None not in costs:
            self.cost_usd = float(sum(costs))

    def columns(self) -> dict[str, Any]:
        """Return the values by column of the store, `usage` and `metrics` still as objects."""
        return asdict(self)


def noted(error_text: object, parts_read: object) -> dict[str, Any]:
    """Return what a process notes beside its reports, checked; raises `InvalidInput`."""
    if not (error_text is None or (isinstance(error_text, str) and len(error_text) <= MOST_TEXT)):
        msg = f"error_text has to be a text of {MOST_TEXT:,} characters at most"
        raise InvalidInput(msg)
    if not (parts_read is None or (type(parts_read) is int and 0 <= parts_read <= MOST_PARTS)):
        msg = f"parts_read={parts_read!r:.60} has to be a whole number, 0 to {MOST_PARTS}: a bit a part"
        raise InvalidInput(msg)
    return {"error_text": error_text, "parts_read": parts_read}
