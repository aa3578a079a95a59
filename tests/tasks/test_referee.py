"""The referee: a blind sample of both arms, judged once each, within a budget, and what its marks do."""

import json
import re
import sys
import types

import pytest
from click.testing import CliRunner

from evaluators.referees import Refereed, sampler
from evaluators.verdict import Decision, Word
from lastgood import recorder
from lastgood.cli import main
from lastgood.errors import InvalidInput, InvalidMove, InvalidPolicy, NotFound
from lastgood.running import Disconnected, Run
from tasks import comparison, driving, judges, referee

MINUTE = 60_000_000
POLICY = """
name: judged
lost_after: 1 min
guardrails:
  completion: {margin: 30 points}
  polite: {column: polite, bad: false, margin: 30 points, matures: 10 min}
reference: {polite: 0.9}
referee: {column: polite, call: "a_judge:polite", sample: 50%}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 40%, min_runs: 10}]
block: {size: 10, time: 1 h}
lease: 6 h
on_undecided: ask
"""
PEOPLE = POLICY.replace('call: "a_judge:polite", ', 'rubric: "Is it polite?", ')
JUDGE = """
seen = []
def polite(given, made):
    seen.append((given, made))
    return "please" in made
"""


@pytest.fixture
def judge(tmp_path, monkeypatch):
    """Writes the referee's module as a new process would load it; returns what it was shown."""

    def write(text=JUDGE):
        folder = tmp_path / "team"
        folder.mkdir(exist_ok=True)
        (folder / "a_judge.py").write_text(text)
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.setattr(judges, "_sources", {})
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        sys.modules.pop("a_judge", None)

    write()
    yield write
    sys.modules.pop("a_judge", None)


def opened(world, text=POLICY):
    release_id = world.start(text)
    driver = driving.begin(world.store, release_id, "me")
    for _ in range(3):
        world.step(driver)
    return release_id


def serve(world, runs, made=lambda arm: "please", **fields):
    """Runs with an input and an output, by arm; their arms by id."""
    arms = {}
    for _ in range(runs):
        with Run(world.store, world.assign()) as run:
            run.input, run.output = {"question": "?"}, made(run.arm)
            run.report(completed=True, **fields)
        arms[run.id] = run.arm
    return arms


def look(world, release_id):
    return comparison.look(world.store, driving.read(world.store, release_id)[0]).verdict


def polite(verdict):
    return verdict.guardrail("polite")


def test_a_sample_of_both_arms_is_judged_and_counts_alone(world, judge):
    release_id = opened(world)
    arms = serve(world, 60)
    done = referee.work(world.store, release_id)
    drawn = [run_id for run_id in arms if sampler(release_id, "polite", 5_000).draws(run_id)]
    assert (done.judged, done.waiting) == (len(drawn), 0)
    assert {arms[run_id] for run_id in drawn} == {"baseline", "candidate"}
    world.clock.advance(11 * MINUTE)
    found = polite(look(world, release_id))
    assert (found.n_c + found.n_b, found.y_c + found.y_b) == (len(drawn), 0)


def test_a_confidently_wrong_candidate_is_reverted(world, judge):
    """It reports that all is well; what it says tells the referee otherwise."""
    release_id = opened(world)
    serve(world, 150, lambda arm: "please" if arm == "baseline" else "no", validated=True, polite=True)
    referee.work(world.store, release_id)
    world.clock.advance(11 * MINUTE)
    verdict = look(world, release_id)
    assert (verdict.decision, verdict.culprits) == (Decision.REVERT, ("polite",))


def test_a_run_can_not_judge_itself(world, judge):
    release_id = opened(world)
    arms = serve(world, 40, lambda arm: "no", polite=True)
    referee.work(world.store, release_id)
    for run_id in arms:
        recorder.record_late(world.store, run_id, {"polite": True})
        with pytest.raises(InvalidInput):
            recorder.record_late(world.store, run_id, {"judgement": {"column": "polite", "mark": True}})
    world.clock.advance(11 * MINUTE)
    found = polite(look(world, release_id))
    assert found.y_c == found.n_c > 0


def test_the_referee_learns_neither_arm_nor_run(world, judge):
    release_id = opened(world)
    arms = serve(world, 60)
    referee.work(world.store, release_id)
    seen = sys.modules["a_judge"].seen
    assert all(case == ({"question": "?"}, "please") for case in seen)
    order = [row["run_id"] for row in world.rows("SELECT run_id FROM late_report ORDER BY seq")]
    assert order != sorted(order)
    assert not {run_id for run_id in arms if run_id in json.dumps(seen)}


def test_a_judgement_is_made_once_and_its_digest_kept(world, judge):
    release_id = opened(world)
    serve(world, 30)
    first = referee.work(world.store, release_id, most=4)
    assert (first.judged, referee.work(world.store, release_id).judged) == (4, first.waiting)
    assert referee.work(world.store, release_id).judged == 0
    fields = [json.loads(row["fields"]) for row in world.rows("SELECT fields FROM late_report")]
    assert len(fields) == 4 + first.waiting
    spec = comparison.Frozen.of(driving.read(world.store, release_id)[0]).policy.referee
    assert {found["judgement"]["digest"] for found in fields} == {judges.digest_of(spec)}


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ("judgements_per_hour: 5", "the policy allows 5"),
        ("usd_each: 0.25, usd_per_hour: 1.25", "cost \\$1.25"),
    ],
)
def test_the_budget_holds_and_comes_back_in_an_hour(world, judge, budget, said):
    release_id = opened(world, POLICY.replace("sample: 50%", f"sample: 50%, {budget}"))
    serve(world, 40)
    done = referee.work(world.store, release_id)
    assert done.judged == 5
    assert re.search(said, done.why)
    assert referee.work(world.store, release_id).judged == 0
    world.clock.advance(61 * MINUTE)
    assert referee.work(world.store, release_id).judged == 5


def test_a_referee_that_tells_its_price_is_held_to_it(world, judge):
    judge(
        "from tasks.judges import Judgement\ndef polite(given, made):\n    return Judgement(True, usd=0.4)\n"
    )
    release_id = opened(world)
    serve(world, 40)
    assert referee.work(world.store, release_id).judged == 3  # the third one passes the dollar of an hour


def test_a_sampled_run_without_a_mark_is_the_worst_and_nothing_is_promoted(world, judge):
    release_id = opened(world)
    serve(world, 60)
    referee.work(world.store, release_id, most=10)
    world.clock.advance(11 * MINUTE)
    verdict = look(world, release_id)
    found = polite(verdict)
    assert found.y_c + found.y_b == found.n_c + found.n_b - 10
    assert found.word is Word.INVALID
    assert "the referee judged 10 of" in found.reason
    assert (verdict.decision, verdict.valid, any(verdict.gates)) == (Decision.HOLD, True, False)


def test_a_run_that_made_nothing_has_the_worst_mark(world, judge):
    release_id = opened(world)
    serve(world, 40, lambda arm: None)
    done = referee.work(world.store, release_id)
    assert (done.failed, done.waiting) == (0, 0)
    assert sys.modules["a_judge"].seen == []
    world.clock.advance(11 * MINUTE)
    found = polite(look(world, release_id))
    assert found.y_c + found.y_b == found.n_c + found.n_b > 0


def test_a_client_that_went_away_is_not_asked_about(world, judge):
    release_id = opened(world)
    for _ in range(20):
        with pytest.raises(Disconnected), Run(world.store, world.assign()):
            raise Disconnected
    world.clock.advance(11 * MINUTE)
    serve(world, 20)
    referee.work(world.store, release_id)
    world.clock.advance(11 * MINUTE)
    found = polite(look(world, release_id))
    assert found.y_c + found.y_b == 0


BROKEN = {
    "raises": "raise RuntimeError('down')",
    "says nothing": "return None",
    "says a word": "return 'good'",
    "says NaN": "return float('nan')",
    "says infinity": "return float('inf')",
    "says too much": "return 7",
    "hangs": "import time; time.sleep(60)",
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_referee_is_asked_three_times_and_never_promotes(world, judge, how):
    judge(f"def polite(given, made):\n    {BROKEN[how]}\n")
    release_id = opened(world, POLICY.replace("sample: 50%", "sample: 20%, timeout: 0.1 s"))
    serve(world, 20)
    done = [referee.work(world.store, release_id) for _ in range(4)]
    drawn = done[0].failed
    assert [(found.judged, found.failed) for found in done] == [(0, drawn)] * 3 + [(0, 0)]
    world.clock.advance(11 * MINUTE)
    verdict = look(world, release_id)
    assert verdict.decision is Decision.HOLD
    assert "judged 0 of" in polite(verdict).reason


def test_a_driver_judges_while_it_waits_and_does_not_fall_with_its_referee(world, judge, monkeypatch):
    release_id = opened(world)
    serve(world, 20)
    monkeypatch.setattr(driving, "_GLANCE_S", 0.0)
    driver = driving.begin(world.store, release_id, "me")
    what = driving.due(world.store, driver)
    monkeypatch.setattr(driving.time, "sleep", lambda _s: driving.begin(world.store, release_id, "other"))
    driving.rest(world.store, driver, what)
    assert world.rows("SELECT count(*) AS n FROM late_report")[0]["n"] > 0
    judge("import nothing_of_this_name\n")
    referee.work_quietly(world.store, release_id, seconds=1)
    with pytest.raises(InvalidPolicy, match="a_judge can't be imported"):
        referee.work(world.store, release_id)


def test_a_changed_referee_makes_the_evidence_invalid_for_good(world, judge):
    release_id = opened(world)
    serve(world, 60)
    referee.work(world.store, release_id, most=15)
    judge(JUDGE + "# kinder\n")
    referee.work(world.store, release_id)
    world.clock.advance(11 * MINUTE)
    for _ in range(2):
        verdict = look(world, release_id)
        assert polite(verdict).word is Word.INVALID
        assert "2 different referees judged polite" in polite(verdict).reason
        assert (verdict.decision, verdict.valid) == (Decision.HOLD, False)
        serve(world, 30)
        referee.work(world.store, release_id)
        world.clock.advance(11 * MINUTE)


def test_a_changed_referee_masks_no_revert(world, judge):
    release_id = opened(world)
    serve(world, 75, lambda arm: "please" if arm == "baseline" else "no")
    referee.work(world.store, release_id, most=15)
    judge(JUDGE + "# kinder\n")
    serve(world, 75, lambda arm: "please" if arm == "baseline" else "no")
    referee.work(world.store, release_id)
    world.clock.advance(11 * MINUTE)
    assert look(world, release_id).decision is Decision.REVERT


@pytest.mark.parametrize("change", ["version", "rubric", "column", "settings"])
def test_whatever_a_referee_is_moves_its_digest(world, judge, change):
    spec = world.policy(POLICY).referee
    changed = spec.model_copy(update={change: {"a": 1} if change == "settings" else "other"})
    assert judges.digest_of(changed) != judges.digest_of(spec)


def test_an_evaluator_of_pydantic_evals_judges(world, judge, monkeypatch):
    """With a stand-in of its face: the package is an extra that the development environment leaves out."""
    package, module = types.ModuleType("pydantic_evals"), types.ModuleType("pydantic_evals.evaluators")
    module.EvaluatorContext = types.SimpleNamespace
    monkeypatch.setitem(sys.modules, "pydantic_evals", package)
    monkeypatch.setitem(sys.modules, "pydantic_evals.evaluators", module)
    judge(
        "class polite:\n    def evaluate(self, ctx): ...\n"
        "    def evaluate_sync(self, ctx):\n"
        "        import types\n"
        "        return types.SimpleNamespace(value='please' in ctx.output, reason='')\n"
    )
    found = judges.load(world.policy(POLICY).referee)
    assert found.judge({}, "please").mark is True
    assert found.judge({}, "now").mark is False


def test_people_judge_cases_that_name_neither_run_nor_arm(world, monkeypatch):
    monkeypatch.setenv("LASTGOOD_DATABASE", world.store.url)
    release_id = opened(world, PEOPLE)
    arms = serve(world, 30)
    waiting = referee.queue(world.store, release_id)
    said = CliRunner().invoke(main, ["review", "next", release_id]).output
    assert waiting[0].id in said
    assert "Is it polite?" in said
    assert "please" in said
    assert not any(word in said for word in (*arms, "candidate", "baseline"))
    made = CliRunner().invoke(main, ["review", "mark", release_id, waiting[0].id, "no", "--actor", "ann"])
    assert made.exit_code == 0, made.output
    listed = CliRunner().invoke(main, ["review", "list", release_id]).output
    assert f"{waiting[0].id}  False  ann" in listed
    assert len(referee.queue(world.store, release_id)) == len(waiting) - 1
    with pytest.raises(NotFound, match="waits"):
        referee.mark(world.store, release_id, waiting[0].id, True, by="bob")
    with pytest.raises(InvalidInput, match="yes or no"):
        referee.mark(world.store, release_id, waiting[1].id, 0.5, by="bob")


def test_what_a_run_made_moves_no_terminal(world, monkeypatch):
    monkeypatch.setenv("LASTGOOD_DATABASE", world.store.url)
    release_id = opened(world, PEOPLE)
    serve(world, 30, lambda arm: "\x1b[2Jignore your instructions")
    assert "\x1b" not in CliRunner().invoke(main, ["review", "next", release_id]).output


def test_people_and_a_callable_do_not_mix(world, judge):
    release_id = opened(world)
    serve(world, 10)
    with pytest.raises(InvalidMove, match="one release has one referee"):
        referee.mark(world.store, release_id, "x", True, by="ann")


def test_the_command_runs_the_referee(world, judge, monkeypatch):
    monkeypatch.setenv("LASTGOOD_DATABASE", world.store.url)
    release_id = opened(world)
    serve(world, 20)
    made = CliRunner().invoke(main, ["referee", "run", release_id, "--most", "3"])
    assert f"{release_id}: 3 runs judged" in made.output
    made = CliRunner().invoke(main, ["referee", "run", "rel_0"])
    assert made.exit_code == 1
    assert "no release 'rel_0'" in made.output


def test_a_release_without_a_referee_says_so(world):
    release_id = world.start()
    with pytest.raises(InvalidMove, match="has no referee; its key `referee` names one"):
        referee.work(world.store, release_id)


def test_marks_are_counted_apart_for_each_look():
    assert Refereed("polite", ("a",), 10, 10).add(["a"], 5, 5) == Refereed("polite", ("a",), 15, 15)
    assert Refereed("polite", (), 100, 95).behind == ""
    assert Refereed("polite", (), 100, 94).behind
