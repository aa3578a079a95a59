"""The metrics that a guardrail can watch, and what a policy may leave out about them.

Weights: STATISTICS.md section 3 (product owners' ranking of harms), shared out over the guardrails
that a policy names. Margins: section 5, target 4; the two without a figure there (`lost`, `infra`)
take the two points of completion.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeAlias

from lastgood.triggers import RATES, TOOL_MALFORMED

#: keys and list positions that lead to a value of a policy
Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """A measure that every run record can tell."""

    #: name in a policy
    name: str
    #: column of the run record
    column: str
    #: the column's value that counts as bad
    bad: bool
    #: default weight in the family before renormalising
    weight: float
    #: default margin in the words of a policy, or empty
    margin: str = ""
    #: default relative margin in the words of a policy, or empty
    margin_rel: str = ""
    #: how it is judged: `proportion`, `quantile`, `count`, `ratio` or `score`
    kind: str = "proportion"
    #: further keys of its kind, as a policy writes them
    more: tuple[tuple[str, object], ...] = ()


#: in the order of reports
METRICS = (
    Metric("completion", "completed", bad=False, weight=0.22, margin="2 points"),
    Metric("validation", "validated", bad=False, weight=0.22, margin="2 points"),
    Metric("escalation", "escalated", bad=True, weight=0.08, margin="2 points"),
    Metric("incidents", "incidents", bad=True, weight=0.15, margin="0.5 points"),
    Metric("lost", "lost", bad=True, weight=0.05, margin="2 points"),
    Metric("infra", "infra_failure", bad=True, weight=0.05, margin="2 points"),
    Metric("cost", "cost_usd", True, 0.12, margin_rel="10%", kind="ratio", more=(("unit", "USD"),)),
    Metric("cost_tail", "cost_usd", True, 0.03, margin_rel="100%", kind="quantile", more=(("level", 0.99),)),
    Metric(
        "edits", "operator_edits", True, 0.08, margin_rel="30%", kind="ratio",
        more=(("unit", "edits"), ("cap", 10.0)),
    ),
    Metric("latency", "latency_s", True, 0.08, "2 points", kind="quantile", more=(("level", 0.95),)),
    # told only by agents that call their tools through `run.tool`. Weight and margin as of escalation, the
    # other harm that is caught before anybody is hurt
    Metric("tool_malformed", TOOL_MALFORMED, bad=True, weight=0.08, margin="2 points"),
)  # fmt: skip
KNOWN = {metric.name: metric for metric in METRICS}
#: those that every run record can tell
USUAL = tuple(
    name for name, metric in KNOWN.items() if metric.kind == "proportion" and metric.column != TOOL_MALFORMED
)
#: guardrails of a policy that names none. An agent that never reported an amount is released without it
DEFAULTS: dict[str, object] = {name: {} for name in USUAL} | {
    name: {"when_absent": "set_aside"} for name in ("cost", "cost_tail", "edits")
}
#: bad outcomes that a one-sample rate trigger can count where a run is recorded
TRIGGERED = RATES
#: default weight of a team's own flag before renormalising: that of escalation
OWN_WEIGHT = 0.08
#: columns of amounts, free for guardrails of their kinds
AMOUNTS = frozenset({"cost_usd", "latency_s", "operator_edits", "incidents"})
#: kinds that judge a column of numbers
NUMERIC = ("quantile", "count", "ratio", "score")
#: columns of a run record that are no free flag
_TAKEN = frozenset(
    {metric.column for metric in KNOWN.values()}
    | {"run_id", "unit", "arm", "stratum", "share", "eligible", "variant", "task_id"}
    | {"block", "seq", "task_type", "status", "assigned_us", "received_us", "share_bp", "metrics", "matured"}
    | {"disconnected", "reason", "code", "run"}
)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
#: how far given weights may be from 1 in sum
WEIGHT_SLACK = 1e-6


class Misplaced(ValueError):
    """A value of a policy that can't be used, with the path to it below the key that was checked."""

    def __init__(self, problem: str, *path: str | int) -> None:
        super().__init__(problem)
        self.path: Path = path


def nearest(word: str, known: Mapping[str, object] | tuple[str, ...] | list[str]) -> str:
    """`; did you mean 'x'?` where a known name is near, else a full stop."""
    near = get_close_matches(word[:60], list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else "."


def order(name: str) -> tuple[int, str]:
    """Sort key: the known metrics in the order of reports, then a team's own by name."""
    names = list(KNOWN)
    return (names.index(name) if name in KNOWN else len(names), name)


def fill(raw: Mapping[str, object], matures: str) -> dict[str, object]:
    """Complete guardrails as written (name -> mapping or nothing) with columns, margins, weights, maturity.

    Raises Misplaced for a metric that is unknown or no proportion, and for weights that are given for
    some guardrails only. An entry that is no mapping stays as it is, for the models to refuse.
    """
    if not raw:
        raise Misplaced(f"name at least one guardrail: {', '.join(KNOWN)}")
    entries = {name: {} if entry is None else entry for name, entry in raw.items()}
    weights = _weights({name: entry for name, entry in entries.items() if isinstance(entry, Mapping)})
    return {
        name: {**_column(name, entry), "matures": matures, "weight": weights[name], **entry}
        if isinstance(entry, Mapping)
        else entry
        for name, entry in entries.items()
    }


def _weights(entries: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    given = {name: entry["weight"] for name, entry in entries.items() if "weight" in entry}
    if not given:
        shares = {name: KNOWN[name].weight if name in KNOWN else OWN_WEIGHT for name in entries}
        whole = math.fsum(shares.values())
        return {name: weight / whole for name, weight in shares.items()}
    bare = [name for name in entries if name not in given]
    if bare:
        raise Misplaced("has no weight while others have: give one to every guardrail or to none", bare[0])
    return dict(given)


def _column(name: str, entry: Mapping[str, object]) -> dict[str, object]:
    if name in KNOWN:
        return _known(KNOWN[name], entry)
    if "column" not in entry:
        raise Misplaced(f"unknown metric{nearest(name, KNOWN)} {_choice()}", name)
    if _NAME.fullmatch(name) is None:
        raise Misplaced("a guardrail's name has lower-case letters, digits and '_', such as 'my_flag'", name)
    column = entry["column"]
    if not isinstance(column, str) or _NAME.fullmatch(column) is None:
        raise Misplaced("a column has lower-case letters, digits and '_', such as 'my_flag'", name, "column")
    numeric = entry.get("kind") in NUMERIC
    if column in _TAKEN and not (numeric and column in AMOUNTS):
        raise Misplaced(f"{column!r} is not a free flag of the run; name one that you report", name, "column")
    return {"better": "lower"} if numeric and "better" not in entry else {}


def _known(metric: Metric, entry: Mapping[str, object]) -> dict[str, object]:
    if metric.kind != "proportion":
        return _measured(metric, entry)
    for key, own in (("column", metric.column), ("bad", metric.bad)):
        if entry.get(key, own) != own:
            raise Misplaced(
                f"{metric.name} counts {metric.column}: {str(metric.bad).lower()} as bad; leave {key!r} out, "
                "or give the guardrail a name of its own",
                metric.name,
                key,
            )
    bare = entry.get("margin") is None and entry.get("margin_rel") is None
    return {"column": metric.column, "bad": metric.bad} | ({"margin": metric.margin} if bare else {})


def _measured(metric: Metric, entry: Mapping[str, object]) -> dict[str, object]:
    """What a policy may leave out about a known amount."""
    for key, own in (("column", metric.column), ("kind", metric.kind), ("better", "lower")):
        if entry.get(key, own) != own:
            raise Misplaced(
                f"{metric.name} is the {metric.kind} of {metric.column}, lower is better; leave {key!r} out,"
                " or give the guardrail a name of its own",
                metric.name,
                key,
            )
    found = {"column": metric.column, "kind": metric.kind, "better": "lower", **dict(metric.more)}
    bare = all(entry.get(key) is None for key in ("margin", "margin_rel", "margin_own"))
    if bare:
        found |= {"margin": metric.margin} if metric.margin else {"margin_rel": metric.margin_rel}
    return found


def _choice() -> str:
    return (
        f"Known: {', '.join(KNOWN)}; or one of your own as {{column: my_flag, bad: true}}, or of numbers as"
        " {column: my_number, kind: score}"
    )


__all__ = [
    "AMOUNTS",
    "DEFAULTS",
    "KNOWN",
    "METRICS",
    "NUMERIC",
    "TRIGGERED",
    "USUAL",
    "WEIGHT_SLACK",
    "Metric",
    "Misplaced",
    "Path",
    "fill",
    "nearest",
    "order",
]
