"""Every planted bug: each breaks one promise, by a patch, and the model has to find it."""

import bugs_control
import bugs_records
import bugs_runs
from planting import BUGS, Bug

#: each module adds its own to the list
_MODULES = (bugs_control, bugs_records, bugs_runs)

__all__ = ["BUGS", "Bug"]
