"""A run of the agent is replayed from its input alone, with its calls of the CRM recorded."""

import pytest

from examples.support_agent import traffic
from examples.support_agent.replay import replay
from examples.support_agent.shop import bundle
from examples.support_agent.tickets import cases
from lastgood import part_reads
from lastgood.fixtures import Fixtures
from lastgood.rehearsal import Access, Rehearsal, rehearse


@pytest.fixture
def recorded(crm):
    """An input, and what the CRM answers to the good bundle's run on it."""
    found = next(f for f in cases(7, 500) if f.truth.refund_cents is not None)
    traffic.load(found)
    access = Access(record=True, sandbox=frozenset({crm.url.removeprefix("http://")}))
    with rehearse(Rehearsal("support", bundle("good"), access=access)) as held:
        output = replay(found.ticket.visible())
    assert output["refund_cents"] == found.truth.refund_cents
    return found.ticket.visible(), output, Fixtures(tuple(held.log.recorded))


def test_a_replay_needs_no_crm_and_gives_the_same_output(recorded, crm):
    inputs, output, fixtures = recorded
    before = crm.books.shown()
    crm.shutdown()
    with rehearse(Rehearsal("support", bundle("good"), fixtures)) as held:
        assert replay(inputs) == output
    assert [act.kind for act in held.log.actions] == ["refund", "message", "memory_write", "ticket_update"]
    assert held.log.outcomes[0].metrics == {"tool_malformed": False}
    assert crm.books.shown() == before


def test_a_replay_reads_each_of_the_five_parts(recorded):
    inputs, _, fixtures = recorded
    with rehearse(Rehearsal("support", bundle("good"), fixtures)) as held:
        replay(inputs)
    assert part_reads.unread(one.parts_read for one in held.log.outcomes) == ()


def test_a_wrapper_that_misreads_the_answer_fails_on_the_same_recording(recorded):
    inputs, output, fixtures = recorded
    with rehearse(Rehearsal("support", bundle("malformed"), fixtures)) as held:
        assert replay(inputs) != output
    assert held.log.outcomes[0].metrics == {"tool_malformed": True}
    assert held.log.outcomes[0].completed is False


def test_garbage_is_told_in_a_replay_too(recorded):
    inputs, _, fixtures = recorded
    access = Access(record=True)
    with rehearse(Rehearsal("support", bundle("garbage"), fixtures, access=access)) as held:
        replay(inputs)
    assert [name for name, _ in held.log.events] == ["garbage_memory"]
