"""Limits: the ceilings of a release, seen armed before its comparison begins."""

from collections.abc import Mapping
from dataclasses import dataclass

from lastgood import points, releasing, reserving
from lastgood.caps import Caps
from lastgood.errors import InvalidMove
from lastgood.store import statements as sql
from lastgood.store.connection import Store, Transaction
from tasks.comparison import Frozen
from tasks.readings import time_of


def verify(store: Store, release_id: str) -> tuple[str, ...]:
    """Check that the control point holds the policy's ceilings; return a sentence for each with its headroom.

    Raises `InvalidMove` when the ceilings that agents are held to are not those of the frozen policy.
    """
    with store.transaction() as txn:
        row = releasing.read(txn, release_id)
        point = points.read(txn, row["agent"], row["environment"])
        caps = Frozen.of(row).policy.caps()
        if point.terms.caps != caps:
            msg = (
                f"the ceilings of {point.name} are not those of the policy {row['policy_name']}: "
                f"`lastgood rollback {point.in_command}` and start the release again"
            )
            raise InvalidMove(msg)
        reserving.expire(txn, release_id)
        return describe(caps, used(txn, release_id))


def used(txn: Transaction, release_id: str) -> dict[str, float]:
    """Return what is taken of each ceiling this hour, reservations among it, by its name there."""
    return {
        row["cap"]: row["used"] + row["reserved"]
        for row in txn.all(sql.CAPS_USED, release_id=release_id)
        if row["window_us"] == reserving.window(txn.now_us)
    }


def full(txn: Transaction, release_id: str, caps: Caps) -> str:
    """Return which ceiling lets no candidate run start now and when it frees, in words; empty for none."""
    claim = next((c for c in reserving.run_claims(caps) if not reserving.fits(txn, release_id, c)), None)
    if claim is None:
        return ""
    money = claim.cap == reserving.SPEND
    what = "the candidate's spend" if money else "candidate runs"
    frees = time_of(reserving.window(txn.now_us) + reserving.HOUR_US)
    most = _amount(claim.ceiling, money=money)
    return (
        f"the ceiling of {most} an hour on {what} is reached, and no run is evidence until {frees:%H:%M} UTC"
    )


@dataclass(frozen=True, slots=True)
class Ceiling:
    """One hard ceiling, and how much of it is taken."""

    name: str
    level: float
    #: taken of this hour; None where each run has it for itself
    used: float | None
    #: US dollars, else a count
    money: bool = False

    @property
    def left(self) -> float | None:
        """The free part, 0 to 1; None where each run has it for itself."""
        if self.used is None:
            return None
        return 0.0 if self.level <= 0 else max(0.0, 1.0 - self.used / self.level)

    @property
    def most(self) -> str:
        """The level, for people."""
        return _amount(self.level, money=self.money)

    @property
    def taken(self) -> str:
        """What is taken, for people."""
        return "-" if self.used is None else _amount(self.used, money=self.money)

    @property
    def said(self) -> str:
        """The same as a sentence."""
        if self.used is None:
            return f"{self.name} at most {self.most}"
        return f"{self.name} {self.taken} of {self.most} this hour"


def _amount(value: float, *, money: bool) -> str:
    return f"${value:.2f}" if money else f"{value:.0f}"


def ceilings(caps: Caps, used: Mapping[str, float]) -> tuple[Ceiling, ...]:
    """Return every ceiling with what is taken of it; `used` is by the names of `lastgood.reserving`."""
    found = []
    if caps.spend_usd_per_hour is not None:
        spent = used.get(reserving.SPEND, 0.0)
        found.append(Ceiling("spend", caps.spend_usd_per_hour, spent, money=True))
    if caps.spend_usd_per_run is not None:
        found.append(Ceiling("spend of one run", caps.spend_usd_per_run, None, money=True))
    if caps.runs_per_hour is not None:
        found.append(Ceiling("candidate runs", caps.runs_per_hour, used.get(reserving.RUNS, 0.0)))
    found += [Ceiling(f"{kind} actions of one run", most, None) for kind, most in caps.actions_per_run]
    for kind, most in caps.actions_per_hour:
        found.append(Ceiling(f"{kind} actions", most, used.get(f"action:{kind}", 0.0)))
    return tuple(found)


def describe(caps: Caps, used: Mapping[str, float]) -> tuple[str, ...]:
    """Return one sentence a ceiling: its level and how much of this hour's is taken."""
    return tuple(each.said for each in ceilings(caps, used))
