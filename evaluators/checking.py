"""Checking: what rules must be for a comparison to be made under them, and which columns runs may have."""

import difflib
import math

import pandas as pd

from evaluators.history import LABELS, OUTCOMES
from evaluators.path import ASSIGNED, FIRST
from evaluators.rules import Kind, Ruled, Rules
from evaluators.scoring import AMOUNTS, read_number, refuse_outside
from lastgood.errors import InvalidEvidence, InvalidPolicy

#: columns of a run record that may stand in any frame of runs, used or not
KNOWN = LABELS | frozenset(OUTCOMES) | {"cost_usd", "operator_edits", "latency_s", "disconnected"}


def rules_of(policy: Rules | Ruled) -> Rules:
    """The rules of a policy, or the rules themselves; InvalidPolicy where it is neither."""
    if isinstance(policy, Rules):
        return policy
    if not callable(getattr(policy, "rules", None)):
        raise InvalidPolicy(
            f"a comparison is made under a policy, not under {type(policy).__name__};"
            " give `config.policy.Policy.load(FILE)` or `evaluators.rules.Rules`"
        )
    return policy.rules()


def check_rules(rules: Rules) -> None:
    """Refuse rules that no comparison can be made under: InvalidPolicy."""
    weights = [guardrail.weight for guardrail in rules.guardrails]
    if not weights or min(weights) <= 0.0 or abs(sum(weights) - 1.0) > 1e-6:
        raise InvalidPolicy(f"guardrail weights must be above 0 and sum to 1, not to {sum(weights):g}")
    names = [guardrail.name for guardrail in rules.guardrails]
    if len(set(names)) < len(names) or ASSIGNED in names:
        raise InvalidPolicy(f"guardrail names must differ from each other and from {ASSIGNED!r}: {names}")
    if any(FIRST in name for name in names):
        raise InvalidPolicy(f"a guardrail's name can't hold {FIRST!r}: {names}")
    _check_kinds(rules)
    _check_slices(rules)
    if not rules.steps:
        raise InvalidPolicy("a policy needs at least one step")
    if rules.block_size < 1:
        raise InvalidPolicy(f"a block holds at least 1 run, not {rules.block_size}")
    total = sum(weight for _, weight in rules.strata)
    if rules.strata and (min(w for _, w in rules.strata) < 0.0 or abs(total - 1.0) > 1e-6):
        raise InvalidPolicy(f"stratum weights must not be negative and must sum to 1, not to {total:g}")
    for label, alpha in (("alpha_revert", rules.alpha_revert), ("alpha_promote", rules.alpha_promote)):
        if not 0.0 < alpha < 1.0:
            raise InvalidPolicy(f"{label} must be between 0 and 1, not {alpha:g}")


def _check_kinds(rules: Rules) -> None:
    for guardrail in rules.guardrails:
        if guardrail.kind is Kind.SCORE and not guardrail.lowest < guardrail.highest:
            raise InvalidPolicy(f"guardrail {guardrail.name}: a scale needs two ends, the lower one first")
        span, margin = guardrail.highest - guardrail.lowest, guardrail.margin_abs or 0.0
        if guardrail.kind is Kind.SCORE and margin >= span:
            raise InvalidPolicy(
                f"guardrail {guardrail.name}: a margin of {margin:g} is as wide as its scale; lower it"
            )
        if guardrail.kind is Kind.QUANTILE and not 0.0 < guardrail.level < 1.0:
            raise InvalidPolicy(f"guardrail {guardrail.name}: a level lies between 0 and 1")
        if guardrail.cap is not None and not guardrail.cap > 0.0:
            raise InvalidPolicy(f"guardrail {guardrail.name}: a cap must be above 0, not {guardrail.cap:g}")


def _check_slices(rules: Rules) -> None:
    slices = [name for name, _ in rules.strata]
    for waiver in rules.waivers:
        if waiver.guardrail not in {g.name for g in rules.guardrails} or waiver.stratum not in slices:
            raise InvalidPolicy(
                f"waiver of {waiver.guardrail} in {waiver.stratum}: the policy has no such guardrail or slice"
            )
    for stratum, _ in rules.on_harm:
        if stratum not in slices:
            raise InvalidPolicy(f"on_harm names slice {stratum!r}, which the policy does not list")


def known_columns(rules: Rules) -> frozenset[str]:
    """Columns that `Comparison.observe` takes: the run record's own and those that a guardrail reads."""
    read = {g.column for g in rules.guardrails} | {g.per for g in rules.guardrails if g.kind is Kind.RATIO}
    return KNOWN | read


def check_columns(runs: pd.DataFrame, rules: Rules) -> None:
    """Refuse columns that nothing reads, so that a misspelt one is no silent lack of data."""
    if not runs.columns.is_unique:
        twice = runs.columns[runs.columns.duplicated()][0]
        raise InvalidEvidence(f"runs have two columns {twice}; give each outcome once")
    known = known_columns(rules)
    for column in runs.columns:
        if column not in known:
            raise InvalidEvidence(
                f"runs, column {column}: no guardrail reads it; the nearest known column is"
                f" {_nearest(str(column), known)!r}."
                " Rename it, or leave it out (`evaluators.checking.known_columns` lists what is read)"
            )
    for column in AMOUNTS:  # those that no guardrail reads too: a negative cost is a broken report
        if column in runs:
            refuse_outside(runs, column, read_number(runs, column), 0.0, math.inf)


def _nearest(column: str, known: frozenset[str]) -> str:
    """The known name that holds this one, else the most alike."""
    holding = [name for name in sorted(known) if column.lower() in name]
    return (holding or difflib.get_close_matches(column.lower(), sorted(known), n=1, cutoff=0.0))[0]
