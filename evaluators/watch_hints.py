"""Hints of a watch: what points elsewhere than at the bundle that was left."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from evaluators.levels import Outcomes, RateLevel, rate_over
from evaluators.watched import Group, Hint, Kind, Seen, SignalVerdict, WatchRules, Word

#: calls of a tool before the window that say how often it fails
CALLS_ENOUGH = 20
#: names that are shown of a list
_SHOWN = 5


def hints(seen: Seen, rules: WatchRules, signals: Sequence[SignalVerdict]) -> tuple[Hint, ...]:
    """Everything that points elsewhere, the strongest first; facts that decide nothing by themselves too."""
    return (*_worse(seen, signals), *_models(seen), *_slices(signals), *_tools(seen, rules))


def _worse(seen: Seen, signals: Sequence[SignalVerdict]) -> Iterator[Hint]:
    still = [s.name for s in signals if s.word is Word.STILL]
    beside = [s.name for s in signals if s.word is Word.BESIDE]
    if still:
        served = "since the promotion" if seen.kind is Kind.PROMOTE else "with the good bundle serving again"
        yield Hint("still", f"{', '.join(still)}: worse than before {served}")
    if beside:
        yield Hint(
            "beside", f"{', '.join(beside)}: the good bundle was worse than before in the window as well"
        )


def _models(seen: Seen) -> Iterator[Hint]:
    """Models that answered now and neither before nor by the bundle's own model part."""
    named = {group: _names(seen.runs, group) for group in Group}
    known = named[Group.BEFORE] | seen.pinned
    if seen.kind is Kind.PROMOTE:
        known |= named[Group.BESIDE]
    now = named[Group.AFTER] | (named[Group.BESIDE] if seen.kind is Kind.REVERT else frozenset())
    new = sorted(now - known)
    if new and known:
        yield Hint(
            "model",
            f"the model changed under the same bundle: {_list(new)} answered, before {_list(sorted(known))}",
        )


def _names(runs: pd.DataFrame, group: Group) -> frozenset[str]:
    if "models" not in runs:
        return frozenset()
    mine = runs.loc[runs["group"] == group, "models"]
    return frozenset(name for names in mine for name in names)


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _slices(signals: Sequence[SignalVerdict]) -> Iterator[Hint]:
    for signal in signals:
        if signal.slices and signal.word in {Word.STILL, Word.BESIDE}:
            yield Hint("slice", f"{signal.name}: worse in {_list(signal.slices)} alone")


def _tools(seen: Seen, rules: WatchRules) -> Iterator[Hint]:
    """Tools whose calls by the good bundle fail more often than before."""
    calls = seen.calls
    names = sorted(set(calls["tool"]))
    for tool in names:
        mine = calls.loc[calls["tool"] == tool]
        before = _failed(mine, (Group.BEFORE,))
        since = _failed(mine, (Group.AFTER,) if seen.kind is Kind.PROMOTE else (Group.BESIDE, Group.AFTER))
        if before.n < CALLS_ENOUGH or not since.n:
            continue
        worse = RateLevel.of(before, 1).worse(rules.tolerance)
        if rate_over(*since.counts(1), worse) >= np.log(len(names) / rules.alpha):
            yield Hint(
                "tool",
                f"the tool {tool} fails: {since.bad.sum():.0f} of {since.n} calls by the good bundle, "
                f"{before.bad.sum():.0f} of {before.n} before",
            )


def _failed(calls: pd.DataFrame, groups: tuple[Group, ...]) -> Outcomes:
    bad = calls.loc[calls["group"].isin(groups), "failed"].to_numpy(dtype=np.float64)
    return Outcomes(np.zeros(len(bad), dtype=np.int64), bad)


__all__ = ["hints"]
