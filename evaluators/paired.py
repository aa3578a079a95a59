"""Proving a regression case: it fails on the bad bundle and passes on the good one, for agents that vary.

The case is replayed in pairs, once on each bundle. Two e-processes are watched, each against its own null:

- *tells apart*: the bad bundle fails no more often than the good one. Only pairs whose two answers differ
  count; under the null the bad one's failure is at most half of them, so each factor `2 theta` or
  `2 (1 - theta)` has mean at most one (the sign test as a bet; STATISTICS.md, section 2b, on pairing).
- *the good passes*: it passes at most half of the time.

A case is admitted where both have reached 1/alpha at any time (Ville): a case of either null is admitted with
probability at most alpha, however often it is looked at. An agent that always answers the same needs five
pairs at alpha .05: the bet puts half of its mass on theta = 1, so that five of five make 2^5/2 and more.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import count

from lastgood.errors import InvalidEvidence, InvalidInput

#: places of theta between 1/2 and 1; the last one is 1 and has half of the mass
GRID = 24


class Proof(StrEnum):
    """What the pairs say so far."""

    PROVEN = "proven"  #: it fails on the bad bundle and passes on the good one
    GO_ON = "go_on"  #: more pairs may decide
    BOTH_PASS = "both_pass"  # noqa: S105  #: it passes on both bundles
    BOTH_FAIL = "both_fail"  #: it fails on both bundles
    REVERSED = "reversed"  #: it passes on the bad bundle and fails on the good one
    UNDECIDED = "undecided"  #: the budget of pairs is used up


@dataclass(frozen=True, slots=True)
class Rules:
    """How a case is proven."""

    #: chance that a case is admitted which does not tell the bundles apart, or whose good bundle mostly fails
    alpha: float = 0.05
    #: pairs at most
    pairs: int = 40
    #: chance that the gate errs on a proven case, for each of the two bundles
    beta: float = 0.05
    #: tries of a case in the gate at most
    attempts: int = 15

    def __post_init__(self) -> None:
        if not (0 < self.alpha <= 0.5 and 0 < self.beta <= 0.5):
            raise InvalidInput(f"alpha {self.alpha} and beta {self.beta} of a proof are above 0, at most .5")
        if self.pairs < 1 or self.attempts < 1:
            raise InvalidInput("a proof needs at least one pair, and its gate one attempt")

    @property
    def fewest(self) -> int:
        """Pairs after which a case of an agent that never varies is decided."""
        return next(n for n in count(1) if log_wealth(n, 0) >= math.log(1 / self.alpha))


@dataclass(frozen=True, slots=True)
class Pairs:
    """Counts over the pairs so far: all that the decision needs."""

    #: the bad bundle failed and the good one passed
    apart: int = 0
    #: the bad bundle passed and the good one failed
    against: int = 0
    both_pass: int = 0
    both_fail: int = 0
    #: whether each bundle has answered the same every time
    same: bool = True

    def __post_init__(self) -> None:
        if min(self.apart, self.against, self.both_pass, self.both_fail) < 0:
            raise InvalidEvidence(f"negative counts of pairs: {self}")

    @property
    def n(self) -> int:
        """Pairs."""
        return self.apart + self.against + self.both_pass + self.both_fail

    @property
    def bad_fails(self) -> int:
        """Replays on the bad bundle that failed."""
        return self.apart + self.both_fail

    @property
    def good_passes(self) -> int:
        """Replays on the good bundle that passed."""
        return self.apart + self.both_pass

    def add(self, *, bad_fails: bool, good_passes: bool, same: bool) -> "Pairs":
        """Return the counts with one more pair; `same`: both answered as in their first."""
        return Pairs(
            self.apart + (bad_fails and good_passes),
            self.against + (not bad_fails and not good_passes),
            self.both_pass + (not bad_fails and good_passes),
            self.both_fail + (bad_fails and not good_passes),
            self.same and same,
        )


@lru_cache(maxsize=1)
def _grid() -> tuple[tuple[float, float], ...]:
    """Pairs of (log mass, theta)."""
    inner = [(math.log(0.5 / (GRID - 1)), 0.5 + 0.5 * (j + 1) / GRID) for j in range(GRID - 1)]
    return (*inner, (math.log(0.5), 1.0))


@lru_cache(maxsize=16_384)
def log_wealth(wins: int, losses: int) -> float:
    """Return the log e-value of wins and losses against "a win is at most as likely as a loss"."""
    terms = []
    for mass, theta in _grid():
        if theta < 1:
            terms.append(mass + wins * math.log(2 * theta) + losses * math.log(2 * (1 - theta)))
        elif losses == 0:
            terms.append(mass + wins * math.log(2))
    top = max(terms)
    return top + math.log(sum(math.exp(term - top) for term in terms))


@dataclass(frozen=True, slots=True)
class Peaks:
    """The largest log e-values so far: what was reached once stays reached."""

    apart: float = 0.0
    good: float = 0.0

    def seen(self, pairs: Pairs) -> "Peaks":
        """Return the peaks after these pairs."""
        return Peaks(
            max(self.apart, log_wealth(pairs.apart, pairs.against)),
            max(self.good, log_wealth(pairs.good_passes, pairs.n - pairs.good_passes)),
        )


def decide(pairs: Pairs, peaks: Peaks, rules: Rules) -> Proof:
    """Return what the pairs say; call it after each pair, with the peaks of all of them.

    One that never varies is decided after `rules.fewest` pairs. One that varies is given up early only on the
    same strength of evidence: that the good bundle mostly fails, or the bad one fails less than the good one.
    """
    line = math.log(1 / rules.alpha)
    if peaks.apart >= line and peaks.good >= line:
        return Proof.PROVEN
    hopeless = _hopeless(pairs, line)
    if hopeless is not None:
        return hopeless
    if pairs.same and pairs.n >= rules.fewest:
        return Proof.BOTH_PASS if pairs.both_pass else Proof.BOTH_FAIL
    return Proof.UNDECIDED if pairs.n >= rules.pairs else Proof.GO_ON


def _hopeless(pairs: Pairs, line: float) -> Proof | None:
    if log_wealth(pairs.against, pairs.apart) >= line:
        return Proof.REVERSED
    failing = pairs.n - pairs.good_passes
    return Proof.BOTH_FAIL if log_wealth(failing, pairs.good_passes) >= line else None


@dataclass(frozen=True, slots=True)
class Gate:
    """How often a case is tried in the gate, and how many tries have to pass."""

    attempts: int
    needed: int


def gate(pairs: Pairs, rules: Rules) -> Gate | None:
    """Return the fewest attempts that keep a proven case's two errors within beta; None where none do.

    From the pass rates in the pairs, one replay of the other kind added to each that saw none: a good
    bundle is turned away, and the bad one let through, in at most `beta` of all gates.
    """
    if pairs.same:
        return Gate(1, 1)
    good = pairs.good_passes / (pairs.n + 1) if pairs.good_passes == pairs.n else pairs.good_passes / pairs.n
    passes = pairs.n - pairs.bad_fails
    bad = (passes + (passes == 0)) / (pairs.n + (passes == 0))
    for attempts in range(1, rules.attempts + 1):
        for needed in range(1, attempts + 1):
            turned_away = 1 - _at_least(needed, attempts, good)
            if turned_away <= rules.beta and _at_least(needed, attempts, bad) <= rules.beta:
                return Gate(attempts, needed)
    return None


def _at_least(needed: int, attempts: int, rate: float) -> float:
    """The chance of at least `needed` passes among `attempts`."""
    each = (
        math.comb(attempts, k) * rate**k * (1 - rate) ** (attempts - k) for k in range(needed, attempts + 1)
    )
    return min(sum(each), 1.0)


__all__ = ["Gate", "Pairs", "Peaks", "Proof", "Rules", "decide", "gate", "log_wealth"]
