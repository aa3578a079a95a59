"""Forecasts: how many more candidate runs a guardrail needs if they go on as they went so far."""

import numpy as np

from evaluators.evidence import Evidence
from evaluators.mixture import BoolArray, log_mean_exp

#: how many times the evidence so far is looked ahead
TIMES = np.geomspace(1.0, 1_000.0, 241)


def runs_to_pass(evidence: Evidence) -> int | None:
    """Candidate runs until the last gate's e-value reaches its line; 0 where it has, None where it won't."""
    state = evidence.every
    if evidence.has_crossed[-1] and evidence.log_e_gates[-1] >= 0.0:
        return 0
    times = TIMES[:, None] / evidence.deff
    gates = state.method.gates(state.conditional[None, :] * times, np.array([state.totals]) * times)
    return _first(gates[:, -1] >= state.terms.line, state.totals[0])


def runs_to_fail(evidence: Evidence, line: float) -> int | None:
    """Candidate runs until the common harm e-value alone reaches a line, nats; None where it won't."""
    state = evidence.every
    if evidence.log_e_harm >= line:
        return 0
    moved = state.bet[None, :] * TIMES[:, None] / evidence.bet_deff
    return _first(log_mean_exp(state.method.prior, moved) >= line, state.totals[0])


def _first(reached: BoolArray, runs: int) -> int | None:
    """Candidate runs beyond those there are at the first of TIMES that reaches; None where none does."""
    if runs == 0 or not reached.any():
        return None
    return int(np.ceil(runs * (TIMES[int(np.argmax(reached))] - 1.0)))


__all__ = ["runs_to_fail", "runs_to_pass"]
