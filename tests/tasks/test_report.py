"""The report: where a release stands, and why, for people."""

import hashlib
import json
import re
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood import control, releasing
from lastgood.releasing import Ending
from lastgood.running import Run
from tasks import driving, report

MINUTE, HOUR = 60_000_000, 3_600_000_000


def test_a_release_without_a_look_says_so(world):
    release_id = world.start()
    made = report.build(world.store, release_id)
    assert made.headline == "OPENED: no look yet; nobody drives it yet"
    assert made.state == "Opened"
    assert made.table == []


def test_a_live_release_says_what_is_known_and_who_drives_it(world):
    release_id = world.start()
    world.drive(release_id, looks=10, runs=10)
    made = report.build(world.store, release_id)
    assert re.fullmatch(r"COMPARE: \d+ candidate runs, the evidence says hold; driven by me", made.headline)
    assert (
        "- Another look; 20% of the eligible runs go to the candidate (step 1 of 2, then 50%).\n"
        in made.markdown
    )


def test_an_ended_release_says_why(world):
    release_id = world.start()
    world.drive(release_id, candidate=0.1)
    made = report.build(world.store, release_id)
    assert made.state == "Reverted"
    assert made.headline.startswith("REVERTED: completion is worse (")
    assert made.markdown.splitlines()[2].startswith("**REVERTED: completion is worse (")
    assert "\n| completion | **fail** | " in made.markdown


def test_the_figures_are_those_of_the_last_look(world):
    release_id = world.start()
    world.drive(release_id)
    made = report.build(world.store, release_id)
    look = world.rows("SELECT verdict FROM look ORDER BY seq DESC LIMIT 1")[0]
    verdict = json.loads(look["verdict"])["guardrails"][0]
    row = made.table[0]
    assert (row["guardrail"], row["verdict"]) == ("completion", "pass")
    assert row["candidate"].startswith(f"{verdict['y_c']}/{verdict['n_c']} bad (")
    assert row["low"] <= row["difference"] <= row["high"]
    assert (row["low"], row["high"]) == (round(verdict["low"], 2), round(verdict["high"], 2))


def test_the_table_shows_the_estimate_with_its_confidence_sequence(world):
    release_id = world.start()
    world.drive(release_id)
    made = report.build(world.store, release_id)
    row = made.table[0]
    interval = f"{row['difference']:+.1f} ({row['low']:+.1f} to {row['high']:+.1f})"
    line = next(line for line in made.markdown.splitlines() if line.startswith("| completion | pass |"))
    assert interval in line
    assert line.endswith("| +20.0 | 0 |")


def test_the_key_stays_the_same_and_is_one_that_prefect_takes(world):
    release_id = world.start()
    first = report.build(world.store, release_id).key
    world.drive(release_id, looks=5)
    assert report.build(world.store, release_id).key == first
    assert re.fullmatch(r"[a-z0-9-]+", first)
    assert release_id.removeprefix("rel_").lower() in first


def test_every_switch_is_listed_and_renewals_are_not(world):
    release_id = world.start()
    world.drive(release_id)
    timeline = report.build(world.store, release_id).markdown.partition("## Every switch")[2]
    done = re.findall(r"^\| [^|]* UTC \| (\d+) \| (\w+) \|", timeline, re.MULTILINE)
    assert [what for _, what in done] == [
        "start", "takeover", "share", "arm", "compare", "share", "arm", "compare", "promote"
    ]  # fmt: skip


def test_a_schedule_that_drives_for_days_is_listed_once(world):
    release_id = world.start()
    for _ in range(5):
        driving.evaluate(world.store, release_id, "the schedule")
        world.clock.advance(MINUTE)
    driving.begin(world.store, release_id, "ann's command line")
    timeline = report.build(world.store, release_id).markdown.partition("## Every switch")[2]
    assert timeline.count("| takeover |") == 2


def test_the_ceilings_are_listed(world):
    release_id = world.start("{name: small, guardrails: {completion: {margin: 15 points}}}")
    text = report.build(world.store, release_id).markdown
    assert "| candidate runs | 0 | 500 | ░░░░░░░░░░ 100% left |\n" in text
    assert "| spend of one run | - | $0.50 | each run for itself |\n" in text


@pytest.mark.parametrize(("used", "bar"), [(350, "███████░░░ 30% left"), (500, "██████████ 0% left")])
def test_the_headroom_of_a_ceiling_is_drawn(world, used, bar):
    from lastgood import reserving

    release_id = world.start("{name: small, guardrails: {completion: {margin: 15 points}}}")
    with world.store.transaction() as txn:
        values = {"release_id": release_id, "cap": reserving.RUNS, "used": used - 10, "reserved": 10}
        txn.insert("cap_use", {**values, "window_us": reserving.window(txn.now_us)})
    text = report.build(world.store, release_id).markdown
    assert f"| candidate runs | {used} | 500 | {bar} |\n" in text


def test_what_is_next_for_a_live_release_is_its_step_and_the_one_after(world):
    release_id = world.start()
    driver = driving.begin(world.store, release_id, "me")
    world.step(driver)
    text = report.build(world.store, release_id).markdown
    assert "- Another look; 20% of the eligible runs go to the candidate (step 1 of 2, then 50%).\n" in text


def test_after_a_revert_the_report_says_what_is_kept_out_and_what_was_opened(world):
    release_id = world.start()
    releasing.revert(world.store, release_id, Ending("driver", "worse", by="evidence"))
    text = report.build(world.store, release_id).markdown
    short = f"b-{world.candidate[:8]}"
    assert f"- {short} is quarantined: after a review `lastgood readmit support {short} --reason ...`" in text
    assert "is open: recovery due, watch due" in text
    assert text.index("## What happens next") > text.index("## Every switch")


def test_a_kill_switch_stands_in_what_happens_next(world):
    release_id = world.start()
    control.kill(world.store, "support", "production", actor="ann", reason="drill")
    assert (
        "- the kill switch is on: `lastgood clear support`" in report.build(world.store, release_id).markdown
    )


def test_what_people_write_is_data(world):
    evil = "<script>|[x](javascript:1)`\\|` **\n# heading"
    release_id = world.start(note=evil)
    releasing.revert(world.store, release_id, Ending("mallory|<b>", evil, by="hand"))
    text = report.build(world.store, release_id).markdown
    assert "<script>" not in text
    assert "<b>" not in text
    assert "](javascript" not in text
    assert "\n# heading" not in text
    rows = [line for line in text.splitlines() if line.startswith("| 20")]
    assert [len(re.findall(r"\|", row)) for row in rows] == [6] * len(rows)


@given(st.text())
def test_a_cell_can_not_end_itself(text):
    cell = report.escaped(text)
    assert not set(cell) & set("<>|[]`*\\\n\r")


def test_a_kill_switch_is_in_the_list(world):
    release_id = world.start()
    control.kill(world.store, "support", "production", actor="ann", reason="drill")
    assert "| kill | drill | ann |" in report.build(world.store, release_id).markdown


ASIDE = """
name: aside
lost_after: 1 min
guardrails: {completion: {margin: 20 points}, cost: {margin_rel: 50%, when_absent: set_aside}}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 50%, min_runs: 10}]
"""


def test_what_was_set_aside_is_said_and_stays_so_when_runs_report_it(world):
    release_id = world.start(ASIDE)
    made = report.build(world.store, release_id)
    assert "- cost is not watched: no run of the baseline reported cost_usd" in made.markdown
    world.drive(release_id, looks=6)
    for _ in range(5):
        world.run(cost_usd=9.0)
    world.clock.advance(2 * MINUTE)
    world.drive(release_id, looks=3)
    made = report.build(world.store, release_id)
    assert [row["guardrail"] for row in made.table] == ["completion"]
    assert "runs of this release report cost_usd now; it stays set aside until the next" in made.markdown


def test_a_measured_guardrail_stands_in_its_own_unit(world):
    for _ in range(200):
        world.run(cost_usd=world.draw.lognormvariate(-3, 0.5))
    world.clock.advance(2 * MINUTE)
    release_id = world.start(ASIDE)
    driver = driving.begin(world.store, release_id, "me")
    for _ in range(4):
        world.step(driver)
    for _ in range(400):
        dear = 4.0 if (run := world.assign()).decision.arm == "candidate" else 1.0
        with Run(world.store, run) as held:
            held.report(completed=True, cost_usd=dear * world.draw.lognormvariate(-3, 0.5))
    world.clock.advance(2 * MINUTE)
    for _ in range(3):
        world.step(driver)
    made = report.build(world.store, release_id)
    assert re.match(
        r"REVERTED: cost is worse \(\$0\.\d+ per completed run over \d+ candidate runs,"
        r" \$0\.0\d+ per completed run over \d+ baseline runs\)$",
        made.headline,
    )
    cost = next(line for line in made.markdown.splitlines() if line.startswith("| cost |"))
    assert re.search(r"\| \+\$0\.\d+ per completed run \([+-]0\.\d+ to \+\d+\.\d+\) \|", cost)


def test_the_widest_margin_proven_so_far_is_told_while_a_guardrail_is_undecided(world):
    release_id = world.start()
    world.drive(release_id, looks=10, runs=10)
    made = report.build(world.store, release_id)
    (row,) = [row for row in made.table if row["guardrail"] == "completion"]
    assert (row["verdict"], row["proven"]) == ("undecided", row["high"])
    assert f"proven so far: at most +{row['high']:.3g} points worse" in made.markdown
    world.drive(release_id)
    assert report.build(world.store, release_id).table[0]["proven"] is None


def test_runs_that_a_guardrail_still_needs_are_told(world):
    release_id = world.start()
    world.drive(release_id, looks=10, runs=10)
    needed = report.build(world.store, release_id).table[0]["runs_to_pass"]
    assert needed is None or needed > 0
    world.drive(release_id)
    assert report.build(world.store, release_id).table[0]["runs_to_pass"] == 0


def test_an_auditor_sees_who_did_what_on_which_look_and_the_head_of_the_chain(world):
    release_id = world.start()
    world.drive(release_id)
    said = report.build(world.store, release_id).markdown.partition("## For auditors")[2]
    tail = world.rows("SELECT * FROM ledger ORDER BY seq DESC LIMIT 1")[0]
    assert f"its head now is row {tail['seq']}, `{tail['hash']}`" in said
    look = world.rows("SELECT * FROM look ORDER BY seq DESC LIMIT 1")[0]
    digest = hashlib.sha256(look["verdict"].encode()).hexdigest()[:16]
    [promoted] = [line for line in said.splitlines() if "| promote |" in line]
    assert f"look {look['seq']} (verdict {digest})" in promoted
    assert "| renew |" not in said
    with sqlite3.connect(world.store.path) as raw:
        for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            raw.execute(f"DROP TRIGGER {name}")
        raw.execute("UPDATE ledger SET actor = 'mallory' WHERE seq = 2")
    said = report.build(world.store, release_id).markdown.partition("## For auditors")[2]
    assert "is broken at row 2" in said
