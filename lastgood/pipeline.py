"""The pipeline's folders beside this package in a checkout, and what they give by entry points."""

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

#: the folder of this package's checkout, or whatever it is installed in
_ROOT = Path(__file__).resolve().parents[1]


def given(group: str) -> dict[str, EntryPoint]:
    """Return what is declared under a group, by name; whether it is at hand here `is_here` tells."""
    return {point.name: point for point in entry_points(group=group)}


def is_here(point: EntryPoint) -> bool:
    """Whether it lies beside this package: a stranger's package may be called `tasks` too."""
    return (_ROOT / point.module.replace(".", "/")).with_suffix(".py").exists()


__all__ = ["given", "is_here"]
