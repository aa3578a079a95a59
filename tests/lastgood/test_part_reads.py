"""Which parts an agent reads of its bundle is noted, and goes out with the outcome."""

import copy
import pickle

import pytest

import lastgood
from lastgood.bundle import Bundle
from lastgood.outcome import Outcome
from lastgood.part import KINDS
from lastgood.part_reads import NotedBundle, note, unread


@pytest.fixture
def outcome():
    return Outcome()


@pytest.fixture
def noted(build, outcome):
    return NotedBundle(build(), outcome)


def parts_read(lab, run):
    row = lab.one("SELECT parts_read FROM outcome WHERE run_id = :id", id=run.id)
    return tuple(kind for kind in KINDS if kind not in unread([row["parts_read"]]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_that_is_read_is_noted(noted, outcome, kind):
    assert noted[kind] == getattr(noted, kind)
    assert unread([outcome.parts_read]) == tuple(other for other in KINDS if other != kind)


def test_whoever_takes_all_parts_reads_them_all(noted, outcome):
    assert len(noted.parts) == 5
    assert unread([outcome.parts_read]) == ()


def test_a_name_is_no_content(noted, outcome):
    assert noted.short
    assert noted.runtimes == frozenset()
    assert "prompt" in repr(noted)
    assert hash(noted)
    assert unread([outcome.parts_read]) == KINDS


def test_it_is_equal_to_the_bundle_behind_it(build, noted, outcome):
    assert noted == build()
    assert build() == noted
    assert noted == NotedBundle(build(), Outcome())
    assert noted != build("another")
    assert len({noted, build()}) == 1
    assert noted.id == build().id
    assert isinstance(noted, Bundle)
    assert outcome.parts_read == 0


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda b: pickle.loads(pickle.dumps(b))])
def test_a_copy_is_a_plain_bundle(noted, copied):
    assert type(copied(noted)) is Bundle
    assert copied(noted) == noted


def test_no_part_is_unread_that_one_of_several_runs_read():
    first, second = Outcome(), Outcome()
    note(first, "prompt")
    note(second, "tools")
    assert unread([first.parts_read, second.parts_read]) == ("memory", "model", "policy")
    assert unread([]) == KINDS


def test_what_a_run_read_goes_out_with_its_outcome(lab):
    with lastgood.run(agent="support", unit="u") as run:
        assert run.bundle.prompt.text == "first"
        run.usage("small", tokens_in=1, tokens_out=1)  # its price is read for the agent, not by it
    assert parts_read(lab, run) == ("prompt",)


def test_a_run_that_read_nothing_says_so(lab):
    with lastgood.run(agent="support", unit="u") as run:
        pass
    assert parts_read(lab, run) == ()


def test_a_tool_behind_the_gate_is_held_to_the_tools_part(lab):
    with lastgood.run(agent="support", unit="u") as run:
        run.tool(lambda: 1, name="look")()
    assert parts_read(lab, run) == ("tools",)


def test_a_resumed_run_keeps_what_it_read_before(lab):
    with lastgood.run(agent="support", unit="u") as run:
        assert run.bundle.prompt
        run.suspend()
    with lastgood.resume(run.id) as run:
        assert run.bundle.memory
    assert parts_read(lab, run) == ("memory", "prompt")
