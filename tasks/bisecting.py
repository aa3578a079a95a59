"""Bisecting an incident: its failing cases on hybrids of the two bundles, which are never registered."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluators import bisection
from evaluators.bisection import Blame, Shown
from lastgood import case_store, profile, registry
from lastgood.bundle import Bundle
from lastgood.bundle_diff import diff
from lastgood.case_store import Stored
from lastgood.cases import Case, attempt
from lastgood.errors import InvalidMove, NotFound
from lastgood.replaying import Means, Played, Replay, load
from lastgood.store.connection import Store, Transaction


@dataclass(frozen=True, slots=True)
class Finding:
    """What one case says."""

    case: str
    #: verdicts by kind of the part that was exchanged
    forward: dict[str, Shown]
    reverse: dict[str, Shown]
    blame: Blame


@dataclass(frozen=True, slots=True)
class Bisected:
    """What the cases of an incident say of the parts that changed."""

    bad: Bundle
    good: Bundle
    #: kinds of parts with another content
    changed: tuple[str, ...]
    findings: tuple[Finding, ...]
    #: kinds of parts that no replay read: a change in them can't be what failed
    unread: tuple[str, ...] = ()

    @property
    def layer(self) -> str:
        """The layer at fault, several where cases differ, `interaction`, or empty where nothing is told."""
        return bisection.agreed([finding.blame for finding in self.findings])


def find_cases(txn: Transaction, reference: str) -> list[Stored]:
    """Return the cases of an incident, or the one of that name; raises `NotFound` where there is none."""
    found = case_store.listed(txn, incident_id=reference)
    if found:
        return found
    try:
        return [case_store.read(txn, reference)]
    except NotFound as error:
        raise NotFound(
            f"{reference} has no regression case to bisect with; `lastgood cases make {reference}` makes them"
        ) from error


def bisect(store: Store, reference: str, replay: str, means: Means) -> Bisected:
    """Replay the cases of an incident, or one case, on every hybrid.

    Raises `NotFound` without a case, `InvalidMove` where nothing changed or no case fails on the bad bundle.
    """
    with store.reading() as txn:
        found = find_cases(txn, reference)
        first = found[0].draft
        bad, good = registry.read(txn, first.bad).bundle, registry.read(txn, first.good).bundle
        declared = replay or profile.read(txn, first.agent).replay or str(first.case.told.get("replay", ""))
    changed = tuple(part.kind for part in diff(good, bad) if not part.same_content)
    same = [each for each in found if (each.draft.bad, each.draft.good) == (first.bad, first.good)]
    agent = load(first.agent, declared)
    lab = _Lab(agent, bad, good, means)
    findings = tuple(
        lab.finding(each.case, changed)
        for each in same
        if lab.shown(each.case, bad) is Shown.FAILS and lab.shown(each.case, good) is Shown.PASSES
    )
    if not findings:
        raise InvalidMove(
            f"no case of {reference} fails on {bad.short} and passes on {good.short} in a replay, so hybrids "
            "would tell nothing: prove a case first (`lastgood cases prove`)"
        )
    return Bisected(bad, good, changed, findings, tuple(k for k in changed if k not in lab.read))


class _Lab:
    """Replays cases on bundles, and notes what is read of them."""

    def __init__(self, replay: Replay, bad: Bundle, good: Bundle, means: Means) -> None:
        self._replay, self._bad, self._good, self._means = replay, bad, good, means
        #: kinds of parts that a replay read
        self.read: set[str] = set()

    def finding(self, case: Case, changed: Sequence[str]) -> Finding:
        """What a case shows on the hybrids of each changed part."""
        forward = {kind: self.shown(case, hybrid(self._good, self._bad, kind)) for kind in changed}
        reverse = {kind: self.shown(case, hybrid(self._bad, self._good, kind)) for kind in changed}
        return Finding(case.name, forward, reverse, bisection.blame(forward, reverse))

    def shown(self, case: Case, bundle: Bundle) -> Shown:
        """What a case shows on a bundle, as often tried as in the gate."""
        tried = attempt(case, lambda: self._play(case, bundle))
        if tried.unanswered:
            return Shown.UNANSWERED
        return Shown.PASSES if tried.passed else Shown.FAILS

    def _play(self, case: Case, bundle: Bundle) -> Played:
        played = self._replay.play(bundle, case.inputs, case.fixtures, self._means)
        self.read |= played.read
        return played


def hybrid(bundle: Bundle, other: Bundle, kind: str) -> Bundle:
    """Return a bundle with one part of another."""
    return Bundle(other[kind] if part.kind == kind else part for part in bundle.parts)


__all__ = ["Bisected", "Finding", "bisect", "find_cases", "hybrid"]
