"""The watch: what is due after a switch, one look at it, and its end. Plain functions; all state is a row.

A watch begins with any revert, promotion or rollback of a baseline; what is due is read from our own tables,
so that no crash loses one, and beginning or looking again changes nothing that stands.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from config.policy import Policy
from evaluators.watched import Kind, Seen, Watched, WatchRules
from evaluators.watching import judge
from lastgood import points, profile, releasing
from lastgood.errors import InvalidInput, NotFound
from lastgood.ids import new_id
from lastgood.release import ReleaseState, Terms
from lastgood.store import statements
from lastgood.store import watching as sql
from lastgood.store.connection import Row, Store, Transaction
from tasks import signals, watch_evidence
from tasks.watch_evidence import Asked, Place

HOUR_US = 3_600_000_000
#: microseconds after a switch in which its watch still begins by itself
_RECENT_US = 24 * HOUR_US
#: guardrails of a policy by the signal of the watch that shows the same harm
_SHOWN_BY = {
    "completion": "completion", "validation": "validation", "escalation": "escalation",
    "incidents": "incidents", "lost": "errors", "infra": "errors", "cost": "spend",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class WatchTerms:
    """What a watch is held to from its beginning on."""

    rules: WatchRules
    #: microseconds before the window that say what was usual, and after which a silent run is lost
    history_us: int
    lost_after_us: int
    #: matured runs at which the final verdict is made
    enough: int
    events: tuple[str, ...]
    given: tuple[str, ...] = ()
    proven: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "WatchTerms":
        """The inverse of `to_json`."""
        raw: dict[str, Any] = json.loads(text)
        for name in ("events", "given", "proven"):
            raw[name] = tuple(raw[name])
        return cls(**{**raw, "rules": WatchRules(**raw["rules"])})


@dataclass(frozen=True, slots=True, eq=False)
class Glance:
    """One look at a watch."""

    row: Row
    seen: Seen
    verdict: Watched
    #: `early` (the window goes on), `fast` or `final`
    stage: str


def due(store: Store) -> tuple[list[str], list[str]]:
    """Subjects whose watch has to begin, and ids of watches that a look would move on."""
    with store.reading() as txn:
        since = txn.now_us - _RECENT_US
        subjects = [row["id"] for row in txn.all(sql.ENDED_UNWATCHED, since=since)]
        for row in txn.all(sql.WITHDRAWN, since=since):
            subject = _subject(row)
            if txn.one(sql.WATCH_OF, subject=subject) is None:
                subjects.append(subject)
        ready = [row["id"] for row in txn.all(sql.OPEN_WATCHES) if txn.now_us >= row["until_us"]]
    return subjects, ready


def _subject(served: Row) -> str:
    return f"{served['agent']}/{served['environment']}/{served['epoch']}"


def begin(store: Store, subject: str) -> str:
    """Begin the watch of a switch, once; return its id.

    `subject` is a release that ended, or `AGENT/ENVIRONMENT/EPOCH` of a baseline that was left. Raises
    `NotFound`, and `InvalidInput` for a release that is still live or served nobody.
    """
    with store.transaction(durable=True) as txn:
        standing = txn.one(sql.WATCH_OF, subject=subject)
        if standing is not None:
            return str(standing["id"])
        values = _of_baseline(txn, subject) if subject.count("/") >= 2 else _of_release(txn, subject)
        watch_id = new_id("wat_", txn.now_us)
        txn.insert(
            "watch",
            {"id": watch_id, "subject": subject, "state": "watching", **values, "begun_us": txn.now_us},
        )
        return watch_id


def _of_release(txn: Transaction, release_id: str) -> dict[str, object]:
    row = releasing.read(txn, release_id)
    if row["ended_us"] is None:
        msg = f"{release_id} is still live: its watch begins when it is reverted or promoted"
        raise InvalidInput(msg)
    policy = Policy.from_json(row["policy"], digest=row["policy_digest"])
    promoted = row["state"] == ReleaseState.PROMOTED
    ending = txn.one(statements.STAGE, release_id=release_id, key="promote" if promoted else "revert")
    by = json.loads(ending["detail"])["by"] if ending else ""
    culprits: list[str] = json.loads(row["culprits"])
    terms = _terms(policy)
    given = ("events",) if set(culprits) & set(terms.events) else ()
    proven = tuple(sorted({_SHOWN_BY[c] for c in culprits if c in _SHOWN_BY})) if by == "evidence" else ()
    left, good = ("baseline", "candidate") if promoted else ("candidate", "baseline")
    return _values(
        row, Kind.PROMOTE if promoted else Kind.REVERT, row[left], row[good],
        (row["started_us"], row["ended_us"]), policy,
        replace(terms, given=given, proven=proven), release_id,
    )  # fmt: skip


def _of_baseline(txn: Transaction, subject: str) -> dict[str, object]:
    agent, environment, epoch = subject.rsplit("/", 2)
    key: dict[str, Any] = {"agent": agent, "environment": environment, "epoch": _epoch(epoch)}
    left, good = txn.one(sql.SERVED_AT, **key), txn.one(sql.SERVED_AFTER, **key)
    if left is None or good is None or left["withdrawn_us"] is None:
        msg = f"{subject} names no baseline that was rolled back; `lastgood status {agent}` shows the moves"
        raise NotFound(msg)
    made = points.read(txn, agent, environment)
    policy = _policy_of(txn, left["release_id"])
    terms = _terms(policy, made.terms)
    move = txn.one(sql.MOVE_AT, agent=agent, environment=environment, epoch=good["epoch"])
    reason = str(move["reason"]) if move else ""
    given = ("events",) if reason.split(" in run ")[0] in terms.events else ()
    window = (left["since_us"], left["withdrawn_us"])
    return _values(
        left, Kind.REVERT, left["bundle_id"], good["bundle_id"], window, policy,
        replace(terms, given=given), None,
    )  # fmt: skip


def _epoch(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        msg = f"{text!r} is no epoch; a baseline that was left is named AGENT/ENVIRONMENT/EPOCH"
        raise InvalidInput(msg) from error


def _policy_of(txn: Transaction, release_id: str | None) -> Policy:
    """The policy of the release that made a baseline, else the default one."""
    if release_id is None:
        return Policy.builtin()
    row = releasing.read(txn, release_id)
    return Policy.from_json(row["policy"], digest=row["policy_digest"])


def _terms(policy: Policy, held: Terms | None = None) -> WatchTerms:
    spec = policy.watch
    rules = WatchRules(spec.alpha, 1.0 + spec.tolerance, spec.recovery, spec.rule_out)
    events = held.triggers.zero_tolerance if held else policy.triggers().zero_tolerance
    return WatchTerms(rules, spec.history, policy.lost_after, spec.enough, events)


def _values(
    place: Row,
    kind: Kind,
    left: str,
    good: str,
    window: tuple[int, int],
    policy: Policy,
    terms: WatchTerms,
    release_id: str | None,
) -> dict[str, object]:
    until_us = window[1] + policy.watch.time
    return {
        "agent": place["agent"], "environment": place["environment"], "kind": str(kind),
        "release_id": release_id, "left_bundle": left, "good_bundle": good, "from_us": window[0],
        "at_us": window[1], "until_us": until_us,
        "matures_us": until_us + max(policy.rules().classes), "terms": terms.to_json(),
    }  # fmt: skip


def find(store: Store, watch_id: str) -> Row:
    """Return a watch's row; raises `NotFound`."""
    with store.reading() as txn:
        row = txn.one(sql.WATCH, id=watch_id)
    if row is None:
        msg = f"no watch {watch_id!r}; `lastgood watch AGENT` shows an agent's"
        raise NotFound(msg)
    return row


def glance(store: Store, watch_id: str) -> Glance:
    """Judge what is known now; nothing is written. Outside signals are asked with no transaction open."""
    row = find(store, watch_id)
    terms = WatchTerms.from_json(row["terms"])
    with store.reading() as txn:
        now_us = min(txn.now_us, row["matures_us"])
        outside = profile.read(txn, row["agent"]).signals
        asked = _asked(row, terms, now_us)
        runs, calls = watch_evidence.runs(txn, asked), watch_evidence.calls(txn, asked)
        pinned = watch_evidence.pinned(txn, row["good_bundle"])
    series = signals.read_all(outside, asked.before_us, now_us)
    seen = Seen(
        Kind(row["kind"]), runs, row["from_us"], row["at_us"], now_us, series, terms.given, terms.proven,
        pinned, calls,
    )  # fmt: skip
    return Glance(row, seen, judge(seen, terms.rules), _stage(row, seen, terms))


def _asked(row: Row, terms: WatchTerms, now_us: int) -> Asked:
    return Asked(
        Place(row["agent"], row["environment"]), Kind(row["kind"]), row["release_id"], row["left_bundle"],
        row["good_bundle"], row["from_us"] - terms.history_us, row["from_us"], row["at_us"], now_us,
        terms.lost_after_us, terms.events,
    )  # fmt: skip


def _stage(row: Row, seen: Seen, terms: WatchTerms) -> str:
    """Final once every metric is matured, or enough runs are and the window is over."""
    if seen.until_us < row["until_us"]:
        return "early"
    matured = seen.runs.loc[seen.runs["group"] == "after", "at_us"]
    span_us = row["matures_us"] - row["until_us"]
    enough = int((matured <= seen.until_us - span_us).sum()) >= terms.enough
    return "final" if enough or seen.until_us >= row["matures_us"] else "fast"


def look(store: Store, watch_id: str) -> Glance:
    """Look once, and keep the verdict where one is due; a person is told of each that is new."""
    found = glance(store, watch_id)
    if found.stage == "early" or found.row["ended_us"] is not None:
        return found
    text = json.dumps(found.verdict.to_json(), sort_keys=True)
    with store.transaction(durable=True, at=(found.row["agent"], found.row["environment"])) as txn:
        txn.run(sql.SAY_FAST, id=watch_id, verdict=text, now_us=txn.now_us)
        if found.stage == "final":
            txn.run(sql.SAY_FINAL, id=watch_id, verdict=text, now_us=txn.now_us)
    return found


def keep_up(store: Store) -> list[Glance]:
    """Begin every watch that is due and look at every one that a look would move on."""
    begun, ready = due(store)
    for subject in begun:
        watch_id = begin(store, subject)
        if find(store, watch_id)["until_us"] <= store.clock.now_us():
            ready.append(watch_id)
    return [look(store, watch_id) for watch_id in ready]


def resolve(store: Store, reference: str, environment: str) -> list[str]:
    """Watches that people mean by an agent, a release, a watch or `AGENT/ENVIRONMENT/EPOCH`; newest first.

    One of a release begins where it has not yet. Raises `NotFound`.
    """
    if reference.startswith("wat_"):
        return [find(store, reference)["id"]]
    if reference.startswith("rel_") or reference.count("/") >= 2:
        return [begin(store, reference)]
    for subject in due(store)[0]:
        begin(store, subject)
    with store.reading() as txn:
        rows = txn.all(sql.WATCHES, agent=reference, environment=environment, most=20)
    if not rows:
        msg = (
            f"{reference} in {environment} has no watch: nothing was reverted, promoted or rolled back there "
            "in the last 24 h; name a release (rel_...) to watch an older one"
        )
        raise NotFound(msg)
    return [row["id"] for row in rows]


__all__ = ["Glance", "WatchTerms", "begin", "due", "find", "glance", "keep_up", "look", "resolve"]
