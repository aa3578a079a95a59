"""Drifting: whether a bundle that serves still behaves as it did when it began to serve here.

What nobody released can change too: a provider answers with another model under the same name, a tool goes
bad. Two watches: the models that runs report against those that the bundle pins, and the e-CUSUM of each bad
outcome (`evaluators.monitors.Drift`) against the bundle's own first runs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from evaluators.monitors import Drift
from evaluators.references import upper_rate

#: outcomes that are watched: whether the run was bad, None where it said nothing
OUTCOMES = ("completion", "validation", "escalation")
#: first runs of a bundle here that say what is usual
FIRST = 300
#: how many times the odds of a bad run a drift is: what the e-CUSUM bets on
ODDS = 2.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One run of the bundle, its outcome final."""

    run_id: str
    #: by outcome: whether it was bad
    bad: Mapping[str, bool]
    #: names of the models that answered
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """Something changed underneath the bundle."""

    #: `model` or `outcome`
    kind: str
    #: the model's name, or the outcome's
    name: str
    run_id: str
    #: one sentence for people
    detail: str


@dataclass(frozen=True, slots=True)
class Rate:
    """The watch of one outcome."""

    #: the bundle's first runs: how many said anything, and how many were bad
    n: int = 0
    bad: int = 0
    #: ln M of the e-CUSUM
    log_m: float = 0.0
    #: whether it alarmed and has not come back since
    alarmed: bool = False
    #: runs since the first ones, and bad ones, since M last stood at its floor: what an alarm tells
    since: int = 0
    since_bad: int = 0

    def add(self, *, bad: bool) -> "Rate":
        """The watch after one more run; the first `FIRST` only say what is usual."""
        if self.n < FIRST:
            return replace(self, n=self.n + 1, bad=self.bad + bad)
        drift = self._drift().add(bad=bad)
        if drift.log_m <= 0.0:
            return replace(self, log_m=0.0, alarmed=False, since=0, since_bad=0)
        alarmed = self.alarmed or drift.alarms
        since, since_bad = self.since + 1, self.since_bad + bad
        return replace(self, log_m=drift.log_m, alarmed=alarmed, since=since, since_bad=since_bad)

    def _drift(self) -> Drift:
        healthy = min(upper_rate(self.n, self.bad), 0.95)
        odds = ODDS * healthy / (1.0 - healthy)
        return Drift(healthy, odds / (1.0 + odds), self.log_m)


@dataclass(frozen=True, slots=True)
class Watch:
    """How far the watch of a bundle is."""

    rates: Mapping[str, Rate] = field(default_factory=dict)
    #: models that are known: those that answered while the watch was young, and every one that was told of
    models: tuple[str, ...] = ()
    #: runs seen
    runs: int = 0

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        rates = {name: asdict(rate) for name, rate in self.rates.items()}
        return {"rates": rates, "models": list(self.models), "runs": self.runs}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Watch":
        """Read what `to_json` wrote."""
        rates = {name: Rate(**rate) for name, rate in raw["rates"].items()}
        return cls(rates, tuple(raw["models"]), raw["runs"])

    def after(self, runs: Iterable[Seen], pinned: Sequence[str]) -> tuple["Watch", list[Change]]:
        """The watch after more runs, in their order, and what changed at them.

        `pinned` are the model names of the bundle; empty: it pins none, and the first to answer are taken
        as pinned.
        """
        watch, changes = self, list[Change]()
        for run in runs:
            watch, found = watch._after_one(run, pinned)
            changes += found
        return watch, changes

    def _after_one(self, run: Seen, pinned: Sequence[str]) -> tuple["Watch", list[Change]]:
        changes, models = [], self.models
        for model in run.models:
            if model in models:
                continue
            if not _expected(model, pinned, models):
                changes.append(_another_model(run, model, pinned or models))
            models = (*models, model)
        rates = dict(self.rates)
        for name, bad in run.bad.items():
            before = rates.get(name, Rate())
            rates[name] = before.add(bad=bad)
            if rates[name].alarmed and not before.alarmed:
                changes.append(_worse(run, name, rates[name]))
        return Watch(rates, models, self.runs + 1), changes


def _expected(model: str, pinned: Sequence[str], known: Sequence[str]) -> bool:
    """Whether a model that was not seen before is what the bundle pins.

    A provider may answer `small-2026-10-01` to `small`: the first such name is what the alias means, and a
    second one is the change.
    """
    if model in pinned:
        return True
    aliases = [name for name in pinned if model.startswith(name)]
    if aliases:
        return not any(seen not in pinned and seen.startswith(max(aliases, key=len)) for seen in known)
    return not pinned and not known


def _another_model(run: Seen, model: str, expected: Sequence[str]) -> Change:
    named = ", ".join(expected) or "none"
    return Change("model", model, run.run_id, f"{model} answered, where the bundle has had {named}")


def _worse(run: Seen, name: str, rate: Rate) -> Change:
    usual, now = rate.bad / rate.n, rate.since_bad / rate.since
    detail = (
        f"{name} got worse: {now:.1%} bad in the last {rate.since} runs, "
        f"{usual:.1%} in the first {rate.n} of this bundle (e-CUSUM {np.exp(min(rate.log_m, 50.0)):,.0f})"
    )
    return Change("outcome", name, run.run_id, detail)


__all__ = ["FIRST", "ODDS", "OUTCOMES", "Change", "Rate", "Seen", "Watch"]
