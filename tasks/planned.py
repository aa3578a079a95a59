"""Planned: what a plan is made from, read from a store, a file of recorded runs or a policy's references."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from config.policy import Policy
from evaluators import History
from evaluators.absence import SetAside, judged
from evaluators.blindness import blind_spots, hidden
from evaluators.planning_walk import Traffic
from evaluators.rules import HOUR, Guardrail, Rules
from evaluators.terms import method
from lastgood import points, registry
from lastgood.errors import InvalidBundle, InvalidRuns, NotFound
from lastgood.part import Part
from lastgood.store.connection import Store
from tasks import preflight, recorded
from tasks.busy import eligible_per_day, traffic_of

#: recorded runs under which nothing that they say is a rate
LEAST = 30
#: amounts that a run can report, in words
UNWATCHED = {
    "cost_usd": "what a run costs",
    "operator_edits": "operators' edits",
    "latency_s": "how long a run takes",
}


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What is known beforehand of an agent under a policy."""

    policy: Policy
    #: what its releases are judged by: without what is set aside
    rules: Rules
    history: History
    traffic: Traffic
    #: one sentence for people: whose rates these are
    said: str
    #: what such a release does not see, a sentence each
    blind: tuple[str, ...]


def from_agent(
    store: Store, agent: str, environment: str, policy: Policy, runs_per_day: float | None
) -> Known:
    """From an agent's own baseline runs. NotFound where nothing was served lately and no rate is given.

    InvalidRuns where they are too few to say a rate.
    """
    with store.reading() as txn:
        point = points.read(txn, agent, environment)
        history = preflight.read_history(txn, point, policy)
        rate = eligible_per_day(txn, point, policy) if runs_per_day is None else runs_per_day
        validators = _names_validators(registry.read(txn, point.baseline).bundle.policy)
    if rate <= 0.0:
        hours = policy.preflight.recent / HOUR
        raise NotFound(
            f"{point.name} had no run of risk {', '.join(policy.eligible_risks)} in the last {hours:g} h, and"
            " a plan needs its traffic; let the agent run, or say --runs-per-day N"
        )
    runs = _enough(history, f"{point.name}'s baseline", "let the agent run")
    said = f"rates, costs and edits as in {runs:,} matured runs of {point.name}'s baseline"
    return _known(
        policy, history, rate, said, extra=_about(policy, history, validators=validators), spends=True
    )


def from_file(
    path: Path, variants: tuple[str, ...], columns: Mapping[str, str], policy: Policy, runs_per_day: float
) -> Known:
    """From a file of recorded runs; of one variant unless several are named. Raises InvalidRuns."""
    rules = policy.rules()
    recording = recorded.read(path, columns, [g.column for g in rules.guardrails])
    there = sorted(set(recording.runs["variant"].dropna()))
    if not variants and len(there) != 1:
        raise InvalidRuns(
            f"{path.name} has runs of {len(there)} variants ({', '.join(there[:12])}); name with --variant"
            " what serves now"
        )
    runs = recording.of(variants or tuple(there))
    history = History(runs)
    _enough(history, path.name, "record more")
    said = f"rates, costs and edits as in {len(runs):,} recorded runs of {path.name}"
    return _known(policy, history, runs_per_day, said, extra=_about(policy, history), left_out=True)


def from_references(policy: Policy, runs_per_day: float) -> Known:
    """From the rates that the policy declares. NotFound where it declares none."""
    if not policy.reference:
        raise NotFound(
            f"nothing says how the baseline of policy {policy.name} fares: name recorded runs or an agent"
            " with --history, or declare rates under `reference:` in the policy"
        )
    said = f"rates as the policy declares them ({', '.join(sorted(policy.reference))})"
    return _known(policy, History(), runs_per_day, said, extra=_about(policy, History()), left_out=True)


def _known(
    policy: Policy, history: History, runs_per_day: float, said: str, *,
    extra: tuple[str, ...] = (), spends: bool = False, left_out: bool = False,
) -> Known:  # fmt: skip
    """`left_out`: guardrails that a recording has nothing of are no part of the plan."""
    found = judged(policy.rules(), history, policy.refereed)
    rules, aside = found.rules, list(found.set_aside)
    if left_out:
        absent = [g for g in rules.guardrails if not _plannable(g, rules, history)]
        aside += [
            SetAside(g.name, f"nothing is known of {g.column} here, so no plan is made") for g in absent
        ]
        rules = _without(rules, absent, policy)
    traffic = traffic_of(policy, history, runs_per_day, spends=spends)
    blind = (*blind_spots(rules, aside, policy.refereed), *hidden(rules, history), *extra)
    return Known(policy, rules, history, traffic, said, blind)


def _enough(history: History, name: str, way: str) -> int:
    """How many runs a history has. InvalidRuns where they are some, but too few to say a rate."""
    runs = max((n for n, _ in history.overall.values()), default=0)
    if 0 < runs < LEAST:
        raise InvalidRuns(
            f"{name} has {runs} recorded runs, and under {LEAST} say no rate: {way}, or leave --history out"
            " and declare what is known under `reference:` in the policy"
        )
    return runs


def _plannable(guardrail: Guardrail, rules: Rules, history: History) -> bool:
    if guardrail.kind.measured:
        return method(guardrail, rules, history) is not None
    return history.of(guardrail)[0] > 0 or guardrail.name in dict(rules.references)


def _without(rules: Rules, absent: list[Guardrail], policy: Policy) -> Rules:
    if len(absent) == len(rules.guardrails):
        wanted = ", ".join(g.column for g in rules.guardrails)
        raise InvalidRuns(
            f"nothing is known of any guardrail of policy {policy.name} ({wanted}); name their columns with"
            " --column completed=NAME"
        )
    return rules.without({g.name for g in absent})


def _names_validators(part: Part) -> bool:
    """Whether a bundle's policy part says what judges its runs."""
    try:
        data = part.data
    except InvalidBundle:  # it holds text or several files
        return False
    return isinstance(data, Mapping) and bool(data.get("validators"))


def _about(policy: Policy, history: History, *, validators: bool = True) -> tuple[str, ...]:
    """What neither the history nor a guardrail tells."""
    found, columns = [], {guardrail.column for guardrail in policy.rules().guardrails}
    if not validators and "validated" in columns:
        found.append(
            "the baseline's policy part names no `validators`: nobody can tell what judged `validated`"
        )
    runs = max((n for n, _ in history.overall.values()), default=0)
    if 0 < runs < policy.history_weight:
        found.append(
            f"only {runs:,} recorded runs: the rates above are a guess, and so are all figures; record"
            f" {policy.history_weight:,} or more"
        )
    n, bad = history.overall.get("incidents=true", (0, 0))
    if n and not bad:
        found.append(f"no incident was reported in {n:,} runs: there was none, or nobody reports them")
    silent = [word for column, word in UNWATCHED.items() if column not in columns]
    if silent:
        found.append(f"no guardrail watches {', '.join(silent)}")
    return tuple(found)


__all__ = ["Known", "from_agent", "from_file", "from_references"]
