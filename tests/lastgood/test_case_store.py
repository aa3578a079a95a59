"""Regression cases in the store."""

from dataclasses import replace

import pytest

from lastgood import case_store, suite_parts
from lastgood.case_store import Draft, Review, State
from lastgood.cases import Case
from lastgood.checks import Completes, Validates
from lastgood.errors import Conflict, CorruptRow, InvalidMove, NotFound


@pytest.fixture
def draft(desk):
    case = Case("a case", {"order": "7"}, (Completes(),), told={"agent": "support"})
    return Draft(
        "support", "production", case, desk.candidate, desk.baseline, "it failed", "run_1", "inc_1",
        state=State.ADMITTED, proof={"pairs": 5},
    )  # fmt: skip


def read(desk, reference):
    with desk.store.reading() as txn:
        return case_store.read(txn, reference)


def test_a_case_is_read_by_its_id_and_its_name_as_it_was_put(desk, draft):
    put = case_store.put(desk.store, draft)
    assert read(desk, put.id) == read(desk, "a case") == put
    assert put.draft == draft
    assert put.runs
    assert put.review is Review.PENDING


def test_a_case_of_the_same_name_replaces_and_a_changed_one_is_reviewed_anew(desk, draft):
    first = case_store.put(desk.store, draft)
    case_store.review(desk.store, first, Review.ACCEPTED, by="bob", note="fine")
    same = case_store.put(desk.store, draft)
    assert (same.id, same.review, same.reviewer, same.review_note) == (first.id, "accepted", "bob", "fine")
    changed = case_store.put(desk.store, replace(draft, case=replace(draft.case, checks=(Validates(),))))
    assert (changed.id, changed.review, changed.reviewer) == (first.id, "pending", "")


def test_a_case_that_was_proven_on_another_pair_says_so(desk, draft):
    case_store.put(desk.store, draft)
    good = desk.register("third")
    anew = replace(draft, good=good, signature="it failed otherwise", incident_id=None)
    assert case_store.put(desk.store, anew).draft == replace(anew, incident_id="inc_1")


def test_a_review_is_of_what_was_read(desk, draft):
    first = case_store.put(desk.store, draft)
    case_store.put(desk.store, replace(draft, case=replace(draft.case, checks=(Validates(),))))
    with pytest.raises(Conflict, match="changed since you read it"):
        case_store.review(desk.store, first, Review.ACCEPTED, by="bob")


def test_a_candidate_can_be_rejected_and_not_accepted(desk, draft):
    put = case_store.put(desk.store, replace(draft, state=State.CANDIDATE, reason="it passes on both"))
    assert not put.runs
    with pytest.raises(InvalidMove, match=r"not proven \(it passes on both"):
        case_store.review(desk.store, put, Review.ACCEPTED, by="bob")
    assert case_store.review(desk.store, put, Review.REJECTED, by="bob").review is Review.REJECTED


def test_cases_are_listed_by_what_they_are_of(desk, draft):
    one = case_store.put(desk.store, draft)
    two = case_store.put(
        desk.store,
        replace(draft, case=replace(draft.case, name="other"), incident_id=None, state=State.CANDIDATE),
    )

    def ids(**wanted):
        with desk.store.reading() as txn:
            return [each.id for each in case_store.listed(txn, **wanted)]

    assert ids() == ids(agent="support", environment="production") == [one.id, two.id]
    assert ids(incident_id="inc_1") == ids(state=State.ADMITTED) == [one.id]
    assert ids(agent="billing") == []


def test_a_name_that_two_agents_use_asks_for_the_id(desk, draft):
    case_store.put(desk.store, draft)
    case_store.put(desk.store, replace(draft, environment="staging"))
    with pytest.raises(NotFound, match="give its id"):
        read(desk, "a case")
    with pytest.raises(NotFound, match="lastgood cases list"):
        read(desk, "nothing")


def test_a_row_that_was_edited_behind_our_back_is_not_used(desk, draft):
    case_store.put(desk.store, draft)
    desk.hand("UPDATE regression_case SET body = replace(body, '7', '8')")
    with pytest.raises(CorruptRow, match="does not match its digest"):
        read(desk, "a case")


def test_parts_of_a_suite_are_kept_until_it_is_whole(desk):
    suite_parts.put(desk.store, "sui_1", 2, "{}")
    suite_parts.put(desk.store, "sui_1", 2, '{"a": 1}')
    suite_parts.put(desk.store, "sui_2", 1, "{}")
    assert suite_parts.read(desk.store, "sui_1") == {2: '{"a": 1}'}
    suite_parts.drop(desk.store, "sui_1")
    assert (suite_parts.read(desk.store, "sui_1"), len(suite_parts.read(desk.store, "sui_2"))) == ({}, 1)
