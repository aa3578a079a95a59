"""Reservations against caps, in the transaction of the run they belong to.

A candidate run reserves one start and its maximum spend before it begins, and settles with what it really
spent. A reservation that nobody settles comes back when it expires. The update is conditional, so the
ceiling is never overshot by reservations, whatever the number of processes.
"""

from dataclasses import dataclass

from lastgood.caps import Caps
from lastgood.store import statements as sql
from lastgood.store.connection import Transaction

HOUR_US = 3_600_000_000
RUNS, SPEND = "runs_per_hour", "spend_usd_per_hour"


@dataclass(frozen=True, slots=True)
class Claim:
    """An amount that a run wants of one cap."""

    cap: str
    amount: float
    ceiling: float
    #: whether the amount is held until the run reports what it used
    held: bool


def window(now_us: int) -> int:
    """Return the start of the clock hour, microseconds UTC."""
    return now_us - now_us % HOUR_US


def run_claims(caps: Caps) -> tuple[Claim, ...]:
    """What one candidate run claims before it starts."""
    claims = []
    if caps.runs_per_hour is not None:
        claims.append(Claim(RUNS, 1, caps.runs_per_hour, held=False))
    if caps.spend_usd_per_hour is not None:
        claims.append(Claim(SPEND, most_usd(caps), caps.spend_usd_per_hour, held=True))
    return tuple(claims)


def most_usd(caps: Caps) -> float:
    """US dollars that one run may spend; without a ceiling of its own it could spend the whole hour's."""
    most = caps.spend_usd_per_hour if caps.spend_usd_per_run is None else caps.spend_usd_per_run
    return most or 0.0


def short_of(txn: Transaction, release_id: str, claims: tuple[Claim, ...]) -> Claim | None:
    """Return the first claim that finds no headroom, after expired reservations came back."""
    for claim in claims:
        if not _fits(txn, release_id, claim):
            expire(txn, release_id)
            if not _fits(txn, release_id, claim):
                return claim
    return None


def _fits(txn: Transaction, release_id: str, claim: Claim) -> bool:
    row = txn.one(sql.CAP_USE, release_id=release_id, cap=claim.cap, window_us=window(txn.now_us))
    taken = row["used"] + row["reserved"] if row else 0.0
    return bool(taken + claim.amount <= claim.ceiling)


def reserve(txn: Transaction, release_id: str, claim: Claim) -> bool:
    """Take one claim's amount; return whether there was headroom."""
    start = window(txn.now_us)
    taken = txn.run(
        sql.RESERVE,
        release_id=release_id,
        cap=claim.cap,
        window_us=start,
        amount=claim.amount,
        ceiling=claim.ceiling,
    )
    if taken and not claim.held:
        _settle(txn, release_id, claim.cap, start, amount=claim.amount, spent=claim.amount)
    return bool(taken)


def hold(txn: Transaction, release_id: str, run_id: str, claim: Claim, expires_us: int) -> None:
    """Remember a reservation of a run until it is settled or expires."""
    txn.insert(
        "reservation",
        {
            "run_id": run_id,
            "cap": claim.cap,
            "release_id": release_id,
            "window_us": window(txn.now_us),
            "amount": claim.amount,
            "expires_us": expires_us,
        },
    )


def settle(txn: Transaction, release_id: str, run_id: str, spent_usd: float) -> None:
    """Replace what a run reserved by what it used.

    A reservation that has expired is gone; what the run spent is counted in the present hour all the same.
    """
    held = {row["cap"]: row for row in txn.all(sql.RESERVATIONS_OF_RUN, run_id=run_id)}
    row = held.get(SPEND)
    if row is not None:
        _settle(txn, release_id, SPEND, row["window_us"], amount=row["amount"], spent=spent_usd)
        txn.run(sql.DROP_RESERVATION, run_id=run_id, cap=SPEND)
    elif spent_usd > 0:
        txn.run(sql.ADD_USE, release_id=release_id, cap=SPEND, window_us=window(txn.now_us), spent=spent_usd)


def expire(txn: Transaction, release_id: str) -> int:
    """Return the reservations of runs that never settled; return how many."""
    rows = txn.all(sql.EXPIRED_RESERVATIONS, release_id=release_id, now_us=txn.now_us)
    for row in rows:
        _settle(txn, release_id, row["cap"], row["window_us"], amount=row["amount"], spent=0.0)
        txn.run(sql.DROP_RESERVATION, run_id=row["run_id"], cap=row["cap"])
    return len(rows)


def _settle(txn: Transaction, release_id: str, cap: str, start: int, *, amount: float, spent: float) -> None:
    txn.run(sql.SETTLE_CAP, release_id=release_id, cap=cap, window_us=start, amount=amount, spent=spent)
