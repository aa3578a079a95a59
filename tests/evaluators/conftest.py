"""Factories that several tests of the evaluators share."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evaluators.blocks import BlockCounts
from evaluators.rules import Guardrail, Rules, Step

DATA = Path(__file__).parents[1] / "data" / "statistics.json"
#: name: column, bad value, absolute margin, weight before it is renormalised
KNOWN = {
    "completion": ("completed", False, 0.02, 0.22),
    "validation": ("validated", False, 0.02, 0.22),
    "incidents": ("incidents", True, 0.005, 0.15),
    "escalation": ("escalated", True, 0.02, 0.08),
    "lost": ("lost", True, 0.02, 0.05),
    "infra": ("infra_failure", True, 0.02, 0.05),
}
#: bad rates of a healthy agent
BASE = {"completed": 0.08, "validated": 0.03, "incidents": 0.005, "escalated": 0.06}
GOOD_FLAGS = ("completed", "validated")


@pytest.fixture(scope="session")
def published():
    """The published inputs and expected values of one kind of formula."""
    data = json.loads(DATA.read_text(encoding="utf-8"))

    def of(kind=None):
        return data if kind is None else [f for f in data["fixtures"] if f["kind"] == kind]

    return of


@pytest.fixture(scope="session")
def make_rules():
    """Rules over some of the known guardrails, weights renormalised."""

    def make(*names, **changes):
        names = names or tuple(KNOWN)
        total = sum(KNOWN[name][3] for name in names)
        guardrails = tuple(
            Guardrail(name, KNOWN[name][0], KNOWN[name][1], KNOWN[name][3] / total, KNOWN[name][2], None, 0)
            for name in names
        )
        return Rules(**{"guardrails": guardrails, "steps": (Step(1000),), **changes})

    return make


@pytest.fixture(scope="session")
def draw():
    """Recorded runs of both arms at a share; `harm` replaces the candidate's bad rates by column."""

    def make(n, seed, *, share=0.1, harm=None, wave=0.0, lost=0.0, infra=0.0):
        rng = np.random.default_rng(seed)
        candidate = rng.random(n) < share
        day = 1.0 + wave * np.sin(2.0 * np.pi * np.arange(n) / 1000.0)
        runs = {"arm": np.where(candidate, "candidate", "baseline"), "share": np.full(n, share)}
        for column, rate in BASE.items():
            bad = rng.random(n) < np.where(candidate, (harm or {}).get(column, rate), rate) * day
            runs[column] = ~bad if column in GOOD_FLAGS else bad
        runs["lost"] = rng.random(n) < lost
        runs["infra_failure"] = rng.random(n) < infra
        return pd.DataFrame(runs)

    return make


@pytest.fixture(scope="session")
def measured():
    """Recorded runs with amounts: log-normal cost, counted edits, a judge's mark 1..5, latency; no arms."""

    def make(n, seed, *, cost=1.0, edits=1.0, mark=0.0, latency=1.0):
        rng = np.random.default_rng(seed)
        mean = np.broadcast_to(0.4 * np.asarray(edits, dtype=float), (n,))
        return pd.DataFrame(
            {
                "completed": rng.random(n) < 0.92,
                "cost_usd": 0.08 * cost * rng.lognormal(-0.5, 1.0, n),
                "operator_edits": rng.negative_binomial(0.5, 0.5 / (0.5 + mean)),
                "mark": np.clip(rng.normal(4.0 + mark, 0.8, n), 1.0, 5.0),
                "latency_s": 2.0 * latency * rng.lognormal(0.0, 0.5, n),
            }
        )

    return make


@pytest.fixture(scope="session")
def dealt(measured):
    """The same dealt to both arms; what is given holds for the candidate."""

    def make(n, seed, *, share=0.3, **harm):
        arm = np.random.default_rng(seed + 77_000).random(n) < share
        runs = measured(n, seed, **{k: np.where(arm, v, float(k != "mark")) for k, v in harm.items()})
        return runs.assign(arm=np.where(arm, "candidate", "baseline"), share=share)

    return make


@pytest.fixture(scope="session")
def block():
    """A block of one stratum, closed and at a share of 10% unless told otherwise."""

    def make(number, n_c, y_c, n_b, y_b, **changes):
        fields = {"stratum": "all", "share_bp": 1000, "closed": True, **changes}
        return BlockCounts(block=number, n_c=n_c, y_c=y_c, n_b=n_b, y_b=y_b, **fields)

    return make
