"""Pictures of a release: each guardrail's confidence sequence over runs, and the family's e-value.

They are drawn from the verdicts of its looks, in order, as `Verdict.to_json` writes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evaluators.canvas import (
    ABREAST,
    BLACK,
    BLUE,
    GREY,
    SKY,
    VERMILION,
    beside,
    caption,
    forbidden,
    panels,
    say,
    title,
)
from evaluators.mixture import FloatArray, IntArray

#: looks that a picture shows at most; more can't be told apart
SHOWN = 240
#: guardrails in one picture: more would make it larger than an artifact likes
PAGE = 6
#: least e-value that is drawn: below it nothing speaks of harm
FLOOR = 0.01
#: what a guardrail's word says to people
WORDS = {
    "pass": "proven within its margin",
    "fail": "proven worse",
    "undecided": "not yet proven",
    "no_data": "no data yet",
    "invalid": "evidence can't be used",
}


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """One guardrail over the looks at which both arms had scored runs."""

    name: str
    #: `pass`, `fail`, ... at the last look
    word: str
    #: what the difference is measured in
    unit: str
    #: the difference that must be ruled out, in `unit`, in the bad direction; None: there is none
    margin: float | None
    #: candidate runs scored, (looks,)
    runs: IntArray
    #: candidate minus baseline and its confidence sequence, in `unit`, (looks,)
    estimate: FloatArray
    low: FloatArray
    high: FloatArray

    @property
    def drawable(self) -> bool:
        """Whether there is a difference to show."""
        return len(self.runs) > 0


#: what stands above the panels. The band is two-sided and holds for odds; a margin has a test of its own
EXPLAINED = (
    "candidate minus baseline with its confidence sequence; hatched: worse than the margin\n"
    "(a margin is proven by a one-sided test of its own, so the band may still reach past it)"
)


def courses(verdicts: Sequence[Mapping[str, Any]]) -> tuple[Course, ...]:
    """Each guardrail's course over a release's looks, in the policy's order; empty without a look."""
    if not verdicts:
        return ()
    return tuple(_course(place, verdicts) for place in range(len(verdicts[-1]["guardrails"])))


def pictures(verdicts: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """All pictures of a release by a short name: `evidence`, then `guardrails-1`, ... of six at most each."""
    found = courses(verdicts)
    pages = [found[first : first + PAGE] for first in range(0, len(found), PAGE)]
    named = {f"guardrails-{number}": confidence(page) for number, page in enumerate(pages, start=1)}
    return {"evidence": family(verdicts), **named}


def confidence(found: Sequence[Course]) -> Figure:
    """A panel a guardrail: its difference with its confidence sequence, zero, and the margin."""
    figure, axes = panels(max(len(found), 1))
    if not found:
        say(axes[0], "no look yet")
        return figure
    caption(figure, EXPLAINED)
    for place, (panel, course) in enumerate(zip(axes, found, strict=True)):
        title(panel, course.name, WORDS.get(course.word, course.word))
        if course.drawable:
            _draw(panel, course)
        else:
            say(panel, "no run is scored on both arms yet")
        if place + ABREAST >= len(found) and course.drawable:
            panel.set_xlabel("candidate runs")
    return figure


def family(verdicts: Sequence[Mapping[str, Any]]) -> Figure:
    """The evidence of harm of all guardrails together over runs, and the line at which it reverts."""
    figure, (panel,) = panels(1, size=(7.2, 2.6))
    title(panel, "evidence of harm, all guardrails together")
    if not verdicts:
        say(panel, "no look yet")
        return figure
    places = thinned(len(verdicts))
    runs = np.array([verdicts[place]["candidate_runs"] for place in places], dtype=np.int64)
    ceiling = float(np.exp(min(verdicts[-1]["log_line"], 600.0)))
    log_e = np.array([verdicts[place]["log_family"] for place in places], dtype=np.float64)
    e_value = np.exp(np.clip(log_e, np.log(FLOOR), np.log(ceiling) + 7.0))
    top = max(float(e_value.max()), ceiling) * 3.0
    panel.set_yscale("log")
    forbidden(panel, ceiling, top)
    panel.axhline(ceiling, color=VERMILION, linestyle="--")
    panel.plot(runs, e_value, color=BLACK, marker="o" if len(runs) < 12 else "", markersize=3.0)
    _across(panel, runs)
    beside(panel, 0.0, ceiling, f"reverts at {ceiling:,.0f}", ha="left", va="bottom", color=VERMILION)
    panel.set_ylim(FLOOR, top)
    panel.yaxis.set_major_formatter("{x:g}")
    panel.set_xlabel("candidate runs")
    panel.set_ylabel("e-value (1: no evidence)")
    panel.axhline(1.0, color=GREY, linewidth=0.8)
    return figure


def thinned(looks: int) -> IntArray:
    """Places of the looks that are shown: all, else evenly spread ones with the first and the last."""
    if looks <= SHOWN:
        return np.arange(looks)
    return np.unique(np.linspace(0, looks - 1, SHOWN).round().astype(np.int64))


def span(course: Course) -> tuple[float, float]:
    """The part of the axis that is shown: zero, margin and the newest interval, early wide ones cut off."""
    newest = [0.0, course.low[-1], course.high[-1], course.estimate[-1]]
    if course.margin is not None:
        newest += [course.margin, 1.5 * course.margin, -course.margin]
    late = len(course.runs) // 2
    low = min(*newest, float(np.quantile(course.low[late:], 0.25)))
    high = max(*newest, float(np.quantile(course.high[late:], 0.75)))
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def _course(place: int, verdicts: Sequence[Mapping[str, Any]]) -> Course:
    last = verdicts[-1]["guardrails"][place]
    rows = [look["guardrails"][place] for look in verdicts]
    some = [row for row in rows if row["n_c"] > 0 and row["n_b"] > 0]
    kept = [some[at] for at in thinned(len(some))]

    def column(name: str) -> FloatArray:
        return np.array([row[name] for row in kept], dtype=np.float64)

    return Course(
        last["name"],
        last["word"],
        last.get("unit", "points"),
        last["margin"],
        np.array([row["n_c"] for row in kept], dtype=np.int64),
        column("estimate"),
        column("low"),
        column("high"),
    )


def _draw(panel: Axes, course: Course) -> None:
    low, high = span(course)
    panel.set_ylim(low, high)
    _across(panel, course.runs)
    panel.axhline(0.0, color=GREY, linewidth=0.8)
    if course.margin is not None:
        worse = (course.margin, high) if course.margin > 0 else (low, course.margin)
        forbidden(panel, *worse)
        panel.axhline(course.margin, color=VERMILION, linestyle="--")
        side = "bottom" if course.margin > 0 else "top"
        beside(panel, 0.0, course.margin, f"margin {course.margin:+.3g}", ha="left", va=side, color=VERMILION)
    if len(course.runs) == 1:
        errors = np.maximum([course.estimate - course.low, course.high - course.estimate], 0.0)
        panel.errorbar(course.runs, course.estimate, errors, color=BLUE, marker="o", capsize=4)
    else:
        panel.fill_between(course.runs, course.low, course.high, color=SKY, alpha=0.35, linewidth=0.0)
        for bound in (course.low, course.high):
            panel.plot(course.runs, bound, color=BLUE, linewidth=0.9)
        panel.plot(course.runs, course.estimate, color=BLACK, linewidth=1.8)
    panel.set_ylabel(course.unit, fontsize=7)


def _across(panel: Axes, runs: IntArray) -> None:
    """Show runs from 0 to the last one."""
    edge = float(max(int(runs[-1]), 1)) * (1.02 if len(runs) > 1 else 1.5)
    panel.set_xlim(0.0, edge)
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))


__all__ = ["WORDS", "Course", "confidence", "courses", "family", "pictures", "span", "thinned"]
