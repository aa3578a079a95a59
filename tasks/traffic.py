"""Traffic: carrying out what the stage machine decided, one control move each."""

import json

from evaluators.stages import Move, Transition
from lastgood import releasing
from lastgood.ledger import Entry
from lastgood.points import Expect
from lastgood.releasing import Ending, Stage
from lastgood.store.connection import Store

#: moves that set the share of the candidate
_SERVING = frozenset({Move.OPEN, Move.RAMP, Move.REOPEN, Move.PAUSE, Move.LAPSE, Move.ASK})


def carry_out(
    store: Store, release_id: str, transition: Transition, *, lease_us: int, driver: str, expect: Expect
) -> None:
    """Make one move; raises `StaleDriver` when somebody else moved the control point meanwhile.

    The stage key carries the epoch that the decision was made at, so that a retry finds its effect done.
    """
    move = transition.move
    entry = Entry(_action(move), driver, transition.reason, release_id)
    if move is Move.HOLD:
        releasing.renew(
            store, release_id, lease_us=lease_us, driver=driver, reason=transition.reason, expect=expect
        )
    elif move is Move.PROMOTE:
        ending = Ending(driver, transition.reason, by=transition.by)
        releasing.promote(store, release_id, proven=True, ending=ending, expect=expect)
    elif move is Move.REVERT:
        ending = Ending(driver, transition.reason, by=transition.by, culprits=transition.culprits)
        releasing.revert(store, release_id, ending, expect)
    else:
        stage = Stage(f"{transition.to}:{transition.step}@{expect.epoch}", transition.to, transition.step)
        if move is Move.PAUSE:
            stage = Stage(f"pause:{transition.step}@{expect.epoch}", transition.to, transition.step)
        if move in _SERVING:
            releasing.set_share(
                store,
                release_id,
                stage,
                share_bp=transition.share_bp,
                lease_us=lease_us,
                entry=entry,
                expect=expect,
            )
        else:
            detail = json.dumps({"reason": transition.reason})
            releasing.enter(store, release_id, stage, entry=entry, expect=expect, detail=detail)


def _action(move: Move) -> str:
    """Name of a move in the ledger: what it does to the control point."""
    return "share" if move in {Move.OPEN, Move.RAMP, Move.REOPEN, Move.PAUSE} else str(move)
