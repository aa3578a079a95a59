"""How things read for people: times, shares, ids of bundles, rows in columns."""

import time
from collections.abc import Iterator, Sequence


def when(at_us: int, *, seconds: bool = True) -> str:
    """Return a time in UTC; microseconds in."""
    form = "%Y-%m-%d %H:%M:%S UTC" if seconds else "%Y-%m-%d %H:%M UTC"
    return time.strftime(form, time.gmtime(at_us / 1_000_000))


def short(bundle_id: str) -> str:
    """Return the short form of a bundle's id."""
    return f"b-{bundle_id[:8]}"


def percent(basis_points: int) -> str:
    """Return a share."""
    return f"{basis_points / 100:g}%"


def laid_out(rows: Sequence[tuple[str, ...]], indent: str = "") -> Iterator[str]:
    """Lay rows, the header among them, out in columns."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield indent + "  ".join(cells).rstrip()


__all__ = ["laid_out", "percent", "short", "when"]
