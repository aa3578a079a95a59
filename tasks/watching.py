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
from lastgood import incidents, notices, profile, releasing
from lastgood.errors import InvalidInput, NotFound
from lastgood.ids import new_id
from lastgood.release import ReleaseState
from lastgood.store import aftermath
from lastgood.store import watching as sql
from lastgood.store.connection import Row, Store, Transaction
from tasks import signals, watch_evidence, watch_notices
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
        subjects = [row["id"] for row in txn.all(sql.DUE_INCIDENTS, since=since)]
        subjects += [row["id"] for row in txn.all(sql.PROMOTED_UNWATCHED, since=since)]
        ready = [row["id"] for row in txn.all(sql.OPEN_WATCHES) if txn.now_us >= row["until_us"]]
    return subjects, ready


def begin(store: Store, subject: str) -> str:
    """Begin the watch of an incident, or of a release that was reverted or promoted, once; return its id.

    Raises `NotFound`, and `InvalidInput` where nothing was switched, or what was left served nobody.
    """
    with store.transaction(durable=True) as txn:
        subject = _subject(txn, subject)
        standing = txn.one(sql.WATCH_OF, subject=subject)
        if standing is not None:
            return str(standing["id"])
        values = _of_incident(txn, subject) if subject.startswith("inc_") else _of_promotion(txn, subject)
        row = {"id": new_id("wat_", txn.now_us), "subject": subject, "state": "watching", **values}
        txn.insert("watch", {**row, "begun_us": txn.now_us})
        txn.run(aftermath.SET_WATCH, id=subject, watch="watching")
        return str(row["id"])


def _subject(txn: Transaction, reference: str) -> str:
    """The incident of a release that was reverted; whatever else stays as it is."""
    if reference.startswith("inc_"):
        return reference
    release = releasing.read(txn, reference)
    if release["ended_us"] is None:
        msg = f"{reference} is still live: its watch begins when it is reverted or promoted"
        raise InvalidInput(msg)
    if release["state"] == ReleaseState.PROMOTED:
        return reference
    incident = txn.one(sql.INCIDENT_OF_RELEASE, release_id=reference)
    if incident is None:
        msg = f"{reference} was reverted before this version kept incidents: it can't be watched"
        raise NotFound(msg)
    return str(incident["id"])


def _of_promotion(txn: Transaction, release_id: str) -> dict[str, object]:
    row = releasing.read(txn, release_id)
    policy = Policy.from_json(row["policy"], digest=row["policy_digest"])
    switch = _Switch(
        Kind.PROMOTE, row["agent"], row["environment"], row["baseline"], row["candidate"],
        row["started_us"], row["ended_us"], release_id,
    )  # fmt: skip
    return _values(switch, policy, _terms(policy))


def _of_incident(txn: Transaction, incident_id: str) -> dict[str, object]:
    found = incidents.read(txn, incident_id)
    if found.by in {incidents.ALARM, incidents.PERSON} or found.good is None:
        msg = f"{incident_id} was opened by {found.by} and nothing was switched: there is nothing to watch"
        raise InvalidInput(msg)
    if txn.one(sql.HAS_RUN, **found.window) is None:
        msg = (
            f"{incident_id}: b-{found.bad[:8]} has no run in its window, so nothing says what it did; "
            "there is nothing to watch"
        )
        raise InvalidInput(msg)
    release = releasing.read(txn, found.release_id) if found.release_id else None
    policy = _policy_of(release)
    from_us = found.from_us
    if release is not None and release["state"] == ReleaseState.PROMOTED:
        from_us = release["ended_us"]  # it served everybody: beside it stood nobody
    terms = _terms(policy)
    given = ("events",) if set(found.culprits) & set(terms.events) else ()
    shown = {_SHOWN_BY[culprit] for culprit in found.culprits if culprit in _SHOWN_BY}
    proven = tuple(sorted(shown)) if found.by == "evidence" else ()
    switch = _Switch(
        Kind.REVERT, found.agent, found.environment, found.bad, found.good, from_us, found.to_us,
        found.release_id,
    )  # fmt: skip
    return _values(switch, policy, replace(terms, given=given, proven=proven))


def _policy_of(release: Row | None) -> Policy:
    """The policy that the bundle served under, else the default one."""
    if release is None:
        return Policy.builtin()
    return Policy.from_json(release["policy"], digest=release["policy_digest"])


def _terms(policy: Policy) -> WatchTerms:
    spec = policy.watch
    rules = WatchRules(spec.alpha, 1.0 + spec.tolerance, spec.recovery, spec.rule_out)
    return WatchTerms(rules, spec.history, policy.lost_after, spec.enough, policy.triggers().zero_tolerance)


@dataclass(frozen=True, slots=True)
class _Switch:
    """What was switched, and the window before it."""

    kind: Kind
    agent: str
    environment: str
    left: str
    good: str
    from_us: int
    at_us: int
    release_id: str | None


def _values(switch: _Switch, policy: Policy, terms: WatchTerms) -> dict[str, object]:
    until_us = switch.at_us + policy.watch.time
    return {
        "agent": switch.agent, "environment": switch.environment, "kind": str(switch.kind),
        "release_id": switch.release_id, "left_bundle": switch.left, "good_bundle": switch.good,
        "from_us": switch.from_us, "at_us": switch.at_us, "until_us": until_us,
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
        pinned = watch_evidence.pinned_models(txn, row["good_bundle"], runs)
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
        row = txn.one(sql.WATCH, id=watch_id)
        assert row is not None  # noqa: S101  nobody deletes one
        if txn.run(sql.SAY_FAST, id=watch_id, verdict=text, now_us=txn.now_us):
            _tell(txn, row, found.verdict, "fast")
        if found.stage == "final" and txn.run(sql.SAY_FINAL, id=watch_id, verdict=text, now_us=txn.now_us):
            row = txn.one(sql.WATCH, id=watch_id)
            assert row is not None  # noqa: S101
            _tell(txn, row, found.verdict, "final")
    return found


def _tell(txn: Transaction, row: Row, verdict: Watched, stage: str) -> None:
    """Write the answer into the incident, and tell people of one that is new."""
    txn.run(aftermath.SET_WATCH, id=row["subject"], watch=str(verdict.answer))
    notice = watch_notices.notice_of(row, verdict, stage)
    if notice is not None:
        notices.put(txn, notice)


def keep_up(store: Store) -> list[Glance]:
    """Begin every watch that is due and look at every one that a look would move on."""
    begun, ready = due(store)
    for subject in begun:
        try:
            watch_id = begin(store, subject)
        except InvalidInput:  # nothing was switched, or it served nobody
            with store.transaction() as txn:
                txn.run(aftermath.SET_WATCH, id=subject, watch="none")
            continue
        if find(store, watch_id)["until_us"] <= store.clock.now_us():
            ready.append(watch_id)
    return [look(store, watch_id) for watch_id in ready]


def resolve(store: Store, reference: str, environment: str) -> list[str]:
    """Watches that people mean by an agent, a release, an incident or a watch; newest first.

    One that is due begins. Raises `NotFound`, and `InvalidInput` for what can't be watched.
    """
    if reference.startswith("wat_"):
        return [find(store, reference)["id"]]
    if reference.startswith(("rel_", "inc_")):
        return [begin(store, reference)]
    keep_up(store)
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
