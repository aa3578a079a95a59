"""Made-up looks: what the evidence might say, without the statistics behind it."""

from evaluators.rules import Rules, Step
from evaluators.verdict import Decision, Verdict

#: what a look may say; `absent` is one that failed
KINDS = ("pass", "hold", "harm", "invalid", "no_data", "absent")
RULES = Rules(guardrails=(), steps=(Step(5_000, min_runs=3),))


def made_up(kind: str, runs: int) -> Verdict | None:
    """A verdict of one kind; None for a look that failed."""
    if kind == "absent":
        return None
    decision = {"pass": Decision.PROMOTE, "harm": Decision.REVERT}.get(kind, Decision.HOLD)
    valid = kind not in {"invalid", "no_data"}
    return Verdict(
        decision=decision,
        culprits=(),
        guardrails=(),
        log_family=0.0,
        log_line=3.0,
        gates=(decision is Decision.PROMOTE,),
        valid=valid,
        invalid_reason="" if valid else kind,
        assigned=2 * runs,
        candidate_runs=runs,
    )
