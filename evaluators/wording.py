"""Wording: one guardrail's evidence as a verdict with its reason."""

import math

import numpy as np

from evaluators.amounts import amount
from evaluators.decision import revert_line, slices_over
from evaluators.evidence import Evidence
from evaluators.forecast import runs_to_fail, runs_to_pass
from evaluators.intervals import Interval
from evaluators.method import Shown
from evaluators.mixture import log_mean_exp
from evaluators.rules import Guardrail, Kind, OnHarm, Rules
from evaluators.verdict import GuardrailVerdict, Word


def describe(
    evidence: Evidence, rules: Rules, culprits: tuple[str, ...], invalid_reason: str
) -> GuardrailVerdict:
    """The verdict on one guardrail; `culprits` are those that reverted the release."""
    state, guardrail = evidence.every, evidence.terms.guardrail
    n_c, y_c, n_b, y_b = evidence.seen
    shown = _shown(evidence, rules)
    word = _word(evidence, guilty=guardrail.name in culprits, invalid=bool(invalid_reason))
    harmed, alone = _harmed(evidence, rules), False
    if harmed:
        rest = [part.bet for name, part in state.slices.items() if name not in harmed]
        total = np.sum([np.zeros(len(state.method.prior)), *rest], axis=0)
        alone = float(log_mean_exp(state.method.prior, total / evidence.bet_deff)) < _line(guardrail, rules)
    some = n_c > 0 and n_b > 0
    measured = guardrail.kind.measured
    return GuardrailVerdict(
        name=guardrail.name,
        word=word,
        log_e_harm=evidence.log_e_harm,
        log_e_promote=evidence.log_e_gates[-1],
        crossed=evidence.has_crossed[-1],
        estimate=shown.difference.estimate,
        low=shown.difference.low,
        high=shown.difference.high,
        baseline_rate=shown.baseline if measured else y_b / n_b if n_b else 0.0,
        candidate_rate=shown.candidate if measured else y_c / n_c if n_c else 0.0,
        n_c=n_c,
        y_c=y_c,
        n_b=n_b,
        y_b=y_b,
        margin=_margin(evidence),
        reason=_reason(evidence, rules, word, invalid_reason, shown)
        + _said(harmed, guardrail, rules, alone=alone),
        slices=tuple(
            (name, float(value)) for (name, _), value in zip(rules.strata, evidence.slices, strict=True)
        ),
        log_e_check=state.log_e_conditional,
        kind=str(guardrail.kind),
        unit=unit_of(guardrail),
        runs_to_pass=runs_to_pass(evidence) if some and evidence.terms.margin.delta is not None else None,
        runs_to_fail=runs_to_fail(evidence, _line(guardrail, rules)) if some else None,
        harmed=harmed,
        harmed_alone=alone,
        design_effect=evidence.deff,
    )


def unit_of(guardrail: Guardrail) -> str:
    """What a guardrail's difference is measured in, in words."""
    if not guardrail.kind.measured:
        return "points"
    unit = guardrail.unit or guardrail.column
    per = {Kind.RATIO: f" per {guardrail.per} run", Kind.COUNT: " per run", Kind.SCORE: ""}
    return unit + per[guardrail.kind]


def _shown(evidence: Evidence, rules: Rules) -> Shown:
    """The figures, widened by the design effect; nothing where nothing can be scored."""
    state = evidence.every
    if state.terms.method is None:
        return Shown(Interval(0.0, 0.0, 0.0), 0.0, 0.0)
    deff = evidence.deff
    # a share of runs is shown with its open blocks too, an amount by its closed sums
    totals = state.totals if state.method.width else evidence.seen
    if deff <= 1.0:
        return state.method.shown(state.conditional, totals, rules.alpha_promote)
    # likelihoods to the power 1/deff: the sums shrink, the arms' own values do not move
    a, b, c, d = (round(value / deff) for value in totals)
    return state.method.shown(state.conditional / deff, (a, b, c, d), rules.alpha_promote)


def _harmed(evidence: Evidence, rules: Rules) -> tuple[str, ...]:
    """Slices that prove harm by themselves."""
    if not rules.strata or evidence.terms.method is None:
        return ()
    over = slices_over(rules, evidence.terms.guardrail, evidence.slices)
    return tuple(name for (name, _), proven in zip(rules.strata, over, strict=True) if proven)


def _said(harmed: tuple[str, ...], guardrail: Guardrail, rules: Rules, *, alone: bool) -> str:
    """What is said of harm in slices and of waived ones; empty where there is none."""
    does = {
        OnHarm.REVERT: "reverts",
        OnHarm.HOLD: "holds the release",
        OnHarm.REPORT: "is only reported",
    }
    waived = {
        w.stratum: f"was accepted beforehand by {w.approver}: {w.reason}"
        for w in rules.waivers
        if w.guardrail == guardrail.name
    }
    said = "".join(
        f"; slice {name} is not judged ({why})" for name, why in waived.items() if name not in harmed
    )
    if not harmed:
        return said
    parts = [
        f"{name} ({waived[name] if name in waived else does[rules.on_harm_in(guardrail.name, name)]})"
        for name in harmed
    ]
    many = "one slice" if len(harmed) == 1 else f"{len(harmed)} slices"
    where = f"harm in {many} only" if alone else "proven worse in the whole, and by itself in slice"
    return f"{said}; {where}{':' if alone else ''} {', '.join(parts)}"


def _word(evidence: Evidence, *, guilty: bool, invalid: bool) -> Word:
    n_c, _, n_b, _ = evidence.seen
    if guilty:
        return Word.FAIL
    if n_c == 0 or n_b == 0:
        return Word.NO_DATA
    if invalid:
        return Word.INVALID
    passed = evidence.has_crossed[-1] and evidence.log_e_gates[-1] >= 0.0
    return Word.PASS if passed else Word.UNDECIDED


def _reason(evidence: Evidence, rules: Rules, word: Word, invalid_reason: str, shown: Shown) -> str:
    margin, guardrail = evidence.terms.margin, evidence.terms.guardrail
    counts = _counts(evidence, shown)
    limit = amount(_margin(evidence) or 0.0, unit_of(guardrail), signed=True)
    if word is Word.FAIL:
        line = _line(guardrail, rules)
        return f"proven worse: {counts}; log e {evidence.log_e_harm:.2f} ({line:.2f} decides alone)"
    if word is Word.NO_DATA:
        return _no_data(evidence)
    if word is Word.INVALID:
        return invalid_reason
    if word is Word.PASS:
        compared = f"proven under its margin of {limit}"
        own = f"its own bad rate is proven under {limit.lstrip('+')} (too few bad baseline runs to compare)"
        return f"{own if margin.reason else compared}: {counts}"
    if margin.reason:
        return f"{counts}; {margin.reason}"
    return f"not yet proven under its margin of {limit}: {counts}"


def _no_data(evidence: Evidence) -> str:
    n_c, _, n_b, _ = evidence.seen
    if evidence.terms.method is None:
        return f"it can't be scored: {evidence.terms.margin.reason or 'history fixes no threshold'}"
    arm = "either arm" if n_c == n_b == 0 else "the candidate" if n_c == 0 else "the baseline"
    return f"no scored run of {arm}"


def _counts(evidence: Evidence, shown: Shown) -> str:
    n_c, y_c, n_b, y_b = evidence.seen
    guardrail = evidence.terms.guardrail
    if not guardrail.kind.measured:
        return f"{y_c} of {n_c} candidate runs bad, {y_b} of {n_b} baseline runs"
    unit = unit_of(guardrail)
    ours, theirs = amount(shown.candidate, unit), amount(shown.baseline, unit)
    return f"{ours} over {n_c} candidate runs, {theirs} over {n_b} baseline runs"


def _margin(evidence: Evidence) -> float | None:
    """The margin in the guardrail's unit, in its bad direction."""
    delta, guardrail = evidence.terms.margin.delta, evidence.terms.guardrail
    if delta is None:
        return None
    if not guardrail.kind.measured:
        return 100.0 * delta
    return float(np.copysign(delta, 1.0 if guardrail.bad else -1.0))


def _line(guardrail: Guardrail, rules: Rules) -> float:
    """Ln e-value at which a guardrail reverts alone."""
    return revert_line(rules) - math.log(guardrail.weight)
