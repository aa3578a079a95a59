"""After a command that moved a control point: people are told at once, where the pipeline is at hand.

With Prefect down and no driver alive the person's own command is the process that lives. The move stands
whatever comes of it: what was not sent is due for the next process that sends.
"""

import logging

from lastgood import outbox, pipeline
from lastgood.cli.common import store
from lastgood.errors import LastgoodError

log = logging.getLogger("lastgood")
#: commands that move a control point
MOVES = frozenset({"adopt", "rollback", "kill", "clear", "stop", "promote", "readmit", "approve", "cooldown"})


def tell(command: str | None) -> None:
    """Send what `command` wrote into the outbox; raises nothing."""
    if command not in MOVES:
        return
    try:
        held = store()
        outbox.route_new(held)
        if not outbox.waiting(held):
            return
        for point in pipeline.given("lastgood.after_move").values():
            if pipeline.is_here(point):
                point.load()(held)
    except (LastgoodError, ImportError) as error:
        log.warning("people could not be told now: %s", error)
