"""Traffic: carrying out what the stage machine decided, one control move each."""

import json

from evaluators.stages import Move, Transition
from lastgood import approving, releasing
from lastgood.ledger import Entry
from lastgood.moves import ControlPoint
from lastgood.points import Expect
from lastgood.release import ReleaseState
from lastgood.releasing import Ending, Stage
from lastgood.store.connection import Row, Store, Transaction
from tasks.comparison import Frozen

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
        proven = transition.by == "evidence"
        releasing.promote(store, release_id, proven=proven, ending=ending, expect=expect)
    elif move is Move.REVERT:
        ending = Ending(driver, transition.reason, by=transition.by, culprits=transition.culprits)
        releasing.revert(store, release_id, ending, expect)
    else:
        stage = Stage(f"{transition.to}:{transition.step}@{expect.epoch}", transition.to, transition.step)
        if move is Move.PAUSE:
            stage = Stage(f"pause:{transition.step}@{expect.epoch}", transition.to, transition.step)
        also = _ask if move in {Move.ASK, Move.AWAIT} else None
        if move in _SERVING:
            releasing.set_share(
                store,
                release_id,
                stage,
                share_bp=transition.share_bp,
                lease_us=lease_us,
                entry=entry,
                expect=expect,
                also=also,
            )
        else:
            detail = json.dumps({"reason": transition.reason})
            releasing.enter(store, release_id, stage, entry=entry, expect=expect, detail=detail, also=also)


def _ask(txn: Transaction, row: Row, point: ControlPoint) -> None:
    """Put the question to people, in the transaction of the move that asks it; `row` is from before that."""
    policy = Frozen.of(row).policy
    last = row["step"] == len(policy.steps) - 1
    what = "start" if row["state"] == ReleaseState.OPENED else "promote" if last else "step"
    if point.share_bp == 0 and what != "start":
        what = "undecided"
    spec = policy.approval
    question = approving.Question(what, spec.level, spec.not_author, spec.expires)
    approving.ask(txn, row, point, question)


def _action(move: Move) -> str:
    """Name of a move in the ledger: what it does to the control point."""
    return "share" if move in {Move.OPEN, Move.RAMP, Move.REOPEN, Move.PAUSE} else str(move)
