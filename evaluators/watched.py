"""What a watch is given and what it answers: frozen values, in the words that people read.

A watch follows a switch of bundles. Its runs fall into four groups: before the window, the bundle that was
left, the good bundle beside it, and the good bundle after the switch.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

import pandas as pd

#: flags of runs that a watch reads, in the order of reports; a column holds 1.0 bad, 0.0 good, NaN not said
FLAGS = ("errors", "completion", "validation", "escalation", "incidents", "events")
#: those that say whether the agent works at all: after a promotion each of them has to hold
CORE = ("completion", "validation")
#: US dollars a run
SPEND = "spend"


class Kind(StrEnum):
    """Which switch is watched."""

    REVERT = "revert"  #: a bundle was left for the last known good: did it help?
    PROMOTE = "promote"  #: a candidate became the last known good: does it hold?


class Group(StrEnum):
    """Which runs; `good` is the bundle that serves after the switch."""

    BEFORE = "before"  #: revert: the good bundle before the window; promote: the bundle that was left
    BAD = "bad"  #: revert: the bundle that was left, in the window
    BESIDE = "beside"  #: the good bundle in the window; promote: as the candidate
    AFTER = "after"  #: the good bundle since the switch


class Answer(StrEnum):
    """How a watch ends."""

    FIXED = "fixed"  #: what the switch was to bring is proven: the harm is gone, or the promotion holds
    ELSEWHERE = "elsewhere"  #: the good bundle itself is worse than it was: the cause is not the bundle
    INCONCLUSIVE = "inconclusive"  #: neither is proven: a person looks


class Word(StrEnum):
    """What a watch says of one signal."""

    BACK = "back"  #: the window proved harm, and half of it at least is proven gone; promote: it holds
    STILL = "still worse"  #: proven worse than before, with the good bundle serving
    BESIDE = "worse beside it too"  #: the good bundle was proven worse while the bad one served
    UNDECIDED = "undecided"  #: harm is proven, its end is not
    QUIET = "quiet"  #: no harm is proven, then or now
    NO_DATA = "no data"


@dataclass(frozen=True, slots=True)
class WatchRules:
    """The thresholds of a watch, from the policy."""

    #: chance that a healthy bundle is called worse, and that harm which goes on is called gone
    alpha: float = 0.05
    #: ratio of odds (of amounts: of means) up to which a level is no worse than before
    tolerance: float = 1.25
    #: part of the harm, in log odds, that has to be proven gone, 0..1
    recovery: float = 0.5
    #: ratio of odds that has to be ruled out after a promotion
    rule_out: float = 3.0


@dataclass(frozen=True, slots=True)
class Series:
    """One outside signal: numbers over time, or why there are none."""

    name: str
    #: (microseconds UTC, value), rising in time
    points: tuple[tuple[int, float], ...] = ()
    #: why it can't be read; empty where it can
    absent: str = ""
    #: whether less is better
    lower_is_better: bool = True
    #: whether no `fixed` is said without it
    required: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Everything that a verdict is made of."""

    kind: Kind
    #: one run a row, in the order of assignment: `group`, `stratum`, `block` (NaN: not compared), `at_us`,
    #: `models` (tuple of names), the columns of FLAGS and SPEND
    runs: pd.DataFrame
    #: microseconds UTC: where the window begins, when it was switched, and up to when was read
    from_us: int
    at_us: int
    until_us: int
    series: tuple[Series, ...] = ()
    #: signals whose harm needs no proof: an event that is not tolerated on its first occurrence (`events`)
    given: tuple[str, ...] = ()
    #: signals whose harm the release's own evidence has proven
    proven: tuple[str, ...] = ()
    #: models that the good bundle's model part names; empty where it names none
    pinned: frozenset[str] = frozenset()
    #: calls of tools: columns `group`, `tool`, `failed` (0.0 or 1.0)
    calls: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame({"group": [], "tool": [], "failed": pd.Series([], dtype=float)})
    )


@dataclass(frozen=True, slots=True)
class SignalVerdict:
    """What is known of one signal."""

    name: str
    word: Word
    #: runs (or points of a series) that said something, by group
    n: Mapping[str, int]
    #: their bad share, or mean amount, by group; None where none said anything
    level: Mapping[str, float | None]
    #: `share`, `USD a run` or `share of points past the usual`
    unit: str
    #: natural logs of e-values: harm in the window; good bundle worse beside the bad one; still worse; back
    log_harm: float = 0.0
    log_beside: float = 0.0
    log_still: float = 0.0
    log_back: float = 0.0
    #: slices (task types) that alone are worse
    slices: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Hint:
    """Something that points elsewhere."""

    #: `still`, `beside`, `model`, `slice` or `tool`
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Watched:
    """The verdict of a watch."""

    answer: Answer
    #: one sentence for people
    reason: str
    signals: tuple[SignalVerdict, ...]
    hints: tuple[Hint, ...] = ()
    #: outside signals that could not be read, with the reason
    absent: tuple[tuple[str, str], ...] = ()

    @property
    def runs_after(self) -> int:
        """Most runs that any signal of runs was judged by after the switch."""
        return max((s.n.get(Group.AFTER, 0) for s in self.signals if s.name in (*FLAGS, SPEND)), default=0)

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        signals = tuple(
            SignalVerdict(**{**raw, "word": Word(raw["word"]), "slices": tuple(raw["slices"])})
            for raw in data["signals"]
        )
        hints = tuple(Hint(**raw) for raw in data["hints"])
        absent = tuple((name, why) for name, why in data["absent"])
        return cls(Answer(data["answer"]), data["reason"], signals, hints, absent)


__all__ = [
    "CORE", "FLAGS", "SPEND", "Answer", "Group", "Hint", "Kind", "Seen", "Series", "SignalVerdict",
    "WatchRules", "Watched", "Word",
]  # fmt: skip
