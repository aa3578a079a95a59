"""Wording: one guardrail's state as a verdict with its reason."""

import math

import numpy as np

from evaluators.decision import revert_line
from evaluators.guardrail_state import GuardrailState
from evaluators.intervals import log_odds_sequence, risk_difference
from evaluators.mixture import CURVE
from evaluators.rules import Rules
from evaluators.verdict import GuardrailVerdict, Word


def describe(
    state: GuardrailState, rules: Rules, culprits: tuple[str, ...], invalid_reason: str
) -> GuardrailVerdict:
    """The verdict on one guardrail; `culprits` are those that reverted the release."""
    guardrail, margin = state.terms.guardrail, state.terms.margin
    n_c, y_c, n_b, y_b = state.seen
    odds = log_odds_sequence(CURVE, state.curve, rules.alpha_promote)
    shown = risk_difference(odds, n_b, y_b)
    estimate = shown.estimate
    if n_c and n_b and float(np.ptp(state.curve)) == 0.0:  # no closed block tells the arms apart yet
        estimate = min(max(100.0 * (y_c / n_c - y_b / n_b), shown.low), shown.high)
    word = _word(state, guilty=guardrail.name in culprits, invalid=bool(invalid_reason))
    return GuardrailVerdict(
        name=guardrail.name,
        word=word,
        log_e_harm=state.log_e_harm,
        log_e_promote=state.log_e_gates[-1],
        crossed=state.has_crossed[-1],
        estimate=estimate,
        low=shown.low,
        high=shown.high,
        baseline_rate=y_b / n_b if n_b else 0.0,
        candidate_rate=y_c / n_c if n_c else 0.0,
        n_c=n_c,
        y_c=y_c,
        n_b=n_b,
        y_b=y_b,
        margin=None if margin.delta is None else 100.0 * margin.delta,
        reason=_reason(state, rules, word, invalid_reason),
        slices=state.log_e_slices,
        log_e_check=state.log_e_conditional,
    )


def _word(state: GuardrailState, *, guilty: bool, invalid: bool) -> Word:
    n_c, _, n_b, _ = state.seen
    if guilty:
        return Word.FAIL
    if n_c == 0 or n_b == 0:
        return Word.NO_DATA
    if invalid:
        return Word.INVALID
    passed = state.has_crossed[-1] and state.log_e_gates[-1] >= 0.0
    return Word.PASS if passed else Word.UNDECIDED


def _reason(state: GuardrailState, rules: Rules, word: Word, invalid_reason: str) -> str:
    n_c, y_c, n_b, y_b = state.seen
    counts = f"{y_c} of {n_c} candidate runs bad, {y_b} of {n_b} baseline runs"
    margin = state.terms.margin
    limit = f"{100.0 * (margin.delta or 0.0):+.3g} points"
    if word is Word.FAIL:
        return f"proven worse: {counts}; log e {state.log_e_harm:.2f} ({_line(state, rules)})"
    if word is Word.NO_DATA:
        arm = "either arm" if n_c == n_b == 0 else "the candidate" if n_c == 0 else "the baseline"
        return f"no scored run of {arm}"
    if word is Word.INVALID:
        return invalid_reason
    if word is Word.PASS:
        compared = f"proven under its margin of {limit}"
        own = f"its own bad rate is proven under {limit.lstrip('+')} (too few bad baseline runs to compare)"
        return f"{own if margin.reason else compared}: {counts}"
    if margin.reason:
        return f"{counts}; {margin.reason}"
    return f"not yet proven under its margin of {limit}: {counts}"


def _line(state: GuardrailState, rules: Rules) -> str:
    alone = revert_line(rules) - math.log(state.terms.guardrail.weight)
    return f"{alone:.2f} decides alone"
