"""A bundle's standing at a control point: served as last known good, or kept out."""

from lastgood.errors import Quarantined, Refused
from lastgood.moves import ControlPoint, in_command
from lastgood.store import approving
from lastgood.store import statements as sql
from lastgood.store.connection import Transaction


def record_served(txn: Transaction, point: ControlPoint, release_id: str | None) -> None:
    """Remember that the point's baseline became the last known good."""
    txn.insert(
        "served",
        {
            "agent": point.agent,
            "environment": point.environment,
            "epoch": point.epoch,
            "bundle_id": point.baseline,
            "standing": point.standing,
            "release_id": release_id,
            "since_us": txn.now_us,
        },
    )


def refuse_quarantined(
    txn: Transaction, agent: str, environment: str, bundle_id: str, *, cooling: bool = True
) -> None:
    """Raise `Quarantined` when the bundle may not be a baseline or candidate here now.

    Without `cooling` a mere cool-down refuses nothing: it keeps a bundle from being released, not a person
    from going back to it.
    """
    row = txn.one(
        sql.QUARANTINE, agent=agent, environment=environment, bundle_id=bundle_id, now_us=txn.now_us
    )
    if row is None or (row["until_us"] is not None and not cooling):
        return
    short, named = f"b-{bundle_id[:8]}", in_command(agent, environment)
    if row["until_us"] is None:
        msg = (
            f"{short} is quarantined for {agent} in {environment} ({row['reason']}); "
            f"after a review: `lastgood readmit {named} {short} --reason ...`"
        )
    else:
        minutes = -(-(row["until_us"] - txn.now_us) // 60_000_000)
        msg = (
            f"{short} cools down for {agent} in {environment} for another {minutes} min ({row['reason']}); "
            f"wait, or `lastgood readmit {named} {short} --reason ...`"
        )
    raise Quarantined(msg)


def has_served(txn: Transaction, point: ControlPoint, bundle_id: str) -> bool:
    """Whether the bundle was ever the last known good of this control point."""
    key = {"agent": point.agent, "environment": point.environment, "bundle_id": bundle_id}
    return txn.one(sql.HAS_SERVED, **key) is not None


def keep_out(
    txn: Transaction,
    point: ControlPoint,
    bundle_id: str,
    reason: str,
    *,
    cooling: bool,
    release_id: str | None = None,
) -> None:
    """Keep a bundle out for the terms' cool-down, or until it is re-admitted; a quarantine stands.

    The agent itself cools down too, where the terms say so: no release of any bundle starts in that time.
    """
    txn.run(
        sql.SET_QUARANTINE,
        agent=point.agent,
        environment=point.environment,
        bundle_id=bundle_id,
        since_us=txn.now_us,
        until_us=txn.now_us + point.terms.cooldown_us if cooling else None,
        reason=reason,
        release_id=release_id,
    )
    if point.terms.agent_cooldown_us:
        txn.run(
            approving.SET_COOLDOWN,
            agent=point.agent,
            environment=point.environment,
            until_us=txn.now_us + point.terms.agent_cooldown_us,
            reason=reason,
            release_id=release_id,
        )


def refuse_cooling(txn: Transaction, agent: str, environment: str) -> None:
    """Raise `Refused` while the agent cools down after a revert."""
    row = txn.one(approving.COOLDOWN, agent=agent, environment=environment, now_us=txn.now_us)
    if row is not None:
        minutes = -(-(row["until_us"] - txn.now_us) // 60_000_000)
        msg = (
            f"{agent} in {environment} cools down for another {minutes} min ({row['reason']}); wait, or "
            f"`lastgood cooldown {in_command(agent, environment)} --end --reason ...`"
        )
        raise Refused(msg)
