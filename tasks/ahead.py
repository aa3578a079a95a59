"""What lies ahead of a release, in sentences: who is asked, what holds it, what comes after its end."""

from collections.abc import Callable
from typing import Any

from lastgood import approving, freezing, points
from lastgood.moves import in_command
from lastgood.release import ReleaseState
from lastgood.shown import percent, short, when
from lastgood.store import approving as sql_of
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Transaction
from tasks.comparison import Frozen

#: what a release's revert opened
_INCIDENTS = "SELECT * FROM incident WHERE release_id = :release_id ORDER BY opened_us, id"
#: what a person is asked to approve, in words
_WHAT = {
    "start": "the first share",
    "step": "the next step",
    "promote": "the promotion",
    "undecided": "what the evidence left undecided",
}


def lines(txn: Transaction, row: Row, plain: Callable[[str], str] = str) -> list[str]:
    """What happens next with a release, a sentence each, the most pressing first.

    `plain` makes what people wrote harmless where the lines are shown.
    """
    state = ReleaseState(row["state"])
    if state.live:
        return [*_asked(txn, row, plain), *_held(txn, row), *_live(txn, row)]
    if state is ReleaseState.REVERTED:
        return [*_after_revert(txn, row), "The baseline serves everybody."]
    return ["The candidate is the last known good now; triggers put the one before back while it is watched."]


def asked_for(asked: Row) -> str:
    """What a person is asked, and under which conditions, in words."""
    more = ", with a one-time code" if asked["level"] == "verified" else ""
    more += ", by nobody who wrote or started it" if asked["not_author"] else ""
    return f"{_WHAT[asked['what']]} until {when(asked['expires_us'])}{more}"


def _named(row: Row) -> str:
    return in_command(row["agent"], row["environment"])


def _asked(txn: Transaction, row: Row, plain: Callable[[str], str]) -> list[str]:
    asked = approving.open_question(txn, row["agent"], row["environment"])
    if asked is not None:
        way = f"`lastgood approve {_named(row)} --decision promote|revert|wait --reason ...`"
        seen = asked["evidence"][:12]
        said = f"**a person has to approve {asked_for(asked)}** (evidence {seen}): the form of its run, or"
        return [f"{said} {way}. Undecided it is reverted"]
    asked = approving.newest(txn, row["id"])
    if asked is not None and asked["decision"] == "promote" and row["state"] in approving.ASKED:
        who, reason = plain(asked["who"]), plain(asked["reason"])
        return [f"{who} approved {_WHAT[asked['what']]} ({asked['level']}): {reason}"]
    return []


def _held(txn: Transaction, row: Row) -> list[str]:
    found = []
    windows: list[dict[str, Any]] = [
        spec.model_dump(mode="json", by_alias=True) for spec in Frozen.of(row).policy.freeze
    ]
    frozen = freezing.frozen(windows, txn.now_us)
    if frozen is not None:
        found.append(f"{frozen[1]}: no step forward before; a revert is possible at any time")
    if points.read(txn, row["agent"], row["environment"]).killed:
        found.append(f"the kill switch is on: `lastgood clear {_named(row)}` lets candidate runs start again")
    return found


def _live(txn: Transaction, row: Row) -> list[str]:
    point = points.read(txn, row["agent"], row["environment"])
    share = f"{percent(point.share_bp)} of the eligible runs go to the candidate"
    if row["state"] == ReleaseState.ASKING or (row["state"] == ReleaseState.AWAITING and not point.share_bp):
        return [f"No look: {share}."]
    steps = Frozen.of(row).rules.steps
    after = (
        "then the promotion"
        if row["step"] == len(steps) - 1
        else f"then {percent(steps[row['step'] + 1].share_bp)}"
    )
    return [f"Another look; {share} (step {row['step'] + 1} of {len(steps)}, {after})."]


def _after_revert(txn: Transaction, row: Row) -> list[str]:
    found = []
    key = {"agent": row["agent"], "environment": row["environment"]}
    kept = txn.one(sql.QUARANTINE, **key, bundle_id=row["candidate"], now_us=txn.now_us)
    bundle = short(row["candidate"])
    if kept is not None and kept["until_us"] is None:
        found.append(
            f"{bundle} is quarantined: after a review `lastgood readmit {_named(row)} {bundle} --reason ...`"
        )
    elif kept is not None:
        found.append(f"{bundle} cools down until {when(kept['until_us'])}")
    cooling = txn.one(sql_of.COOLDOWN, **key, now_us=txn.now_us)
    if cooling is not None:
        found.append(f"no release of {row['agent']} starts until {when(cooling['until_us'])}")
    found += [
        f"incident {each['id']} is {each['state']}: recovery {each['recovery']}, watch {each['watch']}"
        for each in txn.all(_INCIDENTS, release_id=row["id"])
    ]
    return found


__all__ = ["asked_for", "lines"]
