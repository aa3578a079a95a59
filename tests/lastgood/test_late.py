"""Late reports in batches: each counts as one that comes alone, and a trigger fires in the middle of them."""

import json

import pytest

from lastgood import late, recorder
from lastgood.assigning import Request, assign
from lastgood.identity import Keys
from lastgood.late import LateReport, record_late_batch
from lastgood.outcome import Outcome, checked
from lastgood.recorder import Batch
from lastgood.release import Terms
from lastgood.snapshot import Serving
from lastgood.triggers import RateTrigger, Triggers
from tests.planted import PLANTED

PLACE = ("support", "production")
KEYS = Keys("a", {"a": b"a" * 32})


@pytest.fixture
def ended(desk, tools):
    """Runs of a release whose corrections are watched, each with its outcome."""
    triggers = Triggers((), rates=(RateTrigger("corrections", 0.05),))
    desk.live(terms=Terms(caps=tools.OPEN.caps, cooldown_us=0, triggers=triggers))
    served = Serving(desk.store, desk.agent, desk.environment)
    runs = [assign(served, Request(f"unit-{n}", "faq", None, None)) for n in range(20)]
    for run in runs:
        recorder.record(
            desk.store, run.run_id, run.decision.arm, Outcome(completed=True), None, None, run.origin
        )
    return [run.run_id for run in runs]


def reports(runs, **fields):
    return [LateReport(run, checked(fields), key="ticket") for run in runs]


def test_a_batch_says_what_became_of_each(desk, ended):
    told = [*reports(ended[:2], edits=0), *reports(["run_nobody"], edits=1), *reports(ended[:1], edits=0)]
    batch = record_late_batch(desk.store, told, place=PLACE)
    assert (batch.new, batch.duplicates, batch.refused_at, batch.foreign_at) == (2, (ended[0],), (2,), ())
    assert record_late_batch(desk.store, reports(ended, edits=0), place=("coder", "production")) == Batch(
        foreign_at=tuple(range(20))
    )
    assert record_late_batch(desk.store, [], place=PLACE) == Batch()
    assert len(desk.all("SELECT * FROM late_report")) == 2


def test_with_keys_each_brings_its_runs_token(desk, ended):
    batch = record_late_batch(desk.store, reports(ended, edits=1), keys=KEYS, place=PLACE)
    assert (batch.new, len(batch.refused)) == (0, 20)
    assert desk.all("SELECT reason, n FROM refusal") == [{"reason": "missing", "n": 20}]
    assert desk.all("SELECT * FROM late_report") == []


def test_a_trigger_fires_in_the_middle_of_a_batch_and_what_follows_is_written(desk, ended):
    assert record_late_batch(desk.store, reports(ended, edits=2), place=PLACE).new == 20
    assert desk.point.release_id is None
    [release] = desk.all("SELECT state, culprits FROM release")
    assert (release["state"], json.loads(release["culprits"])) == ("reverted", ["corrections"])
    assert len(desk.all("SELECT * FROM late_report")) == 20


def test_one_by_one_or_together_the_sums_are_the_same(desk, ended):
    for run in ended[:10]:
        recorder.record_late(desk.store, run, {"cost_usd": 0.5, "mood": 2}, key="k")
    alone = desk.all("SELECT * FROM tally ORDER BY 1, 2, 3, 4")
    again = [LateReport(run, checked({"cost_usd": 0.5, "mood": 2}), "k") for run in ended[:10]]
    assert record_late_batch(desk.store, again, place=PLACE).new == 0
    assert desk.all("SELECT * FROM tally ORDER BY 1, 2, 3, 4") == alone
    late.record_late_batch(desk.store, reports(ended[10:], cost_usd=0.5), place=PLACE)
    assert sum(row["cost_micro"] for row in desk.all("SELECT * FROM tally")) == 20 * 500_000


def test_a_key_that_is_a_secret_counts_once_and_is_not_kept(desk, ended):
    secrets = [PLANTED["github"], PLANTED["stripe"]]
    for _ in range(2):
        told = [LateReport(ended[0], checked({"edits": 1}), key) for key in secrets]
        record_late_batch(desk.store, told, place=PLACE)
    kept = [row["key"] for row in desk.all("SELECT key FROM late_report")]
    assert len(set(kept)) == len(kept) == 2
    assert all(key.startswith("secret:") for key in kept)
    assert not recorder.record_late(desk.store, ended[0], {"edits": 1}, key=secrets[0])
