"""Flags of a watch: one good-or-bad signal of runs, in the four groups, judged by e-values."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from evaluators.levels import (
    Outcomes,
    RateLevel,
    lifted,
    rate_over,
    rate_over_lately,
    rate_under,
)
from evaluators.mixture import CURVE, FISHER_PRIOR, THETAS, FloatArray, IntArray, log_mean_exp
from evaluators.proportions import fisher_log_ratio
from evaluators.watched import Group, Kind, Seen, SignalVerdict, WatchRules, Word
from lastgood.errors import InvalidEvidence

#: runs of the good bundle in the window from which the bad one is compared with it, and not with before
BESIDE_ENOUGH = 20
#: largest block of the comparison in the window: what drifts over it must not look like a difference
BLOCK = 200


@dataclass(frozen=True, slots=True)
class Harm:
    """How much worse the bad bundle was."""

    #: ln e-value, and the likeliest log odds ratio
    log_e: float
    theta: float


@dataclass(frozen=True, slots=True, eq=False)
class Strata:
    """Task types that have a level of their own, by place; whatever else comes is the last place."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, runs: pd.DataFrame, most: int = 20) -> "Strata":
        """The commonest task types before the window."""
        before = runs.loc[runs["group"] == Group.BEFORE, "stratum"]
        return cls(tuple(sorted(before.value_counts().index[:most].astype(str))))

    @property
    def size(self) -> int:
        """Places, the rest included."""
        return len(self.names) + 1

    def places(self, stratum: "pd.Series[str]") -> IntArray:
        """Each run's place, (runs,)."""
        known = {name: place for place, name in enumerate(self.names)}
        return np.array([known.get(str(name), len(known)) for name in stratum], dtype=np.int64)


def flag_verdict(seen: Seen, rules: WatchRules, strata: Strata, name: str) -> SignalVerdict:
    """Judge one flag; which word stands is decided in `evaluators.watching`, by all signals together."""
    groups = outcomes(seen.runs, strata, name)
    told = {str(group): found.n for group, found in groups.items()}
    shares = {str(group): found.share for group, found in groups.items()}
    missing = _missing(groups, name)
    if missing:
        return SignalVerdict(name, Word.NO_DATA, told, shares, "share", reason=missing)
    level = RateLevel.of(groups[Group.BEFORE], strata.size)
    worse = level.worse(rules.tolerance)
    after = groups[Group.AFTER]
    n, bad = after.counts(strata.size)
    log_still = rate_over(n, bad, worse)
    if seen.kind is Kind.PROMOTE:
        log_back = rate_under(n, bad, level.worse(rules.rule_out))
        own = _one_block(after, groups[Group.BESIDE])
        verdict = SignalVerdict(name, Word.QUIET, told, shares, "share", own, 0.0, log_still, log_back)
        return _located(verdict, after, worse, strata, rules)
    harm = _harm(seen, groups, strata, name)
    if name in seen.given:
        harm, line = Harm(np.inf, 0.0), _given_line(groups[Group.BAD], level, rules)
    else:
        line = lifted(level.rate, (1.0 - rules.recovery) * harm.theta)
    provable = harm.theta > 0.0 or name in seen.given
    log_back = rate_under(n, bad, line) if provable else 0.0
    log_beside = rate_over_lately(groups[Group.BESIDE], worse)
    verdict = SignalVerdict(
        name, Word.QUIET, told, shares, "share", min(harm.log_e, 700.0), log_beside, log_still, log_back
    )
    worst = after if log_still >= log_beside else groups[Group.BESIDE]
    return _located(verdict, worst, worse, strata, rules)


def outcomes(runs: pd.DataFrame, strata: Strata, name: str) -> dict[Group, Outcomes]:
    """The runs that said something on a flag, by group; InvalidEvidence on what is no flag."""
    bad = runs[name].to_numpy(dtype=np.float64, na_value=np.nan)
    known = ~np.isnan(bad)
    if not np.isin(bad[known], (0.0, 1.0)).all():
        raise InvalidEvidence(f"watch, column {name}: a run is good (0) or bad (1), nothing else")
    places = strata.places(runs["stratum"])
    group = runs["group"].to_numpy()
    return {g: Outcomes(places[known & (group == g)], bad[known & (group == g)]) for g in Group}


def _missing(groups: Mapping[Group, Outcomes], name: str) -> str:
    if not groups[Group.BEFORE].n:
        return f"no run before the window said anything on {name}: there is no level to go back to"
    if not groups[Group.AFTER].n:
        return f"no run since the switch said anything on {name}"
    return ""


def _harm(seen: Seen, groups: Mapping[Group, Outcomes], strata: Strata, name: str) -> Harm:
    """The bad bundle against the good one beside it, block by block; without one, against before."""
    if groups[Group.BESIDE].n >= BESIDE_ENOUGH:
        counts = _blocks(seen.runs, strata, name)
    else:
        bad, before = groups[Group.BAD], groups[Group.BEFORE]
        counts = np.array([[bad.n, bad.bad.sum(), before.n, before.bad.sum()]]).astype(np.int64)
    log_e = float(log_mean_exp(FISHER_PRIOR, fisher_log_ratio(counts, THETAS).sum(axis=0)))
    curve = fisher_log_ratio(counts, CURVE).sum(axis=0)
    return Harm(log_e, float(CURVE[int(np.argmax(curve))]) if curve.any() else 0.0)


def _blocks(runs: pd.DataFrame, strata: Strata, name: str) -> IntArray:
    """Counts n_c, y_c, n_b, y_b of each block in the window, (blocks, 4)."""
    inside = runs["group"].isin([Group.BAD, Group.BESIDE]) & runs["block"].notna() & runs[name].notna()
    held = runs.loc[inside]
    ours = (held["group"] == Group.BAD).to_numpy(dtype=np.float64)
    bad = held[name].to_numpy(dtype=np.float64)
    key = pd.MultiIndex.from_arrays([strata.places(held["stratum"]), held["block"]])
    columns = {"n_c": ours, "y_c": ours * bad, "n_b": 1.0 - ours, "y_b": (1.0 - ours) * bad}
    found = pd.DataFrame(columns, index=key).groupby(level=[0, 1], sort=True).sum()
    return found.to_numpy().astype(np.int64)


def _one_block(after: Outcomes, own: Outcomes) -> float:
    """Ln e-value for "worse since the promotion than the same bundle was as a candidate"."""
    counts = np.array([[after.n, after.bad.sum(), own.n, own.bad.sum()]]).astype(np.int64)
    return float(log_mean_exp(FISHER_PRIOR, fisher_log_ratio(counts, THETAS).sum(axis=0)))


def _given_line(bad: Outcomes, level: RateLevel, rules: WatchRules) -> FloatArray:
    """Where nothing needs proof: the rest of the bad bundle's own share that may not go on."""
    share = bad.share or 0.5
    return np.full(len(level.rate), max(min(share * (1.0 - rules.recovery), 0.5), 1e-6))


def _located(
    verdict: SignalVerdict, runs: Outcomes, worse: FloatArray, strata: Strata, rules: WatchRules
) -> SignalVerdict:
    """Name the slices that are worse where others, as large, are not: each by its own e-value."""
    n, bad = runs.counts(strata.size)
    seen = [place for place in range(len(strata.names)) if n[place] > 0]
    if len(seen) < 2:
        return verdict
    line = float(np.log(len(seen) / rules.alpha))
    proven = [place for place in seen if rate_over(n[[place]], bad[[place]], worse[[place]]) >= line]
    rest = [place for place in seen if place not in proven]
    spared = bool(rest) and rate_over(n[rest], bad[rest], worse[rest]) < 0.0
    named = tuple(strata.names[place] for place in proven) if spared else ()
    return replace(verdict, slices=named)


__all__ = ["BESIDE_ENOUGH", "Harm", "Strata", "flag_verdict", "outcomes"]
