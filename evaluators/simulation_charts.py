"""Pictures of a simulation: how soon harm is caught, how often a candidate at a margin gets through."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from evaluators.canvas import BLACK, BLUE, LINES, VERMILION, beside, caption, panels, title
from evaluators.mixture import FloatArray
from evaluators.rules import Rules
from evaluators.simulation import Figures, Rate


def detection(found: Sequence[Figures], rules: Rules) -> Figure:
    """A panel a guardrail: the share of releases reverted by each number of candidate runs.

    One curve a harm, one for an unchanged candidate, and the line that this one stays under.
    """
    names = list(dict.fromkeys(f.guardrail for f in found if f.kind == "harm"))
    figure, axes = panels(max(len(names), 1))
    unchanged = next(f for f in found if f.kind == "unchanged")
    caption(figure, "share of releases reverted by then, at most this many candidate runs; dotted: alpha")
    for panel, name in zip(axes, names or [""], strict=True):
        title(panel, name or "an equal candidate")
        _frame(panel, rules)
        _curve(panel, unchanged, rules, BLACK, "-", 2.6)
        for line, harm in enumerate(f for f in found if f.kind == "harm" and f.guardrail == name):
            _curve(panel, harm, rules, *LINES[line % len(LINES)])
        panel.legend(loc="upper left", fontsize=6.5, frameon=False, handlelength=2.6, borderaxespad=0.0)
    for panel in axes[-2:]:
        panel.set_xlabel("candidate runs")
    return figure


def risks(found: Sequence[Figures], rules: Rules) -> Figure:
    """How often a release goes wrong, with its 95% interval, beside what the policy allows."""
    rows: list[tuple[str, Rate, float]] = [
        ("unchanged, yet reverted", f.reverted, rules.alpha_revert) for f in found if f.kind == "unchanged"
    ]
    rows += [
        (f"{f.guardrail} at its margin, yet promoted", f.promoted, rules.alpha_promote)
        for f in found
        if f.kind == "margin"
    ]
    figure, (panel,) = panels(1, size=(7.2, 0.7 + 0.24 * len(rows)))
    title(panel, "how often a release goes wrong")
    caption(figure, "dot and line: simulated, with its 95% interval; bar: the most that the policy allows")
    for place, (_, rate, allowed) in enumerate(rows):
        panel.plot([rate.low, rate.high], [place, place], color=BLUE)
        panel.plot([rate.rate], [place], color=BLUE, marker="o", markersize=4)
        panel.plot([allowed, allowed], [place - 0.35, place + 0.35], color=VERMILION, linewidth=2.5)
        beside(panel, max(rate.high, allowed) + 0.002, place, f"{rate.rate:.1%}", va="center")
    panel.set_yticks(range(len(rows)), [words for words, _, _ in rows])
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.set_xlim(0.0, max(0.1, *(rate.high + 0.015 for _, rate, _ in rows)))
    panel.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panel.set_xlabel("share of releases")
    return figure


def curve(found: Figures) -> tuple[FloatArray, FloatArray]:
    """Candidate runs at which releases were reverted, rising, and the share of releases by then."""
    at = np.asarray(found.reverted_at, dtype=np.float64)
    return at, np.arange(1, len(at) + 1) / max(found.reverted.of, 1)


def _frame(panel: Axes, rules: Rules) -> None:
    panel.set_xscale("log")
    panel.set_xlim(1.0, max(rules.horizon_runs, 10))
    panel.set_ylim(0.0, 1.62)  # the names stand above the curves
    panel.set_yticks([0.0, 0.25, 0.5, 0.75, 1.0])
    panel.xaxis.set_major_formatter("{x:,.0f}")
    panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panel.axhline(rules.alpha_revert, color=BLACK, linestyle=":", linewidth=1.0)


def _curve(panel: Axes, found: Figures, rules: Rules, color: str, dashes: Any, width: float = 1.4) -> None:
    at, share = curve(found)
    x = np.concatenate([[1.0], at, [float(max(rules.horizon_runs, 10))]])
    y = np.concatenate([[0.0], share, share[-1:] if len(share) else [0.0]])
    words = found.label.partition(":")[0]
    panel.step(x, y, where="post", color=color, linestyle=dashes, linewidth=width, label=words)


__all__ = ["curve", "detection", "risks"]
