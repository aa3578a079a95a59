"""Each checker of the soak finds what is planted, and says nothing of what is right."""

import json
from dataclasses import replace

import pytest

from tests.soak import checks, diary
from tests.soak.checks import History, Ran, State
from tests.soak.diary import Diaries, Left, Told
from tests.soak.trends import Series, bounded, longest, trend

AGENT, SECOND = "support", 1_000_000
OPENED = State(AGENT, 1, 10 * SECOND, "adopt", 1, "old", None, None, 0, False, 0)
SHARED = replace(
    OPENED, seq=2, at_us=20 * SECOND, action="share", epoch=2, candidate="new", release_id="rel_1",
    share_bp=3_000, lease_until_us=40 * SECOND,
)  # fmt: skip
REVERTED = replace(OPENED, seq=3, at_us=50 * SECOND, action="revert", epoch=3)
HISTORY = History([REVERTED, OPENED, SHARED])
RUN = Ran("run_1", AGENT, "u1", "old", "baseline", 1, None, "no_release", 12 * SECOND)
CANDIDATE = replace(
    RUN, id="run_2", unit="u2", bundle_id="new", arm="candidate", epoch=2, release_id="rel_1",
    reason="split", assigned_us=25 * SECOND,
)  # fmt: skip


def told(run, **changes):
    values = {
        "process": "process 0", "born_us": 0, "unit": run.unit, "run_id": run.id, "agent": run.agent,
        "bundle_id": run.bundle_id, "arm": run.arm, "epoch": run.epoch, "recorded": True,
        "begun_us": run.assigned_us - 1, "got_us": run.assigned_us + 1,
    }  # fmt: skip
    return Told(**{**values, **changes})


def diaries(*runs, sure=()):
    found = Diaries({run.unit: run.agent for run in runs}, [told(run) for run in runs])
    found.sure = {run.id: (run.completed, run.assigned_us + 1) for run in sure}
    return found


def test_runs_that_the_ledger_allows_are_right():
    late = replace(RUN, id="run_3", epoch=3, assigned_us=50 * SECOND)
    assert checks.disallowed(HISTORY, [RUN, CANDIDATE, late], 0) == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"assigned_us": 51 * SECOND}, "epoch 2 where 3 was in force"),  # a stale decision
        ({"assigned_us": 51 * SECOND, "epoch": 3}, "no candidate after row 3"),
        ({"assigned_us": 41 * SECOND}, "1000 ms after its lease"),
        ({"bundle_id": "other"}, "no candidate after row 2"),
        ({"release_id": "rel_0"}, "no candidate after row 2"),
        ({"assigned_us": 5 * SECOND}, "before its agent was adopted"),
        ({"arm": "baseline"}, "the baseline was old"),
        ({"arm": "baseline", "reason": "conversation"}, "never was a baseline"),
    ],
)
def test_a_run_that_the_ledger_does_not_allow_is_found(changes, why):
    (wrong,) = checks.disallowed(HISTORY, [replace(CANDIDATE, **changes)], 0)
    assert why in wrong


@pytest.mark.parametrize("changes", [{"killed": True}, {"share_bp": 0}])
def test_a_candidate_without_a_share_or_under_a_kill_is_found(changes):
    history = History([OPENED, replace(SHARED, **changes)])
    assert len(checks.disallowed(history, [CANDIDATE], 0)) == 1


def test_a_lease_counts_on_the_boot_clock():
    ahead_us = 20 * SECOND
    assert len(checks.disallowed(HISTORY, [CANDIDATE], ahead_us)) == 1


def test_a_conversation_may_keep_an_earlier_baseline():
    moved = replace(OPENED, seq=2, at_us=20 * SECOND, epoch=2, baseline="new")
    talk = replace(RUN, reason="conversation", epoch=2, assigned_us=30 * SECOND)
    assert checks.disallowed(History([OPENED, moved]), [talk], 0) == []


def test_without_the_store_a_known_baseline_is_right_and_anything_else_is_found():
    alone = told(RUN, recorded=False, run_id="run_9")
    assert checks.cut_off(HISTORY, [alone], 0) == []
    assert len(checks.cut_off(HISTORY, [replace(alone, bundle_id="new")], 0)) == 1
    assert len(checks.cut_off(HISTORY, [replace(alone, arm="candidate")], 0)) == 1


def test_a_baseline_that_the_process_knows_to_be_left_is_found():
    moved = replace(OPENED, seq=2, at_us=20 * SECOND, epoch=2, baseline="new")
    knew = told(replace(RUN, bundle_id="new"), got_us=30 * SECOND)
    alone = told(RUN, recorded=False, run_id="run_9", got_us=31 * SECOND)
    assert len(checks.cut_off(History([OPENED, moved]), [knew, alone], 0)) == 1
    assert checks.cut_off(History([OPENED, moved]), [alone], 0) == []  # it had not heard yet


def test_a_bundle_served_after_its_revert_returned_is_found():
    left = Left(AGENT, "new", 24 * SECOND, "hand")
    (wrong,) = checks.stale([left, replace(left, at_us=30 * SECOND)], [told(CANDIDATE)])
    assert "begun 999999 us after new was left by hand" in wrong
    assert checks.stale([left], [told(CANDIDATE, begun_us=23 * SECOND), told(RUN)]) == []


ENDED = replace(RUN, ended=True, completed=True)


def test_what_was_acknowledged_and_is_there_is_right():
    assert checks.lost(diaries(RUN, CANDIDATE, sure=[ENDED]), {"run_1": ENDED, "run_2": CANDIDATE}) == []


@pytest.mark.parametrize(
    ("kept", "why"),
    [
        ({}, "run run_1 of process 0 is lost"),
        ({"run_1": replace(ENDED, bundle_id="new")}, "run run_1 is not as it was told"),
        ({"run_1": RUN}, "the outcome of run_1 is lost"),
        ({"run_1": replace(ENDED, completed=False)}, "the outcome of run_1 is changed"),
        ({"run_1": ENDED, "run_8": replace(ENDED, id="run_8")}, "unit u1 has 2 runs"),
        ({"run_1": ENDED, "run_8": replace(ENDED, id="run_8", unit="u8")}, "nobody asked for run_8"),
    ],
)
def test_what_was_acknowledged_and_is_not_there_as_it_was_is_found(kept, why):
    assert why in checks.lost(diaries(RUN, sure=[ENDED]), kept)


def test_a_crash_of_the_database_excuses_its_last_moments_alone():
    found = diaries(RUN, sure=[ENDED])
    assert checks.lost(found, {}, [(11 * SECOND, 13 * SECOND)]) == []
    assert len(checks.lost(found, {}, [(13 * SECOND, 14 * SECOND)])) == 2


COUNTED = replace(CANDIDATE, ended=True, completed=True, cost_usd=0.0125, edits=2, task_type="faq", block=3)
CELL = ("rel_1", "faq", 3, "candidate")


def test_sums_are_held_to_a_recount():
    runs = [COUNTED, replace(COUNTED, id="run_7", completed=False, edits=None), RUN]
    tallies = {CELL: (2, 2, 1, 1, 2, 2, 25_000)}
    assert checks.miscounted(runs, tallies) == []
    assert checks.miscounted(runs, {CELL: (3, 3, 1, 1, 2, 3, 25_000)}) != []  # a retry counted twice
    assert checks.miscounted(runs[1:], tallies) != []  # a row that is gone
    assert checks.miscounted(runs, {}) == []  # pruned
    assert checks.miscounted([*runs, replace(COUNTED, block=4)], tallies) != []  # a cell without sums


def test_a_missing_ledger_row_and_a_jump_of_the_epoch_are_found():
    assert list(HISTORY.gaps()) == []
    assert len(list(History([OPENED, REVERTED]).gaps())) == 2


def test_a_failing_candidate_that_became_the_baseline_is_found():
    kinds = {"old": "good", "new": "failing"}
    assert checks.misjudged(HISTORY, kinds, [AGENT]) == []
    promoted = replace(OPENED, seq=4, at_us=60 * SECOND, baseline="new", epoch=4)
    assert len(checks.misjudged(History([OPENED, promoted]), kinds, [AGENT])) == 1


def lines(*words):
    return [json.dumps(each) for each in words]


def test_a_diary_is_sure_of_what_was_flushed_and_not_dropped():
    found = Diaries()
    found.read([
        *lines(
            ["born", "process 0", 5], ["try", "u1", AGENT, 6],
            ["run", "u1", "run_1", AGENT, "old", "baseline", 1, True, 6, 7], ["end", "run_1", True],
            ["end", "run_2", False], ["drop", "run_2"], ["sure", 8], ["end", "run_3", True],
            ["leak", AGENT, "new", 9], ["failed", "Refused"],
        ),
        '["end", "run_4", tr',
    ])  # fmt: skip
    assert found.sure == {"run_1": (True, 8)}
    assert found.told == [
        Told("process 0", 5, "u1", "run_1", AGENT, "old", "baseline", 1, True, 6, 7),
    ]
    assert (found.left, found.failed) == ([Left(AGENT, "new", 9, "leak")], ["Refused"])


def test_every_diary_of_a_folder_is_read(tmp_path):
    for number in range(2):
        text = "\n".join(lines(["born", f"process {number}", 5], ["try", f"u{number}", AGENT, 6]))
        (tmp_path / f"process{number}.diary").write_text(text)
    assert set(diary.read(tmp_path).tried) == {"u0", "u1"}


def series(values, every_s=15.0):
    return Series("service", "MB", tuple((every_s * n, value) for n, value in enumerate(values)))


def test_a_leak_is_found_and_noise_is_none():
    noise = [100 + (n * 7919 % 13) / 4 for n in range(240)]
    assert trend(series(noise), 8).holds is True
    leaking = trend(series([value + n / 12 for n, value in enumerate(noise)]), 8)
    assert leaking.holds is False
    assert leaking.slope == pytest.approx(20, abs=1)


def test_what_fills_at_the_start_or_jumps_once_is_no_leak():
    filled = [min(n, 60) for n in range(240)]
    jumped = [100 + (n > 200) * 10 for n in range(240)]
    assert trend(series(filled), 8).holds is True
    assert trend(series(jumped), 8).holds is True


def test_of_a_short_life_nothing_is_said():
    assert trend(series(range(60)), 8).holds is None
    assert trend(series([]), 8).holds is None


def test_growth_without_bound_is_found_and_a_saw_is_none():
    assert bounded(series(range(240)), 1.25).holds is False
    assert bounded(series([n % 30 for n in range(240)]), 1.25).holds is True
    assert bounded(series(range(30)), 1.25).holds is None


def test_of_a_process_that_was_killed_the_longest_life_is_taken():
    short, long = series(range(3)), series(range(9))
    assert longest([short, long, short]) is long
