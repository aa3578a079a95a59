"""Backtest: how a policy would have decided, had these recorded runs been a release.

`prepare` makes a case of two recordings, `replayed` replays it, `summarise` counts the endings. Each replay
has a salt of its own and draws with replacement per arm; the healthy ones draw both arms from the baseline.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from evaluators.drawing import Case, Pool, Watch
from evaluators.history import DENOMINATORS, History
from evaluators.references import upper_rate
from evaluators.replay import Ending, Release, Replay
from evaluators.rules import HOUR, Guardrail, Kind, Mode, Rules, Step
from evaluators.scoring import INFRA, LOST, first_runs, has_data, read_flag, read_number
from evaluators.terms import method
from lastgood.errors import InvalidRuns
from lastgood.triggers import RateTrigger

#: microseconds of a day
DAY = 24 * HOUR
#: slices that a recording may bring; more are a key, not a slice
MOST_STRATA = 50


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A case, and what had to be left out of it."""

    case: Case
    #: guardrails of the policy without data in both recordings
    no_data: tuple[str, ...]
    #: recorded runs that are not their unit's first and so no evidence
    repeated: int


@dataclass(frozen=True, slots=True)
class Spread:
    """A middle and a high value, None where there was nothing to count."""

    median: int | None
    p90: int | None

    @classmethod
    def of(cls, values: Sequence[int]) -> "Spread":
        """Of some values; both are among them."""
        if not values:
            return cls(None, None)
        low, high = np.quantile(values, [0.5, 0.9], method="inverted_cdf")
        return cls(int(low), int(high))


@dataclass(frozen=True, slots=True)
class Summary:
    """How many replays ended how; the first four sum to `replays`."""

    replays: int
    promoted: int
    reverted: int
    undecided: int
    invalid: int
    #: candidate runs scored until a replay was promoted or reverted
    candidate_runs: Spread
    #: replays by guardrail that proved the harm; one replay may have several
    culprits: dict[str, int]
    #: replays by "guardrail/slice" that would have proven it alone
    slices: dict[str, int]
    #: replays by metric whose rate trigger reverted them
    triggers: dict[str, int]
    #: candidate runs scored until those that were promoted, and until those that were reverted
    promoted_runs: Spread
    reverted_runs: Spread
    #: candidate runs assigned until a replay was promoted or reverted, scored or not
    served: Spread
    #: hours on the virtual clock until then
    hours: Spread
    #: upper 95% bound of the chance to be reverted, 0..1
    reverted_upper: float

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return asdict(self)


def one_step(rules: Rules, share_bp: int) -> Rules:
    """The rules with one step of a share (basis points) instead of theirs."""
    return replace(rules, steps=(Step(share_bp),))


def prepare(
    rules: Rules,
    baseline: pd.DataFrame,
    candidate: pd.DataFrame,
    *,
    triggers: Sequence[RateTrigger] = (),
    strict: bool = False,
    runs_per_day: int = 2_000,
    seed: int = 0,
) -> Prepared:
    """Make a case of two recordings, one run a row.

    Columns: `completed`, `validated`, `escalated`, `incidents`, `lost`, `infra_failure` or a guardrail's
    own, each of true/false or counts, of amounts where its kind judges numbers, and optionally `stratum` and
    `unit`. A guardrail without data in both, or whose scale the baseline does not fix, is set aside and its
    weight shared out; with `strict` it stays, and so holds. Where the rules list no strata those of the
    recordings count, by their shares. Raises InvalidRuns where no guardrail has data, InvalidEvidence for an
    outcome that can't be one.
    """
    arms = (_first_of_units(baseline), _first_of_units(candidate))
    history = _history(arms, rules)
    no_data = tuple(g.name for g in rules.guardrails if not _judged(g, arms, rules, history))
    if len(no_data) == len(rules.guardrails):
        wanted = ", ".join(sorted(g.column for g in rules.guardrails))
        raise InvalidRuns(
            f"the recorded runs have data in both variants for none of the policy's guardrails ({wanted});"
            " name their columns with --column completed=NAME, or give a policy that watches what they hold"
        )
    kept = tuple(g for g in rules.guardrails if g.name not in no_data)
    rules = replace(rules, mode=Mode.ACT, strata=rules.strata or _strata(arms))
    if not strict:
        rules = rules.without(no_data)
    modifiers = [column for column in (LOST, INFRA) if _in_both(arms, column)]
    per = [guardrail.per for guardrail in kept if guardrail.kind is Kind.RATIO]
    columns = list(dict.fromkeys([*(guardrail.column for guardrail in kept), *per, *modifiers]))
    watches = _watches(kept, triggers)
    strata = tuple(name for name, _ in rules.strata)
    pools = [_pool(arm, columns, kept, strata) for arm in arms]
    case = Case(rules, history, pools[0], pools[1], strata, DAY // runs_per_day, seed, watches)
    return Prepared(case, no_data, len(baseline) + len(candidate) - sum(len(arm) for arm in arms))


def healthy(case: Case) -> Case:
    """The same case with the baseline against itself."""
    return replace(case, candidate=case.baseline)


def replayed(case: Case, replays: int, story: str) -> Iterator[Replay]:
    """Replay a case so many times; the same seed and story give the same replays."""
    for number in range(replays):
        yield Release(case, f"backtest-{case.seed}-{story}-{number}").replay()


def summarise(replays: Sequence[Replay]) -> Summary:
    """Count how replays ended."""
    endings = Counter(replay.ending for replay in replays)
    decided = [r for r in replays if r.ending in {Ending.PROMOTED, Ending.REVERTED}]
    runs = {ending: [r.candidate_runs for r in decided if r.ending is ending] for ending in Ending}
    return Summary(
        replays=len(replays),
        promoted=endings[Ending.PROMOTED],
        reverted=endings[Ending.REVERTED],
        undecided=endings[Ending.UNDECIDED],
        invalid=endings[Ending.INVALID],
        candidate_runs=Spread.of([r.candidate_runs for r in decided]),
        culprits=_counted(name for r in decided for name in r.culprits),
        slices=_counted(name for r in decided for name in r.slices),
        triggers=_counted(name for r in decided if r.triggered for name in r.culprits),
        promoted_runs=Spread.of(runs[Ending.PROMOTED]),
        reverted_runs=Spread.of(runs[Ending.REVERTED]),
        served=Spread.of([r.served for r in decided]),
        hours=Spread.of([-(-r.age_us // HOUR) for r in decided]),
        reverted_upper=upper_rate(len(replays), endings[Ending.REVERTED]),
    )


def _counted(names: Iterator[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _first_of_units(runs: pd.DataFrame) -> pd.DataFrame:
    """Each unit's first run: a repeated unit is no further evidence."""
    first, _ = first_runs(runs, set())
    return runs.loc[first].reset_index(drop=True)


def _history(arms: Sequence[pd.DataFrame], rules: Rules) -> History:
    """The baseline's, of the outcomes that both recordings hold."""
    own = {name for g in rules.guardrails for name in (g.column, g.per) if _in_both(arms, name)}
    own |= {name for name in (LOST, INFRA) if _in_both(arms, name)}
    baseline = arms[0]
    return History(baseline[[name for name in baseline.columns if name in own or name == "stratum"]])


def _judged(guardrail: Guardrail, arms: Sequence[pd.DataFrame], rules: Rules, history: History) -> bool:
    """Whether the recordings hold what a guardrail is judged by."""
    if not _in_both(arms, guardrail.column):
        return False
    return guardrail.kind is Kind.PROPORTION or method(guardrail, rules, history) is not None


def _in_both(arms: Sequence[pd.DataFrame], column: str) -> bool:
    return all(has_data(arm, column) for arm in arms)


def _strata(arms: Sequence[pd.DataFrame]) -> tuple[tuple[str, float], ...]:
    """The recordings' own strata with their shares of both; none where there is but one."""
    if not all("stratum" in arm for arm in arms):
        return ()
    counts = pd.concat([arm["stratum"] for arm in arms]).dropna().astype(str).value_counts()
    if len(counts) > MOST_STRATA:
        raise InvalidRuns(
            f"column stratum holds {len(counts)} different values, more than {MOST_STRATA}: that is no set of"
            " slices; name a coarser column with --column stratum=NAME, or list strata in the policy"
        )
    if len(counts) < 2:
        return ()
    total = int(counts.sum())
    return tuple(sorted((str(name), float(count / total)) for name, count in counts.items()))


def _watches(kept: tuple[Guardrail, ...], triggers: Sequence[RateTrigger]) -> tuple[Watch, ...]:
    """The rate triggers whose metric the recordings hold."""
    known = {guardrail.name: guardrail for guardrail in kept}
    return tuple(
        Watch(trigger, known[trigger.metric].column, known[trigger.metric].bad)
        for trigger in triggers
        if trigger.metric in known
    )


def _pool(
    runs: pd.DataFrame, columns: list[str], kept: tuple[Guardrail, ...], strata: tuple[str, ...]
) -> Pool:
    """Outcomes as the comparison reads them.

    Flags are booleans, where what is missing counts as `evaluators.scoring` counts it; amounts are numbers,
    NaN where nothing was reported.
    """
    flags = {guardrail.column: guardrail.bad for guardrail in kept if guardrail.kind is Kind.PROPORTION}
    bad = dict.fromkeys(DENOMINATORS, False) | flags | {LOST: True, INFRA: False}
    measured = {guardrail.column for guardrail in kept if guardrail.kind is not Kind.PROPORTION}
    outcomes: dict[str, npt.NDArray[Any]] = {}
    for column in columns:
        if column in measured:
            amount = read_number(runs, column)
            outcomes[column] = np.where(amount.known, amount.value, np.nan)
            continue
        flag = read_flag(runs, column)
        outcomes[column] = np.where(flag.known, flag.true, bad[column])
    codes = np.full(len(runs), -1, dtype=np.int64)
    if strata and "stratum" in runs:
        codes = (
            pd.Index(strata).get_indexer(pd.Index(runs["stratum"].astype(object).map(str))).astype(np.int64)
        )
    return Pool(len(runs), outcomes, codes)
