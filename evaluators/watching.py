"""Watching: did the switch help, or is the cause elsewhere? A pure function of what was seen.

After a revert, in this order:

1. `elsewhere`, where the good bundle, serving again, is proven worse than it was before the window;
2. `fixed`, where the bad bundle is proven worse than the good one beside it (before it, where none served
   beside it), and of every signal that proves it at least the policy's part of the harm is proven gone;
3. `elsewhere`, where the good bundle is proven worse than before in the window too;
4. `inconclusive`: a person looks.

After a promotion: worse than before is `elsewhere` only where the promoted bundle is worse than it was itself
as the candidate, else the bundle may be at fault and a person looks; `fixed` (it holds) where the policy's
odds ratio is ruled out on every core signal. Each e-value may be looked at at any time (STATISTICS.md,
section 2(f)).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from evaluators.mixture import log_family
from evaluators.watch_amounts import series_verdict, spend_verdict
from evaluators.watch_flags import Strata, flag_verdict
from evaluators.watch_hints import hints
from evaluators.watched import (
    CORE,
    FLAGS,
    SPEND,
    Answer,
    Group,
    Kind,
    Seen,
    SignalVerdict,
    Watched,
    WatchRules,
    Word,
)
from lastgood.errors import InvalidEvidence


def judge(seen: Seen, rules: WatchRules) -> Watched:
    """The verdict on what was seen; raises InvalidEvidence on numbers that can't be."""
    _check(seen, rules)
    strata = Strata.of(seen.runs)
    raw = [flag_verdict(seen, rules, strata, name) for name in FLAGS]
    raw.append(spend_verdict(seen, rules))
    raw += [series_verdict(series, seen, rules) for series in seen.series]
    signals = _worded(raw, seen, rules)
    absent = tuple((s.name, s.absent) for s in seen.series if s.absent)
    decide = _promoted if seen.kind is Kind.PROMOTE else _reverted
    answer, reason = decide(seen, rules, signals)
    return Watched(answer, reason, signals, hints(seen, rules, signals), absent)


def _check(seen: Seen, rules: WatchRules) -> None:
    if not seen.from_us <= seen.at_us <= seen.until_us:
        raise InvalidEvidence(
            "watch: the window begins before the switch, and the switch is no later than now"
        )
    if not 0.0 < rules.alpha < 1.0 or rules.tolerance < 1.0 or not 0.0 < rules.recovery < 1.0:
        raise InvalidEvidence(f"watch: {rules} can't be; alpha and recovery are between 0 and 1")
    missing = {"group", "stratum", "block", "at_us", *FLAGS, SPEND} - set(seen.runs.columns)
    if missing:
        raise InvalidEvidence(f"watch: the runs lack the columns {sorted(missing)}")


def _worded(raw: Sequence[SignalVerdict], seen: Seen, rules: WatchRules) -> tuple[SignalVerdict, ...]:
    """Give each signal its word; what is called worse has to stand among all signals."""
    told = [s for s in raw if s.word is not Word.NO_DATA]
    still = _proven(told, [s.log_still for s in told], rules.alpha / 2.0)
    beside = _proven(told, [s.log_beside for s in told], rules.alpha / 2.0)
    harmed = _harmed(told, seen, rules)
    held = {s.name for s in told if s.log_back >= -np.log(rules.alpha)}

    def word(signal: SignalVerdict) -> Word:
        if signal.word is Word.NO_DATA:
            return Word.NO_DATA
        if signal.name in still:
            return Word.STILL
        if seen.kind is Kind.PROMOTE:
            return Word.BACK if signal.name in held else Word.QUIET
        if signal.name in harmed:
            return Word.BACK if signal.name in held else Word.UNDECIDED
        return Word.BESIDE if signal.name in beside else Word.QUIET

    worded = (replace(s, word=word(s)) for s in raw)
    return tuple(replace(s, reason=s.reason or _said(s, seen)) for s in worded)


def _proven(signals: Sequence[SignalVerdict], logs: Sequence[float], alpha: float) -> set[str]:
    """The signals that prove it: the mean of their e-values has to cross 1/alpha.

    Those over their own line are named, else the one that weighs most.
    """
    if not signals:
        return set()
    found = np.array(logs, dtype=np.float64)
    if float(log_family(np.full(len(found), 1.0 / len(found)), found)) < -np.log(alpha):
        return set()
    line = -float(np.log(alpha / len(found)))
    named = {s.name for s, log_e in zip(signals, logs, strict=True) if log_e >= line}
    return named or {signals[int(np.argmax(found))].name}


def _harmed(signals: Sequence[SignalVerdict], seen: Seen, rules: WatchRules) -> set[str]:
    """Signals whose harm in the window is proven: once the family's is, each that says so by itself too."""
    known = {s.name for s in signals if s.name in (*seen.given, *seen.proven)}
    if not known and not _proven(signals, [s.log_harm for s in signals], rules.alpha):
        return set()
    return known | {s.name for s in signals if s.log_harm >= -np.log(rules.alpha)}


def _said(signal: SignalVerdict, seen: Seen) -> str:
    """One clause for people, with both levels."""
    before, after = signal.level[Group.BEFORE], signal.level[Group.AFTER]
    bad = signal.level.get(Group.BAD)
    parts = [f"{_shown(before, signal.unit)} before"]
    if bad is not None and seen.kind is Kind.REVERT:
        parts.append(f"{_shown(bad, signal.unit)} in the window")
    parts.append(f"{_shown(after, signal.unit)} since, over {signal.n[Group.AFTER]}")
    return ", ".join(parts)


def _shown(level: float | None, unit: str) -> str:
    if level is None:
        return "nothing"
    return f"${level:.3g}" if unit.startswith("USD") else f"{level:.1%}"


def _named(signals: Sequence[SignalVerdict], *words: Word) -> list[str]:
    return [s.name for s in signals if s.word in words]


def _reverted(seen: Seen, rules: WatchRules, signals: Sequence[SignalVerdict]) -> tuple[Answer, str]:
    still, back = _named(signals, Word.STILL), _named(signals, Word.BACK)
    open_, beside = _named(signals, Word.UNDECIDED), _named(signals, Word.BESIDE)
    absent = [s.name for s in seen.series if s.absent and s.required]
    if still:
        return Answer.ELSEWHERE, (
            f"{', '.join(still)}: worse than before the window with the good bundle serving again, "
            "so the bundle that was left is not the cause, or not alone"
        )
    if back and not open_:
        if absent:
            return Answer.INCONCLUSIVE, f"{', '.join(back)} came back, but {', '.join(absent)} can't be read"
        return Answer.FIXED, (
            f"{', '.join(back)}: worse on the bundle that was left, "
            f"and at least {rules.recovery:.0%} of it is proven gone"
        )
    if beside and not open_:
        return Answer.ELSEWHERE, (
            f"{', '.join(beside)}: worse than before on the good bundle too while the other one served, "
            "and nothing proves the bundle that was left worse than it"
        )
    if open_:
        return Answer.INCONCLUSIVE, f"{', '.join(open_)}: harm is proven, its end is not yet"
    return Answer.INCONCLUSIVE, _nothing(seen, signals)


def _promoted(seen: Seen, rules: WatchRules, signals: Sequence[SignalVerdict]) -> tuple[Answer, str]:
    still = [s for s in signals if s.word is Word.STILL]
    if still:
        own = [s.name for s in still if s.log_harm >= -np.log(rules.alpha / len(still))]
        names = ", ".join(s.name for s in still)
        if own:
            return Answer.ELSEWHERE, (
                f"{names}: worse than before the promotion, and {', '.join(own)} worse than the same bundle "
                "was as the candidate: something changed since"
            )
        return Answer.INCONCLUSIVE, (
            f"{names}: worse than before the promotion, and no worse than as the candidate where that is "
            "known: the promoted bundle may be at fault; `lastgood rollback` puts the one before it back"
        )
    core = [s for s in signals if s.name in CORE and s.word is not Word.NO_DATA]
    unproven = [s.name for s in core if s.word is not Word.BACK]
    absent = [s.name for s in seen.series if s.absent and s.required]
    if not core or unproven:
        what = f"{', '.join(unproven)}: not yet proven to hold" if unproven else _nothing(seen, signals)
        return Answer.INCONCLUSIVE, what
    if absent:
        return Answer.INCONCLUSIVE, f"it holds, but {', '.join(absent)} can't be read"
    held = ", ".join(s.name for s in core)
    return Answer.FIXED, f"the promotion holds: {rules.rule_out:g} times the odds are ruled out on {held}"


def _nothing(seen: Seen, signals: Sequence[SignalVerdict]) -> str:
    after = max((s.n.get(Group.AFTER, 0) for s in signals if s.name in (*FLAGS, SPEND)), default=0)
    if not after:
        return "no run since the switch: nothing can be said; check that the agent serves"
    bad = max((s.n.get(Group.BAD, 0) for s in signals if s.name in (*FLAGS, SPEND)), default=0)
    if seen.kind is Kind.REVERT and not bad:
        return "the bundle that was left has no run in the window: nothing says what it did"
    return f"nothing is proven by {bad} runs of the bundle that was left and {after} since"


__all__ = ["judge"]
