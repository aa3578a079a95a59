"""The peers' pages: healthy candidates reverted, with their bound, and what the same rules find."""

from pathlib import Path
from typing import Any

import numpy as np
from table import median, rate

ROOT = Path(__file__).parents[2]
#: the page, and the README with the table between its markers
PAGES = (ROOT / "docs" / "peers.md", ROOT / "README.md")
#: streams of each kind in a whole run
WHOLE = 200
BEGIN, END = "<!-- peers: written by make healthy -->", "<!-- peers: end -->"
NULLS = {
    "no-change": "no change", "pareto": "cost with a Pareto tail", "wave-ramp": "day and night, on a ramp",
    "sticky-10-.1": "sticky users", "rising": "failures rise with the ramp",
}  # fmt: skip
DROP, POINTS = "drop", "two-points"
#: key: name, and how it is run; the README's own
SHOWN = {
    "lastgood": "**lastgood**, alpha .05, a look at every block",
    "gbstats": "GrowthBook's gbstats 0.8.0, sequential t test",
    "gbstats-fixed": "the same, its fixed-horizon t test at every look",
    "confidence": "spotify-confidence 4.1.0, group-sequential z test",
    "kayenta": "Kayenta's judge *(re-implemented)*",
    "argo": "Argo Rollouts *(re-implemented)*, the rollout ends after 8 measurements",
    "argo-long": "Argo Rollouts *(re-implemented)*, measured as long as the others look",
    "flagger": "Flagger *(re-implemented)*",
}
OTHERS = {
    "gbstats-alike": "gbstats, sequential, arms of equal size",
    "kayenta-critical": "Kayenta, every metric `critical: true`",
    "argo-halfway": "Argo, threshold halfway to the drop, 8 measurements",
    "argo-halfway-long": "Argo, threshold halfway to the drop, as long as the others look",
    "argo-all": "Argo, all six metrics, 8 measurements",
    "argo-all-long": "Argo, all six metrics, as long as the others look",
    "flagger-five": "Flagger, threshold 5 points below the healthy rate",
    "flagger-halfway": "Flagger, threshold halfway to the drop",
    "flagger-all": "Flagger, all six metrics",
}
HEAD = """\
# Healthy candidates that each peer reverts

Written by `make healthy` (`python tests/study/healthy.py --table` only writes the pages). Every rule sees the first {streams} streams{stopped}
of the study's own scenarios ([study.md](study.md)): five in which the candidate is as good as the baseline, and two in which it is
not. A stream ends after 5,000 candidate runs. The raw results stand in `peers.json`.

A cell is the share of releases reverted, with the upper end of its one-sided 95% interval (Clopper and Pearson). The last two
columns show what the same configuration finds, for a threshold that is far away reverts nobody and sees nothing: the median of
candidate runs until completion .92 -> .64 is reverted, with the range that holds the true median in 95 of 100 studies, and the
share of releases in which .92 -> .90 is reverted.
"""
HOW = """\
## How each is run

Streams run at 2,000 runs a day, a tenth to the candidate (on a ramp a tenth rising to a half). Peers made for thousands of requests a
minute would see an empty minute here, so their clock is stretched until an interval holds enough runs to say something, and nothing
else is changed.

- **lastgood**: six guardrails, alpha .05 jointly, a look at every closed block, the real `evaluators.Comparison`.
- **GrowthBook**: its statistics engine's own code (gbstats 0.8.0, the newest that is published as a package). Its sequential test with
  its defaults, two-sided, 25 looks between 10 and 5,000 candidate runs, corrected for six metrics (Bonferroni). The one-sided form of
  [Safe Rollouts](https://docs.growthbook.io/features/safe-rollouts) is not in the package. *Fixed horizon* is its ordinary two-sided
  t test, looked at as often: it shows what peeking costs. Sums are pooled over a ramp, as one experiment whose split changes; an
  experiment that keeps both arms at equal size while they grow is "arms of equal size" below.
- **spotify-confidence**: its own code, group-sequential z test with alpha spending for 50,000 runs, 10 looks, Bonferroni.
- **Kayenta** *(re-implemented: `tests/study/rule_kayenta.py`)*: Mann-Whitney interval at 98%, tolerance .25 of the Hodges-Lehmann estimate,
  outliers beyond 3 interquartile ranges left out, six metrics in groups of one weight, direction `increase`. The values that
  [Spinnaker's guide](https://spinnaker.io/docs/guides/user/canary/best-practices/) says to start with: at least 50 points a judgement,
  three judgements, marginal 75, pass 95, and a baseline of the canary's size that runs at the same time. A point is 100 runs of
  traffic, ten of them the candidate's, so an analysis ends after 15,000 runs. The re-implementation agrees with the 28 cases of
  Kayenta's own classifier suite that it applies to (`tests/study/test_rule_kayenta.py` says which nine it does not).
- **Argo Rollouts** *(re-implemented: `tests/study/rule_thresholds.py`)*: the background analysis of
  [its example](https://argoproj.github.io/argo-rollouts/features/analysis/): success rate, `failureLimit: 3`, four steps with two
  measurements each. Its threshold of .95 lies 5 points below a service that succeeds; here 5 points below the healthy .92. A
  measurement is 500 runs of traffic (50 of the candidate). Argo Rollouts can ask Kayenta instead.
- **Flagger** *(re-implemented: same file)*: the canary of [its guide](https://docs.flagger.app/usage/how-it-works): request success rate
  of at least 99 (here a point below the healthy .92), `threshold: 10`, ten steps to the full weight; a check is 500 runs of traffic.
- *All six metrics*: failures up to 5 points above the healthy rate, amounts up to half as much again. *Halfway*: completion of at
  least .78, which needs to know beforehand what will go wrong.
- **LaunchDarkly**'s guarded rollouts are closed source: what they do is documented
  ([regression detection](https://launchdarkly.com/docs/home/releases/regression-detection): sequential tests of the difference), what
  they would have done here can't be run, so they have no row.

## Reading it

Rules that watch the candidate alone can't tell a bad day from a bad candidate, and counted long enough they revert anybody. Set
halfway to a harm that is known beforehand they revert hardly anybody, find that harm after 200 (Flagger 500) candidate runs, and hardly
ever a smaller one. Rules that stop early are seldom wrong because they hardly look; the last column is their price. Sequential tests of pooled sums need both
arms to share the same time: where the share rises with the failures, the candidate has more of the bad days, and every one is
reverted. Arms of equal size mend that; they use a ninth of the baseline at a share of a tenth, and so need about twice the runs. A rule
that stops and promotes has no horizon of 5,000 runs; it is compared on the part of the stream that it would have seen.
"""


def write(rows: dict[str, Any], page: Path, readme: Path) -> None:
    """Write the page, and the table between the README's markers."""
    streams = common(rows, "lastgood")
    parts = [
        HEAD.format(
            streams=streams, stopped="" if streams >= WHOLE else f" (of {WHOLE}: this run was stopped)"
        ),
        table(rows, SHOWN),
        "## Other settings\n",
        table(rows, OTHERS),
        HOW,
    ]
    page.write_text("\n".join(parts), "utf-8")
    text = readme.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        raise SystemExit(f"{readme} has no {BEGIN} ... {END}")
    readme.write_text(f"{before}{BEGIN}\n{table(rows, SHOWN)}{END}{after}", "utf-8")


def table(rows: dict[str, Any], keys: dict[str, str]) -> str:
    """A line a peer: its false reverts under each null, and what it finds."""
    heads = ["rule", *NULLS.values(), "finds .92 -> .64 after", "finds .92 -> .90"]
    lines = [heads, ["---"] * len(heads)]
    for key, name in keys.items():
        n = common(rows, key)
        if n:
            fewer = "" if n == common(rows, "lastgood") else f" ({n} streams)"
            shares = [reverted(rows[null][key][:n]) for null in NULLS]
            harms = found(rows[DROP][key][:n]), share(rows[POINTS][key][:n])
            lines.append([f"{name}{fewer}", *shares, *harms])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def common(rows: dict[str, Any], key: str) -> int:
    """Streams of each scenario that a rule has judged: a run that was stopped has more of some."""
    return min(len(found.get(key, [])) for found in rows.values())


def reverted(ends: list[int | None]) -> str:
    """The share reverted, and its bound."""
    return rate(sum(end is not None for end in ends), len(ends))


def share(ends: list[int | None]) -> str:
    """Of so many releases."""
    return f"{sum(end is not None for end in ends) / len(ends):.0%}"


def found(ends: list[int | None]) -> str:
    """The median of candidate runs, and the share found where it is not all."""
    runs = [np.inf if end is None else end for end in ends]
    caught = sum(end is not None for end in ends) / len(ends)
    return f"{median(runs)}{'' if caught == 1 else f', {caught:.0%} found'}"
