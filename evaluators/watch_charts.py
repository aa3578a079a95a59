"""The picture of a watch: every signal before, during and after the window, against what was usual."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluators.canvas import BLUE, GREEN, GREY, VERMILION, beside, caption, panels, say, title
from evaluators.mixture import FloatArray
from evaluators.watch_amounts import series_groups, usual
from evaluators.watched import FLAGS, SPEND, Group, Kind, Seen, Series, SignalVerdict, Watched, Word

#: stretches of time that a group is drawn in at most, and runs of a stretch at least
PARTS, RUNS = 8, 8
#: colour, mark and words of each group's points
_LOOKS = {
    Group.BEFORE: (GREY, "o", "before"),
    Group.BAD: (VERMILION, "X", "the bundle that was left"),
    Group.BESIDE: (BLUE, "s", "the good bundle beside it"),
    Group.AFTER: (GREEN, "D", "since the switch"),
}
#: part of the drawn width that the time before the window takes at most, in lengths of the rest
_LEAD = 0.8


@dataclass(frozen=True, slots=True)
class Spot:
    """One stretch of time of one group."""

    #: hours from the switch
    hour: float
    value: float


def picture(seen: Seen, verdict: Watched) -> Figure:
    """A panel a signal that said anything; those that harmed, or are worse still, first."""
    order = [Word.STILL, Word.UNDECIDED, Word.BACK, Word.BESIDE, Word.QUIET]
    told = [s for s in verdict.signals if s.word is not Word.NO_DATA and _is_drawn(s)]
    told.sort(key=lambda signal: order.index(signal.word))
    figure, axes = panels(max(len(told), 1))
    if not told:
        say(axes[0], "no signal said anything before and since")
        return figure
    words = ", ".join(f"{_mark(mark)} {name}" for _, mark, name in _LOOKS.values())
    shaded = "; the window is shaded" if seen.kind is Kind.REVERT else ""
    caption(figure, f"hours from the switch (dashed){shaded}\n{words}")
    outside = {series.name: series for series in seen.series}
    for panel, signal in zip(axes, told, strict=True):
        title(panel, signal.name, str(signal.word))
        _frame(panel, seen)
        if signal.name in outside:
            _draw_series(panel, outside[signal.name], seen)
        else:
            _draw_runs(panel, signal.name, seen)
        panel.set_ylabel(_unit(signal), fontsize=7)
    return figure


def _is_drawn(signal: SignalVerdict) -> bool:
    """A flag that never was bad has nothing to show."""
    return signal.name not in FLAGS or any(signal.level.values())


def _mark(mark: str) -> str:
    return {"o": "●", "X": "✖", "s": "■", "D": "◆"}[mark]


def _unit(signal: SignalVerdict) -> str:
    return {"share": "bad share of runs", "USD a run": "USD a run"}.get(signal.unit, signal.name)


def _hours(at_us: FloatArray, seen: Seen) -> FloatArray:
    return np.asarray((at_us - seen.at_us) / 3.6e9)


def _edge(seen: Seen) -> float:
    """Hours before the switch at which the picture begins."""
    length = (seen.until_us - seen.from_us) / 3.6e9
    return (seen.from_us - seen.at_us) / 3.6e9 - max(_LEAD * length, 0.5)


def _frame(panel: Axes, seen: Seen) -> None:
    begin = (seen.from_us - seen.at_us) / 3.6e9
    panel.set_xlim(_edge(seen), max((seen.until_us - seen.at_us) / 3.6e9, 0.1) * 1.04)
    if seen.kind is Kind.REVERT:
        panel.axvspan(begin, 0.0, facecolor=VERMILION, alpha=0.07, linewidth=0.0)
    panel.axvline(0.0, color=GREY, linestyle="--", linewidth=0.9)


def spots(hours: FloatArray, values: FloatArray, parts: int) -> list[Spot]:
    """Means over equal stretches of time; stretches without a value are left out."""
    if not len(hours):
        return []
    edges = np.linspace(hours.min(), hours.max(), parts + 1)
    place = np.clip(np.searchsorted(edges, hours, side="right") - 1, 0, parts - 1)
    return [
        Spot(float(hours[place == part].mean()), float(values[place == part].mean()))
        for part in range(parts)
        if (place == part).any()
    ]


def _draw_runs(panel: Axes, name: str, seen: Seen) -> None:
    known = seen.runs.loc[seen.runs[name].notna()]
    before = known.loc[known["group"] == Group.BEFORE, name]
    panel.axhline(float(before.mean()), color=GREY, linewidth=0.8)
    beside(panel, _edge(seen), float(before.mean()), "before", ha="left", va="bottom", color=GREY)
    for group in Group:
        mine = known.loc[known["group"] == group]
        hours = _hours(mine["at_us"].to_numpy(dtype=np.float64), seen)
        shown = hours >= _edge(seen)
        parts = min(PARTS, max(int(shown.sum()) // RUNS, 1))
        found = spots(hours[shown], mine[name].to_numpy(dtype=np.float64)[shown], parts)
        _draw(panel, group, found)
    panel.set_ylim(bottom=0.0)
    if name != SPEND:
        panel.yaxis.set_major_formatter("{x:.0%}")


def _draw_series(panel: Axes, series: Series, seen: Seen) -> None:
    groups = series_groups(series, seen)
    sign = 1.0 if series.lower_is_better else -1.0
    line, _ = usual(groups[Group.BEFORE], seen)
    panel.axhline(sign * line, color=GREY, linewidth=0.8)
    beside(panel, _edge(seen), sign * line, "usual end", ha="left", va="bottom", color=GREY)
    for group, points in groups.items():
        hours = _hours(points[:, 0], seen)
        shown = hours >= _edge(seen)
        colour, mark, _ = _LOOKS[group]
        panel.plot(
            hours[shown], sign * points[shown, 1], color=colour, marker=mark, markersize=2.5, linewidth=0.8
        )


def _draw(panel: Axes, group: Group, found: list[Spot]) -> None:
    colour, mark, _ = _LOOKS[group]
    panel.plot(
        [spot.hour for spot in found],
        [spot.value for spot in found],
        color=colour,
        marker=mark,
        markersize=4.0,
    )


__all__ = ["PARTS", "RUNS", "Spot", "picture", "spots"]
