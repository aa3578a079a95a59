"""Policies made from others: with what a plan proposes, or with a trade that was accepted beforehand."""

import json
from typing import Any

from config.durations import format_duration
from config.policy import Policy, built_in
from config.quantities import format_margin, format_percentage, format_share
from evaluators.rules import Guardrail, Rules


def amended(policy: Policy, rules: Rules) -> Policy:
    """The policy with what these rules changed; a guardrail that they lack stays as it is.

    Weights stay too: rules that lack a guardrail have shared its weight out. A built-in policy's copy gets a
    name of its own, since theirs can't be stored.
    """
    data = json.loads(policy.to_json())
    before = {guardrail.name: guardrail for guardrail in policy.rules().guardrails}
    for guardrail in rules.guardrails:
        old = before[guardrail.name]
        if (guardrail.margin_abs, guardrail.margin_rel) != (old.margin_abs, old.margin_rel):
            data["guardrails"][guardrail.name] |= _margins(guardrail)
    kept = data["steps"][len(data["steps"]) - len(rules.steps) :]
    data["steps"] = [
        {**step, "share": format_share(new.share_bp)} for step, new in zip(kept, rules.steps, strict=True)
    ]
    data["horizon"] |= {"runs": rules.horizon_runs, "time": format_duration(rules.horizon_us)}
    data["on_undecided"] = str(rules.on_undecided)
    return _own(policy, data, "planned")


def waived(policy: Policy, guardrail: str, stratum: str, reason: str, approver: str) -> Policy:
    """The policy with one trade more: `guardrail` may get worse in the slice `stratum`.

    Raises `InvalidPolicy` where the policy has no such guardrail or slice, or waives it already.
    """
    data = json.loads(policy.to_json())
    trade = {"guardrail": guardrail, "slice": stratum, "reason": reason, "approver": approver}
    data["waivers"].append(trade)
    return _own(policy, data, "waived")


def _own(policy: Policy, data: dict[str, Any], suffix: str) -> Policy:
    """The policy of these data; a built-in one's copy gets a name of its own: theirs can't be stored."""
    if policy.name in built_in():
        data["name"] = f"{policy.name}-{suffix}"
    return Policy.from_json(json.dumps(data))


def _margins(guardrail: Guardrail) -> dict[str, Any]:
    """A guardrail's margins in a policy's words."""
    absolute, relative = guardrail.margin_abs, guardrail.margin_rel
    own = guardrail.kind.measured
    return {
        "margin": None if own or absolute is None else format_margin(absolute),
        "margin_own": absolute if own else None,
        "margin_rel": None if relative is None else format_percentage(relative),
    }


__all__ = ["amended", "waived"]
