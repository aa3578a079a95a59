"""Every planted bug: each breaks one promise, by a patch, and the model has to find it."""

import bugs_control
import bugs_records
import bugs_runs
from planting import BUGS, Bug

#: each module adds its own to the list
_MODULES = (bugs_control, bugs_records, bugs_runs)
#: those that the suite's short version finds
SHORT = (
    "kill ignored",
    "stale epoch accepted",
    "late action let through",
    "ledger row skipped",
    "duplicate counted twice",
    "promote without evidence",
)

__all__ = ["BUGS", "SHORT", "Bug"]
