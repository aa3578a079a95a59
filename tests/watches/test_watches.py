"""A short version of `make watches`: planted causes are named, real series say what they can."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from evaluators.watched import Answer
from lastgood.store.engine import upgrade


@pytest.fixture(scope="module", autouse=True)
def on_path():
    """The study runs as a script: its modules import each other by name."""
    sys.path.insert(0, str(Path(__file__).parent))
    yield
    sys.path.remove(str(Path(__file__).parent))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, on_path):
    """Seasoned agents."""
    import planted

    planted.AGENTS = 2
    place = tmp_path_factory.mktemp("watches")
    upgrade(f"sqlite:///{place / 'template.db'}")
    planted.season(place / "template.db", place)
    return place


@pytest.mark.parametrize("name", ["bundle at fault", "provider at fault"])
def test_a_planted_cause_is_named(name, folder):
    import planted

    found = [planted.result(folder, name, seed) for seed in (1, 2)]
    _, right, _ = planted.SCENARIOS[name]
    assert {each["answer"] for each in found} <= {str(answer) for answer in right}


def test_hardly_anybody_after_the_revert_is_never_fixed(folder):
    import planted

    found = planted.result(folder, "hardly anybody since the revert", 6)
    assert found["answer"] in {"inconclusive", "elsewhere"}
    assert found["runs"] <= 25


@pytest.fixture(scope="module")
def real():
    import series

    return series.load()


def test_an_incident_that_goes_on_is_elsewhere(real):
    import series

    name = "realAWSCloudwatch/rds_cpu_utilization_e47b3b"
    inside = [s for s in series.switches(name, real[name], 0) if s.where == "inside"]
    assert Answer.ELSEWHERE in {series.watch(real[name], switch).answer for switch in inside}


def test_one_that_ended_is_fixed(real):
    import series

    name = "realKnownCause/machine_temperature_system_failure"
    ended = [s for s in series.switches(name, real[name], 0) if s.where == "end"]
    found = {series.watch(real[name], switch, lower_is_better=False).answer for switch in ended}
    assert Answer.FIXED in found


def test_a_real_series_alone_hardly_ever_names_a_cause_where_nothing_is_labelled(real):
    import series

    said = Counter()
    for name in list(real)[:6]:
        for switch in series.switches(name, real[name], 5):
            if switch.where == "nowhere":
                said[series.watch(real[name], switch).answer] += 1
    assert said.total() >= 20
    assert said[Answer.INCONCLUSIVE] >= said.total() - 1


def test_the_page_says_right_and_wrong_with_their_bounds():
    import run

    results = [{"answer": "fixed"}] * 19 + [{"answer": "elsewhere"}, {"answer": None}]
    line = run.row("bundle at fault", results)
    assert line.startswith("| bundle at fault | 20 | 95.0% (78.4%) | 5.0% (21.6%) | fixed 19, elsewhere 1")
