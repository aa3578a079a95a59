"""What changes underneath a bundle that serves: models, and rates."""

import random

import pytest

from evaluators.drifting import FIRST, Rate, Seen, Watch


def runs(number, *, bad=0.08, seed=1, models=()):
    draw = random.Random(seed)
    return [Seen(f"run_{n}", {"completion": draw.random() < bad}, models) for n in range(number)]


def changes(given, pinned=(), watch=None):
    return (watch or Watch()).after(given, pinned)


def test_a_rate_that_stays_as_it_was_alarms_nobody():
    for seed in range(20):
        _, found = changes(runs(5_000, seed=seed))
        assert found == []


def test_a_rate_that_triples_alarms_once_and_says_by_how_much():
    watch, found = changes(runs(FIRST))
    assert found == []
    watch, found = changes(runs(600, bad=0.3, seed=2), watch=watch)
    assert [(change.kind, change.name) for change in found] == [("outcome", "completion")]
    assert found[0].detail.startswith("completion got worse: ")
    assert " in the first 300 of this bundle" in found[0].detail
    assert int(found[0].run_id.removeprefix("run_")) < 150
    assert watch.rates["completion"].alarmed


def test_after_it_came_back_it_may_alarm_again():
    watch, _ = changes(runs(FIRST))
    for seed in (2, 3):
        watch, found = changes(runs(400, bad=0.4, seed=seed), watch=watch)
        assert len(found) == 1
        watch, found = changes(runs(3_000, bad=0.02, seed=seed), watch=watch)
        assert (found, watch.rates["completion"].alarmed) == ([], False)


def test_the_first_runs_only_say_what_is_usual():
    rate = Rate()
    for _ in range(FIRST):
        rate = rate.add(bad=True)
    assert (rate.n, rate.bad, rate.log_m, rate.alarmed) == (FIRST, FIRST, 0.0, False)
    for _ in range(2_000):  # it can't get worse than always bad
        rate = rate.add(bad=True)
    assert rate.n == FIRST


@pytest.mark.parametrize(
    ("pinned", "models", "told"),
    [
        (("small",), ["small", "small"], []),
        (("small",), ["small", "large", "large"], ["large"]),
        (("small",), ["small-2026-10-01", "small-2026-10-01"], []),
        (("small",), ["small-2026-10-01", "small-2026-11-01"], ["small-2026-11-01"]),
        (("small", "small-vision"), ["small-2026-10-01", "small-vision-2026-10-01"], []),
        ((), ["any", "any"], []),
        ((), ["any", "other"], ["other"]),
    ],
)
def test_a_model_that_the_bundle_does_not_name_is_told_of_once(pinned, models, told):
    given = [Seen(f"run_{n}", {}, (model,)) for n, model in enumerate(models)]
    _, found = changes(given, pinned)
    assert [(change.kind, change.name) for change in found] == [("model", name) for name in told]


def test_a_watch_goes_on_from_what_was_stored():
    whole, at_once = changes([*runs(900, bad=0.08), *runs(300, bad=0.4, seed=4, models=("m",))])
    watch, found = Watch(), []
    for run in [*runs(900, bad=0.08), *runs(300, bad=0.4, seed=4, models=("m",))]:
        watch, more = Watch.from_json(watch.to_json()).after([run], ())
        found += more
    assert (watch, found) == (whole, at_once)
    assert len(found) == 1
