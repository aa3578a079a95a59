"""Sticky units through the store: the same evidence as a comparison gets that is given the runs."""

import random

import pandas as pd
import pytest

from evaluators import Comparison
from lastgood.running import Run
from tasks import comparison, driving

MINUTE, HOUR = 60_000_000, 3_600_000_000
STICKY = """
name: sticky
guardrails:
  completion: {margin: 20 points, matures: 10 min}
  cost: {margin_rel: 50%, matures: 10 min}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 40%, min_runs: 10}]
block: {size: 10, time: 7 d}
strata: [faq, billing]
lease: 6 h
on_undecided: ask
"""
RUNS = """
SELECT run.arm, run.unit, run.task_type AS stratum, run.share_bp / 10000.0 AS share, outcome.completed,
  outcome.cost_usd FROM run JOIN outcome ON outcome.run_id = run.id WHERE run.release_id = :id
  AND run.block IS NOT NULL ORDER BY run.seq
"""


def serve(world, draw, runs, unit):
    """Runs of users who differ from each other."""
    for _ in range(runs):
        name = unit()
        with Run(world.store, world.assign(name, task_type=draw.choice(["faq", "billing", "poem"]))) as run:
            luck = random.Random(name).random()
            done = draw.random() < (0.95 if luck > 0.5 else 0.3)
            run.report(completed=done, cost_usd=draw.lognormvariate(-3 + luck, 1))
        world.clock.advance(MINUTE)


def opened(world, draw):
    numbers = iter(range(10**6))
    serve(world, draw, 200, lambda: f"old {next(numbers)}")
    world.clock.advance(HOUR)
    release_id = world.start(STICKY)
    driver = driving.begin(world.store, release_id, "me")
    for _ in range(3):
        world.step(driver)
    return release_id


def look(world, release_id):
    return comparison.look(world.store, driving.read(world.store, release_id)[0]).verdict


def given(world, release_id):
    """The verdict of a comparison that is given the store's runs at once."""
    frozen = comparison.Frozen.of(driving.read(world.store, release_id)[0])
    direct = Comparison(frozen.rules, frozen.history)
    direct.observe(pd.DataFrame(world.rows(RUNS, id=release_id)))
    return direct.verdict()


def same(ours, theirs):
    """Equal but for the last digits of sums that were added in another order."""
    assert ours.log_family == pytest.approx(theirs.log_family, abs=1e-9)
    assert ours.log_mismatch == pytest.approx(theirs.log_mismatch, abs=1e-9)
    assert (ours.assigned, ours.candidate_runs) == (theirs.assigned, theirs.candidate_runs)
    for mine, other in zip(ours.guardrails, theirs.guardrails, strict=True):
        for name in ("log_e_harm", "log_e_promote", "estimate", "design_effect", "n_c", "y_c", "n_b", "y_b"):
            assert getattr(mine, name) == pytest.approx(getattr(other, name), abs=1e-9), name


@pytest.mark.parametrize("looks", [1, 9])
def test_the_store_gives_the_same_evidence_as_the_runs_do(world, looks):
    draw = random.Random(3)
    release_id, names = opened(world, draw), iter(range(10**6))
    for _ in range(looks):
        serve(world, draw, 90 // looks, lambda: f"new {next(names)}")  # nobody comes twice yet
        serve(world, draw, 180 // looks, lambda: f"user {draw.randrange(25)}")
        world.clock.advance(11 * MINUTE)
        verdict = look(world, release_id)
    theirs = given(world, release_id)
    assert theirs.guardrail("completion").design_effect > 1.05
    assert theirs.log_family != 0
    same(verdict, theirs)


def test_users_who_come_back_after_all_was_sealed_are_found_again(world):
    """The first repeat: the table of units is made then, once, from all runs of the release."""
    draw = random.Random(5)
    release_id, names = opened(world, draw), iter(range(10**6))
    serve(world, draw, 120, lambda: f"user {next(names)}")
    world.clock.advance(11 * MINUTE)
    look(world, release_id)
    for _ in range(8):
        serve(world, draw, 20, lambda: f"user {draw.randrange(8)}")
        world.clock.advance(11 * MINUTE)
        verdict = look(world, release_id)
    assert verdict.guardrail("completion").design_effect > 1.05
    same(verdict, given(world, release_id))


def test_a_verdict_on_sticky_units_is_recomputed_from_what_is_stored(world):
    draw = random.Random(7)
    release_id = opened(world, draw)
    made = []
    for _ in range(5):
        serve(world, draw, 40, lambda: f"user {draw.randrange(30)}")
        world.clock.advance(11 * MINUTE)
        made.append(look(world, release_id))
    for ours, theirs in zip(comparison.replay(world.store, release_id), made, strict=True):
        same(ours, theirs)
