"""Situations that the model must have been in: a test that never gets there holds nothing."""

from collections import Counter

#: each has to be reached at least once
SOMETIMES = (
    "a ceiling was reached",
    "a bundle was tampered with",
    "a dead writer left its word odd",
    "a decision for the candidate",
    "a duplicate outcome",
    "a keyed action repeated",
    "a late action let through",
    "a late action refused",
    "a late report after the release ended",
    "a late report before the outcome",
    "a late report twice",
    "a look: harm",
    "a look: no_data",
    "a process died",
    "a rate or a cost fired",
    "a report without its token",
    "a router cut off served within its lease",
    "a router served the baseline for not knowing",
    "a run: baseline by cap",
    "a run: baseline by killed",
    "a run: baseline by lapsed",
    "a run: candidate by conversation",
    "a run: candidate by split",
    "a stage was retried",
    "an action in doubt was made again",
    "an incident was closed by a case",
    "an incident was closed by a reason",
    "an event restored after a promotion",
    "an event reverted",
    "an event reverted while a person was asked",
    "crash after the commit",
    "crash inside a transaction",
    "killed while serving",
    "lapsed and reopened",
    "lapsed before it was renewed",
    "lapsed while serving",
    "promote of an ended release",
    "promoted by evidence",
    "race lost",
    "refused: CapReached",
    "refused: InDoubt",
    "refused: LiveRelease",
    "refused: Quarantined",
    "refused: StaleDriver",
    "revert during an open action",
    "revert with a router cut off",
    "rolled back to an earlier bundle",
    "stale driver",
    "the control point was tampered with",
    "the ledger was tampered with",
    "the wall clock was set",
)


def never(reached: Counter[str]) -> list[str]:
    """Situations that were never reached."""
    return [name for name in SOMETIMES if not reached[name]]
