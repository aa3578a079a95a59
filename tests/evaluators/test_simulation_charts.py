"""Pictures of a simulation: curves, intervals and the lines that they are held against."""

import pytest

from evaluators import canvas, simulation_charts
from evaluators.rules import Guardrail, Rules, Step
from evaluators.simulation import Figures, Rate, Times

RULES = Rules(
    (Guardrail("completion", "completed", False, 1.0, 0.02, None, 0),),
    (Step(1000),),
    alpha_revert=0.05,
    alpha_promote=0.1,
    horizon_runs=500,
)
NEVER = Times(None, None)


def figures(kind, guardrail, label, *, promoted=0, reverted_at=(), of=20):
    right = Rate.of_counts(len(reverted_at), len(reverted_at))
    rates = [
        Rate.of_counts(count, of) for count in (promoted, len(reverted_at), of - promoted - len(reverted_at))
    ]
    return Figures(
        kind, guardrail, label, "", *rates, right, NEVER, NEVER, NEVER, NEVER, {}, tuple(reverted_at)
    )


FOUND = (
    figures("unchanged", "", "an equal candidate", promoted=18, reverted_at=(40,)),
    figures("margin", "completion", "at its margin", promoted=1),
    figures("harm", "completion", "a collapse: nine in ten", reverted_at=(3, 4, 4, 9)),
    figures("harm", "completion", "twice the margin", reverted_at=(100,)),
)


def test_a_curve_rises_by_one_release_at_each_revert():
    at, share = simulation_charts.curve(FOUND[2])
    assert at.tolist() == [3, 4, 4, 9]
    assert share.tolist() == pytest.approx([0.05, 0.10, 0.15, 0.20])


def test_each_harm_has_a_named_curve_beside_the_equal_candidates():
    (panel,) = simulation_charts.detection(FOUND, RULES).axes
    assert panel.get_title(loc="left") == "completion"
    names = [text.get_text() for text in panel.get_legend().get_texts()]
    assert names == ["an equal candidate", "a collapse", "twice the margin"]
    assert panel.get_xlabel() == "candidate runs"
    styles = {(line.get_linestyle(), line.get_linewidth()) for line in panel.lines}
    assert len(styles) == len(panel.lines)


def test_alpha_is_drawn():
    (panel,) = simulation_charts.detection(FOUND, RULES).axes
    assert [line.get_ydata()[0] for line in panel.lines if line.get_linestyle() == ":"] == [0.05]


def test_mistakes_stand_with_their_intervals_beside_what_is_allowed():
    (panel,) = simulation_charts.risks(FOUND, RULES).axes
    labels = [label.get_text() for label in panel.get_yticklabels()]
    assert labels == ["unchanged, yet reverted", "completion at its margin, yet promoted"]
    spans = [line.get_xdata() for line in panel.lines if len(line.get_xdata()) == 2]
    margin = FOUND[1].promoted
    assert [margin.low, margin.high] in [list(span) for span in spans]
    assert [span[0] for span in spans if span[0] == span[1]] == [0.05, 0.1]
    assert panel.get_xlabel() == "share of releases"


def test_a_policy_without_a_harm_to_simulate_still_draws():
    (panel,) = simulation_charts.detection(FOUND[:1], RULES).axes
    assert panel.get_title(loc="left") == "an equal candidate"
    assert canvas.pixels(simulation_charts.risks(FOUND[:1], RULES)).min() < 255
