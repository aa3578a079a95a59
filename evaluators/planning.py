"""Planning: what a policy can decide, before any run of the release.

Approximations (STATISTICS.md, section 4): information I = n (1 - share) p (1 - p) for n candidate runs, a
normal score, the expected path. Good to about a tenth where effects are not tiny.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from evaluators.blocks import ALL, WHOLE
from evaluators.bounded import under_margin_counts
from evaluators.decision import revert_line
from evaluators.history import History
from evaluators.mixture import BET_PRIOR, DISTANCES, THETAS, FloatArray, log_mean_exp, log_sum_exp
from evaluators.proportions import PARTS, bet_increments
from evaluators.references import Gate, gates, margin, predicted
from evaluators.rules import HOUR, Guardrail, Rules, Undecided

#: no plan looks further, candidate runs
FAR = 1e9


def floor_nats(p_base: float, p_cand: float, ratio: float) -> float:
    """The most that one candidate run can say about a harm, nats: D = KL(p_c||p_0) + r KL(p_b||p_0).

    `ratio` r is baseline runs a candidate run and p_0 the pooled rate; no valid test grows faster.
    """
    pooled = (p_cand + ratio * p_base) / (1.0 + ratio)

    def divergence(p: float) -> float:
        return float(p * np.log(p / pooled) + (1.0 - p) * np.log((1.0 - p) / (1.0 - pooled)))

    return divergence(p_cand) + ratio * divergence(p_base)


def expected_rate(guardrail: Guardrail, rules: Rules, history: History) -> float | None:
    """The bad rate that an equal candidate would have, 0..1; None where nothing is known."""
    n, bad = history.of(guardrail)
    return bad / n if n else dict(rules.references).get(guardrail.name)


def runs_to_promote(rules: Rules, history: History, name: str, share: float) -> float:
    """Candidate runs until an equal candidate is expected to prove a guardrail's margin; inf where never.

    `share` is the candidate's, 0..1. Raises KeyError for an unknown guardrail.
    """
    guardrail = _named(rules, name)
    rate = expected_rate(guardrail, rules, history)
    if rate is None:
        return float("inf")
    gate = gates(guardrail, replace(rules, steps=rules.steps[-1:]), history)[-1]
    line = float(np.log(1.0 / rules.alpha_promote))
    return _first(lambda runs: _expected_promotion(gate, rate, share, runs), line)


def runs_to_revert(rules: Rules, history: History, name: str, bad_rate: float, share: float) -> float:
    """Candidate runs until a candidate of this bad rate (0..1) is expected to be reverted; inf if never."""
    guardrail = _named(rules, name)
    _, p_b = predicted(guardrail, rules, history, ALL)
    one = np.eye(4, dtype=np.int64)
    cells = np.array([one[0], one[0] + one[1], one[2], one[2] + one[3]])
    factor = bet_increments(cells, np.full(4, share), np.full(4, p_b), np.asarray(THETAS))
    good_c, bad_c, good_b, bad_b = factor
    ratio = (1.0 - share) / share
    drift = bad_rate * bad_c + (1.0 - bad_rate) * good_c + ratio * (p_b * bad_b + (1.0 - p_b) * good_b)
    line = revert_line(rules) - float(np.log(guardrail.weight))
    line += float(np.log(2.0)) if rules.strata else 0.0
    return _first(lambda runs: log_mean_exp(BET_PRIOR, runs[:, None] * drift), line)


def can_decide(rules: Rules, history: History) -> list[str]:
    """What keeps these rules from ever deciding, a sentence each with the nearest thing that would work.

    Empty where an equal candidate can be promoted and a collapse be reverted before the horizon, as far as
    shares of runs go; counts, ratios and scores are not planned. The best
    case counts: all runs at the step whose share says most a candidate run.
    """
    found = [*_too_long(rules)]
    for guardrail in rules.guardrails:
        if guardrail.kind.measured:
            continue  # these approximations are of shares of runs
        if rules.on_undecided is Undecided.REVERT:  # else a person may promote what evidence can't prove
            found += _promotion(rules, history, guardrail)
        found += _collapse(rules, history, guardrail)
    return found


def _named(rules: Rules, name: str) -> Guardrail:
    for guardrail in rules.guardrails:
        if guardrail.name == name:
            return guardrail
    raise KeyError(name)


def _expected_promotion(gate: Gate, rate: float, share: float, runs: FloatArray) -> FloatArray:
    """Ln e-value of a gate along the expected path of an equal candidate, shape of `runs`."""
    terms = [np.full(len(runs), -np.inf)]
    if gate.null is not None and gate.rate_weight < 1.0:
        information = (runs * (1.0 - share) * rate * (1.0 - rate))[:, None]
        drift = information * (DISTANCES * gate.null - DISTANCES**2 / 2.0)
        terms.append(np.log1p(-gate.rate_weight) + log_mean_exp(gate.log_prior, drift))
    if gate.rate is not None and gate.rate_weight > 0.0:
        good = np.log1p(-PARTS * gate.rate) - np.log1p(-gate.rate)
        ratio = runs[:, None] * (rate * np.log(PARTS) + (1.0 - rate) * good)
        terms.append(np.log(gate.rate_weight / len(PARTS)) + log_sum_exp(ratio))
    found = log_sum_exp(np.stack(terms, axis=-1))
    if gate.difference is None:
        return found
    one = np.eye(4, dtype=np.int64)
    cells = np.array([one[0], one[0] + one[1], one[2], one[2] + one[3]])
    good_c, bad_c, good_b, bad_b = under_margin_counts(cells, np.full(4, share), rate, gate.difference)
    base = (1.0 - share) / share * (rate * bad_b + (1.0 - rate) * good_b)
    drift = runs[:, None] * (rate * bad_c + (1.0 - rate) * good_c + base)
    return np.asarray(np.logaddexp(found, log_sum_exp(drift) - np.log(drift.shape[1])) - np.log(2.0))


def _first(log_e: Callable[[FloatArray], FloatArray], line: float) -> float:
    """The first number of runs at which an expected path reaches its line, within a hundredth; or inf."""
    low, high = 1.0, FAR
    for _ in range(2):
        grid = np.geomspace(low, high, 400)
        over = np.flatnonzero(log_e(grid) >= line)
        if len(over) == 0:
            return float("inf")
        place = int(over[0])
        low, high = float(grid[max(place - 1, 0)]), float(grid[place])
    return float(np.ceil(high))


def _too_long(rules: Rules) -> list[str]:
    found = []
    time = sum(step.min_time_us for step in rules.steps)
    if time > rules.horizon_us:
        found.append(
            f"the steps last at least {time / HOUR:g} h together and the horizon is"
            f" {rules.horizon_us / HOUR:g} h;"
            f" set the horizon to more than {time / HOUR:g} h or shorten a step's min_time"
        )
    runs = sum(step.min_runs for step in rules.steps)
    if runs > rules.horizon_runs:
        found.append(
            f"the steps need at least {runs} candidate runs together and the horizon is {rules.horizon_runs};"
            f" set the horizon to {runs} runs or more, or lower a step's min_runs"
        )
    return found


def _promotion(rules: Rules, history: History, guardrail: Guardrail) -> list[str]:
    share = min(step.share_bp for step in rules.steps) / WHOLE
    need = runs_to_promote(rules, history, guardrail.name, share)
    if need <= rules.horizon_runs:
        return []
    final = margin(guardrail, rules, history)
    if final.null is None and need == float("inf"):
        return [f"guardrail {guardrail.name} can't be proven: {final.reason}"]
    limit = f"{100.0 * (final.delta or 0.0):+.3g} points"
    how = f"about {need:,.0f}" if need < float("inf") else "more than a billion"
    ways = _ways_out(rules, history, guardrail, share, need)
    problem = (
        f"guardrail {guardrail.name}: an equal candidate needs {how} candidate runs to prove its margin of"
        f" {limit} at a share of {share:.0%}, and the horizon is {rules.horizon_runs:,}; {ways}"
    )
    return [problem]


def _ways_out(rules: Rules, history: History, guardrail: Guardrail, share: float, need: float) -> str:
    ways = []
    wider = _wider_margin(rules, history, guardrail, share)
    if wider is not None:
        ways.append(f"a margin of {100.0 * wider:+.3g} points")
    smaller = 1.0 - need * (1.0 - share) / rules.horizon_runs
    if smaller >= 0.01:
        ways.append(f"a share of {smaller:.0%}")
    if need < float("inf"):
        ways.append(f"a horizon of {need:,.0f} candidate runs")
    return f"{' or '.join(ways)} would do" if ways else "no margin or horizon would do; drop the guardrail"


def _wider_margin(rules: Rules, history: History, guardrail: Guardrail, share: float) -> float | None:
    """The smallest absolute margin that an equal candidate can prove before the horizon, 0..1."""
    for delta in np.geomspace(0.001, 0.5, 110):
        wide = replace(guardrail, margin_abs=float(delta))
        trial = replace(rules, guardrails=(wide,))
        if runs_to_promote(trial, history, guardrail.name, share) <= rules.horizon_runs:
            return float(delta)
    return None


def _collapse(rules: Rules, history: History, guardrail: Guardrail) -> list[str]:
    need = min(
        runs_to_revert(rules, history, guardrail.name, 1.0, step.share_bp / WHOLE) for step in rules.steps
    )
    if need <= rules.horizon_runs:
        return []
    how = f"about {need:,.0f}" if need < float("inf") else "endlessly many"
    way = f"a horizon of {need:,.0f} candidate runs" if need < float("inf") else "another metric"
    problem = (
        f"guardrail {guardrail.name}: a candidate that is bad in every run needs {how} candidate runs to be"
        f" reverted, and the horizon is {rules.horizon_runs:,}; {way} would do"
    )
    return [problem]
