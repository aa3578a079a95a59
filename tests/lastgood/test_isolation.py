"""What a bad window made is held back until a person has looked at it."""

import csv
import io
import json

import pytest
from click.testing import CliRunner

import lastgood
from lastgood import isolation, recorder
from lastgood.assigning import Request, assign
from lastgood.cli import main
from lastgood.errors import InvalidInput, NotFound
from lastgood.isolation import Held
from lastgood.outcome import Outcome
from lastgood.snapshot import Serving
from lastgood.store import aftermath

both_ways = pytest.mark.ways("store", "service")


def run(desk, unit, output=None):
    made = assign(Serving(desk.store, desk.agent, desk.environment), Request(unit, "faq", None, None))
    recorder.record(desk.store, made.run_id, made.decision.arm, Outcome(completed=True), None, output)
    return made.run_id


@pytest.fixture
def held(lab):
    """Two outputs and a memory entry of an incident."""
    release_id = lab.live()
    lab.bad = [run(lab, "u1", "=SUM(A1)"), run(lab, "u2", "fine")]
    lab.revert(release_id)
    lab.good = run(lab, "u3")
    (incident,) = lab.incidents
    with lab.store.transaction() as txn:
        isolation.outputs_in(txn, incident, after=0, last=1_000)
        isolation.memories_in(txn, incident, [("ana/likes", lab.bad[0])])
    return lab


def states(desk):
    with desk.store.reading() as txn:
        return {row["key"]: row["state"] for row in isolation.listed(txn)}


@both_ways
def test_outputs_and_memory_entries_of_a_bad_window_are_held_back(held):
    assert states(held) == dict.fromkeys([*held.bad, "ana/likes"], "pending_review")
    assert [lastgood.is_quarantined(key) for key in (*held.bad, "ana/likes", held.good, "other")] == [
        True, True, True, False, False,
    ]  # fmt: skip


@both_ways
def test_a_key_of_memory_is_an_agent_s_own(held):
    assert lastgood.is_quarantined("ana/likes", agent="support")
    assert not lastgood.is_quarantined("ana/likes", agent="sales")
    assert not lastgood.is_quarantined("ana/likes", agent="support", environment="staging")


def test_a_memory_entry_stands_under_the_run_that_wrote_it_first(held):
    (incident,) = held.incidents
    with held.store.transaction() as txn:
        isolation.memories_in(txn, incident, [("bob/likes", run_id) for run_id in held.bad])
        (row,) = txn.all(aftermath.ITEMS_OF_KEY, key="bob/likes")
    assert row["run_id"] == held.bad[0]


def test_the_same_again_changes_nothing(held):
    (incident,) = held.incidents
    isolation.move(held.store, "ana/likes", Held.CLEARED, actor="ann", reason="right")
    with held.store.transaction() as txn:
        assert isolation.outputs_in(txn, incident, after=0, last=1_000) == 0
        assert isolation.memories_in(txn, incident, [("ana/likes", held.bad[0])]) == 0
    assert states(held)["ana/likes"] == "cleared"


@both_ways
@pytest.mark.parametrize(("state", "still"), [(Held.CLEARED, False), (Held.RECALLED, True)])
def test_a_person_clears_or_recalls(held, state, still):
    assert isolation.move(held.store, held.bad[0], state, actor="ann", reason="I read it") == 1
    assert isolation.move(held.store, held.bad[0], state, actor="ann", reason="I read it") == 0
    assert lastgood.is_quarantined(held.bad[0]) is still


@pytest.mark.parametrize("of_incident", [True, False])
def test_a_list_of_a_state_is_as_long_as_it_may_be_whatever_stands_before(held, of_incident):
    first, second = sorted(held.bad)
    isolation.move(held.store, first, Held.CLEARED, actor="ann", reason="right")
    incident_id = held.incidents[0].id if of_incident else None
    with held.store.reading() as txn:
        rows = isolation.listed(txn, incident_id, state=Held.PENDING, most=2)
    assert [row["key"] for row in rows] == ["ana/likes", second]


def test_a_person_says_why_and_of_what(held):
    with pytest.raises(InvalidInput, match="say with --reason"):
        isolation.move(held.store, held.bad[0], Held.CLEARED, actor="ann", reason=" ")
    with pytest.raises(NotFound, match="nothing is quarantined under 'other'"):
        isolation.move(held.store, "other", Held.CLEARED, actor="ann", reason="why")


def call(*words, code=0):
    result = CliRunner().invoke(main, ["quarantine", *words])
    assert result.exit_code == code, result.output
    return result.output


def test_the_commands_list_clear_recall(held):
    assert call("list", "--state", "cleared") == "nothing is quarantined\n"
    assert call("clear", held.bad[1], "-m", "I read it") == f"{held.bad[1]} is cleared\n"
    assert call("clear", held.bad[1], "-m", "I read it") == f"{held.bad[1]} is cleared already\n"
    assert call("recall", "ana/likes", "-m", "taken out") == "ana/likes is recalled\n"
    said = call("list", "--incident", held.incidents[0].id)
    assert held.bad[0] in said
    assert [line.split()[2] for line in said.splitlines()[1:]].count("pending_review") == 1


def test_all_is_exported_as_json_and_as_csv_that_no_spreadsheet_runs(held):
    facts = {row["key"]: row for row in json.loads(call("export", "--format", "json"))}
    assert facts[held.bad[0]]["output"] == '"=SUM(A1)"'
    assert facts["ana/likes"]["output"] is None
    rows = {row["key"]: row for row in csv.DictReader(io.StringIO(call("export")))}
    assert rows.keys() == facts.keys()
    assert rows[held.bad[1]]["unit"] == "u2"


def test_a_text_that_a_spreadsheet_would_run_stays_a_text():
    from lastgood.cli.quarantine import _cell

    assert [_cell(text) for text in ("=1", "+1", "-1", "@x", "x", None)] == [
        "'=1", "'+1", "'-1", "'@x", "x", None,
    ]  # fmt: skip
