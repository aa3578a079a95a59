"""The operator, who reads what was answered beside what would be right, and the customer who complains.

Neither learns which bundle answered. Everything about a ticket is drawn from its id, so that two bundles meet
the same operator in the same mood.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from examples.support_agent.tickets import Case

#: part of the answers that an operator reads, and of the right ones that are reworded all the same
_READS, _REWORDS = 0.8, 0.05
#: part of the customers who complain of a wrong answer, and of any answer
_COMPLAINS, _GRUMBLES = 0.35, 0.005
#: seconds until the operator has read, and until the customer complains
_READ_AFTER_S, _COMPLAINS_AFTER_S = (60, 300), (120, 420)


@dataclass(frozen=True, slots=True)
class Late:
    """What becomes known of a run after it."""

    #: seconds after its end
    after_s: float
    #: makes the report count once
    key: str
    #: fields of `lastgood.report`
    fields: Mapping[str, int]


def mistakes(case: Case, output: Mapping[str, Any] | None) -> list[str]:
    """What is wrong with an answer, by the truth; nothing where a person took over instead."""
    if output is None or "escalated" in output:
        return []
    truth, found = case.truth, []
    if truth.escalate:
        found.append("a person had to take over")
    if truth.fact not in output["answer"]:
        found.append(f"it does not say {truth.fact!r}")
    if output["refund_cents"] != truth.refund_cents:
        found.append(f"{output['refund_cents']} cents paid back instead of {truth.refund_cents}")
    if output["address"] != truth.address:
        found.append(f"the address is {truth.address!r}")
    return found


def later(case: Case, output: Mapping[str, Any] | None) -> list[Late]:
    """What the operator and the customer have to say of one run's output."""
    draw = random.Random(f"operator of {case.ticket.id}")
    reads, rewords, complains = draw.random(), draw.random(), draw.random()
    read_after, complain_after = draw.uniform(*_READ_AFTER_S), draw.uniform(*_COMPLAINS_AFTER_S)
    wrong = len(mistakes(case, output))
    said = []
    if reads < _READS and output is not None:
        edits = 2 * wrong + (rewords < _REWORDS)
        said.append(Late(read_after, "operator", {"operator_edits": edits}))
    if complains < (_COMPLAINS if wrong else _GRUMBLES):
        said.append(Late(complain_after, "complaint", {"incidents": 1}))
    return said


__all__ = ["Late", "later", "mistakes"]
