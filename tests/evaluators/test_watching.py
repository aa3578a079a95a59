"""The verdict of a watch, on planted windows."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evaluators.watched import (
    FLAGS,
    SPEND,
    Answer,
    Group,
    Kind,
    Seen,
    Series,
    Watched,
    WatchRules,
    Word,
)
from evaluators.watching import judge
from lastgood.errors import InvalidEvidence

HOUR = 3_600_000_000
FROM, AT, UNTIL = 24 * HOUR, 25 * HOUR, 25 * HOUR + HOUR * 3 // 4
SPANS = {
    Group.BEFORE: (0, FROM), Group.BAD: (FROM, AT), Group.BESIDE: (FROM, AT), Group.AFTER: (AT, UNTIL),
}  # fmt: skip


def runs(group, n, bad=0.05, *, seed=1, models=("m-1",), cost=0.1, stratum=None, **rates):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"at_us": np.sort(rng.integers(*SPANS[group], n)), "group": [group] * n})
    frame["stratum"] = stratum or rng.choice(["faq", "order"], n)
    frame["block"] = np.nan
    frame["models"] = [models] * n
    for name in FLAGS:
        usual = {"completion": bad, "validation": bad, "events": 0.0}.get(name, 0.02)
        frame[name] = (rng.random(n) < rates.get(name, usual)).astype(float)
    frame[SPEND] = cost * rng.lognormal(-0.5, 1.0, n)
    return frame


def seen(*parts, kind=Kind.REVERT, **given):
    """A window of 40 bad runs among 400, and 400 since, where nothing else is said."""
    made = {part["group"].iloc[0]: part for part in parts}
    usual = {Group.BEFORE: 1_500, Group.BESIDE: 360, Group.AFTER: 400}
    if kind is Kind.REVERT:
        usual[Group.BAD] = 40
    for place, (group, n) in enumerate(usual.items()):
        made.setdefault(group, runs(group, n, seed=place + 10))
    inside = pd.concat([made[g] for g in (Group.BAD, Group.BESIDE) if g in made])
    inside = inside.sort_values("at_us", kind="stable")
    inside["block"] = np.arange(len(inside)) // 20
    frame = pd.concat([made[Group.BEFORE], inside, made[Group.AFTER]], ignore_index=True)
    return Seen(kind, frame, FROM, AT, UNTIL, **given)


def answer(*parts, **given):
    return judge(seen(*parts, **given), WatchRules())


def word(verdict, name):
    return next(s.word for s in verdict.signals if s.name == name)


def queue(before=5.0, during=5.0, after=5.0, **changes):
    """A queue's depth every five minutes."""
    rng = np.random.default_rng(3)
    times = range(0, UNTIL + 1, HOUR // 12)
    levels = [before if t < FROM else during if t < AT else after for t in times]
    points = tuple((t, float(level + rng.normal(0, 0.5))) for t, level in zip(times, levels, strict=True))
    return replace(Series("queue", points), **changes)


BAD = runs(Group.BAD, 40, 0.6)


def test_a_bundle_at_fault_is_fixed_by_leaving_it():
    found = answer(BAD)
    assert found.answer is Answer.FIXED
    assert (word(found, "completion"), word(found, "escalation")) == (Word.BACK, Word.QUIET)


def test_harm_that_goes_on_with_the_good_bundle_is_elsewhere():
    found = answer(BAD, runs(Group.BESIDE, 360, 0.5), runs(Group.AFTER, 400, 0.5))
    assert found.answer is Answer.ELSEWHERE
    assert [hint.kind for hint in found.hints] == ["still"]


def test_a_good_bundle_that_was_worse_in_the_window_too_is_elsewhere():
    found = answer(BAD, runs(Group.BESIDE, 360, 0.6))
    assert (found.answer, [hint.kind for hint in found.hints]) == (Answer.ELSEWHERE, ["beside"])


def test_a_provider_that_failed_at_the_end_of_a_long_window_is_seen():
    late = runs(Group.BESIDE, 2_000, 0.05)
    late.loc[late.index[-60:], ["completion", "validation"]] = np.array([[1.0, 1.0], [0.0, 0.0]] * 30)
    found = answer(runs(Group.BAD, 200, 0.05), late)
    assert found.answer is Answer.ELSEWHERE


def test_nothing_wrong_is_inconclusive():
    found = answer()
    assert (found.answer, found.hints) == (Answer.INCONCLUSIVE, ())


@pytest.mark.parametrize("n", [1, 3])
def test_few_runs_since_are_inconclusive(n):
    assert answer(BAD, runs(Group.AFTER, n, 0.0)).answer is Answer.INCONCLUSIVE


def test_no_run_since_the_switch_says_so():
    found = answer(BAD, runs(Group.AFTER, 400).iloc[:1].assign(**dict.fromkeys((*FLAGS, SPEND), np.nan)))
    assert found.answer is Answer.INCONCLUSIVE
    assert "no run since the switch" in found.reason
    assert all(s.word is Word.NO_DATA and s.reason for s in found.signals)


def test_a_harm_of_which_a_part_is_left_is_not_fixed():
    assert answer(BAD, runs(Group.AFTER, 400, 0.3)).answer is Answer.ELSEWHERE


def test_spend_that_doubled_and_came_back_is_fixed():
    found = answer(runs(Group.BAD, 120, cost=0.5))
    assert (found.answer, word(found, SPEND)) == (Answer.FIXED, Word.BACK)


def test_spend_that_stays_up_is_elsewhere():
    found = answer(runs(Group.AFTER, 400, cost=0.25), runs(Group.BESIDE, 360, cost=0.25))
    assert (found.answer, word(found, SPEND)) == (Answer.ELSEWHERE, Word.STILL)


def test_an_event_that_is_not_tolerated_needs_no_proof_of_harm():
    bad = runs(Group.BAD, 10)
    bad.loc[bad.index[-1], "events"] = 1.0
    found = answer(bad, given=("events",))
    assert (found.answer, word(found, "events")) == (Answer.FIXED, Word.BACK)
    assert answer(bad).answer is Answer.INCONCLUSIVE


def test_what_the_release_has_proven_needs_no_second_proof():
    bad = runs(Group.BAD, 16, 0.0)
    bad.loc[bad.index[:4], "validation"] = 1.0
    assert answer(bad).answer is Answer.INCONCLUSIVE
    assert answer(bad, proven=("validation",)).answer is Answer.FIXED


def test_without_runs_beside_it_the_bad_bundle_is_compared_with_before():
    window = seen(BAD)
    alone = replace(window, runs=window.runs.loc[window.runs["group"] != Group.BESIDE])
    assert judge(alone, WatchRules()).answer is Answer.FIXED


# -- what points elsewhere


def test_a_model_that_changed_under_the_same_bundle_is_a_hint():
    found = answer(runs(Group.AFTER, 400, 0.4, models=("m-2",)))
    assert "m-2 answered, before m-1" in next(h.text for h in found.hints if h.kind == "model")


def test_a_model_that_the_bundle_names_is_no_change():
    found = answer(runs(Group.AFTER, 400, models=("m-2",)), pinned=frozenset({"m-2"}))
    assert found.hints == ()


def test_one_slice_that_is_worse_is_named():
    after = pd.concat([runs(Group.AFTER, 300, stratum="faq"), runs(Group.AFTER, 100, 0.5, stratum="order")])
    found = answer(after.sort_values("at_us"))
    assert found.answer is Answer.ELSEWHERE
    assert any(h.kind == "slice" and "order alone" in h.text for h in found.hints)


def test_one_tool_that_fails_is_named():
    rows = [(Group.BEFORE, "refund", f) for f in [0.0] * 97 + [1.0] * 3]
    rows += [(Group.BEFORE, "search", 0.0)] * 100 + [(Group.AFTER, "search", 0.0)] * 60
    rows += [(Group.AFTER, "refund", f) for f in [1.0, 0.0] * 20]
    calls = pd.DataFrame(rows, columns=["group", "tool", "failed"])
    found = answer(runs(Group.AFTER, 400, 0.4), calls=calls)
    tools = [h.text for h in found.hints if h.kind == "tool"]
    assert len(tools) == 1
    assert tools[0].startswith("the tool refund fails: 20 of 40")


# -- signals from outside


def test_a_queue_that_stays_deep_is_elsewhere():
    found = answer(series=(queue(during=20.0, after=20.0),))
    assert (found.answer, word(found, "queue")) == (Answer.ELSEWHERE, Word.STILL)


def test_a_queue_that_came_back_is_fixed():
    found = answer(series=(queue(during=20.0),))
    assert (found.answer, word(found, "queue")) == (Answer.FIXED, Word.BACK)


def test_a_series_that_strays_by_itself_proves_nothing_by_straying():
    rng = np.random.default_rng(5)
    walk = np.cumsum(rng.normal(0, 1, UNTIL // (HOUR // 12) + 1))
    points = tuple((n * (HOUR // 12), float(v)) for n, v in enumerate(walk))
    assert answer(series=(Series("queue", points),)).answer is Answer.INCONCLUSIVE


def test_where_more_is_better_less_is_worse():
    found = answer(series=(queue(during=1.0, after=1.0, lower_is_better=False),))
    assert word(found, "queue") is Word.STILL


def test_a_signal_that_can_not_be_read_keeps_from_fixed():
    gone = Series("complaints", absent="its query failed: no such table")
    found = answer(BAD, series=(gone,))
    assert (found.answer, found.absent) == (Answer.INCONCLUSIVE, (("complaints", gone.absent),))
    assert answer(BAD, series=(replace(gone, required=False),)).answer is Answer.FIXED


def test_a_short_history_of_a_signal_says_so():
    found = answer(series=(Series("queue", ((FROM - 1, 5.0), (AT + 1, 9.0))),))
    assert word(found, "queue") is Word.NO_DATA
    assert "1 points before the window" in next(s.reason for s in found.signals if s.name == "queue")


# -- after a promotion


def test_a_promotion_that_holds_is_fixed():
    assert answer(kind=Kind.PROMOTE).answer is Answer.FIXED


def test_a_provider_that_fails_after_a_promotion_is_elsewhere():
    assert answer(runs(Group.AFTER, 400, 0.4), kind=Kind.PROMOTE).answer is Answer.ELSEWHERE


def test_a_promoted_bundle_that_was_no_better_as_the_candidate_calls_a_person():
    found = answer(runs(Group.BESIDE, 60, 0.4), runs(Group.AFTER, 400, 0.4), kind=Kind.PROMOTE)
    assert found.answer is Answer.INCONCLUSIVE
    assert "may be at fault" in found.reason


# -- what can't be


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [("completion", 0.5, "good .0. or bad .1."), (SPEND, -1.0, "not negative"), (SPEND, np.inf, "finite")],
)
def test_impossible_numbers_are_refused_by_name(column, value, said):
    window = seen()
    window.runs.loc[3, column] = value
    with pytest.raises(InvalidEvidence, match=f"{column}.*{said}"):
        judge(window, WatchRules())


@pytest.mark.parametrize("points", [((1, np.nan),), ((1, np.inf),), ((5, 1.0), (1, 1.0))])
def test_impossible_points_are_refused(points):
    with pytest.raises(InvalidEvidence, match="signal queue"):
        answer(series=(Series("queue", points),))


def test_a_window_that_ends_before_it_begins_is_refused():
    with pytest.raises(InvalidEvidence, match="window begins"):
        judge(replace(seen(), from_us=UNTIL + 1), WatchRules())


def test_a_verdict_survives_json():
    import json

    found = answer(BAD, series=(queue(),))
    assert Watched.from_json(json.loads(json.dumps(found.to_json()))).to_json() == found.to_json()


def test_healthy_windows_are_hardly_ever_called_anything():
    said = [
        judge(
            seen(
                *(runs(g, n, seed=100 * s + p) for p, (g, n) in enumerate(
                    {Group.BEFORE: 800, Group.BAD: 40, Group.BESIDE: 360, Group.AFTER: 300}.items()
                ))
            ),
            WatchRules(),
        ).answer
        for s in range(25)
    ]  # fmt: skip
    assert said.count(Answer.INCONCLUSIVE) >= 24
