"""Busy: how many runs a day a candidate could be given, from the store and the policy's ceilings."""

from config.policy import Policy
from evaluators import History
from evaluators.planning_walk import DAY, Traffic
from evaluators.rules import HOUR
from lastgood.moves import ControlPoint
from lastgood.store import statements as sql
from lastgood.store.connection import Transaction

#: shortest time that a rate is read from, microseconds: a burst says little on a day
LEAST_SPAN = HOUR // 60


def eligible_per_day(txn: Transaction, point: ControlPoint, policy: Policy) -> float:
    """Runs a day of the risks that a candidate may serve, from the policy's recent time."""
    since = txn.now_us - policy.preflight.recent
    rows = txn.all(sql.RECENT_RISKS, agent=point.agent, environment=point.environment, since=since)
    if not rows:
        return 0.0
    eligible = sum(int(row["n"]) for row in rows if row["risk"] in policy.eligible_risks)
    span = max(txn.now_us - min(int(row["first_us"]) for row in rows), LEAST_SPAN)
    return eligible * DAY / span


def traffic_of(policy: Policy, history: History, runs_per_day: float, *, spends: bool) -> Traffic:
    """An agent's traffic under the policy's ceilings.

    `spends`: a run that reports no cost counts with its ceiling, as in a release.
    """
    caps, cost = policy.caps(), history.measures.get("cost_usd")
    mean = float(cost.values[:, 1].sum()) / cost.n if cost is not None else None
    if mean is None and spends:
        mean = caps.spend_usd_per_run
    most = [float(caps.runs_per_hour)] if caps.runs_per_hour is not None else []
    if caps.spend_usd_per_hour is not None and mean:
        most.append(caps.spend_usd_per_hour / mean)
    return Traffic(runs_per_day, min(most, default=None))


__all__ = ["eligible_per_day", "traffic_of"]
