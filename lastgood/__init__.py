"""lastgood: a release pipeline for AI agents. This package is what an agent process imports.

`lastgood.run` ties one run of an agent to exactly one bundle, `lastgood.report` adds what is known later,
`lastgood.resume` goes on with a run in another process. README.md shows an agent in ten lines.
"""

from lastgood.agent import configure, flush, is_quarantined, report, resume, run
from lastgood.bundle import Bundle, Part
from lastgood.errors import LastgoodError
from lastgood.records import Ref
from lastgood.redaction import watch_over as _quiet
from lastgood.running import Disconnected, Run

__version__ = "0.1.0"
_quiet("lastgood")
__all__ = [
    "Bundle",
    "Disconnected",
    "LastgoodError",
    "Part",
    "Ref",
    "Run",
    "configure",
    "flush",
    "is_quarantined",
    "report",
    "resume",
    "run",
]
