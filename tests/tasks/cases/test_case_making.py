"""From failing runs to cases that are proven."""

import json
from dataclasses import replace

import pytest

import lastgood
from evaluators.paired import Rules
from lastgood import case_store, cases, replaying
from lastgood.case_store import Review, State
from lastgood.checks import (
    Completes,
    Contains,
    Differs,
    EqualsExpected,
    NoActionOfKind,
    NoMalformedCalls,
    Validates,
)
from lastgood.errors import InvalidInput, NotFound
from tasks import case_making, failing
from tasks.case_making import Group


def kinds(case):
    return {type(check) for check in case.checks}


def test_a_malformed_wrapper_becomes_a_proven_case_that_needs_nothing_outside(shop):
    bad = shop.register(wrapper="broken")
    [made] = case_making.make(shop.store, shop.wanted(bad, shop.fail(bad)))
    assert made.draft.state is State.ADMITTED
    assert NoMalformedCalls in kinds(made.case)
    assert (made.case.attempts, made.draft.proof["pairs"]) == (1, 5)
    shop.close_crm()
    replay = replaying.load("support", f"{shop.module}:replay")
    for reference, passes in ((bad, False), (shop.good, True)):
        bundle = case_making.registry.load(shop.store, reference).bundle
        played = replay.play(bundle, made.case.inputs, made.case.fixtures, replaying.Means())
        assert made.case.judge(played).passed is passes
    assert shop.calls() == []


def test_what_stands_in_the_store_of_a_case_is_redacted(shop):
    bad = shop.register(wrapper="broken")
    [made] = case_making.make(
        shop.store, shop.wanted(bad, shop.fail(bad), redact=("email", "pattern:u-[0-9]"))
    )
    text = cases.to_json(made.case)
    assert "ann@example.com" not in text
    assert made.case.inputs == {"unit": "[redacted]", "order": "7", "mail": "[email]"}


def test_a_rule_that_does_not_compile_is_refused_by_name_and_nothing_is_written(shop):
    bad = shop.register(wrapper="broken")
    wanted = shop.wanted(bad, shop.fail(bad), redact=("pattern:([a-z",))
    with pytest.raises(InvalidInput, match=r"'\(\[a-z' is no regular expression"):
        case_making.make(shop.store, wanted)
    with shop.store.reading() as txn:
        assert case_store.listed(txn) == []


def test_a_case_that_passes_on_both_bundles_says_so_and_stays_a_candidate(shop):
    bad = shop.register(prompt="polite")  # nothing is wrong with it
    [made] = case_making.make(shop.store, shop.wanted(bad, shop.fail(bad)))
    # what it answered is the known wrong one, and the good bundle answers the same
    assert made.draft.state is State.CANDIDATE
    assert "fails on both bundles" in made.draft.reason
    edited = replace(made.case, checks=(Validates(),))
    again = case_making.prove_again(shop.store, made, edited, case_making.wanted_of(shop.store, made))
    assert "passes on both bundles" in again.draft.reason
    assert not again.runs


def test_a_wrong_answer_is_known_by_itself_and_a_correction_says_what_is_right(shop):
    bad = shop.register(prompt="wrong")
    first, second = shop.fail(bad), shop.fail(bad)
    lastgood.report(second, event=failing.CORRECTION, output="it was sent")
    made = case_making.make(shop.store, shop.wanted(bad, first, second))
    assert [each.draft.state for each in made] == [State.ADMITTED] * 2
    assert kinds(made[0].case) == {Differs}
    assert (kinds(made[1].case), made[1].case.expected) == ({EqualsExpected}, "it was sent")


def test_what_a_run_told_that_was_merely_lost_is_not_taken_for_wrong(shop):
    bad = shop.register(prompt="polite")
    wanted = shop.wanted(bad, shop.fail(bad))
    lost = replace(wanted, groups=tuple(replace(group, lost=True) for group in wanted.groups))
    [made] = case_making.make(shop.store, lost)
    assert kinds(made.case) == {Completes}


def test_an_action_that_was_wrong_is_named_by_its_kind(shop):
    bad = shop.register(prompt="eager")
    [made] = case_making.make(shop.store, shop.wanted(bad, shop.fail(bad)))
    assert NoActionOfKind("message") in made.case.checks
    assert made.draft.state is State.ADMITTED
    assert shop.calls().count("POST /messages") == 1  # the served run's: no replay sent anything


def test_an_agent_that_varies_is_proven_by_more_pairs_and_tried_more_often(shop):
    bad = shop.register(prompt="flaky")
    run = next(run for run in iter(lambda: shop.fail(bad), None) if _validated(shop, run) is False)
    [made] = case_making.make(shop.store, shop.wanted(bad, run, rules=Rules(pairs=60)))
    assert made.draft.state is State.ADMITTED
    assert made.draft.proof["pairs"] >= 5
    assert made.case.attempts > 1


def _validated(shop, run):
    with shop.store.reading() as txn:
        return failing.read(txn, run).outcome.validated


def test_one_run_stands_for_every_group_that_it_is_in(shop):
    bad = shop.register(wrapper="broken")
    one, two, three = (shop.fail(bad, unit) for unit in ("u-1", "u-2", "u-3"))
    groups = (Group("a", (one, two)), Group("b", (two, three)))
    made = case_making.make(shop.store, shop.wanted(bad, groups=groups))
    assert [each.draft.run_id for each in made] == [two]


def test_a_run_that_can_not_be_proven_gives_way_to_the_next_of_its_group(shop):
    bad, fine = shop.register(wrapper="broken"), shop.register(prompt="polite")
    healthy, broken = shop.fail(fine), shop.fail(bad)
    [made] = case_making.make(shop.store, shop.wanted(bad, groups=(Group("a", (healthy, broken)),)))
    assert (made.draft.run_id, made.draft.state) == (broken, State.ADMITTED)


def test_an_input_that_was_not_kept_says_so(shop):
    bad = shop.register(wrapper="broken")
    run = shop.fail(bad)
    with shop.store.transaction() as txn:
        txn.run("UPDATE outcome SET input = NULL")
    [made] = case_making.make(shop.store, shop.wanted(bad, run))
    assert made.draft.state is State.CANDIDATE
    assert "records.keep" in made.draft.reason


def test_runs_whose_input_was_not_kept_cost_their_group_no_try(shop):
    bad = shop.register(wrapper="broken")
    *gone, kept = [shop.fail(bad, f"u-{number}") for number in range(case_making.TRIES + 3)]
    with shop.store.transaction() as txn:
        for run in gone:
            txn.run("UPDATE outcome SET input = NULL WHERE run_id = :run", run=run)
    [made] = case_making.make(shop.store, shop.wanted(bad, groups=(Group("a", (*gone, kept)),)))
    assert (made.draft.run_id, made.draft.state) == (kept, State.ADMITTED)


def test_of_a_group_that_proves_nothing_a_run_that_was_tried_is_kept(shop):
    bad, fine = shop.register(wrapper="broken"), shop.register(prompt="polite")
    gone, healthy = shop.fail(bad), shop.fail(fine)
    with shop.store.transaction() as txn:
        txn.run("UPDATE outcome SET input = NULL WHERE run_id = :run", run=gone)
    [made] = case_making.make(shop.store, shop.wanted(bad, groups=(Group("a", (gone, healthy)),)))
    assert (made.draft.run_id, made.draft.state) == (healthy, State.CANDIDATE)
    assert "can't be replayed" not in made.draft.reason


def test_a_missing_answer_is_named_and_proves_nothing(shop):
    bad = shop.register(wrapper="broken")
    run = shop.fail(bad)
    shop.close_crm()
    [made] = case_making.make(shop.store, shop.wanted(bad, run))
    assert made.draft.state is State.CANDIDATE
    assert "GET http://crm/orders/7" in made.draft.reason
    assert "lastgood cases record" in made.draft.reason


def test_an_agent_without_a_replay_is_told_how_to_declare_one(shop):
    bad = shop.register(wrapper="broken")
    with pytest.raises(InvalidInput, match=r"declares no replay: write `replay: package\.module:function`"):
        case_making.make(shop.store, shop.wanted(bad, shop.fail(bad), replay=""))


def test_the_same_bundle_can_not_be_bad_and_good(shop):
    with pytest.raises(InvalidInput, match="at once"):
        case_making.make(shop.store, shop.wanted(shop.good, shop.fail(shop.good)))


def test_without_a_run_there_is_nothing_to_make(shop):
    with pytest.raises(InvalidInput, match="no failing run"):
        case_making.make(shop.store, shop.wanted(shop.register(wrapper="broken")))


def test_runs_of_another_bundle_or_agent_are_refused(shop):
    bad, other = shop.register(wrapper="broken"), shop.register(prompt="wrong")
    one, two = shop.fail(bad), shop.fail(other)
    with pytest.raises(InvalidInput, match="make the cases of each bundle apart"):
        case_making.wanted_of_runs(shop.store, "support", "production", [one, two])
    with pytest.raises(InvalidInput, match="one of support"):
        case_making.wanted_of_runs(shop.store, "billing", "production", [one])
    with pytest.raises(NotFound):
        case_making.wanted_of_runs(shop.store, "support", "production", ["run_x"])


def test_making_again_replaces_and_keeps_the_review_of_what_is_the_same(shop):
    bad = shop.register(wrapper="broken")
    run = shop.fail(bad)
    [first] = case_making.make(shop.store, shop.wanted(bad, run))
    case_store.review(shop.store, first, Review.ACCEPTED, by="bob")
    [second] = case_making.make(shop.store, shop.wanted(bad, run))
    assert (second.id, second.review) == (first.id, Review.ACCEPTED)
    [third] = case_making.make(shop.store, shop.wanted(bad, run, redact=()))
    assert (third.id, third.review) == (first.id, Review.PENDING)


def test_an_edited_case_is_proven_anew(shop):
    bad = shop.register(prompt="wrong")
    [made] = case_making.make(shop.store, shop.wanted(bad, shop.fail(bad)))
    edited = replace(made.case, checks=(Contains("sent"),))
    again = case_making.prove_again(shop.store, made, edited, case_making.wanted_of(shop.store, made))
    assert (again.draft.state, again.case.checks) == (State.ADMITTED, (Contains("sent"),))
    assert json.loads(json.dumps(again.draft.proof))["pairs"] == 5


@pytest.mark.parametrize(
    ("groups", "found"),
    [
        ([["a", "b"], ["b", "c"]], ["b"]),
        ([["a"], ["b"]], ["a", "b"]),
        ([["a", "b"], [], ["a"]], ["a"]),
        ([], []),
    ],
)
def test_the_fewest_runs(groups, found):
    assert failing.fewest(groups) == found
