"""Figures from outside against a limit."""

import pytest

from evaluators.outside import Limit, Stand, stand
from evaluators.watched import Series

MINUTE = 60_000_000
LIMIT = Limit(limit=5.0, lasts_us=3 * MINUTE, gap_us=2 * MINUTE)


def series(*values, lower=True, every=MINUTE):
    points = tuple((place * every, float(value)) for place, value in enumerate(values))
    return Series("queue", points, "", lower, True)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (series(9, 9, 9, 5), Stand.FINE),  # at the limit is not beyond it
        (series(9, 9, 5, 9), Stand.SHORT),
        (series(9, 9, 9), Stand.SHORT),  # two minutes
        (series(1, 9, 9, 9, 9), Stand.BEYOND),
        (series(1, 1, 1, 1, 1, lower=False), Stand.BEYOND),
        (series(9, 9, 9, 9, lower=False), Stand.FINE),
        (series(9, 9, every=3 * MINUTE), Stand.SHORT),  # what lies between is not known
        (series(), Stand.ABSENT),
        (Series("queue", (), "it answered 503", True, True), Stand.ABSENT),
    ],
)
def test_how_a_series_stands_to_its_limit(found, said):
    assert stand(found, LIMIT).stand is said


def test_the_newest_point_alone_may_do():
    assert stand(series(1, 6), Limit(5.0, 0, MINUTE)).stand is Stand.BEYOND


def test_it_is_said_in_a_clause():
    assert stand(series(9, 9, 9, 9), LIMIT).said == "9 is above 5, for 3 min"
    assert stand(series(1, lower=False), LIMIT).said == "1 is below 5, for 0 min"
    assert stand(series(1), LIMIT).said == "1, not above 5"
    assert stand(Series("queue", (), "it answered 503", True, True), LIMIT).said == "it answered 503"
