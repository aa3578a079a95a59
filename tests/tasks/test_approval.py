"""A release that waits for a person, driven over a real store: asked, answered, expired, frozen."""

from dataclasses import replace

import pytest

from lastgood import approving, points
from lastgood.approving import Answer
from lastgood.errors import InvalidMove, Refused
from tasks import driving, report
from tasks.driving import StageName
from tests.planted import CORES, PLANTED

MINUTE, HOUR = 60_000_000, 3_600_000_000
KEY = ("support", "production")
YES = Answer("promote", "ben", "looks good")


@pytest.fixture
def policy(one_step):
    """A policy of one step, with more keys."""

    def make(*lines):
        return "\n".join([one_step.strip(), *lines])

    return make


def approved_before(gate, more=""):
    return f"approval: {{before: {gate}, expires: 2 h{more}}}"


def asked(world):
    with world.store.reading() as txn:
        return approving.open_question(txn, *KEY)


def state(world, release_id):
    return world.row(release_id)["state"]


def until_asked(world, release_id, name="me"):
    """Drive until a person is asked; serves runs while it waits."""
    driver = driving.begin(world.store, release_id, name)
    for _ in range(400):
        what = driving.due(world.store, driver)
        driving.act(world.store, driver, what)
        if what.stage is StageName.AWAITING:
            return driver
        if what.waits:
            world.work(30, every=2_000_000)
    raise AssertionError("nobody was asked")


def test_a_release_waits_for_an_approval_before_its_first_share(world, policy):
    release_id = world.start(policy(approved_before("start")))
    driver = until_asked(world, release_id)
    assert (state(world, release_id), world.point()["share_bp"]) == ("awaiting", 0)
    assert (asked(world)["what"], asked(world)["look"]) == ("start", 0)
    approving.decide(world.store, *KEY, YES)
    what = world.step(driver)
    assert (what.transition.move, what.transition.reason) == (
        "open",
        "the release opens, approved by ben: looks good",
    )
    assert world.point()["share_bp"] > 0


def test_the_approver_of_the_form_counts_where_the_policy_says_before_start(world, policy):
    release_id = world.start(policy(approved_before("start")), approver="ben")
    driver = driving.begin(world.store, release_id, "me")
    moves = [world.step(driver).transition.move for _ in range(2)]
    assert moves == ["await", "open"]


def test_an_approver_who_is_the_author_is_refused_before_anything_is_recorded(world, policy):
    with pytest.raises(Refused, match=r"ann wrote .* wants somebody else to approve it"):
        world.start(policy(approved_before("start", ", not_author: true")), approver="ann")
    assert world.rows("SELECT * FROM release") == []


def test_a_proven_release_is_promoted_once_a_person_approves_and_stands_as_proven(world, policy):
    release_id = world.start(policy(approved_before("promote")))
    driver = until_asked(world, release_id)
    share_bp = world.point()["share_bp"]
    assert (asked(world)["what"], share_bp > 0) == ("promote", True)
    approving.decide(world.store, *KEY, YES)
    what = world.step(driver)
    assert (what.transition.move, state(world, release_id)) == ("promote", "promoted")
    assert world.point()["standing"] == "proven"
    assert world.row(release_id)["reason"].endswith(", approved by ben: looks good")


def test_looks_go_on_and_the_lease_is_renewed_while_a_person_is_asked(world, policy):
    release_id = world.start(policy(approved_before("promote")))
    driver = until_asked(world, release_id)
    before = world.point()["lease_until_us"]
    world.clock.advance(MINUTE)
    what = world.step(driver)
    assert (what.stage, what.look is not None) == (StageName.AWAITING, True)
    assert world.point()["lease_until_us"] > before
    assert "a person decides; undecided it is reverted in" in what.transition.reason


def test_triggers_stay_armed_while_a_person_is_asked(world, policy):
    release_id = world.start(policy(approved_before("promote"), "triggers: {zero_tolerance: [data_leak]}"))
    until_asked(world, release_id)
    from lastgood.running import Run

    for _ in range(50):
        with Run(world.store, world.assign()) as run:
            if run.arm == "candidate":
                run.event("data_leak")
                break
    assert state(world, release_id) == "reverted"
    with pytest.raises(InvalidMove, match="it has no live release"):
        approving.decide(world.store, *KEY, YES)


def test_harm_that_is_proven_while_a_person_is_asked_reverts(world, policy):
    release_id = world.start(policy(approved_before("promote")))
    driver = until_asked(world, release_id)
    for _ in range(40):
        world.work(30, every=2_000_000, candidate=0.0)
        if world.step(driver).stage is StageName.REVERT:
            break
    assert state(world, release_id) == "reverted"


def test_what_nobody_approves_expires_into_a_revert(world, policy):
    release_id = world.start(policy(approved_before("start")))
    driver = until_asked(world, release_id)
    world.clock.advance(2 * HOUR)
    before = world.point()
    with pytest.raises(Refused, match="the time to decide"):
        approving.decide(world.store, *KEY, YES)
    assert world.point() == before
    assert world.step(driver).transition.reason == "nobody decided in time"
    assert state(world, release_id) == "reverted"


def test_with_every_driver_dead_the_schedule_carries_an_approval_out(world, policy):
    release_id = world.start(policy(approved_before("start")))
    until_asked(world, release_id)
    approving.decide(world.store, *KEY, YES)
    world.clock.advance(5 * MINUTE)
    assert driving.evaluate(world.store, release_id, "schedule") is not None
    assert world.point()["share_bp"] > 0


def test_a_lapse_while_a_person_is_asked_voids_the_question(world, policy):
    release_id = world.start(policy(approved_before("promote")))
    driver = until_asked(world, release_id)
    world.clock.advance(30 * MINUTE)
    assert world.step(driver).transition.move == "lapse"
    with pytest.raises(InvalidMove, match="it is lapsed"):
        approving.decide(world.store, *KEY, YES)


def test_each_step_may_want_its_own_approval(world):
    text = (
        "name: small\nlost_after: 1 min\nguardrails: {completion: {margin: 20 points}}\n"
        "alpha: {promote: 0.1}\n"
        "caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}\n"
        "steps: [{share: 20%, min_runs: 10, rule_out: 4}, {share: 50%, min_runs: 10}]\n"
        "approval: {before: [step, promote]}"
    )
    release_id = world.start(text)
    seen = []
    for _ in range(2):
        driver = until_asked(world, release_id)
        seen.append((asked(world)["what"], world.row(release_id)["step"]))
        approving.decide(world.store, *KEY, YES)
        world.step(driver)
    assert seen == [("step", 0), ("promote", 1)]
    assert state(world, release_id) == "promoted"


def test_an_undecided_release_asks_and_a_yes_promotes_it_as_vouched(world, policy):
    release_id = world.start(policy("on_undecided: ask", "horizon: {runs: 10, time: 28 d}"))
    driver = driving.begin(world.store, release_id, "me")
    for _ in range(60):
        what = driving.due(world.store, driver)
        driving.act(world.store, driver, what)
        if what.stage is StageName.ASKING:
            break
        if what.waits:
            world.work(10, every=2_000_000, candidate=0.7)
    assert (asked(world)["what"], state(world, release_id)) == ("undecided", "asking")
    approving.decide(world.store, *KEY, YES)
    world.step(driver)
    assert (state(world, release_id), world.point()["standing"]) == ("promoted", "vouched")


# -- freeze


def frozen_until(world, hours):
    """A window that is open now and ends in about so many hours."""
    from datetime import UTC, datetime, timedelta

    now = datetime.fromtimestamp(world.clock.now_us() / 1e6, UTC)
    end = now + timedelta(hours=hours)
    return f'freeze: [{{from: "{now:%H:%M}", to: "{end:%H:%M}"}}]'


def test_a_release_in_a_freeze_waits_to_open_and_opens_after_it(world, policy):
    release_id = world.start(policy(frozen_until(world, 2)))
    driver = driving.begin(world.store, release_id, "me")
    what = world.step(driver)
    assert (what.stage, what.waits, state(world, release_id)) == (StageName.AWAITING, True, "opened")
    assert what.transition.reason.startswith("a freeze until ")
    assert driving.is_driven(world.store, world.row(release_id)), "its driver gives a sign of life"
    world.clock.advance(2 * HOUR)
    assert world.step(driver).transition.move == "open"


def test_a_proven_release_is_not_promoted_in_a_freeze_and_can_be_reverted_in_it(world, policy):
    release_id = world.start(policy(frozen_until(world, 23)))
    driver = driving.begin(world.store, release_id, "me")
    world.clock.advance(23 * HOUR)  # out of it; the next one begins in an hour
    what = None
    for _ in range(400):
        what = driving.due(world.store, driver)
        driving.act(world.store, driver, what)
        if what.stage is StageName.ENDED or "a freeze until" in getattr(what.transition, "reason", ""):
            break
        if what.waits:
            world.work(3, every=40_000_000)
    assert "a freeze until" in what.transition.reason
    assert world.point()["share_bp"] > 0
    from lastgood import control

    control.rollback(world.store, *KEY, actor="ann", reason="by hand")
    assert state(world, release_id) == "reverted"


# -- what people see


def test_the_report_says_what_is_asked_until_when_and_how_to_answer(world, policy):
    release_id = world.start(policy(approved_before("promote", ", level: verified")))
    until_asked(world, release_id)
    text = report.build(world.store, release_id).markdown
    assert "a person has to approve the promotion until " in text
    assert "`lastgood approve support --decision promote" in text
    assert "one-time code" in text


def test_the_cool_down_refuses_the_next_release_before_anything_is_recorded(world, policy):
    release_id = world.start(policy("agent_cooldown: 2 h", "cooldown: 0 s"))
    from lastgood import control

    control.rollback(world.store, *KEY, actor="ann", reason="by hand")
    assert state(world, release_id) == "reverted"
    with pytest.raises(Refused, match=r"cools down for another 120 min .*lastgood cooldown support --end"):
        world.start(policy("horizon: {runs: 7000, time: 28 d}"))
    assert len(world.rows("SELECT * FROM release")) == 1
    with world.store.reading() as txn:
        assert points.read(txn, *KEY).release_id is None


def test_an_answer_is_about_the_evidence_that_was_seen(world, policy):
    release_id = world.start(policy(approved_before("promote")))
    driver = until_asked(world, release_id)
    seen = asked(world)["evidence"]
    approving.decide(world.store, *KEY, replace(YES, decision="wait", evidence=seen))
    world.work(30, every=2_000_000)
    world.step(driver)
    approving.decide(world.store, *KEY, replace(YES, decision="wait"))
    with pytest.raises(Refused, match="other evidence"):
        approving.decide(world.store, *KEY, replace(YES, evidence=seen))


@pytest.mark.prefect
def test_no_secret_that_is_pasted_into_the_form_is_kept(world, policy, monkeypatch):
    from tasks import approval

    release_id = world.start(policy(approved_before("start")))
    driver = until_asked(world, release_id)
    given = approval.Approval(decision="wait", who=f"bea {PLANTED['npm']}", reason=f"see {PLANTED['aws']}")
    monkeypatch.setattr(approval, "suspend_flow_run", lambda **_: given)
    approval._ask(world.store, driver, asked(world), may_hand_over=False)
    rows = world.rows("SELECT * FROM approval") + world.rows("SELECT * FROM ledger")
    assert next(row["decision"] for row in rows if "decision" in row) == "wait"
    assert [name for name in ("aws", "npm") if CORES[name] in str(rows)] == []
