"""Callables of a team: modules that a profile or a policy names, from beside the agent too."""

import importlib
import sys
from pathlib import Path
from types import ModuleType


def imported(module: str) -> ModuleType:
    """Import a module, from the working directory too; raises whatever that does."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        here = str(Path.cwd())
        if here in sys.path:
            raise
        sys.path.append(here)  # a console script has its own folder there, not the one that it is started in
        return importlib.import_module(module)


__all__ = ["imported"]
