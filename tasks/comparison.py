"""The look: new evidence is read in one transaction, judged, then sealed with its verdict in another."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any

from config.policy import Policy
from evaluators import Comparison, History
from evaluators.absence import SetAside, judged
from evaluators.blocks import BlockCounts
from evaluators.readiness import Readiness
from evaluators.referees import Judges, Refereed, applied, unfit
from evaluators.rules import Rules
from evaluators.verdict import Verdict
from lastgood import points, registry, releasing, tallies
from lastgood.errors import Conflict, InvalidBundle, InvalidEvidence, OutdatedEvidence
from lastgood.part import Part
from lastgood.release import Terms
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store, Transaction
from tasks import evidence, frames, progress
from tasks.progress import Progress

log = logging.getLogger("lastgood")
#: times that a look is made when others store theirs first
_TRIES = 5


@dataclass(frozen=True, slots=True, eq=False)
class Frozen:
    """What a release was started with, rebuilt from its row."""

    policy: Policy
    history: History
    #: what it is judged by: the policy's rules without what it sets aside under this history, no share above
    #: what its readiness allowed
    rules: Rules
    #: guardrails that are left out of this release, and why
    set_aside: tuple[SetAside, ...]

    @classmethod
    def of(cls, release: Row) -> "Frozen":
        """Read it; raises `CorruptRow` where the policy does not hash to its digest."""
        policy = Policy.from_json(release["policy"], digest=release["policy_digest"])
        history = History.from_json(json.loads(release["history"]))
        found = judged(policy.rules(), history, policy.refereed)
        ready = readiness_of(release)
        rules = found.rules if ready is None else found.rules.bounded(ready.share_bp)
        return cls(policy, history, rules, found.set_aside)


def readiness_of(release: Row) -> Readiness | None:
    """What was known of a release's readiness when it started; None where nobody asked."""
    text = release["readiness"]
    return Readiness.from_json(json.loads(text)) if text else None


@dataclass(frozen=True, slots=True)
class Look:
    """One completed look."""

    #: number of the look, from 1
    seq: int
    verdict: Verdict
    #: candidate runs scored by share (basis points), closed blocks
    runs_by_share: dict[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class _Gathered:
    """The evidence of one moment, read and not yet judged."""

    #: looks that were stored by then
    looks: int
    comparison: Comparison
    blocks: evidence.Blocks
    #: how far the scoring was, and is
    before: Mapping[str, Progress]
    after: Mapping[str, Progress]
    judges: Judges
    #: whether the last look was given exactly this: there is nothing to store
    seen: bool


def look(store: Store, release: Row) -> Look:
    """Score what matured, judge it, store blocks, state and verdict; costs the new runs only.

    Without new evidence the last look stands: nothing is stored, and its number is returned again.

    It is judged between two transactions: an evaluator that hangs holds nothing that a revert waits for.
    Where somebody else stored a look meanwhile, all of it is done anew. Raises `Conflict` where that goes on.
    """
    frozen = Frozen.of(release)
    for _ in range(_TRIES):
        found = _gather(store, release, frozen)
        found.comparison.observe_blocks(found.blocks)
        verdict = applied(found.comparison.verdict(), frozen.rules, found.judges)
        if found.seen:
            return Look(found.looks, verdict, found.comparison.runs_by_share)
        if _keep(store, release, frozen, found, verdict):
            # from the state: a sum over the stored blocks would grow with the release
            return Look(found.looks + 1, verdict, found.comparison.runs_by_share)
    msg = f"{release['id']}: others look at it all the time; end all of its drivers but one"
    raise Conflict(msg)


def looks(store: Store, release_id: str) -> int:
    """How many looks of a release are stored."""
    with store.reading() as txn:
        stored = txn.one(sql.EVIDENCE, release_id=release_id)
    return int(stored["looks"]) if stored else 0


def _gather(store: Store, release: Row, frozen: Frozen) -> _Gathered:
    """Read what is new. Nobody writes meanwhile: a run that is being assigned may join no block read here."""
    with store.transaction(at=(release["agent"], release["environment"])) as txn:
        # read here: a switch between two transactions must not seal a block that still fills
        point = points.read(txn, release["agent"], release["environment"])
        stored = txn.one(sql.EVIDENCE, release_id=release["id"])
        comparison = _resumed(txn, frozen, stored)
        before = progress.read_progress(stored["sealed"] if stored else "{}")
        judges = Judges(judges_named(frozen), validators_differ(txn, release))
        sought = evidence.Sought(
            release["id"], point.epoch, frozen.rules, point.terms, frozen.history,
            unfit(frozen.rules, judges), frozen.policy.sampler(release["id"]),
        )  # fmt: skip
        blocks, after, refereed = evidence.gather(txn, sought, before)
        judges = replace(judges, refereed=refereed or judges.refereed)
        seen = stored is not None and _is_seen(txn, stored, after, Given(blocks, judges))
    return _Gathered(stored["looks"] if stored else 0, comparison, blocks, before, after, judges, seen)


def _is_seen(txn: Transaction, stored: Row, after: Mapping[str, Progress], given: "Given") -> bool:
    """Whether the last look was given the same, open blocks included, and nothing was sealed since."""
    if progress.write_progress(after) != stored["sealed"]:
        return False
    last = txn.one(sql.LAST_LOOK, release_id=stored["release_id"])
    if last is None:
        return False
    told = Given.read(json.loads(last["verdict"]))
    return _still_open(told) == _still_open(given) and told.judges == given.judges


def _still_open(given: "Given") -> str:
    """The open blocks of a look: what it saw and the next one sees again."""
    found = {name: [_plain(b) for b in blocks if not b.closed] for name, blocks in given.blocks.items()}
    return frames.plain({name: blocks for name, blocks in found.items() if blocks})


def _keep(store: Store, release: Row, frozen: Frozen, found: _Gathered, verdict: Verdict) -> bool:
    """Store a look; False where another one was stored since its evidence was read."""
    with store.transaction(at=(release["agent"], release["environment"])) as txn:
        stored = txn.one(sql.EVIDENCE, release_id=release["id"])
        if (stored["looks"] if stored else 0) != found.looks:
            return False
        _store_blocks(txn, release["id"], found.blocks)
        _seal(txn, release["id"], frozen.rules, found.before, found.after)
        txn.run(
            sql.SAVE_EVIDENCE,
            release_id=release["id"],
            state=frames.plain(found.comparison.to_json()),
            sealed=progress.write_progress(found.after),
            looks=found.looks + 1,
        )
        _store_look(txn, release, found.looks + 1, verdict, Given(found.blocks, found.judges))
    return True


def judges_named(frozen: Frozen) -> tuple[Refereed, ...]:
    """The referees that a policy names, before they judged anything."""
    return tuple(Refereed(column) for column in sorted(frozen.policy.refereed))


def validators_differ(txn: Transaction, release: Row) -> bool:
    """Whether the arms' bundles name different validators in their policy part."""
    parts = [registry.read(txn, release[arm]).bundle["policy"] for arm in ("baseline", "candidate")]
    return bool(_validators(parts[0]) != _validators(parts[1]))


def _validators(part: Part) -> Any:
    """What a policy part says under `validators`; None where it says nothing of them."""
    try:
        data = part.data
    except InvalidBundle:  # it holds text or several files: no validators are declared there
        return None
    return data.get("validators") if isinstance(data, Mapping) else None


def _resumed(txn: Transaction, frozen: Frozen, stored: Row | None) -> Comparison:
    """The comparison as the last look left it.

    Where that look was an older version's, whose sums are not ours, what all looks were given is added anew:
    once, as the next look is stored by this version.
    """
    rules = frozen.rules
    if stored is None:
        return Comparison(rules, frozen.history)
    try:
        return Comparison.from_json(rules, frozen.history, json.loads(stored["state"]))
    except OutdatedEvidence as error:
        release_id = stored["release_id"]
        log.warning("%s began under another version of lastgood: %s", release_id, error)
        anew = Comparison(rules, frozen.history)
        for row in txn.all(sql.LOOKS, release_id=release_id):
            anew.observe_blocks(Given.read(json.loads(row["verdict"])).blocks)
        return anew


def _store_blocks(txn: Transaction, release_id: str, blocks: evidence.Blocks) -> None:
    for guardrail, found in blocks.items():
        for block in found:
            if block.closed:
                txn.insert(
                    "block",
                    {
                        "release_id": release_id,
                        "guardrail": guardrail,
                        "stratum": block.stratum,
                        "block": block.block,
                        "share_bp": block.share_bp,
                        "n_c": block.n_c,
                        "y_c": block.y_c,
                        "n_b": block.n_b,
                        "y_b": block.y_b,
                    },
                )


def _seal(
    txn: Transaction,
    release_id: str,
    rules: Rules,
    before: Mapping[str, Progress],
    after: Mapping[str, Progress],
) -> None:
    """Seal the exact sums of blocks that this look was the last to score: nothing moves them any more."""
    slowest = str(max(rules.classes))
    was = before.get(slowest, Progress()).sealed
    done = [
        (stratum, block)
        for stratum, last in after.get(slowest, Progress()).sealed.items()
        for block in range(was.get(stratum, -1) + 1, last + 1)
    ]
    tallies.seal(txn, release_id, [name for name, _ in rules.strata], done)


def replay(store: Store, release_id: str) -> list[Verdict]:
    """Recompute the verdict of every look from the stored evidence, the frozen policy and history alone.

    Each look keeps the blocks that it was given, closed and open, in their order, and who judged the runs.
    """
    with store.reading() as txn:
        frozen = Frozen.of(releasing.read(txn, release_id))
        looks = [Given.read(json.loads(row["verdict"])) for row in txn.all(sql.LOOKS, release_id=release_id)]
    return list(recomputed(frozen, looks))


def recomputed(frozen: Frozen, looks: Iterable["Given"]) -> Iterator[Verdict]:
    """The verdict of each look in turn, from what it was given; InvalidEvidence on what can't be."""
    comparison = Comparison(frozen.rules, frozen.history)
    for given in looks:
        comparison.observe_blocks(given.blocks)
        yield applied(comparison.verdict(), frozen.rules, given.judges)


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What a look was given: the new evidence."""

    blocks: evidence.Blocks
    judges: Judges

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> "Given":
        """From a stored look; InvalidEvidence where it can't be read."""
        try:
            blocks = {
                name: [BlockCounts(*block) for block in found] for name, found in stored["blocks"].items()
            }
            judges = stored.get("judges", {"refereed": [], "validators_differ": False})
            refereed = tuple(Refereed(c, tuple(d), n, k) for c, d, n, k in judges["refereed"])
            return cls(blocks, Judges(refereed, bool(judges["validators_differ"])))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, InvalidEvidence):
                raise
            msg = f"a stored look does not hold what it was given: {error!r}"
            raise InvalidEvidence(msg) from error

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        refereed = [[r.column, list(r.digests), r.sampled, r.judged] for r in self.judges.refereed]
        return {
            "blocks": {name: [_plain(block) for block in found] for name, found in self.blocks.items()},
            "judges": {"refereed": refereed, "validators_differ": self.judges.validators_differ},
        }


def _store_look(txn: Transaction, release: Row, seq: int, verdict: Verdict, given: Given) -> None:
    values = {
        "release_id": release["id"],
        "seq": seq,
        "at_us": txn.now_us,
        "decision": str(verdict.decision),
        "verdict": frames.plain(
            {**verdict.to_json(), **given.to_json(), "policy_digest": release["policy_digest"]}
        ),
    }
    txn.insert("look", values)


def _plain(block: BlockCounts) -> list[Any]:
    """A block as JSON holds it: its sums last, left out where it only counts."""
    values = list(astuple(block))
    return values if block.sums else values[:-1]


def terms_of(policy: Policy) -> Terms:
    """Return what the agent side needs of a policy."""
    rules = policy.rules()
    return Terms(
        eligible_risks=policy.eligible_risks,
        risk_default=policy.risk_default,
        lost_after_us=policy.lost_after,
        block_size=rules.block_size,
        block_time_us=rules.block_time_us,
        cooldown_us=policy.cooldown,
        agent_cooldown_us=policy.agent_cooldown,
        strata=tuple(name for name, _ in rules.strata),
        caps=policy.caps(),
        triggers=policy.triggers(),
        on_revert=policy.on_revert,
        watch_us=policy.watch.time,
        after_watch=policy.after_watch,
        records=policy.records(),
    )
