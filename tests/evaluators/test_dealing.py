"""Dealing: a simulated release's runs do not hang on how they are asked for."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from evaluators.dealing import BATCH, Dealt
from evaluators.drawing import Case, Pool
from evaluators.history import History
from evaluators.rules import Guardrail, Rules, Step
from evaluators.streams import Population

RULES = Rules((Guardrail("completion", "completed", False, 1.0, 0.02, None, 0),), (Step(1000),))
HEALTHY = Population()


def dealt(candidate, *, population=HEALTHY, strata=()):
    rules = replace(RULES, strata=tuple((name, 1 / len(strata)) for name in strata))
    nothing = Pool(0, {}, np.zeros(0, dtype=np.int64))
    case = Case(rules, History(), nothing, nothing, strata, 1, 0)
    return Dealt(case, population, candidate, (1, 2, 3))


def test_runs_are_the_same_however_many_are_asked_for_at_once():
    share = np.full(2 * BATCH + 50, 3000)
    whole = dealt(HEALTHY.at("completed", 0.5)).runs(0, share)
    stream = dealt(HEALTHY.at("completed", 0.5))
    cuts = [0, 17, BATCH - 1, BATCH + 5, len(share)]
    parts = [stream.runs(a, share[a:b]) for a, b in pairwise(cuts)]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)


def test_raising_the_share_takes_no_run_from_the_candidate():
    stream = dealt(HEALTHY)
    low, high = (stream.candidate(0, np.full(5_000, share)) for share in (1_000, 4_000))
    assert not (low & ~high).any()
    assert binomtest(int(high.sum()), 5_000, 0.4).pvalue > 1e-4


def test_slices_are_told_by_their_place():
    population = replace(HEALTHY, strata={"a": 0.5, "z": 0.5})
    runs = dealt(population, population=population, strata=("z", "b")).runs(0, np.full(300, 5_000))
    assert set(runs["code"][runs["stratum"] == "z"]) == {0}
    assert set(runs["code"][runs["stratum"] == "a"]) == {-1}
