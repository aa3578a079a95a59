"""Amounts of a watch: what runs cost, and signals from outside, judged against what was usual before."""

import numpy as np

from evaluators.levels import (
    amount_over,
    amount_under,
    between,
    rate_over,
    rate_under,
)
from evaluators.mixture import FloatArray, log_mean_exp, log_sum_exp
from evaluators.residual_bet import COST_CENTRE, STAKES, stake_prior
from evaluators.tilt import tilt_log_e
from evaluators.watch_flags import BESIDE_ENOUGH
from evaluators.watched import SPEND, Group, Kind, Seen, Series, SignalVerdict, WatchRules, Word
from lastgood.errors import InvalidEvidence

#: level of history above which amounts are winsorised, and the least such cap in means
CAP_LEVEL, CAP_MEANS = 0.99, 3.0
#: runs of a block of the tilt
TILT = 100
#: level of a series before the window that counts as its usual end
USUAL = 0.95
#: points, and windows as long as the watch, that say what is usual
POINTS_ENOUGH, WINDOWS_ENOUGH = 20, 4
#: share of points past the usual that is tolerated: never less, and never more
LEAST_SHARE, MOST_SHARE = 0.1, 0.9
#: newest points at which a series may have become worse; 0: all
SUFFIXES = (0, 6, 12, 24, 48)
_SHARE = "share of points past the usual"


def spend_verdict(seen: Seen, rules: WatchRules) -> SignalVerdict:
    """Judge US dollars a run."""
    groups = _amounts(seen)
    told = {str(group): len(found) for group, found in groups.items()}
    means = {str(g): float(found.mean()) if len(found) else None for g, found in groups.items()}
    before, after = groups[Group.BEFORE], groups[Group.AFTER]
    if not len(before) or not before.sum() > 0.0 or not len(after):
        which = "before the window" if not len(before) or not before.sum() > 0.0 else "since the switch"
        return SignalVerdict(
            SPEND, Word.NO_DATA, told, means, "USD a run", reason=f"no run {which} said what it cost"
        )
    mean = float(before.mean())
    upper = mean + 1.645 * float(before.std()) / float(np.sqrt(len(before)))
    worse = upper * rules.tolerance
    cap = max(float(np.quantile(before, CAP_LEVEL)), CAP_MEANS * mean)
    log_still = amount_over(after, worse)
    if seen.kind is Kind.PROMOTE:
        back = amount_under(after, min(mean * rules.rule_out, MOST_SHARE * cap), cap)
        own = groups[Group.BESIDE]
        harm = _apart(after, own, cap) if len(own) else 0.0
        return SignalVerdict(SPEND, Word.QUIET, told, means, "USD a run", harm, 0.0, log_still, back)
    bad, beside = groups[Group.BAD], groups[Group.BESIDE]
    harm = _apart(bad, beside, cap) if len(beside) >= BESIDE_ENOUGH else amount_over(bad, upper)
    spent = float(bad.mean()) if len(bad) else 0.0
    line = mean * (spent / mean) ** (1.0 - rules.recovery) if spent > mean else 0.0
    back = amount_under(after, min(line, MOST_SHARE * cap), cap) if line > mean else 0.0
    return SignalVerdict(
        SPEND, Word.QUIET, told, means, "USD a run", harm, amount_over(beside, worse), log_still, back
    )


def _amounts(seen: Seen) -> dict[Group, FloatArray]:
    """What the runs of each group cost; InvalidEvidence on amounts that can't be."""
    spent = seen.runs[SPEND].to_numpy(dtype=np.float64, na_value=np.nan)
    known, group = ~np.isnan(spent), seen.runs["group"].to_numpy()
    if not np.isfinite(spent[known]).all() or (spent[known] < 0.0).any():
        raise InvalidEvidence(f"watch, column {SPEND}: an amount is finite and not negative")
    return {g: spent[known & (group == g)] for g in Group}


def _apart(ours: FloatArray, theirs: FloatArray, cap: float) -> float:
    """Ln e-value for "ours are larger", by the permutation tilt over blocks of both in their order."""
    both = np.minimum(np.append(ours, theirs), cap)
    centre, sd = float(both.mean()), float(both.std())
    if not len(ours) or not len(theirs) or sd <= 0.0:
        return 0.0
    blocks = -(-len(both) // TILT)
    total = np.zeros(len(STAKES))
    for mine, other in zip(np.array_split(ours, blocks), np.array_split(theirs, blocks), strict=True):
        scores = tuple((np.minimum(part, cap) - centre) / sd for part in (mine, other))
        total += tilt_log_e(scores[0], scores[1], STAKES)
    return float(log_mean_exp(stake_prior(COST_CENTRE), total))


def series_verdict(series: Series, seen: Seen, rules: WatchRules) -> SignalVerdict:
    """Judge one outside signal by its points past what was usual.

    Past the usual is beyond the 95% level of the points before the window. The tolerated share of such points
    is the largest that any stretch before, as long as the watch, had: neighbouring points are alike, and a
    series that strays for hours by itself proves nothing by straying. An approximation, not an exact
    e-process: only stretches of its own past vouch for it.
    """
    groups = series_groups(series, seen)
    told = {str(group): len(found) for group, found in groups.items()}
    none: dict[str, float | None] = dict.fromkeys(told)
    why = _unusable(series, groups)
    if why:
        return SignalVerdict(series.name, Word.NO_DATA, told, none, _SHARE, reason=why)
    line, tolerated = usual(groups[Group.BEFORE], seen)
    past = {g: (found[:, 1] > line).astype(np.float64) for g, found in groups.items()}
    shares = {str(g): float(found.mean()) if len(found) else None for g, found in past.items()}
    after, during = past[Group.AFTER], past[Group.BAD]
    rate = np.array([tolerated])
    harm = _over_lately(during, rate)
    worst = max((float(during[-k:].mean()) for k in _lengths(len(during))), default=0.0)
    back = 0.0
    if worst > tolerated:
        ends = np.array([between(tolerated, min(worst, MOST_SHARE + 0.05), rules.recovery)])
        back = rate_under(np.array([float(len(after))]), np.array([after.sum()]), ends)
    still = rate_over(np.array([float(len(after))]), np.array([after.sum()]), rate)
    if seen.kind is Kind.PROMOTE:
        harm, back = 0.0, 0.0
    return SignalVerdict(series.name, Word.QUIET, told, shares, _SHARE, harm, 0.0, still, back)


def series_groups(series: Series, seen: Seen) -> dict[Group, FloatArray]:
    """Its points as (time, badness), (points, 2), by group; the window's stand under BAD.

    InvalidEvidence on a value that is no number, or on times that do not rise.
    """
    points = np.array(series.points, dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(points).all():
        raise InvalidEvidence(
            f"watch, signal {series.name}: a value is no finite number; leave the point out"
        )
    if (np.diff(points[:, 0]) < 0.0).any():
        raise InvalidEvidence(f"watch, signal {series.name}: its points do not rise in time")
    at = points[:, 0]
    worse = points * np.array([1.0, 1.0 if series.lower_is_better else -1.0])
    return {
        Group.BEFORE: worse[at < seen.from_us],
        Group.BAD: worse[(at >= seen.from_us) & (at < seen.at_us)],
        Group.BESIDE: worse[:0],
        Group.AFTER: worse[(at >= seen.at_us) & (at <= seen.until_us)],
    }


def _unusable(series: Series, groups: dict[Group, FloatArray]) -> str:
    if series.absent:
        return series.absent
    if len(groups[Group.BEFORE]) < POINTS_ENOUGH:
        return f"{len(groups[Group.BEFORE])} points before the window, {POINTS_ENOUGH} say what is usual"
    if not len(groups[Group.AFTER]):
        return "no point since the switch"
    return ""


def usual(before: FloatArray, seen: Seen) -> tuple[float, float]:
    """The badness past which a point is unusual, and the share of such points that is tolerated."""
    line = float(np.quantile(before[:, 1], USUAL))
    length = max(seen.until_us - seen.at_us, 1)
    stretch = ((before[-1, 0] - before[:, 0]) // length).astype(np.int64)
    past = (before[:, 1] > line).astype(np.float64)
    n = np.bincount(stretch)
    shares = np.bincount(stretch, weights=past)[n > 0] / n[n > 0]
    most = float(shares.max()) if len(shares) >= WINDOWS_ENOUGH else MOST_SHARE
    return line, min(max(most, LEAST_SHARE), MOST_SHARE)


def _lengths(points: int) -> list[int]:
    return [newest or points for newest in SUFFIXES if newest < points]


def _over_lately(past: FloatArray, rate: FloatArray) -> float:
    found = [rate_over(np.array([float(k)]), np.array([past[-k:].sum()]), rate) for k in _lengths(len(past))]
    return float(log_sum_exp(found) - np.log(len(SUFFIXES))) if found else 0.0


__all__ = ["series_groups", "series_verdict", "spend_verdict", "usual"]
