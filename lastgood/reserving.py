"""Reservations against caps, in the transaction of the run they belong to.

A candidate run reserves one start and its maximum spend before it begins, and settles with what it really
spent. A reservation that nobody settles comes back when it expires. The update is conditional, so the
ceiling is never overshot by reservations, whatever the number of processes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lastgood.caps import Caps
from lastgood.moves import ControlPoint
from lastgood.store import aftermath
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Transaction

HOUR_US = 3_600_000_000
#: US dollars by which a sum of floats may miss a ceiling without being above it
_SLACK = 1e-9
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
        if not fits(txn, release_id, claim):
            expire(txn, release_id)
            if not fits(txn, release_id, claim):
                return claim
    return None


def fits(txn: Transaction, release_id: str, claim: Claim) -> bool:
    """Return whether a claim finds headroom in the present hour."""
    return taken(txn, release_id, claim.cap) + claim.amount <= claim.ceiling


def taken(txn: Transaction, release_id: str, cap: str) -> float:
    """Return what is used and reserved of a cap in the present hour."""
    row = txn.one(sql.CAP_USE, release_id=release_id, cap=cap, window_us=window(txn.now_us))
    return float(row["used"] + row["reserved"]) if row else 0.0


def give_back(txn: Transaction, release_id: str, cap: str, at_us: int) -> None:
    """Return the one that was taken of a cap at `at_us` (microseconds UTC) for what did not happen."""
    _settle(txn, release_id, cap, window(at_us), amount=0.0, spent=-1.0)


def reserve(txn: Transaction, release_id: str, claim: Claim) -> bool:
    """Take one claim's amount; return whether there was headroom."""
    start = window(txn.now_us)
    taken_now = txn.run(
        sql.RESERVE,
        release_id=release_id,
        cap=claim.cap,
        window_us=start,
        amount=claim.amount,
        ceiling=claim.ceiling,
    )
    if taken_now and not claim.held:
        _settle(txn, release_id, claim.cap, start, amount=claim.amount, spent=claim.amount)
    return bool(taken_now)


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


def settle_runs(
    txn: Transaction, point: ControlPoint, runs: Mapping[str, tuple[str, float | None]]
) -> list[tuple[str, str]]:
    """Replace what ended candidate runs reserved by what they used; return (release, sentence) of excesses.

    `runs` gives each run's release and its cost in US dollars; None counts as the most that it may spend. A
    reservation that has expired is gone; what the run spent is counted in the present hour all the same.
    """
    statement, values = sql.among(sql.RESERVATIONS_AMONG, list(runs))
    held = {row["run_id"]: row for row in txn.all(statement, **values) if row["cap"] == SPEND}
    caps, excesses = point.terms.caps, []
    settled: dict[tuple[str, int], list[float]] = {}  # by release and window: reserved, spent
    for run_id, (release_id, cost_usd) in runs.items():
        # a run that does not say what it spent counts as having spent the most that it may
        spent = most_usd(caps) if cost_usd is None else cost_usd
        row = held.get(run_id)
        start, amount = (row["window_us"], row["amount"]) if row else (window(txn.now_us), 0.0)
        sums = settled.setdefault((release_id, start), [0.0, 0.0])
        sums[0] += amount
        sums[1] += spent
        if (said := _above(caps, run_id, spent)) is not None:
            excesses.append((release_id, said))
    txn.many(sql.DROP_RESERVATION, [{"run_id": run_id, "cap": SPEND} for run_id in held])
    for (release_id, start), (amount, spent) in sorted(settled.items()):
        if amount:
            _settle(txn, release_id, SPEND, start, amount=amount, spent=spent)
        elif spent:
            txn.run(sql.ADD_USE, release_id=release_id, cap=SPEND, window_us=start, spent=spent)
    return excesses + _above_hour(txn, caps, settled)


def spent_late(
    txn: Transaction,
    point: ControlPoint,
    run: tuple[str, str],
    before_usd: float | None,
    after_usd: float,
) -> str | None:
    """Count what a settled run turned out to have cost more; return a sentence if it is an excess.

    `run` is its id and its release.
    """
    caps, (run_id, release_id) = point.terms.caps, run
    more = after_usd - (most_usd(caps) if before_usd is None else before_usd)
    if more <= 0:
        return None
    start = window(txn.now_us)
    txn.run(sql.ADD_USE, release_id=release_id, cap=SPEND, window_us=start, spent=more)
    hour = _above_hour(txn, caps, [(release_id, start)])
    return _above(caps, run_id, after_usd) or (hour[0][1] if hour else None)


def _above(caps: Caps, run_id: str, spent: float) -> str | None:
    most = caps.spend_usd_per_run
    if most is None or spent <= most:
        return None
    return f"run {run_id} spent ${spent:.2f}, its ceiling was ${most:.2f}"


def _above_hour(txn: Transaction, caps: Caps, windows: Iterable[tuple[str, int]]) -> list[tuple[str, str]]:
    """Hours in which settlements came to more than the ceiling: reservations alone never do."""
    found = []
    for release_id, start in sorted(windows):
        row = txn.one(sql.CAP_USE, release_id=release_id, cap=SPEND, window_us=start)
        most = caps.spend_usd_per_hour
        if row is not None and most is not None and row["used"] > most + _SLACK:
            found.append((release_id, f"an hour cost ${row['used']:.2f}, its ceiling was ${most:.2f}"))
    return found


def expire(txn: Transaction, release_id: str) -> int:
    """Return the reservations of runs that never settled; return how many."""
    return _return(txn, txn.all(sql.EXPIRED_RESERVATIONS, release_id=release_id, now_us=txn.now_us))


def cancel(txn: Transaction, release_id: str) -> int:
    """Return every reservation of a release that has ended; return how many."""
    return _return(txn, txn.all(aftermath.RESERVATIONS_OF_RELEASE, release_id=release_id))


def _return(txn: Transaction, rows: Sequence[Row]) -> int:
    for row in rows:
        _settle(txn, row["release_id"], row["cap"], row["window_us"], amount=row["amount"], spent=0.0)
        txn.run(sql.DROP_RESERVATION, run_id=row["run_id"], cap=row["cap"])
    return len(rows)


def _settle(txn: Transaction, release_id: str, cap: str, start: int, *, amount: float, spent: float) -> None:
    txn.run(sql.SETTLE_CAP, release_id=release_id, cap=cap, window_us=start, amount=amount, spent=spent)
