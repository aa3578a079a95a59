"""Simulating: whose rates are drawn at, and processes that change nothing."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from config.policy import Policy
from evaluators import History, simulation
from evaluators.streams import Population
from lastgood.errors import InvalidRuns, NotFound
from tasks import simulating

POLICY = """
name: quick
lost_after: 1 min
guardrails: {completion: {margin: 20 points}}
steps: [{share: 50%}]
horizon: {runs: 200}
reference: {completion: 0.8}
"""


@pytest.fixture(scope="module")
def policy():
    return Policy.load(POLICY)


@pytest.fixture
def recording(tmp_path):
    rows = [f"v{i % 2},{int(i % 5 > 0)},u{i % 30}" for i in range(200)]
    path = tmp_path / "runs.csv"
    path.write_text("variant,completed,unit\n" + "\n".join(rows))
    return path


def test_the_number_of_workers_changes_nothing(policy):
    setup = simulation.prepare(policy.rules(), Population(), history_runs=500, runs_per_day=5_000, seed=1)
    todo = [(0, (0, 1)), (1, (0,)), (2, (0,)), (3, (1,))]
    heard = []
    alone = simulating.run(setup, todo, 1, heard.append)
    assert simulating.run(setup, todo, 2, heard.append) == alone
    assert sum(heard) == 2 * len(alone)


def test_worse_candidates_are_fewer_and_there_is_one_of_each(policy):
    setup = simulation.prepare(policy.rules(), Population(), history_runs=500, runs_per_day=5_000, seed=1)
    kinds = [setup.stories[place].kind for _, places in simulating.work(setup, 20) for place in places]
    harms = sum(story.kind == "harm" for story in setup.stories)
    assert [kinds.count(kind) for kind in ("unchanged", "margin", "harm")] == [20, 4, 2 * harms]
    assert len(simulating.work(setup, 1)) == 1


def test_harms_are_read_from_the_recorded_runs_themselves_as_a_plan_reads_them(policy, recording):
    found = simulating.from_file(recording, ("v0",), {}, policy.rules())
    setup = simulation.prepare(
        policy.rules(), found.population, history_runs=found.history_runs, runs_per_day=5_000, seed=1
    )
    recorded = found.population.recorded
    assert setup.history == History(recorded)
    other = found.population.at("completed", 0.5)
    moved = simulation.prepare(policy.rules(), other, history_runs=500, runs_per_day=5_000, seed=1)
    assert moved.history.of(policy.rules().guardrails[0])[1] == pytest.approx(250, abs=50)


def test_without_a_history_the_policys_references_stand_in_the_healthy_base(policy):
    found = simulating.healthy(policy.rules(), 1_000)
    assert found.population.completed == pytest.approx(0.8)
    assert found.population.validated == Population().validated
    assert "not of yours (the policy's own for completion)" in found.said


def test_a_file_gives_its_variants_rates(recording, policy):
    found = simulating.from_file(recording, ("v1",), {}, policy.rules())
    assert found.population.completed == pytest.approx(0.8)
    assert found.history_runs == 15  # first runs of fifteen units
    assert "drawn as if each run had its own" in found.said


def test_a_file_of_several_variants_needs_one_named(recording, policy):
    with pytest.raises(InvalidRuns, match=r"2 variants \(v0, v1\); name with --variant"):
        simulating.from_file(recording, (), {}, policy.rules())


def test_an_agents_own_runs_count(world):
    found = simulating.from_agent(world.store, "support", "production", Policy.load(POLICY))
    assert found.population.completed == pytest.approx(0.9, abs=0.1)
    assert found.history_runs == 300
    assert "300 recorded runs of support" in found.said


def test_an_agent_without_a_matured_run_is_refused(world):
    policy = Policy.load(POLICY.replace("1 min", "13 d"))  # older than every run
    with pytest.raises(NotFound, match="no run of support"):
        simulating.from_agent(world.store, "support", "production", policy)


def test_workers_end_with_a_parent_that_was_killed(tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY)
    line = [sys.executable, "-m", "lastgood.cli", "simulate", str(tmp_path / "policy.yaml")]
    parent = subprocess.Popen([*line, "--releases", "100000", "--workers", "2"], stdout=subprocess.DEVNULL)
    try:
        workers = wait_for(lambda: len(found := children(parent.pid)) >= 2 and found)
        parent.kill()
        parent.wait(timeout=30)
        assert wait_for(lambda: not any(alive(pid) for pid in workers))
    finally:
        parent.kill()


def children(pid):
    """Processes that were started by one and run Python's spawn."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            line, status = (place / "cmdline").read_bytes(), (place / "stat").read_text()
        except OSError:
            continue
        if b"spawn_main" in line and int(status.rpartition(")")[2].split()[1]) == pid:
            found.append(int(place.name))
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(told, seconds=90):
    """What `told` answers once it answers something true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := told():
            return found
        time.sleep(0.1)
    pytest.fail("it never came true")
