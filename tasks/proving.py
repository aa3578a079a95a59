"""Proving a case: replayed on the bad bundle and the last known good, in pairs, until that decides."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from evaluators import paired
from evaluators.paired import Gate, Pairs, Peaks, Proof, Rules
from lastgood.bundle import Bundle
from lastgood.cases import Case, Judged
from lastgood.replaying import Means, Played, Replay

#: what each end means, for people
_WORDS = {
    Proof.BOTH_PASS: "it passes on both bundles: its checks do not see what was wrong, or the replay does "
    "not meet it; add a check with `lastgood cases edit`",
    Proof.BOTH_FAIL: "it fails on both bundles, so it tells nothing of the bad one ({why}); correct its "
    "checks or its fixtures with `lastgood cases edit`",
    Proof.REVERSED: "it passes on the bad bundle and fails on the last known good ({why}); correct its "
    "checks with `lastgood cases edit`",
    Proof.UNDECIDED: "{pairs} pairs did not decide: it failed in {bad} of {n} replays on the bad bundle and "
    "passed in {good} of {n} on the last known good; allow more pairs, or make its checks sharper",
}


@dataclass(frozen=True, slots=True)
class Proven:
    """What came of proving a case."""

    proof: Proof
    pairs: Pairs
    peaks: Peaks
    #: how it is tried in the gate; None where it is not admitted
    gate: Gate | None
    #: why it is not admitted; empty where it is
    reason: str = ""
    #: what the checks say on the bad bundle
    why: tuple[str, ...] = ()

    @property
    def admitted(self) -> bool:
        """Whether it may gate releases."""
        return self.gate is not None

    def to_json(self) -> dict[str, Any]:
        """Return the counts and log e-values, as a case keeps them."""
        counts = self.pairs
        return {
            "proof": str(self.proof), "pairs": counts.n, "bad_failed": counts.bad_fails,
            "good_passed": counts.good_passes, "apart": counts.apart, "against": counts.against,
            "same_every_time": counts.same, "log_e_apart": round(self.peaks.apart, 6),
            "log_e_good": round(self.peaks.good, 6),
        }  # fmt: skip


@dataclass(slots=True)
class _Side:
    """The replays on one bundle."""

    play: Callable[[], Played]
    case: Case
    #: of the first replay
    fingerprint: str = ""
    same: bool = True
    why: tuple[str, ...] = ()

    def judge(self) -> Judged:
        played = self.play()
        self.fingerprint = self.fingerprint or played.fingerprint
        self.same = self.same and played.fingerprint == self.fingerprint
        judged = self.case.judge(played)
        self.why = judged.why or self.why
        return judged


def prove(case: Case, replay: Replay, bundles: tuple[Bundle, Bundle], means: Means, rules: Rules) -> Proven:
    """Replay a case on (bad, good) in pairs until it is proven, hopeless, or out of pairs or dollars."""
    bad, good = (
        _Side(lambda bundle=bundle: replay.play(bundle, case.inputs, case.fixtures, means), case)  # type: ignore[misc]
        for bundle in bundles
    )
    pairs, peaks, proof = Pairs(), Peaks(), Proof.GO_ON
    while proof is Proof.GO_ON:
        first, second = bad.judge(), good.judge()
        stopped = _stopped((first, second), means)
        if stopped:
            return Proven(Proof.UNDECIDED, pairs, peaks, None, f"{stopped} (after {pairs.n} pairs)", bad.why)
        pairs = pairs.add(bad_fails=not first.passed, good_passes=second.passed, same=bad.same and good.same)
        peaks = peaks.seen(pairs)
        proof = paired.decide(pairs, peaks, rules)
    gate = paired.gate(pairs, rules) if proof is Proof.PROVEN else None
    return Proven(proof, pairs, peaks, gate, "" if gate else _reason(proof, pairs, rules, good.why), bad.why)


def _stopped(judged: tuple[Judged, ...], means: Means) -> str:
    """Why the pair shows nothing; empty where it does."""
    missing = next((one for one in judged if one.unanswered), None)
    if missing is not None:
        return f"{missing.why[0]}; record it anew with `lastgood cases record`"
    purse = means.purse
    if purse is not None and means.access.live and purse.spent_usd >= purse.ceiling_usd:
        return f"the ceiling of ${purse.ceiling_usd:.2f} for model calls is reached; raise it with --usd"
    return ""


def _reason(proof: Proof, pairs: Pairs, rules: Rules, good_why: tuple[str, ...]) -> str:
    if proof is Proof.PROVEN:
        return (
            f"it varies too much for a gate: it failed in {pairs.bad_fails} of {pairs.n} replays on the bad "
            f"bundle and passed in {pairs.good_passes} on the last known good, so {rules.attempts} attempts "
            f"would err in more than {rules.beta:.0%}; make its checks sharper"
        )
    return _WORDS[proof].format(
        why=good_why[0] if good_why else "", pairs=rules.pairs, n=pairs.n, bad=pairs.bad_fails,
        good=pairs.good_passes,
    )  # fmt: skip


__all__ = ["Proven", "prove"]
