"""How the CRM misbehaves, where it is told to: it fails, hangs, or takes a request twice.

A failure comes before the effect or after it (the answer is lost) with equal chances; a request that hangs
has its effect all the same, later; one that is taken twice is delivered again, as by a proxy that tries anew.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from examples.support_agent.crm.service import Answer, Request

_BROKEN = Answer(500, {"error": "the CRM broke"})


@dataclass(slots=True)
class Faults:
    """Shares of the requests that go wrong, 0..1; all 0: none does."""

    fail: float = 0.0
    hang: float = 0.0
    twice: float = 0.0
    #: seconds that a hanging request takes
    hang_s: float = 5.0
    seed: int = 0
    draw: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)

    def around(self, request: Request, answer: Callable[[Request], Answer]) -> Answer:
        """Answer a request, or misbehave over it."""
        fails, hangs, twice = (self.draw.random() < share for share in (self.fail, self.hang, self.twice))
        before = self.draw.random() < 0.5
        if fails and before:
            return _BROKEN
        if hangs:
            time.sleep(self.hang_s)
        found = answer(request)
        if twice:
            found = answer(request)
        return _BROKEN if fails else found
