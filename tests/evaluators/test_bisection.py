"""Which part is at fault, read from the hybrids."""

import pytest

from evaluators.bisection import Blame, Shown, agreed, blame

P, F, U = Shown.PASSES, Shown.FAILS, Shown.UNANSWERED


@pytest.mark.parametrize(
    ("forward", "reverse", "layer"),
    [
        ({"tools": F, "prompt": P}, {"tools": P, "prompt": F}, "tools"),
        ({"tools": P, "prompt": P}, {"tools": P, "prompt": P}, "interaction"),
        ({"tools": F, "prompt": F}, {"tools": F, "prompt": F}, "prompt or tools"),
        ({"tools": F, "prompt": P}, {"tools": F, "prompt": F}, "tools"),
        ({"tools": U, "prompt": P}, {"tools": U, "prompt": F}, ""),
        ({"tools": F, "prompt": U}, {"tools": P, "prompt": U}, "tools"),
    ],
)
def test_the_layer(forward, reverse, layer):
    assert blame(forward, reverse).layer == layer


def test_what_is_enough_and_what_is_needed_are_told_apart():
    found = blame({"tools": F, "prompt": P, "model": U}, {"tools": P, "prompt": P, "model": F})
    assert found == Blame(("tools",), ("prompt", "tools"), ("model",))


def test_cases_that_agree_name_one_layer_and_others_all():
    tools, prompt, nothing = Blame(("tools",), (), ()), Blame(("prompt",), (), ()), Blame((), (), ("model",))
    assert agreed([tools, tools, nothing]) == "tools"
    assert agreed([tools, prompt]) == "tools, prompt"
    assert agreed([nothing]) == ""
