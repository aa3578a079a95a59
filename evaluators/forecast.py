"""Forecasts: how many more candidate runs a guardrail needs if they go on as they went so far."""

from collections.abc import Callable

import numpy as np

from evaluators.evidence import Evidence
from evaluators.mixture import BoolArray, FloatArray, log_mean_exp

#: how many times the evidence so far is looked ahead
TIMES = np.geomspace(1.0, 1_000.0, 241)
#: how many of them lie between two that are asked first
COARSE = 16


def runs_to_pass(evidence: Evidence) -> int | None:
    """Candidate runs until the last gate's e-value reaches its line; 0 where it has, None where it won't."""
    state = evidence.every
    if evidence.has_crossed[-1] and evidence.log_e_gates[-1] >= 0.0:
        return 0
    totals = np.array([state.totals], dtype=np.float64)

    def reached(times: FloatArray) -> BoolArray:
        scale = times[:, None] / evidence.deff
        return state.method.gates(state.conditional * scale, totals * scale)[:, -1] >= state.terms.line

    return first_time(reached, state.totals[0])


def runs_to_fail(evidence: Evidence, line: float) -> int | None:
    """Candidate runs until the common harm e-value alone reaches a line, nats; None where it won't."""
    state = evidence.every
    if evidence.log_e_harm >= line:
        return 0

    def reached(times: FloatArray) -> BoolArray:
        return log_mean_exp(state.method.prior, state.bet * times[:, None] / evidence.bet_deff) >= line

    return first_time(reached, state.totals[0])


def first_time(reached: Callable[[FloatArray], BoolArray], runs: int) -> int | None:
    """Candidate runs beyond those there are at the first of TIMES that reaches; None where none does.

    A log mean of exponentials of t x is convex in t and 0 at 0, so that once over its line it stays there:
    the last is asked first, then every sixteenth, then those before the first of these.
    """
    if runs == 0 or not reached(TIMES[-1:])[0]:
        return None
    end = int(np.argmax(reached(TIMES[::COARSE]))) * COARSE
    start = max(end - COARSE + 1, 0)
    place = start + int(np.argmax(reached(TIMES[start : end + 1])))
    return int(np.ceil(runs * (TIMES[place] - 1.0)))


__all__ = ["first_time", "runs_to_fail", "runs_to_pass"]
