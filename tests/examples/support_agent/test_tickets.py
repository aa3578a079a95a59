"""Tickets are made from their id, with a truth that is kept from the agent."""

from collections import Counter

import pytest

from examples.support_agent.retrieval import documents
from examples.support_agent.tickets import LARGE_CENTS, TASKS, case, cases
from examples.support_agent.topics import TOPICS
from lastgood.errors import InvalidInput


def test_the_same_id_is_the_same_ticket():
    assert case("T-1-17") == case("T-1-17")
    assert case("T-1-17") != case("T-2-17")


@pytest.mark.parametrize("wrong", ["", "17", "T-x-1", "T-1-1; DROP", "T-1"])
def test_an_id_that_is_none_is_refused(wrong):
    with pytest.raises(InvalidInput, match="is no ticket of the generator"):
        case(wrong)


def test_task_types_come_in_their_shares():
    seen = Counter(found.ticket.task_type for found in cases(1, 4_000))
    assert set(seen) == set(TASKS)
    for task, share in TASKS.items():
        assert seen[task] / 4_000 == pytest.approx(share, abs=0.03)


def test_an_agent_is_told_nothing_of_the_truth():
    for found in cases(1, 200):
        assert set(found.ticket.visible()) == {"id", "customer", "task_type", "text", "order"}


def test_large_refunds_are_risky_and_left_to_a_person():
    large = [
        f
        for f in cases(1, 2_000)
        if f.order and f.ticket.task_type == "refund" and f.order["amount_cents"] > LARGE_CENTS
    ]
    assert large
    assert all(f.truth.refund_cents is None for f in large)
    assert any(f.risk == "high" for f in large)


def test_every_topic_has_its_document_and_the_document_its_fact():
    texts = {each.name: each.text for each in documents()}
    assert [topic.document for topic in TOPICS if topic.fact not in texts.get(topic.document, "")] == []
