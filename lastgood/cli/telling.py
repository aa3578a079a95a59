"""After a command that moved a control point: people are told at once, where the pipeline is at hand.

With Prefect down and no driver alive the person's own command is the process that lives. The move stands
whatever comes of it: what was not sent is due for the next process that sends.
"""

import logging
from importlib.metadata import entry_points
from pathlib import Path

from lastgood import outbox
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
        for point in entry_points(group="lastgood.after_move"):
            root = Path(__file__).resolve().parents[2]  # a stranger's package may be called `tasks` too
            if (root / point.module.replace(".", "/")).with_suffix(".py").exists():
                point.load()(held)
    except (LastgoodError, ImportError) as error:
        log.warning("people could not be told now: %s", error)
