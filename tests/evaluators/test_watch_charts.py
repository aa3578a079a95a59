"""The picture of a watch."""

import numpy as np

from evaluators.watch_charts import PARTS, picture, spots
from evaluators.watched import Answer, Group, Kind, Seen, Watched, WatchRules
from evaluators.watching import judge
from tasks.png import png

from .test_watching import BAD, queue, seen  # the planted windows


def drawn(window):
    return picture(window, judge(window, WatchRules()))


def test_every_signal_that_said_something_has_a_panel():
    titles = [axes.get_title(loc="left") for axes in drawn(seen(BAD, series=(queue(),))).axes]
    assert titles[:2] == ["completion: back", "validation: back"]
    assert {title.split(":")[0] for title in titles} >= {"errors", "escalation", "spend", "queue"}
    assert not any(title.startswith("events") for title in titles)


def test_groups_differ_in_their_marks_too():
    marks = {line.get_marker() for line in drawn(seen(BAD)).axes[0].lines}
    assert {"o", "X", "s", "D"} <= marks


def test_a_stretch_is_the_mean_of_its_runs():
    found = spots(np.array([0.0, 0.1, 0.9, 1.0]), np.array([1.0, 0.0, 1.0, 1.0]), 2)
    assert [(round(s.hour, 2), s.value) for s in found] == [(0.05, 0.5), (0.95, 1.0)]
    assert spots(np.empty(0), np.empty(0), PARTS) == []


def test_a_picture_is_a_small_png():
    image = png(drawn(seen(BAD, series=(queue(),))))
    assert image[:4] == b"\x89PNG"
    assert len(image) < 200_000


def test_nothing_to_draw_is_said():
    window = seen(BAD)
    empty = Seen(Kind.REVERT, window.runs.iloc[:0], window.from_us, window.at_us, window.until_us)
    figure = picture(empty, Watched(Answer.INCONCLUSIVE, "", ()))
    assert figure.axes[0].texts[0].get_text() == "no signal said anything before and since"
    assert Group.AFTER == "after"
