"""The look: new evidence is sealed and judged, and the verdict stored, in one transaction."""

import json
from dataclasses import astuple, dataclass
from typing import Any

from config.policy import Policy
from evaluators import Comparison, History
from evaluators.blocks import BlockCounts
from evaluators.verdict import Verdict
from lastgood import points, releasing
from lastgood.release import Terms
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store, Transaction
from tasks import evidence, frames


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a release was started with, rebuilt from its row."""

    policy: Policy
    history: History

    @classmethod
    def of(cls, release: Row) -> "Frozen":
        """Read it; raises `CorruptRow` where the policy does not hash to its digest."""
        policy = Policy.from_json(release["policy"], digest=release["policy_digest"])
        return cls(policy, History.from_json(json.loads(release["history"])))


@dataclass(frozen=True, slots=True)
class Look:
    """One completed look."""

    #: number of the look, from 1
    seq: int
    verdict: Verdict
    #: candidate runs scored by share (basis points), closed blocks
    runs_by_share: dict[int, int]


def look(store: Store, release: Row) -> Look:
    """Score what matured, judge it, store blocks, state and verdict; costs the new runs only."""
    frozen = Frozen.of(release)
    with store.transaction() as txn:
        # read here: a switch between two transactions must not seal a block that still fills
        point = points.read(txn, release["agent"], release["environment"])
        stored = txn.one(sql.EVIDENCE, release_id=release["id"])
        comparison = _resumed(frozen, stored)
        progress = evidence.read_progress(stored["sealed"] if stored else "{}")
        blocks, progress = evidence.gather(
            txn,
            release["id"],
            point.epoch,
            rules=comparison.rules,
            terms=point.terms,
            history=frozen.history,
            progress=progress,
        )
        comparison.observe_blocks(blocks)
        verdict = comparison.verdict()
        seq = (stored["looks"] if stored else 0) + 1
        _store_blocks(txn, release["id"], blocks)
        txn.run(
            sql.SAVE_EVIDENCE,
            release_id=release["id"],
            state=frames.plain(comparison.to_json()),
            sealed=evidence.write_progress(progress),
            looks=seq,
        )
        _store_look(txn, release["id"], seq, verdict, blocks)
        shares = {row["share_bp"]: row["n"] for row in txn.all(sql.RUNS_BY_SHARE, release_id=release["id"])}
        return Look(seq, verdict, shares)


def _resumed(frozen: Frozen, stored: Row | None) -> Comparison:
    rules = frozen.policy.rules()
    if stored is None:
        return Comparison(rules, frozen.history)
    return Comparison.from_json(rules, frozen.history, json.loads(stored["state"]))


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


def replay(store: Store, release_id: str) -> list[Verdict]:
    """Recompute the verdict of every look from the stored evidence, the frozen policy and history alone.

    Each look keeps the blocks that it was given, closed and open, in their order.
    """
    with store.reading() as txn:
        frozen = Frozen.of(releasing.read(txn, release_id))
        looks = [json.loads(row["verdict"])["blocks"] for row in txn.all(sql.LOOKS, release_id=release_id)]
    comparison, verdicts = Comparison(frozen.policy.rules(), frozen.history), []
    for given in looks:
        comparison.observe_blocks({name: [BlockCounts(*b) for b in found] for name, found in given.items()})
        verdicts.append(comparison.verdict())
    return verdicts


def _store_look(
    txn: Transaction, release_id: str, seq: int, verdict: Verdict, blocks: evidence.Blocks
) -> None:
    given = {name: [_plain(block) for block in found] for name, found in blocks.items()}
    values = {
        "release_id": release_id,
        "seq": seq,
        "at_us": txn.now_us,
        "decision": str(verdict.decision),
        "verdict": frames.plain({**verdict.to_json(), "blocks": given}),
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
        strata=tuple(name for name, _ in rules.strata),
        caps=policy.caps(),
        triggers=policy.triggers(),
        records=policy.records(),
    )
