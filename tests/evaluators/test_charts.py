"""Pictures of a release: what stands in the figures, for every kind and every state."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from evaluators import Comparison, History, canvas, charts
from evaluators.checking import known_columns
from evaluators.rules import Guardrail, Kind, Rules, Step
from tasks.png import data_uri, png

KINDS = (
    Guardrail("completion", "completed", False, 1 / 5, 0.02, None, 0),
    Guardrail("cost", "cost_usd", True, 1 / 5, None, 0.10, 0, kind=Kind.RATIO, unit="USD"),
    Guardrail("calls", "operator_edits", True, 1 / 5, None, 0.50, 0, kind=Kind.COUNT, unit="calls"),
    Guardrail(
        "judge", "mark", False, 1 / 5, 0.2, None, 0, kind=Kind.SCORE, unit="marks", lowest=1.0, highest=5.0
    ),
    Guardrail("latency", "latency_s", True, 1 / 5, 0.03, None, 0, kind=Kind.QUANTILE, level=0.95),
)
UNITS = {
    "completion": "points",
    "cost": "USD per completed run",
    "calls": "calls per run",
    "judge": "marks",
    "latency": "points",
}


@pytest.fixture(scope="module")
def looks(measured, dealt):
    """The verdicts of so many looks at so many runs, as a store keeps them."""
    history = History(measured(6_000, 1))

    def make(count, runs, guardrails=KINDS, drop=(), **harm):
        comparison, found = Comparison(Rules(guardrails, (Step(3000),)), history), []
        frame = dealt(runs, 3, **harm).drop(columns=list(drop))
        frame = frame[[column for column in frame if column in known_columns(comparison.rules)]]
        for part in np.array_split(np.arange(runs), count):
            comparison.observe(frame.iloc[part])
            found.append(comparison.verdict().to_json())
        return found

    return make


@pytest.fixture(scope="module")
def twelve(looks):
    return looks(12, 3_000)


def texts(panel):
    return [text.get_text() for text in panel.texts]


def heights(panel, style):
    """Where lines of a style lie that go straight across."""
    lines = [line for line in panel.lines if line.get_linestyle() == style]
    return [line.get_ydata()[0] for line in lines if len(set(line.get_ydata())) == 1]


def test_every_kind_has_a_panel_with_its_own_unit(twelve):
    panels = charts.confidence(charts.courses(twelve)).axes
    assert {panel.get_title(loc="left").partition(":")[0]: panel.get_ylabel() for panel in panels} == UNITS


def test_a_panel_shows_zero_the_margin_and_the_confidence_sequence(twelve):
    panels = charts.confidence(charts.courses(twelve)).axes
    for place, panel in enumerate(panels):
        rows = [look["guardrails"][place] for look in twelve]
        assert 0.0 in heights(panel, "-")
        assert heights(panel, "--") == [rows[-1]["margin"]]
        assert texts(panel) == [f"margin {rows[-1]['margin']:+.3g}"]
        drawn = [line.get_ydata().tolist() for line in panel.lines if len(line.get_xdata()) == len(rows)]
        assert drawn == [[row[name] for row in rows] for name in ("low", "high", "estimate")]


def test_what_is_worse_than_the_margin_is_hatched_on_the_bad_side(twelve):
    for course, panel in zip(
        charts.courses(twelve), charts.confidence(charts.courses(twelve)).axes, strict=True
    ):
        (band,) = [patch for patch in panel.patches if patch.get_hatch()]
        low, high = band.get_y(), band.get_y() + band.get_height()
        assert (low if course.margin > 0 else high) == pytest.approx(course.margin)


def test_axes_say_what_they_count(twelve):
    found = charts.courses(twelve)
    panels = charts.confidence(found).axes
    assert [panel.get_xlabel() for panel in panels[-2:]] == ["candidate runs"] * 2
    figure = charts.family(twelve)
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == (
        "candidate runs",
        "e-value (1: no evidence)",
    )


def test_the_newest_interval_and_the_margin_are_always_in_sight(twelve):
    for count in (1, 3, 12):
        for course in charts.courses(twelve[:count]):
            low, high = charts.span(course)
            assert low < min(course.low[-1], 0.0, course.margin)
            assert max(course.high[-1], 0.0, course.margin) < high


def test_the_family_is_drawn_against_the_line_at_which_it_reverts(twelve):
    (panel,) = charts.family(twelve).axes
    assert heights(panel, "--") == [pytest.approx(20.0)]
    assert texts(panel) == ["reverts at 20"]
    (line,) = [line for line in panel.lines if len(line.get_xdata()) == len(twelve)]
    assert line.get_ydata() == pytest.approx(np.exp([look["log_family"] for look in twelve]))


@pytest.mark.parametrize(("harm", "said"), [(1.0, "not yet proven"), (4.0, "proven worse")])
def test_the_title_says_what_is_known(looks, harm, said):
    found = charts.courses(looks(3, 600, guardrails=(replace(KINDS[1], weight=1.0),), cost=harm))
    assert charts.confidence(found).axes[0].get_title(loc="left") == f"cost: {said}"


def test_a_guardrail_without_data_says_so_beside_those_that_have_some(looks):
    panels = charts.confidence(charts.courses(looks(2, 400, drop=["mark"]))).axes
    assert panels[3].get_title(loc="left") == "judge: no data yet"
    assert texts(panels[3]) == ["no run is scored on both arms yet"]
    assert len(panels[0].lines) > 2


def test_before_the_first_look_the_pictures_say_so():
    assert texts(charts.family([]).axes[0]) == ["no look yet"]
    assert texts(charts.confidence(()).axes[0]) == ["no look yet"]
    assert list(charts.pictures([])) == ["evidence"]


def test_one_look_is_a_point_with_its_interval(looks):
    verdicts = looks(1, 400)
    panel = charts.confidence(charts.courses(verdicts)).axes[0]
    (bar,) = panel.containers
    assert bar.lines[0].get_xydata().tolist() == [
        [verdicts[0]["guardrails"][0]["n_c"], verdicts[0]["guardrails"][0]["estimate"]]
    ]


def test_many_looks_are_thinned_to_what_can_be_told_apart():
    places = charts.thinned(9_000)
    assert len(places) <= charts.SHOWN
    assert (places[0], places[-1]) == (0, 8_999)
    assert charts.thinned(5).tolist() == [0, 1, 2, 3, 4]


def test_an_endless_e_value_is_drawn_at_the_edge(twelve):
    figure = charts.family([{**look, "log_family": 5_000.0} for look in twelve])
    assert np.isfinite(figure.axes[0].get_ylim()).all()


@pytest.mark.parametrize("count", [1, 12])
def test_every_picture_is_a_png_that_fits_an_artifact(twelve, count):
    for figure in charts.pictures(twelve[:count]).values():
        image = png(figure)
        assert len(data_uri(image)) < 60_000
        with Image.open(io.BytesIO(image)) as found:
            assert (found.format, found.mode) == ("PNG", "P")


def test_six_guardrails_go_into_one_picture(twelve):
    doubled = [{**look, "guardrails": look["guardrails"] * 2} for look in twelve]
    found = charts.pictures(doubled)
    assert [len(figure.axes) for figure in found.values()] == [1, 6, 4]


def test_lines_that_are_told_apart_differ_in_their_dashes_too():
    assert len({str(dashes) for _, dashes in canvas.LINES}) == len(canvas.LINES)


def test_the_caption_fits_even_over_a_lone_panel(twelve):
    for figure in charts.pictures(
        [{**look, "guardrails": look["guardrails"][:1]} for look in twelve]
    ).values():
        png(figure)
        words = [text for text in [figure._suptitle, figure.axes[0].title, *figure.axes[0].texts] if text]
        inside = figure.bbox.x1
        assert all(text.get_window_extent().x1 <= inside for text in words)
