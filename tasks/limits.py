"""Limits: the ceilings of a release, seen armed before its comparison begins."""

from lastgood import points, releasing, reserving
from lastgood.caps import Caps
from lastgood.errors import InvalidMove
from lastgood.store import statements as sql
from lastgood.store.connection import Store
from tasks.comparison import Frozen


def verify(store: Store, release_id: str) -> tuple[str, ...]:
    """Check that the control point holds the policy's ceilings; return a sentence for each with its headroom.

    Raises `InvalidMove` when the ceilings that agents are held to are not those of the frozen policy.
    """
    with store.transaction() as txn:
        row = releasing.read(txn, release_id)
        point = points.read(txn, row["agent"], row["environment"])
        caps = Frozen.of(row).policy.caps()
        if point.terms.caps != caps:
            msg = (
                f"the ceilings of {point.name} are not those of the policy {row['policy_name']}: "
                f"`lastgood rollback {point.agent}` and start the release again"
            )
            raise InvalidMove(msg)
        reserving.expire(txn, release_id)
        used = {
            r["cap"]: r["used"] + r["reserved"]
            for r in txn.all(sql.CAPS_USED, release_id=release_id)
            if r["window_us"] == reserving.window(txn.now_us)
        }
    return describe(caps, used)


def describe(caps: Caps, used: dict[str, float]) -> tuple[str, ...]:
    """Return one sentence a ceiling: its level and how much of this hour's is taken."""
    lines = []
    if caps.spend_usd_per_hour is not None:
        lines.append(
            f"spend ${used.get(reserving.SPEND, 0.0):.2f} of ${caps.spend_usd_per_hour:.2f} this hour"
        )
    if caps.spend_usd_per_run is not None:
        lines.append(f"spend of one run at most ${caps.spend_usd_per_run:.2f}")
    if caps.runs_per_hour is not None:
        lines.append(f"candidate runs {used.get(reserving.RUNS, 0.0):.0f} of {caps.runs_per_hour} this hour")
    lines += [f"{kind} actions at most {most} a run" for kind, most in caps.actions_per_run]
    for kind, most in caps.actions_per_hour:
        lines.append(f"{kind} actions {used.get(f'action:{kind}', 0.0):.0f} of {most} this hour")
    return tuple(lines)
