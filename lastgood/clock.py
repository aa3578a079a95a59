"""Clocks: the wall clock that rows carry and the boot clock that leases are held to.

A lease is written with both. On the same boot a reader trusts the boot clock, which no change of the
wall clock moves; on another host it falls back to the wall clock.
"""

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """What the store needs of a clock."""

    @property
    def boot_id(self) -> str:
        """Name of the boot that `boot_us` counts from."""

    def now_us(self) -> int:
        """Microseconds UTC since 1970."""

    def boot_us(self) -> int:
        """Microseconds since boot, suspended time included; never goes back."""


@cache
def _boot_id() -> str:
    source = Path("/proc/sys/kernel/random/boot_id")
    return source.read_text().strip() if source.exists() else ""


_boot_clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The machine's own clocks."""

    @property
    def boot_id(self) -> str:
        """The kernel's boot id, empty where the platform has none."""
        return _boot_id()

    def now_us(self) -> int:
        """Microseconds UTC since 1970."""
        return time.time_ns() // 1_000

    def boot_us(self) -> int:
        """Microseconds since boot, suspended time included where the platform counts it."""
        return time.clock_gettime_ns(_boot_clock) // 1_000


@dataclass(slots=True)
class ManualClock:
    """A clock that stands still until it is moved: for tests and simulations."""

    #: microseconds UTC since 1970
    wall_us: int = 1_700_000_000_000_000
    #: microseconds since boot
    since_boot_us: int = 1_000_000_000
    boot_id: str = "manual"

    def now_us(self) -> int:
        """Microseconds UTC since 1970."""
        return self.wall_us

    def boot_us(self) -> int:
        """Microseconds since boot."""
        return self.since_boot_us

    def advance(self, microseconds: int) -> None:
        """Let time pass on both clocks."""
        self.wall_us += microseconds
        self.since_boot_us += microseconds
