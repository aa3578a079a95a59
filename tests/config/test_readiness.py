"""The readiness section: how far a canary may go."""

import json

import pytest

from config.policy import Policy
from config.readiness import ReadinessSpec
from evaluators.readiness import Bounds
from lastgood.errors import InvalidPolicy

TEXT = "name: p\nguardrails: {completion: {}}\nreadiness: "


def bounds(text):
    return Policy.load(TEXT + text).readiness.bounds()


def test_the_default_bounds_only_who_is_not_ready():
    assert ReadinessSpec().bounds() == Bounds(None, 2_500, 1_000, 500)


def test_a_share_any_and_refuse_are_read_and_written():
    text = "{all_seven: 50%, five_or_six: any, fewer: refuse}"
    assert bounds(text) == Bounds(5_000, None, 1_000, 0)
    written = json.loads(Policy.load(TEXT + text).to_json())["readiness"]
    assert written == {"all_seven": "50%", "five_or_six": "any", "three_or_four": "10%", "fewer": "refuse"}
    assert Policy.from_json(Policy.load(TEXT + text).to_json()).readiness.bounds() == bounds(text)


@pytest.mark.parametrize("text", ["{fewer: never}", "{fewer: 0%}", "{fewer: 120%}", "{most: 5%}"])
def test_what_is_no_bound_is_refused_by_name(text):
    with pytest.raises(InvalidPolicy, match=r"readiness\.(fewer|most)"):
        bounds(text)
