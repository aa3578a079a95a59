"""Preflight: each thing that refuses a release says so once, clearly, and changes nothing."""

import json
import sqlite3

import pytest

from config.document import digest_of
from evaluators.absence import judged
from evaluators.scales import scale
from lastgood import control, points, releasing
from lastgood.errors import (
    CorruptRow,
    InvalidMove,
    InvalidPolicy,
    LiveRelease,
    NotFound,
    Quarantined,
    SchemaMismatch,
    StoreUnavailable,
)
from lastgood.releasing import Ending
from lastgood.store.connection import Store
from tasks import comparison, preflight
from tests.planted import CORES, PLANTED

MINUTE, HOUR = 60_000_000, 3_600_000_000
STRICT = """
name: strict
guardrails: {completion: {margin: 0.1 points, matures: 10 min}}
reference: {completion: 0.9}
horizon: {runs: 200, time: 14 d}
"""


def start(world, **changes):
    return releasing.start(world.store, preflight.check(world.store, world.wanted(**changes)))


def refused(world, error, match, **changes):
    """Preflight refuses the release with this error; the database is what it was."""
    before = world.dump()
    with pytest.raises(error, match=match):
        preflight.check(world.store, world.wanted(**changes))
    assert world.dump() == before


@pytest.fixture
def ready(world):
    world.policy()
    return world


def test_a_release_starts(ready):
    release_id = start(ready, approver="bob", note="why not", candidate="b-" + ready.candidate[:8])
    row = ready.row(release_id)
    assert (row["state"], row["approver"], row["note"]) == ("opened", "bob", "why not")
    assert ready.point()["share_bp"] == 0


def test_no_secret_that_is_pasted_into_a_note_is_kept(ready):
    row = ready.row(start(ready, approver=f"bob {PLANTED['npm']}", note=f"see {PLANTED['aws']}"))
    assert [name for name in ("aws", "npm") if CORES[name] in str(row)] == []


def test_an_unknown_agent_is_refused(ready):
    refused(ready, NotFound, "no agent 'helpdesk' in production: it has no baseline", agent="helpdesk")


def test_an_environment_without_a_baseline_is_refused(ready):
    refused(ready, NotFound, "no agent 'support' in staging: it has no baseline yet", environment="staging")


def test_an_unknown_bundle_is_refused(ready):
    refused(ready, NotFound, "no bundle 'b-0000ffff'; see `lastgood bundle list`", candidate="b-0000ffff")


def test_an_unknown_policy_is_refused(ready):
    refused(ready, NotFound, "no policy 'smal' is stored or built in; `lastgood policy list`", policy="smal")


def test_the_baseline_is_no_candidate(ready):
    refused(ready, InvalidMove, "is the baseline of support in production already", candidate=ready.baseline)


def test_a_quarantined_candidate_is_refused(ready):
    release_id = start(ready)
    releasing.revert(ready.store, release_id, Ending("trigger", "data_leak in run run_1", by="trigger"))
    refused(ready, Quarantined, "is quarantined .*data_leak in run run_1.*lastgood readmit support")


def test_a_candidate_that_cools_down_is_refused_until_it_did(ready):
    release_id = start(ready)
    releasing.revert(ready.store, release_id, Ending("ann", "a typo", by="hand"))
    ready.clock.advance(HOUR - MINUTE)
    refused(ready, Quarantined, "cools down .* for another 1 min .*a typo")
    ready.clock.advance(MINUTE)
    assert start(ready)


def test_a_second_release_is_refused_and_told_the_live_one(ready):
    live = start(ready)
    other = ready.bundle("another")
    refused(ready, LiveRelease, f"has a live release: {live} .*lastgood rollback support", candidate=other)


def test_the_loser_of_a_race_is_told_the_live_one(ready):
    checked = preflight.check(ready.store, ready.wanted())
    live = start(ready, candidate=ready.bundle("another"))
    with pytest.raises(LiveRelease, match=live):
        releasing.start(ready.store, checked)


def test_an_agent_that_serves_nothing_is_refused(quiet_world):
    quiet_world.policy()
    refused(quiet_world, InvalidMove, "at least 1 of them in the last 24 h; there was none")


def test_runs_of_the_wrong_risk_are_named(quiet_world):
    quiet_world.policy()
    for risk in ("high", "high", "medium"):
        quiet_world.run(risk=risk)
    match = "sends runs of risk low to a candidate .*1 of risk medium, 2 of risk high"
    refused(quiet_world, InvalidMove, match)


def test_runs_of_long_ago_do_not_count(ready):
    ready.clock.advance(25 * HOUR)
    refused(ready, InvalidMove, "there was none")


def test_a_policy_that_can_never_decide_is_refused_with_what_would_do(ready):
    ready.policy(STRICT)
    match = (
        r"policy strict can never decide [\s\S]*completion.*the horizon is 200; "
        r"a margin of .* would do[\s\S]*`lastgood plan strict --history support`"
    )
    refused(ready, InvalidPolicy, match, policy="strict")


def test_a_guardrail_that_nobody_reports_on_is_refused(quiet_world):
    for _ in range(50):
        quiet_world.run()
    quiet_world.clock.advance(HOUR)
    refused(quiet_world, InvalidPolicy, "guardrail validation can't be proven", policy="default")


def test_an_agent_that_reports_its_outcomes_can_be_released_under_the_default_policy(quiet_world):
    for _ in range(50):
        quiet_world.run(validated=True)
    quiet_world.clock.advance(HOUR)
    assert start(quiet_world, policy="default")


@pytest.mark.parametrize(
    ("statement", "match"),
    [
        ("UPDATE part SET body = replace(body, 'new', 'bad')", "b-|part|digest"),
        ("UPDATE bundle SET author = 'mallory' ", "seal|behind"),
        ("UPDATE control_point SET share_bp = 9999", "changed behind the pipeline's back"),
        ("DELETE FROM control_point", "changed behind the pipeline's back"),
    ],
)
def test_a_row_that_was_changed_behind_our_back_is_refused(ready, statement, match):
    ready.tamper(statement)
    refused(ready, CorruptRow, match)


def test_a_policy_row_that_was_changed_is_refused(ready):
    ready.tamper("UPDATE policy SET body = replace(body, '20%', '90%')")
    refused(ready, CorruptRow, "policy|digest")


def test_a_stored_policy_that_this_version_takes_no_more_is_refused_by_its_key(ready):
    body = ready.rows("SELECT body FROM policy")[0]["body"].replace('"look_every"', '"glance_every"')
    ready.tamper("UPDATE policy SET body = ?, digest = ?", body, digest_of(body))
    refused(ready, InvalidPolicy, "glance_every")


def test_a_baseline_that_is_gone_lets_no_release_start(ready):
    ready.tamper(
        "DELETE FROM part WHERE digest IN (SELECT digest FROM bundle_part WHERE bundle_id = ?)",
        ready.baseline,
    )
    refused(ready, CorruptRow, "behind|digest|missing|lost|gone")


def test_a_killed_agent_is_refused(ready):
    control.kill(ready.store, "support", "production", actor="ann", reason="drill")
    before = ready.dump()
    with pytest.raises(InvalidMove, match="the kill switch of support in production is on; `lastgood clear"):
        start(ready)
    assert ready.dump() == before


def test_an_old_schema_is_refused(ready):
    ready.tamper("UPDATE alembic_version SET version_num = '0000'")
    other = Store(ready.store.url, ready.clock)
    with pytest.raises(SchemaMismatch, match=r"has schema 0000.*lastgood db upgrade"):
        preflight.check(other, ready.wanted())


def test_a_store_that_is_not_writable_is_refused(ready):
    checked = preflight.check(ready.store, ready.wanted())
    before = ready.dump()
    ready.store.close()
    with sqlite3.connect(ready.store.path, isolation_level=None) as holder:
        holder.execute("BEGIN IMMEDIATE")
        from lastgood.store import connection

        patience, connection.BUSY_S = connection.BUSY_S, 0.05
        try:
            with pytest.raises(StoreUnavailable, match="nothing was written"):
                releasing.start(Store(ready.store.url, ready.clock), checked)
        finally:
            connection.BUSY_S = patience
            holder.execute("ROLLBACK")
    holder.close()
    assert ready.dump() == before


def test_a_policy_is_found_by_name_by_digest_and_among_the_built_in_ones(ready):
    stored = ready.policy("{name: mine, guardrails: {completion: {margin: 5 points}}}")
    with ready.store.reading() as txn:
        assert preflight.find_policy(txn, "mine") == stored
        assert preflight.find_policy(txn, stored.digest) == stored
        assert preflight.find_policy(txn, "default").name == "default"


def test_a_name_means_its_newest_policy(ready):
    ready.clock.advance(1)
    newer = ready.policy("{name: small, guardrails: {completion: {margin: 7 points}}}")
    with ready.store.reading() as txn:
        assert preflight.find_policy(txn, "small") == newer


def history(world, text):
    policy = world.policy(text)
    with world.store.reading() as txn:
        return preflight.read_history(txn, points.read(txn, "support", "production"), policy), policy


def test_the_history_counts_matured_eligible_runs_of_the_baseline_once_a_unit(quiet_world):
    for _ in range(3):
        quiet_world.run("the same", completed=False)
    quiet_world.run(completed=False)
    quiet_world.assign()
    quiet_world.run(risk="high")
    for _ in range(4):
        quiet_world.run()
    quiet_world.clock.advance(20 * MINUTE)
    quiet_world.run(completed=False)
    found, policy = history(
        quiet_world, "{name: h, guardrails: {completion: {margin: 9 points, matures: 10 min}}}"
    )
    assert found.of(policy.rules().guardrails[0]) == (7, 3)


def test_the_history_is_frozen_by_slice(world):
    world.run(task_type="billing", completed=False)
    world.clock.advance(20 * MINUTE)
    text = (
        "{name: h, guardrails: {completion: {margin: 9 points, matures: 10 min}}, strata: [billing, legal]}"
    )
    found, policy = history(world, text)
    assert found.of(policy.rules().guardrails[0], "billing") == (1, 1)
    assert found.of(policy.rules().guardrails[0], "other")[0] == 300


def test_what_is_started_is_frozen(ready):
    found = preflight.check(ready.store, ready.wanted())
    policy = ready.rows("SELECT * FROM policy")[0]
    assert (found.policy, found.policy_digest) == (policy["body"], policy["digest"])
    assert json.loads(found.history)["overall"]["completed=false"][0] == 300


def test_an_agent_that_reports_its_cost_is_judged_by_it_under_the_default_policy(quiet_world):
    for place in range(60):
        quiet_world.run(validated=True, cost_usd=0.05 + place / 10_000)
    quiet_world.clock.advance(HOUR)
    found, policy = history(quiet_world, "name: like-the-default")
    left = judged(policy.rules(), found, policy.refereed)
    assert [guardrail.name for guardrail in left.rules.guardrails][-2:] == ["cost", "cost_tail"]
    assert [aside.name for aside in left.set_aside] == ["edits"]


def test_what_the_candidate_reports_moves_nothing_that_was_set_aside(ready):
    cost = "cost: {margin_rel: 50%, when_absent: set_aside}"
    ready.policy(
        f"{{name: aside, guardrails: {{completion: {{margin: 20 points}}, {cost}}}, alpha: {{promote: 0.1}}}}"
    )
    row = ready.row(start(ready, policy="aside"))
    before = comparison.Frozen.of(row)
    for _ in range(30):
        ready.run(cost_usd=1.0)
    assert comparison.Frozen.of(ready.row(row["id"])).set_aside == before.set_aside
    assert [aside.name for aside in before.set_aside] == ["cost"]


def test_the_history_holds_what_a_ratio_is_divided_by(quiet_world):
    for place in range(50):
        quiet_world.run(completed=place % 2 == 0, cost_usd=0.1)
    quiet_world.clock.advance(HOUR)
    found, policy = history(quiet_world, "{name: h, guardrails: {cost: {}}}")
    assert scale(policy.rules().guardrails[0], found).theta == pytest.approx(0.2)


def test_the_history_of_a_column_that_a_referee_fills_begins_with_the_release(quiet_world):
    for _ in range(50):
        quiet_world.run(validated=True)
    quiet_world.clock.advance(HOUR)
    text = (
        "{name: h, guardrails: {validation: {}}, referee: {column: validated}, reference: {validation: 0.9}}"
    )
    found, policy = history(quiet_world, text)
    assert found.of(policy.rules().guardrails[0]) == (0, 0)
