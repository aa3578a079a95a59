"""Vouching: a person promotes the live candidate, which then stands as vouched for and never as proven.

It goes round no approval: where the policy asks a person before the promotion that question is the way, in a
freeze nothing is promoted, and where it wants a verified person, or another than the author, it takes a
one-time code of somebody who is that.
"""

import json
from dataclasses import dataclass

from lastgood import approving, freezing, points, releasing
from lastgood.errors import Conflict, InvalidInput, NotFound, Refused
from lastgood.moves import ControlPoint, in_command
from lastgood.releasing import Ending
from lastgood.store.connection import Row, Store, Transaction


@dataclass(frozen=True, slots=True)
class Vouched:
    """Who answers for a candidate, and why."""

    who: str
    reason: str
    #: beginning of the candidate's id that the person saw; empty: whatever is live
    candidate: str = ""
    #: a one-time code, where the policy wants one
    code: str = ""
    #: how the ledger names who answers; empty: as `who`
    by: str = ""


def promote(store: Store, agent: str, environment: str, vouched: Vouched) -> ControlPoint:
    """Make the live candidate the baseline, in one transaction; nothing changes where it raises.

    `NotFound` without a live release, `Conflict` where another candidate is live than the one that was seen,
    `Refused` where the policy does not allow it, `Quarantined`.
    """
    if not vouched.who.strip() or not vouched.reason.strip():
        raise InvalidInput("who vouches gives a name and a reason: both are recorded")
    with store.transaction(durable=True, first=True, at=(agent, environment)) as txn:
        point = points.read(txn, agent, environment)
        if point.release_id is None:
            raise NotFound(f"{agent} in {environment} has no live release to promote")
        release = releasing.read(txn, point.release_id)
        if not release["candidate"].startswith(vouched.candidate.removeprefix("b-").lower()):
            raise Conflict(
                f"the live candidate of {point.name} is b-{release['candidate'][:8]}, not "
                f"{vouched.candidate}: look again"
            )
        level = _level(txn, release, vouched)
        reason = f"vouched for ({level}): {vouched.reason.strip()}"
        ending = Ending((vouched.by or vouched.who).strip(), reason, by="hand")
        return releasing.promote_in(txn, release["id"], proven=False, ending=ending)


def _level(txn: Transaction, release: Row, vouched: Vouched) -> str:
    """How sure it is who vouches; raises `Refused` where the policy does not allow it."""
    policy = json.loads(release["policy"])
    wanted = policy.get("approval") or {}
    name = release["policy_name"]
    if "promote" in wanted.get("before", ()):
        raise Refused(
            f"the policy {name} wants an approval: `lastgood approve {_named(release)}` says what is asked, "
            "and when"
        )
    frozen = freezing.frozen(policy.get("freeze") or (), txn.now_us)
    if frozen is not None:
        raise Refused(f"the policy {name} has {frozen[1]}: nothing is promoted before")
    if wanted.get("not_author"):
        approving.refuse_author(txn, release, vouched.who, "answer for")
    if vouched.code:
        approving.use_code(txn, release, vouched.who, vouched.code)
        return "verified"
    if wanted.get("not_author") or wanted.get("level") == "verified":
        raise Refused(
            f"the policy {name} wants to be sure who vouches: give a one-time code "
            f"(`lastgood approve-code {_named(release)} --for {vouched.who}`)"
        )
    return "claimed"


def _named(release: Row) -> str:
    return in_command(release["agent"], release["environment"])


__all__ = ["Vouched", "promote"]
