"""Notices: what people have to be told, written in the transaction of what happened.

A notice is a row of its own, so that no crash loses one and no sender is needed when it is written; whichever
process lives sends what is due (`lastgood.outbox` keeps the deliveries, the pipeline has the transports).
"""

from lastgood.ids import new_id
from lastgood.ledger import Entry
from lastgood.moves import ControlPoint
from lastgood.notice import KINDS, Level, Notice
from lastgood.store import telling
from lastgood.store.connection import Transaction

__all__ = ["KINDS", "Level", "Notice", "announce", "put", "said"]

#: the ledger's actions that people are told of: the kind of notice, its level, and what the title says
_TOLD = {
    "adopt": ("adopted", Level.INFORM, "{baseline} was adopted as the first baseline"),
    "start": ("started", Level.INFORM, "a release of {candidate} was recorded; {baseline} serves"),
    "share": ("share", Level.INFORM, "{candidate} serves {share} of the eligible runs"),
    "lapse": ("lapsed", Level.INFORM, "the lease lapsed: {baseline} serves everybody"),
    "ask": ("asking", Level.PAGE, "a person has to decide about {candidate}; {baseline} serves everybody"),
    "await": ("asking", Level.PAGE, "a person has to approve what comes next; {served}"),
    "approve": ("approved", Level.INFORM, "a person decided about {candidate}"),
    "cooldown": ("cleared", Level.INFORM, "the cool-down was ended: a release may start"),
    "promote": ("promoted", Level.INFORM, "{baseline} was promoted ({standing})"),
    "revert": ("reverted", Level.PAGE, "{was} was reverted: {baseline} serves everybody"),
    "rollback": ("reverted", Level.PAGE, "{was} was rolled back: {baseline} serves everybody"),
    "restore": ("restored", Level.PAGE, "the control point was edited by hand and was restored"),
    "kill": ("killed", Level.INFORM, "the kill switch is on: no candidate run starts"),
    "clear": ("cleared", Level.INFORM, "the kill switch is off"),
    "stop": ("stopped", Level.INFORM, "external actions are denied"),
    "unstop": ("allowed", Level.INFORM, "external actions are allowed again"),
    "readmit": ("readmitted", Level.INFORM, "a bundle may be released again"),
    "alarm": ("alarm", Level.PAGE, "a trigger fired and {baseline} still serves: a person is needed"),
}
#: characters of a title and of a text at most
_TITLE, _TEXT = 200, 2_000


def put(txn: Transaction, notice: Notice) -> bool:
    """Write a notice in the caller's transaction; return False where its key was told already."""
    if notice.kind not in KINDS:
        msg = f"no kind of notice {notice.kind!r}; there are {', '.join(KINDS)}"
        raise ValueError(msg)
    values = {
        "id": new_id("ntc_", txn.now_us),
        "agent": notice.agent,
        "environment": notice.environment,
        "kind": notice.kind,
        "level": str(notice.level),
        "key": notice.key,
        "title": _cut(" ".join(notice.title.split()), _TITLE),
        "text": _cut(notice.text, _TEXT),
        "at_us": txn.now_us,
        "state": "new",
    }
    return txn.run(telling.PUT_NOTICE, **values) == 1


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def said(was: ControlPoint | None, now: ControlPoint, entry: Entry, seq: int) -> Notice | None:
    """Return what people are told of a move, row `seq` of its ledger; None for one that is routine."""
    if entry.action not in _TOLD:
        return None
    kind, level, title = _TOLD[entry.action]
    left = None if was is None else was.candidate if entry.action == "revert" else was.baseline
    words = {
        "baseline": _short(now.baseline),
        "candidate": _short(now.candidate),
        "was": _short(left),
        "share": f"{now.share_bp / 100:g}%",
        "standing": now.standing,
        "served": f"{_short(now.candidate)} serves {now.share_bp / 100:g}%"
        if now.share_bp
        else "no run is its",
    }
    lines = [entry.reason or "no reason given", f"by {entry.actor}, at epoch {now.epoch}"]
    if entry.release_id is not None:
        lines.append(f"release {entry.release_id}")
    if kind == "asking":
        lines.append(
            f"decide: lastgood approve {now.agent} -e {now.environment} --decision promote|revert -m ..."
        )
    return Notice(
        now.agent,
        now.environment,
        kind,
        f"{now.agent}/{now.environment}/{seq}",
        f"{now.name}: {title.format(**words)}",
        "\n".join(lines),
        level,
    )


def announce(txn: Transaction, was: ControlPoint | None, now: ControlPoint, entry: Entry, seq: int) -> None:
    """Tell people of a move, in its own transaction."""
    notice = said(was, now, entry, seq)
    if notice is not None:
        put(txn, notice)


def _short(bundle_id: str | None) -> str:
    return f"b-{bundle_id[:8]}" if bundle_id else "no bundle"
