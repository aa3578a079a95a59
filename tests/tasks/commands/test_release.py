"""`lastgood release start | drive | status`: a release with no Prefect at all."""

import re
import threading

import pytest
from click.testing import CliRunner

from lastgood import releasing
from lastgood.cli import main
from lastgood.clock import SystemClock
from lastgood.releasing import Ending
from lastgood.running import Run
from lastgood.store.connection import Store
from tasks import driving

#: a release of seconds, not of hours
FAST = """
name: small
guardrails: {completion: {margin: 20 points}}
alpha: {promote: 0.1}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 20%, min_runs: 10, rule_out: 4}, {share: 50%, min_runs: 10}]
look_every: 0.1 s
lost_after: 0.3 s
lease: 20 s
driver_timeout: 1 s
preflight: {recent: 90 d, open_incidents: allow}
"""


@pytest.fixture
def lastgood(world, monkeypatch):
    """Run the command line on this world's store, whose history is of a moment ago."""
    world.clock.wall_us = SystemClock().now_us()
    world.history()
    world.policy(FAST)
    monkeypatch.setenv("LASTGOOD_DATABASE", world.store.url)
    monkeypatch.setenv("LASTGOOD_ACTOR", "ann")

    def call(*words):
        return CliRunner().invoke(main, ["release", *map(str, words)])

    return call


@pytest.fixture
def serving(world):
    """Serve as an agent would, in a thread, while a release is driven."""
    stopped, store = threading.Event(), Store(world.store.url)

    def serve(good):
        from lastgood.assigning import Request, assign
        from lastgood.snapshot import Serving

        served, number = Serving(store, "support", "production"), 0
        while not stopped.wait(0.002):
            number += 1
            with Run(store, assign(served, Request(f"t{number}", "faq", None, None))) as run:
                run.report(completed=run.arm == "baseline" or number % 10 < 10 * good)

    threads = []

    def start(good):
        threads.append(threading.Thread(target=serve, args=(good,)))
        threads[0].start()

    yield start
    stopped.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("good", "ends"),
    [(1.0, ("PROMOTED: every guardrail",)), (0.0, ("REVERTED: completion", "incident inc_"))],
)
def test_a_release_is_driven_to_its_end(lastgood, world, serving, good, ends):
    serving(good)
    found = lastgood("start", "support", "b-" + world.candidate[:8], "--policy", "small")
    lines = found.output.splitlines()
    assert lines[0].startswith("started rel_")
    assert lines[1].startswith("  nobody checks what runs answer")
    assert lines[2] == "canary: the release opens"
    assert [line[: len(end)] for line, end in zip(lines[-len(ends) :], ends, strict=True)] == list(ends)
    assert any(line.startswith("compare: ") and "candidate runs of" in line for line in lines)
    assert found.exit_code == 0


def test_a_detached_release_is_left_to_the_schedule(lastgood, world):
    found = lastgood("start", "support", "b-" + world.candidate[:8], "--policy", "small", "--detach")
    assert "\nthe next scheduled evaluation drives it" in found.output
    assert "its lease lasts 20 s and the schedule looks every 60 s" in found.output
    release_id = driving.live_releases(world.store)[0]
    row = world.row(release_id)
    assert (row["state"], row["driver"], row["started_by"]) == ("opened", "", "ann")


def test_a_refused_release_says_why_in_one_line(lastgood, world):
    found = lastgood("start", "support", "b-" + world.baseline[:8], "--policy", "small")
    assert found.exit_code == 1
    assert found.output.count("\n") == 1
    assert "is the baseline of support in production already" in found.output
    assert world.rows("SELECT * FROM release") == []


def test_another_process_drives_a_release_on(lastgood, world, serving):
    serving(0.0)
    lastgood("start", "support", world.candidate, "--policy", "small", "--detach")
    found = lastgood("drive", "support")
    said, open_ = found.output.splitlines()[-2:]
    assert said.startswith("REVERTED: completion is worse")
    assert re.fullmatch(r"incident (inc_\w+) is open: .*`lastgood incident close \1 --reason \.\.\.`", open_)
    assert world.row(world.rows("SELECT id FROM release")[0]["id"])["driver"] == "ann's command line"


def test_a_driver_that_is_taken_over_says_so_and_stops(lastgood, world):
    lastgood("start", "support", world.candidate, "--policy", "small", "--detach")
    release_id = driving.live_releases(world.store)[0]
    other = Store(world.store.url)
    threading.Timer(1.0, lambda: driving.begin(other, release_id, "bob")).start()
    found = lastgood("drive", "support")
    assert f"{release_id} was taken over by bob; ann's command line stops driving it" in found.output
    assert "is driven by bob, which is at work" in lastgood("drive", "support").output
    assert found.output.splitlines()[-1].endswith("driven by bob")
    assert found.exit_code == 0


def test_no_live_release_can_not_be_driven(lastgood):
    found = lastgood("drive", "support")
    assert found.exit_code == 1
    assert "support in production has no live release; `lastgood release start` starts one" in found.output


def test_the_newest_release_is_shown_with_its_guardrails_and_those_before(lastgood, world):
    for reason in ("a typo", "another one"):
        releasing.revert(
            world.store,
            world.start(FAST.replace("small", f"p{len(reason)}")),
            Ending("ann", reason, by="hand"),
        )
        world.clock.advance(2 * 3_600_000_000)
    lines = lastgood("status", "support").output.splitlines()
    assert lines[0] == "REVERTED: another one"
    assert lines[1].split() == ["release", "state", "baseline", "candidate", "policy", "started", "why"]
    assert [line.split()[1] for line in lines[2:]] == ["reverted", "reverted"]
    assert lines[2].endswith("another one")
    assert lines[3].endswith("a typo")


def test_the_status_of_a_compared_release_names_each_guardrail(lastgood, world):
    world.drive(world.start(FAST.replace("small", "other")), looks=12)
    lines = lastgood("status", "support").output.splitlines()
    assert lines[1].split()[0] == "completion"


def test_the_whole_report_is_markdown(lastgood, world):
    world.start(FAST.replace("small", "other"))
    found = lastgood("status", "support", "--markdown")
    assert found.output.startswith("# support in production\n\n**")
    assert f"b-{world.baseline[:8]} (" in found.output.split("\n\n")[2]


def test_an_agent_without_a_release_says_how_to_start_one(lastgood):
    found = lastgood("status", "support")
    assert found.exit_code == 1
    assert "has had no release; `lastgood release start support BUNDLE` starts one" in found.output


def test_a_start_is_refused_where_a_guardrail_is_waived_in_all_that_the_baseline_was_asked(lastgood, world):
    waiver = "{guardrail: completion, slice: faq, reason: the old parser guessed, approver: bob}"
    world.policy(FAST.replace("small", "traded") + f"strata: [faq, billing]\nwaivers: [{waiver}]\n")
    made = lastgood("start", "support", world.candidate, "--policy", "traded", "--detach")
    assert made.exit_code != 0
    assert "guardrail completion is waived in every slice that runs come in (faq)" in made.output


def test_a_start_says_what_it_does_not_see_and_which_trades_were_accepted(lastgood, world):
    waiver = "{guardrail: completion, slice: billing, reason: the old parser guessed, approver: bob}"
    aside = "cost: {margin_rel: 10%, when_absent: set_aside}"
    text = FAST.replace("completion: {margin: 20 points}", f"completion: {{margin: 20 points}}, {aside}")
    world.policy(text.replace("small", "traded") + f"strata: [faq, billing]\nwaivers: [{waiver}]\n")
    found = lastgood("start", "support", world.candidate, "--policy", "traded", "--detach").output
    assert "  completion in slice billing may get worse: the old parser guessed (accepted by bob)\n" in found
    assert "  cost is not watched: no run of the baseline reported cost_usd\n" in found
    assert "cost is not watched" in lastgood("status", "support").output
