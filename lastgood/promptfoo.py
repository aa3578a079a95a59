"""Regression cases as a promptfoo configuration: each test replays one case through `lastgood cases play`.

What the output alone tells is asserted natively, the rest on what the replay says of its checks.
"""

from collections.abc import Iterable
from typing import Any

from lastgood import cases
from lastgood.cases import Case
from lastgood.checks import Check, Contains, Equals, EqualsExpected
from lastgood.frozen import thaw
from lastgood.replaying import Played

#: what the replay returned; promptfoo takes no null
_OUTPUT = "JSON.parse(output).output ?? JSON.parse(output).error ?? ''"


def configuration(found: Iterable[Case], name: str, file: str) -> str:
    """Return the YAML of a promptfoo configuration that replays the cases of a case file.

    `file` is the case file's path as promptfoo sees it from its working directory. The bundle is named by
    LASTGOOD_CASES_BUNDLE, a bundle.yaml or a registered one.
    """
    return cases.to_yaml({
        "description": f"Regression cases of {name}",
        "prompts": ["{{case}}"],
        "providers": [{"id": f"exec:lastgood cases play {file}", "label": name}],
        "tests": [_test(case) for case in found],
    })  # fmt: skip


def _test(case: Case) -> dict[str, Any]:
    told = {
        name: value for name, value in case.to_entry()["metadata"]["lastgood"].items() if name != "fixtures"
    }
    return {
        "description": case.name,
        "vars": {"case": case.name},
        "assert": [_assertion(case, check, place) for place, check in enumerate(case.checks)],
        "metadata": {"lastgood": told},
    }


def _assertion(case: Case, check: Check, place: int) -> dict[str, Any]:
    if isinstance(check, EqualsExpected) and case.expected is not None:
        return {"type": "equals", "value": thaw(case.expected), "transform": _OUTPUT}
    if isinstance(check, Equals):
        return {"type": "equals", "value": thaw(check.value), "transform": _OUTPUT}
    if isinstance(check, Contains) and isinstance(check.value, str) and not check.as_strings:
        kind = "contains" if check.case_sensitive else "icontains"
        return {"type": kind, "value": check.value, "transform": f"String({_OUTPUT})"}
    name = type(check).__name__
    return {"type": "javascript", "value": f"!JSON.parse(output).failed['{place} {name}']", "metric": name}


def answer(case: Case, played: Played) -> dict[str, Any]:
    """Return what `lastgood cases play` prints of one replay."""
    judged = case.judge(played)
    failed = {}
    for place, check in enumerate(case.checks):
        why = case.why_not(check, played)
        if why is not None:
            failed[f"{place} {type(check).__name__}"] = why
    told = played.to_json()
    return {
        "output": played.output, "passed": judged.passed, "failed": failed, "error": played.error,
        "missing": list(played.missing), "actions": told["actions"], "cost_usd": played.cost_usd,
    }  # fmt: skip


__all__ = ["answer", "configuration"]
