"""Clocks: the wall clock that rows carry and the boot clock that leases are held to.

A lease is written with both. On the same boot a reader trusts the boot clock, which no change of the
wall clock moves; on another host it falls back to the wall clock.
"""

import time
from collections.abc import Callable
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


class AnchoredClock(SystemClock):
    """The database's wall clock, carried on by this machine's boot clock between two answers.

    Before the first answer it is this machine's own.
    """

    def __init__(self) -> None:
        #: microseconds between the database's clock and this machine's boot clock
        self._ahead_us: int | None = None

    def anchor(self, now_us: int) -> None:
        """Take the time that the database has just answered; the answer's way makes it late, never early."""
        self._ahead_us = now_us - self.boot_us()

    def now_us(self) -> int:
        """Microseconds UTC since 1970, by the database's clock."""
        return super().now_us() if self._ahead_us is None else self.boot_us() + self._ahead_us


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


def steady(clock: Clock) -> Callable[[], int]:
    """Return the quickest way to tell how time passes on `clock`: nanoseconds from anywhere, never backwards.

    It may stand still while the machine is suspended; `boot_us` does not.
    """
    return time.monotonic_ns if isinstance(clock, SystemClock) else lambda: clock.boot_us() * 1_000
