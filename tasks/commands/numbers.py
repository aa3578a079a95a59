"""Numbers as options of commands; nothing of pandas, so that a command without it starts fast."""

import math
from typing import Any

import click


class Number(click.FloatRange):
    """A number within bounds; `nan` lies within none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        found = float(super().convert(value, param, ctx))
        if math.isnan(found):
            self.fail("nan is no number", param, ctx)
        return found


__all__ = ["Number"]
