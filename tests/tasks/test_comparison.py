"""A look: new evidence sealed and judged in one transaction, and replayable from what is stored."""

import json
import shutil
from dataclasses import asdict, replace

import pytest

from evaluators import Comparison
from evaluators.blocks import BlockCounts
from lastgood import recorder, registry
from lastgood.bundle import KINDS, Bundle, Part
from lastgood.errors import CorruptRow
from lastgood.store.connection import Store
from tasks import comparison, driving

MINUTE = 60_000_000
TWO = """
name: two
guardrails:
  completion: {margin: 15 points, matures: 10 min}
  validation: {margin: 15 points, matures: 40 min}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 40%}]
block: {size: 5, time: 1 h}
lease: 6 h
"""


def opened(world, text=TWO):
    release_id = world.start(text)
    driver = driving.begin(world.store, release_id, "me")
    for _ in range(3):
        world.step(driver)
    return release_id


def look(world, release_id):
    return comparison.look(world.store, driving.read(world.store, release_id)[0])


def close_to(ours, theirs):
    """Equal, doubles within 1e-9."""
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(close_to(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list | tuple):
        return len(ours) == len(theirs) and all(map(close_to, ours, theirs))
    if isinstance(ours, float):
        return ours == theirs or abs(ours - theirs) <= 1e-9
    return ours == theirs


@pytest.mark.parametrize(("good", "decision"), [(0.9, "hold"), (0.1, "revert")])
def test_the_same_comes_of_one_look_and_of_many(world, tmp_path, good, decision):
    release_id = opened(world)
    began = world.clock.now_us()
    world.work(80, candidate=good, every=MINUTE)
    world.clock.advance(120 * MINUTE)
    ended = world.clock.now_us()
    world.store.close()
    shutil.copy(world.store.path, tmp_path / "other.db")
    once = look(world, release_id).verdict
    many = replace(world, store=Store(f"sqlite:///{tmp_path / 'other.db'}", world.clock))
    for world.clock.wall_us in range(began, ended + 1, 4 * MINUTE):
        often = look(many, release_id)
    assert 3 < often.seq <= 51  # a look without new evidence is not stored
    assert once.decision == decision
    ours, theirs = asdict(often.verdict), asdict(once)
    if decision == "revert":
        # completion ended it; how far the class that matures later had come by then hangs on the looks
        for found in (ours, theirs):
            found["guardrails"] = found["guardrails"][:1]
        assert once.culprits == ("completion",)
    assert close_to(ours, theirs)
    assert once.candidate_runs > 3


def test_a_look_goes_on_in_another_process(world):
    """Nothing is kept but the store: the verdict of the stored state is the one that was given."""
    release_id = opened(world)
    world.work(60)
    world.clock.advance(60 * MINUTE)
    made = look(world, release_id)
    row = driving.read(world.store, release_id)[0]
    frozen = comparison.Frozen.of(row)
    state = json.loads(world.rows("SELECT state FROM evidence")[0]["state"])
    again = Comparison.from_json(frozen.policy.rules(), frozen.history, state).verdict()
    assert close_to(asdict(again), asdict(made.verdict))


def test_every_stored_verdict_is_recomputed_from_the_stored_blocks(world):
    release_id = opened(world)
    for _ in range(12):
        world.work(8, candidate=0.6)
        world.clock.advance(5 * MINUTE)
        look(world, release_id)
    stored = [json.loads(row["verdict"]) for row in world.rows("SELECT verdict FROM look ORDER BY seq")]
    for verdict in stored:
        for given in ("blocks", "judges", "policy_digest"):
            del verdict[given]
    again = [
        json.loads(json.dumps(verdict.to_json())) for verdict in comparison.replay(world.store, release_id)
    ]
    assert len(again) == 12
    assert close_to(again, stored)
    assert stored[-1]["log_family"] != 0


def test_the_sealed_blocks_are_those_of_the_looks(world):
    release_id = opened(world)
    for _ in range(6):
        world.work(15)
        world.clock.advance(15 * MINUTE)
        look(world, release_id)
    given = [
        json.loads(row["verdict"])["blocks"] for row in world.rows("SELECT verdict FROM look ORDER BY seq")
    ]
    closed = [
        (name, BlockCounts(*block))
        for blocks in given
        for name, found in blocks.items()
        for block in found
        if block[-1]
    ]
    stored = world.rows("SELECT * FROM block ORDER BY guardrail, stratum, block")
    assert len(stored) == len(closed) > 10
    for row in stored:
        del row["release_id"]
        name = row.pop("guardrail")
        assert (name, BlockCounts(**row, closed=True)) in closed


def test_guardrails_that_mature_later_are_judged_when_nothing_new_was_assigned(world):
    release_id = opened(world)
    world.work(20)
    world.clock.advance(11 * MINUTE)
    look(world, release_id)
    world.clock.advance(90 * MINUTE)
    look(world, release_id)
    world.clock.advance(90 * MINUTE)
    verdict = look(world, release_id).verdict
    assert verdict.guardrail("validation").n_b == verdict.guardrail("completion").n_b > 0
    assert verdict.assigned == 20


def test_looking_again_at_the_same_evidence_says_the_same(world):
    release_id = opened(world)
    world.work(30)
    world.clock.advance(60 * MINUTE)
    first = look(world, release_id)
    before = world.dump()
    second = look(world, release_id)
    assert first.verdict == second.verdict
    assert (first.seq, second.seq) == (1, 1)
    assert world.dump() == before


def test_a_look_that_breaks_leaves_nothing_behind(world, monkeypatch):
    release_id = opened(world)
    world.work(30)
    world.clock.advance(60 * MINUTE)
    before = world.dump()

    def broken(_self):
        raise ZeroDivisionError

    monkeypatch.setattr(Comparison, "verdict", broken)
    with pytest.raises(ZeroDivisionError):
        look(world, release_id)
    assert world.dump() == before


def test_candidate_runs_are_told_by_share(world):
    release_id = opened(world)
    world.work(60)
    world.clock.advance(60 * MINUTE)
    made = look(world, release_id)
    assert made.runs_by_share == {4000: made.verdict.candidate_runs}


def test_a_policy_that_was_changed_behind_our_back_is_refused(world):
    release_id = opened(world)
    world.tamper('UPDATE release SET policy = replace(policy, \'"share":"40%"\', \'"share":"90%"\')')
    with pytest.raises(CorruptRow):
        look(world, release_id)


def test_the_terms_of_a_policy_are_those_that_agents_are_held_to(world):
    policy = world.policy(TWO + "cooldown: 2 h\nstrata: {faq: 0.5, billing: 0.5}\n")
    terms = comparison.terms_of(policy)
    assert (terms.cooldown_us, terms.strata, terms.block_size) == (120 * MINUTE, ("billing", "faq"), 5)
    assert terms.caps == policy.caps()
    assert terms.triggers == policy.triggers()
    assert terms.records == policy.records()


def test_the_exact_sums_of_a_block_are_sealed_when_its_slowest_guardrail_has_scored_it(world):
    release_id = opened(world)
    world.work(30)
    world.clock.advance(20 * MINUTE)
    look(world, release_id)
    assert world.rows("SELECT * FROM sealed_tally") == []  # validation matures after 40 minutes
    world.clock.advance(60 * MINUTE)
    look(world, release_id)
    blocks = {row["block"] for row in world.rows("SELECT block FROM block WHERE guardrail = 'validation'")}
    sealed = world.rows("SELECT * FROM sealed_tally ORDER BY block, arm")
    assert {row["block"] for row in sealed} == blocks != set()
    live = world.rows("SELECT * FROM tally ORDER BY block, arm")
    assert sealed == [row for row in live if row["block"] in blocks]
    for run in world.rows("SELECT id FROM run WHERE release_id IS NOT NULL"):
        recorder.record_late(world.store, run["id"], {"edits": 1})
    look(world, release_id)
    assert world.rows("SELECT * FROM sealed_tally ORDER BY block, arm") == sealed
    assert sum(row["operator_edits"] for row in world.rows("SELECT operator_edits FROM tally")) == 30


VALIDATED = """
name: checked
guardrails: {validation: {margin: 20 points}, completion: {margin: 20 points}}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 40%}]
block: {size: 5, time: 1 h}
lease: 6 h
"""


def with_validators(*names):
    """A bundle whose policy part names validators."""
    value = {"validators": list(names)}
    return Bundle([Part.of_value(kind, "1", value if kind == "policy" else "new") for kind in KINDS])


@pytest.mark.parametrize(("names", "differ"), [((), False), (("schema@2",), True)])
def test_arms_with_validators_of_their_own_are_no_evidence_on_validation(world, names, differ):
    if differ:
        found, _ = registry.register(world.store, "support", with_validators(*names), author="ann")
        world.candidate = found.bundle.id
    release_id = opened(world, VALIDATED)
    world.work(60)
    world.clock.advance(60 * MINUTE)
    verdict = look(world, release_id).verdict
    found = verdict.guardrail("validation")
    assert (found.word == "invalid") is differ
    assert (found.n_c == 0) is differ
    assert verdict.valid is not differ
    assert verdict.guardrail("completion").n_c > 0
    assert close_to(asdict(comparison.replay(world.store, release_id)[0]), asdict(verdict))
