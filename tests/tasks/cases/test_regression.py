"""The suite on a bundle: one engine, which is pytest with our plugin, and what preflight makes of it."""

import json
from dataclasses import replace

import pytest

from lastgood import case_store, cases
from lastgood.case_store import Review
from lastgood.errors import InvalidInput, InvalidMove, NotFound
from tasks import case_making, regression
from tasks.regression import Options, Result, SuiteReport


@pytest.fixture
def broken(shop):
    """A proven case of the malformed wrapper; nothing outside answers any more."""
    shop.bad = shop.register(wrapper="broken")
    [shop.made] = case_making.make(shop.store, shop.wanted(shop.bad, shop.fail(shop.bad)))
    shop.close_crm()
    return shop


def run(shop, bundle, **options):
    return regression.run(shop.store, "support", "production", bundle, Options(**options))


def test_the_bundle_that_failed_is_refused_and_the_repaired_one_passes(broken):
    report = run(broken, broken.bad)
    assert [(one.name, one.passed) for one in report.results] == [(broken.made.case.name, False)]
    assert "NoMalformedCalls" in " ".join(report.failing[0].why)
    with pytest.raises(InvalidMove, match=r"refused before any canary.*passes 0 of 1.*\n- group-0"):
        regression.refuse_failing(report, required=False)
    repaired = broken.register(prompt="kinder")
    report = run(broken, repaired)
    assert report.passed
    regression.refuse_failing(report, required=True)
    assert broken.calls() == []


def test_workers_share_the_cases(broken):
    first = replace(broken.made.draft, case=replace(broken.made.case, name="another"))
    case_store.put(broken.store, first)
    report = run(broken, broken.good, workers=2)
    assert [(one.name, one.passed) for one in report.results] == [
        ("another", True),
        (broken.made.case.name, True),
    ]


def test_shards_take_every_case_once(broken):
    for name in ("a", "b", "c"):
        case_store.put(broken.store, replace(broken.made.draft, case=replace(broken.made.case, name=name)))
    parts = [
        [
            case.name
            for case in regression.gather(broken.store, "support", "production", Options(shard=(k, 2)))
        ]
        for k in (1, 2)
    ]
    assert sorted(parts[0] + parts[1]) == ["a", "b", "c", broken.made.case.name]


def test_a_candidate_and_a_rejected_case_gate_nothing(broken):
    case_store.put(broken.store, replace(broken.made.draft, state=case_store.State.CANDIDATE, reason="why"))
    assert run(broken, broken.bad).results == ()
    admitted = case_store.put(broken.store, broken.made.draft)
    case_store.review(broken.store, admitted, Review.REJECTED, by="bob")
    assert run(broken, broken.bad).results == ()


def test_a_folder_of_files_counts_beside_the_store_and_before_it(broken):
    folder = broken.folder / "cases"
    folder.mkdir()
    own = replace(broken.made.case, name="from-a-file")
    (folder / "one.yaml").write_text(cases.write([own], "support"))
    assert len(run(broken, broken.good, folder=str(folder)).results) == 2
    with pytest.raises(NotFound, match="no case file"):
        run(broken, broken.good, folder=str(broken.folder / "none"))


def test_required_cases_that_are_not_there_refuse(shop):
    report = run(shop, shop.good)
    assert report.passed
    regression.refuse_failing(report, required=False)
    with pytest.raises(InvalidMove, match="requires regression cases and there is none"):
        regression.refuse_failing(report, required=True)


def test_an_agent_without_a_replay_is_named(broken):
    told = {name: value for name, value in broken.made.case.told.items() if name != "replay"}
    case_store.put(broken.store, replace(broken.made.draft, case=replace(broken.made.case, told=told)))
    with pytest.raises(InvalidInput, match="declares no replay"):
        run(broken, broken.good)


def test_a_replay_that_can_not_be_imported_fails_the_case_and_says_why(broken):
    report = run(broken, broken.good, replay="nowhere:replay")
    assert not report.passed
    assert "nowhere can't be imported" in report.failing[0].why[0]


def test_a_replay_that_hangs_fails_by_time(broken):
    (broken.folder / "slow_agent.py").write_text("import time\ndef replay(inputs):\n    time.sleep(60)\n")
    report = run(broken, broken.good, replay="slow_agent:replay", timeout_s=0.2)
    assert "did not end within 0.2 s" in report.failing[0].why[0]


def test_a_suite_that_hangs_refuses(broken):
    (broken.folder / "slow_agent.py").write_text("import time\ntime.sleep(60)\n")
    with pytest.raises(InvalidMove, match=r"did not end on support-.* within 3 s"):
        run(broken, broken.good, replay="slow_agent:replay", time_s=3)


def test_what_the_candidate_asks_that_was_never_recorded_fails_and_can_be_recorded(broken):
    report = run(broken, broken.good, replay=f"{broken.module}:replay")
    assert report.passed
    source = (broken.folder / f"{broken.module}.py").read_text()
    other = source.replace('CLIENT.get(f"/orders/{order}")', 'CLIENT.get(f"/v2/orders/{order}")')
    (broken.folder / "other_agent.py").write_text(other)
    report = run(broken, broken.good, replay="other_agent:replay")
    assert report.failing[0].why == ("no recorded answer to GET http://crm/v2/orders/7",)
    (broken.folder / "up").touch()
    wanted = replace(case_making.wanted_of(broken.store, broken.made), replay="other_agent:replay")
    again = case_making.record_again(broken.store, broken.made, wanted)
    assert again.runs
    (broken.folder / "up").unlink()
    assert run(broken, broken.good, replay="other_agent:replay").passed


def test_a_report_is_kept_and_read_back():
    report = SuiteReport("support", "b", (Result("x", passed=False, why=("a | b",), passes=0, replays=1),))
    assert SuiteReport.from_json(report.to_json()) == report
    assert json.loads(report.to_json())["results"][0]["why"] == ["a | b"]
    assert "| x | FAILS | 0 of 1 | - | a \\| b |" in report.markdown
