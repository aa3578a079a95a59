"""Pure statistics and rules: numbers in, verdict out. No I/O, no clock.

`Comparison` is the plug point; it takes frozen `Rules` and a `History` and answers with a `Verdict`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluators.comparison import Comparison
    from evaluators.history import History
    from evaluators.verdict import Decision, Verdict, Word

__all__ = ["Comparison", "Decision", "History", "Verdict", "Word"]

_HOMES = {
    "Comparison": "evaluators.comparison",
    "Decision": "evaluators.verdict",
    "History": "evaluators.history",
    "Verdict": "evaluators.verdict",
    "Word": "evaluators.verdict",
}


def __getattr__(name: str) -> Any:
    """Load a public name's module when it is first asked for: config imports `evaluators.rules` alone."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
