"""A CRM to undo things in, that fails, hangs and is asked twice; and handlers that a profile can name.

`CRM` is the one of this process: tests set it anew.
"""

import random
import time
from collections import Counter
from dataclasses import dataclass, field

from lastgood.errors import CannotUndo


class Died(BaseException):
    """The process of the recovery dies here."""


@dataclass
class Crm:
    """What was undone, by key; faults are drawn for each call."""

    fail: float = 0.0
    hang: float = 0.0
    twice: float = 0.0
    #: chances that the process dies before and after the effect
    die_before: float = 0.0
    die_after: float = 0.0
    hang_s: float = 0.3
    draw: random.Random = field(default_factory=lambda: random.Random(1))
    #: key -> the action that was undone by it
    undone: dict[str, str] = field(default_factory=dict)
    #: keys in the order in which they took effect
    order: list[str] = field(default_factory=list)
    calls: Counter = field(default_factory=Counter)
    #: targets that are refused, and those that a handler says are gone
    refuses: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)

    def take_back(self, undo) -> None:
        self.calls[undo.key] += 1
        before = self.draw.random() < 0.5
        if self.draw.random() < self.die_before:
            raise Died
        if self.draw.random() < self.hang:
            time.sleep(self.hang_s)
        fails = self.draw.random() < self.fail
        if fails and before:
            raise ConnectionError("the CRM broke before it did anything")
        for _ in range(2 if self.draw.random() < self.twice else 1):
            self._once(undo.key, undo.action_id)
        if self.draw.random() < self.die_after:
            raise Died
        if fails:
            raise ConnectionError("the CRM broke, and its answer was lost")

    def _once(self, key: str, action: str) -> None:
        if key not in self.undone:
            self.undone[key] = action
            self.order.append(key)


CRM = Crm()


def refund(undo):
    """Takes a refund back, once a key."""
    if undo.target in CRM.refuses:
        raise CannotUndo(f"{undo.target} was paid out")
    if undo.target in CRM.gone:
        return {"residue": f"{undo.target} is gone"}
    CRM.take_back(undo)
    return {"ok": True}


def broken(undo):
    raise ConnectionError("nobody is there")


def sleeper(undo):
    time.sleep(CRM.hang_s)
