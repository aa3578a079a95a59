"""lastgood: a release pipeline for AI agents. This package is what an agent process imports.

    with lastgood.run(agent="support", unit="user-17", task_type="faq") as run:
        prompt = run.bundle.prompt.text
        ...
        run.report(validated=True)
"""

from lastgood.agent import configure, report, resume, run
from lastgood.bundle import Bundle, Part
from lastgood.errors import LastgoodError
from lastgood.recorder import Ref
from lastgood.running import Disconnected, Run

__version__ = "0.1.0"
__all__ = [
    "Bundle",
    "Disconnected",
    "LastgoodError",
    "Part",
    "Ref",
    "Run",
    "configure",
    "report",
    "resume",
    "run",
]
