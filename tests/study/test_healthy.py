"""The peers' comparison in short: its streams, its rules at fixed seeds, and pages that say what is stored."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

FOLDER, ROOT = Path(__file__).parent, Path(__file__).parents[2]


@pytest.fixture(scope="module")
def healthy():
    import healthy

    return healthy


@pytest.fixture(scope="module")
def stream(healthy):
    """The first streams of a scenario, so many runs long."""
    scenarios = {each.name: each for each in healthy.SCENARIOS}

    def drawn(name, runs, count=4):
        scenario = replace(scenarios[name], runs=runs)
        return [healthy.Watched(scenario, i) for i in range(count)]

    return drawn


@pytest.mark.parametrize(("name", "each"), [("no-change", 1), ("wave-ramp", 1), ("sticky-10-.1", 10)])
def test_arms_of_equal_size_are_equal_at_any_time(stream, name, each):
    """Both are draws of one size, of users with `each` runs: within four standard errors of each other."""
    [watched] = stream(name, 16_000, 1)
    assert not (watched.ours & watched.alike).any()
    for upto in (8_000, 16_000):
        ours, alike = (int(arm[:upto].sum()) for arm in (watched.ours, watched.alike))
        assert alike == pytest.approx(ours, abs=4 * (2 * each * ours) ** 0.5)


def test_equal_arms_keep_a_user_whole(stream):
    [watched] = stream("sticky-10-.1", 8_000, 1)
    kept = watched.runs.assign(kept=watched.alike)[~watched.ours].groupby("unit")["kept"].nunique()
    assert (kept == 1).all()


def test_a_window_holds_rates_a_run_and_amounts_a_completed_run(stream):
    [watched] = stream("no-change", 3_000, 1)
    seen = watched.windows(watched.ours, 500)
    first = watched.runs.iloc[:500][watched.ours[:500]]
    assert len(seen["completion"]) == 6
    assert seen["completion"][0] == pytest.approx(1 - first["completed"].mean())
    assert seen["cost"][0] == pytest.approx(first["cost_usd"].sum() / first["completed"].sum())
    assert np.isnan(watched.windows(np.zeros(len(watched.runs), bool), 500)["incidents"]).all()
    assert watched.seen(1, 500) == len(first)


def test_every_rule_finds_a_candidate_that_loses_a_third(healthy, stream):
    drops = stream("drop", 11_000)
    found = {key: [rule(each) for each in drops] for key, rule in healthy.RULES.items()}
    assert [key for key, ends in found.items() if None in ends] == []
    assert max(found["lastgood"]) < 60
    assert min(found["argo"]) > 150, "four measurements"
    assert min(*found["kayenta"], *found["flagger"]) > 400, (
        "a judgement, and ten checks, of 50 candidate runs each"
    )
    assert max(*found["kayenta"], *found["flagger"]) < 1_200


def test_what_each_rule_makes_of_a_bad_day_that_both_arms_share(healthy, stream):
    rising = stream("rising", 17_500)
    reverted = {
        key: sum(healthy.RULES[key](each) is not None for each in rising)
        for key in ("lastgood", "kayenta", "argo-long", "flagger")
    }
    assert reverted == {"lastgood": 0, "kayenta": 0, "argo-long": 4, "flagger": 4}


def test_a_cell_is_a_share_with_its_bound(healthy):
    import healthy_page

    assert healthy_page.reverted([None] * 98 + [9, 40]) == "0.020 (< 0.062)"
    assert healthy_page.share([None, 4]) == "50%"
    assert healthy_page.found([10, 20, 30]).startswith("20 (")
    assert healthy_page.found([10, None, None]).startswith("never (10 to never), 33% found")


def test_the_pages_say_what_is_stored(healthy, tmp_path):
    """docs/peers.md and the README's table are those that `healthy.py --table` writes."""
    import healthy_page

    rows = json.loads((ROOT / "docs" / "peers.json").read_text("utf-8"))
    page, readme = tmp_path / "peers.md", tmp_path / "README.md"
    readme.write_text((ROOT / "README.md").read_text("utf-8"), "utf-8")
    healthy_page.write(rows, page, readme)
    assert page.read_text("utf-8") == (ROOT / "docs" / "peers.md").read_text("utf-8")
    assert readme.read_text("utf-8") == (ROOT / "README.md").read_text("utf-8")
