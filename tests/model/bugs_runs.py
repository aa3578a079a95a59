"""Planted bugs of routers, runs, caps and actions."""

from dataclasses import replace
from typing import Any

from bench import Bench
from planting import FOREVER_US, swap, text

from lastgood import (
    acting,
    assigning,
    decision,
    epoch_word,
    judging,
    moves,
    points,
    releasing,
    reserving,
    router,
    snapshot,
)
from lastgood.moves import Lease
from lastgood.store import statements as sql

# -- 1, 14: reverting

swap(
    "revert leaves the epoch", 6, moves, "revert", lambda f: lambda p, **k: replace(f(p, **k), epoch=p.epoch)
)
swap("epoch skipped", 6, moves, "share", lambda f: lambda p, **k: replace(f(p, **k), epoch=p.epoch + 2))
swap("epoch going back", 6, moves, "clear", lambda f: lambda p: replace(f(p), epoch=p.epoch - 1))
swap(
    "revert keeps the share",
    1,
    moves,
    "revert",
    lambda f: lambda p, **k: replace(f(p, **k), share_bp=p.share_bp),
)
swap(
    "revert keeps the driver's term",
    6,
    moves,
    "_released",
    lambda f: lambda p: replace(f(p), driver_term=p.driver_term),
)
swap("a revert asks for a served share", 14, releasing, "revert_in",
     lambda f: lambda txn, p, *a, **k: f(txn, p, *a, **k) if p.share_bp else p)  # fmt: skip
swap(
    "kill lets a release start",
    10,
    moves,
    "claim",
    lambda f: lambda p, **k: replace(f(replace(p, killed=False), **k), killed=p.killed),
)
swap(
    "promote while killed",
    10,
    moves,
    "promote",
    lambda f: lambda p, **k: replace(f(replace(p, killed=False), **k), killed=p.killed),
)

# -- routers

swap(
    "no lease in the router",
    5,
    snapshot,
    "Snapshot",
    lambda c: lambda p, b, k, _until, **m: c(p, b, k, FOREVER_US, **m),
)
swap(
    "kill ignored",
    10,
    decision,
    "_held",
    lambda f: lambda s, r: f(replace(s, point=replace(s.point, killed=False)), r),
)
swap("risk ignored", 8, decision.Answers, "_pair",
     lambda f: lambda self, held, _risk: f(self, held, self.snapshot.point.terms.eligible_risks[0]))  # fmt: skip
swap(
    "share above the configured one",
    8,
    decision.assignment,
    "limit",
    lambda f: lambda share: f(min(10_000, share * 2)),
)
swap("epoch word never looked at", 1, epoch_word.Mark, "stands", lambda _f: property(lambda _self: True))
swap("a move leaves the word", 1, points.epoch_word, "moving", lambda _f: lambda *_a, **_k: None)
swap(
    "who does not know serves the candidate",
    1,
    router.Router,
    "_is_current",
    lambda f: lambda self: f(self) or True,
)
swap("a dead writer's word is never settled", 1, epoch_word, "settle", lambda _f: lambda *_a: None)
swap("the word is even before COMMIT", 1, epoch_word, "moving", lambda _f: _even_at_once)


def _even_at_once(txn: Any, agent: str, environment: str, *, baseline: bool) -> None:
    """Readers that look now see the old point, and a word that stands."""
    path, slot = txn.word_path, epoch_word.slot_of(agent, environment)
    for each in (slot, epoch_word.SLOTS + slot) if baseline else (slot,):
        epoch_word._ended(path, each, epoch_word._began(path, each))
    if Bench.dying:
        return


# -- assigning

swap("no lease when a run is assigned", 5, Lease, "left_us", lambda _f: lambda _self, **_k: FOREVER_US)
swap("cap on runs ignored", 10, reserving, "run_claims",
     lambda f: lambda caps: tuple(replace(claim, ceiling=1e9) for claim in f(caps)))  # fmt: skip
swap("ineligible counted as evidence", 8, assigning, "_block",
     lambda f: lambda txn, req, found, terms: f(txn, req, replace(found, eligible=True), terms) if found.release_id else None)  # fmt: skip
swap(
    "a conversation changes its bundle on a ramp",
    3,
    assigning,
    "_kept",
    lambda _f: lambda _t, _s, _a, _c, found: found,
)
swap("a conversation stays on a reverted bundle", 1, assigning, "_may_continue", lambda _f: lambda *_a: True)
swap("repeats are not told apart", 8, assigning, "_repeats", lambda _f: lambda *_a: False)
swap("the share is drawn anew for every epoch", 8, decision.Answers, "decide",
     lambda f: lambda self, unit, *a: f(self, f"{unit}{self.snapshot.point.epoch}", *a))  # fmt: skip
text("blocks go on across a ramp", 4, "NEXT_BLOCK", " OR block_counter.epoch <> :epoch", "")
text("blocks never close by time", 4, "NEXT_BLOCK", "block_counter.opened_us <= :now_us - :time_us", "1 = 0")


# -- caps

text(
    "overshoot by one",
    10,
    "RESERVE",
    "cap_use.reserved + :amount <= :ceiling",
    "cap_use.reserved <= :ceiling",
)
text(
    "a settlement keeps the reservation",
    10,
    "SETTLE_CAP",
    "reserved = reserved - :amount",
    "reserved = reserved",
)
text("a late excess is not counted", 10, "ADD_USE", "cap_use.used + :spent", "cap_use.used")
swap("reservation never returned", 10, reserving, "expire", lambda _f: lambda *_a: 0)
text(
    "a reservation returns at once",
    10,
    "EXPIRED_RESERVATIONS",
    "expires_us <= :now_us",
    "expires_us > 0 AND :now_us > 0",
)
swap("a failed action keeps its place", 10, acting, "_give_back", lambda _f: lambda *_a: None)
swap("cap on actions ignored", 10, acting, "_count", lambda _f: lambda *_a: None)
text("failed actions count against the run", 10, "ACTION_COUNT", " AND state <> 'failed'", "")
swap("an unknown cost is free", 10, reserving, "most_usd", lambda f: lambda caps: f(caps) / 2)
swap("overspending fires nothing", 10, judging, "overspent", lambda _f: lambda *_a: None)

# -- actions

swap("late action let through", 7, acting, "_left", lambda _f: lambda *_a: None)
swap("late action is not marked", 7, acting, "_fence", lambda f: lambda *a: bool(f(*a)) and False)
swap("fence by mere inequality", 7, acting, "_left",
     lambda f: lambda txn, run, p: f(txn, run, p) or (("abort", "moved") if run["epoch"] != p.epoch else None))  # fmt: skip
swap("zero tolerance does not fence", 7, releasing, "fence_of", lambda _f: lambda p, _c=(): p.terms.on_revert)
text("stop ignored", 7, "STOP", "WHERE", "WHERE 1 = 0 AND")
swap("no idempotency key", 7, acting, "reserve",
     lambda f: lambda store, run_id, effect: f(store, run_id, replace(effect, key=None)))  # fmt: skip
swap("an action in doubt is done again", 7, acting, "reserve",
     lambda f: lambda store, run_id, effect: f(store, run_id, replace(effect, idempotent=True)))  # fmt: skip
swap("an action made again counts in the hour it began in alone", 10, acting, "_count",
     lambda f: lambda txn, run, p, kind, begun: None if begun else f(txn, run, p, kind, begun))  # fmt: skip
swap(
    "acknowledgement before effect",
    7,
    acting,
    "reserve",
    lambda f: lambda store, run_id, effect: _acknowledged(f, store, run_id, effect),
)
text("a settled action stays open", 7, "FINISH_ACTION", "state = 'reserved'", "state = 'nowhere'")


def _acknowledged(f: Any, store: Any, run_id: str, effect: Any) -> Any:
    """The gate says yes, and its row is settled before the effect was made."""
    gated = f(store, run_id, effect)
    if not gated.done:
        with store.transaction() as txn:
            txn.run(sql.FINISH_ACTION, id=gated.id, state="done", now_us=txn.now_us, result=None)
    return gated
