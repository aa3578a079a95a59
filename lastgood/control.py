"""The control point's moves that need no release: adopt, roll back, kill, stop, clear, re-admit.

Each is one durable transaction that moves the row, appends to the ledger and asks nobody else.
"""

from lastgood import moves, points, registry, releasing, restoring, standing
from lastgood.bundle import check_name
from lastgood.errors import Conflict, InvalidMove, NotFound
from lastgood.ledger import Entry
from lastgood.moves import ControlPoint
from lastgood.release import Terms
from lastgood.store import approving
from lastgood.store import statements as sql
from lastgood.store.connection import Store


def adopt(
    store: Store, agent: str, environment: str, bundle_id: str, *, actor: str, reason: str
) -> ControlPoint:
    """Make a registered bundle the first, vouched baseline of an agent.

    Raises `InvalidMove` when the agent has a baseline already.
    """
    check_name(agent, "the agent")
    check_name(environment, "the environment")
    with store.transaction(durable=True, first=True, at=(agent, environment)) as txn:
        registry.read(txn, bundle_id)
        if points.find(txn, agent, environment) is not None:
            msg = (
                f"{agent} in {environment} has a baseline already: change it by a release, "
                f"or go back with `lastgood rollback {moves.in_command(agent, environment)} --to BUNDLE`"
            )
            raise InvalidMove(msg)
        point = ControlPoint(agent, environment, bundle_id, "vouched", terms=Terms())
        points.create(txn, point, Entry("adopt", actor, reason))
        standing.record_served(txn, point, None)
        return point


def readmit(store: Store, agent: str, environment: str, bundle_id: str, *, actor: str, reason: str) -> None:
    """Lift a bundle's quarantine or cool-down; the ledger keeps who and why."""
    with store.transaction(durable=True, first=True, at=(agent, environment)) as txn:
        point = points.read(txn, agent, environment)
        if txn.run(sql.READMIT, agent=agent, environment=environment, bundle_id=bundle_id) == 0:
            msg = f"b-{bundle_id[:8]} is not quarantined for {agent} in {environment}"
            raise NotFound(msg)
        points.move(txn, point, point, Entry("readmit", actor, f"b-{bundle_id[:8]}: {reason}"))


def end_cooldown(store: Store, agent: str, environment: str, *, actor: str, reason: str) -> bool:
    """Let releases of the agent start again at once; return False where it does not cool down."""
    with store.transaction(durable=True, first=True, at=(agent, environment)) as txn:
        point = points.read(txn, agent, environment)
        ended = txn.run(approving.END_COOLDOWN, agent=agent, environment=environment, now_us=txn.now_us)
        if ended:
            points.move(txn, point, point, Entry("cooldown", actor, f"ended early: {reason}"))
        return ended > 0


def kill(store: Store, agent: str, environment: str, *, actor: str, reason: str) -> ControlPoint:
    """Turn the kill switch on: no candidate run starts from here on. Where it is on nothing is done."""
    with store.transaction(durable=True, first=True, at=(agent, environment)) as txn:
        point, _ = points.read_or_restore(txn, agent, environment)
        if point.killed:
            return point
        return points.move(txn, point, moves.kill(point), Entry("kill", actor, reason, point.release_id))


def clear(store: Store, agent: str, environment: str, *, actor: str, reason: str) -> ControlPoint:
    """Turn the kill switch off. Where it is off nothing is done."""
    with store.transaction(durable=True, first=True, at=(agent, environment)) as txn:
        point = points.read(txn, agent, environment)
        if not point.killed:
            return point
        return points.move(txn, point, moves.clear(point), Entry("clear", actor, reason, point.release_id))


def stop(store: Store, agent: str, environment: str, *, actor: str, reason: str) -> bool:
    """Deny external actions of the agent's runs in both arms; return False where that is so already.

    Runs go on and are routed as before: what stops is their effect on the world.
    """
    with store.transaction(durable=True, first=True, at=(agent, environment)) as txn:
        point = points.read(txn, agent, environment)
        key = {"agent": agent, "environment": environment}
        if txn.run(sql.SET_STOP, **key, since_us=txn.now_us, actor=actor, reason=reason) == 0:
            return False
        points.move(txn, point, point, Entry("stop", actor, reason, point.release_id))
        return True


def unstop(store: Store, agent: str, environment: str, *, actor: str, reason: str) -> bool:
    """Allow external actions again; return False where they were allowed already."""
    with store.transaction(durable=True, first=True, at=(agent, environment)) as txn:
        point = points.read(txn, agent, environment)
        if txn.run(sql.CLEAR_STOP, agent=agent, environment=environment) == 0:
            return False
        points.move(txn, point, point, Entry("unstop", actor, reason, point.release_id))
        return True


def rollback(
    store: Store,
    agent: str,
    environment: str,
    *,
    actor: str,
    reason: str,
    to: str | None = None,
    vouched: bool = False,
    epoch: int | None = None,
) -> ControlPoint:
    """Go back in one action: revert a live release, else restore an earlier last known good.

    `to` is a bundle's full id; one that never served here as good needs somebody who vouches for it. The
    bundle that is left cools down. Works from every state and with everything else down. A control point that
    was edited by hand is restored from the ledger; without a live release that is all that is done.
    `epoch` is the one that a person decided by: `Conflict` where it is another by now.
    """
    with store.transaction(durable=True, first=True, at=(agent, environment)) as txn:
        point, restored = points.read_or_restore(txn, agent, environment)
        if epoch not in {None, point.epoch}:
            raise Conflict(
                f"{point.name} moved to epoch {point.epoch} since epoch {epoch} was seen: look again"
            )
        if to is not None:
            registry.read(txn, to)
        if to is not None and to == point.candidate:
            msg = (
                f"b-{to[:8]} is the live candidate of {point.name}: a rollback goes away from it; "
                f"leave --to out, or serve it with `lastgood promote {point.in_command} --vouch --reason ...`"
            )
            raise InvalidMove(msg)
        if to is not None and not vouched and not standing.has_served(txn, point, to):
            msg = (
                f"b-{to[:8]} was never the last known good of {point.name}: release it, or answer for it "
                f"with `lastgood rollback {point.in_command} --to b-{to[:8]} --vouch --reason ...`"
            )
            raise InvalidMove(msg)
        if restored and point.release_id is None and to in {None, point.baseline}:
            return point
        if point.release_id is not None:
            ending = releasing.Ending(actor=actor, reason=reason, by="hand")
            point = releasing.revert_in(txn, point, ending)
            if to is None or to == point.baseline:
                return point
        entry = Entry("rollback", actor, reason)
        target = to or restoring.newest_other(txn, point)
        return restoring.restore(txn, point, target, entry, vouched=vouched)
