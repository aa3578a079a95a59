"""The streams of the study: what is true in each, and what the rule should make of it.

Every scenario draws from `evaluators.streams` at the healthy base of STATISTICS.md, section 5, and changes
what it is about. A stream is drawn whole, so a wave or a ramp has its place in it; streams whose runs are
all alike may be drawn in pieces.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import nbinom, norm

from evaluators.rules import Guardrail, Kind, Rules, Step
from evaluators.streams import Population, draw, draw_history

#: candidate runs at which a release ends
HORIZON = 5_000
#: runs of recorded history
HISTORY = 20_000
#: runs in a day of the wave
DAY = 2_000

BASE = Population()
#: candidate runs of a change that ends everything, and of changes that hardly show, are drawn in pieces
PIECES = (1_000, 4_000, 15_000, 31_500)


def _guardrail(name, column, weight, *, absolute=None, relative=None, bad=True, **more) -> Guardrail:
    return Guardrail(name, column, bad, weight, absolute, relative, more.pop("maturity_us", 0), **more)


#: the six of section 5; the tail is a fifth of cost
SIX = (
    _guardrail("completion", "completed", 0.25, absolute=0.02, bad=False),
    _guardrail("validation", "validated", 0.25, absolute=0.02, bad=False),
    _guardrail("incidents", "incidents", 0.15, absolute=0.005),
    _guardrail("cost", "cost_usd", 0.12, relative=0.10, kind=Kind.RATIO, unit="USD"),
    _guardrail("cost_tail", "cost_usd", 0.03, relative=1.0, kind=Kind.QUANTILE, level=0.99),
    _guardrail("escalation", "escalated", 0.10, absolute=0.02),
    _guardrail("edits", "operator_edits", 0.10, relative=0.30, kind=Kind.RATIO, unit="edits", cap=10.0),
)
_DEFAULT = (0.22, 0.22, 0.15, 0.12, 0.03, 0.08, 0.08)
#: the default weights of section 3, with lost runs and infrastructure failures
EIGHT = (
    *(replace(g, weight=weight) for g, weight in zip(SIX, _DEFAULT, strict=True)),
    _guardrail("lost", "lost", 0.05, absolute=0.02),
    _guardrail("infra", "infra_failure", 0.05, absolute=0.02),
)
#: what takes a day to be known: a class of its own
LATE = ("incidents", "escalation", "edits")
TWO_CLASSES = tuple(replace(g, maturity_us=86_400_000_000 if g.name in LATE else 0) for g in EIGHT)
STRATA = (("billing", 0.4), ("orders", 0.3), ("refunds", 0.2), ("legal", 0.1))
#: how many times the base failure rate each stratum has
HARDER = {"billing": 0.5, "orders": 0.8, "refunds": 1.5, "legal": 3.0}
FLAT, RAMP = (Step(1000),), (Step(1000), Step(2500), Step(5000))


@dataclass(frozen=True)
class Scenario:
    """One stream and the rules that watch it."""

    #: short and unique; it is part of the seed
    name: str
    #: `null` (no harm), `effect` (a harm), `margin` (exactly at a margin), `equal`
    group: str
    #: one line for the table
    what: str
    #: runs of a release in the order of assignment, of about so many
    stream: Callable[[np.random.Generator, int], pd.DataFrame]
    #: recorded runs of the baseline
    history: Callable[[np.random.Generator], pd.DataFrame]
    rules: Rules
    #: runs to draw so that HORIZON candidate runs are among them
    runs: int = 52_000
    replications: int = 1_000
    #: the guardrail that is harmed, or at its margin
    culprit: str = ""
    #: names that also say rightly what is wrong
    also: tuple[str, ...] = ()
    #: whether a look follows every scored run, not every closed block alone
    every_run: bool = False
    #: target for the median of candidate runs until the revert, or None
    target: float | None = None
    #: ln(6/alpha)/D, and the best valid peer, as STATISTICS.md section 5 gives them
    floor: str = ""
    peer: str = ""


def _rules(guardrails=SIX, *, alpha=0.01, steps=FLAT, strata=()) -> Rules:
    return Rules(tuple(guardrails), tuple(steps), strata=tuple(strata), alpha_revert=alpha)


def _plain(baseline: Population, candidate: Population | None = None, share=0.1):
    """Runs that are all alike."""
    return lambda rng, runs: draw(rng, baseline, candidate or baseline, runs, share)


def _recorded(population: Population):
    return lambda rng: draw_history(rng, population, HISTORY)


def lifted(most: float) -> Population:
    """The base with every failure rate and the edits `most` times as high."""
    return replace(
        BASE,
        completed=1 - 0.08 * most, validated=1 - 0.03 * most, escalated=0.06 * most,
        incidents=0.005 * most, operator_edits=0.4 * most,
    )  # fmt: skip


def thinned(rng: np.random.Generator, runs: pd.DataFrame, factor: np.ndarray, most: float) -> pd.DataFrame:
    """Runs of `lifted(most)` with `factor` (at most `most`, one a run) times the base's rates instead."""
    part = factor / most
    found = {"cost_usd": runs["cost_usd"].to_numpy() * factor}
    for column, bad in (("completed", False), ("validated", False), ("escalated", True), ("incidents", True)):
        worse = (runs[column].to_numpy() == bad) & (rng.random(len(runs)) < part)
        found[column] = worse == bad
    found["operator_edits"] = rng.binomial(runs["operator_edits"].to_numpy().astype(np.int64), part)
    return runs.assign(**found)


def wave(runs: int) -> np.ndarray:
    """Failure rates of day and night, times the base's."""
    return 1.0 + 0.8 * np.sin(2.0 * np.pi * np.arange(runs) / DAY)


def moving(factor: Callable[[int], np.ndarray], most: float, share: Callable[[int], np.ndarray]):
    """Both arms' rates move together, and the share with them."""

    def stream(rng, runs):
        found = draw(rng, lifted(most), lifted(most), runs, share(runs))
        return thinned(rng, found, factor(runs), most)

    return stream


def _moving_history(factor: Callable[[int], np.ndarray], most: float):
    return lambda rng: thinned(rng, draw_history(rng, lifted(most), HISTORY), factor(HISTORY), most)


def flat(share: float):
    """One share all the way."""
    return lambda runs: np.full(runs, share)


def continuous(runs: int) -> np.ndarray:
    """10% to 50%, a new share every hundred runs."""
    return np.round(np.interp(np.arange(runs) // 100 * 100, [0, runs], [0.1, 0.5]), 4)


def stepped(runs: int) -> np.ndarray:
    """10%, 25%, 50%, a third of the runs each."""
    return np.array([0.1, 0.25, 0.5])[np.minimum(np.arange(runs) * 3 // runs, 2)]


def rising(runs: int) -> np.ndarray:
    """Base failures that grow to two and a half times while the ramp does."""
    return np.linspace(1.0, 2.5, runs)


def mixed(rng: np.random.Generator, runs: int, start, end) -> np.ndarray:
    """A stratum for each run; the mix goes from one to the other."""
    at = np.linspace(0.0, 1.0, runs)[:, None]
    edges = np.cumsum((1 - at) * np.array(start) + at * np.array(end), axis=1)
    return np.array([name for name, _ in STRATA], dtype=object)[
        (rng.random(runs)[:, None] > edges).sum(axis=1).clip(0, 3)
    ]


def sliced(start, end):
    """Four strata that fail unlike each other, the same in both arms."""

    def stream(rng, runs):
        names = mixed(rng, runs, start, end)
        factor = pd.Series(names).map(HARDER).to_numpy(dtype=float)
        return thinned(rng, draw(rng, lifted(3.0), lifted(3.0), runs, 0.1), factor, 3.0).assign(stratum=names)

    return stream


def _sliced_history(mix):
    def history(rng):
        names = mixed(rng, HISTORY, mix, mix)
        factor = pd.Series(names).map(HARDER).to_numpy(dtype=float)
        return thinned(rng, draw_history(rng, lifted(3.0), HISTORY), factor, 3.0).assign(stratum=names)

    return history


def clustered(rng: np.random.Generator, runs: int, icc: float, each: int) -> dict[str, np.ndarray]:
    """Outcomes of users with `each` runs: beta-binomial flags, Gaussian copulas of cost and edits.

    A user's runs lie within about a tenth of the stream, between others'.
    """
    users = -(-runs // each)
    start = np.repeat(rng.random(users), each) + rng.exponential(0.1, users * each)
    unit = np.repeat(np.arange(users), each)[np.argsort(start, kind="stable")][:runs]
    found = {"unit": unit}
    for column, bad, rate in (
        ("completed", False, 0.08), ("validated", False, 0.03), ("escalated", True, 0.06),
        ("incidents", True, 0.005),
    ):  # fmt: skip
        own = rng.beta(rate * (1 / icc - 1), (1 - rate) * (1 / icc - 1), users)
        found[column] = (rng.random(runs) < own[unit]) == bad

    def copula() -> np.ndarray:
        shared = rng.standard_normal(users)[unit]
        return np.sqrt(icc) * shared + np.sqrt(1 - icc) * rng.standard_normal(runs)

    found["cost_usd"] = 0.08 * np.exp(copula() - 0.5)
    found["operator_edits"] = nbinom.ppf(norm.cdf(copula()), 0.5, 0.5 / 0.9)
    return found


def sticky(icc: float, each: int):
    """Users keep their arm: the share deals users, not runs."""

    def stream(rng, runs):
        found = clustered(rng, runs, icc, each)
        ours = (rng.random(int(found["unit"].max()) + 1) < 0.1)[found["unit"]]
        users = pd.Series(found.pop("unit")).map("user-{}".format)
        arm = np.where(ours, "candidate", "baseline")
        return pd.DataFrame({"arm": arm, "share": 0.1, "unit": users, **found})

    return stream


def _sticky_history(icc: float, each: int):
    def history(rng):
        found = clustered(rng, HISTORY, icc, each)
        del found["unit"]  # the baseline's rates are those of all of its runs
        return pd.DataFrame(found)

    return history


def pareto(rng: np.random.Generator, runs: int) -> pd.DataFrame:
    """Costs with a tail of exponent 2.2 and the same mean."""
    return draw(rng, BASE, BASE, runs, 0.1).assign(cost_usd=0.08 * 1.2 / 2.2 * (1 + rng.pareto(2.2, runs)))


def _pareto_history(rng):
    cost = 0.08 * 1.2 / 2.2 * (1 + rng.pareto(2.2, HISTORY))
    return draw_history(rng, BASE, HISTORY).assign(cost_usd=cost)


def half_lost(rng: np.random.Generator, runs: int) -> pd.DataFrame:
    """The baseline loses half of its failed runs, the candidate reports all of them."""
    found = draw(rng, BASE, BASE, runs, 0.1)
    failed = ~found["completed"].to_numpy(dtype=bool) & (found["arm"] == "baseline").to_numpy()
    return found.assign(lost=failed & (rng.random(runs) < 0.5))


def one_in_200(rng: np.random.Generator, runs: int) -> pd.DataFrame:
    """A tenth more cost, all of it in one candidate run of 200."""
    found = draw(rng, BASE, BASE, runs, 0.1)
    hit = (found["arm"] == "candidate").to_numpy() & (rng.random(runs) < 1 / 200)
    return found.assign(cost_usd=found["cost_usd"] + hit * 200 * 0.008)


_TROUBLED = replace(BASE, lost=0.02, infra_failure=0.03)
_BETTER = replace(
    BASE, completed=0.944, validated=0.979, escalated=0.042, incidents=0.0035, cost_usd=0.072,
    operator_edits=0.32,
)  # fmt: skip
_ROUGH = replace(
    BASE, completed=0.70, validated=0.85, escalated=0.20, incidents=0.03, cost_sigma=1.5, operator_edits=2.0,
    edits_k=1.0,
)  # fmt: skip
_FINE = replace(BASE, completed=0.99, validated=0.995, escalated=0.01, incidents=0.001, operator_edits=0.1)
_MIX, _BACK = (0.4, 0.3, 0.2, 0.1), (0.1, 0.2, 0.3, 0.4)


def _null(name, what, stream, history, guardrails=SIX, *, steps=FLAT, strata=(), **more) -> Scenario:
    rules = _rules(guardrails, steps=steps, strata=strata)
    return Scenario(name, "null", what, stream, history, rules, **more)


NULLS = (
    _null("no-change", "no change", _plain(BASE), _recorded(BASE)),
    _null("improvement", "improvement: 30% fewer failures, 10% cheaper", _plain(BASE, _BETTER), _recorded(BASE)),
    _null("pareto", "cost with a Pareto(2.2) tail", pareto, _pareto_history),
    _null("wave", "day and night: failures and cost x.2 to x1.8", moving(wave, 1.8, flat(0.1)), _moving_history(wave, 1.8)),
    _null("wave-ramp", "the wave, share rising 10% to 50% all the time", moving(wave, 1.8, continuous), _moving_history(wave, 1.8), steps=RAMP, runs=17_500),
    _null("wave-steps", "the wave, share 10%, 25%, 50%", moving(wave, 1.8, stepped), _moving_history(wave, 1.8), steps=RAMP, runs=18_500),
    _null("rising", "failures rise to x2.5 while the share rises to 50%", moving(rising, 2.5, continuous), _recorded(BASE), steps=RAMP, runs=17_500),
    _null("strata", "four strata, fixed mix", sliced(_MIX, _MIX), _sliced_history(_MIX), strata=STRATA),
    _null("strata-drift", "four strata, the mix turns round", sliced(_MIX, _BACK), _sliced_history(_MIX), strata=STRATA),
    _null("lost-infra", "2% lost, 3% infrastructure failures in both arms", _plain(_TROUBLED), _recorded(_TROUBLED)),
    _null("sticky-10-.1", "sticky users, 10 runs each, ICC .1", sticky(0.1, 10), _sticky_history(0.1, 10)),
    _null("sticky-10-.3", "sticky users, 10 runs each, ICC .3", sticky(0.3, 10), _sticky_history(0.3, 10)),
    _null("sticky-30-.2", "sticky users, 30 runs each, ICC .2", sticky(0.2, 30), _sticky_history(0.2, 30)),
    _null("eight", "re-defined: `lost` and `infra` as guardrails, 2% and 3% of them", _plain(_TROUBLED), _recorded(_TROUBLED), EIGHT),
    _null("half-lost", "re-defined: the baseline loses half of its failures (lost is failed)", half_lost, _recorded(BASE), EIGHT),
    _null("two-classes", "re-defined: two classes of maturity, with lost and infra", _plain(_TROUBLED), _recorded(_TROUBLED), TWO_CLASSES),
    _null("rough", "other rates: completion .70, validation .85, cost sigma 1.5", _plain(_ROUGH), _recorded(_ROUGH)),
    _null("fine", "other rates: completion .99, incidents 1 in 1,000", _plain(_FINE), _recorded(_FINE)),
    _null("every-run", "no change, a look after every single run", _plain(BASE), _recorded(BASE), every_run=True),
)  # fmt: skip


def _effect(
    name, what, culprit, candidate, target, floor, peer, guardrails=SIX, baseline=BASE, **more
) -> Scenario:
    return Scenario(
        name, "effect", what, _plain(baseline, candidate), _recorded(baseline), _rules(guardrails, alpha=0.05),
        replications=400, culprit=culprit, every_run=target is None or target < 600, target=target, floor=floor, peer=peer, **more,
    )  # fmt: skip


_COSTLY = ("cost_tail",)
EFFECTS = (
    _effect("collapse", "completion .92 to .10", "completion", replace(BASE, completed=0.10), 4, "3.0", "20"),
    _effect("drop", "completion .92 to .64", "completion", replace(BASE, completed=0.64), 20, "18", "60"),
    _effect("invalid", "validation .97 to .87", "validation", replace(BASE, validated=0.87), 63, "60", "140"),
    _effect("cost-1.5", "cost x1.5", "cost", replace(BASE, cost_usd=0.12), 108, "65", "180", also=_COSTLY),
    _effect("incidents", "incidents .5 to 2 in 100", "incidents", replace(BASE, incidents=0.02), 510, "444", "1,040"),
    _effect("edits-1.3", "edits x1.3", "edits", replace(BASE, operator_edits=0.52), 860, "669", "800 (1,160 corrected)"),
    _effect("cost-1.1", "cost x1.1", "cost", replace(BASE, cost_usd=0.088), 2_300, "1,171", "2,080", also=_COSTLY),
    _effect("two-points", "completion .92 to .90", "completion", replace(BASE, completed=0.90), 2_300, "2,115", "2,400"),
    _effect("loses-12", "re-defined: 12% of the candidate's runs are lost", "lost", replace(BASE, lost=0.12), 45, "", "", EIGHT, also=("completion", "validation", "escalation", "incidents", "cost", "cost_tail", "edits")),
    _effect("drop-eight", "re-defined: completion .92 to .64 among eight, 2% lost, 3% infra", "completion", replace(_TROUBLED, completed=0.64), None, "", "", EIGHT, _TROUBLED),
    _effect("drop-classes", "re-defined: the same in two classes of maturity", "completion", replace(_TROUBLED, completed=0.64), None, "", "", TWO_CLASSES, _TROUBLED),
)  # fmt: skip


def _margin(name, what, culprit, stream) -> Scenario:
    # reverts are read from the path: a release that is never ended shows what the gate alone would do
    rules = _rules(alpha=1e-9)
    return Scenario(name, "margin", what, stream, _recorded(BASE), rules, culprit=culprit)


MARGINS = (
    _margin("at-completion", "completion 2 points worse", "completion", _plain(BASE, replace(BASE, completed=0.90))),
    _margin("at-validation", "validation 2 points worse", "validation", _plain(BASE, replace(BASE, validated=0.95))),
    _margin("at-escalation", "escalation 2 points worse", "escalation", _plain(BASE, replace(BASE, escalated=0.08))),
    _margin("at-incidents", "incidents .5 points worse", "incidents", _plain(BASE, replace(BASE, incidents=0.01))),
    _margin("at-cost", "cost x1.10", "cost", _plain(BASE, replace(BASE, cost_usd=0.088))),
    _margin("at-edits", "edits x1.30", "edits", _plain(BASE, replace(BASE, operator_edits=0.52))),
    _margin("at-one-in-200", "cost x1.10, carried by one run in 200", "cost", one_in_200),
)  # fmt: skip

EQUAL = (
    Scenario("equal-10", "equal", "equal candidate, 10%", _plain(BASE), _recorded(BASE), _rules(alpha=0.05), replications=400),
    Scenario("equal-ramp", "equal", "equal candidate, share 10%, 25%, 50%", moving(np.ones, 1.0, stepped), _recorded(BASE), _rules(alpha=0.05, steps=RAMP), runs=18_500, replications=400),
)  # fmt: skip

SCENARIOS = (*EFFECTS, *EQUAL, *NULLS[:-1], *MARGINS, NULLS[-1])
